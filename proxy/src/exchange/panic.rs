//! A defect in what one request runs through costs that request and no other.
//!
//! Invariant: what unwinds through here has dropped its guards, so that permits, counters and pooled connections are given back;
//! the log and the metrics have heard of it already, from the hook that `app` sets.
//! Not here: panics of bodies under way, of TCP connections and of HTTP/2 streams, which end their task: the stream or the
//! connection, and nothing else.

use crate::error::ProxyError;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

/// The outcome of `work`, or 500 if it panics.
///
/// No `async fn`: its future would have room for `work` twice.
pub fn caught<T>(
    work: impl Future<Output = Result<T, ProxyError>>,
) -> impl Future<Output = Result<T, ProxyError>> {
    AssertUnwindSafe(work).catch_unwind().map(|done| done.unwrap_or(Err(ProxyError::Panicked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    struct Held(Rc<Cell<u32>>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_gives_back_what_it_held() {
        let held = Rc::new(Cell::new(1));
        let guard = Held(held.clone());
        let outcome: Result<(), _> = caught(async move {
            let _guard = guard;
            tokio::task::yield_now().await;
            panic!("a defect")
        })
        .await;
        assert_eq!(outcome, Err(ProxyError::Panicked));
        assert_eq!(ProxyError::Panicked.status(), 500);
        assert_eq!(held.get(), 0);
        assert_eq!(caught(async { Ok(1) }).await, Ok(1));
    }

    /// What a worker runs on.
    #[test]
    fn a_task_that_panics_ends_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        let lives = tasks.block_on(&runtime, async {
            let other = tokio::task::spawn_local(async {
                tokio::task::yield_now().await;
                "lives"
            });
            assert!(tokio::task::spawn_local(async { panic!("a defect") }).await.is_err());
            other.await.unwrap()
        });
        assert_eq!(lives, "lives");
    }
}
