//! A thread that gives way to others while it works for long.
//!
//! In:  the places where its work may pause.   Out: now and then, the core.
//! Why: a nice thread has less of a busy core, but does not give it back any sooner. Since Linux 6.6 whoever wakes waits until the
//! running thread's slice is over, some milliseconds, nice or not; that is many times what a request takes.
//! Invariants: while there is room on the cores others wait for the end of a piece of work, or for a fifth of a millisecond if pieces are
//! shorter, not for a slice; where they leave nothing of the core, the thread still has its part of it, in stints of at most 10 ms.
//! Source: the kernel's "EEVDF Scheduler"; `sched_yield(2)`, by which a thread forfeits the rest of its slice.

use std::{
    cell::Cell,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

/// Work between two pauses.
const STINT: Duration = Duration::from_micros(200);
/// After a long pause work is longer, but not longer than this.
const LONGEST_STINT: Duration = Duration::from_millis(10);

/// Of a busy core others have nine parts, for each that this thread has.
const OTHERS: u32 = 9;

thread_local! {
    /// When the next pause is due.
    static DUE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives way from now on, wherever this thread's work may pause.
pub fn give() {
    sidle_model::pause::at_each(Some(pause));
}

/// Gives way while it works.
pub fn giving<T>(work: impl FnOnce() -> T) -> T {
    sidle_model::pause::during(pause, work)
}

fn pause() {
    let now = Instant::now();
    if DUE.get().is_none_or(|due| now >= due) {
        tidy();
        thread::yield_now();
        let back = Instant::now();
        DUE.set(Some(back + stint_after(back - now)));
    }
}

/// Has the C library's allocator put together what was freed since the last pause. It does so when it is asked for anything larger than
/// this, or is given back a large piece; by then it would be milliseconds of work, in one go.
fn tidy() {
    const LARGE: usize = 2048;
    drop(black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// How long to work after a pause.
fn stint_after(pause: Duration) -> Duration {
    (pause / OTHERS).clamp(STINT, LONGEST_STINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_long_pause_there_is_a_long_stint() {
        let stints = [0, 1, 9, 1000].map(|pause| stint_after(Duration::from_millis(pause)).as_micros());
        assert_eq!(stints, [200, 200, 1000, 10_000]);
    }

    #[test]
    fn work_is_paused_where_it_may_be_once_a_stint_is_over() {
        // Nobody pauses unasked.
        sidle_model::pause::here();
        assert_eq!(DUE.get(), None);
        giving(|| {
            sidle_model::pause::here();
            let due = DUE.get().unwrap();
            while Instant::now() < due {}
            sidle_model::pause::here();
            assert!(DUE.get().unwrap() > due);
        });
        let due = DUE.get();
        while due.is_none_or(|due| Instant::now() < due) {}
        sidle_model::pause::here();
        assert_eq!(DUE.get(), due, "nor afterwards");
    }
}
