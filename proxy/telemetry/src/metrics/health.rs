//! Which endpoints of a cluster are well, and what health checks found: under Envoy's names.
//!
//! Source: the statistics of Envoy's clusters and of its health checker.

use super::owned::Rows;
use crate::names::{Family, *};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const MEMBERSHIP: [Family; 2] = [MEMBERSHIP_TOTAL, MEMBERSHIP_HEALTHY];

/// In the order of [`HealthCheckMetrics`]' cells.
const CHECKS: [Family; 5] = [
    HEALTH_CHECK_ATTEMPT,
    HEALTH_CHECK_SUCCESS,
    HEALTH_CHECK_FAILURE,
    HEALTH_CHECK_NETWORK_FAILURE,
    HEALTH_CHECK_HEALTHY,
];

/// How many endpoints a cluster has, and how many are not kept out. Written by one thread, and seldom.
#[derive(Default)]
pub struct MembershipMetrics([AtomicU64; MEMBERSHIP.len()]);

impl MembershipMetrics {
    /// So many, of which so many are well.
    pub fn set(&self, total: usize, healthy: usize) {
        self.0[0].store(total as u64, Relaxed);
        self.0[1].store(healthy as u64, Relaxed);
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        for (of, number) in MEMBERSHIP.iter().zip(&self.0) {
            rows.add(of, &[cluster], number.load(Relaxed) as f64);
        }
    }
}

/// What came of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheckResult {
    /// As it should be.
    Passed,
    /// Another answer than it should be.
    Failed,
    /// No answer, or none in time.
    Unanswered,
}

/// Metrics of the health checks of one cluster. Written by one thread.
#[derive(Default)]
pub struct HealthCheckMetrics([AtomicU64; CHECKS.len()]);

impl HealthCheckMetrics {
    /// A check has ended.
    pub fn checked(&self, result: HealthCheckResult) {
        self.add(0);
        match result {
            HealthCheckResult::Passed => self.add(1),
            HealthCheckResult::Failed => self.add(2),
            HealthCheckResult::Unanswered => {
                self.add(2);
                self.add(3);
            }
        }
    }

    /// So many endpoints pass.
    pub fn set_healthy(&self, healthy: usize) {
        self.0[4].store(healthy as u64, Relaxed);
    }

    fn add(&self, place: usize) {
        self.0[place].fetch_add(1, Relaxed);
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        for (of, number) in CHECKS.iter().zip(&self.0) {
            rows.add(of, &[cluster], number.load(Relaxed) as f64);
        }
    }
}

pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    MEMBERSHIP.iter().chain(&CHECKS)
}
