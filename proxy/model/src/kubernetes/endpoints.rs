//! `Endpoints` and `EndpointSlice`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Endpoints of the Service of the same name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    /// Each address with each port.
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that have the same ports.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSubset {
    /// That are ready.
    pub addresses: Vec<EndpointAddress>,
    /// That are not.
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Ports.
    pub ports: Vec<EndpointPort>,
}

/// An address.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["ip"]))]
pub struct EndpointAddress {
    /// IP.
    pub ip: String,
    /// Of a StatefulSet's Pod.
    pub hostname: Option<String>,
    /// Where it runs.
    pub node_name: Option<String>,
    /// The Pod.
    pub target_ref: Option<ObjectReference>,
}

/// Refers to an object.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Kind.
    pub kind: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
}

/// A port of endpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// Name of the Service's port.
    pub name: Option<String>,
    /// Number.
    pub port: Option<u16>,
    /// `TCP` unless said.
    pub protocol: Option<String>,
    /// Tells the protocol above `protocol`.
    pub app_protocol: Option<String>,
}

/// Endpoints of the Service that the label `kubernetes.io/service-name` names.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// What the addresses are.
    pub address_type: AddressType,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Of each endpoint.
    pub ports: Vec<EndpointPort>,
}

/// What the addresses of a slice are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AddressType {
    /// IPv4.
    #[default]
    IPv4,
    /// IPv6.
    IPv6,
    /// Names.
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["addresses"]))]
pub struct Endpoint {
    /// Of one endpoint; consumers use the first.
    pub addresses: Vec<String>,
    /// State.
    pub conditions: EndpointConditions,
    /// Of a StatefulSet's Pod.
    pub hostname: Option<String>,
    /// Where it runs.
    pub node_name: Option<String>,
    /// The Pod.
    pub target_ref: Option<ObjectReference>,
    /// Its zone.
    pub zone: Option<String>,
}

/// State of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// Absent: yes.
    pub ready: Option<bool>,
    /// Absent: as `ready`.
    pub serving: Option<bool>,
    /// Absent: no.
    pub terminating: Option<bool>,
}
