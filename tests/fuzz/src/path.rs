//! A normal path is normal, and a request can hold it.

use sidle_routing::path::{self, Normalization};

/// Normalises twice, in each way.
pub fn run(data: &[u8]) {
    let Ok(target) = std::str::from_utf8(data) else { return };
    for how in [
        Normalization::None,
        Normalization::Base,
        Normalization::MergeSlashes,
        Normalization::DecodeAndMergeSlashes,
    ] {
        let Ok(once) = path::normalise(target, how) else { continue };
        assert_eq!(path::normalise(&once, how).as_deref(), Ok(&*once), "{target:?} by {how:?}");
        if how != Normalization::None {
            let (path, _) = once.split_once('?').unwrap_or((&once, ""));
            assert!(http::uri::PathAndQuery::try_from(path).is_ok(), "{path:?} cannot be sent");
            assert!(path.split('/').all(|segment| segment != ".." && segment != "."), "{path:?}");
        }
    }
}
