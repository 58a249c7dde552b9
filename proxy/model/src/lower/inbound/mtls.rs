//! The kinds of connection that a port takes.
//!
//! In:  what a port speaks, and whether in mTLS.   Out: matches of filter chains, with TLS where it is opened.
//! Invariants: a connection that a port must not take matches none of its kinds, and a port's chains are not followed by any
//! default. Where both are taken, mTLS is told from other TLS by its ALPN offers: other TLS is the application's.
//! Source: R11; Istio's `filterchain_options.go`.

use super::super::protocol::Class;
use crate::ir::{
    ApplicationProtocol, Certificates, FilterChainMatch, MtlsMode, ServerTls, TlsVersion, Transport, Trust,
};

/// A kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub transport: Option<Transport>,
    /// Any of these, inside or offered; empty: any.
    pub protocols: &'static [ApplicationProtocol],
    /// Whether TLS is opened here.
    pub opened: bool,
    pub http: bool,
}

const DETECTED: &[ApplicationProtocol] = &[ApplicationProtocol::Http1, ApplicationProtocol::Http2];

const fn plain(protocols: &'static [ApplicationProtocol], http: bool) -> Kind {
    Kind { transport: None, protocols, opened: false, http }
}
const fn raw(protocols: &'static [ApplicationProtocol], http: bool) -> Kind {
    Kind { transport: Some(Transport::RawBuffer), protocols, opened: false, http }
}
const fn mtls(protocols: &'static [ApplicationProtocol], http: bool) -> Kind {
    Kind { transport: Some(Transport::Tls), protocols, opened: true, http }
}
/// TLS of the application.
const PASSED_ON: Kind = Kind { transport: Some(Transport::Tls), protocols: &[], opened: false, http: false };

/// The kinds of connection that a port takes, HTTP first.
pub(super) fn kinds(mode: MtlsMode, class: Class) -> &'static [Kind] {
    use ApplicationProtocol as Protocol;
    match (mode, class) {
        (_, Class::Ignored) => &[],
        (MtlsMode::Disable, Class::Http) => &const { [plain(&[], true)] },
        (MtlsMode::Disable, Class::Detected) => &const { [plain(DETECTED, true), plain(&[], false)] },
        (MtlsMode::Disable, Class::Tcp | Class::Tls) => &const { [plain(&[], false)] },
        (MtlsMode::Permissive, Class::Http) => &const { [mtls(&Protocol::MESH, true), raw(&[], true)] },
        (MtlsMode::Permissive, Class::Detected) => {
            &const {
                [
                    mtls(&Protocol::MESH_HTTP, true),
                    raw(DETECTED, true),
                    mtls(&Protocol::MESH_BYTES, false),
                    PASSED_ON,
                    raw(&[], false),
                ]
            }
        }
        (MtlsMode::Permissive, Class::Tcp | Class::Tls) => {
            &const { [mtls(&Protocol::MESH, false), PASSED_ON, raw(&[], false)] }
        }
        (MtlsMode::Strict, Class::Http) => &const { [mtls(&[], true)] },
        (MtlsMode::Strict, Class::Detected) => {
            &const { [mtls(&Protocol::MESH_HTTP, true), mtls(&[], false)] }
        }
        (MtlsMode::Strict, Class::Tcp | Class::Tls) => &const { [mtls(&[], false)] },
    }
}

impl Kind {
    /// The match, for connections to `port` if they were redirected from there.
    pub fn matches(self, port: Option<u16>) -> FilterChainMatch {
        FilterChainMatch {
            destination_port: port,
            transport: self.transport,
            application_protocols: self.protocols.to_vec(),
            ..Default::default()
        }
    }

    /// How TLS is opened, if it is.
    pub fn tls(self) -> Option<ServerTls> {
        self.opened.then(|| of_mesh(self.http))
    }
}

/// mTLS with the workload's own certificate. With bytes inside no protocol is agreed upon, so that whatever a client offers
/// will do, and no Envoy expects the bytes of `istio-peer-exchange`.
pub(in crate::lower) fn of_mesh(http: bool) -> ServerTls {
    use ApplicationProtocol::{Http1, Http2, Istio};
    ServerTls {
        certificates: Certificates::Workload,
        client_ca: Some(Trust::Workload),
        crl: None,
        client_certificate_optional: false,
        subject_alt_names: Vec::new(),
        pins: Vec::new(),
        cipher_suites: Vec::new(),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: if http { vec![Http2, Http1, Istio] } else { Vec::new() },
    }
}
