//! From bytes to frames, however the bytes are cut.
//!
//! Invariants: a frame is refused by its head; data goes on as it comes, whole frames are not waited for; of other frames no more than
//! one is kept, of 16 KiB at most, and of a block no more than its bound.

use super::Role;
use crate::frame::{HEAD_BYTES, Head, LEAST_MAX_FRAME_SIZE, PREFACE, sequence::Sequence};

/// Frames of CONTINUATION that one block may have, however few bytes it may have.
const MOST_CONTINUED: usize = 5;

/// The same, where more is needed for as much as may come.
fn most_continued(max_list: u32) -> usize {
    let full = max_list as usize / LEAST_MAX_FRAME_SIZE as usize;
    MOST_CONTINUED.max(full + full / 4 + 1)
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// What is left of the preface.
    Preface(&'static [u8]),
    /// A frame's head.
    Head,
    /// A frame's payload, to be looked at once it is whole.
    Payload(Head),
    /// Data.
    Data(DataFrame),
    /// A payload that nobody wants.
    Skip(u32),
}

/// A frame of data of which something is still to come.
#[derive(Clone, Copy, Debug)]
pub struct DataFrame {
    /// Whose it is.
    pub stream: u32,
    /// Where that is; `None`: the data is for nobody.
    pub key: Option<u32>,
    /// Bytes that are left, padding included.
    pub left: u32,
    /// How much of it is padding, once that is known.
    pub padding: Option<u32>,
    /// It ends the message.
    pub ends: bool,
}

/// What has come and is not whole.
#[derive(Debug)]
pub struct Input {
    pub expect: Expect,
    pub head: [u8; HEAD_BYTES],
    pub have: usize,
    pub partial: Vec<u8>,
    pub sequence: Sequence,
    /// Counts what was begun: frames, and blocks as one.
    pub begun: u64,
    /// A block is open.
    pub in_block: bool,
}

impl Input {
    pub fn new(role: Role, max_list: u32) -> Self {
        Input {
            expect: match role {
                Role::Server => Expect::Preface(PREFACE),
                Role::Client => Expect::Head,
            },
            head: [0; HEAD_BYTES],
            have: 0,
            partial: Vec::new(),
            sequence: Sequence::new((max_list as usize).saturating_mul(4), most_continued(max_list)),
            begun: 0,
            in_block: false,
        }
    }

    /// See [`super::Connection::unfinished`].
    pub fn unfinished(&self) -> Option<u64> {
        let partial = match self.expect {
            Expect::Preface(left) => left.len() < PREFACE.len(),
            Expect::Head => self.have > 0,
            Expect::Payload(_) | Expect::Skip(_) => true,
            Expect::Data(_) => false,
        };
        (partial || self.in_block).then_some(self.begun)
    }

    /// The next head, once it is whole.
    pub fn next_head(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        if self.have == 0 {
            if !self.in_block {
                self.begun += 1;
            }
            if let Some((head, rest)) = bytes.split_first_chunk() {
                *bytes = rest;
                return Some(Head::parse(*head));
            }
        }
        let step = (HEAD_BYTES - self.have).min(bytes.len());
        let (part, rest) = bytes.split_at(step);
        self.head[self.have..self.have + step].copy_from_slice(part);
        self.have += step;
        *bytes = rest;
        if self.have < HEAD_BYTES {
            return None;
        }
        self.have = 0;
        Some(Head::parse(self.head))
    }

    /// Gathers a payload that is not whole; whether it is now.
    pub fn gather(&mut self, length: usize, bytes: &mut &[u8]) -> bool {
        let step = (length - self.partial.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(step);
        self.partial.extend_from_slice(part);
        *bytes = rest;
        self.partial.len() == length
    }
}
