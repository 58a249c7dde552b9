//! `/listeners`: names and addresses, as Envoy shows them.

use super::{
    answer::{Answer, json, text},
    table::Ask,
};
use http::StatusCode;
use serde_json::{Value, json as value};
use sidle_model::ir::ListenAddress;
use std::net::SocketAddr;

pub(super) fn listeners(ask: &Ask) -> Answer {
    let listeners = ask.source.listeners();
    if ask.query.wants_json() {
        let statuses: Vec<_> = listeners
            .iter()
            .map(|listener| {
                value!({
                    "name": &*listener.name,
                    "local_address": address(&listener.address),
                    "active_connections": listener.active,
                })
            })
            .collect();
        return json(StatusCode::OK, &value!({ "listener_statuses": statuses }));
    }
    text(
        listeners
            .iter()
            .map(|listener| format!("{}::{}\n", listener.name, listener.address))
            .collect::<String>(),
    )
}

fn address(address: &ListenAddress) -> Value {
    match address {
        ListenAddress::Socket(address) => socket(*address),
        ListenAddress::Unix(path) => value!({ "pipe": { "path": path.display().to_string() } }),
    }
}

/// An `envoy.config.core.v3.Address`.
pub(super) fn socket(address: SocketAddr) -> Value {
    value!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
