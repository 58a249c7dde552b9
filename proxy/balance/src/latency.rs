//! How long an endpoint takes to answer, of late: an average that a peak raises at once, and that fades.
//!
//! In:  latencies, each with its time.   Out: what the next answer may take.
//! Invariants: never above the longest latency that was recorded; never rises with time alone; one word, so that workers neither wait
//! for each other nor see half of it.
//! Not here: who is chosen by it (`selector::peak_ewma`), who is ejected for it (`outlier`).
//! Source: Finagle's peak EWMA.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Bits of a nanosecond count that a moment leaves out: 65 µs. Moments come round again after 78 hours; what is as old has faded either way.
const MOMENT: u32 = 16;

/// An average that peaks raise at once.
#[derive(Debug, Default)]
pub struct PeakEwma {
    began: OnceLock<Instant>,
    /// A moment, and the average then: nanoseconds as the bits of a float. 0: nothing is known.
    word: AtomicU64,
}

impl PeakEwma {
    /// Adds a latency.
    pub fn record(&self, took: Duration, now: Instant, decay: Duration) {
        self.update(now, decay, |before, age| {
            let took = took.as_nanos() as f32;
            if took >= before { took } else { before * age + took * (1.0 - age) }
        });
    }

    /// Adds a try that failed after so long: the endpoint is held to be no quicker than when it last answered. Of one that nothing is known
    /// of it tells nothing.
    pub fn record_at_least(&self, took: Duration, now: Instant, decay: Duration) {
        if self.word.load(Relaxed) != 0 {
            self.update(now, decay, |before, _| before.max(took.as_nanos() as f32));
        }
    }

    /// Adds a try that was given up for another after so long: it would have taken longer. What was known before fades as ever.
    pub fn record_given_up(&self, took: Duration, now: Instant, decay: Duration) {
        if self.word.load(Relaxed) != 0 {
            self.update(now, decay, |before, left| (before * left).max(took.as_nanos() as f32));
        }
    }

    /// What it is at a time, in nanoseconds; `None`: nothing is known.
    pub fn at(&self, now: Instant, decay: Duration) -> Option<f64> {
        let word = self.word.load(Relaxed);
        let (then, average) = unpack(word);
        (word != 0).then(|| f64::from(average) * f64::from(left(then, self.moment(now), decay)))
    }

    fn update(&self, now: Instant, decay: Duration, next: impl Fn(f32, f32) -> f32) {
        let moment = self.moment(now);
        let _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let (then, average) = unpack(word);
            let left = if word == 0 { 0.0 } else { left(then, moment, decay) };
            // A worker whose clock was read earlier does not turn time back.
            let moment = if word == 0 || (moment.wrapping_sub(then) as i32) >= 0 { moment } else { then };
            Some(pack(moment, next(average, left).max(1.0)))
        });
    }

    fn moment(&self, now: Instant) -> u32 {
        let began = *self.began.get_or_init(|| now);
        (now.saturating_duration_since(began).as_nanos() >> MOMENT) as u32
    }
}

fn pack(moment: u32, average: f32) -> u64 {
    u64::from(moment) << 32 | u64::from(average.to_bits())
}

fn unpack(word: u64) -> (u32, f32) {
    ((word >> 32) as u32, f32::from_bits(word as u32))
}

/// The part of an average that is left.
fn left(then: u32, now: u32, decay: Duration) -> f32 {
    let passed = now.wrapping_sub(then);
    if (passed as i32) < 0 && passed > u32::MAX - (1 << 12) {
        return 1.0; // read by a worker whose clock was a little behind
    }
    let passed = (u64::from(passed) << MOMENT) as f64;
    (-passed / (decay.as_nanos() as f64).max(1.0)).exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DECAY: Duration = Duration::from_secs(10);
    const MS: Duration = Duration::from_millis(1);

    fn millis(average: &PeakEwma, now: Instant) -> f64 {
        average.at(now, DECAY).map_or(f64::NAN, |nanos| nanos / 1e6)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let (average, began) = (PeakEwma::default(), Instant::now());
        assert_eq!(average.at(began, DECAY), None);
        average.record(MS * 10, began, DECAY);
        average.record(MS * 1_000, began + MS, DECAY);
        assert!((millis(&average, began + MS) - 1_000.0).abs() < 1.0);
        assert!((millis(&average, began + DECAY + MS) - 367.9).abs() < 1.0, "a third after its time");
        // Answers of 10 ms bring it down as time passes, not by their number.
        for _ in 0..10_000 {
            average.record(MS * 10, began + MS, DECAY);
        }
        assert!(millis(&average, began + MS) > 999.0);
        for second in 1..=60 {
            average.record(MS * 10, began + MS * 1_000 * second, DECAY);
        }
        assert!((millis(&average, began + MS * 60_000) - 12.45).abs() < 0.5);
    }

    #[test]
    fn what_failed_quickly_was_not_quick() {
        let (average, now) = (PeakEwma::default(), Instant::now());
        average.record_at_least(MS, now, DECAY);
        assert_eq!(average.at(now, DECAY), None);
        average.record(MS * 50, now, DECAY);
        average.record_at_least(MS, now + DECAY, DECAY);
        assert!((millis(&average, now + DECAY) - 50.0).abs() < 0.1);
        average.record_at_least(MS * 80, now + DECAY, DECAY);
        assert!((millis(&average, now + DECAY) - 80.0).abs() < 0.1);
    }

    #[test]
    fn what_was_given_up_is_no_reason_to_remember_what_was() {
        let (average, now) = (PeakEwma::default(), Instant::now());
        average.record_given_up(MS, now, DECAY);
        assert_eq!(average.at(now, DECAY), None);
        average.record(MS * 1_000, now, DECAY);
        average.record_given_up(MS * 20, now + DECAY, DECAY);
        assert!((millis(&average, now + DECAY) - 367.9).abs() < 1.0);
        average.record_given_up(MS * 20, now + DECAY * 10, DECAY);
        assert!((millis(&average, now + DECAY * 10) - 20.0).abs() < 0.1);
    }

    proptest! {
        #[test]
        fn it_stays_within_what_was_recorded_and_never_rises_by_itself(
            steps in prop::collection::vec((1..10_000_000_u64, 0..60_000_u64, any::<bool>()), 1..100),
        ) {
            let (average, mut now) = (PeakEwma::default(), Instant::now());
            let mut longest = 0.0_f64;
            for (micros, pause, failed) in steps {
                let took = Duration::from_micros(micros);
                longest = longest.max(took.as_nanos() as f64);
                if failed { average.record_at_least(took, now, DECAY) } else { average.record(took, now, DECAY) }
                let at = |time| average.at(time, DECAY).unwrap_or(0.0);
                prop_assert!(at(now) <= longest * 1.000_001);
                let later = now + Duration::from_millis(pause);
                prop_assert!(at(later) <= at(now) * 1.000_001);
                now = later;
            }
        }
    }
}
