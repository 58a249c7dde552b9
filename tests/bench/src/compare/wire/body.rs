//! What answers hold, and a cheap look at whether they do.
//!
//! Invariants: no two places of a content are equal, so that lost, doubled and moved bytes show; which of the two clusters answered can
//! be told from one byte.

use crate::compare::scenarios::Content;

/// The two clusters.
pub const VERSIONS: [u8; 2] = *b"ab";

/// Contents are made of cells: a version, the number of the cell, the end of a line.
const CELL: usize = 16;
/// gRPC puts a flag and a length in front of a message.
pub const PREFIX: usize = 5;
/// Up to here every byte is compared.
const SMALL: usize = 4096;
/// Of larger pieces, so many bytes at both ends and at each step.
const SAMPLE: usize = 64;

/// The content of cluster `version`.
pub fn content(version: u8, size: usize) -> Vec<u8> {
    let cells =
        (0..size.div_ceil(CELL)).flat_map(|cell| format!("{}{cell:014}\n", char::from(version)).into_bytes());
    cells.take(size).collect()
}

/// A gRPC message of `size` bytes, from a client (`q`) or from a cluster.
pub fn message(version: u8, size: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&(size as u32).to_be_bytes());
    message.extend(content(b'q', size));
    mark(&mut message, version);
    message
}

/// Makes a message the answer of cluster `version`.
pub fn mark(message: &mut [u8], version: u8) {
    if let Some(first) = message.get_mut(PREFIX) {
        *first = version;
    }
}

/// What a right answer holds.
pub struct Expected {
    /// By cluster.
    bodies: [Vec<u8>; 2],
    /// The place that tells the cluster.
    mark: usize,
}

impl Expected {
    /// For a question.
    pub fn of(content_: Content) -> Self {
        match content_ {
            Content::Bytes(size) => {
                Expected { bodies: VERSIONS.map(|version| content(version, size)), mark: 0 }
            }
            Content::Message(size) => {
                Expected { bodies: VERSIONS.map(|version| message(version, size)), mark: PREFIX }
            }
        }
    }

    /// How long it is.
    pub fn len(&self) -> usize {
        self.bodies[0].len()
    }
}

/// How much of an answer has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    received: usize,
    version: Option<usize>,
}

impl Progress {
    /// Takes the next bytes; whether they are right.
    pub fn take(&mut self, expected: &Expected, bytes: &[u8]) -> bool {
        let (begin, end) = (self.received, self.received + bytes.len());
        if (begin..end).contains(&expected.mark) {
            self.version = VERSIONS.iter().position(|version| *version == bytes[expected.mark - begin]);
            if self.version.is_none() {
                return false;
            }
        }
        self.received = end;
        let right = &expected.bodies[self.version.unwrap_or_default()];
        right.get(begin..end).is_some_and(|right| alike(right, bytes))
    }

    /// Which cluster answered, once all has come.
    pub fn whole(&self, expected: &Expected) -> Option<usize> {
        self.version.filter(|_| self.received == expected.len())
    }
}

/// Whether two pieces of one length are equal, as far as a cheap look tells.
fn alike(right: &[u8], bytes: &[u8]) -> bool {
    if bytes.len() <= SMALL {
        return right == bytes;
    }
    let last = bytes.len() - SAMPLE;
    let places = (0..last).step_by(SMALL).chain([last]);
    places.into_iter().all(|at| right[at..at + SAMPLE] == bytes[at..at + SAMPLE])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(asked: Content, pieces: &[&[u8]]) -> Option<usize> {
        let expected = Expected::of(asked);
        let mut progress = Progress::default();
        let right = pieces.iter().all(|piece| progress.take(&expected, piece));
        progress.whole(&expected).filter(|_| right)
    }

    #[test]
    fn an_answer_tells_its_cluster_wherever_it_is_cut() {
        for (place, version) in VERSIONS.into_iter().enumerate() {
            let (plain, grpc) = (content(version, 100), message(version, 20));
            for cut in 0..25 {
                let (first, second) = plain.split_at(cut);
                assert_eq!(judged(Content::Bytes(100), &[first, second]), Some(place));
                let (first, second) = grpc.split_at(cut);
                assert_eq!(judged(Content::Message(20), &[first, second]), Some(place), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_short_long_foreign_or_moved_is_wrong() {
        let right = content(b'a', 100);
        assert_eq!(judged(Content::Bytes(100), &[&right[..99]]), None);
        assert_eq!(judged(Content::Bytes(100), &[&right, b"x"]), None);
        assert_eq!(judged(Content::Bytes(100), &[&content(b'c', 100)]), None);
        assert_eq!(judged(Content::Bytes(100), &[&right[..40], &content(b'b', 100)[40..]]), None);
        let large = content(b'b', 1 << 20);
        assert_eq!(judged(Content::Bytes(1 << 20), &[&large]), Some(1));
        let moved = [&large[..5000], &large[5016..], &large[..16]].concat();
        assert_eq!(judged(Content::Bytes(1 << 20), &[&moved]), None);
    }
}
