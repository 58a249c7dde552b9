//! Buffers that the connections of a thread take turns with: one that has nothing to read or write holds none, and a
//! busy thread allocates none.
//!
//! Invariants: what is taken is empty and has the capacity of its size; few are kept, and none that is large.

use bytes::BytesMut;
use std::cell::RefCell;

/// Buffers of each size that a thread keeps.
const KEPT: usize = 16;

thread_local! {
    static OUTPUTS: RefCell<[Vec<Vec<u8>>; Size::ALL]> = const { RefCell::new([const { Vec::new() }; Size::ALL]) };
    static INPUTS: RefCell<[Vec<BytesMut>; Size::ALL]> = const { RefCell::new([const { Vec::new() }; Size::ALL]) };
}

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A head and a little content: 4 KiB.
    Head,
    /// The frames of one turn: 32 KiB.
    Batch,
    /// An answer of 64 KiB, and its head: 72 KiB.
    Content,
}

impl Size {
    const ALL: usize = 3;

    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Size::Head => 4 << 10,
            Size::Batch => 32 << 10,
            Size::Content => 72 << 10,
        }
    }

    /// An empty buffer.
    pub fn take(self) -> Vec<u8> {
        let kept = OUTPUTS.with_borrow_mut(|outputs| outputs[self as usize].pop());
        kept.unwrap_or_else(|| Vec::with_capacity(self.bytes()))
    }

    /// Gives a buffer back. One that has another size by now is let go.
    pub fn give_back(self, mut buffer: Vec<u8>) {
        if buffer.capacity() == self.bytes() {
            buffer.clear();
            OUTPUTS.with_borrow_mut(|outputs| keep(&mut outputs[self as usize], buffer));
        }
    }

    /// An empty buffer to read into; see [`Size::make_room`].
    pub fn take_input(self) -> BytesMut {
        match INPUTS.with_borrow_mut(|inputs| inputs[self as usize].pop()) {
            Some(mut input) => {
                self.make_room(&mut input);
                input
            }
            None => BytesMut::with_capacity(self.bytes()),
        }
    }

    /// Makes room behind what is in a buffer. Bytes that somebody holds stay his; what is left behind them is used as long as it is not
    /// little, so that many small pieces do not hold a buffer each.
    pub fn make_room(self, input: &mut BytesMut) {
        if !input.try_reclaim(self.bytes()) && input.capacity() - input.len() < self.bytes() / 4 {
            input.reserve(self.bytes());
        }
    }

    /// Gives back a buffer of [`Size::take_input`] that nothing is in.
    pub fn give_back_input(self, input: BytesMut) {
        if input.is_empty() && input.capacity() <= self.bytes() {
            INPUTS.with_borrow_mut(|inputs| keep(&mut inputs[self as usize], input));
        }
    }
}

fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() < KEPT {
        kept.push(one);
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
        OUTPUTS.with_borrow(|kept| assert_eq!(kept[Size::Batch as usize].len(), KEPT));
    }

    #[test]
    fn a_buffer_that_was_read_into_is_used_again_once_nobody_holds_its_bytes() {
        let mut input = Size::Head.take_input();
        input.extend_from_slice(b"head");
        let at = input.as_ptr();
        let head = input.split_to(4).freeze();
        Size::Head.give_back_input(input);
        let held = Size::Head.take_input();
        assert!(held.as_ptr() as usize == at as usize + 4 && &head[..] == b"head");
        let mut input = Size::Head.take_input();
        input.extend_from_slice(b"head");
        let at = input.as_ptr();
        drop(input.split_to(4).freeze());
        Size::Head.give_back_input(input);
        assert_eq!(Size::Head.take_input().as_ptr(), at);
        Size::Head.give_back_input(BytesMut::with_capacity(2 * Size::Head.bytes()));
        INPUTS.with_borrow(|kept| assert!(kept[Size::Head as usize].is_empty()));
    }
}
