use super::{
    payload::{self, GoAway},
    settings::{self, Sender, Settings},
    *,
};
use proptest::prelude::*;

fn head(kind: Kind, flags: u8, stream: u32, length: u32) -> Head {
    Head { length, kind, flags, stream }
}

/// What one head comes to.
fn checked(kind: u8, flags: u8, stream: u32, length: u32) -> Option<(bool, Code)> {
    match head(Kind::of(kind), flags, stream, length).check(LEAST_MAX_FRAME_SIZE) {
        Ok(()) => None,
        Err(Violation::Connection(code, _)) => Some((true, code)),
        Err(Violation::Stream(told, code, _)) => {
            assert_eq!(told, stream);
            Some((false, code))
        }
    }
}

#[test]
fn the_reserved_bit_is_ignored() {
    let parsed = Head::parse([0x01, 0x02, 0x03, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(parsed, head(Kind::WindowUpdate, 0xff, MOST_31_BITS, 0x010203));
    assert_eq!(parsed.bytes()[5], 0x7f);
}

#[test]
fn heads_that_no_frame_may_have() {
    const PROTOCOL: Option<(bool, Code)> = Some((true, Code::PROTOCOL_ERROR));
    const SIZE: Option<(bool, Code)> = Some((true, Code::FRAME_SIZE_ERROR));
    for (kind, flags, stream, length, wanted) in [
        (0x0, 0, 1, 16384, None),
        (0x0, 0, 1, 16385, SIZE),
        (0x0, 0, 0, 1, PROTOCOL),
        (0x1, 0, 1, 0, None),
        (0x1, 0, 0, 0, PROTOCOL),
        (0x2, 0, 1, 5, None),
        (0x2, 0, 0, 5, PROTOCOL),
        (0x2, 0, 1, 4, Some((false, Code::FRAME_SIZE_ERROR))),
        (0x3, 0, 1, 4, None),
        (0x3, 0, 0, 4, PROTOCOL),
        (0x3, 0, 1, 5, SIZE),
        (0x4, 0, 0, 12, None),
        (0x4, 0, 1, 12, PROTOCOL),
        (0x4, 0, 0, 13, SIZE),
        (0x4, ACK, 0, 0, None),
        (0x4, ACK, 0, 6, SIZE),
        (0x5, 0, 2, 4, PROTOCOL),
        (0x6, 0, 0, 8, None),
        (0x6, 0, 1, 8, PROTOCOL),
        (0x6, 0, 0, 7, SIZE),
        (0x7, 0, 0, 8, None),
        (0x7, 0, 0, 100, None),
        (0x7, 0, 1, 8, PROTOCOL),
        (0x7, 0, 0, 7, SIZE),
        (0x8, 0, 0, 4, None),
        (0x8, 0, 1, 4, None),
        (0x8, 0, 1, 3, SIZE),
        (0x9, 0, 1, 0, None),
        (0x9, 0, 0, 0, PROTOCOL),
        (0xa, 0xff, 7, 16384, None),
        (0xa, 0, 7, 16385, SIZE),
    ] {
        assert_eq!(checked(kind, flags, stream, length), wanted, "{kind} {flags} {stream} {length}");
    }
}

#[test]
fn padding_goes() {
    let padded = head(Kind::Data, PADDED, 1, 0);
    assert_eq!(payload::data(&padded, &[2, b'a', b'b', 0, 0]), Ok(1..3));
    assert_eq!(payload::data(&padded, &[0]), Ok(1..1));
    assert_eq!(payload::data(&padded, &[3, 0, 0, 0]), Ok(1..1));
    assert_eq!(payload::data(&padded, &[4, 0, 0, 0]).unwrap_err().code(), Code::PROTOCOL_ERROR);
    assert_eq!(payload::data(&padded, &[]).unwrap_err().code(), Code::FRAME_SIZE_ERROR);
    assert_eq!(payload::data(&head(Kind::Data, 0, 1, 0), &[4, 0]), Ok(0..2));
}

#[test]
fn a_priority_goes() {
    let stated = head(Kind::Headers, PRIORITY, 1, 0);
    assert_eq!(payload::headers(&stated, &[0, 0, 0, 3, 16, 0x82]), Ok(5..6));
    assert_eq!(payload::headers(&stated, &[0, 0, 0, 3]).unwrap_err().code(), Code::FRAME_SIZE_ERROR);
    let itself = payload::headers(&stated, &[0x80, 0, 0, 1, 16, 0x82]).unwrap_err();
    assert!(matches!(itself, Violation::Connection(Code::PROTOCOL_ERROR, _))); // its block is not decoded
    let alone = payload::priority(&head(Kind::Priority, 0, 1, 5), &[0x80, 0, 0, 1, 16]).unwrap_err();
    assert!(matches!(alone, Violation::Stream(1, Code::PROTOCOL_ERROR, _)));
    let both = head(Kind::Headers, PRIORITY | PADDED, 1, 0);
    assert_eq!(payload::headers(&both, &[1, 0, 0, 0, 3, 16, 0x82, 0]), Ok(6..7));
    assert!(payload::headers(&both, &[2, 0, 0, 0, 3, 16, 0]).is_err());
}

#[test]
fn windows_open_by_something() {
    let of = |stream, payload| payload::window_update(&head(Kind::WindowUpdate, 0, stream, 4), payload);
    assert_eq!(of(1, &[0x80, 0, 0, 5]), Ok(5));
    assert!(matches!(of(1, &[0x80, 0, 0, 0]), Err(Violation::Stream(1, Code::PROTOCOL_ERROR, _))));
    assert!(matches!(of(0, &[0; 4]), Err(Violation::Connection(Code::PROTOCOL_ERROR, _))));
    assert!(of(1, &[0; 3]).is_err());
}

#[test]
fn what_is_put_is_read() {
    let mut out = Vec::new();
    payload::put_go_away(&mut out, 7, Code::ENHANCE_YOUR_CALM);
    out.extend_from_slice(b"calm");
    let said = payload::go_away(&out[HEAD_BYTES..]).unwrap();
    assert_eq!(said, GoAway { last_stream: 7, code: Code::ENHANCE_YOUR_CALM, debug: b"calm" });
    type Put = fn(&mut Vec<u8>);
    let frames: [(Put, Kind, u32); 4] = [
        (|out| payload::put_rst_stream(out, 5, Code::CANCEL), Kind::RstStream, 5),
        (|out| payload::put_window_update(out, 5, 9), Kind::WindowUpdate, 5),
        (|out| payload::put_ping(out, [1; 8], true), Kind::Ping, 0),
        (settings::put_acknowledgement, Kind::Settings, 0),
    ];
    for (put, kind, stream) in frames {
        let mut out = Vec::new();
        put(&mut out);
        let (bytes, payload) = out.split_first_chunk().unwrap();
        let head = Head::parse(*bytes);
        assert_eq!((head.kind, head.stream, head.length as usize), (kind, stream, payload.len()));
        assert_eq!(head.check(LEAST_MAX_FRAME_SIZE), Ok(()));
        match kind {
            Kind::RstStream => assert_eq!(payload::rst_stream(payload), Ok(Code::CANCEL)),
            Kind::WindowUpdate => assert_eq!(payload::window_update(&head, payload), Ok(9)),
            Kind::Ping => assert_eq!(payload::ping(payload), Ok([1; 8])),
            _ => assert!(head.has(ACK)),
        }
    }
}

#[test]
fn settings_have_bounds() {
    let one = |identifier: u16, value: u32, sender| {
        let payload = [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat();
        settings::parse(&payload, sender).map_err(Violation::code)
    };
    for (identifier, value, sender, code) in [
        (0x2, 2, Sender::Client, Code::PROTOCOL_ERROR),
        (0x2, 1, Sender::Server, Code::PROTOCOL_ERROR),
        (0x4, 1 << 31, Sender::Client, Code::FLOW_CONTROL_ERROR),
        (0x5, 16383, Sender::Client, Code::PROTOCOL_ERROR),
        (0x5, 1 << 24, Sender::Client, Code::PROTOCOL_ERROR),
        (0x8, 2, Sender::Client, Code::PROTOCOL_ERROR),
        (0x9, 2, Sender::Client, Code::PROTOCOL_ERROR),
    ] {
        assert_eq!(one(identifier, value, sender), Err(code), "{identifier}");
    }
    for (identifier, value) in
        [(0x2, 1), (0x4, MOST_31_BITS), (0x5, 16384), (0x5, MOST_MAX_FRAME_SIZE), (0x9, 1), (0xf0, 9)]
    {
        assert!(one(identifier, value, Sender::Client).is_ok(), "{identifier}");
    }
    assert_eq!(settings::parse(&[0; 7], Sender::Client).unwrap_err().code(), Code::FRAME_SIZE_ERROR);
}

#[test]
fn the_last_of_equal_settings_counts_and_the_least_table_is_kept() {
    let payload = [0, 1, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7];
    let read = settings::parse(&payload, Sender::Client).unwrap();
    assert_eq!((read.header_table_size, read.least_header_table_size), (Some(7), Some(0)));
}

proptest! {
    #[test]
    fn settings_come_back(
        table: Option<u32>,
        push: Option<bool>,
        streams: Option<u32>,
        window in proptest::option::of(0..=MOST_31_BITS),
        frame in proptest::option::of(LEAST_MAX_FRAME_SIZE..=MOST_MAX_FRAME_SIZE),
        list: Option<u32>,
        connect: Option<bool>,
    ) {
        let said = Settings {
            header_table_size: table,
            least_header_table_size: table,
            enable_push: push,
            max_concurrent_streams: streams,
            initial_window_size: window,
            max_frame_size: frame,
            max_header_list_size: list,
            enable_connect_protocol: connect,
        };
        let mut out = Vec::new();
        said.put(&mut out);
        let (bytes, payload) = out.split_first_chunk().unwrap();
        let head = Head::parse(*bytes);
        prop_assert_eq!((head.check(LEAST_MAX_FRAME_SIZE), head.length as usize), (Ok(()), payload.len()));
        prop_assert_eq!(settings::parse(payload, Sender::Client), Ok(said));
    }

    #[test]
    fn any_head_comes_back(bytes: [u8; HEAD_BYTES]) {
        let mut wanted = bytes;
        wanted[5] &= 0x7f;
        let parsed = Head::parse(bytes);
        prop_assert_eq!(parsed.bytes(), wanted);
        let _ = parsed.check(LEAST_MAX_FRAME_SIZE);
    }

    #[test]
    fn no_payload_is_a_panic(kind: u8, flags: u8, stream in 0..=MOST_31_BITS, payload: Vec<u8>) {
        let head = head(Kind::of(kind), flags, stream, payload.len() as u32);
        if let Ok(range) = payload::headers(&head, &payload) {
            prop_assert!(payload.get(range).is_some());
        }
        if let Ok(range) = payload::data(&head, &payload) {
            prop_assert!(payload.get(range).is_some());
        }
        let _ = (payload::priority(&head, &payload), payload::rst_stream(&payload), payload::ping(&payload));
        let _ = (payload::window_update(&head, &payload), payload::go_away(&payload));
        let _ = settings::parse(&payload, Sender::Server);
    }
}
