//! `ServiceEntry`: a service that Kubernetes does not know.
//!
//! Source: Istio's `networking/v1/service_entry.proto`.

use super::{WorkloadEntry, WorkloadSelector, non_empty};
use schemars::JsonSchema;
use serde::Deserialize;

/// Adds hosts to the registry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["hosts"]))]
pub struct ServiceEntry {
    /// Names; `*.suffix` allowed.
    pub hosts: Vec<String>,
    /// Virtual addresses and ranges.
    pub addresses: Vec<String>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Inside or outside the mesh.
    pub location: Location,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Endpoints.
    pub endpoints: Vec<WorkloadEntry>,
    /// Picks WorkloadEntries and Pods of the same namespace, in place of `endpoints`.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see it; empty: `*`.
    pub export_to: Vec<String>,
    /// Names of which the server must have one.
    pub subject_alt_names: Vec<String>,
}

/// A port of a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "number"]))]
pub struct ServicePort {
    /// What clients call.
    #[schemars(range(min = 1))]
    pub number: u16,
    /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `MONGO`, `TCP`, `TLS`, …; absent: detected.
    #[serde(deserialize_with = "non_empty")]
    pub protocol: Option<String>,
    /// Unique in the entry.
    pub name: String,
    /// Port of the endpoints; absent: `number`.
    #[schemars(range(min = 1))]
    pub target_port: Option<u16>,
}

/// Inside or outside the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside.
    #[default]
    MeshExternal,
    /// Inside.
    MeshInternal,
}

/// How endpoints are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Where the client wanted to go.
    #[default]
    None,
    /// Given.
    Static,
    /// Every address of each name.
    Dns,
    /// One address at a time.
    DnsRoundRobin,
    /// The name of the request, when it is first used.
    DynamicDns,
}
