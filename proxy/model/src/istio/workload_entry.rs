//! `WorkloadEntry` and `WorkloadGroup`: endpoints that Kubernetes does not know.
//!
//! Source: Istio's `networking/v1/workload_entry.proto` and `workload_group.proto`.

use super::non_empty;
use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadEntry {
    /// IP address, name, or `unix:///path`.
    #[serde(deserialize_with = "non_empty")]
    pub address: Option<String>,
    /// Service port name to port.
    #[schemars(inner(range(min = 1)))]
    pub ports: Map<u16>,
    /// For selectors and subsets.
    pub labels: Map<String>,
    /// Network, if not the proxy's own.
    #[serde(deserialize_with = "non_empty")]
    pub network: Option<String>,
    /// `region/zone/subzone`.
    #[serde(deserialize_with = "non_empty")]
    pub locality: Option<String>,
    /// 0 or absent: 1.
    #[schemars(range(max = 2147483647))]
    pub weight: Option<u32>,
    /// Identity that is expected there.
    #[serde(deserialize_with = "non_empty")]
    pub service_account: Option<String>,
}

/// A template for WorkloadEntries that register themselves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["template"]))]
pub struct WorkloadGroup {
    /// Of the entries.
    pub metadata: Option<WorkloadGroupMetadata>,
    /// Of the entries.
    pub template: WorkloadEntry,
    /// Readiness of the application.
    pub probe: Option<ReadinessProbe>,
}

/// Labels and annotations of a group's entries.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadGroupMetadata {
    /// Labels.
    pub labels: Map<String>,
    /// Annotations.
    pub annotations: Map<String>,
}

/// Readiness of the application.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["httpGet", "tcpSocket", "exec", "grpc"]]))]
pub struct ReadinessProbe {
    /// Before the first.
    pub initial_delay_seconds: Option<u32>,
    /// Of each.
    pub timeout_seconds: Option<u32>,
    /// Between two.
    pub period_seconds: Option<u32>,
    /// Good ones in a row.
    pub success_threshold: Option<u32>,
    /// Bad ones in a row.
    pub failure_threshold: Option<u32>,
    /// 200 to 399 is ready.
    pub http_get: Option<HttpHealthCheck>,
    /// A connection is ready.
    pub tcp_socket: Option<TcpHealthCheck>,
    /// Exit code 0 is ready.
    pub exec: Option<ExecHealthCheck>,
    /// `grpc.health.v1`.
    pub grpc: Option<GrpcHealthCheck>,
}

/// By HTTP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["port"]))]
pub struct HttpHealthCheck {
    /// Path.
    pub path: Option<String>,
    /// Port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Host.
    pub host: Option<String>,
    /// `HTTP` or `HTTPS`.
    pub scheme: Option<String>,
    /// Headers to send.
    pub http_headers: Vec<HttpHeader>,
}

/// A header to send.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpHeader {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// By TCP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["port"]))]
pub struct TcpHealthCheck {
    /// Host.
    pub host: Option<String>,
    /// Port.
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// By a command.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["command"]))]
pub struct ExecHealthCheck {
    /// Program and arguments.
    pub command: Vec<String>,
}

/// By gRPC.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GrpcHealthCheck {
    /// Port.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Service name.
    pub service: Option<String>,
}
