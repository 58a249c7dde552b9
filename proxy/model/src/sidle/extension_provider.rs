//! `extensionProviders`: services that decide in the proxy's place. Names and defaults are those of Istio's mesh configuration.

use crate::{Duration, Map, istio::non_empty};
use schemars::JsonSchema;
use serde::Deserialize;

/// A service that policies name as their provider. One of the two kinds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtensionProvider {
    /// What `provider.name` of an AuthorizationPolicy says.
    pub name: String,
    /// Asked by an HTTP request.
    pub envoy_ext_authz_http: Option<ExtAuthzHttp>,
    /// Asked by `envoy.service.auth.v3.Authorization/Check`.
    pub envoy_ext_authz_grpc: Option<ExtAuthzGrpc>,
}

/// What both kinds say.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `[namespace/]host` of a service.
    pub service: &'a str,
    /// Its port.
    pub port: u16,
    /// To an answer.
    pub timeout: Option<Duration>,
    /// Whether requests pass when the service fails.
    pub fail_open: bool,
    /// What a client gets when the service fails.
    pub status_on_error: Option<&'a str>,
    /// Whether it sees the body.
    pub body: Option<&'a RequestBodyInCheck>,
}

impl ExtAuthzHttp {
    /// Headers that the service sees, under the name that was written.
    pub fn headers_in_check(&self) -> &[String] {
        match &self.include_request_headers_in_check[..] {
            [] => &self.include_headers_in_check,
            list => list,
        }
    }

    /// What both kinds say.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            service: &self.service,
            port: self.port,
            timeout: self.timeout,
            fail_open: self.fail_open,
            status_on_error: self.status_on_error.as_deref(),
            body: self.include_request_body_in_check.as_ref(),
        }
    }
}

impl ExtAuthzGrpc {
    /// What both kinds say.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            service: &self.service,
            port: self.port,
            timeout: self.timeout,
            fail_open: self.fail_open,
            status_on_error: self.status_on_error.as_deref(),
            body: self.include_request_body_in_check.as_ref(),
        }
    }
}

/// External authorisation by HTTP: 200 lets a request pass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtAuthzHttp {
    /// `[namespace/]host` of a service.
    pub service: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// To an answer; 600 s.
    pub timeout: Option<Duration>,
    /// In front of the request's own path.
    #[serde(deserialize_with = "non_empty")]
    pub path_prefix: Option<String>,
    /// Whether requests pass when the service fails.
    pub fail_open: bool,
    /// What a client gets when the service fails; `"403"`.
    #[serde(deserialize_with = "non_empty")]
    pub status_on_error: Option<String>,
    /// Routes are always chosen after the answer.
    pub clear_route_cache: bool,
    /// Old name of [`Self::include_request_headers_in_check`].
    pub include_headers_in_check: Vec<String>,
    /// Headers that the service sees besides host, method, path, content-length and authorization: `name`, `prefix*`, `*suffix`.
    pub include_request_headers_in_check: Vec<String>,
    /// More headers for the service.
    pub include_additional_headers_in_check: Map<String>,
    /// Whether it sees the body.
    pub include_request_body_in_check: Option<RequestBodyInCheck>,
    /// Headers of its answer that the upstream gets, in place of the request's.
    pub headers_to_upstream_on_allow: Vec<String>,
    /// Headers of its answer that a refused client gets; none said: all of them.
    pub headers_to_downstream_on_deny: Vec<String>,
    /// Headers of its answer that a client gets who was let pass.
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// External authorisation by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtAuthzGrpc {
    /// `[namespace/]host` of a service.
    pub service: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// To an answer; 600 s.
    pub timeout: Option<Duration>,
    /// Whether requests pass when the service fails.
    pub fail_open: bool,
    /// Routes are always chosen after the answer.
    pub clear_route_cache: bool,
    /// What a client gets when the service fails; `"403"`.
    #[serde(deserialize_with = "non_empty")]
    pub status_on_error: Option<String>,
    /// Whether it sees the body.
    pub include_request_body_in_check: Option<RequestBodyInCheck>,
}

/// How much of a body an authoriser sees. The request waits until so much has come.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestBodyInCheck {
    /// At most so much; a longer body is 413, unless a part will do.
    pub max_request_bytes: u32,
    /// Whether a part will do.
    pub allow_partial_message: bool,
    /// gRPC: whether it is sent as bytes, not as UTF-8 text.
    pub pack_as_bytes: bool,
}
