//! The `tls` and `tcp` rules of a VirtualService.
//!
//! Source: Istio's `networking/v1/virtual_service.proto`.

use super::{Destination, non_empty};
use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;

/// One TLS rule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["match"]))]
pub struct TlsRoute {
    /// ORed.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatchAttributes>,
    /// Weighted destinations.
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TLS connection, ANDed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["sniHosts"]))]
pub struct TlsMatchAttributes {
    /// Server names.
    pub sni_hosts: Vec<String>,
    /// Original destination ranges.
    pub destination_subnets: Vec<String>,
    /// Port of the service.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Labels of the client workload.
    pub source_labels: Map<String>,
    /// In place of the VirtualService's own.
    pub gateways: Vec<String>,
    /// Namespace of the client workload.
    #[serde(deserialize_with = "non_empty")]
    pub source_namespace: Option<String>,
}

/// One TCP rule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpRoute {
    /// ORed; empty: every connection.
    #[serde(rename = "match")]
    pub matches: Vec<L4MatchAttributes>,
    /// Weighted destinations.
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TCP connection, ANDed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct L4MatchAttributes {
    /// Original destination ranges.
    pub destination_subnets: Vec<String>,
    /// Port of the service.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Client's range; never implemented, by Istio either.
    #[serde(deserialize_with = "non_empty")]
    pub source_subnet: Option<String>,
    /// Labels of the client workload.
    pub source_labels: Map<String>,
    /// In place of the VirtualService's own.
    pub gateways: Vec<String>,
    /// Namespace of the client workload.
    #[serde(deserialize_with = "non_empty")]
    pub source_namespace: Option<String>,
}

/// A share of connections.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["destination"]))]
pub struct RouteDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative to the sum.
    #[schemars(range(max = 2147483647))]
    pub weight: u32,
}
