//! A task's turn: what it may do before the other tasks of its worker have theirs.
//!
//! tokio gives a task 128 units of work, of which each read, write or wait takes one, whatever it cost. Here is what takes more, so
//! that whoever sends much of what costs much keeps nobody waiting. Connections are looked at for what has come between turns.
//!
//! Invariants: for work as usual a turn is long enough; none is longer than about half a millisecond.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, ready},
};
use tokio::task::{coop, yield_now};

/// A connection that was accepted.
pub const CONNECTION: u32 = 8;
/// A request that begins on a connection that has others.
pub const STREAM: u32 = 16;
/// The same, where streams are reset: their work may be for nothing.
pub const SUSPICIOUS_STREAM: u32 = 64;
/// A frame of HTTP/2.
pub const FRAME: u32 = 1;
/// Bytes of a head that is read while the next one waits, for one unit.
const HEAD_BYTES: usize = 1 << 10;
/// Bytes that were read, for one unit: 32 KiB are a turn. A piece of a large body is larger (`codec/h1/wire`), as half of it would cost as
/// many packets; then it is the only one of its turn.
const BYTES: usize = 256;

/// Takes `units` from this task's turn. If it is over, what the task does next waits for the next one.
pub fn spend(units: u32, cx: &mut Context<'_>) {
    for _ in 0..units {
        match coop::poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// [`spend`] for what was read.
pub fn spend_bytes(read: usize, cx: &mut Context<'_>) {
    spend((read / BYTES) as u32, cx);
}

/// Waits for a turn with room for a request of HTTP/1 that nobody had to wait for, with a head of so many bytes.
pub async fn take_pipelined(head: usize) {
    let mut units = STREAM + (head / HEAD_BYTES) as u32;
    poll_fn(|cx| poll_take(&mut units, cx)).await;
}

/// Takes nothing of this turn; when it is over, waits for the next.
pub fn poll_open(cx: &mut Context<'_>) -> Poll<()> {
    coop::poll_proceed(cx).map(drop)
}

/// Takes what is left of `units`, and waits for the next turn when this one is over.
pub fn poll_take(units: &mut u32, cx: &mut Context<'_>) -> Poll<()> {
    while *units > 0 {
        ready!(coop::poll_proceed(cx)).made_progress();
        *units -= 1;
    }
    Poll::Ready(())
}

/// Does what belongs to work that this turn has paid for, such as writing what was read, even if the turn is over by that.
pub fn paid<T>(cx: &mut Context<'_>, work: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    pin!(coop::unconstrained(poll_fn(work))).poll(cx)
}

/// Ends this turn.
pub fn end<T>(cx: &mut Context<'_>) -> Poll<T> {
    let _ = pin!(yield_now()).poll(cx);
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};
    use tokio::{io::AsyncWriteExt as _, net::UnixStream, task::LocalSet};

    /// How many turns of another task `work` leaves room for.
    async fn turns(work: impl Future<Output = ()> + 'static) -> u32 {
        let local = LocalSet::new();
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        local.spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        let work = local.spawn_local(work);
        local.run_until(work).await.unwrap();
        turns.get()
    }

    #[tokio::test]
    async fn much_work_takes_many_turns() {
        let streams = turns(async {
            for _ in 0..80 {
                let mut units = STREAM;
                poll_fn(|cx| poll_take(&mut units, cx)).await;
            }
        });
        assert!(streams.await >= 10);
    }

    #[tokio::test]
    async fn few_pipelined_requests_with_large_heads_fit_into_a_turn() {
        let requests = turns(async {
            for _ in 0..20 {
                take_pipelined(30 << 10).await;
            }
        });
        assert!(requests.await >= 7);
    }

    #[tokio::test]
    async fn an_ended_turn_comes_again() {
        let mut ended = false;
        assert!(
            turns(poll_fn(move |cx| if std::mem::replace(&mut ended, true) {
                Poll::Ready(())
            } else {
                end(cx)
            }))
            .await
                >= 1
        );
    }

    /// What others have sent meanwhile is seen between two turns, however many follow each other.
    #[tokio::test]
    async fn connections_are_looked_at_between_turns() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let seen = Rc::new(Cell::new(0));
        let local = LocalSet::new();
        let count = seen.clone();
        local.spawn_local(async move {
            theirs.readable().await.unwrap();
            count.set(1);
        });
        local
            .run_until(async move {
                yield_now().await;
                ours.write_all(b"x").await.unwrap();
                let mut turns = 0;
                poll_fn(|cx| {
                    turns += 1;
                    if seen.get() == 1 { Poll::Ready(()) } else { end(cx) }
                })
                .await;
                assert!(turns <= 4, "{turns} turns");
            })
            .await;
    }
}
