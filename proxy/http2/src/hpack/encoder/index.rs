//! Finds entries of the encoder's table by a tag, and remembers what was sent once.
//!
//! Invariants: it only proposes: whoever asks compares the entry itself, so that tags that are equal by chance, or by intent, cost
//! bytes on the wire and never truth. Its size does not change.

/// Sets of entries; a tag belongs to one.
const SETS: usize = 32;
/// Entries of a set. Where all of them are in use, a field of this set is sent as a literal: nothing is pushed out that is in use.
const WAYS: usize = 4;
/// Tags of each set that have been sent once; the newest replaces the oldest. More than one, or two fields that come with every
/// block could make each other forgotten for ever.
const SEEN: usize = 4;

/// What is known of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is in the table: 0 is the newest.
    At(usize),
    /// It has been sent before.
    Again,
    /// It has not, or so long ago that it is forgotten.
    First,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    /// Which entry, counted from the first that there was; it may be gone.
    number: u32,
}

/// It leads to an entry that is still to come, which is as good as one that is gone.
const UNUSED: Slot = Slot { tag: 0, number: u32::MAX };

/// Tags, and where they lead.
#[derive(Debug)]
pub struct Index {
    sets: [[Slot; WAYS]; SETS],
    /// Half of each tag is enough: one that is taken for another is remembered one time too early.
    seen: [[u16; SEEN]; SETS],
}

impl Index {
    pub fn new() -> Self {
        Self { sets: [[UNUSED; WAYS]; SETS], seen: [[0; SEEN]; SETS] }
    }

    /// The numbers of the entries that may have this tag.
    #[inline]
    pub fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let set = &self.sets[set(tag)];
        let slot = set.iter().find(|slot| slot.tag == tag && is_it(slot.number))?;
        Some(slot.number)
    }

    /// Remembers a tag; whether it was already.
    #[inline]
    pub fn sees(&mut self, tag: u32) -> bool {
        // Not the bits that choose the set of entries: those of a set that is full would share few places.
        let seen = &mut self.seen[(tag >> 22) as usize % SETS];
        let half = tag as u16;
        let again = seen.contains(&half);
        if !again {
            *seen = [half, seen[0], seen[1], seen[2]];
        }
        again
    }

    /// Whether there is a place for a tag, if those whose entries are not `alive` are given up.
    pub fn has_room(&self, tag: u32, alive: impl Fn(u32) -> bool) -> bool {
        self.sets[set(tag)].iter().any(|slot| !alive(slot.number))
    }

    /// Remembers where a tag leads, if there is a place for it.
    pub fn add(&mut self, tag: u32, number: u32, alive: impl Fn(u32) -> bool) {
        let set = &mut self.sets[set(tag)];
        if let Some(slot) = set.iter_mut().find(|slot| !alive(slot.number)) {
            *slot = Slot { tag, number };
        }
    }
}

/// The set of a tag, by its highest bits: they depend on all bits of what was hashed.
#[inline]
fn set(tag: u32) -> usize {
    (tag >> 27) as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_with_every_block_is_not_forgotten() {
        let mut index = Index::new();
        let tags = [1, 2, 3, 4]; // of one set
        assert!(tags.iter().all(|tag| !index.sees(*tag)));
        assert!(tags.iter().all(|tag| index.sees(*tag)));
        assert!(!index.sees(5) && !index.sees(1) && index.sees(4));
    }
}
