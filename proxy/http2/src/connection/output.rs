//! Bytes on their way out, in their order.
//!
//! Invariants: small frames are gathered in one buffer, which a connection with nothing to write does not hold; large data is not
//! copied.

use bytes::{Buf, Bytes};
use std::{collections::VecDeque, io::IoSlice};

/// Data that is copied: less costs less than a piece of its own.
const COPIED: usize = 2 << 10;
/// Pieces of one write.
const PIECES: usize = 16;
/// Bytes that were written and are still in the buffer, beyond which it is moved up.
const MOVED_UP: usize = 32 << 10;

/// Where buffers come from, and go to: empty ones.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// An empty buffer.
    pub take: fn() -> Vec<u8>,
    /// One that is not needed any more.
    pub give_back: fn(Vec<u8>),
}

/// What is to be written.
#[derive(Debug)]
pub struct Output {
    small: Vec<u8>,
    /// How much of it was written.
    gone: usize,
    /// Pieces, and before which byte of `small` they come.
    large: VecDeque<(usize, Bytes)>,
    large_bytes: usize,
    buffers: Buffers,
}

impl Output {
    pub fn new(buffers: Buffers) -> Self {
        Output { small: Vec::new(), gone: 0, large: VecDeque::new(), large_bytes: 0, buffers }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.small.len() - self.gone + self.large_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To be appended to.
    pub fn small(&mut self) -> &mut Vec<u8> {
        if self.small.capacity() == 0 {
            self.small = (self.buffers.take)();
        }
        &mut self.small
    }

    /// Appends data.
    pub fn data(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            self.small().extend_from_slice(&data);
        } else {
            self.large_bytes += data.len();
            self.large.push_back((self.small.len(), data));
        }
    }

    /// Shows what comes next.
    pub fn with_pieces<T>(&self, show: &mut impl FnMut(&[IoSlice<'_>]) -> T) -> T {
        if self.large.is_empty() {
            return show(&[IoSlice::new(&self.small[self.gone..])]);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let (mut count, mut at) = (0, self.gone);
        let mut add = |piece| {
            if count < PIECES {
                pieces[count] = IoSlice::new(piece);
                count += 1;
            }
        };
        for (before, data) in self.large.iter().take(PIECES) {
            if *before > at {
                add(&self.small[at..*before]);
            }
            at = *before;
            add(data);
        }
        if self.large.len() < PIECES && at < self.small.len() {
            add(&self.small[at..]);
        }
        show(&pieces[..count])
    }

    /// So many bytes were written.
    pub fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let until = self.large.front().map_or(self.small.len(), |(before, _)| *before);
            let step = written.min(until - self.gone);
            self.gone += step;
            written -= step;
            let Some((_, data)) = self.large.front_mut().filter(|_| written > 0) else { break };
            let step = written.min(data.len());
            data.advance(step);
            self.large_bytes -= step;
            written -= step;
            if data.is_empty() {
                self.large.pop_front();
            }
        }
        if self.is_empty() {
            self.gone = 0;
            self.small.clear();
            (self.buffers.give_back)(std::mem::take(&mut self.small));
        } else if self.gone > MOVED_UP {
            self.small.drain(..self.gone);
            self.large.iter_mut().for_each(|(before, _)| *before -= self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        Output::new(Buffers { take: || Vec::with_capacity(64), give_back: drop })
    }

    /// Takes all, `step` bytes at a time.
    fn taken(output: &mut Output, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !output.is_empty() {
            let mut next = Vec::new();
            output.with_pieces(&mut |pieces| pieces.iter().for_each(|piece| next.extend_from_slice(piece)));
            assert!(!next.is_empty());
            next.truncate(step);
            output.advance(next.len());
            all.extend(next);
        }
        all
    }

    #[test]
    fn order_is_kept_however_little_is_taken() {
        for step in [1, 7, COPIED, COPIED + 1, 100_000, usize::MAX] {
            let (mut output, mut wanted) = (output(), Vec::new());
            for round in 0..60_u8 {
                let size = [0, 9, 300, COPIED, COPIED + 1, 9_000][usize::from(round) % 6];
                let data = vec![round; size];
                wanted.extend_from_slice(&data);
                wanted.push(round);
                output.data(data.into());
                output.small().push(round);
                if round == 30 {
                    let wanted = std::mem::take(&mut wanted);
                    assert_eq!(output.len(), wanted.len());
                    assert!(taken(&mut output, step) == wanted, "{step}");
                }
            }
            assert!(taken(&mut output, step) == wanted, "{step}");
        }
    }

    #[test]
    fn what_was_written_does_not_stay() {
        let mut output = output();
        for _ in 0..1_000 {
            output.data(Bytes::from(vec![1; 1_000]));
            output.data(Bytes::from(vec![1; 3_000]));
            output.advance(if output.len() > 8_000 { 4_000 } else { 0 });
        }
        assert!(output.small.len() < 2 * MOVED_UP, "{}", output.small.len());
    }
}
