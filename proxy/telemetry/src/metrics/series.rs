//! Series that appear with their first measurement: one for each way in which requests end, up to a bound.
//!
//! In:  an [`Outcome`].   Out: the cells that count it.
//! Invariants: finding a known outcome takes no lock and writes nothing; at the bound, measurements go to one shared
//! series with the labels `other`, so that totals stay right; series leave with their owner.
//! Not here: what the cells hold (`requests`, `tcp`), when the owner leaves (`table`).

use super::sharded::Sharded;
use crate::ResponseFlags;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// How many label sets there may be in all, and how many there are.
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
    dropped: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0), dropped: AtomicU64::new(0) })
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    fn take(self: &Arc<Self>, amount: usize) -> Option<Lease> {
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(amount).filter(|after| *after <= self.limit)
        });
        taken.is_ok().then(|| Lease { budget: Arc::clone(self), amount })
    }
}

/// Label sets in use; given back when dropped.
struct Lease {
    budget: Arc<Budget>,
    amount: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.amount, Relaxed);
    }
}

/// What is known of a request only when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// HTTP status, 0 without a response or for TCP.
    pub(super) code: u16,
    pub(super) flags: ResponseFlags,
    pub(super) grpc: Option<u8>,
}

impl Outcome {
    fn slot(self) -> usize {
        let grpc = self.grpc.map_or(0, |status| u32::from(status) + 1);
        let mixed = u32::from(self.code) ^ (self.flags.bits().wrapping_mul(0x9E37_79B1) >> 24) ^ (grpc << 3);
        mixed as usize % SLOTS
    }
}

/// Heads of the chains; most owners see fewer outcomes than this.
const SLOTS: usize = 16;

/// All outcomes of one owner.
pub(super) struct Series<C> {
    slots: [OnceLock<Box<Node<C>>>; SLOTS],
    budget: Arc<Budget>,
    /// Label sets that one outcome makes: one for each family.
    families: usize,
    /// `None`: this is the series `other` itself.
    other: Option<Arc<Series<C>>>,
    /// Cells of the series `other`.
    all: Sharded<C>,
}

/// One outcome; the chain only grows.
struct Node<C> {
    outcome: Outcome,
    cells: Sharded<C>,
    next: OnceLock<Box<Node<C>>>,
    _lease: Lease,
}

impl<C: Default> Series<C> {
    /// The series of one owner, none so far; each outcome makes one in each of so many families.
    pub(super) fn new(families: usize, other: Arc<Series<C>>) -> Self {
        let budget = Arc::clone(&other.budget);
        Series { slots: Default::default(), budget, families, other: Some(other), all: Sharded::default() }
    }

    /// The shared series for what has none of its own.
    pub(super) fn other(budget: Arc<Budget>) -> Arc<Self> {
        let (slots, all) = (Default::default(), Sharded::default());
        Arc::new(Series { slots, budget, families: 0, other: None, all })
    }

    /// This thread's cells for `outcome`.
    pub(super) fn cells(&self, outcome: Outcome) -> &C {
        let Some(other) = &self.other else {
            self.budget.dropped.fetch_add(1, Relaxed);
            return self.all.own();
        };
        match self.find_or_add(outcome) {
            Some(cells) => cells.own(),
            None => other.cells(outcome),
        }
    }

    fn find_or_add(&self, outcome: Outcome) -> Option<&Sharded<C>> {
        let mut slot = &self.slots[outcome.slot()];
        loop {
            match slot.get() {
                Some(node) if node.outcome == outcome => return Some(&node.cells),
                Some(node) => slot = &node.next,
                None => {
                    let lease = self.budget.take(self.families)?;
                    let node =
                        Node { outcome, cells: Sharded::default(), next: OnceLock::new(), _lease: lease };
                    // If another thread was first, this node is dropped and the loop looks at the other's.
                    drop(slot.set(Box::new(node)));
                }
            }
        }
    }

    /// Shows `each` every outcome with its cells; the outcome of `other` is `None`.
    pub(super) fn visit(&self, mut each: impl FnMut(Option<Outcome>, &Sharded<C>)) {
        if !self.all.is_untouched() {
            each(None, &self.all);
        }
        for mut slot in &self.slots {
            while let Some(node) = slot.get() {
                each(Some(node.outcome), &node.cells);
                slot = &node.next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: u16) -> Outcome {
        Outcome { code, flags: ResponseFlags::NONE, grpc: None }
    }

    /// Code (`None`: other) and count of each outcome.
    fn shown(series: &Series<AtomicU64>) -> Vec<(Option<u16>, u64)> {
        let mut rows = Vec::new();
        series.visit(|outcome, cells| {
            rows.push((outcome.map(|outcome| outcome.code), cells.iter().map(|n| n.load(Relaxed)).sum()));
        });
        rows.sort_unstable();
        rows
    }

    fn unbounded() -> (Arc<Budget>, Series<AtomicU64>) {
        let budget = Budget::new(usize::MAX);
        let series = Series::new(1, Series::other(Arc::clone(&budget)));
        (budget, series)
    }

    #[test]
    fn outcomes_beyond_the_bound_are_counted_as_other() {
        let budget = Budget::new(4);
        let other = Series::other(Arc::clone(&budget));
        let series = Series::<AtomicU64>::new(2, Arc::clone(&other));
        for code in [200, 200, 404, 503, 500] {
            series.cells(outcome(code)).fetch_add(1, Relaxed);
        }
        assert_eq!(shown(&series), [(Some(200), 2), (Some(404), 1)]);
        assert_eq!(shown(&other), [(None, 2)]);
        assert_eq!((budget.used(), budget.dropped(), budget.is_exhausted()), (4, 2, true));
        drop(series);
        assert_eq!(budget.used(), 0, "series leave with their owner");
    }

    #[test]
    fn outcomes_that_share_a_slot_are_apart() {
        let (budget, series) = unbounded();
        for code in 200..600 {
            series.cells(outcome(code)).fetch_add(u64::from(code), Relaxed);
        }
        assert_eq!(shown(&series).iter().map(|(_, n)| n).sum::<u64>(), (200..600).sum::<u64>());
        assert_eq!((shown(&series).len(), budget.used()), (400, 400));
    }

    #[test]
    fn a_race_for_a_new_outcome_makes_one_series() {
        let (budget, series) = unbounded();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..1000).for_each(|n| _ = series.cells(outcome(n % 50)).fetch_add(1, Relaxed))
                });
            }
        });
        assert_eq!(budget.used(), 50, "what the losers of the race made is given back");
        assert_eq!(shown(&series), (0..50).map(|code| (Some(code), 8000 / 50)).collect::<Vec<_>>());
    }
}
