//! What external authorisers said, and how often they were not asked: under Envoy's names, by provider.
//!
//! Not here: decisions of policies (`authorization`).
//! Source: the statistics of Envoy's two `ext_authz` filters.

use super::owned::{Cells, Rows};
use super::sharded::Sharded;
use crate::names::{Family, *};

/// Of requests, in the order of [`ExtAuthzOutcome`].
const OF_HTTP: [Family; ExtAuthzOutcome::COUNT] = [
    EXT_AUTHZ_HTTP_OK,
    EXT_AUTHZ_HTTP_DENIED,
    EXT_AUTHZ_HTTP_ERROR,
    EXT_AUTHZ_HTTP_TIMEOUT,
    EXT_AUTHZ_HTTP_FAILURE_MODE_ALLOWED,
    EXT_AUTHZ_HTTP_DISABLED,
];

/// Of connections of bytes, in the same order.
const OF_BYTES: [Family; ExtAuthzOutcome::COUNT] = [
    EXT_AUTHZ_BYTES_OK,
    EXT_AUTHZ_BYTES_DENIED,
    EXT_AUTHZ_BYTES_ERROR,
    EXT_AUTHZ_BYTES_TIMEOUT,
    EXT_AUTHZ_BYTES_FAILURE_MODE_ALLOWED,
    EXT_AUTHZ_BYTES_DISABLED,
];

/// What came of an external authoriser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtAuthzOutcome {
    /// It let through.
    Ok,
    /// It refused.
    Denied,
    /// It gave no answer that could be understood, for whatever reason.
    Error,
    /// Besides [`ExtAuthzOutcome::Error`]: its time ran out.
    Timeout,
    /// Besides [`ExtAuthzOutcome::Error`]: it is allowed to fail.
    FailureModeAllowed,
    /// It was not to be asked.
    Disabled,
}

impl ExtAuthzOutcome {
    const COUNT: usize = 6;
}

/// Metrics of one provider.
#[derive(Default)]
pub struct ExtAuthzMetrics {
    http: Sharded<Cells<{ ExtAuthzOutcome::COUNT }>>,
    bytes: Sharded<Cells<{ ExtAuthzOutcome::COUNT }>>,
}

impl ExtAuthzMetrics {
    /// A request was judged, or was not to be.
    pub fn request(&self, what: ExtAuthzOutcome) {
        self.http.add(what as usize, 1);
    }

    /// A connection of bytes was judged, or was not to be.
    pub fn connection(&self, what: ExtAuthzOutcome) {
        self.bytes.add(what as usize, 1);
    }

    /// Where there were requests or connections at all, zeros are told too.
    pub(super) fn collect(&self, provider: &str, rows: &mut Rows) {
        for (cells, families) in [(&self.http, &OF_HTTP), (&self.bytes, &OF_BYTES)] {
            if !cells.is_untouched() {
                for (place, of) in families.iter().enumerate() {
                    rows.add(of, &[provider], cells.sum(place));
                }
            }
        }
    }

    pub(super) fn families() -> impl Iterator<Item = &'static Family> {
        OF_HTTP.iter().chain(&OF_BYTES)
    }
}
