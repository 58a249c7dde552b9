//! Waits: between attempts that fail, and until a moment on the wall clock.

use sidle_identity::Moment;
use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// After many.
const LONGEST: Duration = Duration::from_secs(60);
/// Timers do not run while a machine sleeps; the wall clock does.
const LOOK: Duration = Duration::from_secs(30);

/// Waits that double, and differ from process to process.
#[derive(Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// Waits after a failure.
    pub async fn wait(&mut self) {
        let wait = self.next(fastrand::f64());
        tokio::time::sleep(wait).await;
    }

    /// Something went well.
    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// Between a half and the whole of what doubles; `random` is below 1.
    fn next(&mut self, random: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.0.min(10)).min(LONGEST);
        self.0 += 1;
        whole.mul_f64(0.5 + random / 2.0)
    }
}

/// Waits until `moment` on the wall clock.
pub async fn until(moment: Moment) {
    loop {
        let left = moment.left();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_minute_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.next(0.0).as_secs(), 30);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_secs(), 1);
    }
}
