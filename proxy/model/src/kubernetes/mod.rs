//! Kubernetes kinds, as far as a proxy reads them.
//!
//! In:  a positioned tree (`crate::yaml`).   Out: one type a kind, with the fields that decide endpoints, ports and names.
//! Invariants: a field that is not named here is tolerated, since Kubernetes' own schema is large and checked elsewhere; one
//! whose name is near to one of these is told of (but for `x-unread`, which Kubernetes has too).
//! Not here: what the fields mean for a proxy (`crate::lower`).
//! Read: `service` -> `endpoints` -> `pod`.

mod endpoints;
mod pod;
mod secret;
mod service;

pub use endpoints::*;
pub use pod::*;
pub use secret::*;
pub use service::*;

use schemars::JsonSchema;
use serde::Deserialize;

/// A port by number, or by the name that the workload gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum IntOrString {
    /// Number.
    Number(u16),
    /// Name.
    Name(String),
}
