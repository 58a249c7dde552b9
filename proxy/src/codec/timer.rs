//! A timer that costs nothing while it is only pushed back.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
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

/// Deadlines of [`together`] are apart by this.
const STEP: Duration = Duration::from_millis(50);

/// When something happens that need not be exact: a little after `deadline`, at the same moment as for all others of this thread. Each
/// moment wakes it up, which costs more than what is done then.
pub fn together(deadline: Instant) -> Instant {
    thread_local! {
        static BEGAN: Instant = Instant::now();
    }
    let since = deadline.saturating_duration_since(BEGAN.with(|began| *began));
    deadline + STEP - Duration::from_nanos(u64::from(since.subsec_nanos() % STEP.subsec_nanos()))
}

/// Something that is done a while after there is a reason, for all reasons until then: who has none is never woken up.
#[derive(Debug, Default)]
pub struct Chore {
    timer: Timer,
    due: Option<Instant>,
}

impl Chore {
    /// Ready when it is to be done; `wanted` says whether there is a reason, which lasts until then.
    pub fn poll(&mut self, wanted: bool, after: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if !wanted {
            return Poll::Pending;
        }
        let due = *self.due.get_or_insert_with(|| together(Instant::now() + after));
        ready!(self.timer.poll(due, cx));
        self.due = None;
        Poll::Ready(())
    }
}

/// Runs while nothing moves: the clock of a peer that takes no more.
#[derive(Debug)]
pub struct Stall {
    patience: Duration,
    /// What had moved, and since when no more has.
    seen: Option<(u64, Instant)>,
}

impl Stall {
    /// Zero: for ever.
    pub fn new(patience: Duration) -> Self {
        Stall { patience, seen: None }
    }

    /// Ready when `moved`, a count of bytes, has been the same for too long. `timer` is nobody else's meanwhile.
    pub fn poll(&mut self, moved: u64, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<()> {
        if self.patience.is_zero() {
            return Poll::Pending;
        }
        let since = match self.seen {
            Some((before, since)) if before == moved => since,
            _ => self.seen.insert((moved, Instant::now())).1,
        };
        timer.poll(since + self.patience, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_counted_from_the_last_byte() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let (mut stall, mut timer, begun) = (Stall::new(PATIENCE), Timer::default(), Instant::now());
        for moved in 1..4 {
            assert!(poll_fn(|cx| Poll::Ready(stall.poll(moved, &mut timer, cx))).await.is_pending());
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
        }
        poll_fn(|cx| stall.poll(4, &mut timer, cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 3 * 59 + 60);
        let mut stall = Stall::new(Duration::ZERO);
        assert!(poll_fn(|cx| Poll::Ready(stall.poll(4, &mut timer, cx))).await.is_pending());
        tokio::time::sleep(PATIENCE).await;
        assert!(
            poll_fn(|cx| Poll::Ready(stall.poll(4, &mut timer, cx))).await.is_pending(),
            "zero: for ever"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_need_not_be_exact_happens_at_once() {
        let began = Instant::now();
        let _ = together(began);
        let mut moments: Vec<Instant> = Vec::new();
        for millis in (0..1000).step_by(7) {
            let deadline = began + Duration::from_millis(millis);
            let later = together(deadline);
            assert!(later > deadline && later <= deadline + STEP, "{millis}");
            moments.push(later);
        }
        moments.dedup();
        assert_eq!(moments.len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chore_waits_for_more_reasons_and_wakes_nobody_without() {
        const AFTER: Duration = Duration::from_secs(5);
        let (mut chore, begun, mut polls) = (Chore::default(), Instant::now(), 0);
        for _ in 0..3 {
            let idle = poll_fn(|cx| {
                polls += 1;
                chore.poll(false, AFTER, cx)
            });
            assert!(tokio::time::timeout(Duration::from_secs(3600), idle).await.is_err());
            let wanted = Instant::now();
            assert!(poll_fn(|cx| Poll::Ready(chore.poll(true, AFTER, cx))).await.is_pending());
            tokio::time::sleep(AFTER / 2).await;
            poll_fn(|cx| chore.poll(true, AFTER, cx)).await;
            assert!((AFTER..=AFTER + STEP).contains(&wanted.elapsed()), "{:?}", wanted.elapsed());
        }
        assert!(polls <= 2 * 3, "woken up {polls} times in {:?}", begun.elapsed());
    }

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
