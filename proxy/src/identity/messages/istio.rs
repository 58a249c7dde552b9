//! `istio.v1.auth`, of Istio's `security/v1alpha1/ca.proto`.

use http::uri::PathAndQuery;

/// `IstioCertificateService.CreateCertificate`, unary.
pub fn create_certificate() -> PathAndQuery {
    PathAndQuery::from_static("/istio.v1.auth.IstioCertificateService/CreateCertificate")
}

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateRequest {
    /// PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Seconds.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateResponse {
    /// PEM: the leaf first, the roots last.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}
