//! Nothing moves either way for too long: the clock of one direction of an exchange, which a byte of the other resets too.

use super::request_body::Progress;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// Runs while one direction waits for its peer.
pub struct IdleTimer {
    limit: Duration,
    /// Since when this direction has waited; time that it was not asked for does not count.
    waiting: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// `None`: without a limit.
    pub fn new(limit: Duration) -> Option<Self> {
        (!limit.is_zero()).then_some(IdleTimer { limit, waiting: None, sleep: None })
    }

    /// This direction no longer waits.
    pub fn moved(&mut self) {
        self.waiting = None;
    }

    /// Ready when neither this direction nor the other has moved for too long. The timer is set anew only when it runs
    /// out, not with each byte.
    pub fn poll(&mut self, progress: &Progress, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = *self.waiting.get_or_insert_with(Instant::now);
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(waiting + limit)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            let deadline = progress.moved_at().map_or(waiting, |moved| moved.max(waiting)) + limit;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_byte_of_the_other_direction_resets_it() {
        let progress = Progress::default();
        let mut timer = IdleTimer::new(LIMIT).unwrap();
        let began = Instant::now();
        let idle = poll_fn(|cx| timer.poll(&progress, cx));
        let other = async {
            for _ in 0..5 {
                tokio::time::sleep(LIMIT / 2).await;
                progress.touch(Instant::now());
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = idle => {}
            () = other => {}
        }
        assert_eq!(began.elapsed().as_secs(), 210, "five halves, and then the whole limit");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asks_does_not_count() {
        let progress = Progress::default();
        let mut timer = IdleTimer::new(LIMIT).unwrap();
        let asked = tokio::time::timeout(LIMIT / 2, poll_fn(|cx| timer.poll(&progress, cx))).await;
        assert!(asked.is_err());
        timer.moved();
        tokio::time::sleep(LIMIT * 3).await;
        let again = Instant::now();
        poll_fn(|cx| timer.poll(&progress, cx)).await;
        assert_eq!(again.elapsed(), LIMIT);
    }

    #[test]
    fn none_is_no_limit() {
        assert!(IdleTimer::new(Duration::ZERO).is_none());
    }
}
