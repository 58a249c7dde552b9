//! The examples of RFC 7541, appendix C, and blocks that nobody should send.

use super::{decoder::*, encoder::*, field::*, *};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

/// From hexadecimal digits; spaces are ignored.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// `name: value`, as texts.
fn line(field: &Field) -> String {
    match field {
        Field::Pseudo(pseudo, value) => format!("{}: {}", pseudo.name(), String::from_utf8_lossy(value)),
        Field::Regular(name, value) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<(Verdict, Vec<String>), HpackError> {
    let mut lines = Vec::new();
    let verdict = decoder.decode(block, Part::Head, &mut |field| lines.push(line(&field)))?;
    Ok((verdict, lines))
}

#[track_caller]
fn whole(decoder: &mut Decoder, hex: &str, wanted: &[&str]) {
    let (verdict, lines) = decode(decoder, &bytes(hex)).unwrap();
    assert_eq!(verdict, Verdict::Whole);
    assert_eq!(lines, wanted);
}

fn decoder() -> Decoder {
    Decoder::new(16 << 10)
}

/// What becomes of one block in a fresh decoder.
fn verdict(block: &[u8]) -> Result<Verdict, HpackError> {
    decode(&mut decoder(), block).map(|(verdict, _)| verdict)
}

/// Literals out of the table, without Huffman's code.
fn literals(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            integer::put::<7>(&mut block, 0, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

#[test]
fn single_fields() {
    let mut one = decoder();
    whole(&mut one, "400a637573746f6d2d6b65790d637573746f6d2d686561646572", &["custom-key: custom-header"]);
    assert_eq!(one.table().size(), 55);
    whole(&mut one, "040c2f73616d706c652f70617468", &[":path: /sample/path"]);
    whole(&mut one, "100870617373776f726406736563726574", &["password: secret"]);
    whole(&mut one, "82", &[":method: GET"]);
    assert_eq!(one.table().len(), 1);
}

#[test]
fn requests_with_and_without_huffman() {
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = decoder();
        let common = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
        whole(&mut decoder, blocks[0], &common);
        assert_eq!(decoder.table().size(), 57);
        whole(&mut decoder, blocks[1], &[&common[..], &["cache-control: no-cache"]].concat());
        assert_eq!(decoder.table().size(), 110);
        whole(
            &mut decoder,
            blocks[2],
            &[
                ":method: GET",
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value",
            ],
        );
        assert_eq!((decoder.table().size(), decoder.table().len()), (164, 3));
    }
}

#[test]
fn responses_that_push_out() {
    let mut decoder = decoder();
    decoder.set_table_size(256);
    let location = "location: https://www.example.com";
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    whole(
        &mut decoder, // begins with the size, which the example takes for granted
        "3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        &[":status: 302", "cache-control: private", date, location],
    );
    assert_eq!(decoder.table().size(), 222);
    whole(&mut decoder, "4883640effc1c0bf", &[":status: 307", "cache-control: private", date, location]);
    assert_eq!(decoder.table().size(), 222);
    whole(
        &mut decoder,
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        &[
            ":status: 200",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
            location,
            "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
    );
    assert_eq!((decoder.table().size(), decoder.table().len()), (215, 3));
}

#[test]
fn broken_blocks_end_the_connection() {
    for (hex, error) in [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("7e0161", HpackError::Index),
        ("ffffffffff7f", HpackError::Integer),
        ("40", HpackError::Short),
        ("4001", HpackError::Short),
        ("400161", HpackError::Short),
        ("40016105", HpackError::Short),
        ("04ff", HpackError::Short),
        ("04ffffffffff0f", HpackError::Integer),
        ("0481ff", HpackError::Huffman),
        ("0484ffffffff", HpackError::Huffman),
        ("408100 0161", HpackError::Huffman),
        ("8220", HpackError::TableSize),   // after a field
        ("202020", HpackError::TableSize), // the third
        ("3fe21f", HpackError::TableSize), // 4097
    ] {
        assert_eq!(verdict(&bytes(hex)), Err(error), "{hex}");
    }
    let violation = Violation::from(HpackError::Index);
    assert!(matches!(violation, Violation::Connection(Code::COMPRESSION_ERROR, _)));
}

#[test]
fn a_smaller_table_is_heeded_at_once() {
    let mut decoder = decoder();
    whole(&mut decoder, "4001610162", &["a: b"]);
    decoder.set_table_size(0);
    decoder.set_table_size(100);
    assert_eq!(decode(&mut decoder, &bytes("82")), Err(HpackError::TableSizeOwed));
    assert_eq!(decode(&mut decoder, &bytes("3f4582")), Err(HpackError::TableSize)); // 100, but 0 was missed
    whole(&mut decoder, "203f4582", &[":method: GET"]);
    assert_eq!(decoder.table().size(), 0);
    assert_eq!(decode(&mut decoder, &bytes("3f46")), Err(HpackError::TableSize)); // 101
    decoder.set_table_size(4096);
    whole(&mut decoder, "82", &[":method: GET"]); // nobody has to use it
}

#[test]
fn malformed_messages_end_their_stream_only() {
    let get = [(":method", &b"GET"[..])];
    type Fields<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Fields<'_>, Fault); 14] = [
        (&[("", b"x")], Fault::Name),
        (&[("Upper", b"x")], Fault::Name),
        (&[("a b", b"x")], Fault::Name),
        (&[("a:b", b"x")], Fault::Name),
        (&[("a", b"x\r\ny: z")], Fault::Value),
        (&[("a", b"\0")], Fault::Value),
        (&[("a", b"\x7f")], Fault::Value),
        (&[(":path", b"/\n")], Fault::Value),
        (&[(":unknown", b"x")], Fault::UnknownPseudo),
        (&[get[0], get[0]], Fault::RepeatedPseudo),
        (&[("a", b"x"), get[0]], Fault::LatePseudo),
        (&[("connection", b"close")], Fault::ConnectionSpecific),
        (&[("transfer-encoding", b"chunked")], Fault::ConnectionSpecific),
        (&[("te", b"gzip")], Fault::ConnectionSpecific),
    ];
    for (fields, fault) in cases {
        assert_eq!(verdict(&literals(fields)), Ok(Verdict::Malformed(fault)), "{fields:?}");
    }
    assert_eq!(verdict(&literals(&[get[0], ("te", b"trailers"), ("a", b"\xc3\xa4\t")])), Ok(Verdict::Whole));
    assert_eq!(verdict(&bytes("b9")), Ok(Verdict::Malformed(Fault::ConnectionSpecific)));
    let trailers = decoder().decode(&literals(&get), Part::Trailers, &mut |_| {});
    assert_eq!(trailers, Ok(Verdict::Malformed(Fault::LatePseudo)));
}

#[test]
fn the_table_stays_what_the_peer_believes() {
    let mut decoder = decoder();
    // A name in upper case that goes into the table, and then a field that is all right.
    let mut block = bytes("4001410162");
    block.extend(bytes("4001630164"));
    assert_eq!(decode(&mut decoder, &block), Ok((Verdict::Malformed(Fault::Name), Vec::new())));
    assert_eq!((decoder.table().len(), decoder.table().size()), (2, 68));
    whole(&mut decoder, "be", &["c: d"]);
    assert_eq!(decode(&mut decoder, &bytes("bf")).unwrap().0, Verdict::Malformed(Fault::Name));
    assert_eq!(decode(&mut decoder, &bytes("7f000165")).unwrap().0, Verdict::Malformed(Fault::Name));
    // A value that is not all right leaves its name usable.
    assert_eq!(decode(&mut decoder, &bytes("4001660100")).unwrap().0, Verdict::Malformed(Fault::Value));
    whole(&mut decoder, "7e0167", &["f: g"]);
}

#[test]
fn more_than_is_taken_is_told_and_still_read() {
    let mut decoder = Decoder::new(100);
    let field = |name: &str| literals(&[(name, b"1234567890123456789")]); // 52 with its name
    let mut block = field("a");
    block.extend(field("b"));
    block.extend(bytes("4001630164")); // goes into the table
    block.extend(field("Upper")); // nobody looks at it any more
    let (verdict, lines) = decode(&mut decoder, &block).unwrap();
    assert_eq!((verdict, lines.len()), (Verdict::TooLarge, 1));
    whole(&mut decoder, "be", &["c: d"]);
}

#[test]
fn a_block_of_references_is_cut_short() {
    let mut decoder = decoder();
    let mut block = bytes("400161");
    integer::put::<7>(&mut block, 0, 4000);
    block.extend([b'x'; 4000]);
    block.extend([0xbe; 16 << 10]); // 64 MiB of fields
    let mut handed_out = 0;
    let verdict = decoder.decode(&block, Part::Head, &mut |_| handed_out += 1);
    assert_eq!((verdict, handed_out), (Ok(Verdict::Expanded), 4));
}

#[test]
fn spaces_around_a_value_are_no_part_of_it() {
    let mut decoder = decoder();
    let block = literals(&[("a", b" \t x y\t "), ("te", b" trailers"), ("b", b"  ")]);
    assert_eq!(
        decode(&mut decoder, &block),
        Ok((Verdict::Whole, vec!["a: x y".into(), "te: trailers".into(), "b: ".into()]))
    );
    // What the table counts is what the peer sent.
    whole(&mut decoder, "40016103206220", &["a: b"]);
    assert_eq!(decoder.table().size(), 36);
    whole(&mut decoder, "be", &["a: b"]);
    assert_eq!(verdict(&literals(&[("a", b"\n x")])), Ok(Verdict::Malformed(Fault::Value)));
}

#[test]
fn what_is_never_to_be_indexed_is_sensitive() {
    let mut sensitive = Vec::new();
    let block = bytes("1001610162 0001610162");
    let mut sink = |field: Field| match field {
        Field::Regular(_, value) => sensitive.push(value.is_sensitive()),
        Field::Pseudo(..) => {}
    };
    assert_eq!(decoder().decode(&block, Part::Head, &mut sink), Ok(Verdict::Whole));
    assert_eq!(sensitive, [true, false]);
}

#[test]
fn a_large_block_makes_no_later_buffer_large() {
    let mut decoder = Decoder::new(usize::MAX);
    decoder.decode(&literals(&[("a", &[b'x'; 60_000])]), Part::Head, &mut |_| {}).unwrap();
    assert_eq!(decoder.allocated(), 0); // a small value would hold all of it
    let block = literals(&[("a", b"x")]);
    let mut held = Vec::new();
    for _ in 0..2000 {
        decoder.decode(&block, Part::Head, &mut |field| held.push(field)).unwrap();
        assert!(decoder.allocated() <= 1024, "{}", decoder.allocated());
    }
}

#[test]
fn the_buffer_of_values_is_used_again() {
    let mut decoder = decoder();
    let block = literals(&[("a", &[b'x'; 300]), ("b", &[b'y'; 300])]);
    let mut addresses = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut first = None;
        let sink = &mut |field: Field| {
            if let Field::Regular(_, value) = field {
                first.get_or_insert(value.as_bytes().as_ptr() as usize);
            }
        };
        decoder.decode(&block, Part::Head, sink).unwrap();
        addresses.extend(first);
    }
    assert!(addresses.len() <= 3, "{addresses:?}");
}

/// A field as a test has it.
pub(super) fn any_field() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let names = prop_oneof![
        Just("content-type".to_owned()),
        Just("user-agent".to_owned()),
        Just("authorization".to_owned()),
        Just("x-request-id".to_owned()),
        Just("accept-encoding".to_owned()),
        "[a-z][a-z0-9-]{0,40}".prop_map(|name| format!("x{name}")),
    ];
    let values = prop_oneof![
        Just(Vec::new()),
        Just(b"gzip, deflate".to_vec()),
        "[a-c]{1,2}".prop_map(String::into_bytes),
        "[ -~]{0,80}".prop_map(|text| text.trim().as_bytes().to_vec()),
        proptest::collection::vec(0x80..=0xff_u8, 0..40),
        (0..700_usize).prop_map(|length| vec![b'z'; length]),
    ];
    (names, values, proptest::bool::weighted(0.1)).prop_map(|(name, value, sensitive)| {
        let mut value = HeaderValue::from_maybe_shared(Bytes::from(value)).unwrap();
        value.set_sensitive(sensitive);
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
    })
}

proptest! {
    #[test]
    fn anything_is_an_answer(blocks: Vec<Vec<u8>>) {
        let mut decoder = Decoder::new(1000);
        for block in blocks {
            let mut size = 0;
            let outcome = decoder.decode(&block, Part::Head, &mut |field| size += line(&field).len() - 2 + OVERHEAD);
            prop_assert!(size <= 4000); // `line` writes three bytes for one that is no UTF-8
            prop_assert!(decoder.table().size() <= DEFAULT_TABLE_SIZE);
            if outcome.is_err() {
                break;
            }
        }
    }

    #[test]
    fn blocks_that_are_nearly_right(fields in proptest::collection::vec(any_field(), 1..20), at: usize, with: u8) {
        let mut block = Vec::new();
        let mut encoder = Encoder::new(Huffman::Always);
        let mut writing = encoder.block(&mut block);
        for (name, value) in &fields {
            writing.field(name, value);
        }
        let at = at % block.len();
        block[at] = with;
        let mut decoder = Decoder::new(usize::MAX);
        let _ = decode(&mut decoder, &block);
        let _ = decode(&mut decoder, &block[..at]);
        prop_assert!(decoder.table().size() <= DEFAULT_TABLE_SIZE);
    }
}
