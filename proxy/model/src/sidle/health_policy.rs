//! `kind: HealthPolicy`: what outlier detection of a host looks at, besides what Istio has fields for, and health checks.

use crate::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// Adds to the `outlierDetection` of a host, on all its ports and subsets. Where its DestinationRule has none, the interval, the
/// times and the bounds are Istio's defaults, and nothing in a row counts. A health check alone ejects nobody.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthPolicy {
    /// As in a DestinationRule.
    pub host: String,
    /// Ejects whose share of good answers is far below that of the others.
    pub success_rate: Option<SuccessRate>,
    /// Ejects whose share of bad answers is too large.
    pub failure_percentage: Option<FailurePercentage>,
    /// Ejects whose answers take much longer than those of the others.
    pub latency: Option<Latency>,
    /// Tries an endpoint that comes back with one request at a time.
    pub probing: Option<Probing>,
    /// Asks each endpoint whether it is well, whether there are requests or not.
    pub health_check: Option<HealthCheck>,
}

/// Asks each endpoint whether it is well. Names are Envoy's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-oneof" = [["http", "grpc", "tcp"]]))]
pub struct HealthCheck {
    /// A GET.
    pub http: Option<HttpHealthCheck>,
    /// `grpc.health.v1.Health/Check`.
    pub grpc: Option<GrpcHealthCheck>,
    /// A connection, and TLS where the host has it.
    pub tcp: Option<TcpHealthCheck>,
    /// In place of the port that requests go to.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// From the end of a check to the next; 10 s.
    pub interval: Option<Duration>,
    /// At most so much more, by chance; 1 s.
    pub interval_jitter: Option<Duration>,
    /// Of a check, connecting included; 3 s.
    pub timeout: Option<Duration>,
    /// Checks in a row that fail before an endpoint is kept out; 3.
    #[schemars(range(min = 1))]
    pub unhealthy_threshold: Option<u32>,
    /// Checks in a row that pass before it is used again; 2.
    #[schemars(range(min = 1))]
    pub healthy_threshold: Option<u32>,
}

/// A GET.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpHealthCheck {
    /// `/` unless said.
    pub path: Option<String>,
    /// `Host`; the policy's or the service's unless said.
    pub host: Option<String>,
    /// Good statuses; 200 unless said.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub expected_statuses: Vec<u16>,
}

/// `grpc.health.v1.Health/Check`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GrpcHealthCheck {
    /// Whose health; the server's unless said.
    pub service: Option<String>,
    /// `:authority`; the service's host unless said.
    pub authority: Option<String>,
}

/// A connection.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpHealthCheck {}

/// Ejects whose answers take much longer than those of the others, in the mean of an interval, to the head of the answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Latency {
    /// Times the median of the endpoints; 3.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub factor: Option<f64>,
    /// Whoever is faster is fast enough; 50 ms.
    pub minimum: Option<Duration>,
    /// Endpoints with enough requests, for the median to tell anything; 3.
    pub minimum_hosts: Option<u32>,
    /// Requests of an endpoint in an interval, for it to count; 50.
    pub request_volume: Option<u32>,
}

/// Tries an endpoint that comes back with one request at a time; a bad answer keeps it out again, for longer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Probing {
    /// Good answers before it is trusted; 3.
    #[schemars(range(min = 1))]
    pub requests: Option<u32>,
}

/// Ejects whose share of good answers is far below that of the others.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SuccessRate {
    /// Endpoints with enough requests, for the mean to tell anything; 5.
    pub minimum_hosts: Option<u32>,
    /// Requests of an endpoint in an interval, for it to count; 100.
    pub request_volume: Option<u32>,
    /// Standard deviations below the mean; 1.9.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub stdev_factor: Option<f64>,
}

/// Ejects whose share of bad answers is too large.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FailurePercentage {
    /// Percent; 85.
    #[schemars(range(min = 1, max = 100))]
    pub threshold: Option<u8>,
    /// Endpoints with enough requests; 5.
    pub minimum_hosts: Option<u32>,
    /// Requests of an endpoint in an interval, for it to count; 50.
    pub request_volume: Option<u32>,
}
