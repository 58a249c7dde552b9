//! Connections that keep the room of a request for the next one.
//!
//! Invariants: few of a thread do. Where many connections ask at once, rooms would be left between what stays of each connection, in pieces
//! that the allocator cannot give back.

use std::cell::Cell;

/// Connections of a thread that keep a room without a request in it.
const MOST: usize = 128;

thread_local! {
    static RESTING: Cell<usize> = const { Cell::new(0) };
}

/// One of them, while it lives.
#[derive(Debug)]
pub(super) struct Resting(());

impl Resting {
    /// One more; `None` if there are enough.
    pub fn begin() -> Option<Resting> {
        let resting = RESTING.get();
        (resting < MOST).then(|| {
            RESTING.set(resting + 1);
            Resting(())
        })
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        RESTING.set(RESTING.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rest_and_who_leaves_makes_room() {
        let mut resting: Vec<_> = std::iter::from_fn(Resting::begin).collect();
        assert_eq!(resting.len(), MOST);
        resting.pop();
        assert!(Resting::begin().is_some());
        assert!(Resting::begin().is_some(), "the last one has ended");
    }
}
