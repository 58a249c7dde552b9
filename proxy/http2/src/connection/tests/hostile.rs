//! Whatever comes: no panic, and no more memory than was agreed on.

use super::*;
use crate::frame::{END_STREAM, settings};
use proptest::prelude::*;

/// A session as clients have them: requests with content, padding, trailers, PING, SETTINGS, windows.
fn session() -> Vec<u8> {
    let mut encoder = Encoder::new(Huffman::default());
    let mut out = Vec::new();
    Settings { initial_window_size: Some(1 << 20), ..Settings::default() }.put(&mut out);
    settings::put_acknowledgement(&mut out);
    for stream in [1_u32, 3, 5, 7] {
        let mut block = Vec::new();
        let mut write = encoder.block(&mut block);
        write.method(&Method::POST);
        write.pseudo(Pseudo::Scheme, b"http");
        write.pseudo(Pseudo::Path, b"/some/where");
        put_fields(&mut write, &[("content-type", "application/grpc"), ("te", "trailers"), ("x-id", "abc")]);
        let half = block.len() / 2;
        if stream == 5 {
            out.extend(bytes_of(Kind::Headers, 0, stream, &block[..half]));
            out.extend(bytes_of(Kind::Continuation, END_HEADERS, stream, &block[half..]));
        } else {
            out.extend(bytes_of(Kind::Headers, END_HEADERS, stream, &block));
        }
        out.extend(bytes_of(Kind::Data, 0, stream, &[stream as u8; 300]));
        out.extend(bytes_of(Kind::Data, frame::PADDED, stream, &[4, 1, 2, 3, 0, 0, 0, 0]));
        out.extend(bytes_of(Kind::WindowUpdate, 0, stream, &[0, 0, 1, 0]));
        payload::put_ping(&mut out, *b"01234567", false);
        let mut block = Vec::new();
        put_fields(&mut encoder.block(&mut block), &[("grpc-status", "0")]);
        out.extend(bytes_of(Kind::Headers, END_HEADERS | END_STREAM, stream, &block));
    }
    out.extend(bytes_of(Kind::Priority, 0, 9, &[0, 0, 0, 1, 2]));
    out
}

/// What whoever holds the streams does meanwhile.
fn use_streams(engine: &Connection, streams: &mut Vec<(Sending, Receiving)>, what: u8) {
    while let Some(Incoming { sending, receiving, .. }) = engine.accept() {
        streams.push((sending, receiving));
    }
    let count = streams.len();
    let Some((sending, receiving)) = streams.get_mut(usize::from(what) % count.max(1)) else { return };
    match what % 7 {
        0 => {
            let _ = sending.respond(http::StatusCode::OK, &Fields::new(), what > 100);
        }
        1 => {
            if let Some(Ok(room)) = now(|cx| sending.poll_room(cx)) {
                sending.data(vec![0; room].into(), what > 200).unwrap();
            }
        }
        2 => while let Some(Some(Ok(_))) = now(|cx| receiving.poll_data(cx)) {},
        3 => {
            let _ = (now(|cx| receiving.poll_head(cx)), receiving.take_trailers());
        }
        4 => sending.reset(Code::CANCEL),
        5 => drop(streams.swap_remove(usize::from(what) % count)),
        _ => _ = now(|cx| sending.poll_room(cx)),
    }
}

fn assert_bounded(engine: &Connection) {
    let core = engine.0.borrow();
    assert!(core.input.partial.len() <= FRAME);
    assert!(core.table.active() <= core.config.max_streams);
    assert!(core.requests.len() <= core.table.active() as usize);
    assert!(core.waiting.len() <= core.table.active() as usize);
    assert!(core.output.len() < HIGH_WATER + (32 << 10));
    if core.end.is_none() {
        let most = core.config.connection_window.max(DEFAULT_WINDOW) as usize;
        assert!(core.receive_window.available() + core.taken as usize <= most);
    }
}

/// Feeds `bytes`, in pieces; all is bounded in between, and nothing is left afterwards.
fn fed(engine: Connection, bytes: &[u8], cuts: &[u16], deeds: &[u8]) {
    let mut streams = Vec::new();
    if engine.0.borrow().role == Role::Client {
        for _ in 0..3 {
            let opened = engine.opener_for_tests().open(request(&Method::POST, &Fields::new()), false);
            streams.push(opened.unwrap());
        }
    }
    let (mut rest, mut deeds) = (bytes, deeds.iter().cycle());
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut)).cycle();
    while !rest.is_empty() && engine.wants_input() {
        let (piece, after) = rest.split_at(cuts.next().unwrap_or(1_000).clamp(1, rest.len()));
        engine.receive(piece);
        rest = after;
        assert_bounded(&engine);
        if let Some(deed) = deeds.next() {
            use_streams(&engine, &mut streams, *deed);
        }
        assert_bounded(&engine);
        written(&engine, usize::MAX);
    }
    drop(streams);
    while engine.accept().is_some() {}
    engine.assert_empty();
    // Padding is given back before it has come: all that is missing is what is still to come of a frame.
    let core = engine.0.borrow();
    let missing = match core.input.expect {
        input::Expect::Data(frame) => frame.left as usize,
        _ => 0,
    };
    let most = core.config.connection_window.max(DEFAULT_WINDOW) as usize;
    let whole = core.receive_window.available() + core.taken as usize;
    assert!(core.end.is_some() || (whole + missing >= most && whole <= most), "{whole} and {missing}");
}

fn frame_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0_u8), Just(1), Just(3), Just(8), Just(9), 0_u8..12];
    let flags = prop_oneof![Just(0_u8), Just(4), Just(5), Just(1), Just(8), any::<u8>()];
    let payload = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => Just(vec![0x83, 0x86, 0x84]),
        1 => Just(vec![0x88]),
        1 => Just(vec![0, 0, 0, 1]),
        1 => (0_usize..16_384).prop_map(|length| vec![0; length]),
        1 => proptest::collection::vec(any::<u8>(), 8),
    ];
    (kind, flags, 0_u32..12, payload)
        .prop_map(|(kind, flags, stream, payload)| bytes_of(Kind::of(kind), flags, stream, &payload))
}

fn server() -> Connection {
    let engine = Connection::server(Config { max_streams: 5, ..config() });
    engine.receive(PREFACE);
    engine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_frames(
        frames in proptest::collection::vec(frame_of_any_kind(), 0..60),
        cuts in proptest::collection::vec(1_u16..3_000, 0..10),
        deeds: Vec<u8>,
        of_server: bool,
    ) {
        let mut bytes = Vec::new();
        Settings::default().put(&mut bytes);
        bytes.extend(frames.concat());
        let engine = if of_server { server() } else { Connection::client(config()) };
        fed(engine, &bytes, &cuts, &deeds);
    }

    #[test]
    fn sessions_with_faults(
        faults in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 0..6),
        cuts in proptest::collection::vec(1_u16..500, 0..10),
        deeds: Vec<u8>,
    ) {
        let mut bytes = session();
        for (place, value, what) in faults {
            let at = place.index(bytes.len());
            match what {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value % 8),
                2 => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
                _ => bytes.insert(at, value),
            }
            if bytes.is_empty() {
                break;
            }
        }
        fed(server(), &bytes, &cuts, &deeds);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), of_server: bool) {
        let engine = if of_server { server() } else { Connection::client(config()) };
        fed(engine, &bytes, &[7], &[]);
    }
}

#[test]
fn a_session_without_fault_is_served() {
    for cut in [1, 2, 9, 100, 10_000] {
        let engine = server();
        let bytes = session();
        for piece in bytes.chunks(cut) {
            engine.receive(piece);
        }
        assert_eq!(engine.ended(), None);
        for _ in 0..4 {
            let mut incoming = engine.accept().unwrap();
            let mut taken = 0;
            while let Some(Some(Ok(data))) = now(|cx| incoming.receiving.poll_data(cx)) {
                taken += data.len();
            }
            assert_eq!(taken, 303);
            assert_eq!(incoming.receiving.take_trailers().unwrap()["grpc-status"], "0");
            assert!(incoming.receiving.is_end());
        }
        assert_eq!(told(&frames(&written(&engine, usize::MAX))), Told::Reset(1, Code::CANCEL));
        engine.assert_empty();
        engine.assert_window_is_whole();
    }
}
