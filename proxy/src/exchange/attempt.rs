//! Forwarding: a cluster by weight, then tries until one is good enough or the policy is used up.
//!
//! Invariants: a request that may have been acted on is sent again only if its method is idempotent or the upstream's own
//! answer asks for it; a keep-alive race is no try; retries hold a permit of the cluster's budget.
//! Not here: a single try (`send`), what may be sent again (`repeat`), conditions and back-off (`sidle-balance`).
//! Read: [`Exchange::attempts`] -> `tries` -> `once`.

use super::{
    Exchange, Moment,
    destination::Wish,
    hedge::{Try, Twice},
    outgoing,
    repeat::{is_stale, may_repeat},
    replay::Replay,
    reply::{self, GRPC_STATUS},
    send::{self, Lease, Sent, Tried},
    tcp::CountedConnection,
};
use crate::{
    codec::{Body, Duplex, RequestHead, ResponseHead, grpc},
    config::{ForwardPlan, RoutePlan, WeightedPlan},
    error::ProxyError,
    upstream::Cluster,
    worker::Held,
};
use http::{HeaderName, HeaderValue, header};
use sidle_balance::{ActiveRequest, BackOff, Endpoint, HashFacts, Outcome, Permit, should_retry};
use sidle_model::ir::RetryPolicy;
use sidle_routing::CompiledRoute;
use sidle_telemetry::{Overflow, ResponseFlags};
use smallvec::SmallVec;
use std::{
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// How long an upgraded connection may be silent: Envoy's for TCP.
const UPGRADE_IDLE: Duration = Duration::from_secs(3600);

/// Connections in a row that may close under a request before it counts as failed.
const MAX_STALE: u32 = 3;

/// A response on its way down, with all that it holds.
pub struct Response {
    /// Changed by the route.
    pub head: ResponseHead,
    /// As the upstream sends it.
    pub body: Body,
    /// The connection.
    pub lease: Lease,
    /// The connection itself, after 101 or to CONNECT, and how long nothing may move on it.
    pub upgraded: Option<(Box<Duplex>, Option<Duration>)>,
    /// The client's side of an HTTP/2 tunnel.
    pub client: Body,
    /// The route's timeout, if it has one, and since when it runs.
    pub timeout: Option<(tokio::time::Instant, Duration)>,
    /// Given back at the end.
    pub hold: Hold,
}

/// Load that a request is, until its last byte.
pub struct Hold {
    pub(super) _counted: Option<CountedRequest>,
    pub(super) _request: Option<Permit>,
    pub(super) _active: Option<ActiveRequest<Held<Endpoint>>>,
    pub(super) _retry: Option<Permit>,
    /// Of a tunnel.
    pub(super) _connection: Option<CountedConnection>,
}

/// A request in the cluster's figures.
pub(super) struct CountedRequest(Held<Cluster>);

impl CountedRequest {
    pub(super) fn begin(cluster: Held<Cluster>) -> Self {
        cluster.metrics.request_started();
        CountedRequest(cluster)
    }
}

impl Drop for CountedRequest {
    fn drop(&mut self) {
        self.0.metrics.request_ended();
    }
}

impl Exchange {
    /// Chooses the cluster of a request by weight, and notes it.
    pub(super) fn choose<'f>(&mut self, forward: &'f ForwardPlan) -> &'f WeightedPlan {
        let weighted = &forward.clusters[forward.index.pick(self.random())];
        let cluster = self.hold(&weighted.cluster);
        self.record.cluster = Some(cluster.clone());
        self.destination = Some((cluster, None));
        weighted
    }

    /// This worker's hold on a cluster.
    pub(super) fn hold(&self, cluster: &Arc<Cluster>) -> Held<Cluster> {
        match &self.destination {
            Some((held, _)) if Arc::ptr_eq(held.shared(), cluster) => held.clone(),
            _ => self.connection.worker.hold_cluster(&self.record.snapshot, cluster),
        }
    }

    /// Forwards the request.
    pub(super) async fn attempts(
        &mut self,
        route: &CompiledRoute<RoutePlan>,
        forward: &ForwardPlan,
        weighted: &WeightedPlan,
        head: &mut RequestHead,
        body: Body,
    ) -> Result<Box<Response>, ProxyError> {
        let cluster = &weighted.cluster;
        if head.is_connect() {
            return Box::pin(self.connect(route, weighted, head, body)).await; // rare: its room would be every request's
        }
        let timeout = effective_timeout(forward.timeout, head, self.record.grpc);
        let timeout = timeout.map(|timeout| (tokio::time::Instant::now(), timeout));
        let hashed = sidle_balance::hash(&forward.hash_policies, &Facts(self, head), &mut || self.random());
        outgoing::prepare(self, route, forward, weighted, head);
        let limits = &cluster.config.limits;
        let Some(permit) = cluster.usage.try_acquire_request(limits) else {
            cluster.metrics.overflowed(Overflow::Requests);
            return Err(ProxyError::Overflow);
        };
        let counted = CountedRequest::begin(self.hold(cluster));
        let upgrade = head.upgrade.is_some();
        let (body, client) =
            if upgrade { (Body::Empty, body) } else { (self.mirror(forward, head, body), Body::Empty) };
        let replay = Replay::new(body, self.record.snapshot.ir.settings.limits.replay_buffer_bytes as usize);
        let progress = self.request_body.clone();
        let done = {
            // Pinned here, so that there is room for it once, whether or not there is a timeout.
            let retry = forward.retry.as_deref();
            let mut tries = pin!(self.tries(cluster, retry, timeout, hashed.hash, head, replay));
            match timeout {
                None => Some(tries.await),
                Some((from, timeout)) => tokio::select! {
                    biased;
                    done = tries.as_mut() => Some(done),
                    () = progress.deadline(from, timeout) => None,
                },
            }
        };
        let done = done.unwrap_or_else(|| {
            cluster.metrics.timed_out();
            self.unanswered();
            Err(ProxyError::ResponseTimeout)
        });
        let Done { sent, active, retry } = done.map_err(|error| self.blame(error))?;
        let Sent { head: answered, body, lease, upgraded } = *sent;
        let mut response = Box::new(Response {
            head: answered,
            body,
            lease,
            upgraded: upgraded.map(|upgraded| (upgraded, Some(UPGRADE_IDLE))),
            client,
            timeout,
            hold: Hold {
                _counted: Some(counted),
                _request: Some(permit),
                _active: Some(active),
                _retry: retry,
                _connection: None,
            },
        });
        for cookie in hashed.set_cookies {
            response.head.headers.append(header::SET_COOKIE, cookie);
        }
        self.amend(route, weighted, head, &mut response.head);
        Ok(response)
    }

    /// A try that failed because the client did is the client's.
    fn blame(&self, error: ProxyError) -> ProxyError {
        self.request_body.failed().map_or(error, send::client_failure)
    }

    /// Tries until one is good enough, or the policy is used up.
    async fn tries(
        &mut self,
        cluster: &Arc<Cluster>,
        policy: Option<&RetryPolicy>,
        timeout: Option<(tokio::time::Instant, Duration)>,
        hash: Option<u64>,
        head: &mut RequestHead,
        replay: Replay,
    ) -> Result<Done, ProxyError> {
        let mut tried: SmallVec<[Arc<Endpoint>; 2]> = SmallVec::new();
        let mut leave: SmallVec<[Arc<Endpoint>; 2]> = SmallVec::new();
        let mut back_off = policy.map(|policy| BackOff::new(policy.back_off));
        let mut left = policy.map_or(0, |policy| policy.attempts);
        let mut retry: Option<Permit> = None;
        let (mut fresh, mut stale) = (false, 0);
        loop {
            let wish = Wish { leave: &leave, ..Wish::of(head, hash, &tried) };
            let mut endpoint = self.pick(cluster, &wish).await?;
            self.record.attempts += u32::from(!fresh);
            let per_try = policy.and_then(|policy| policy.per_try_timeout);
            // One that is hedged may take longer than its own time.
            let per_try = per_try.filter(|_| cluster.hedge.is_none());
            outgoing::announce_attempt(head, self.record.attempts, per_try, self.left(timeout));
            let body = replay.reader().ok_or(ProxyError::ConnectionTermination(true))?;
            let mut active = ActiveRequest::start(endpoint.clone());
            let mut beside = None;
            let (result, outcome) = match &cluster.hedge {
                None => self.once(cluster, &endpoint, policy, head, body, fresh).await,
                Some(hedge) => {
                    let first = Try { endpoint, active, permit: None, beside: None };
                    let replay = &replay;
                    let twice = Twice {
                        cluster,
                        policy,
                        timeout,
                        hash,
                        tried: &tried,
                        leave: &leave,
                        head,
                        replay,
                        fresh,
                    };
                    // In a box: those who do not hedge need not have the room for it.
                    let (tried, result, outcome) = Box::pin(self.hedged(hedge, twice, body, first)).await;
                    (endpoint, active, beside) = (tried.endpoint, tried.active, tried.beside);
                    retry = tried.permit.or(retry.take());
                    (result, outcome)
                }
            };
            if let Err(failure) = &result
                && stale < MAX_STALE
                && is_stale(failure, head)
                && replay.is_whole()
                && self.request_body.failed().is_none()
            {
                // The endpoint closed the connection as this request was sent on it, and did not look at it: nobody need know.
                (fresh, stale) = (true, stale + 1);
                continue;
            }
            self.report(cluster, &endpoint, &result);
            fresh = false;
            let calls = policy.is_some_and(|policy| should_retry(&policy.on, outcome));
            if (policy.is_some() || cluster.hedge.is_some()) && !calls && result.is_ok() {
                cluster.usage.went_well(&cluster.config.limits, retry.is_some());
            }
            let again = calls
                && may_repeat(outcome, head)
                && replay.is_whole()
                && self.request_body.failed().is_none();
            if again && left > 0 {
                let permit = cluster.usage.try_again(&cluster.config.limits, retry.take());
                if let (Some(permit), Some(back_off)) = (permit, &mut back_off) {
                    retry = Some(permit);
                    left -= 1;
                    cluster.metrics.retried();
                    drop((result, active));
                    if policy.is_some_and(|policy| policy.remote_localities) {
                        leave.extend(beside.iter().chain([&endpoint]).map(|held| held.shared().clone()));
                    }
                    if policy.is_some_and(|policy| policy.avoid_previous_hosts) {
                        tried.extend(beside.iter().chain([&endpoint]).map(|held| held.shared().clone()));
                    }
                    Box::pin(tokio::time::sleep(back_off.next(self.random()))).await;
                    continue;
                }
                cluster.metrics.overflowed(Overflow::Retries);
                self.record.flags |= ResponseFlags::UO;
            } else if again {
                self.record.flags |= ResponseFlags::URX;
            }
            replay.forget();
            return Ok(Done { sent: result.map_err(|failure| failure.error)?, active, retry });
        }
    }

    /// One try.
    async fn once(
        &mut self,
        cluster: &Arc<Cluster>,
        endpoint: &Held<Endpoint>,
        policy: Option<&RetryPolicy>,
        head: &RequestHead,
        body: Body,
        fresh: bool,
    ) -> (Tried, Outcome) {
        self.begin_try(cluster, endpoint);
        let (began, connection) = (Instant::now(), self.connection.clone());
        let to = send::To { connection: &connection, cluster, endpoint: endpoint.shared(), fresh };
        let fault = self.upstream_fault(cluster);
        let sending = pin!(fault.send(to, head, body));
        let limit = policy.and_then(|policy| policy.per_try_timeout);
        let result = self.within(limit, cluster, endpoint, sending).await;
        self.arrived(cluster, endpoint, began, result)
    }

    /// Notes where a try goes.
    pub(super) fn begin_try(&mut self, cluster: &Arc<Cluster>, endpoint: &Held<Endpoint>) {
        self.record.upstream = Some(endpoint.address.clone());
        self.destination = Some((self.hold(cluster), Some(endpoint.clone())));
        self.awaiting = true;
    }

    /// Notes what came of a try, and when.
    pub(super) fn arrived(
        &mut self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        began: Instant,
        mut result: Tried,
    ) -> (Tried, Outcome) {
        self.awaiting = false;
        let now = Instant::now();
        let elapsed = now - began;
        if let Ok(sent) = &mut result {
            self.record.response_began = Some(now);
            let info = sent.lease.info();
            self.record.upstream_local = info.and_then(|info| info.local);
            self.record.upstream_identity = info.and_then(|info| info.identity.clone());
            sent.head.headers.insert(SERVICE_TIME, outgoing::number(elapsed.as_millis() as u64));
        }
        self.report_time(cluster, endpoint, elapsed, &result);
        let outcome = outcome_of(&result);
        (result, outcome)
    }

    /// What is left of the route's timeout.
    pub(super) fn left(&self, timeout: Option<(tokio::time::Instant, Duration)>) -> Option<Duration> {
        timeout.map(|(from, timeout)| self.request_body.left(from, timeout))
    }

    /// Applies the cluster's response headers, then the route's.
    pub(super) fn amend(
        &mut self,
        route: &CompiledRoute<RoutePlan>,
        weighted: &WeightedPlan,
        request: &RequestHead,
        head: &mut ResponseHead,
    ) {
        for rules in [&weighted.response_headers, &route.action.policy.response_headers] {
            if !rules.is_empty() {
                let moment = Moment { record: &self.record, request: Some(request), response: Some(head) };
                let changes = rules.evaluate(&moment);
                changes.apply(&mut head.headers);
            }
        }
    }
}

/// How a try ended, for the retry policy.
pub(super) fn outcome_of(result: &Tried) -> Outcome {
    let sent = match result {
        Ok(sent) => sent,
        Err(failure) => return failure.outcome,
    };
    let (mut grpc, mut ratelimited) = (false, false);
    for name in sent.head.headers.keys() {
        grpc |= *name == GRPC_STATUS;
        ratelimited |= *name == RATE_LIMITED;
    }
    let grpc_status = grpc.then(|| reply::grpc_status(sent.head.headers.get(&GRPC_STATUS))).flatten();
    Outcome::Response { status: sent.head.status, grpc_status, ratelimited }
}

/// A try that will be answered with.
struct Done {
    sent: Box<Sent>,
    active: ActiveRequest<Held<Endpoint>>,
    retry: Option<Permit>,
}

/// The route's timeout, or for gRPC the client's own where that is shorter.
fn effective_timeout(timeout: Option<Duration>, head: &RequestHead, grpc: bool) -> Option<Duration> {
    if head.upgrade.is_some() {
        return None;
    }
    let asked = if grpc && head.is_grpc() { head.headers.get(outgoing::GRPC_TIMEOUT) } else { None };
    let asked = asked.and_then(|value| grpc::timeout::parse(value.as_bytes()));
    match (timeout, asked) {
        (Some(timeout), Some(asked)) => Some(timeout.min(asked)),
        (timeout, asked) => asked.or(timeout),
    }
}

/// What hashing may ask of a request.
struct Facts<'a>(&'a Exchange, &'a RequestHead);

impl HashFacts for Facts<'_> {
    fn header_values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.1.headers.get_all(name).map(HeaderValue::as_bytes)
    }

    fn query(&self) -> Option<&str> {
        self.1.target.query()
    }

    fn source_ip(&self) -> Option<IpAddr> {
        self.0.record.peer.map(|peer| peer.ip())
    }
}
