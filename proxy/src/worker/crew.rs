//! Tasks that do work of one kind, one after the other: to make a task and to take it apart costs as much as all else that a short connection
//! brings with it, and a good part of what a short request does.
//!
//! In:  work, and how it is done ([`Crew::give`]).   Out: nothing; it is done in a turn of its own.
//! Invariants: whoever idles holds nothing of the work that was done but its room, and has no other yet; few idle.

use std::{
    cell::{OnceCell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// Tasks that wait for the next work.
const IDLE: usize = 64;

/// The tasks of a worker for one kind of work.
pub struct Crew<Work> {
    idle: Idle<Work>,
}

/// Those that have nothing to do.
type Idle<Work> = Rc<RefCell<Vec<Rc<Member<Work>>>>>;

/// A task, as others see it.
struct Member<Work> {
    work: RefCell<Option<Work>>,
    waker: OnceCell<Waker>,
}

impl<Work> Default for Crew<Work> {
    fn default() -> Self {
        Crew { idle: Rc::default() }
    }
}

impl<Work: 'static> Crew<Work> {
    /// Has work done; all work of a crew in the same way.
    pub fn give<Doing: Future<Output = ()> + 'static>(&self, work: Work, how: fn(Work) -> Doing) {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(member) => {
                member.work.replace(Some(work));
                member.waker.get().into_iter().for_each(Waker::wake_by_ref);
            }
            // Boxed: a task is moved several times before it runs.
            None => drop(tokio::task::spawn_local(Box::pin(do_all(self.idle.clone(), work, how)))),
        }
    }
}

/// Does one work after the other, until enough others idle. No `async fn`: it would have room for the first for ever.
fn do_all<Work, Doing: Future<Output = ()>>(
    idle: Idle<Work>,
    first: Work,
    how: fn(Work) -> Doing,
) -> impl Future<Output = ()> {
    let member = Rc::new(Member { work: RefCell::new(Some(first)), waker: OnceCell::new() });
    async move {
        loop {
            let work = poll_fn(|cx| match member.work.take() {
                Some(work) => Poll::Ready(work),
                None => {
                    member.waker.get_or_init(|| cx.waker().clone()); // a task has one for its life
                    Poll::Pending
                }
            });
            how(work.await).await;
            let mut idle = idle.borrow_mut();
            if idle.len() >= IDLE {
                return;
            }
            idle.push(member.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::{
        sync::oneshot::{Receiver, Sender, channel},
        task::{LocalSet, yield_now},
    };

    type Done = Rc<Cell<usize>>;

    /// Waits until told.
    async fn wait((until, done): (Receiver<()>, Done)) {
        until.await.unwrap();
        done.set(done.get() + 1);
    }

    fn give(crew: &Crew<(Receiver<()>, Done)>, done: &Done) -> Sender<()> {
        let (tell, until) = channel();
        crew.give((until, done.clone()), wait);
        tell
    }

    async fn until(is: impl Fn() -> bool) {
        while !is() {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_does_one_work_after_the_other_and_few_idle() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (crew, done) = (Crew::default(), Done::default());
                for round in 1..=3 {
                    give(&crew, &done).send(()).unwrap();
                    until(|| done.get() == round).await;
                    assert_eq!(crew.idle.borrow().len(), 1, "the same one");
                    assert_eq!(Rc::strong_count(&done), 1, "it holds nothing of what was done");
                }
                let all: Vec<_> = (0..IDLE + 10).map(|_| give(&crew, &done)).collect();
                assert!(crew.idle.borrow().is_empty(), "all at once");
                all.into_iter().for_each(|tell| tell.send(()).unwrap());
                until(|| done.get() == 3 + IDLE + 10).await;
                assert_eq!(crew.idle.borrow().len(), IDLE);
            })
            .await;
    }

    #[tokio::test]
    async fn a_panic_ends_one_task_and_no_other() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (crew, done) = (Crew::default(), Done::default());
                let fine = give(&crew, &done);
                drop(give(&crew, &done)); // panics: it is never told
                yield_now().await;
                assert!(crew.idle.borrow().is_empty());
                fine.send(()).unwrap();
                until(|| done.get() == 1).await;
                assert_eq!(crew.idle.borrow().len(), 1);
                give(&crew, &done).send(()).unwrap();
                until(|| done.get() == 2).await;
            })
            .await;
    }
}
