//! What is under way in the whole process.
//!
//! In:  what workers begin and end.   Out: whether there is anything to wait for.
//! Invariant: for a request a worker writes a counter of its own, on a cache line that no other worker uses.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// What is under way in the whole process.
#[derive(Debug, Default)]
#[repr(align(128))] // what each connection changes is apart from what each request reads
pub struct Activity {
    /// Open connections from the mesh and from outside, idle ones too.
    pub inbound_connections: AtomicUsize,
    /// Open downstream connections.
    pub connections: AtomicUsize,
    next_connection: AtomicU64,
    workers: Mutex<Vec<Arc<UnderWay>>>,
}

/// Requests and TCP connections that one worker has under way.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines, as processors fetch them in pairs
pub struct UnderWay(AtomicUsize);

impl Activity {
    /// A number that no other connection has.
    pub fn connection_id(&self) -> u64 {
        self.next_connection.fetch_add(1, Relaxed) + 1
    }

    /// The counter of a worker that begins.
    pub fn enlist(&self) -> Arc<UnderWay> {
        let counter = Arc::<UnderWay>::default();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(counter.clone());
        counter
    }

    /// Whether no request and no TCP connection is under way.
    pub fn is_idle(&self) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().all(|worker| worker.0.load(Relaxed) == 0)
    }
}

impl UnderWay {
    /// One begins.
    pub fn begin(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed); // nobody else writes it
    }

    /// One has ended.
    pub fn end(&self) {
        self.0.store(self.0.load(Relaxed) - 1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_idle_when_every_worker_is() {
        let activity = Activity::default();
        let workers = [activity.enlist(), activity.enlist()];
        assert!(activity.is_idle());
        workers.iter().for_each(|worker| worker.begin());
        workers[0].end();
        assert!(!activity.is_idle());
        workers[1].end();
        assert!(activity.is_idle());
    }
}
