//! What no longer runs, kept until nobody uses it.
//!
//! In:  snapshots that others took the place of.   Out: nothing is left of them.
//! Why: the last one to let go of thousands of routes takes them apart, which is not to be a worker with requests to serve.
//! Not here: how the last one gives way meanwhile (`way`, and whatever is large).

use super::{Filter, RoutePlan, Snapshot};
use sidle_routing::RouteTable;
use std::{sync::Arc, time::Duration};

/// From the first look whether somebody still uses it to the second. From then on twice as long each time, but not longer than
/// [`SELDOM`]: a connection without requests may keep its table for hours.
const SOON: Duration = Duration::from_millis(10);
const SELDOM: Duration = Duration::from_secs(5);

/// All of it.
#[derive(Default)]
pub(super) struct Retired {
    snapshots: Vec<Arc<Snapshot>>,
    /// Connections keep these until their next request, and do without the rest of a snapshot.
    tables: Vec<Arc<RouteTable<RoutePlan>>>,
    wait: Duration,
}

impl Retired {
    /// Keeps `snapshot`, which no longer runs.
    pub fn keep(&mut self, snapshot: Arc<Snapshot>) {
        for chain in snapshot.listeners.values().flat_map(|listener| listener.chains.chains()) {
            if let Filter::Http(http) = &chain.filter
                && !self.tables.iter().any(|table| Arc::ptr_eq(table, &http.routes))
            {
                self.tables.push(http.routes.clone());
            }
        }
        self.snapshots.push(snapshot);
        self.wait = SOON;
    }

    /// Takes apart what nobody uses any more. When to do so again; `None`: nothing is left.
    pub fn look(&mut self) -> Option<Duration> {
        self.snapshots.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.tables.retain(|table| Arc::strong_count(table) > 1);
        let wait = self.wait;
        self.wait = (wait * 2).min(SELDOM);
        (!self.snapshots.is_empty() || !self.tables.is_empty()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Builder;
    use sidle_model::{ir::Node, load_texts};

    fn snapshot() -> Arc<Snapshot> {
        let mut loaded = load_texts(Vec::new(), &Node::default());
        Arc::new(Builder::alone().build(loaded.ir.take().unwrap(), 0, None).unwrap().snapshot)
    }

    #[test]
    fn what_somebody_uses_stays_and_is_looked_at_less_and_less_often() {
        let mut retired = Retired::default();
        assert_eq!(retired.look(), None);
        let used = snapshot();
        retired.keep(used.clone());
        let waits: Vec<_> = (0..12).map(|_| retired.look().unwrap()).collect();
        assert_eq!((waits[0], waits[1], waits[11]), (SOON, SOON * 2, SELDOM));
        retired.keep(snapshot());
        assert_eq!(retired.look(), Some(SOON), "what is new goes soon");
        assert_eq!(retired.snapshots.len(), 1);
        drop(used);
        assert_eq!(retired.look(), None);
    }

    #[test]
    fn a_connection_does_not_take_its_table_apart() {
        let (mut retired, snapshot) = (Retired::default(), snapshot());
        let chains = snapshot.listeners.values().flat_map(|listener| listener.chains.chains());
        let mut plans = chains.filter_map(|chain| match &chain.filter {
            Filter::Http(plan) => Some(plan.clone()),
            Filter::Tcp(_) => None,
        });
        let plan = plans.next().unwrap();
        drop(plans);
        let table = Arc::downgrade(&plan.routes);
        retired.keep(snapshot);
        assert!(retired.look().is_some());
        assert!(retired.snapshots.is_empty());
        drop(plan);
        assert_eq!(table.strong_count(), 1, "it is kept");
        assert_eq!(retired.look(), None);
        assert_eq!(table.strong_count(), 0);
    }
}
