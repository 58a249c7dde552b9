//! The encoder's dynamic table, and its index.

use super::index::{Index, Sighting};
use crate::hpack::{OVERHEAD, fixed};
use http::HeaderName;
use std::collections::VecDeque;

/// The name of a field.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// By its index in the static table; of several the first.
    Fixed(usize),
    /// One that the static table does not have.
    Own(&'a HeaderName),
}

impl Named<'_> {
    /// Tags of the field, and of its name.
    #[inline]
    pub fn tags(self, value: &[u8]) -> (u32, u32) {
        let name = match self {
            Self::Fixed(index) => mix(index as u64, &[]),
            Self::Own(name) => mix(u64::MAX, name.as_str().as_bytes()),
        };
        (short(mix(name, value)), short(name))
    }

    fn owned(self) -> Owned {
        match self {
            Self::Fixed(index) => Owned::Fixed(index),
            Self::Own(name) => Owned::Own(name.clone()),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Fixed(index) => fixed::name(index).map_or(0, |name| name.len()),
            Self::Own(name) => name.as_str().len(),
        }
    }
}

/// A cheap hash. Whoever makes two fields collide gets a few bytes more on the wire.
#[inline]
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash =
        words.iter().fold(step(seed, bytes.len() as u64), |hash, word| step(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    step(hash, u64::from_le_bytes(last))
}

/// The bits of a hash that depend on all others.
#[inline]
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[derive(Debug)]
enum Owned {
    Fixed(usize),
    Own(HeaderName),
}

#[derive(Debug)]
struct Entry {
    name: Owned,
    value: Box<[u8]>,
    size: usize,
}

impl Entry {
    fn is_named(&self, named: Named<'_>) -> bool {
        match (&self.name, named) {
            (Owned::Fixed(mine), Named::Fixed(other)) => *mine == other,
            (Owned::Own(mine), Named::Own(other)) => mine == other,
            _ => false,
        }
    }
}

/// Entries, the newest first.
#[derive(Debug)]
pub struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// Entries that there have ever been. The number of an entry is how many there had been before it.
    added: u32,
    index: Box<Index>,
}

impl Table {
    pub fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit, added: 0, index: Box::new(Index::new()) }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
    }

    /// What is known of a field, which is remembered from now on.
    #[inline]
    pub fn find(&mut self, tag: u32, named: Named<'_>, value: &[u8]) -> Sighting {
        self.look(tag, |entry| &*entry.value == value && entry.is_named(named))
    }

    /// What is known of a name, which is remembered from now on.
    #[inline]
    pub fn find_name(&mut self, tag: u32, named: Named<'_>) -> Sighting {
        self.look(tag, |entry| entry.is_named(named))
    }

    #[inline]
    fn look(&mut self, tag: u32, is_it: impl Fn(&Entry) -> bool) -> Sighting {
        let (entries, added) = (&self.entries, self.added);
        let found = self.index.find(tag, |number| entries.get(place(added, number)).is_some_and(&is_it));
        match found {
            Some(number) => Sighting::At(place(added, number)),
            None if self.index.sees(tag) => Sighting::Again,
            None => Sighting::First,
        }
    }

    /// Whether a field or a name of this tag would be found, once it were there.
    pub fn has_room(&self, tag: u32) -> bool {
        self.index.has_room(tag, |number| place(self.added, number) < self.entries.len())
    }

    /// Adds a field that is not there, with its tags; `false` where it would not be found, or is too large, and was not added.
    pub fn add(&mut self, (tag, name_tag): (u32, u32), named: Named<'_>, value: &[u8]) -> bool {
        let size = named.len() + value.len() + OVERHEAD;
        // One that takes more than a quarter would push out too much.
        if size > self.limit / 4 || !self.has_room(tag) {
            return false;
        }
        self.make_room(size);
        self.entries.push_front(Entry { name: named.owned(), value: value.into(), size });
        self.size += size;
        let number = self.added;
        self.added = number.wrapping_add(1);
        let (entries, added) = (&self.entries, self.added);
        let entry = |number| entries.get(place(added, number));
        let alive = |number| entry(number).is_some();
        // The field first: there is room for it, and its name could take that.
        self.index.add(tag, number, alive);
        if let Named::Own(_) = named {
            let is_it = |number| entry(number).is_some_and(|entry| entry.is_named(named));
            if self.index.find(name_tag, is_it).is_none() {
                self.index.add(name_tag, number, alive);
            }
        }
        true
    }

    fn make_room(&mut self, wanted: usize) {
        while self.size + wanted > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Where the entry of a number is; beyond the end if it is gone.
#[inline]
fn place(added: u32, number: u32) -> usize {
    added.wrapping_sub(number).wrapping_sub(1) as usize
}
