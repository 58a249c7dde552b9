//! Tasks that serve connections, one after the other: to make one and to take it apart costs as much as all else that a short connection
//! brings with it.
//!
//! In:  a connection that was let in ([`serve`]).   Out: nothing; HTTP/1 is served to its end, others go on in tasks of their own.
//! Invariants: whoever idles holds nothing of a connection, and has no work yet; few idle.
//! Not here: who is let in (`admission`), what serving is (`mod.rs`).

use super::{Drain, Origin, admission::Open};
use crate::{codec::Stream, worker::Worker};
use std::{
    cell::{OnceCell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

/// Tasks that wait for the next connection.
const IDLE: usize = 64;

/// A connection that was let in.
pub(super) struct Arrived {
    pub(super) listener: Arc<str>,
    pub(super) drain: Rc<Drain>,
    pub(super) open: Open,
    pub(super) stream: Stream,
    pub(super) origin: Origin,
}

/// The tasks of a worker that have nothing to do.
#[derive(Default)]
pub struct Crew(RefCell<Vec<Rc<Member>>>);

/// A task, as others see it.
#[derive(Default)]
struct Member {
    work: RefCell<Option<Arrived>>,
    waker: OnceCell<Waker>,
}

/// Has a connection served.
pub(super) fn serve(worker: &Rc<Worker>, arrived: Arrived) {
    let idle = worker.crew.0.borrow_mut().pop();
    match idle {
        Some(member) => {
            member.work.replace(Some(arrived));
            member.waker.get().into_iter().for_each(Waker::wake_by_ref);
        }
        None => drop(tokio::task::spawn_local(work(worker.clone(), arrived))),
    }
}

async fn work(worker: Rc<Worker>, first: Arrived) {
    let member = Rc::new(Member::default());
    member.work.replace(Some(first));
    loop {
        let arrived = poll_fn(|cx| match member.work.take() {
            Some(arrived) => Poll::Ready(arrived),
            None => {
                member.waker.get_or_init(|| cx.waker().clone()); // a task has one for its life
                Poll::Pending
            }
        });
        super::connection(&worker, arrived.await).await;
        let mut idle = worker.crew.0.borrow_mut();
        if idle.len() >= IDLE {
            return;
        }
        idle.push(member.clone());
    }
}
