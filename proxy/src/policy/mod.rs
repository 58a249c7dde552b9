//! What a route does to its requests and responses besides forwarding them.
//!
//! In:  a request's head.   Out: the head changed, or an early answer.
//! Invariants: the order is Istio's: fault, then cross-origin, then the action; a redirect or direct response sees no fault.
//! Not here: timeouts and retries (`exchange::attempt`), rewriting paths (`sidle-routing`).
//! Read: `gate` -> `jwt` -> `authorization` -> `rate_limit` -> `mod.rs` (admit) -> `headers` -> `fault`.

pub mod authorization;
pub mod ext_authz;
pub mod fault;
pub mod gate;
pub mod headers;
pub mod jwt;
pub mod rate_limit;
mod service;

use crate::{
    codec::{Body, RequestHead, ResponseHead},
    error::ProxyError,
    exchange::Exchange,
};
use headers::HeaderRules;
use http::{HeaderValue, StatusCode};
use sidle_model::ir;
use sidle_routing::{CorsPolicy, cors::Decision};
use std::borrow::Cow;

/// The policies of one route, compiled.
pub struct RoutePolicy {
    /// To the request, after the cluster's own, as in Envoy.
    pub request_headers: HeaderRules,
    /// To the response, after the cluster's own.
    pub response_headers: HeaderRules,
    // In boxes: few routes have them.
    fault: Option<Box<ir::Fault>>,
    cors: Option<Box<CorsPolicy>>,
}

/// Whether a request goes on.
pub enum Verdict {
    /// It does.
    Continue,
    /// It is answered here, with these details.
    Respond(ResponseHead, Body, Cow<'static, str>),
}

impl RoutePolicy {
    /// Compiles the policies of `route`.
    ///
    /// # Errors
    /// When a configured list cannot be a header's value.
    pub fn build(route: &ir::Route) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(RoutePolicy {
            request_headers: HeaderRules::build(&route.request_headers),
            response_headers: HeaderRules::build(&route.response_headers),
            fault: route.fault.clone(),
            cors: route.cors.as_deref().map(CorsPolicy::new).transpose()?.map(Box::new),
        })
    }

    /// Injects faults and answers preflights.
    ///
    /// # Errors
    /// An injected abort.
    pub async fn admit(&self, exchange: &mut Exchange, head: &RequestHead) -> Result<Verdict, ProxyError> {
        if let Some(fault) = &self.fault {
            fault::inject(fault, exchange).await?;
        }
        let Some(cors) = &self.cors else { return Ok(Verdict::Continue) };
        match cors.decide(head) {
            Decision::Pass => Ok(Verdict::Continue),
            Decision::Amend(headers) => {
                exchange.add_response_headers(headers);
                Ok(Verdict::Continue)
            }
            Decision::Respond(headers) => {
                let mut response = ResponseHead::new(StatusCode::OK);
                response.headers.extend(headers);
                response.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                Ok(Verdict::Respond(response, Body::Empty, "cors_response".into()))
            }
        }
    }
}
