//! Finds entries of the encoder's table by a tag, and remembers what was sent once.
//!
//! Invariants: it only proposes: whoever asks compares the entry itself, so that tags that are equal by chance, or by intent, cost
//! bytes on the wire and never truth. Its size does not change.

/// Sets of entries; a tag belongs to one.
const SETS: usize = 32;
/// Entries of a set. Where all of them are in use, a field of this set is sent as a literal: nothing is pushed out that is in use.
const WAYS: usize = 4;
/// Tags that have been sent once; the newer replaces the older.
const SEEN: usize = 128;

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

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u32,
    /// Which entry, counted from the first that there was; it may be gone.
    number: u32,
    used: bool,
}

/// Tags, and where they lead.
#[derive(Debug)]
pub struct Index {
    sets: [[Slot; WAYS]; SETS],
    seen: [u32; SEEN],
}

impl Index {
    pub fn new() -> Self {
        Self { sets: [[Slot::default(); WAYS]; SETS], seen: [0; SEEN] }
    }

    /// The numbers of the entries that may have this tag.
    #[inline]
    pub fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let set = &self.sets[tag as usize % SETS];
        let slot = set.iter().find(|slot| slot.tag == tag && slot.used && is_it(slot.number))?;
        Some(slot.number)
    }

    /// Remembers a tag; whether it was already.
    #[inline]
    pub fn sees(&mut self, tag: u32) -> bool {
        // Not the bits that choose the set: those of a set that is full would share few places.
        let seen = &mut self.seen[(tag >> 8) as usize % SEEN];
        let again = *seen == tag;
        *seen = tag;
        again
    }

    /// Whether there is a place for a tag, if those whose entries are not `alive` are given up.
    pub fn has_room(&self, tag: u32, alive: impl Fn(u32) -> bool) -> bool {
        self.sets[tag as usize % SETS].iter().any(|slot| !slot.used || !alive(slot.number))
    }

    /// Remembers where a tag leads, if there is a place for it.
    pub fn add(&mut self, tag: u32, number: u32, alive: impl Fn(u32) -> bool) {
        let set = &mut self.sets[tag as usize % SETS];
        if let Some(slot) = set.iter_mut().find(|slot| !slot.used || !alive(slot.number)) {
            *slot = Slot { tag, number, used: true };
        }
    }
}
