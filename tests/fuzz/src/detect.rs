//! What a connection speaks: once told, never told otherwise.

use sidle::codec::detect::{self, Detection};

/// Looks at every beginning of the bytes.
pub fn run(data: &[u8]) {
    let data = &data[..data.len().min(512)];
    let mut told = Detection::NeedMore;
    let mut http2 = None;
    for end in 0..=data.len() {
        let now = detect::detect(&data[..end]);
        assert!(told == Detection::NeedMore || now == told, "{told:?} became {now:?}");
        told = now;
        let preface = detect::is_http2(&data[..end]);
        assert!(http2.is_none() || preface == http2);
        http2 = preface;
    }
    assert!(told != Detection::Http2 || http2 == Some(true));
}
