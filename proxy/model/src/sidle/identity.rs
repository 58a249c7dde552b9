//! `identity` of `kind: Proxy`: where the workload's certificate, key and roots come from.

use crate::{Duration, istio::non_empty};
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
    /// Envoy's secret discovery service on a Unix socket.
    pub sds: Option<Sds>,
    /// The SPIFFE Workload API on a Unix socket.
    pub workload_api: Option<WorkloadApi>,
    /// Istio's certificate service.
    pub certificate_authority: Option<CertificateAuthority>,
    /// Other trust domains whose workloads are believed.
    pub trust_bundles: Vec<TrustBundle>,
}

/// Envoy's secret discovery service, as SPIRE's and Istio's agents offer it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sds {
    /// Default: `/var/run/secrets/workload-spiffe-uds/socket`, Istio's.
    #[serde(deserialize_with = "non_empty")]
    pub socket: Option<String>,
    /// Secret with chain and key: `default`, or a SPIFFE id of SPIRE's.
    #[serde(deserialize_with = "non_empty")]
    pub certificate_name: Option<String>,
    /// Secret with roots: `ROOTCA`, a trust domain of SPIRE's, or its `ALL`.
    #[serde(deserialize_with = "non_empty")]
    pub validation_context_name: Option<String>,
}

/// The SPIFFE Workload API.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadApi {
    /// Default: what the environment's `SPIFFE_ENDPOINT_SOCKET` says.
    #[serde(deserialize_with = "non_empty")]
    pub socket: Option<String>,
    /// Which of several identities; absent: the first.
    #[serde(deserialize_with = "non_empty")]
    pub hint: Option<String>,
}

/// Istio's certificate service. Names and defaults are those of Istio's agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateAuthority {
    /// `istiod.istio-system.svc:15012`.
    #[serde(deserialize_with = "non_empty")]
    pub address: Option<String>,
    /// Name of the server's certificate; absent: the host of the address.
    #[serde(deserialize_with = "non_empty")]
    pub server_name: Option<String>,
    /// `/var/run/secrets/istio/root-cert.pem`.
    #[serde(deserialize_with = "non_empty")]
    pub root_certificates: Option<String>,
    /// `/var/run/secrets/tokens/istio-token`.
    #[serde(deserialize_with = "non_empty")]
    pub token_file: Option<String>,
    /// `default`.
    #[serde(deserialize_with = "non_empty")]
    pub service_account: Option<String>,
    /// `Kubernetes`.
    #[serde(deserialize_with = "non_empty")]
    pub cluster_id: Option<String>,
    /// 24 h.
    pub secret_ttl: Option<Duration>,
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
