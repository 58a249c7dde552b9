//! Listeners that want a place which is taken.
//!
//! In:  the listeners of the plan, the process's own servers.   Out: notes.
//! Not here: servers of Gateways that share a port, which is allowed (`gateways`).

use super::{Mesh, notes::Notes};
use crate::{
    diagnostic::{Diagnostic, Severity, Span, codes},
    ir::{ListenAddress, Listener, Origin, Settings},
};
use std::{collections::HashMap, net::SocketAddr};

/// Says which listeners cannot be bound, since the process itself or another listener has their place.
pub(super) fn note_taken(mesh: &Mesh<'_>, listeners: &[Listener], settings: &Settings, notes: &mut Notes) {
    let mut taken: HashMap<u16, Vec<(SocketAddr, String)>> = HashMap::new();
    for (name, address) in
        [("admin", settings.admin), ("metrics", settings.metrics), ("health", settings.health)]
    {
        taken.entry(address.port()).or_default().push((address, format!("the proxy's own {name} server")));
    }
    for listener in listeners {
        if let (ListenAddress::Socket(address), true) =
            (&listener.address, Listener::is_built_in(&listener.name))
        {
            let what = format!("the proxy's own listener {}", listener.name);
            taken.entry(address.port()).or_default().push((*address, what));
        }
    }
    note_ingress(mesh, &taken, notes);
    for listener in listeners.iter().filter(|listener| !Listener::is_built_in(&listener.name)) {
        let ListenAddress::Socket(address) = listener.address else { continue };
        let others = taken.entry(address.port()).or_default();
        if let Some((_, other)) = others.iter().find(|(other, _)| overlap(*other, address)) {
            let message = format!("{address} cannot be opened: it is taken by {other}");
            notes.push(at(&listener.origin, message));
        } else {
            others.push((address, format!("{} ({})", listener.name, listener.origin)));
        }
    }
}

/// Ports of the workload that captured traffic is meant for: nothing else can listen where the proxy does.
fn note_ingress(mesh: &Mesh<'_>, taken: &HashMap<u16, Vec<(SocketAddr, String)>>, notes: &mut Notes) {
    let Some(sidecar) = mesh.scope.sidecar else { return };
    for (index, entry) in sidecar.spec.ingress.iter().enumerate() {
        let captured = entry.bind.is_none() && entry.capture_mode != crate::istio::CaptureMode::None;
        let others = taken.get(&entry.port.number).filter(|_| captured && entry.default_endpoint.is_none());
        if let Some((_, other)) = others.and_then(|others| others.first()) {
            let message =
                format!("the workload cannot listen on port {}: it is taken by {other}", entry.port.number);
            let path = ["ingress".into(), index.into(), "port".into(), "number".into()];
            notes.warn(sidecar, codes::CONFLICT, &path, message);
        }
    }
}

/// Whether the system refuses the second of two sockets. Port 0 is any free one.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wide = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (wide || a.ip() == b.ip())
}

/// What is told of a port that cannot be used as it is written at `origin`.
pub(super) fn at(origin: &Origin, message: String) -> Diagnostic {
    let span = Span { line: origin.line, column: origin.column, length: 1 };
    Diagnostic::new(Severity::Warning, codes::CONFLICT, message).at(origin.file.clone(), span)
}
