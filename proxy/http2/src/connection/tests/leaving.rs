//! How connections end, and what is left then.

use super::*;
use crate::frame::{ACK, END_STREAM};
use http::StatusCode;

const NO: u8 = 0;

#[test]
fn a_client_is_drained() {
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    let mut incoming = raw.engine.accept().unwrap();
    raw.engine.drain();
    let out = raw.out();
    assert_eq!((out[0].kind, &out[0].payload[..4]), (Kind::GoAway, &[0x7f, 0xff, 0xff, 0xff][..]));
    raw.ask(3, END_STREAM, &[]); // sent before it knew
    raw.put(Kind::Ping, ACK, 0, b"not that");
    raw.put(Kind::Ping, ACK, 0, &out[1].payload);
    let out = raw.out();
    assert_eq!((out[0].kind, &out[0].payload[..4]), (Kind::GoAway, &[0, 0, 0, 3][..]));
    raw.ask(5, NO, &[]);
    raw.put(Kind::Data, NO, 5, b"x");
    raw.trailers(5, END_STREAM);
    assert_eq!(raw.told(), Told::Nothing, "what comes too late is ignored, all of it");
    drop(raw.engine.accept().unwrap());
    assert!(raw.engine.accept().is_none());
    raw.put(Kind::Data, END_STREAM, 1, b"x");
    assert!(!raw.engine.is_done());
    incoming.sending.respond(StatusCode::OK, &Fields::new(), true).unwrap();
    assert!(raw.engine.is_done());
    raw.engine.end(Code::NO_ERROR);
    let last = raw.out().pop().unwrap();
    assert_eq!((last.kind, &last.payload[..4]), (Kind::GoAway, &[0, 0, 0, 3][..]), "never more than before");
}

#[test]
fn a_client_that_does_not_answer_is_drained_all_the_same() {
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    let _held = raw.engine.accept().unwrap();
    raw.engine.drain();
    raw.out();
    raw.engine.drain();
    let last = raw.out().pop().unwrap();
    assert_eq!((last.kind, &last.payload[..4]), (Kind::GoAway, &[0, 0, 0, 1][..]));
    raw.ask(3, NO, &[]);
    assert!(raw.engine.accept().is_none());
    raw.engine.drain();
    assert!(raw.out().is_empty(), "all is said");
}

#[test]
fn what_nobody_waits_for_is_not_free() {
    let floods: [fn(&mut Raw); 2] = [
        |raw| raw.put(Kind::Ping, ACK, 0, b"not that"),
        |raw| raw.put(Kind::Data, END_STREAM, 1, b""), // of a stream that we have reset
    ];
    for flood in floods {
        let mut raw = Raw::client(config());
        raw.ask(1, NO, &[]);
        drop(raw.engine.accept().unwrap());
        raw.engine.drain();
        for _ in 0..20_000 {
            flood(&mut raw);
        }
        assert!(matches!(raw.engine.ended(), Some(End::Flood(_))));
    }
}

#[test]
fn streams_end_with_whoever_drives() {
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    let mut incoming = raw.engine.accept().unwrap();
    drop(raw);
    assert_eq!(now(|cx| incoming.sending.poll_ended(cx)), Some(StreamError::Closed));
}

#[test]
fn whoever_drives_hears_of_draining_and_of_the_end() {
    let ways: [fn(&Connection); 3] =
        [Connection::drain, |connection| connection.end(Code::NO_ERROR), Connection::lost];
    for way in ways {
        let (raw, bell) = (Raw::client(config()), Bell::rung());
        raw.engine.watch(&Waker::from(bell.clone()));
        bell.take();
        way(&raw.engine);
        assert!(bell.take());
    }
}

#[test]
fn a_server_that_leaves() {
    let mut raw = Raw::server(config());
    let (_s1, mut first) = raw.open(&Method::GET, true);
    let (mut s3, mut second) = raw.open(&Method::POST, false);
    raw.put(Kind::GoAway, NO, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(now(|cx| second.poll_head(cx)).unwrap().unwrap_err(), StreamError::Unprocessed);
    assert_eq!(s3.data(Bytes::from_static(b"x"), true), Err(StreamError::Unprocessed));
    assert!(!raw.engine.opener_for_tests().is_open());
    assert!(!raw.engine.is_done());
    raw.answer(1, END_STREAM, 200, &[]);
    assert!(now(|cx| first.poll_head(cx)).unwrap().is_ok());
    assert!(raw.engine.is_done());
}

#[test]
fn nothing_is_looked_at_after_the_end() {
    let mut raw = Raw::client(config());
    raw.ask(1, END_STREAM, &[]);
    raw.put(Kind::Data, NO, 0, b"");
    raw.ask(3, END_STREAM, &[]);
    assert!(raw.engine.accept().is_none());
    assert!(raw.engine.is_done() && !raw.engine.wants_input());
    raw.engine.assert_empty();
}

#[test]
fn handles_after_the_end() {
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.put(Kind::Data, NO, 1, &[1; 1_000]);
    let mut incoming = raw.engine.accept().unwrap();
    raw.engine.lost();
    assert_eq!(now(|cx| incoming.sending.poll_ended(cx)), Some(StreamError::Closed));
    assert_eq!(now(|cx| incoming.sending.poll_room(cx)), Some(Err(StreamError::Closed)));
    let sent = incoming.sending.respond(StatusCode::OK, &Fields::new(), true);
    assert_eq!(sent, Err(StreamError::Closed));
    incoming.sending.reset(Code::CANCEL);
    let data = now(|cx| incoming.receiving.poll_data(cx)).unwrap().unwrap();
    assert_eq!(data.map(|data| data.len()), Ok(1_000), "what has come is still there");
    assert_eq!(now(|cx| incoming.receiving.poll_data(cx)).unwrap(), Some(Err(StreamError::Closed)));
    drop(incoming);
    raw.engine.assert_empty();
    raw.engine.assert_window_is_whole();
}
