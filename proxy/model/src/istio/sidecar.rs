//! `Sidecar`: what a proxy listens on, and what it sees of the mesh.
//!
//! Source: Istio's `networking/v1/sidecar.proto`.

use super::{ConnectionPoolSettings, Destination, Port, ServerTlsSettings, WorkloadSelector, non_empty};
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

/// What a proxy listens on, and what it sees of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sidecar {
    /// The workloads; absent: all of the namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Inbound ports; absent: those of the workload's Services.
    pub ingress: Vec<IstioIngressListener>,
    /// Outbound ports; absent: everything.
    pub egress: Vec<IstioEgressListener>,
    /// Bounds for inbound.
    pub inbound_connection_pool: Option<ConnectionPoolSettings>,
    /// What happens to unknown destinations.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// An inbound port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["port"]))]
pub struct IstioIngressListener {
    /// What.
    pub port: Port,
    /// Address.
    #[serde(deserialize_with = "non_empty")]
    pub bind: Option<String>,
    /// How traffic arrives.
    pub capture_mode: CaptureMode,
    /// `127.0.0.1:PORT`, `0.0.0.0:PORT`, `[::1]:PORT` or `unix:///path`; absent: the same port.
    #[serde(deserialize_with = "non_empty")]
    pub default_endpoint: Option<String>,
    /// TLS on it.
    #[schemars(transform = opened)]
    pub tls: Option<ServerTlsSettings>,
    /// Bounds.
    pub connection_pool: Option<ConnectionPoolSettings>,
}

/// Of the modes of TLS, a port of a Sidecar has those that open it.
fn opened(schema: &mut Schema) {
    for place in ["/properties/mode", "/anyOf/0/properties/mode"] {
        if let Some(mode) = schema.pointer_mut(place) {
            *mode = json!({ "enum": ["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"] });
        }
    }
}

/// An outbound port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["hosts"]))]
pub struct IstioEgressListener {
    /// What; absent: every port that no other entry takes.
    pub port: Option<Port>,
    /// Address or Unix socket.
    #[serde(deserialize_with = "non_empty")]
    pub bind: Option<String>,
    /// How traffic arrives.
    pub capture_mode: CaptureMode,
    /// `namespace/name` of what is seen.
    pub hosts: Vec<String>,
}

/// How traffic arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As the environment does.
    #[default]
    Default,
    /// Redirected by the kernel.
    Iptables,
    /// Sent to the port.
    None,
}

/// What happens to unknown destinations.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutboundTrafficPolicy {
    /// Refuse or pass.
    pub mode: OutboundTrafficPolicyMode,
    /// A destination for them.
    pub egress_proxy: Option<Destination>,
}

/// Refuse or pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficPolicyMode {
    /// Refuse; what an empty policy means.
    #[default]
    RegistryOnly,
    /// Pass.
    AllowAny,
}
