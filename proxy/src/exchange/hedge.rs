//! Hedging: a request that takes long goes to a second endpoint as well; the answer that comes first is taken, and the other try is
//! cancelled.
//!
//! Invariants: only what may be repeated is sent twice, only once it has come whole, and only with a permit of the retry budget; never to
//! the endpoint that has it. Who does not ask for it pays for nothing.
//! Not here: when (`sidle_balance::Hedge`), retries (`attempt`).

use super::{
    Exchange,
    attempt::outcome_of,
    destination::Wish,
    outgoing,
    repeat::{is_idempotent, is_stale},
    replay::Replay,
    send::{self, Failure, Tried},
};
use crate::{codec::RequestHead, error::ProxyError, upstream::Cluster, worker::Held};
use sidle_balance::{ActiveRequest, Endpoint, Hedge, Outcome, Permit, RequestResult, should_retry};
use sidle_model::ir::RetryPolicy;
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// A request that may be sent twice.
pub(super) struct Twice<'a> {
    pub cluster: &'a Arc<Cluster>,
    pub policy: Option<&'a RetryPolicy>,
    pub timeout: Option<(tokio::time::Instant, Duration)>,
    pub hash: Option<u64>,
    /// Endpoints of tries before, as in [`Wish`].
    pub tried: &'a [Arc<Endpoint>],
    pub leave: &'a [Arc<Endpoint>],
    pub head: &'a RequestHead,
    pub replay: &'a Replay,
    pub fresh: bool,
}

/// A try, and what it holds.
pub(super) struct Try {
    pub endpoint: Held<Endpoint>,
    pub active: ActiveRequest<Held<Endpoint>>,
    /// Of the retry budget, if it is the second.
    pub permit: Option<Permit>,
    /// That of the other one, which did not decide.
    pub beside: Option<Held<Endpoint>>,
}

impl Exchange {
    /// One try, or two at once; the one that decides, and what came of it.
    pub(super) async fn hedged(
        &mut self,
        hedge: &Hedge,
        twice: Twice<'_>,
        body: crate::codec::Body,
        mut first: Try,
    ) -> (Try, Tried, Outcome) {
        let Twice { cluster, policy, head, fresh, .. } = twice;
        self.begin_try(cluster, &first.endpoint);
        let (began, connection) = (Instant::now(), self.connection.clone());
        let place = first.endpoint.clone();
        let to = send::To { connection: &connection, cluster, endpoint: place.shared(), fresh };
        let fault = self.upstream_fault(cluster);
        let mut one = pin!(fault.send(to, head, body));
        let limit = policy.and_then(|policy| policy.per_try_timeout);
        let wait =
            hedge.wait(limit).filter(|wait| is_idempotent(head) && limit.is_none_or(|limit| *wait <= limit));
        let Some(wait) = wait.filter(|_| head.upgrade.is_none()) else {
            let answer = self.within(limit, cluster, &place, one).await;
            return self.decide(hedge, cluster, first, began, began, answer);
        };
        if let Ok(answer) = tokio::time::timeout(wait, &mut one).await {
            return self.decide(hedge, cluster, first, began, began, answer);
        }
        let Some((mut second, again)) = self.second(&twice, &place).await else {
            let left = limit.map(|limit| limit.saturating_sub(wait));
            let answer = self.within(left, cluster, &place, one).await;
            return self.decide(hedge, cluster, first, began, began, answer);
        };
        cluster.metrics.hedged();
        let second_began = Instant::now();
        let body = twice.replay.reader().unwrap_or(crate::codec::Body::Empty);
        let other = second.endpoint.clone();
        let to = send::To { connection: &connection, cluster, endpoint: other.shared(), fresh: false };
        let fault = self.upstream_fault(cluster);
        let two = pin!(fault.send(to, &again, body));
        let (places, begun): ([&Endpoint; 2], _) = ([&place, &other], [began, second_began]);
        let race = Race { exchange: self, cluster, policy, head, places, begun };
        // A first try that was given up for the second is waited for as long as that one.
        let (which, answer, is_given_up) = race.run(limit, one, two).await;
        if is_given_up {
            cluster.report_given_up(places[1 - which], begun[1 - which].elapsed(), which == 1);
        }
        if which == 0 {
            first.beside = Some(other.clone());
            return self.decide(hedge, cluster, first, began, began, answer);
        }
        second.beside = Some(place.clone());
        if answer.is_ok() {
            cluster.metrics.hedge_won();
        }
        self.begin_try(cluster, &other);
        self.decide(hedge, cluster, second, second_began, began, answer)
    }

    /// A second endpoint, and the head for it; `None`: there is no other, no permit, or the request has not come whole.
    async fn second(&mut self, twice: &Twice<'_>, first: &Held<Endpoint>) -> Option<(Try, RequestHead)> {
        if !twice.replay.is_settled() {
            return None;
        }
        let mut tried = twice.tried.to_vec();
        tried.push(first.shared().clone());
        let wish = Wish { leave: twice.leave, ..Wish::of(twice.head, twice.hash, &tried) };
        let endpoint = self.pick(twice.cluster, &wish).await.ok()?;
        if Arc::ptr_eq(&endpoint.state, &first.state) {
            return None;
        }
        let permit = twice.cluster.usage.try_again(&twice.cluster.config.limits, None)?;
        self.record.attempts += 1;
        let mut head = twice.head.clone();
        head.interim = None; // those of the first are passed on
        let per_try = twice.policy.and_then(|policy| policy.per_try_timeout);
        outgoing::announce_attempt(&mut head, self.record.attempts, per_try, self.left(twice.timeout));
        let active = ActiveRequest::start(endpoint.clone());
        Some((Try { endpoint, active, permit: Some(permit), beside: None }, head))
    }

    fn decide(
        &mut self,
        hedge: &Hedge,
        cluster: &Arc<Cluster>,
        tried: Try,
        began: Instant,
        request_began: Instant,
        answer: Tried,
    ) -> (Try, Tried, Outcome) {
        if answer.is_ok() {
            hedge.answered(request_began.elapsed());
        }
        let (answer, outcome) = self.arrived(cluster, &tried.endpoint, began, answer);
        (tried, answer, outcome)
    }
}

/// Two tries at once.
struct Race<'a> {
    exchange: &'a Exchange,
    cluster: &'a Cluster,
    policy: Option<&'a RetryPolicy>,
    head: &'a RequestHead,
    places: [&'a Endpoint; 2],
    begun: [Instant; 2],
}

impl Race<'_> {
    /// Which decides: the first with an answer that is not to be tried again, else the last. With it, whether the other one was still
    /// waited for. One that fails decides nothing while there is the other.
    async fn run(
        self,
        limit: Option<Duration>,
        mut one: impl Future<Output = Tried> + Unpin,
        mut two: impl Future<Output = Tried> + Unpin,
    ) -> (usize, Tried, bool) {
        let until = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut over = pin!(async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        });
        let mut waits = [true, true];
        loop {
            let (which, answer) = tokio::select! {
                biased;
                answer = &mut one, if waits[0] => (0, answer),
                answer = &mut two, if waits[1] => (1, answer),
                () = &mut over => {
                    let which = usize::from(!waits[0]);
                    let late = self.exchange.took_too_long(self.cluster, self.places[which]);
                    return (which, Err(late), waits[1 - which]);
                }
            };
            let calls = self.policy.is_some_and(|policy| should_retry(&policy.on, outcome_of(&answer)));
            if !((answer.is_err() || calls) && waits[1 - which]) {
                return (which, answer, waits[1 - which]);
            }
            waits[which] = false;
            // A connection that had ended already says nothing of the endpoint.
            if !answer.as_ref().is_err_and(|failure| is_stale(failure, self.head)) {
                let (place, took) = (self.places[which], self.begun[which].elapsed());
                self.exchange.report_time(self.cluster, place, took, &answer);
                self.exchange.report(self.cluster, place, &answer);
            }
        }
    }
}

impl Exchange {
    /// A try whose time is over.
    pub(super) fn took_too_long(&self, cluster: &Cluster, endpoint: &Endpoint) -> Box<Failure> {
        endpoint.state.record(RequestResult::Timeout);
        cluster.metrics.timed_out();
        let (error, outcome) = (ProxyError::PerTryTimeout, Outcome::PerTryTimeout);
        Box::new(Failure { error, outcome, reused: false })
    }

    /// What comes of a try in its time.
    pub(super) async fn within(
        &self,
        limit: Option<Duration>,
        cluster: &Cluster,
        endpoint: &Endpoint,
        sending: impl Future<Output = Tried>,
    ) -> Tried {
        match limit {
            None => sending.await,
            Some(limit) => match tokio::time::timeout(limit, sending).await {
                Ok(answer) => answer,
                Err(_) => Err(self.took_too_long(cluster, endpoint)),
            },
        }
    }
}
