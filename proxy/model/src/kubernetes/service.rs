//! `Service`.

use super::IntOrString;
use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;

/// The `spec` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Labels of its Pods; empty: endpoints are given apart.
    pub selector: Map<String>,
    /// Virtual address; `None` (the text) for a headless service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// Virtual addresses.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// `ClusterIP` unless said.
    #[serde(rename = "type")]
    pub kind: ServiceType,
    /// For `ExternalName`.
    pub external_name: Option<String>,
    /// More addresses.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// Whether endpoints that are not ready count.
    pub publish_not_ready_addresses: bool,
    /// `ClientIP` or `None`.
    pub session_affinity: Option<String>,
    /// `PreferClose`, …
    pub traffic_distribution: Option<String>,
}

/// How a Service is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// By a virtual address.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Also by a port of every node.
    NodePort,
    /// Also by an outside load balancer.
    LoadBalancer,
    /// By another name.
    ExternalName,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["port"]))]
pub struct ServicePort {
    /// Unique in the Service; its prefix tells the protocol.
    pub name: Option<String>,
    /// What clients call.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Port of the endpoints; absent: `port`.
    pub target_port: Option<IntOrString>,
    /// `TCP` unless said, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Tells the protocol above `protocol`.
    pub app_protocol: Option<String>,
}
