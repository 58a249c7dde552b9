use super::*;
use crate::hpack::{
    Decoder, Field, Part, Verdict,
    tests::{any_field, bytes},
};
use proptest::prelude::*;

/// An encoder, and the decoder at the other end.
struct Ends {
    encoder: Encoder,
    decoder: Decoder,
}

impl Ends {
    fn new(huffman: Huffman) -> Self {
        Self { encoder: Encoder::new(huffman), decoder: Decoder::new(usize::MAX) }
    }

    fn block(&mut self, write: impl FnOnce(&mut Block<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut self.encoder.block(&mut out));
        out
    }

    /// Sends what `write` writes: the bytes, and the fields that come out.
    fn send(&mut self, write: impl FnOnce(&mut Block<'_>)) -> (Vec<u8>, Vec<Field>) {
        let block = self.block(write);
        let mut fields = Vec::new();
        let verdict = self.decoder.decode(&block, Part::Head, &mut |field| fields.push(field));
        assert_eq!(verdict, Ok(Verdict::Whole));
        assert_eq!(self.decoder.table().size(), self.encoder.table().size());
        assert_eq!(self.decoder.table().len(), self.encoder.table().len());
        (block, fields)
    }

    fn send_field(&mut self, name: &'static str, value: &'static str) -> Vec<u8> {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        let (block, fields) = self.send(|block| block.field(&name, &value));
        assert!(matches!(&fields[..], [Field::Regular(n, v)] if *n == name && *v == value));
        block
    }
}

fn pseudo(field: Pseudo, value: &str) -> Field {
    Field::Pseudo(field, bytes::Bytes::copy_from_slice(value.as_bytes()))
}

#[test]
fn heads_of_the_static_table_are_bytes() {
    let mut ends = Ends::new(Huffman::Never);
    let (block, fields) = ends.send(|block| {
        block.method(&Method::POST);
        block.pseudo(Pseudo::Scheme, b"https");
        block.pseudo(Pseudo::Path, b"/");
        block.field(&http::header::ACCEPT_ENCODING, &HeaderValue::from_static("gzip, deflate"));
    });
    assert_eq!(block, bytes("83878490"));
    assert_eq!(fields[0], pseudo(Pseudo::Method, "POST"));
    for status in [200, 204, 206, 304, 400, 404, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        let (block, fields) = ends.send(|block| block.status(status));
        assert_eq!((block.len(), &fields[0]), (1, &pseudo(Pseudo::Status, status.as_str())));
    }
    let (block, fields) = ends.send(|block| block.pseudo(Pseudo::Protocol, b"websocket"));
    assert_eq!((block[0], &fields[0]), (0, &pseudo(Pseudo::Protocol, "websocket")));
}

#[test]
fn what_is_sent_twice_is_then_one_byte() {
    let mut ends = Ends::new(Huffman::Indexed);
    let sizes = [(); 3].map(|()| ends.send_field("content-type", "application/grpc").len());
    assert_eq!(sizes, [19, 13, 1]); // as it is; coded, into the table; one byte
    let sizes = [(); 3].map(|()| ends.send_field("grpc-timeout", "1S").len());
    assert_eq!(sizes, [17, 14, 1]);
    for status in [503, 503, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        ends.send(|block| block.status(status));
    }
    assert_eq!(ends.encoder.table().len(), 3);
}

#[test]
fn a_name_that_comes_again_is_remembered_with_one_value() {
    let mut ends = Ends::new(Huffman::Never);
    let sizes = ["1", "2", "3", "4"].map(|value| ends.send_field("x-request-id", value).len());
    assert_eq!(sizes, [16, 16, 4, 4]);
    assert_eq!(ends.encoder.table().len(), 1);
}

#[test]
fn secrets_and_places_stay_out_of_the_table() {
    let mut ends = Ends::new(Huffman::Indexed);
    for _ in 0..3 {
        for name in ["authorization", "cookie", "set-cookie", "proxy-authorization"] {
            assert_eq!(ends.send_field(name, "secret")[0], 0x1f, "{name}");
        }
        for name in ["location", "referer", "content-location"] {
            assert_eq!(ends.send_field(name, "/x")[0], 0x0f, "{name}");
        }
        let (block, _) = ends.send(|block| block.pseudo(Pseudo::Path, b"/x"));
        assert_eq!(block, bytes("14022f78"));
        let mut secret = HeaderValue::from_static("x");
        secret.set_sensitive(true);
        let name = HeaderName::from_static("x-api-key");
        let (block, fields) = ends.send(|block| block.field(&name, &secret));
        assert_eq!(block[0], 0x10);
        assert!(matches!(&fields[0], Field::Regular(_, value) if value.is_sensitive()));
    }
    assert_eq!(ends.encoder.table().len(), 0);
}

#[test]
fn the_peer_says_how_large_the_table_is() {
    let mut ends = Ends::new(Huffman::Never);
    ends.send_field("server", "a");
    ends.send_field("server", "a");
    assert_eq!(ends.encoder.table().len(), 1);

    ends.encoder.set_table_size(1 << 20); // more than we want
    assert_eq!(ends.send_field("server", "a"), [0xbe]);

    ends.encoder.set_table_size(0);
    ends.encoder.set_table_size(200);
    ends.decoder.set_table_size(0);
    ends.decoder.set_table_size(200);
    let block = ends.send_field("server", "a");
    assert_eq!(block[..4], bytes("203fa901")); // 0, which empties it, then 200
    assert_eq!(ends.send_field("server", "a"), [0xbe]);

    ends.encoder.set_table_size(0);
    ends.decoder.set_table_size(0);
    assert_eq!(ends.send_field("server", "a"), bytes("200f270161"));
    assert_eq!(ends.send_field("server", "a"), bytes("0f270161"));
}

#[test]
fn what_came_next_is_expected_next() {
    let mut table = Table::new(MOST_TABLE);
    let names = [http::header::ACCEPT, http::header::SERVER, http::header::VIA];
    let [first, second, third] = [0, 1, 2].map(|place| Named::Regular(&names[place], place + 15));
    table.begin();
    assert!([first, second, third].into_iter().all(|named| table.add(named.tags(b"x"), named, b"x")));
    table.begin();
    assert_eq!([first, second, third].map(|named| table.expected(named, b"x")), [Some(2), Some(1), Some(0)]);
    table.begin();
    assert_eq!((table.expected(second, b"x"), table.expected(first, b"y")), (None, None));
    // One is left out: what follows it is expected all the same, and the next block may begin with it.
    assert_eq!(table.find(second.tags(b"x").0, second, b"x"), Sighting::At(1));
    assert_eq!(table.expected(third, b"x"), Some(0));
    table.begin();
    assert_eq!(table.expected(second, b"x"), Some(1));
    table.set_limit(0);
    table.begin();
    assert_eq!(table.expected(second, b"x"), None);
}

#[test]
fn a_table_that_is_pushed_through_stays_right() {
    let mut ends = Ends::new(Huffman::Indexed);
    for round in 0..2000_u32 {
        let value = HeaderValue::from(round / 2 % 300);
        let name = HeaderName::from_bytes(format!("x-{}", round % 97).as_bytes()).unwrap();
        let (_, fields) = ends.send(|block| {
            block.field(&http::header::CONTENT_LENGTH, &value);
            block.field(&name, &value);
        });
        assert_eq!(fields[0], Field::Regular(http::header::CONTENT_LENGTH, value.clone()));
        assert_eq!(fields[1], Field::Regular(name, value));
    }
    assert!(ends.encoder.table().size() <= MOST_TABLE);
}

proptest! {
    #[test]
    fn what_is_sent_arrives(
        blocks in proptest::collection::vec(proptest::collection::vec(any_field(), 0..12), 1..12),
        sizes in proptest::collection::vec(proptest::option::of(0..5000_usize), 12),
        huffman in prop_oneof![Just(Huffman::Never), Just(Huffman::Indexed), Just(Huffman::Always)],
    ) {
        let mut ends = Ends::new(huffman);
        for (fields, size) in blocks.iter().zip(sizes) {
            if let Some(size) = size {
                ends.encoder.set_table_size(size);
                ends.decoder.set_table_size(size);
            }
            for _ in 0..3 {
                let (_, arrived) = ends.send(|block| for (name, value) in fields { block.field(name, value) });
                let sent: Vec<_> = fields.iter().cloned().map(|(name, value)| Field::Regular(name, value)).collect();
                prop_assert_eq!(&arrived, &sent);
                for (field, (_, value)) in arrived.iter().zip(fields) {
                    let Field::Regular(name, arrived) = field else { unreachable!() };
                    let secret = value.is_sensitive() || name == http::header::AUTHORIZATION;
                    prop_assert_eq!(arrived.is_sensitive(), secret);
                }
            }
        }
    }
}
