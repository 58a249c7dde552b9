//! Tokens that requests may bring.

use super::Origin;
use http::HeaderName;
use std::{sync::Arc, time::Duration};

/// The tokens of one issuer: where they stand, what makes them valid, what becomes of them. A token that is no valid one of any
/// provider is refused; a request without one passes.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtProvider {
    /// `iss`, letter by letter.
    pub issuer: Arc<str>,
    /// Of which `aud` must hold one; empty: any.
    pub audiences: Vec<Arc<str>>,
    /// Whose signatures are believed.
    pub keys: JwtKeys,
    /// Where a token may stand, never empty.
    pub places: Vec<TokenPlace>,
    /// Whether the token goes on with the request.
    pub forward: bool,
    /// Gets the payload, base64url.
    pub payload_header: Option<HeaderName>,
    /// Get claims: the path into the payload, and the header.
    pub claim_headers: Vec<(Arc<[String]>, HeaderName)>,
    /// Claims whose texts are lists of words.
    pub space_delimited: Vec<Arc<str>>,
    /// The rule.
    pub origin: Origin,
}

/// Whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    /// A JWK set, as JSON text.
    Inline(Arc<str>),
    /// A JWK set at a URI.
    Remote {
        /// `https` or `http`.
        uri: Arc<str>,
        /// For one fetch.
        timeout: Duration,
    },
    /// Where the issuer's `/.well-known/openid-configuration` says.
    Discovered {
        /// For one fetch.
        timeout: Duration,
    },
}

/// Where a token may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// In a header, behind a prefix.
    Header {
        /// Name.
        name: HeaderName,
        /// `Bearer `, or nothing.
        prefix: Arc<str>,
        /// Whether the prefix is one whose letters may be of either case, as schemes of `authorization` are.
        any_case: bool,
    },
    /// In a query parameter.
    Parameter(Arc<str>),
    /// In a cookie.
    Cookie(Arc<str>),
}

impl TokenPlace {
    /// Where RFC 6750 puts a token, for providers that do not say.
    pub fn defaults() -> Vec<Self> {
        let header = TokenPlace::Header {
            name: http::header::AUTHORIZATION,
            prefix: "Bearer ".into(),
            any_case: true,
        };
        vec![header, TokenPlace::Parameter("access_token".into())]
    }
}
