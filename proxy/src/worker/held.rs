//! A worker's own holds on what all workers share.
//!
//! In:  an `Arc` of the configuration.   Out: a [`Held`] of it, which a request may keep.
//! Invariant: to keep a thing, or to let it go, writes nothing that another worker reads. The count of an `Arc` is such a thing: a
//! processor has to fetch it from the one that wrote it last, for each request twice.

use foldhash::HashMap;
use std::{cell::RefCell, ops::Deref, rc::Rc, sync::Arc};

/// Something that all workers share, kept by one of them.
#[expect(
    clippy::redundant_allocation,
    reason = "the inner count is everybody's, the outer one this worker's"
)]
pub struct Held<T>(Rc<Arc<T>>);

impl<T> Held<T> {
    /// A new hold.
    pub fn new(shared: Arc<T>) -> Self {
        Held(Rc::new(shared))
    }

    /// As workers share it.
    pub fn shared(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Held(self.0.clone())
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Things that a worker remembers its hold on. Of more, each request has a hold of its own.
const MOST: usize = 4096;

/// A worker's holds on things of one kind.
pub struct Holds<T>(RefCell<HashMap<*const T, Held<T>>>);

impl<T> Default for Holds<T> {
    fn default() -> Self {
        Holds(RefCell::default())
    }
}

impl<T> Holds<T> {
    /// The hold on `shared`: the one that there is, while it is remembered. What is remembered lives, so that its address cannot come to
    /// mean something else.
    pub fn of(&self, shared: &Arc<T>) -> Held<T> {
        let mut holds = self.0.borrow_mut();
        if let Some(held) = holds.get(&Arc::as_ptr(shared)) {
            return held.clone();
        }
        let held = Held::new(shared.clone());
        if holds.len() < MOST {
            holds.insert(Arc::as_ptr(shared), held.clone());
        }
        held
    }

    /// Lets go of what no request keeps.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_the_hold_of_their_worker() {
        let (shared, holds) = (Arc::new(7), Holds::default());
        let held: Vec<_> = (0..9).map(|_| holds.of(&shared)).collect();
        assert_eq!((Arc::strong_count(&shared), *held[8]), (2, 7), "nine requests count as one");
        assert!(Arc::ptr_eq(held[0].shared(), &shared));
        holds.clear();
        assert_eq!(Arc::strong_count(&shared), 2, "a request keeps what it has");
        drop(held);
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (things, holds): (Vec<_>, _) = ((0..=MOST).map(Arc::new).collect(), Holds::default());
        assert!(things.iter().all(|thing| *holds.of(thing) == **thing));
        assert_eq!(things.iter().filter(|thing| Arc::strong_count(thing) == 2).count(), MOST);
    }
}
