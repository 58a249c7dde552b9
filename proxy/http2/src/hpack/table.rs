//! The decoder's dynamic table (RFC 7541 sections 2.3.2, 4).
//!
//! Invariants: its size is the sum of its entries' sizes, and never above its limit; an entry takes 32 at least, so that the limit
//! bounds their number, too.

use super::field::Content;
use std::collections::VecDeque;

/// A field that may be referred to.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub content: Content,
    /// Bytes of its name and value, and 32.
    pub size: usize,
}

/// The entries, the newest first.
#[derive(Debug)]
pub struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Table {
    /// An empty table.
    pub fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit }
    }

    /// The entry at a place; 0 is the newest.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// How large it may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes how large it may be, and forgets what no longer fits.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
    }

    /// Adds an entry. One that is larger than the table empties it, and is not kept.
    pub fn add(&mut self, entry: Entry) {
        self.make_room(entry.size);
        if entry.size <= self.limit {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    fn make_room(&mut self, wanted: usize) {
        while self.size + wanted > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }

    /// Its size.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many entries it has.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::field::{Fault, Name};

    fn entry(size: usize) -> Entry {
        Entry { content: Content::Wrong(Fault::Name, Name::Wrong(Fault::Name, 0)), size }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut table = Table::new(100);
        for size in [40, 41, 42] {
            table.add(entry(size));
        }
        assert_eq!((table.size(), table.len()), (83, 2));
        assert_eq!(table.get(0).unwrap().size, 42);
        assert_eq!(table.get(1).unwrap().size, 41);
        assert!(table.get(2).is_none());
        table.set_limit(50);
        assert_eq!((table.size(), table.len()), (42, 1));
    }

    #[test]
    fn one_that_is_too_large_empties_it() {
        let mut table = Table::new(100);
        table.add(entry(50));
        table.add(entry(101));
        assert_eq!((table.size(), table.len()), (0, 0));
        table.add(entry(100));
        assert_eq!((table.size(), table.len()), (100, 1));
        table.set_limit(0);
        table.add(entry(32));
        assert_eq!((table.size(), table.len()), (0, 0));
    }
}
