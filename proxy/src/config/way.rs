//! A thread that gives way to others while it works for long.
//!
//! In:  the places where its work may pause.   Out: now and then, the core.
//! Why: a nice thread has less of a busy core, but does not give it back any sooner. Since Linux 6.6 whoever wakes waits until the
//! running thread's slice is over, some milliseconds, nice or not; that is many times what a request takes.
//! Invariants: others wait for a fifth of a millisecond, not for a slice; where they leave nothing of the core, the thread still has about
//! a tenth.
//! Source: the kernel's "EEVDF Scheduler"; `sched_yield(2)`, by which a thread forfeits the rest of its slice.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

/// Work between two pauses.
const STINT: Duration = Duration::from_micros(200);
/// A longer one after a long pause: a ninth of it, and at most this.
const SHARE: u32 = 9;
const LONGEST_STINT: Duration = Duration::from_millis(10);

thread_local! {
    /// When the next pause is due.
    static DUE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives way from now on, wherever this thread's work may pause.
pub fn give() {
    sidle_model::pause::at_each(|| {
        let now = Instant::now();
        if DUE.get().is_none_or(|due| now >= due) {
            thread::yield_now();
            let back = Instant::now();
            DUE.set(Some(back + stint_after(back - now)));
        }
    });
}

/// How long to work after a pause.
fn stint_after(pause: Duration) -> Duration {
    (pause / SHARE).clamp(STINT, LONGEST_STINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_long_pause_there_is_a_long_stint() {
        let stints = [0, 1, 13, 1000].map(|pause| stint_after(Duration::from_millis(pause)).as_micros());
        assert_eq!(stints, [200, 200, 1444, 10_000]);
    }

    #[test]
    fn work_is_paused_where_it_may_be_once_a_stint_is_over() {
        // Nobody pauses unasked.
        sidle_model::pause::here();
        assert_eq!(DUE.get(), None);
        give();
        sidle_model::pause::here();
        let due = DUE.get().unwrap();
        while Instant::now() < due {}
        sidle_model::pause::here();
        assert!(DUE.get().unwrap() > due);
    }
}
