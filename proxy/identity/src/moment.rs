//! Times in certificates: whole seconds since 1970, on the wall clock, because a machine that slept must notice.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Seconds that the clock of who issues certificates may be ahead of ours.
const SKEW: u64 = 60;

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Now, by the wall clock.
    pub fn now() -> Self {
        Moment(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// For those who print or compare times.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }

    /// Whether it is so far ahead that clocks which differ do not account for it.
    pub(crate) fn is_ahead(self) -> bool {
        self.0 > Moment::now().0.saturating_add(SKEW)
    }

    /// Until then, from now; zero when it has passed.
    pub fn left(self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(Moment::now().0))
    }
}

/// `2031-01-02T03:04:05Z`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.system_time()).fmt(f)
    }
}
