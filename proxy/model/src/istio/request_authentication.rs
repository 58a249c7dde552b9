//! `RequestAuthentication`: which tokens are believed.
//!
//! Source: Istio's `security/v1beta1/request_authentication.proto`.

use super::{Attachment, MatchLabels, PolicyTargetReference, non_empty};
use crate::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which tokens are believed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestAuthentication {
    /// The workloads; absent: all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<MatchLabels>,
    /// Deprecated form of `targetRefs`.
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways and Services; sidecars pass over a policy that has any.
    pub target_refs: Vec<PolicyTargetReference>,
    /// One an issuer.
    pub jwt_rules: Vec<JwtRule>,
}

/// The tokens of one issuer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["issuer"]))]
pub struct JwtRule {
    /// `iss`, letter by letter.
    pub issuer: String,
    /// Of which `aud` must hold one; empty: any.
    pub audiences: Vec<String>,
    /// Where the keys are.
    #[schemars(extend("x-aliases" = ["jwks_uri"]))]
    #[serde(alias = "jwks_uri", deserialize_with = "non_empty")]
    pub jwks_uri: Option<String>,
    /// The keys, as JSON text.
    #[serde(deserialize_with = "non_empty")]
    pub jwks: Option<String>,
    /// Headers that hold the token.
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that hold the token.
    pub from_params: Vec<String>,
    /// Cookies that hold the token.
    pub from_cookies: Vec<String>,
    /// Header that gets the payload.
    #[serde(deserialize_with = "non_empty")]
    pub output_payload_to_header: Option<String>,
    /// Whether the application gets the token.
    pub forward_original_token: bool,
    /// Headers that get claims.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// For the keys to be fetched; 5 s.
    pub timeout: Option<Duration>,
    /// Claims whose texts are lists of words, besides `scope` and `permission`.
    pub space_delimited_claims: Vec<String>,
}

/// A header that holds a token.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct JwtHeader {
    /// Name.
    pub name: String,
    /// What stands in front of the token.
    #[serde(deserialize_with = "non_empty")]
    pub prefix: Option<String>,
}

/// A header that gets a claim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["header", "claim"]))]
pub struct ClaimToHeader {
    /// Name.
    pub header: String,
    /// Claim; `.` leads into objects.
    pub claim: String,
}

impl RequestAuthentication {
    /// Which workloads it is for.
    pub fn attachment(&self) -> Attachment<'_> {
        Attachment {
            selector: self.selector.as_ref(),
            target_ref: self.target_ref.as_ref(),
            target_refs: &self.target_refs,
        }
    }
}
