//! Streams that a client opened and that h2 has not handed out: what is answered on them, h2 answers itself.
//!
//! h2 answers 431 to a list of header fields that is too long, and tells nobody. All other answers are made after their stream was
//! accepted.
//! Invariants: pure; bounded, as a client may open streams faster than they are accepted.

use std::collections::VecDeque;

/// As many are remembered; h2 keeps far fewer waiting.
const MAX: usize = 1024;

/// The streams, in the order of their opening, which is that of their numbers.
#[derive(Debug, Default)]
pub struct Unaccepted {
    streams: VecDeque<u32>,
    newest: u32,
}

impl Unaccepted {
    /// HEADERS came: a request's, or trailers of one.
    pub fn opened(&mut self, stream: u32) {
        if stream > self.newest {
            self.newest = stream;
            if self.streams.len() < MAX {
                self.streams.push_back(stream);
            }
        }
    }

    /// The stream is somebody else's from now on, or is no more. Whether it was here.
    pub fn remove(&mut self, stream: u32) -> bool {
        match self.streams.binary_search(&stream) {
            Ok(at) => self.streams.remove(at).is_some(),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_or_reset_is_gone() {
        let mut streams = Unaccepted::default();
        for stream in [1, 3, 5, 3, 7] {
            streams.opened(stream);
        }
        assert!(streams.remove(3) && streams.remove(1), "in any order");
        assert!(!streams.remove(3), "trailers open nothing");
        streams.opened(1);
        assert!(!streams.remove(1));
        assert!(streams.remove(7) && streams.remove(5) && streams.streams.is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let mut streams = Unaccepted::default();
        (0..10_000).for_each(|number| streams.opened(2 * number + 1));
        assert_eq!(streams.streams.len(), MAX);
        assert!(!streams.remove(19_999) && streams.remove(1));
    }
}
