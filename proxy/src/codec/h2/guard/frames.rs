//! Where the frames of a byte stream begin, and what kind they are.
//!
//! In:  bytes as they pass, in pieces of any length.   Out: a [`Head`] for each frame, as soon as its head is whole.
//! Invariants: pure; a payload is stepped over, never read, but for the code of RST_STREAM.
//! Source: RFC 9113 sections 3.4, 4.1 and 6.

use std::ops::ControlFlow;

/// What precedes a client's first frame.
pub const PREFACE_LEN: usize = 24;
const HEAD_LEN: usize = 9;
const RESET_LEN: usize = 4;

const END_HEADERS: u8 = 0x4;

/// The kinds of frames; any other number is a kind of its own, to be ignored.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// What is known of a frame before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the payload.
    pub length: usize,
    /// See [`kind`].
    pub kind: u8,
    /// As the kind means them.
    pub flags: u8,
    /// Whose it is; 0: the connection's.
    pub stream: u32,
    /// Why a stream is reset; 0 for all other kinds.
    pub code: u32,
}

impl Head {
    /// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
    pub fn has_first_flag(&self) -> bool {
        self.flags & 0x1 != 0
    }
}

/// Follows one direction of a connection.
#[derive(Debug)]
pub struct Follower {
    head: [u8; HEAD_LEN + RESET_LEN],
    have: usize,
    /// Bytes of the preface or of a payload that are still to come.
    skip: usize,
    /// Whose payload that is.
    kind: u8,
    /// Whether a block of headers is open: nothing but CONTINUATION may follow.
    block: bool,
    /// Counts what was begun: frames, and blocks of headers as one.
    begun: u64,
}

impl Follower {
    /// A direction that begins with `preface` bytes which are no frame.
    pub fn after(preface: usize) -> Self {
        let head = [0; HEAD_LEN + RESET_LEN];
        Follower { head, have: 0, skip: preface, kind: kind::DATA, block: false, begun: 0 }
    }

    /// Takes the bytes that come next, and shows each frame to `seen`. Returns how many of them come before the frame at
    /// which it broke off, or all.
    pub fn follow(&mut self, bytes: &[u8], mut seen: impl FnMut(Head) -> ControlFlow<()>) -> usize {
        let mut at = 0;
        loop {
            let step = self.skip.min(bytes.len() - at);
            self.skip -= step;
            at += step;
            let begins = at;
            if !self.fill(bytes, &mut at) {
                return bytes.len();
            }
            let head = self.take();
            if seen(head).is_break() {
                return begins;
            }
        }
    }

    /// What has been begun and must soon be whole: anything but the data of a stream, which comes at its sender's pace.
    pub fn unfinished(&self) -> Option<u64> {
        let partial = self.have > 0 || (self.skip > 0 && self.kind != kind::DATA);
        (partial || self.block).then_some(self.begun)
    }

    /// Copies what `bytes` have of the next head; whether that is all of it.
    fn fill(&mut self, bytes: &[u8], at: &mut usize) -> bool {
        loop {
            let wanted = if self.have >= HEAD_LEN { HEAD_LEN + RESET_LEN } else { HEAD_LEN };
            let step = (wanted - self.have).min(bytes.len() - *at);
            if step > 0 && self.have == 0 && !self.block {
                self.begun += 1;
            }
            self.head[self.have..self.have + step].copy_from_slice(&bytes[*at..*at + step]);
            self.have += step;
            *at += step;
            if self.have < wanted {
                return false;
            }
            if self.have > HEAD_LEN || !self.is_reset() {
                return true;
            }
        }
    }

    fn is_reset(&self) -> bool {
        self.head[3] == kind::RST_STREAM && self.length() == RESET_LEN
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize
    }

    /// The head that is whole, and what follows from it.
    fn take(&mut self) -> Head {
        let head = Head {
            length: self.length(),
            kind: self.head[3],
            flags: self.head[4],
            stream: u32::from_be_bytes([self.head[5] & 0x7f, self.head[6], self.head[7], self.head[8]]),
            code: match self.have > HEAD_LEN {
                true => u32::from_be_bytes([self.head[9], self.head[10], self.head[11], self.head[12]]),
                false => 0,
            },
        };
        self.skip = head.length - (self.have - HEAD_LEN);
        self.have = 0;
        self.kind = head.kind;
        if matches!(head.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION) {
            self.block = head.flags & END_HEADERS == 0;
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn heads(follower: &mut Follower, bytes: &[u8]) -> Vec<(u8, usize, u32)> {
        let mut heads = Vec::new();
        let all = follower.follow(bytes, |head| {
            heads.push((head.kind, head.length, head.code));
            ControlFlow::Continue(())
        });
        assert_eq!(all, bytes.len());
        heads
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let bytes = [
            vec![b'P'; PREFACE_LEN],
            frame(kind::SETTINGS, 0, &[]),
            frame(kind::HEADERS, 5, &[0x82; 300]),
            frame(kind::RST_STREAM, 0, &[0, 0, 0, 8]),
            frame(kind::DATA, 0, &[3; 20]),
            frame(kind::RST_STREAM, 0, &[1, 2]),
            frame(0x42, 0, &[]),
        ]
        .concat();
        let wanted = [
            (kind::SETTINGS, 0, 0),
            (kind::HEADERS, 300, 0),
            (kind::RST_STREAM, 4, 8),
            (kind::DATA, 20, 0),
            (kind::RST_STREAM, 2, 0),
            (0x42, 0, 0),
        ];
        for piece in [1, 2, 5, 9, 13, 100, bytes.len()] {
            let mut follower = Follower::after(PREFACE_LEN);
            let found: Vec<_> = bytes.chunks(piece).flat_map(|chunk| heads(&mut follower, chunk)).collect();
            assert_eq!(found, wanted, "in pieces of {piece}");
            assert_eq!(follower.unfinished(), None);
        }
    }

    #[test]
    fn what_is_before_the_last_frame_can_be_told_from_it() {
        let bytes = [frame(kind::DATA, 0, b"abc"), frame(kind::PING, 0, &[0; 8])].concat();
        let until_ping = |head: Head| match head.kind {
            kind::PING => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        assert_eq!(Follower::after(0).follow(&bytes, until_ping), 12);
        let mut follower = Follower::after(0);
        assert_eq!(follower.follow(&bytes[..15], until_ping), 15);
        assert_eq!(follower.follow(&bytes[15..], until_ping), 0, "it began in the piece before");
    }

    #[test]
    fn only_data_may_take_its_time() {
        let mut follower = Follower::after(0);
        heads(&mut follower, &frame(kind::DATA, 0, &[0; 9])[..12]);
        assert_eq!(follower.unfinished(), None);
        heads(&mut follower, &[0; 6]);
        assert_eq!(follower.unfinished(), None);
        heads(&mut follower, &frame(kind::PING, 0, &[0; 8])[..1]);
        let ping = follower.unfinished().unwrap();
        heads(&mut follower, &frame(kind::PING, 0, &[0; 8])[1..16]);
        assert_eq!(follower.unfinished(), Some(ping));
        heads(&mut follower, &[0]);
        assert_eq!(follower.unfinished(), None);
    }

    #[test]
    fn a_block_of_headers_is_one_thing_to_its_end() {
        let mut follower = Follower::after(0);
        heads(&mut follower, &frame(kind::HEADERS, 0, &[0x82]));
        let block = follower.unfinished().unwrap();
        heads(&mut follower, &frame(kind::CONTINUATION, 0, &[0x82]));
        assert_eq!(follower.unfinished(), Some(block));
        heads(&mut follower, &frame(kind::CONTINUATION, END_HEADERS, &[]));
        assert_eq!(follower.unfinished(), None);
    }
}
