//! A timer that costs nothing while it is only pushed back.

use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep};

/// Waits until a deadline that may move. Kept armed when the deadline moves away: it then runs out early, and is set again.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once `deadline` has passed.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                // Armed anew by whoever waits next.
                self.0 = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn the_deadline_in_force_decides() {
        let (mut timer, begun) = (Timer::default(), Instant::now());
        let second = |n| begun + Duration::from_secs(n);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(second(9), cx))).await.is_pending());
        poll_fn(|cx| timer.poll(second(2), cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 2, "sooner");
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(second(3), cx))).await.is_pending());
        poll_fn(|cx| timer.poll(second(7), cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 7, "later");
    }
}
