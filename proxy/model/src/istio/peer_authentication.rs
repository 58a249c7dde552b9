//! `PeerAuthentication`: which ports of a workload take mTLS, plain text, or both.
//!
//! Source: Istio's `security/v1/peer_authentication.proto`.

use super::MatchLabels;
use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which ports of a workload take mTLS, plain text, or both.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeerAuthentication {
    /// Labels of the workloads; absent or empty: all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<MatchLabels>,
    /// On all ports.
    pub mtls: Option<MutualTls>,
    /// By port of the workload, as text; needs a selector.
    pub port_level_mtls: Map<MutualTls>,
}

impl PeerAuthentication {
    /// Labels of the workloads; `None`: all.
    pub fn labels(&self) -> Option<&Map<String>> {
        self.selector.as_ref().map(|selector| &selector.match_labels).filter(|labels| !labels.is_empty())
    }
}

/// What is taken.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MutualTls {
    /// What.
    pub mode: MutualTlsMode,
}

/// What is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// As the policy of the namespace, then of the mesh, says; `PERMISSIVE` in the end.
    #[default]
    Unset,
    /// Plain text.
    Disable,
    /// Both.
    Permissive,
    /// mTLS.
    Strict,
}
