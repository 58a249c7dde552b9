//! Outlier detection: an endpoint that fails is kept out for a while; never too many are, and never all.
//!
//! In:  what came of tries ([`Seen`]), from any worker; endpoints and the time, from the one who decides.   Out: [`Change`]s.
//! Invariants: counting is one atomic operation where all is well, and takes no lock. Who is kept out is decided by one thread,
//! so that bounds hold exactly: of n endpoints never more than `maxEjectionPercent` (but one may always be) and never the last
//! that is left. Whoever is kept out comes back at the first sweep after his time, at most [`OutlierDetector::longest`] after it began.
//! Not here: choosing among those that are left (`set`), timers, threads, metrics.
//! Read: `count` (in a row) -> `mod` (who decides) -> `term` (for how long) -> `rates` (shares), `latency` -> `tests` (each rule), `tests/simulation` (all together).
//! Source: Envoy's "Outlier detection", R15.

mod count;
mod latency;
mod rates;
mod term;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use count::Health;

use crate::{ActiveCheck, Endpoint, EndpointState};
use sidle_model::ir;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Ejections grow no longer than this, unless the first one is longer. Envoy's default; Istio has no setting for it.
const LONGEST: Duration = Duration::from_secs(300);

/// What came of a try, as far as its endpoint is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// An answer: its HTTP status, or the one that its gRPC status stands for.
    Status(u16),
    /// A connection of bytes stands.
    Connected,
    /// No answer, or only part of one: no connection, an end before the end, no answer in time.
    Failure,
}

/// What an endpoint is kept out for. Names are those of Envoy's events and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Answers of 502, 503, 504 in a row, and failures where those are not counted apart.
    ConsecutiveGatewayFailure,
    /// Answers of 5xx in a row, and failures where those are not counted apart.
    Consecutive5xx,
    /// Failures in a row, counted apart from answers.
    ConsecutiveLocalOriginFailure,
    /// A smaller share of good answers than the other endpoints have.
    SuccessRate,
    /// Too large a share of bad answers.
    FailurePercentage,
    /// Answers that take much longer than those of other endpoints.
    Latency,
    /// A bad answer of one that had just come back.
    Probe,
}

impl Reason {
    /// Those that come up between sweeps, in the order in which they are looked at.
    const AT_ONCE: [Reason; 4] = [
        Reason::Probe,
        Reason::ConsecutiveGatewayFailure,
        Reason::Consecutive5xx,
        Reason::ConsecutiveLocalOriginFailure,
    ];

    /// Envoy's name, where Envoy has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Reason::Consecutive5xx => "consecutive_5xx",
            Reason::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Reason::SuccessRate => "success_rate",
            Reason::FailurePercentage => "failure_percentage",
            Reason::Latency => "latency",
            Reason::Probe => "probe",
        }
    }
}

/// What was decided about an endpoint.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is kept out.
    Ejected {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// Why.
        reason: Reason,
        /// Which time it is.
        times: u32,
        /// For how long; it comes back at the first sweep after that.
        term: Duration,
    },
    /// It would have been kept out, if that were not one too many.
    Overflow {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// Why.
        reason: Reason,
    },
    /// It is back.
    Returned {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// How long it was away.
        after: Duration,
        /// Whether its time was not over: endpoints have left, and too many of the others were kept out.
        early: bool,
    },
}

/// Counts what endpoints of a cluster do, and decides who is kept out.
#[derive(Debug)]
pub struct OutlierDetector {
    /// 0: off, as for the others.
    consecutive_5xx: u32,
    consecutive_gateway_errors: u32,
    /// `None`: failures count as answers of 503.
    consecutive_local_origin_failures: Option<u32>,
    error_codes: Vec<u16>,
    success_rate: Option<ir::SuccessRate>,
    failure_percentage: Option<ir::FailurePercentage>,
    latency: Option<ir::Latency>,
    /// Good answers before who comes back is trusted.
    probes: u32,
    interval: Duration,
    base: Duration,
    max_percent: u8,
}

impl OutlierDetector {
    /// By the settings of a cluster.
    pub fn new(settings: &ir::OutlierDetection) -> Self {
        let local = settings.consecutive_local_origin_failures.unwrap_or_default();
        OutlierDetector {
            consecutive_5xx: settings.consecutive_5xx.unwrap_or_default(),
            consecutive_gateway_errors: settings.consecutive_gateway_errors.unwrap_or_default(),
            consecutive_local_origin_failures: settings.split_external_local_origin_errors.then_some(local),
            error_codes: settings.error_codes.clone(),
            success_rate: settings.success_rate.clone(),
            failure_percentage: settings.failure_percentage.clone(),
            latency: settings.latency.clone(),
            probes: settings.probes,
            interval: settings.interval,
            base: settings.base_ejection_time,
            max_percent: settings.max_ejection_percent,
        }
    }

    /// Between sweeps.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The longest that anybody is kept out, a sweep apart.
    pub fn longest(&self) -> Duration {
        LONGEST.max(self.base)
    }

    /// Counts what came of a try. `true`: the endpoint has failed once too often, and [`Self::examine`] is to be called.
    pub fn record(&self, state: &EndpointState, seen: Seen) -> bool {
        let health = &state.health;
        if self.probes > 0 && health.is_probed() {
            if self.is_bad(seen) {
                return health.suspect(Reason::Probe);
            }
            health.passed();
        }
        match (seen, self.consecutive_local_origin_failures) {
            (Seen::Failure, Some(threshold)) => {
                let reached = reaches(health.local_failed(), threshold);
                reached && health.suspect(Reason::ConsecutiveLocalOriginFailure)
            }
            (Seen::Failure, None) => self.answered(health, 503),
            (Seen::Connected, Some(_)) => {
                health.local_succeeded();
                false
            }
            (Seen::Connected, None) => self.answered(health, 200),
            (Seen::Status(status), split) => {
                if split.is_some() {
                    health.local_succeeded();
                }
                self.answered(health, self.meaning(status))
            }
        }
    }

    /// Adds up how long an answer took, if that matters.
    pub fn time(&self, state: &EndpointState, took: Duration) {
        if self.latency.is_some() {
            state.health.timed(took);
        }
    }

    fn is_bad(&self, seen: Seen) -> bool {
        match seen {
            Seen::Failure => true,
            Seen::Connected => false,
            Seen::Status(status) => (500..600).contains(&self.meaning(status)),
        }
    }

    /// As Envoy: of codes that are listed none is a gateway error, and those that are not are no errors.
    fn meaning(&self, status: u16) -> u16 {
        match (self.error_codes.as_slice(), self.error_codes.contains(&status)) {
            ([], _) => status,
            (_, true) => 500,
            (_, false) => 200,
        }
    }

    fn answered(&self, health: &Health, status: u16) -> bool {
        let good = !(500..600).contains(&status);
        if self.success_rate.is_some() || self.failure_percentage.is_some() {
            health.answered(good);
        }
        if good {
            health.succeeded();
            return false;
        }
        let (errors, gateway_errors) = health.failed(matches!(status, 502..=504));
        // Not short-circuited: one try may reach both.
        let gateway = reaches(gateway_errors, self.consecutive_gateway_errors)
            && health.suspect(Reason::ConsecutiveGatewayFailure);
        let any = reaches(errors, self.consecutive_5xx) && health.suspect(Reason::Consecutive5xx);
        gateway || any
    }

    /// Decides about endpoints that have failed too often. For one caller at a time, as [`Self::sweep`].
    pub fn examine(&self, endpoints: &[Arc<Endpoint>], now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut ejected = self.settle(endpoints, now, &mut changes);
        for endpoint in endpoints {
            let health = &endpoint.state.health;
            for reason in health.take_suspicions() {
                health.reset(reason);
                if !health.is_ejected() {
                    // Else it is out by another reason, or tries that were under way failed.
                    let room = self.room(endpoints, endpoint, ejected);
                    changes.push(self.eject(endpoint, reason, room, now, &mut ejected));
                }
            }
        }
        changes
    }

    /// Keeps an endpoint out, if there is room for another.
    fn eject(
        &self,
        endpoint: &Arc<Endpoint>,
        reason: Reason,
        room: usize,
        now: Instant,
        ejected: &mut usize,
    ) -> Change {
        let endpoint = endpoint.clone();
        if room == 0 {
            return Change::Overflow { endpoint, reason };
        }
        *ejected += 1;
        let (times, term) = endpoint.state.health.eject(now, self.base, self.longest());
        Change::Ejected { endpoint, reason, times, term }
    }

    /// Lets back in whose time is over, keeps out whose answers of the interval were bad too often, and forgets a little of what
    /// those did who behave. Once every [`Self::interval`].
    pub fn sweep(&self, endpoints: &[Arc<Endpoint>], now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut outliers = self.outliers_by_share(endpoints);
        outliers.extend(self.outliers_by_latency(endpoints));
        for endpoint in endpoints {
            let health = &endpoint.state.health;
            if let Some(after) = health.return_in_time(now, self.base, self.longest(), self.probes) {
                changes.push(Change::Returned { endpoint: endpoint.clone(), after, early: false });
            }
        }
        let mut ejected = self.settle(endpoints, now, &mut changes);
        for (endpoint, reason) in outliers {
            if endpoint.state.is_ejected() {
                continue; // for another reason
            }
            let room = self.room(endpoints, endpoint, ejected);
            changes.push(self.eject(endpoint, reason, room, now, &mut ejected));
        }
        endpoints.iter().for_each(|endpoint| endpoint.state.health.forget_a_little(now, self.interval));
        changes
    }

    /// Makes the bounds hold after endpoints have left: those who have been away the longest come back. Returns how many are
    /// kept out.
    fn settle(&self, endpoints: &[Arc<Endpoint>], now: Instant, changes: &mut Vec<Change>) -> usize {
        let mut away: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.state.is_ejected()).collect();
        let most = self.most(endpoints.len());
        if away.len() > most {
            away.sort_by_key(|endpoint| endpoint.state.health.ejected_at());
            for endpoint in away.drain(..away.len() - most) {
                let after = endpoint.state.health.let_back(now, self.probes);
                changes.push(Change::Returned { endpoint: endpoint.clone(), after, early: true });
            }
        }
        away.len()
    }

    /// How many more may be kept out, if `endpoint` is one of them: of those that pass their health checks one is left.
    fn room(&self, endpoints: &[Arc<Endpoint>], endpoint: &Endpoint, ejected: usize) -> usize {
        let fails = |endpoint: &Endpoint| endpoint.state.active_check() == ActiveCheck::Failed;
        let room = self.most(endpoints.len()).saturating_sub(ejected);
        if fails(endpoint) {
            return room;
        }
        let left = endpoints.iter().filter(|other| !other.state.is_ejected() && !fails(other)).count();
        room.min(left.saturating_sub(1))
    }

    /// How many of so many may be kept out.
    fn most(&self, endpoints: usize) -> usize {
        let share = endpoints * usize::from(self.max_percent.min(100)) / 100;
        share.max(1).min(endpoints.saturating_sub(1))
    }
}

fn reaches(count: u32, threshold: u32) -> bool {
    threshold > 0 && count >= threshold
}
