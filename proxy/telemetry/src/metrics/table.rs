//! Owners of series, by what they stand for; each leaves some time after the configuration that used it.
//!
//! In:  keys from configuration.   Out: shared owners.
//! Invariants: one owner for each key; an owner that nobody holds stays for [`GRACE`], so that Prometheus sees its last
//! numbers and a service that comes back within that time goes on counting.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an owner that nobody holds keeps its series.
pub(super) const GRACE: Duration = Duration::from_secs(300);

pub(super) struct Table<K, V> {
    entries: Mutex<HashMap<K, Entry<V>, foldhash::fast::RandomState>>,
}

struct Entry<V> {
    value: Arc<V>,
    /// When a sweep first found that nobody else holds it.
    unused_since: Option<Instant>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { entries: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone, V> Table<K, V> {
    /// The owner for `key`; `None` if there is none and `make` makes none.
    pub(super) fn take(&self, key: &K, make: impl FnOnce() -> Option<V>) -> Option<Arc<V>> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key) {
            entry.unused_since = None;
            return Some(Arc::clone(&entry.value));
        }
        let value = Arc::new(make()?);
        entries.insert(key.clone(), Entry { value: Arc::clone(&value), unused_since: None });
        Some(value)
    }

    /// Lets go of owners that nobody has held since [`GRACE`] before `now`.
    pub(super) fn sweep(&self, now: Instant) {
        self.lock().retain(|_, entry| {
            // Under the lock nobody can take a value that only the table holds.
            if Arc::strong_count(&entry.value) > 1 {
                entry.unused_since = None;
                return true;
            }
            let since = *entry.unused_since.get_or_insert(now);
            now.saturating_duration_since(since) < GRACE
        });
    }

    /// Shows every owner to `each`.
    pub(super) fn visit(&self, mut each: impl FnMut(&K, &V)) {
        // Copied first: a scrape must not hold up a worker that meets a new endpoint.
        let entries: Vec<_> =
            self.lock().iter().map(|(key, entry)| (key.clone(), Arc::clone(&entry.value))).collect();
        entries.iter().for_each(|(key, value)| each(key, value));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Entry<V>, foldhash::fast::RandomState>> {
        // Nothing under the lock leaves a half-made entry, so a panic elsewhere does not spoil the table.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(table: &Table<&'static str, u32>) -> Vec<&'static str> {
        let mut keys = Vec::new();
        table.visit(|key, _| keys.push(*key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn an_owner_leaves_a_grace_after_its_last_holder() {
        let table = Table::default();
        let start = Instant::now();
        let kept = table.take(&"kept", || Some(1));
        let again = table.take(&"again", || Some(2));
        drop(table.take(&"gone", || Some(3)));
        table.sweep(start);
        drop(again);
        table.sweep(start + GRACE - Duration::from_secs(1));
        assert_eq!(keys(&table), ["again", "gone", "kept"]);
        table.sweep(start + GRACE);
        assert_eq!(keys(&table), ["again", "kept"], "`again` was held at the first sweep");
        drop(table.take(&"again", || Some(9)));
        table.sweep(start + GRACE * 2 - Duration::from_secs(1));
        assert_eq!(keys(&table), ["again", "kept"], "`again` was taken anew");
        assert_eq!(table.take(&"again", || None).as_deref(), Some(&2), "and kept its numbers");
        assert_eq!(kept.as_deref(), Some(&1));
    }

    #[test]
    fn nothing_is_kept_of_what_was_not_made() {
        let table = Table::<&str, u32>::default();
        assert!(table.take(&"a", || None).is_none());
        assert_eq!(keys(&table), [""; 0]);
    }
}
