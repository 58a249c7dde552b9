//! Numbers that many workers write and one reader adds up.
//!
//! In:  additions by any thread.   Out: sums.
//! Invariants: a worker writes memory that (up to [`SHARDS`] writing threads) no other worker writes, so that counting
//! never moves a cache line between processors; a shard exists only once its thread has written.
//! Not here: what is counted.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Threads beyond this many share shards: still right, a little slower.
const SHARDS: usize = 8;

/// One `T` for each thread, made when the thread first writes.
pub(super) struct Sharded<T> {
    shards: [OnceLock<Box<CacheLine<T>>>; SHARDS],
}

/// Starts a cache line of its own (two, as processors fetch them in pairs).
#[derive(Default)]
#[repr(align(128))]
struct CacheLine<T>(T);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The shard of this thread: threads are numbered as they first count something.
pub(crate) fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        shard.get()
    })
}

impl<T: Default> Sharded<T> {
    /// This thread's.
    pub(super) fn own(&self) -> &T {
        &self.shards[own_shard()].get_or_init(Default::default).0
    }

    /// Everyone's.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().filter_map(|shard| shard.get().map(|line| &line.0))
    }

    /// Whether nothing was ever written.
    pub(super) fn is_untouched(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<T> Default for Sharded<T> {
    fn default() -> Self {
        Sharded { shards: [const { OnceLock::new() }; SHARDS] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, atomic::AtomicU64};

    #[test]
    fn many_threads_add_up() {
        let counter = Arc::new(Sharded::<AtomicU64>::default());
        assert!(counter.is_untouched());
        let threads: Vec<_> = (0..2 * SHARDS)
            .map(|_| {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || (0..1000).for_each(|_| _ = counter.own().fetch_add(1, Relaxed)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counter.iter().map(|n| n.load(Relaxed)).sum::<u64>(), 2 * SHARDS as u64 * 1000);
        assert!(counter.iter().count() > 1, "threads have shards of their own");
    }
}
