//! `identity` of `kind: Proxy`: where the workload's certificate, key and roots come from.

use crate::istio::non_empty;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the workload's certificate, key and roots come from: exactly one source.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Identity {
    /// A folder with `tls.crt`, `tls.key`, `ca.crt`, or with `cert-chain.pem`, `key.pem`, `root-cert.pem`.
    #[serde(deserialize_with = "non_empty")]
    pub directory: Option<String>,
    /// PEM chain, leaf first.
    #[serde(deserialize_with = "non_empty")]
    pub certificate_chain: Option<String>,
    /// PEM key of the chain.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// PEM roots of the workload's own trust domain.
    #[serde(deserialize_with = "non_empty")]
    pub root_certificates: Option<String>,
    /// Other trust domains whose workloads are believed.
    pub trust_bundles: Vec<TrustBundle>,
}

/// A trust domain whose workloads are believed by roots of its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustBundle {
    /// `example.org`.
    pub trust_domain: String,
    /// PEM roots.
    pub root_certificates: String,
}
