//! A service that counts for all proxies: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.

use super::{Opinion, Text, Told, descriptor::Descriptor, messages};
use crate::{
    codec::RequestHead,
    exchange::Exchange,
    policy::{
        ext_authz::Change,
        service::{Silence, grpc::Call},
    },
    upstream::Cluster,
};
use http::HeaderValue;
use messages::{DescriptorStatus, Entry, Limit, RateLimitRequest, RateLimitResponse};
use sidle_model::ir::RateLimitService;
use std::{fmt::Write as _, sync::Arc};
use tokio::time::Instant;

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

/// A service, ready to be asked.
pub struct Service {
    pub config: RateLimitService,
    pub cluster: Arc<Cluster>,
    descriptors: Box<[Descriptor]>,
}

impl Service {
    /// With the cluster that the configuration names.
    pub fn build(config: &RateLimitService, cluster: Arc<Cluster>) -> Self {
        let descriptors = config.descriptors.iter().map(|actions| Descriptor::new(actions)).collect();
        Service { config: config.clone(), cluster, descriptors }
    }

    /// What it says of a request that goes to `to`; `None`: there is nothing to ask about.
    pub async fn ask(
        &self,
        exchange: &Exchange,
        head: &RequestHead,
        to: Option<&Arc<Cluster>>,
    ) -> Option<Result<Opinion, Silence>> {
        let to = to.map(|cluster| &*cluster.config.name);
        let client = exchange.record.peer.map(|peer| peer.ip());
        let descriptors: Vec<_> = (self.descriptors.iter())
            .filter_map(|descriptor| descriptor.entries(head, client, to))
            .map(|entries| messages::Descriptor {
                entries: entries.into_iter().map(|(key, value)| Entry { key, value }).collect(),
            })
            .collect();
        if descriptors.is_empty() {
            return None;
        }
        let question = RateLimitRequest { domain: self.config.domain.to_string(), descriptors };
        let deadline = Instant::now() + self.config.timeout;
        let authority = &self.config.authority;
        let call = Call { cluster: &self.cluster, authority, method: METHOD, deadline };
        Some(call.ask(exchange.asker(), &question).await.and_then(opinion))
    }
}

fn opinion(answer: RateLimitResponse) -> Result<Opinion, Silence> {
    let over = match answer.overall_code {
        OK => false,
        OVER_LIMIT => true,
        _ => return Err(Silence::Unclear),
    };
    Ok(Opinion {
        over,
        told: told(&answer.statuses),
        response: answer.response_headers_to_add.iter().filter_map(Change::header).collect(),
        request: answer.request_headers_to_add.iter().filter_map(Change::header).collect(),
        body: answer.raw_body.into(),
    })
}

/// The limit that is nearest, and then all of them, as Envoy writes them.
fn told(statuses: &[DescriptorStatus]) -> Option<Told> {
    let limits = || statuses.iter().filter_map(|status| Some((status, status.current_limit.as_ref()?)));
    let (nearest, limit) = limits().min_by_key(|(status, _)| status.limit_remaining)?;
    let mut text = limit.requests_per_unit.to_string();
    for (_, Limit { requests_per_unit, name, .. }, window) in
        limits().filter_map(|(status, limit)| Some((status, limit, limit.window()?)))
    {
        // A `String` takes every write.
        let _ = write!(text, ", {requests_per_unit};w={window}");
        if !name.is_empty() {
            let _ = write!(text, ";name=\"{name}\"");
        }
    }
    let limit = HeaderValue::try_from(text).unwrap_or_else(|_| limit.requests_per_unit.into());
    let reset = nearest.duration_until_reset.map_or(0, |span| span.seconds);
    Some(Told {
        limit: Text(limit),
        remaining: nearest.limit_remaining,
        reset: u64::try_from(reset).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use messages::Span;

    fn status(per_unit: u32, unit: i32, name: &str, left: u32) -> DescriptorStatus {
        DescriptorStatus {
            current_limit: Some(Limit { requests_per_unit: per_unit, unit, name: name.into() }),
            limit_remaining: left,
            duration_until_reset: Some(Span { seconds: i64::from(left) }),
        }
    }

    #[test]
    fn the_nearest_limit_is_told_first() {
        let none = DescriptorStatus { current_limit: None, limit_remaining: 0, duration_until_reset: None };
        let told = told(&[none, status(100, 3, "", 7), status(10, 1, "each", 2)]).unwrap();
        let text = told.limit.0.to_str().unwrap().to_owned();
        assert_eq!(text, "10, 100;w=3600, 10;w=1;name=\"each\"");
        assert_eq!((told.remaining, told.reset), (2, 2));
    }

    #[test]
    fn an_answer_that_says_neither_is_none() {
        let answer = |overall_code| RateLimitResponse { overall_code, ..RateLimitResponse::default() };
        assert!(!opinion(answer(1)).unwrap().over);
        assert!(opinion(answer(2)).unwrap().over);
        assert!(opinion(answer(0)).is_err());
        assert!(opinion(answer(3)).is_err());
    }
}
