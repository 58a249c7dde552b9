//! The encoder's dynamic table, and its index.

use super::index::{Index, Sighting};
use crate::hpack::{OVERHEAD, fixed};
use http::HeaderName;
use std::collections::VecDeque;

/// The name of a field.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// Of a pseudo-header field, by its index in the static table; of several the first.
    Pseudo(usize),
    /// Of a field, with its index in the static table; 0 if that does not have it.
    Regular(&'a HeaderName, usize),
}

impl Named<'_> {
    /// Tags of the field, and of its name.
    #[inline]
    pub fn tags(self, value: &[u8]) -> (u32, u32) {
        let name = match self {
            Self::Regular(name, 0) => mix(u64::MAX, name.as_str().as_bytes()),
            Self::Pseudo(index) | Self::Regular(_, index) => mix(index as u64, &[]),
        };
        (short(mix(name, value)), short(name))
    }

    /// Its index in the static table, or 0.
    #[inline]
    pub fn fixed(self) -> usize {
        match self {
            Self::Pseudo(index) | Self::Regular(_, index) => index,
        }
    }

    fn owned(self) -> Owned {
        match self {
            Self::Pseudo(index) => Owned::Pseudo(index),
            Self::Regular(name, _) => Owned::Regular(name.clone()),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Pseudo(index) => fixed::name(index).map_or(0, |name| name.len()),
            Self::Regular(name, _) => name.as_str().len(),
        }
    }
}

/// A cheap hash. Whoever makes two fields collide gets a few bytes more on the wire.
#[inline]
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let hash = step(seed, bytes.len() as u64);
    match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            let words = bytes.as_chunks::<8>().0.iter();
            step(
                words.fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word))),
                u64::from_le_bytes(*last),
            )
        }
        (_, Some(first), Some(last)) => {
            step(hash, u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)))
        }
        _ => step(hash, bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
    }
}

/// The bits of a hash that depend on all others.
#[inline]
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[derive(Debug)]
enum Owned {
    Pseudo(usize),
    Regular(HeaderName),
}

#[derive(Debug)]
struct Entry {
    name: Owned,
    value: Box<[u8]>,
    size: usize,
    /// The number of the entry that came after it when it was last sent.
    next: u32,
}

impl Entry {
    #[inline]
    fn is_named(&self, named: Named<'_>) -> bool {
        match (&self.name, named) {
            (Owned::Pseudo(mine), Named::Pseudo(other)) => *mine == other,
            (Owned::Regular(mine), Named::Regular(other, _)) => mine == other,
            _ => false,
        }
    }

    #[inline]
    fn is(&self, named: Named<'_>, value: &[u8]) -> bool {
        &*self.value == value && self.is_named(named)
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
    /// The number of the entry that the last block began with.
    first: u32,
    /// The number of the last entry of this block.
    last: Option<u32>,
    /// The number of the entry that came after it.
    expected: u32,
}

impl Table {
    pub fn new(limit: usize) -> Self {
        let index = Box::new(Index::new());
        Self { entries: VecDeque::new(), size: 0, limit, added: 0, index, first: 0, last: None, expected: 0 }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
    }

    /// A block begins.
    #[inline]
    pub fn begin(&mut self) {
        (self.last, self.expected) = (None, self.first);
    }

    /// Where a field is, if it is the one that came at this place the last time: most blocks have what the one before them had, in
    /// the same order.
    #[inline]
    pub fn expected(&mut self, named: Named<'_>, value: &[u8]) -> Option<usize> {
        let number = self.expected;
        let place = place(self.added, number);
        let entry = self.entries.get(place).filter(|entry| entry.is(named, value))?;
        (self.last, self.expected) = (Some(number), entry.next);
        Some(place)
    }

    /// Remembers what came after what.
    fn follows(&mut self, number: u32) {
        let added = self.added;
        match self.last.replace(number) {
            None => self.first = number,
            Some(last) => {
                if let Some(last) = self.entries.get_mut(place(added, last)) {
                    last.next = number;
                }
            }
        }
        self.expected = self.entries.get(place(added, number)).map_or(number, |entry| entry.next);
    }

    /// What is known of a field, which is remembered from now on.
    pub fn find(&mut self, tag: u32, named: Named<'_>, value: &[u8]) -> Sighting {
        let sighting = self.look(tag, |entry| entry.is(named, value));
        if let Sighting::At(place) = sighting {
            self.follows(number(self.added, place));
        }
        sighting
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
        let number = self.added;
        self.entries.push_front(Entry { name: named.owned(), value: value.into(), size, next: number });
        self.size += size;
        self.added = number.wrapping_add(1);
        let (entries, added) = (&self.entries, self.added);
        let entry = |number| entries.get(place(added, number));
        let alive = |number| entry(number).is_some();
        // The field first: there is room for it, and its name could take that.
        self.index.add(tag, number, alive);
        if named.fixed() == 0 {
            let is_it = |number| entry(number).is_some_and(|entry| entry.is_named(named));
            if self.index.find(name_tag, is_it).is_none() {
                self.index.add(name_tag, number, alive);
            }
        }
        self.follows(number);
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

/// The number of the entry at a place.
fn number(added: u32, place: usize) -> u32 {
    added.wrapping_sub(place as u32).wrapping_sub(1)
}

/// Where the entry of a number is; beyond the end if it is gone.
#[inline]
fn place(added: u32, number: u32) -> usize {
    added.wrapping_sub(number).wrapping_sub(1) as usize
}
