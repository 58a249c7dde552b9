//! `envoy.service.secret.v3`, and what its resources are made of.

use http::uri::PathAndQuery;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `SecretDiscoveryService.StreamSecrets`, a stream both ways.
pub fn stream_secrets() -> PathAndQuery {
    PathAndQuery::from_static("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets")
}

/// Of [`Secret`].
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// `envoy.service.discovery.v3.DiscoveryRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryRequest {
    /// Of the last response that was taken.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// What is asked for.
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    /// [`SECRET`].
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Of the response that this one answers.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why that was not taken.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<Status>,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// Unique.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// What it can do.
    #[prost(message, optional, tag = "8")]
    pub user_agent_build_version: Option<BuildVersion>,
}

/// `envoy.config.core.v3.BuildVersion`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BuildVersion {
    /// Of Envoy.
    #[prost(message, optional, tag = "1")]
    pub version: Option<SemanticVersion>,
}

/// `envoy.type.v3.SemanticVersion`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SemanticVersion {
    /// Before the dot.
    #[prost(uint32, tag = "1")]
    pub major_number: u32,
    /// After it.
    #[prost(uint32, tag = "2")]
    pub minor_number: u32,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// gRPC's.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct DiscoveryResponse {
    /// Of what is in it.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// [`Secret`]s.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Any>,
    /// To be answered with.
    #[prost(string, tag = "5")]
    pub nonce: String,
}

/// `google.protobuf.Any`; wiped, since it may hold a key.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Any {
    /// Which message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Drop for Any {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl ZeroizeOnDrop for Any {}

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Secret {
    /// As it was asked for.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Chain and key.
    #[prost(message, optional, tag = "2")]
    pub tls_certificate: Option<TlsCertificate>,
    /// Roots.
    #[prost(message, optional, tag = "4")]
    pub validation_context: Option<ValidationContext>,
}

/// `TlsCertificate`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct TlsCertificate {
    /// PEM, leaf first.
    #[prost(message, optional, tag = "1")]
    pub certificate_chain: Option<DataSource>,
    /// PEM.
    #[prost(message, optional, tag = "2")]
    pub private_key: Option<DataSource>,
}

/// `CertificateValidationContext`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct ValidationContext {
    /// PEM.
    #[prost(message, optional, tag = "1")]
    pub trusted_ca: Option<DataSource>,
    /// Revocation lists, PEM.
    #[prost(message, optional, tag = "7")]
    pub crl: Option<DataSource>,
    /// [`SpiffeValidator`], where there are several trust domains.
    #[prost(message, optional, tag = "12")]
    pub custom_validator_config: Option<TypedExtension>,
    /// Whether authorities need no list.
    #[prost(bool, tag = "14")]
    pub only_verify_leaf_cert_crl: bool,
}

/// `envoy.config.core.v3.TypedExtensionConfig`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct TypedExtension {
    /// The extension's settings.
    #[prost(message, optional, tag = "2")]
    pub typed_config: Option<Any>,
}

/// `SPIFFECertValidatorConfig`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct SpiffeValidator {
    /// Roots by trust domain.
    #[prost(message, repeated, tag = "1")]
    pub trust_domains: Vec<TrustDomain>,
}

/// `SPIFFECertValidatorConfig.TrustDomain`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct TrustDomain {
    /// `example.org`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// PEM.
    #[prost(message, optional, tag = "2")]
    pub trust_bundle: Option<DataSource>,
}

/// `envoy.config.core.v3.DataSource`; only what comes with the message is taken. Wiped, since it may be a key.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct DataSource {
    /// Not read.
    #[prost(string, tag = "1")]
    pub filename: String,
    /// One of two ways to say it.
    #[prost(bytes = "vec", tag = "2")]
    pub inline_bytes: Vec<u8>,
    /// The other.
    #[prost(string, tag = "3")]
    pub inline_string: String,
    /// Not read.
    #[prost(string, tag = "4")]
    pub environment_variable: String,
}

impl Drop for DataSource {
    fn drop(&mut self) {
        self.inline_bytes.zeroize();
        self.inline_string.zeroize();
    }
}

impl ZeroizeOnDrop for DataSource {}

impl DataSource {
    /// What it holds, however it was said.
    pub fn bytes(&self) -> &[u8] {
        if self.inline_bytes.is_empty() { self.inline_string.as_bytes() } else { &self.inline_bytes }
    }

    /// Whether it holds nothing, and is said to be nowhere else.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty() && self.filename.is_empty() && self.environment_variable.is_empty()
    }
}
