//! Buffers that the connections of a thread take turns with: one that has nothing to write holds none, and a busy thread allocates none.
//!
//! Invariants: what is taken is empty and has the capacity of its size; few are kept.

use std::cell::RefCell;

/// Buffers of each size that a thread keeps.
const KEPT: usize = 16;

thread_local! {
    static HEADS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static BATCHES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A head and a little content: 4 KiB.
    Head,
    /// The frames of one turn: 32 KiB.
    Batch,
}

impl Size {
    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Size::Head => 4 << 10,
            Size::Batch => 32 << 10,
        }
    }

    /// An empty buffer.
    pub fn take(self) -> Vec<u8> {
        let kept = match self {
            Size::Head => HEADS.with_borrow_mut(Vec::pop),
            Size::Batch => BATCHES.with_borrow_mut(Vec::pop),
        };
        kept.unwrap_or_else(|| Vec::with_capacity(self.bytes()))
    }

    /// Gives a buffer back. One that has another size by now is let go.
    pub fn give_back(self, mut buffer: Vec<u8>) {
        if buffer.capacity() != self.bytes() {
            return;
        }
        buffer.clear();
        let keep = |kept: &mut Vec<Vec<u8>>| {
            if kept.len() < KEPT {
                kept.push(buffer);
            }
        };
        match self {
            Size::Head => HEADS.with_borrow_mut(keep),
            Size::Batch => BATCHES.with_borrow_mut(keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_while_it_has_its_size() {
        let mut buffer = Size::Head.take();
        buffer.extend_from_slice(b"head");
        let at = buffer.as_ptr();
        Size::Head.give_back(buffer);
        let mut again = Size::Head.take();
        assert!(again.is_empty() && again.as_ptr() == at);
        again.resize(Size::Head.bytes() + 1, 0);
        Size::Head.give_back(again);
        assert_eq!(Size::Head.take().capacity(), Size::Head.bytes());
        for _ in 0..=KEPT {
            Size::Batch.give_back(Vec::with_capacity(Size::Batch.bytes()));
        }
        BATCHES.with_borrow(|kept| assert_eq!(kept.len(), KEPT));
    }
}
