//! Blocks that take more than one frame.
//!
//! Invariants: between HEADERS without END_HEADERS and the frame that has it nothing else comes, on any stream; bytes and frames
//! of one block are bounded (a peer could send CONTINUATION for ever and never pay for a stream).
//! A block of one frame does not come here: it is decoded where it lies.
//! Source: RFC 9113 sections 4.3, 6.2, 6.10; CVE-2024-27316 and its kin.

use super::{END_HEADERS, END_STREAM, Head, Kind};
use crate::code::{Code, Violation};

/// A block whose last frame has come, or not yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Continued {
    /// Of which stream.
    pub stream: u32,
    /// Whether its HEADERS were the last but for their CONTINUATION.
    pub end_stream: bool,
    /// Its bytes.
    pub block: Vec<u8>,
    frames: usize,
}

/// What has to come next on a connection.
#[derive(Debug)]
pub struct Sequence {
    open: Option<Continued>,
    most_bytes: usize,
    most_frames: usize,
}

impl Sequence {
    /// With the most bytes and frames of CONTINUATION that one block may have.
    pub fn new(most_bytes: usize, most_frames: usize) -> Self {
        Self { open: None, most_bytes, most_frames }
    }

    /// Whether this frame may come now. Asked before [`Head::check`], by which some frames would end their stream only.
    ///
    /// # Errors
    /// A frame within another's block, or CONTINUATION of nothing.
    pub fn check(&self, head: &Head) -> Result<(), Violation> {
        let right = match &self.open {
            None => head.kind != Kind::Continuation,
            Some(open) => head.kind == Kind::Continuation && head.stream == open.stream,
        };
        match right {
            true => Ok(()),
            false => Err(Violation::Connection(
                Code::PROTOCOL_ERROR,
                "a frame within a block, or a block's without it",
            )),
        }
    }

    /// HEADERS without END_HEADERS, and what they have of their block.
    ///
    /// # Errors
    /// It is too much already, or within another block.
    pub fn begin(&mut self, head: &Head, part: &[u8]) -> Result<(), Violation> {
        self.check(head)?;
        let mut open =
            Continued { stream: head.stream, end_stream: head.has(END_STREAM), block: Vec::new(), frames: 0 };
        open.add(part, self.most_bytes)?;
        self.open = Some(open);
        Ok(())
    }

    /// CONTINUATION that has passed [`Self::check`]. `Some`: the block is whole.
    ///
    /// # Errors
    /// Too many bytes or frames.
    pub fn more(&mut self, head: &Head, part: &[u8]) -> Result<Option<Continued>, Violation> {
        self.check(head)?;
        let Some(open) = &mut self.open else { return Ok(None) };
        open.frames += 1;
        if open.frames > self.most_frames {
            return Err(Violation::Connection(Code::ENHANCE_YOUR_CALM, "a block in too many frames"));
        }
        open.add(part, self.most_bytes)?;
        Ok(self.open.take_if(|_| head.has(END_HEADERS)))
    }
}

impl Continued {
    fn add(&mut self, part: &[u8], most: usize) -> Result<(), Violation> {
        if self.block.len() + part.len() > most {
            return Err(Violation::Connection(Code::ENHANCE_YOUR_CALM, "a block of too many bytes"));
        }
        self.block.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: Kind, flags: u8, stream: u32) -> Head {
        Head { length: 0, kind, flags, stream }
    }

    #[test]
    fn a_block_in_three_frames() {
        let mut sequence = Sequence::new(10, 2);
        sequence.begin(&head(Kind::Headers, END_STREAM, 3), b"ab").unwrap();
        assert_eq!(sequence.more(&head(Kind::Continuation, 0, 3), b"cd"), Ok(None));
        let whole = sequence.more(&head(Kind::Continuation, END_HEADERS, 3), b"ef").unwrap().unwrap();
        assert_eq!((whole.stream, whole.end_stream, &whole.block[..]), (3, true, &b"abcdef"[..]));
        assert_eq!(sequence.check(&head(Kind::Data, 0, 3)), Ok(()));
    }

    #[test]
    fn nothing_comes_between() {
        let mut sequence = Sequence::new(10, 2);
        let refused = |sequence: &Sequence, kind, stream| {
            sequence.check(&head(kind, 0, stream)).is_err_and(|error| error.code() == Code::PROTOCOL_ERROR)
        };
        assert!(refused(&sequence, Kind::Continuation, 3));
        assert!(sequence.more(&head(Kind::Continuation, END_HEADERS, 3), b"").is_err());
        sequence.begin(&head(Kind::Headers, 0, 3), b"").unwrap();
        for (kind, stream) in [
            (Kind::Continuation, 5),
            (Kind::Headers, 3),
            (Kind::Data, 3),
            (Kind::Ping, 0),
            (Kind::Settings, 0),
            (Kind::Unknown(0xf0), 3),
        ] {
            assert!(refused(&sequence, kind, stream), "{kind:?}");
        }
        assert!(!refused(&sequence, Kind::Continuation, 3));
        assert!(sequence.begin(&head(Kind::Headers, 0, 5), b"").is_err());
    }

    #[test]
    fn a_block_without_end_ends_the_connection() {
        let calm = |outcome: Result<Option<Continued>, Violation>| outcome.unwrap_err().code();
        let mut sequence = Sequence::new(10, 2);
        assert!(sequence.begin(&head(Kind::Headers, 0, 3), &[0; 11]).is_err());
        sequence.begin(&head(Kind::Headers, 0, 3), &[0; 10]).unwrap();
        assert_eq!(calm(sequence.more(&head(Kind::Continuation, 0, 3), &[0])), Code::ENHANCE_YOUR_CALM);
        let mut sequence = Sequence::new(10, 2);
        sequence.begin(&head(Kind::Headers, 0, 3), b"").unwrap();
        for _ in 0..2 {
            assert_eq!(sequence.more(&head(Kind::Continuation, 0, 3), b""), Ok(None));
        }
        assert_eq!(calm(sequence.more(&head(Kind::Continuation, 0, 3), b"")), Code::ENHANCE_YOUR_CALM);
    }
}
