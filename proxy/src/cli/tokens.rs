//! What becomes of a token that `sidle explain` and `sidle authz simulate` are told the claims of.
//!
//! In:  whose tokens are believed, claims.   Out: what is known of the request by them, or why it is refused.
//! Invariants: the answer is the proxy's, for a token with a good signature that stands where it is looked for; where no
//! RequestAuthentication holds, nobody looks at tokens, and nothing is known.
//! Not here: what makes claims good (`sidle-jwt`).

use super::{client::Client, explain::Request};
use crate::error::ProxyError;
use http::{Method, header};
use sidle_jwt::{Expected, Refusal, believe_claims};
use sidle_model::ir::JwtProvider;
use std::time::SystemTime;

/// Said where claims are told and nobody looks at them.
pub const UNSEEN: &str =
    "no RequestAuthentication holds here: tokens are not looked at, and the claims are not known";

/// What becomes of a token.
#[derive(Debug)]
pub enum Judged {
    /// The request goes on; of the token is known what the client's claims say now.
    Passed(Client),
    /// It is refused.
    Refused {
        /// 401 or 403.
        status: u16,
        /// Why, in the words that the client gets.
        reason: String,
    },
}

/// What `providers` make of the token of `client`, who asks for `request`.
pub fn judge(providers: &[JwtProvider], client: &Client, request: &Request) -> Judged {
    let unknown = || Judged::Passed(client.with_claims(None));
    let Some(claims) = client.claims() else { return unknown() };
    if providers.is_empty() || is_preflight(request) {
        return unknown();
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut refusal = Refusal::UnknownIssuer;
    for provider in providers {
        let expected = Expected {
            issuer: provider.issuer.clone(),
            audiences: provider.audiences.clone(),
            space_delimited: provider.space_delimited.clone(),
        };
        match believe_claims(claims.clone(), &expected, now) {
            Ok(token) => return Judged::Passed(client.with_claims(Some(token.claims))),
            // That of the provider that the token was for; others only do not know its issuer.
            Err(why) if refusal == Refusal::UnknownIssuer => refusal = why,
            Err(_) => {}
        }
    }
    let status = ProxyError::Token(refusal).status().as_u16();
    Judged::Refused { status, reason: refusal.to_string() }
}

/// Browsers ask for leave without credentials.
fn is_preflight(request: &Request) -> bool {
    let filled = |name| request.headers.iter().any(|(key, value)| *key == name && !value.is_empty());
    request.method == Method::OPTIONS.as_str()
        && filled(header::ORIGIN)
        && filled(header::ACCESS_CONTROL_REQUEST_METHOD)
}
