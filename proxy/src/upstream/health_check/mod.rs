//! Health checks of a cluster's endpoints: what came of them, and what follows.
//!
//! In:  results of checks.   Out: who is kept out, log lines, metrics.
//! Invariants: the first check of an endpoint decides at once, later ones when as many in a row say the same as the thresholds ask for.
//! Not here: when to check (`app::health_checks`), who is picked from (`sidle_balance`).
//! Read: `ask` (one check) -> here.

mod ask;

pub use ask::{Failure, ask};

use super::Cluster;
use sidle_balance::{ActiveCheck, Endpoint};
use sidle_model::ir::HealthCheck;
use sidle_telemetry::HealthCheckResult;
use std::time::Instant;

/// Checks of one endpoint in a row that said the same.
#[derive(Debug, Default)]
pub struct Streak {
    passed: u32,
    failed: u32,
}

impl Streak {
    /// Counts a check; what the endpoint is from now on, if that is news.
    fn count(&mut self, passed: bool, now: ActiveCheck, settings: &HealthCheck) -> Option<ActiveCheck> {
        let first = self.passed == 0 && self.failed == 0 && now != ActiveCheck::Failed;
        let (streak, threshold, then) = if passed {
            self.failed = 0;
            self.passed = self.passed.saturating_add(1);
            (self.passed, settings.healthy_threshold, ActiveCheck::Passed)
        } else {
            self.passed = 0;
            self.failed = self.failed.saturating_add(1);
            (self.failed, settings.unhealthy_threshold, ActiveCheck::Failed)
        };
        ((first || streak >= threshold) && now != then).then_some(then)
    }
}

impl Cluster {
    /// Notes what came of a check of an endpoint.
    pub fn checked(&self, endpoint: &Endpoint, streak: &mut Streak, result: &Result<(), Failure>) {
        let Some(settings) = &self.config.health_check else { return };
        let metrics = self.metrics.health_checks();
        metrics.checked(match result {
            Ok(()) => HealthCheckResult::Passed,
            Err(Failure::Answer(_)) => HealthCheckResult::Failed,
            Err(Failure::Network(_)) => HealthCheckResult::Unanswered,
        });
        let state = &endpoint.state;
        let before = state.active_check();
        let Some(then) = streak.count(result.is_ok(), before, settings) else { return };
        state.set_active_check(then, Instant::now());
        let (cluster, address) = (&*self.config.name, &endpoint.address);
        match result {
            Ok(()) if before == ActiveCheck::Failed => {
                tracing::info!(cluster, endpoint = %address, "endpoint passes its health checks again");
            }
            Ok(()) => tracing::debug!(cluster, endpoint = %address, "endpoint passes its health checks"),
            Err(why) => {
                tracing::warn!(cluster, endpoint = %address, reason = %why, "endpoint fails its health checks");
            }
        }
        let passes =
            |endpoint: &&std::sync::Arc<Endpoint>| endpoint.state.active_check() == ActiveCheck::Passed;
        metrics.set_healthy(self.endpoints.load().endpoints().iter().filter(passes).count());
        self.attention.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_model::ir::HealthAsk;
    use std::time::Duration;

    #[test]
    fn the_first_check_decides_and_then_as_many_as_it_takes() {
        let settings = HealthCheck {
            ask: HealthAsk::Tcp,
            port: None,
            interval: Duration::from_secs(1),
            interval_jitter: Duration::ZERO,
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
        };
        use ActiveCheck::{Failed, Passed, Pending, Unknown};
        let run = |start: ActiveCheck, checks: &str| {
            let (mut streak, mut now) = (Streak::default(), start);
            let step = |check: char| {
                now = streak.count(check == '+', now, &settings).unwrap_or(now);
                now
            };
            checks.chars().map(step).last().unwrap_or(start)
        };
        for (start, checks, expected) in [
            (Pending, "+", Passed),
            (Pending, "-", Failed),
            (Unknown, "-", Failed),
            (Pending, "+--", Passed),
            (Pending, "+---", Failed),
            (Pending, "+--+--", Passed),
            (Pending, "-+", Failed),
            (Pending, "-++", Passed),
            (Pending, "-+-+", Failed),
            (Failed, "+", Failed),
            (Failed, "++", Passed),
        ] {
            assert_eq!(run(start, checks), expected, "{start:?} {checks}");
        }
    }
}
