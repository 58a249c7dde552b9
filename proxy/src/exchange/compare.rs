//! Whether the answer to a copy is the one to the request: its status, and its body by a hash.
//!
//! Invariants: neither waits for the other: the later one counts, once. An answer that did not come to its end is like no other. Trailers
//! and headers are not compared.
//! Not here: sending copies (`mirror`).

use crate::upstream::Cluster;
use http::StatusCode;
use http_body::Frame;
use sidle_telemetry::Compared;
use std::{cell::Cell, rc::Rc, sync::Arc};
use xxhash_rust::xxh64::Xxh64;

/// What is compared of an answer.
type Answer = (StatusCode, u64);

/// One of two answers, as it comes. Dropped before it has ended, it broke off.
pub(super) struct Side {
    both: Rc<Both>,
    seen: Option<(StatusCode, Xxh64)>,
    answer: Option<Answer>,
}

struct Both {
    /// The one that came first, once it is known what came of it.
    first: Cell<Option<Option<Answer>>>,
    cluster: Arc<Cluster>,
}

/// The request's answer, and that of its copy to `cluster`.
pub(super) fn sides(cluster: &Arc<Cluster>) -> (Side, Side) {
    let both = Rc::new(Both { first: Cell::new(None), cluster: cluster.clone() });
    let side = |both| Side { both, seen: None, answer: None };
    (side(both.clone()), side(both))
}

impl Side {
    /// Its head has come.
    pub fn begin(&mut self, status: StatusCode) {
        self.seen = Some((status, Xxh64::new(0)));
    }

    /// A part of it.
    pub fn see(&mut self, frame: &Frame<bytes::Bytes>) {
        if let (Some((_, hash)), Some(data)) = (&mut self.seen, frame.data_ref()) {
            hash.update(data);
        }
    }

    /// It has come to its end.
    pub fn end(mut self) {
        self.answer = self.seen.take().map(|(status, hash)| (status, hash.digest()));
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let Some(other) = self.both.first.replace(Some(self.answer)) else { return };
        self.both.cluster.metrics.mirror().compared(compare(self.answer, other));
    }
}

fn compare(one: Option<Answer>, other: Option<Answer>) -> Compared {
    match (one, other) {
        (Some(one), Some(other)) if one == other => Compared::Same,
        (Some(one), Some(other)) if one.0 == other.0 => Compared::Body,
        (Some(_), Some(_)) => Compared::Status,
        _ => Compared::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_alike_or_differ_in_one_way() {
        let (ok, no) = (StatusCode::OK, StatusCode::NOT_FOUND);
        assert_eq!(compare(Some((ok, 1)), Some((ok, 1))), Compared::Same);
        assert_eq!(compare(Some((ok, 1)), Some((ok, 2))), Compared::Body);
        assert_eq!(compare(Some((ok, 1)), Some((no, 1))), Compared::Status);
        assert_eq!(compare(None, Some((ok, 1))), Compared::Broken);
        assert_eq!(compare(None, None), Compared::Broken);
    }
}
