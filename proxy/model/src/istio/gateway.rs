//! `Gateway`: ports that a gateway proxy opens.
//!
//! Source: Istio's `networking/v1/gateway.proto`.

use super::non_empty;
use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;

/// Ports that a gateway proxy opens.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["servers"]))]
pub struct Gateway {
    /// One or more.
    pub servers: Vec<Server>,
    /// Labels of the proxies that open them; empty: all gateways.
    pub selector: Map<String>,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["port", "hosts"]))]
pub struct Server {
    /// What.
    pub port: Port,
    /// Address or Unix socket.
    #[serde(deserialize_with = "non_empty")]
    pub bind: Option<String>,
    /// `[namespace/]name`.
    pub hosts: Vec<String>,
    /// TLS on it.
    pub tls: Option<ServerTlsSettings>,
    /// Never implemented, by Istio either.
    #[serde(deserialize_with = "non_empty")]
    pub default_endpoint: Option<String>,
    /// In statistics.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
}

/// A port of a server or of a Sidecar listener.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["number", "protocol"]))]
pub struct Port {
    /// Number.
    #[schemars(range(min = 1))]
    pub number: u16,
    /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `MONGO`, `TCP`, `TLS`, …
    pub protocol: String,
    /// Label.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// Deprecated.
    #[schemars(range(min = 1))]
    pub target_port: Option<u16>,
}

/// TLS on a port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerTlsSettings {
    /// Answer plain HTTP with 301 to HTTPS.
    pub https_redirect: bool,
    /// What is done with TLS.
    pub mode: ServerTlsMode,
    /// PEM file.
    #[serde(deserialize_with = "non_empty")]
    pub server_certificate: Option<String>,
    /// PEM file.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// PEM bundle for client certificates.
    #[serde(deserialize_with = "non_empty")]
    pub ca_certificates: Option<String>,
    /// Revocation list, PEM file.
    #[serde(deserialize_with = "non_empty")]
    pub ca_crl: Option<String>,
    /// Secret.
    #[serde(deserialize_with = "non_empty")]
    pub credential_name: Option<String>,
    /// Secrets, one a key type.
    pub credential_names: Vec<String>,
    /// Secret with the bundle for client certificates.
    #[serde(deserialize_with = "non_empty")]
    pub ca_cert_credential_name: Option<String>,
    /// Certificates, one a key type.
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names of which the client must have one.
    pub subject_alt_names: Vec<String>,
    /// Base64 SHA-256 of allowed client keys.
    pub verify_certificate_spki: Vec<String>,
    /// Hexadecimal SHA-256 of allowed client certificates.
    pub verify_certificate_hash: Vec<String>,
    /// TLS 1.2 unless said.
    pub min_protocol_version: TlsProtocol,
    /// TLS 1.3 unless said.
    pub max_protocol_version: TlsProtocol,
    /// For TLS 1.2.
    pub cipher_suites: Vec<String>,
    /// Accept any client certificate.
    pub insecure_skip_verify: Option<bool>,
}

/// A certificate on file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsCertificate {
    /// PEM file.
    #[serde(deserialize_with = "non_empty")]
    pub server_certificate: Option<String>,
    /// PEM file.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// PEM bundle for client certificates.
    #[serde(deserialize_with = "non_empty")]
    pub ca_certificates: Option<String>,
}

/// What is done with TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Routed by server name, not opened.
    #[default]
    Passthrough,
    /// Opened.
    Simple,
    /// Opened, client certificate required.
    Mutual,
    /// Routed by a server name that holds the cluster.
    AutoPassthrough,
    /// Opened with the workload's own certificate, client certificate required.
    IstioMutual,
    /// Opened, client certificate optional.
    OptionalMutual,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum TlsProtocol {
    /// The default.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// 1.0.
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// 1.1.
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}
