//! Tokens that requests bring: found, verified, taken off, told on.
//!
//! In:  a request's head.   Out: whom the token is about, or why it is refused.
//! Invariants: a request without a token passes (a rule has to forbid it); one with a token passes only if a provider believes it (R12);
//! headers that tell of tokens never come from clients; a token that is not to be forwarded does not reach the application; none is
//! logged.
//! Not here: what makes a token valid (`sidle-jwt`), fetching keys (`jwks`), what a token permits (rules).
//! Read: [`TokenGate::admit`] -> `provider` -> `places` -> `cache`; `gates` compiles.

mod cache;
mod gates;
mod places;
mod provider;

pub use gates::TokenGates;

use crate::{
    codec::{RequestHead, twins},
    exchange::Exchange,
    jwks,
};
use http::{HeaderName, Method, header, uri::PathAndQuery};
use provider::{Answer, Provider};
use sidle_jwt::Refusal;
use sidle_model::ir;
use sidle_telemetry::TokenMetrics;

/// All providers of a listener, compiled.
#[derive(Default)]
pub struct TokenGate {
    providers: Box<[Provider]>,
    /// Headers that tell of tokens.
    reserved: Box<[HeaderName]>,
    metrics: Option<TokenMetrics>,
}

impl TokenGate {
    fn build(providers: &[ir::JwtProvider], sources: &jwks::Sources, metrics: TokenMetrics) -> Self {
        let payloads = providers.iter().filter_map(|provider| provider.payload_header.as_ref());
        let claims =
            providers.iter().flat_map(|provider| provider.claim_headers.iter().map(|(_, name)| name));
        TokenGate {
            reserved: payloads.chain(claims).cloned().collect(),
            providers: providers.iter().map(|provider| Provider::build(provider, sources)).collect(),
            metrics: Some(metrics),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.providers.is_empty() && self.reserved.is_empty()
    }

    /// Whether the request goes on. The first provider that believes a token decides what is known of the request.
    ///
    /// # Errors
    /// Why its token is refused.
    pub async fn admit(&self, exchange: &mut Exchange, head: &mut RequestHead) -> Result<(), Refusal> {
        for name in &self.reserved {
            head.headers.remove(name);
            twins::remove(&mut head.headers, name);
        }
        let masked = self.masked(&head.target);
        let hidden = masked.is_some();
        if hidden {
            exchange.record.target = masked;
        }
        if self.providers.is_empty() || is_preflight(head) {
            return Ok(());
        }
        let mut refusal = None;
        for provider in &self.providers {
            match provider.ask(head).await {
                Answer::NoToken => {}
                Answer::Believed(token) => {
                    exchange.token = Some(token);
                    if hidden {
                        let target = self.masked(&head.target).unwrap_or_else(|| head.target.clone());
                        exchange.record.target = Some(target);
                    }
                    self.count(true);
                    return Ok(());
                }
                Answer::Refused(why) => refusal = Some(weightier(refusal, why)),
            }
        }
        let Some(refusal) = refusal else { return Ok(()) };
        self.count(false);
        Err(refusal)
    }

    fn count(&self, believed: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.judged(believed);
        }
    }

    /// A target without what may be a token; `None`: as it is.
    pub fn masked(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        let names = self.providers.iter().flat_map(Provider::parameters);
        names.fold(None, |masked, name| places::mask(masked.as_ref().unwrap_or(target), name).or(masked))
    }
}

/// Of several refusals that of the provider that the token was for: others only do not know its issuer.
fn weightier(before: Option<Refusal>, why: Refusal) -> Refusal {
    before.filter(|before| *before != Refusal::UnknownIssuer).unwrap_or(why)
}

/// Browsers ask for leave without credentials (Fetch standard, section 4.8).
fn is_preflight(head: &RequestHead) -> bool {
    let filled = |name| head.headers.get(name).is_some_and(|value| !value.is_empty());
    head.method == Method::OPTIONS && filled(header::ORIGIN) && filled(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What `www-authenticate` says to a request whose token was refused (RFC 6750 section 3). The query, where tokens may be, is not
/// in it.
pub fn challenge(head: &RequestHead) -> String {
    const MOST: usize = 256;
    let host = head.authority.as_ref().map_or("", |authority| authority.as_str());
    let realm = format!("{}://{host}{}", head.scheme.as_str(), head.target.path());
    let fits = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let realm: String = realm.chars().filter(fits).take(MOST).collect();
    format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")
}
