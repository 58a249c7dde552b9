//! How short memory is, as workers see it.
//!
//! In:  what `app` measures.   Out: what is still taken on.
//! Invariant: reading it is one relaxed load; while no limit is known it never changes.
//!
//! | memory in use | what happens |
//! |---|---|
//! | 90 % | idle connections of clients are closed; answers say `connection: close`, or GOAWAY |
//! | 95 % | also: a request is answered with 503, `retry-after: 1` and flag `OM` |
//! | 98 % | also: new connections are closed at once |
//!
//! Not here: measuring (`app/memory`).

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How short memory is. Each does what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// It is not.
    #[default]
    None,
    /// Idle connections are closed.
    Connections,
    /// Requests are refused.
    Requests,
    /// Nobody is let in.
    Everything,
}

impl Pressure {
    /// By the share of the memory that is in use.
    pub fn at(share: f64) -> Self {
        match share {
            0.98.. => Pressure::Everything,
            0.95.. => Pressure::Requests,
            0.90.. => Pressure::Connections,
            _ => Pressure::None,
        }
    }
}

/// The pressure that holds.
#[derive(Debug, Default)]
pub struct Overload(AtomicU8);

impl Overload {
    /// What holds from now on; what held before.
    pub fn set(&self, pressure: Pressure) -> Pressure {
        Self::of(self.0.swap(pressure as u8, Relaxed))
    }

    /// What holds.
    pub fn pressure(&self) -> Pressure {
        Self::of(self.0.load(Relaxed))
    }

    fn of(number: u8) -> Pressure {
        use Pressure::*;
        [None, Connections, Requests, Everything].into_iter().nth(number.into()).unwrap_or(Everything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_grows_with_the_share() {
        use Pressure::*;
        for (share, wanted) in [
            (0.0, None),
            (0.899, None),
            (0.9, Connections),
            (0.95, Requests),
            (0.98, Everything),
            (7.0, Everything),
        ] {
            assert_eq!(Pressure::at(share), wanted, "{share}");
            let overload = Overload::default();
            assert_eq!(overload.set(wanted), None);
            assert_eq!(overload.pressure(), wanted);
        }
        assert_eq!(Pressure::at(f64::NAN), None);
    }
}
