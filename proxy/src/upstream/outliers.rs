//! Which endpoints of a cluster are picked from: what workers and health checks report, and what one task makes of it.
//!
//! In:  what came of tries.   Out: another set of endpoints, log lines, metrics.
//! Invariants: a report takes no lock, and wakes another thread only when an endpoint has failed once too often;
//! [`Cluster::decide`] is called by one task (`app::outliers`). What is known of an endpoint outlives reloads, since it belongs
//! to its state.
//! Not here: the rules (`sidle_balance::OutlierDetector`), what a try says of its endpoint (`exchange`).

use super::Cluster;
use sidle_balance::{Change, Endpoint, OutlierDetector, Reason, Seen};
use sidle_model::ir;
use sidle_telemetry::Outlier;
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Wakes the one who decides about endpoints.
#[derive(Debug, Clone, Default)]
pub struct Alarm(Arc<Notify>);

impl Alarm {
    /// There is something to decide.
    pub fn raise(&self) {
        self.0.notify_one();
    }

    /// Waits for it.
    pub async fn raised(&self) {
        self.0.notified().await;
    }
}

/// Calls the one who decides to one cluster. Outlives changes of policy: requests report to the policy that they began under.
#[derive(Debug, Clone)]
pub struct Attention {
    alarm: Alarm,
    /// Whether there is something to decide in this cluster.
    wanted: Arc<AtomicBool>,
}

impl Attention {
    pub(super) fn new(alarm: &Alarm) -> Self {
        Attention { alarm: alarm.clone(), wanted: Arc::default() }
    }

    /// Has the one who decides look at this cluster.
    pub(super) fn call(&self) {
        self.wanted.store(true, Release);
        self.alarm.raise();
    }
}

/// Outlier detection of one cluster.
pub struct Outliers {
    detector: OutlierDetector,
    /// Whether it was said since the last sweep that no more endpoints can be ejected.
    told_overflow: AtomicBool,
}

impl Outliers {
    /// `None` if the cluster has no outlier detection, or its endpoints are those that clients name, or one at a time: there is no other
    /// to send to.
    pub(super) fn new(config: &ir::Cluster) -> Option<Self> {
        let settings = config.outlier_detection.as_ref()?;
        let given = matches!(config.discovery, ir::Discovery::Static(_) | ir::Discovery::StrictDns(_));
        given.then(|| Outliers {
            detector: OutlierDetector::new(settings),
            told_overflow: AtomicBool::new(false),
        })
    }

    /// Between sweeps.
    pub fn interval(&self) -> Duration {
        self.detector.interval()
    }

    fn tell(&self, cluster: &Cluster, change: &Change) {
        let name = &*cluster.config.name;
        let metrics = cluster.metrics.outliers();
        match change {
            Change::Ejected { endpoint, reason, times, term } => {
                metrics.detected(outlier(*reason), true);
                let (address, reason) = (&endpoint.address, reason.as_str());
                tracing::warn!(cluster = name, endpoint = %address, reason, times, ?term, "endpoint ejected");
            }
            Change::Overflow { endpoint, reason } => {
                metrics.detected(outlier(*reason), false);
                if !self.told_overflow.swap(true, Relaxed) {
                    let (address, reason) = (&endpoint.address, reason.as_str());
                    tracing::warn!(
                        cluster = name, endpoint = %address, reason,
                        "endpoint stays, though it fails: as many are ejected as may be"
                    );
                }
            }
            Change::Returned { endpoint, after, early } => {
                let reason =
                    if *early { "endpoints have left, and too many were out" } else { "its time is over" };
                tracing::info!(cluster = name, endpoint = %endpoint.address, reason, ?after, "endpoint back in use");
            }
        }
    }
}

impl Cluster {
    /// Says what came of a try at an endpoint, for outlier detection.
    pub fn report(&self, endpoint: &Endpoint, seen: Seen) {
        if let Some(outliers) = &self.outliers
            && outliers.detector.record(&endpoint.state, seen)
        {
            self.attention.call();
        }
    }

    /// Says how long an endpoint took to answer with a status, or to fail. A status of gRPC is told by the one that it stands for.
    pub fn report_time(&self, endpoint: &Endpoint, took: Duration, status: Option<u16>) {
        if let ir::LoadBalancer::PeakEwma { decay } = self.config.load_balancer {
            let (latency, now) = (&endpoint.state.latency, Instant::now());
            match status {
                Some(status) if !(500..600).contains(&status) => latency.record(took, now, decay),
                _ => latency.record_at_least(took, now, decay),
            }
        }
        if let (Some(outliers), Some(_)) = (&self.outliers, status) {
            outliers.detector.time(&endpoint.state, took);
        }
    }

    /// Says that a try was given up after so long, for another one that answered. `is_long`: that tells something.
    pub fn report_given_up(&self, endpoint: &Endpoint, took: Duration, is_long: bool) {
        if let ir::LoadBalancer::PeakEwma { decay } = self.config.load_balancer {
            endpoint.state.latency.record_given_up(took, Instant::now(), decay);
        }
        if let (Some(outliers), true) = (&self.outliers, is_long) {
            outliers.detector.time(&endpoint.state, took);
        }
    }

    /// Decides about its endpoints, if there is anything to decide. `sweep`: an interval of outlier detection is over; `due`: a share
    /// has grown, or the cluster may have come in while something was decided about its predecessor.
    pub fn decide(&self, now: Instant, sweep: bool, due: bool) {
        if !(self.attention.wanted.swap(false, AcqRel) || sweep || due) {
            return;
        }
        if let Some(outliers) = &self.outliers {
            let set = self.endpoints.load_full();
            let mut changes = Vec::new();
            if sweep {
                outliers.told_overflow.store(false, Relaxed);
                changes = outliers.detector.sweep(set.endpoints(), now);
            }
            changes.extend(outliers.detector.examine(set.endpoints(), now));
            changes.iter().for_each(|change| outliers.tell(self, change));
        }
        self.swap_endpoints(|set| set.reviewed(now));
    }

    /// Forgets who is ejected, if outlier detection was on in `before` and is no longer; and the same of health checks.
    pub(super) fn forget_what_only_mattered_to(&self, before: &Cluster) {
        if before.is_checked() && !self.is_checked() {
            self.endpoints.load().endpoints().iter().for_each(|endpoint| endpoint.state.forget_checks());
        }
        if before.outliers.is_some() && self.outliers.is_none() {
            self.endpoints.load().endpoints().iter().for_each(|endpoint| endpoint.state.forget_ejections());
            self.metrics.outliers().set_active(0);
        }
    }
}

/// As Envoy counts it.
fn outlier(reason: Reason) -> Option<Outlier> {
    Some(match reason {
        Reason::Consecutive5xx => Outlier::Consecutive5xx,
        Reason::ConsecutiveGatewayFailure => Outlier::ConsecutiveGatewayFailure,
        Reason::ConsecutiveLocalOriginFailure => Outlier::ConsecutiveLocalOriginFailure,
        Reason::SuccessRate => Outlier::SuccessRate,
        Reason::FailurePercentage => Outlier::FailurePercentage,
        Reason::Latency | Reason::Probe => return None,
    })
}
