//! Descriptors that are kept for the process' own servers.
//!
//! Invariant: when connections of clients have used descriptors up, [`SPARE`] of each server are still there: one is given up
//! just before it is needed, and is taken again when the connection that it went to has ended.

use std::{
    fs::File,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Connections of a server that can be served at once when there is no other descriptor.
const SPARE: usize = 4;

/// Open files that only hold their descriptors.
pub(super) struct Reserve(Mutex<Vec<File>>);

impl Reserve {
    /// A full one, if there are descriptors.
    pub(super) fn new() -> Self {
        let reserve = Reserve(Mutex::default());
        reserve.refill();
        reserve
    }

    /// Gives a descriptor up; `false`: there is none.
    pub(super) fn give(&self) -> bool {
        self.files().pop().is_some()
    }

    /// Takes what is missing, as far as there is any.
    pub(super) fn refill(&self) {
        let mut files = self.files();
        while files.len() < SPARE
            && let Ok(file) = File::open("/dev/null")
        {
            files.push(file);
        }
    }

    fn files(&self) -> MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_taken_again() {
        let reserve = Reserve::new();
        assert_eq!((0..=SPARE).filter(|_| reserve.give()).count(), SPARE);
        reserve.refill();
        assert!(reserve.give());
    }
}
