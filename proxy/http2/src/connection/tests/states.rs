//! What a frame does in each state of its stream (RFC 9113 section 5.1).

use super::*;
use crate::frame::{ACK, END_STREAM, PADDED, payload};
use http::StatusCode;

const NO: u8 = 0;

/// Frames that a peer may send on stream 1, and their names.
fn each(raw: &mut Raw, frame: &str) {
    match frame {
        "data" => raw.put(Kind::Data, NO, 1, b"x"),
        "head" => raw.ask(1, END_STREAM, &[]),
        "reset" => raw.put(Kind::RstStream, NO, 1, &8_u32.to_be_bytes()),
        "window" => raw.window(1, 1),
        "priority" => raw.put(Kind::Priority, NO, 1, &[0, 0, 0, 3, 1]),
        "nothing more" => raw.window(1, 0),
        other => panic!("{other}"),
    }
}

const FRAMES: [&str; 6] = ["data", "head", "reset", "window", "priority", "nothing more"];

/// A server whose stream 1 has come to `state`.
fn server_in(state: &str) -> (Raw, Option<Incoming>) {
    let mut raw = Raw::client(config());
    if state == "idle" {
        return (raw, None);
    }
    if state == "skipped" {
        raw.ask(3, END_STREAM, &[]);
        raw.out();
        return (raw, None);
    }
    let ends = matches!(state, "half-closed" | "closed");
    raw.ask(1, if ends { END_STREAM } else { NO }, &[]);
    let mut incoming = raw.engine.accept().unwrap();
    match state {
        "open" | "half-closed" => {}
        "closed" => incoming.sending.respond(StatusCode::OK, &Fields::new(), true).unwrap(),
        "reset by it" => raw.put(Kind::RstStream, NO, 1, &[0, 0, 0, 8]),
        "reset by us" => incoming.sending.reset(Code::CANCEL),
        other => panic!("{other}"),
    }
    raw.out();
    (raw, Some(incoming))
}

#[test]
fn frames_in_every_state() {
    use Told::{Gone, Nothing, Reset};
    let closed = || Reset(1, Code::STREAM_CLOSED);
    // What has ended is not told from what was passed over (RFC 9113 section 5.1.1).
    let gone = || Gone(Code::STREAM_CLOSED);
    let zero = || Reset(1, Code::PROTOCOL_ERROR);
    let idle = || Gone(Code::PROTOCOL_ERROR);
    for (state, wanted) in [
        // data, head, reset, window, priority, a window that opens by nothing
        ("idle", [idle(), Nothing, idle(), idle(), Nothing, idle()]),
        ("open", [Nothing, Nothing, Nothing, Nothing, Nothing, zero()]),
        ("half-closed", [closed(), closed(), Nothing, Nothing, Nothing, zero()]),
        ("closed", [closed(), gone(), Nothing, Nothing, Nothing, zero()]),
        ("skipped", [closed(), gone(), Nothing, Nothing, Nothing, zero()]),
        ("reset by it", [closed(), gone(), Nothing, Nothing, Nothing, zero()]),
        ("reset by us", [Nothing, Nothing, Nothing, Nothing, Nothing, zero()]),
    ] {
        for (frame, wanted) in FRAMES.into_iter().zip(wanted) {
            let (mut raw, incoming) = server_in(state);
            if (state, frame) == ("open", "head") {
                raw.trailers(1, END_STREAM); // a head would have pseudo-header fields
            } else {
                each(&mut raw, frame);
            }
            assert_eq!(raw.told(), wanted, "{state}, {frame}");
            drop(incoming);
            while raw.engine.accept().is_some() {}
            raw.engine.assert_empty();
            if raw.engine.ended().is_none() {
                raw.engine.assert_window_is_whole();
            }
        }
    }
}

#[test]
fn after_a_fault_the_others_live_on() {
    let mut raw = Raw::client(config());
    for (stream, flags) in [(1, NO), (3, NO), (5, END_STREAM)] {
        raw.ask(stream, flags, &[]);
    }
    raw.trailers(1, NO); // ends nothing
    assert_eq!(raw.told(), Told::Reset(1, Code::PROTOCOL_ERROR));
    raw.put(Kind::Data, END_STREAM, 3, b"abc");
    assert_eq!(raw.told(), Told::Nothing);
    let mut streams = Vec::new();
    while let Some(incoming) = raw.engine.accept() {
        streams.push(incoming);
    }
    assert_eq!(streams.len(), 2, "the one that was reset is not shown");
    let data = now(|cx| streams[0].receiving.poll_data(cx)).unwrap().unwrap();
    assert_eq!(data, Ok(Bytes::from_static(b"abc")));
    assert!(streams[0].receiving.is_end() && streams[1].receiving.is_end());
}

#[test]
fn numbers_of_streams() {
    let gone = Told::Gone(Code::PROTOCOL_ERROR);
    let mut raw = Raw::client(config());
    raw.ask(2, END_STREAM, &[]);
    assert_eq!(raw.told(), gone);
    let mut raw = Raw::server(config());
    raw.answer(1, END_STREAM, 200, &[]);
    assert_eq!(raw.told(), gone, "an answer to nothing");
    let mut raw = Raw::server(config());
    let _stream = raw.open(&Method::GET, true);
    raw.answer(2, END_STREAM, 200, &[]);
    assert_eq!(raw.told(), gone, "what nobody asked for");
}

#[test]
fn content_is_as_long_as_it_was_said_to_be() {
    let wrong = Told::Reset(1, Code::PROTOCOL_ERROR);
    for (length, pieces, right) in [
        ("3", &["ab", "c"][..], true),
        ("3", &["ab"], false),
        ("3", &["ab", "cd"], false),
        ("0", &[], true),
        ("0", &["x"], false),
        ("-1", &[], false),
    ] {
        let mut raw = Raw::client(config());
        raw.ask(1, NO, &[("content-length", length)]);
        let incoming = raw.engine.accept();
        for piece in pieces {
            raw.put(Kind::Data, NO, 1, piece.as_bytes());
        }
        raw.put(Kind::Data, END_STREAM, 1, b"");
        let wanted = if right { &Told::Nothing } else { &wrong };
        assert_eq!(raw.told(), *wanted, "{length} {pieces:?}");
        drop(incoming);
        raw.engine.assert_window_is_whole();
    }
    let mut raw = Raw::client(config());
    raw.ask(1, END_STREAM, &[("content-length", "3")]);
    assert_eq!(raw.told(), wrong);
    assert!(raw.engine.accept().is_none());
    raw.engine.assert_empty();
}

#[test]
fn answers_that_have_no_content() {
    for (method, status, data, right) in [
        (Method::HEAD, 200, &b""[..], true),
        (Method::HEAD, 200, b"abc", false),
        (Method::GET, 304, b"", true),
        (Method::GET, 304, b"abc", false),
        (Method::GET, 204, b"abc", false),
        (Method::GET, 200, b"abc", true),
    ] {
        let mut raw = Raw::server(config());
        let (_sending, mut receiving) = raw.open(&method, true);
        let length: &[_] = if status == 204 { &[] } else { &[("content-length", "3")] };
        raw.answer(1, NO, status, length);
        raw.put(Kind::Data, END_STREAM, 1, data);
        let wanted = if right { Told::Nothing } else { Told::Reset(1, Code::PROTOCOL_ERROR) };
        assert_eq!(raw.told(), wanted, "{method} {status} {data:?}");
        assert_eq!(now(|cx| receiving.poll_head(cx)).unwrap().unwrap().status.as_u16(), status);
    }
}

#[test]
fn more_streams_than_announced_are_refused() {
    let mut raw = Raw::client(Config { max_streams: 2, ..config() });
    for stream in [1, 3, 5] {
        raw.ask(stream, NO, &[]);
    }
    assert_eq!(raw.told(), Told::Reset(5, Code::REFUSED_STREAM));
    assert_eq!([raw.engine.take_refused(), raw.engine.take_refused()], [1, 0]);
    raw.put(Kind::Data, NO, 5, b"sent before it knew");
    raw.put(Kind::RstStream, NO, 1, &[0, 0, 0, 8]);
    raw.ask(7, NO, &[]);
    assert_eq!(raw.told(), Told::Nothing);
    raw.engine.assert_window_is_whole();
    let mut raw = Raw::server(config());
    raw.greet(&Settings { max_concurrent_streams: Some(1), ..Settings::default() });
    let first = raw.open(&Method::GET, true);
    let opener = raw.engine.opener_for_tests();
    let fields = Fields::new();
    let refused = opener.open(request(&Method::GET, &fields), true);
    assert_eq!(refused.unwrap_err(), StreamError::Unprocessed);
    drop(first);
    assert!(opener.open(request(&Method::GET, &fields), true).is_ok());
}

#[test]
fn interim_answers_have_a_bound() {
    let mut raw = Raw::server(config());
    let (_sending, mut receiving) = raw.open(&Method::GET, true);
    for _ in 0..16 {
        raw.answer(1, NO, 103, &[]);
    }
    assert_eq!(raw.told(), Told::Nothing);
    raw.answer(1, NO, 103, &[]);
    assert_eq!(raw.told(), Told::Reset(1, Code::ENHANCE_YOUR_CALM));
    for _ in 0..16 {
        assert_eq!(now(|cx| receiving.poll_head(cx)).unwrap().unwrap().status.as_u16(), 103);
    }
    assert!(now(|cx| receiving.poll_head(cx)).unwrap().is_err());
    let mut raw = Raw::server(config());
    let _stream = raw.open(&Method::GET, true);
    raw.answer(1, END_STREAM, 103, &[]);
    assert_eq!(raw.told(), Told::Reset(1, Code::PROTOCOL_ERROR), "an interim answer that ends");
    let mut raw = Raw::server(config());
    let _stream = raw.open(&Method::GET, true);
    raw.put(Kind::Data, NO, 1, b"x");
    assert_eq!(raw.told(), Told::Reset(1, Code::PROTOCOL_ERROR), "data before a head");
}

#[test]
fn what_a_stream_is_told_of_its_end() {
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.put(Kind::Data, NO, 1, b"abc");
    let mut incoming = raw.engine.accept().unwrap();
    let bells = [Bell::rung(), Bell::rung()];
    let wakers = bells.clone().map(Waker::from);
    bells.iter().for_each(|bell| _ = bell.take());
    assert!(incoming.sending.poll_ended(&mut Context::from_waker(&wakers[0])).is_pending());
    assert!(now(|cx| incoming.receiving.poll_data(cx)).is_some());
    assert!(incoming.receiving.poll_data(&mut Context::from_waker(&wakers[1])).is_pending());
    raw.put(Kind::RstStream, NO, 1, &[0, 0, 0, 8]);
    assert!(bells.iter().all(|bell| bell.take()));
    let reset = StreamError::Reset(Code::CANCEL);
    assert_eq!(now(|cx| incoming.sending.poll_ended(cx)), Some(reset));
    assert_eq!(now(|cx| incoming.receiving.poll_data(cx)), Some(Some(Err(reset))));
    assert!(!incoming.receiving.is_end());
}

#[test]
fn what_is_let_go_of_is_reset() {
    for (ends, answered, code) in [
        (true, false, Some(Code::CANCEL)),
        (false, false, Some(Code::CANCEL)),
        (false, true, Some(Code::NO_ERROR)), // the answer is whole: the rest of the request is not wanted
        (true, true, None),
    ] {
        let mut raw = Raw::client(config());
        raw.ask(1, if ends { END_STREAM } else { NO }, &[]);
        let mut incoming = raw.engine.accept().unwrap();
        if answered {
            incoming.sending.respond(StatusCode::OK, &Fields::new(), true).unwrap();
        }
        drop(incoming);
        assert_eq!(raw.told(), code.map_or(Told::Nothing, |code| Told::Reset(1, code)), "{ends} {answered}");
        raw.engine.assert_empty();
    }
}

#[test]
fn resets_that_a_client_asks_for_are_counted() {
    let limit = Allowance { resets: Some(10), control: 10_000 };
    // Each of these has us reset a stream.
    type Makes = fn(&mut Raw, u32);
    let ways: [Makes; 5] = [
        |raw, stream| {
            raw.ask(stream, END_STREAM, &[]);
            raw.window(stream, 0);
        },
        |raw, stream| {
            raw.ask(stream, END_STREAM, &[]);
            raw.window(stream, MOST_31_BITS);
        },
        |raw, stream| {
            raw.ask(stream, END_STREAM, &[]);
            raw.put(Kind::Data, NO, stream, b"x");
        },
        |raw, stream| raw.ask(stream, END_STREAM, &[("content-length", "x")]),
        |raw, stream| {
            raw.ask(stream, END_STREAM, &[]);
            raw.put(Kind::Priority, NO, stream, &[0]);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut raw = Raw::client(Config { allowance: limit, ..config() });
        for round in 0..50 {
            way(&mut raw, round * 2 + 1);
        }
        assert_eq!(raw.engine.ended(), Some(End::Flood(Flood::Resets)), "{number}");
        assert!(raw.out().len() < 40, "{number}");
    }
}

#[test]
fn a_block_in_many_frames() {
    let mut raw = Raw::client(config());
    let block = raw.block(|block| {
        block.method(&Method::GET);
        block.pseudo(Pseudo::Scheme, b"http");
        block.pseudo(Pseudo::Path, b"/");
    });
    raw.put(Kind::Headers, END_STREAM, 1, &block[..1]);
    raw.put(Kind::Continuation, NO, 1, b"");
    raw.put(Kind::Continuation, END_HEADERS, 1, &block[1..]);
    let incoming = raw.engine.accept().unwrap();
    assert!(incoming.receiving.is_end());
    raw.put(Kind::Headers, END_STREAM, 3, &block[..1]);
    raw.put(Kind::Ping, NO, 0, &[0; 8]);
    assert_eq!(raw.told(), Told::Gone(Code::PROTOCOL_ERROR));
}

#[test]
fn floods_of_control_frames_end_the_connection() {
    let few = Allowance { resets: Some(10), control: 100 };
    for (kind, flags, stream, payload) in [
        (Kind::Ping, NO, 0, &[0; 8][..]),
        (Kind::Settings, NO, 0, &[]),
        (Kind::Data, NO, 1, &[]),
        (Kind::Data, PADDED, 1, &[3, 0, 0, 0]),
        (Kind::WindowUpdate, NO, 0, &[0, 0, 0, 1]),
        (Kind::Priority, NO, 9, &[0, 0, 0, 0, 0]),
        (Kind::Unknown(0x42), NO, 0, &[]),
        (Kind::Ping, ACK, 0, &[0; 8]),
    ] {
        let mut raw = Raw::client(Config { allowance: few, ..config() });
        raw.ask(1, NO, &[]);
        let _incoming = raw.engine.accept();
        let frame = bytes_of(kind, flags, stream, payload);
        for _ in 0..1_000 {
            raw.engine.receive(&frame);
        }
        assert!(matches!(raw.engine.ended(), Some(End::Flood(_))), "{kind:?}");
        assert!(raw.engine.0.borrow().output.len() < 5_000);
    }
}

#[test]
fn a_ping_is_answered_and_the_first_frame_is_settings() {
    let mut raw = Raw::client(config());
    raw.put(Kind::Ping, NO, 0, b"12345678");
    let out = raw.out();
    assert_eq!((out[0].kind, out[0].flags, &out[0].payload[..]), (Kind::Ping, ACK, &b"12345678"[..]));
    let engine = Connection::server(config());
    engine.receive(PREFACE);
    let mut ping = Vec::new();
    payload::put_ping(&mut ping, [0; 8], false);
    engine.receive(&ping);
    assert!(matches!(engine.ended(), Some(End::Violation(_))));
    let engine = Connection::server(config());
    engine.receive(b"GET / HTTP/1.1\r\n");
    assert!(matches!(engine.ended(), Some(End::Violation(_))));
}
