//! How many requests in a time, where RateLimitPolicies say.
//!
//! In:  a request whose route is chosen.   Out: it goes on, or is refused.
//! Invariants: a policy's buckets are the same for all listeners and workers, and outlive reloads that do not change it; who lacks
//! what a key is made of shares one bucket with all who do. Who is refused by a bucket costs no service a question.
//! Not here: buckets (`sidle_balance`).
//! Read: [`admit`] -> `local`; `global` -> `descriptor`, `messages`.
//! Source: Envoy's two rate limit filters for status, words, headers and metrics.

mod descriptor;
#[cfg_attr(not(feature = "grpc-clients"), path = "without_grpc.rs")]
mod global;
mod local;
#[cfg(feature = "grpc-clients")]
mod messages;

use super::{Verdict, ext_authz::Change};
use crate::{
    codec::RequestHead,
    error::ProxyError,
    exchange::{self, Exchange},
    upstream::Cluster,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use sidle_model::ir::{self, RateLimitBy};
use sidle_routing::host::normalise;
use sidle_telemetry::{RateLimitOutcome, ResponseFlags, Telemetry};
use std::sync::Arc;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// One policy, and what it has counted.
pub struct RateLimit {
    config: ir::RateLimit,
    by: By,
}

enum By {
    Buckets(local::Buckets),
    Service(global::Service),
}

/// What a client is told is left.
struct Told {
    /// A number, and what else the service says of its limits.
    limit: Text,
    remaining: u32,
    /// Seconds.
    reset: u64,
}

/// A header's value.
struct Text(HeaderValue);

impl From<u32> for Text {
    fn from(number: u32) -> Self {
        Text(number.into())
    }
}

/// What a service says.
#[cfg_attr(not(feature = "grpc-clients"), allow(dead_code, reason = "said by gRPC only"))]
struct Opinion {
    /// Whether it is one too many.
    over: bool,
    /// What is left of the limit that is nearest.
    told: Option<Told>,
    /// To the response.
    response: Vec<Change>,
    /// To the request, if it passes.
    request: Vec<Change>,
    /// For a client who is refused.
    body: Bytes,
}

impl RateLimit {
    /// As `config` says: one of `known` that counts as it does, or a new one. `cluster` finds a service's.
    ///
    /// # Errors
    /// That of `cluster`.
    pub fn build<'a, E>(
        config: &ir::RateLimit,
        mut known: impl Iterator<Item = &'a Arc<RateLimit>>,
        telemetry: &Telemetry,
        cluster: impl FnOnce(&Arc<str>) -> Result<Arc<Cluster>, E>,
    ) -> Result<Arc<Self>, E> {
        let by = match &config.by {
            RateLimitBy::Local(local) => {
                if let Some(known) = known.find(|known| known.config == *config) {
                    return Ok(known.clone());
                }
                By::Buckets(local::Buckets::build(local, telemetry.rate_limit_metrics(&config.name)))
            }
            RateLimitBy::Service(service) => {
                By::Service(global::Service::build(service, cluster(&service.cluster)?))
            }
        };
        Ok(Arc::new(RateLimit { config: config.clone(), by }))
    }

    /// Has the metrics tell of its own buckets from now on. For policies that are in use.
    pub fn show(&self) {
        if let By::Buckets(buckets) = &self.by {
            buckets.show();
        }
    }
}

/// Takes a token of each policy that holds for the request, and asks the services of the others. `cluster`: where it goes.
///
/// # Errors
/// There was no token, or a service that must answer did not.
pub async fn admit(
    limits: &[Arc<RateLimit>],
    exchange: &mut Exchange,
    head: &mut RequestHead,
    route: &str,
    cluster: Option<&Arc<Cluster>>,
) -> Result<Verdict, ProxyError> {
    let authority = head.authority.clone();
    let host = normalise(authority.as_ref().map_or("", |authority| authority.as_str()), true);
    let mut least: Option<Told> = None;
    for limit in limits.iter().filter(|limit| limit.config.holds_for(&host, route)) {
        let shown = limit.config.response_headers;
        let (verdict, told) = match &limit.by {
            By::Buckets(buckets) => {
                let (allowed, told) = buckets.take(exchange, head);
                (if allowed { Ok(Verdict::Continue) } else { Err(ProxyError::RateLimited) }, Some(told))
            }
            By::Service(service) => ask(service, exchange, head, cluster).await,
        };
        let passes = matches!(verdict, Ok(Verdict::Continue));
        if let Some(told) = told.filter(|_| shown)
            && least.as_ref().is_none_or(|least| !passes || told.remaining < least.remaining)
        {
            least = Some(told);
        }
        if !passes {
            tell(exchange, least);
            return verdict;
        }
    }
    tell(exchange, least);
    Ok(Verdict::Continue)
}

/// Asks a service, and does what it says.
async fn ask(
    service: &global::Service,
    exchange: &mut Exchange,
    head: &mut RequestHead,
    cluster: Option<&Arc<Cluster>>,
) -> (Result<Verdict, ProxyError>, Option<Told>) {
    let metrics = cluster.unwrap_or(&service.cluster).metrics.rate_limits();
    let opinion = match service.ask(exchange, head, cluster).await {
        None => return (Ok(Verdict::Continue), None),
        Some(Ok(opinion)) => opinion,
        Some(Err(silence)) => {
            tracing::debug!(service = %service.config.authority, %silence, "the rate limit service failed");
            metrics.judged(RateLimitOutcome::Error);
            if service.config.failure_mode_deny {
                return (Err(ProxyError::RateLimitService), None);
            }
            metrics.judged(RateLimitOutcome::FailureModeAllowed);
            return (Ok(Verdict::Continue), None);
        }
    };
    metrics.judged(if opinion.over { RateLimitOutcome::OverLimit } else { RateLimitOutcome::Ok });
    exchange.change_response(opinion.response);
    if !opinion.over {
        opinion.request.iter().for_each(|change| change.apply(&mut head.headers));
        return (Ok(Verdict::Continue), opinion.told);
    }
    exchange.record.flags |= ResponseFlags::RL;
    let (mut answer, body) = exchange::direct(StatusCode::TOO_MANY_REQUESTS, opinion.body, head);
    answer.headers.insert(RATE_LIMITED, HeaderValue::from_static("true"));
    (Ok(Verdict::Respond(answer, body, "request_rate_limited".into())), opinion.told)
}

fn tell(exchange: &mut Exchange, told: Option<Told>) {
    let Some(Told { limit, remaining, reset }) = told else { return };
    exchange.add_response_headers([(LIMIT, limit.0), (REMAINING, remaining.into()), (RESET, reset.into())]);
}
