//! The identity of the workload that this proxy stands beside.
//!
//! In:  what a source delivers.   Out: the newest [`Svid`] and roots, for every handshake that begins.
//! Invariants: a handle is cheap to clone and never blocks; what is not there yet is an error of the one handshake that needs it.
//! Not here: the sources; rustls configurations (`server`, `client`).

use arc_swap::ArcSwapOption;
use rustls::{RootCertStore, sign::CertifiedKey};
use std::sync::Arc;

/// Certificate, key and roots at one moment.
#[derive(Debug)]
pub struct Svid {
    /// Chain and key.
    pub certified: Arc<CertifiedKey>,
    /// What peers must chain to.
    pub roots: Arc<RootCertStore>,
}

/// A handle on the workload's identity; all clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Workload(Arc<ArcSwapOption<Svid>>);

impl Workload {
    /// What is valid now; `None` until a source has delivered.
    pub fn current(&self) -> Option<Arc<Svid>> {
        self.0.load_full()
    }

    /// From now on.
    pub fn publish(&self, svid: Arc<Svid>) {
        self.0.store(Some(svid));
    }
}
