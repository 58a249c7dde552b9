use super::*;
use proptest::prelude::*;

/// All content and trailers of `bytes`, given in pieces of `step`; `Err` with what came before the fault.
fn decode(framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap, usize), Vec<u8>> {
    let mut decoder = Decoder::new(framing);
    let (mut input, mut content, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    let mut rest = bytes;
    loop {
        match decoder.decode(&mut input) {
            Ok(Decoded::Data(data)) => content.extend_from_slice(&data),
            Ok(Decoded::Trailers(found)) => trailers = found,
            Ok(Decoded::End) => return Ok((content, trailers, rest.len() + input.len())),
            Ok(Decoded::Incomplete) if rest.is_empty() => return Err(content),
            Ok(Decoded::Incomplete) => {
                let (next, after) = rest.split_at(step.min(rest.len()));
                input.extend_from_slice(next);
                rest = after;
            }
            Err(Malformed) => {
                assert_eq!(decoder.decode(&mut input), Err(Malformed), "and stays so");
                return Err(content);
            }
        }
    }
}

fn content(bytes: &str) -> Option<String> {
    let whole = decode(Framing::Chunked, bytes.as_bytes(), usize::MAX);
    let trickled = decode(Framing::Chunked, bytes.as_bytes(), 1);
    assert_eq!(whole, trickled, "{bytes:?} does not depend on how it comes");
    whole.ok().map(|(content, ..)| String::from_utf8(content).unwrap())
}

#[test]
fn chunks_are_joined_and_what_follows_is_left() {
    assert_eq!(content("5\r\nhello\r\n6;a=b;c=\"d\"\r\n world\r\n0\r\n\r\n").as_deref(), Some("hello world"));
    assert_eq!(content("0\r\n\r\n").as_deref(), Some(""));
    assert_eq!(content("00A\r\n0123456789\r\n000\r\n\r\n").as_deref(), Some("0123456789"));
    let left = decode(Framing::Chunked, b"1\r\na\r\n0\r\n\r\nGET /", 4).unwrap().2;
    assert_eq!(left, 5);
    assert_eq!(decode(Framing::Length(3), b"abcdef", 2).unwrap(), (b"abc".to_vec(), HeaderMap::new(), 3));
}

#[test]
fn what_is_not_exactly_a_chunk_is_malformed() {
    for bad in [
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a=\x00\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "\r\n0\r\n\r\n",
        ";a\r\n0\r\n\r\n",
        "0\r\nA B: c\r\n\r\n",
        "0\r\na: b\r\n c\r\n\r\n",
        "0\r\n: b\r\n\r\n",
    ] {
        assert_eq!(content(bad), None, "{bad:?}");
    }
}

#[test]
fn what_is_not_content_is_bounded() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(64 << 10));
    assert_eq!(content(&long), None);
    let many = format!("1;{}\r\na\r\n", "x".repeat(10 << 10)).repeat(3) + "0\r\n\r\n";
    assert_eq!(content(&many), None, "all of a message count");
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(1 << 14));
    assert_eq!(content(&trailers), None);
    let endless = "x".repeat(1 << 20);
    let mut input = BytesMut::from(&*format!("0\r\na: {endless}"));
    assert!(
        matches!(Decoder::new(Framing::Chunked).decode(&mut input), Err(Malformed)),
        "and not waited for"
    );
}

#[test]
fn trailers_come_without_what_frames_or_routes() {
    let bytes = b"0\r\nx-sum: 1\r\nContent-Length: 50\r\nHost: evil\r\nAuthorization: x\r\n\r\n";
    let (_, trailers, _) = decode(Framing::Chunked, bytes, 3).unwrap();
    assert_eq!(trailers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-sum"]);
}

#[test]
fn a_connection_may_be_the_frame() {
    let mut decoder = Decoder::new(Framing::UntilClose);
    let mut input = BytesMut::from("abc");
    assert_eq!(decoder.decode(&mut input), Ok(Decoded::Data(Bytes::from_static(b"abc"))));
    assert_eq!(decoder.decode(&mut input), Ok(Decoded::Incomplete));
    assert!(decoder.ends_with_connection() && decoder.is_done());
    assert!(!Decoder::new(Framing::Chunked).ends_with_connection());
}

proptest! {
    #[test]
    fn any_content_in_any_chunks_arrives(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1_usize..50) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let (content, ..) = decode(Framing::Chunked, &bytes, step).unwrap();
        prop_assert_eq!(content, chunks.concat());
    }

    #[test]
    fn no_bytes_panic_and_pieces_do_not_matter(bytes in prop::collection::vec(prop::sample::select(b"0123aF;\r\n \t:x\x00".to_vec()), 0..60), step in 1_usize..7) {
        prop_assert_eq!(decode(Framing::Chunked, &bytes, step), decode(Framing::Chunked, &bytes, usize::MAX));
    }
}
