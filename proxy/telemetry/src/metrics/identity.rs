//! The workload's identity, and certificate files, in numbers.
//!
//! Invariant: what is left of a certificate's life is reckoned when it is asked for, on the wall clock.

use super::{counter, counters, gauges};
use crate::names;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};
use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// The workload's identity, and certificate files, in numbers.
pub struct IdentityMetrics {
    left: IntGaugeVec,
    ends: Mutex<Option<(u64, u64)>>,
    rotations: IntCounter,
    failures: IntCounter,
    files: IntCounterVec,
}

impl IdentityMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let files = counters(registry, &names::TLS_FILES);
        for result in ["applied", "rejected"] {
            files.with_label_values(&[result]);
        }
        IdentityMetrics {
            left: gauges(registry, &names::CERTIFICATE_LEFT),
            ends: Mutex::default(),
            rotations: counter(registry, &names::IDENTITY_ROTATIONS),
            failures: counter(registry, &names::IDENTITY_FAILURES),
            files,
        }
    }

    /// The workload has another certificate or other roots, which end at these seconds since 1970.
    pub fn rotated(&self, certificate: u64, roots: u64) {
        self.rotations.inc();
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some((certificate, roots));
    }

    /// The workload has no identity any more.
    pub fn withdrawn(&self) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.left.reset();
    }

    /// A source had nothing that could be used.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// A certificate file of the configuration has changed.
    pub fn file_changed(&self, applied: bool) {
        self.files.with_label_values(&[if applied { "applied" } else { "rejected" }]).inc();
    }

    pub(super) fn reckon(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        if let Some((certificate, roots)) = *self.ends.lock().unwrap_or_else(PoisonError::into_inner) {
            for (name, end) in [("default", certificate), ("ROOTCA", roots)] {
                let end = i64::try_from(end).unwrap_or(i64::MAX);
                self.left.with_label_values(&[name]).set(end - now);
            }
        }
    }
}
