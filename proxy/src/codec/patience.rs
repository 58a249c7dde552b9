//! Waiting in no hurry, for what mostly comes about by itself within milliseconds: instead of a timer, or the kernel's word, for each.
//!
//! In:  [`pause`].   Out: its end, after one to two periods, or sooner where too many wait.
//! Invariants: a thread has one timer, however many wait, and none while nobody does. On a thread whose line nobody keeps ([`keep`])
//! nobody waits.
//! Not here: waits whose length matters (`timer`).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;

/// Between two looks at who waits.
const PERIOD: Duration = Duration::from_millis(20);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// An answer, before the client is watched meanwhile.
    Answer,
    /// A client that closes its side, too. As long as one waits its socket is kept.
    Close,
}

impl For {
    /// How many wait at the same time; one more, and the first of them waits no longer.
    const fn most(self) -> usize {
        match self {
            For::Answer => usize::MAX,
            For::Close => 64,
        }
    }
}

/// Those who wait, in the order in which they came.
#[derive(Default)]
struct Line {
    /// The number of the first place.
    first: u64,
    /// Empty once its owner waits no longer.
    places: VecDeque<Option<Waker>>,
    waiting: usize,
    /// Places before this one were there at the last look.
    seen: u64,
}

impl Line {
    fn join(&mut self, waker: Waker, most: usize) -> u64 {
        if self.waiting >= most {
            self.call_first();
        }
        self.places.push_back(Some(waker));
        self.waiting += 1;
        self.first + self.places.len() as u64 - 1
    }

    fn place(&mut self, number: u64) -> Option<&mut Option<Waker>> {
        self.places.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn leave(&mut self, number: u64) {
        if self.place(number).is_some_and(|place| place.take().is_some()) {
            self.waiting -= 1;
            self.trim();
        }
    }

    fn call_first(&mut self) {
        if let Some(Some(waker)) = self.places.pop_front() {
            self.first += 1;
            self.waiting -= 1;
            self.trim();
            waker.wake();
        }
    }

    /// The first place is always somebody's.
    fn trim(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }

    /// Calls those that the last look saw; whether others wait.
    fn look(&mut self) -> bool {
        while self.waiting > 0 && self.first < self.seen {
            self.call_first();
        }
        self.seen = self.first + self.places.len() as u64;
        self.waiting > 0
    }
}

#[derive(Default)]
struct Lines {
    answer: RefCell<Line>,
    close: RefCell<Line>,
    kept: Cell<bool>,
    looking: Cell<bool>,
}

impl Lines {
    fn line(&self, what: For) -> &RefCell<Line> {
        match what {
            For::Answer => &self.answer,
            For::Close => &self.close,
        }
    }
}

thread_local! {
    static LINES: Lines = Lines::default();
    static BEGIN: Rc<Notify> = Rc::default();
}

/// A place in a line; given up when dropped.
struct Ticket(For, u64);

impl Drop for Ticket {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = LINES.try_with(|lines| lines.line(self.0).borrow_mut().leave(self.1));
    }
}

/// Waits for a while; once it is over it stays so.
pub struct Pause {
    what: For,
    /// Its place in the line, once it has one.
    ticket: Option<Ticket>,
    over: bool,
}

/// Waits for a while.
pub fn pause(what: For) -> Pause {
    Pause { what, ticket: None, over: false }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.over {
            return Poll::Ready(());
        }
        let what = self.what;
        LINES.with(|lines| {
            let mut line = lines.line(what).borrow_mut();
            match &self.ticket {
                None if lines.kept.get() => {
                    self.ticket = Some(Ticket(what, line.join(cx.waker().clone(), what.most())));
                    if !lines.looking.replace(true) {
                        BEGIN.with(|begin| begin.notify_one());
                    }
                    return Poll::Pending;
                }
                None => {}
                Some(Ticket(_, number)) => {
                    if let Some(Some(waker)) = line.place(*number) {
                        waker.clone_from(cx.waker());
                        return Poll::Pending;
                    }
                }
            }
            self.over = true;
            Poll::Ready(())
        })
    }
}

/// Ends the pauses of all that wait for this; whether anybody did.
pub fn end(what: For) -> bool {
    LINES.with(|lines| {
        let mut line = lines.line(what).borrow_mut();
        let any = line.waiting > 0;
        while line.waiting > 0 {
            line.call_first();
        }
        any
    })
}

/// Keeps the lines of this thread, for as long as it is polled.
pub async fn keep() {
    struct Kept;
    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = LINES.try_with(|lines| {
                lines.kept.set(false);
                lines.looking.set(false);
            });
        }
    }
    let _kept = Kept;
    LINES.with(|lines| lines.kept.set(true));
    let begin = BEGIN.with(Rc::clone);
    loop {
        begin.notified().await;
        let mut waiting = true;
        while waiting {
            tokio::time::sleep(PERIOD).await;
            waiting = LINES.with(|lines| {
                let waiting = lines.answer.borrow_mut().look() | lines.close.borrow_mut().look();
                lines.looking.set(waiting);
                waiting
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{task::LocalSet, time::Instant};

    async fn kept<T>(work: impl Future<Output = T>) -> T {
        let local = LocalSet::new();
        local.spawn_local(keep());
        local
            .run_until(async {
                tokio::task::yield_now().await;
                work.await
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_over_after_one_to_two_periods() {
        kept(async {
            for _ in 0..3 {
                let begun = Instant::now();
                let later = async {
                    tokio::time::sleep(PERIOD / 2).await;
                    let begun = Instant::now();
                    pause(For::Answer).await;
                    begun.elapsed()
                };
                let now = async {
                    pause(For::Answer).await;
                    begun.elapsed()
                };
                for waited in <[Duration; 2]>::from(tokio::join!(now, later)) {
                    assert!((PERIOD..=PERIOD * 2 + Duration::from_millis(2)).contains(&waited), "{waited:?}");
                }
                tokio::time::sleep(PERIOD * 3).await;
                LINES.with(|lines| assert!(!lines.looking.get(), "nothing runs while nobody waits"));
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_ends_the_pause_of_the_first() {
        kept(async {
            let begun = Instant::now();
            let mut pauses: Vec<_> = (0..For::Close.most()).map(|_| Box::pin(pause(For::Close))).collect();
            let poll = |pause: &mut Pin<Box<Pause>>| {
                pause.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
            };
            assert!(!pauses.iter_mut().any(poll));
            drop(pauses.remove(0));
            let mut more = [(); 2].map(|()| Box::pin(pause(For::Close)));
            assert!(!more.iter_mut().any(poll));
            let over: Vec<_> = pauses.iter_mut().map(poll).collect();
            assert_eq!(over.iter().filter(|over| **over).count(), 1);
            assert!(over[0] && poll(&mut pauses[0]), "and it stays so");
            assert_eq!(begun.elapsed(), Duration::ZERO);
            assert!(end(For::Close) && pauses.iter_mut().chain(&mut more).all(poll) && !end(For::Close));
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_waits_where_nobody_keeps_the_line() {
        pause(For::Close).await;
    }
}
