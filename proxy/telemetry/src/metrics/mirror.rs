//! How the answers to copies of requests compare with those to the requests.

use super::owned::Rows;
use crate::names::{Family, MIRROR_COMPARISONS};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What came of comparing two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The same status and body.
    Same,
    /// Another status.
    Status,
    /// The same status, and another body.
    Body,
    /// One of them did not come, or not to its end.
    Broken,
}

const RESULTS: [&str; 4] = ["same", "status", "body", "broken"];

/// Comparisons of one cluster that copies go to.
#[derive(Default)]
pub struct MirrorMetrics([AtomicU64; RESULTS.len()]);

impl MirrorMetrics {
    /// Two answers were compared.
    pub fn compared(&self, what: Compared) {
        self.0[what as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn collect(&self, cluster: &str, rows: &mut Rows) {
        for (result, count) in RESULTS.iter().zip(&self.0) {
            rows.add(&MIRROR_COMPARISONS, &[cluster, result], count.load(Relaxed) as f64);
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        [&MIRROR_COMPARISONS].into_iter()
    }
}
