//! How much of a body is read at once.
//!
//! In:  from whoever sends it on, how much its peer would take now.   Out: to whoever reads it from an HTTP/1 connection, how much that is.
//! Why: what was read and cannot be sent stays in memory, and a client may have thousands of streams of which it takes nothing.
//! Between the two ends of a body there may be others that watch it, which have no part in this; therefore it is not an argument.
//! Invariants: it holds while one poll lasts, for all that is read in it; nobody who says nothing is held back.

use std::cell::Cell;

/// What is read for a peer that takes nothing now: how a message goes on has to be known, as its end needs no room.
pub const LITTLE: usize = 4 << 10;

thread_local! {
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Bytes that whoever polls now can send on; `usize::MAX` if nobody has said so.
pub fn most() -> usize {
    MOST.get()
}

/// Polls a body of which so many bytes can be sent on; a little of it is read in any case.
pub fn at_most<T>(bytes: usize, poll: impl FnOnce() -> T) -> T {
    /// Puts back what held before, even if `poll` panics.
    struct Before(usize);
    impl Drop for Before {
        fn drop(&mut self) {
            MOST.set(self.0);
        }
    }
    let _before = Before(MOST.replace(bytes.max(LITTLE)));
    poll()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_for_what_is_polled_only() {
        assert_eq!(most(), usize::MAX);
        at_most(9_000, || {
            assert_eq!(most(), 9_000);
            at_most(0, || assert_eq!(most(), LITTLE));
            assert_eq!(most(), 9_000);
        });
        let panicked = std::panic::catch_unwind(|| at_most(0, || panic!("while polling")));
        assert!(panicked.is_err());
        assert_eq!(most(), usize::MAX);
    }
}
