//! `kind: FaultPolicy`: faults between the proxy and an upstream.

use crate::{
    Map,
    istio::{FaultDelay, HttpFaultInjection, Percent},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Faults that look as if the upstream had them: timeouts, retries, ejection and limits see them. Faults of a VirtualService come before all
/// these. Of several for a host that of the client's namespace holds, else of the service's, else of the root namespace; there the most
/// specific, then the oldest.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaultPolicy {
    /// Labels of the proxies; empty: all that call the host.
    pub selector: Map<String>,
    /// As in a DestinationRule.
    pub host: String,
    /// Of each try of a request, as a VirtualService writes it.
    pub http: Option<HttpFaultInjection>,
    /// Of connections of bytes.
    pub tcp: Option<TcpFaults>,
}

/// Of connections of bytes, each by its own coin.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpFaults {
    /// Waits before it connects.
    pub delay: Option<FaultDelay>,
    /// Resets the client's connection in place of connecting.
    pub reset: Option<TcpReset>,
    /// Resets both connections in the middle.
    pub cut: Option<TcpCut>,
}

/// Resets the client's connection.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpReset {
    /// Share of connections; absent: none.
    pub percentage: Option<Percent>,
}

/// Resets both connections in the middle.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpCut {
    /// Once the client has got so many bytes, or a few more.
    pub after_bytes: u64,
    /// Share of connections; absent: none.
    pub percentage: Option<Percent>,
}
