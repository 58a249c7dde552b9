//! Content in chunks does not depend on how it comes, and a fault is a fault for ever.

use bytes::BytesMut;
use sidle::codec::h1::{
    decode::{Decoded, Decoder, Malformed},
    framing::Framing,
};

/// Decodes the same bytes at once and in pieces; the first byte says how large these are.
pub fn run(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    assert_eq!(decode(bytes, bytes.len().max(1)), decode(bytes, usize::from(step % 32) + 1));
}

/// The content, whether it ended well, and how much was left.
fn decode(bytes: &[u8], step: usize) -> (Vec<u8>, Option<usize>) {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut input, mut content, mut rest) = (BytesMut::new(), Vec::new(), bytes.chunks(step));
    let mut given = 0;
    loop {
        match decoder.decode(&mut input) {
            Ok(Decoded::Data(data)) => {
                assert!(!data.is_empty());
                content.extend_from_slice(&data);
            }
            Ok(Decoded::Trailers(trailers)) => {
                assert!(!trailers.contains_key("content-length") && !trailers.contains_key("host"));
            }
            Ok(Decoded::End) => return (content, Some(bytes.len() - given + input.len())),
            Ok(Decoded::Incomplete) => match rest.next() {
                Some(piece) => {
                    given += piece.len();
                    input.extend_from_slice(piece);
                }
                None => return (content, None),
            },
            Err(Malformed) => {
                assert_eq!(decoder.decode(&mut input), Err(Malformed));
                return (content, None);
            }
        }
    }
}
