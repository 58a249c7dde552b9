//! Room for fields that the heads of a thread take turns with: a busy thread allocates none.
//!
//! Invariants: what is taken has no fields; few are kept, and none that is large.

use crate::Fields;
use std::{cell::RefCell, ops::RangeInclusive};

/// How many a thread keeps: as many heads as come at once.
const KEPT: usize = 64;
/// The room that is worth keeping: as much as a short head has, and no more than most need.
const ROOM: RangeInclusive<usize> = 12..=64;

thread_local! {
    static SPARE: RefCell<Vec<Fields>> = const { RefCell::new(Vec::new()) };
}

/// No fields, with room for so many.
pub fn take(room: usize) -> Fields {
    let mut fields = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    fields.reserve(room);
    fields
}

/// Gives the room of fields back; what is in it goes.
pub fn give_back(mut fields: Fields) {
    if ROOM.contains(&fields.capacity()) {
        fields.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(fields);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header::HOST};

    #[test]
    fn room_is_used_again_empty_and_neither_much_nor_many_are_kept() {
        let mut fields = take(*ROOM.start());
        fields.append(HOST, HeaderValue::from_static("a"));
        let room = fields.capacity();
        give_back(fields);
        let again = take(1);
        assert!(again.is_empty() && again.capacity() == room);
        for room in [0, ROOM.start() - 1, ROOM.end() + 1] {
            give_back(Fields::with_capacity(room));
        }
        assert_eq!(take(0).capacity(), 0);
        (0..KEPT + 5).for_each(|_| give_back(Fields::with_capacity(*ROOM.end())));
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);
    }
}
