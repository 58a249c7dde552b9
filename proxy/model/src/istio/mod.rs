//! Istio's traffic kinds, as users write them.
//!
//! In:  a positioned tree (`crate::yaml`).   Out: one type a kind, named as in Istio's protos.
//! Invariants: every field of the CRDs is here; absent is `None`, an empty list or an empty map; an empty text means absent,
//! as in protobuf, except where it can be told apart (`StringMatch`). Nothing is checked beyond types and ranges.
//! Not here: what the fields do (`crate::lower`), rules between fields (`crate::check`).
//! Read: `virtual_service` -> `destination_rule` -> `service_entry`.

mod authorization_policy;
mod destination_rule;
mod gateway;
mod l4_route;
mod load_balancer;
mod peer_authentication;
mod request_authentication;
mod service_entry;
mod sidecar;
mod virtual_service;
mod workload_entry;

pub use authorization_policy::*;
pub use destination_rule::*;
pub use gateway::*;
pub use l4_route::*;
pub use load_balancer::*;
pub use peer_authentication::*;
pub use request_authentication::*;
pub use service_entry::*;
pub use sidecar::*;
pub use virtual_service::*;
pub use workload_entry::*;

use crate::Map;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A port by number.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["number"]))]
pub struct PortSelector {
    /// Number.
    #[schemars(range(min = 1))]
    pub number: u16,
}

/// A percentage.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Percent {
    /// 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    pub value: f64,
}

/// Changes to request and response headers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Headers {
    /// Of the request.
    pub request: Option<HeaderOperations>,
    /// Of the response.
    pub response: Option<HeaderOperations>,
}

/// Changes to headers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderOperations {
    /// Overwrites.
    pub set: Map<String>,
    /// Appends.
    pub add: Map<String>,
    /// Removes.
    pub remove: Vec<String>,
}

/// Labels that a workload must have, of ServiceEntry and Sidecar.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadSelector {
    /// All of them.
    pub labels: Map<String>,
}

/// Labels that a workload must have, of DestinationRule and of policies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchLabels {
    /// All of them.
    pub match_labels: Map<String>,
}

/// A resource that a policy is attached to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["kind", "name"]))]
pub struct PolicyTargetReference {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Must be the policy's own.
    #[serde(deserialize_with = "non_empty")]
    pub namespace: Option<String>,
}

/// Which workloads a policy is for, as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// By their labels.
    pub selector: Option<&'a MatchLabels>,
    /// By one resource: the older form.
    pub target_ref: Option<&'a PolicyTargetReference>,
    /// By several.
    pub target_refs: &'a [PolicyTargetReference],
}

impl<'a> Attachment<'a> {
    /// The resources, in either form, with the name of the field.
    pub fn targets(&self) -> (&'static str, &'a [PolicyTargetReference]) {
        match self.target_ref {
            Some(target) if self.target_refs.is_empty() => ("targetRef", std::slice::from_ref(target)),
            _ => ("targetRefs", self.target_refs),
        }
    }
}

/// An empty text is an absent one, as in protobuf.
pub(crate) fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}
