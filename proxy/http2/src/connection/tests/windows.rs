//! Windows, padding, and data that is cut anywhere.

use super::*;
use crate::frame::{END_STREAM, PADDED};
use http::StatusCode;
use proptest::prelude::*;

const NO: u8 = 0;

#[test]
fn padding_counts_and_is_given_back() {
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    let mut incoming = raw.engine.accept().unwrap();
    for (payload, wanted) in
        [(&[2, b'a', b'b', 0, 0][..], "ab"), (&[0, b'c'], "c"), (&[3, 0, 0, 0], ""), (&[0], "")]
    {
        for byte in bytes_of(Kind::Data, PADDED, 1, payload) {
            raw.engine.receive(&[byte]);
        }
        let mut got = Vec::new();
        while let Some(Some(Ok(data))) = now(|cx| incoming.receiving.poll_data(cx)) {
            got.extend_from_slice(&data);
        }
        assert_eq!(got, wanted.as_bytes());
        raw.engine.assert_window_is_whole();
    }
    assert_eq!(raw.told(), Told::Nothing);
    raw.put(Kind::Data, PADDED, 1, &[4, 0, 0, 0]);
    assert_eq!(raw.told(), Told::Gone(Code::PROTOCOL_ERROR));
}

#[test]
fn padding_needs_its_length() {
    // Else frames with nothing in them would be free.
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.put(Kind::Data, PADDED, 1, &[]);
    assert_eq!(raw.told(), Told::Gone(Code::FRAME_SIZE_ERROR));
}

#[test]
fn windows_have_a_bound() {
    let most = MOST_31_BITS - DEFAULT_WINDOW;
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.window(1, most);
    raw.window(0, most);
    assert_eq!(raw.told(), Told::Nothing);
    raw.window(1, 1);
    assert_eq!(raw.told(), Told::Reset(1, Code::FLOW_CONTROL_ERROR));
    raw.window(0, 1);
    assert_eq!(raw.told(), Told::Gone(Code::FLOW_CONTROL_ERROR));
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.window(1, most);
    raw.greet(&Settings { initial_window_size: Some(DEFAULT_WINDOW + 1), ..Settings::default() });
    assert_eq!(raw.engine.ended().map(|end| matches!(end, End::Violation(_))), Some(true));
}

#[test]
fn more_than_a_window_ends_what_it_is_of() {
    let mut raw = Raw::client(Config { stream_window: 10, ..config() });
    raw.ask(1, NO, &[]);
    let incoming = raw.engine.accept();
    raw.put(Kind::Data, NO, 1, &[0; 10]);
    assert_eq!(raw.told(), Told::Nothing);
    raw.put(Kind::Data, NO, 1, &[0; 1]);
    assert_eq!(raw.told(), Told::Reset(1, Code::FLOW_CONTROL_ERROR));
    drop(incoming);
    raw.engine.assert_window_is_whole();
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.ask(3, NO, &[]);
    for _ in 0..4 {
        raw.put(Kind::Data, NO, 1, &[0; 16_000]);
    }
    assert_eq!(raw.told(), Told::Nothing);
    raw.put(Kind::Data, NO, 3, &[0; 16_000]);
    assert_eq!(raw.told(), Told::Gone(Code::FLOW_CONTROL_ERROR));
}

#[test]
fn a_window_that_settings_made_less_than_nothing() {
    let mut raw = Raw::client(config());
    raw.ask(1, END_STREAM, &[]);
    let mut sending = raw.engine.accept().unwrap().sending;
    sending.respond(StatusCode::OK, &Fields::new(), false).unwrap();
    sending.data(Bytes::from_static(&[0; 1_000]), false).unwrap();
    raw.greet(&Settings { initial_window_size: Some(100), ..Settings::default() });
    let bell = Bell::rung();
    let waker = Waker::from(bell.clone());
    let room = |sending: &mut Sending| {
        bell.take();
        sending.poll_room(&mut Context::from_waker(&waker))
    };
    assert!(room(&mut sending).is_pending(), "-900");
    raw.window(1, 900);
    assert!(room(&mut sending).is_pending(), "0");
    raw.window(1, 1);
    assert!(bell.take());
    assert_eq!(room(&mut sending), Poll::Ready(Ok(1)));
    raw.greet(&Settings { initial_window_size: Some(200), ..Settings::default() });
    assert_eq!(room(&mut sending), Poll::Ready(Ok(101)));
    sending.data(Bytes::from_static(&[0; 101]), true).unwrap();
    assert_eq!(raw.out().len(), 1);
    assert_eq!(raw.send_window(), 65_535 - 1_101);
}

#[test]
fn what_others_hold_does_not_keep_a_window_shut() {
    // Nobody takes what stream 1 was sent. What is taken of stream 3 has to be told before the window is at its end.
    let mut raw = Raw::client(config());
    raw.ask(1, NO, &[]);
    raw.ask(3, NO, &[]);
    let _held = raw.engine.accept().unwrap();
    let mut taken = raw.engine.accept().unwrap();
    for _ in 0..4 {
        raw.put(Kind::Data, NO, 1, &[0; 10_000]);
    }
    let mut may = 65_535 - 40_000_i64;
    for _ in 0..20 {
        let step = may.min(10_000);
        assert!(step > 0, "the peer can send nothing more");
        raw.put(Kind::Data, NO, 3, &vec![0; step as usize]);
        may -= step;
        while let Some(Some(Ok(_))) = now(|cx| taken.receiving.poll_data(cx)) {}
        for frame in raw.out() {
            if (frame.kind, frame.stream) == (Kind::WindowUpdate, 0) {
                may += i64::from(u32::from_be_bytes(frame.payload.try_into().unwrap()));
            }
        }
    }
}

#[test]
fn what_was_taken_is_told_when_others_use_the_window_up() {
    let mut raw = Raw::client(Config { stream_window: 1 << 20, ..config() });
    raw.ask(1, NO, &[]);
    raw.ask(3, NO, &[]);
    let mut taken = raw.engine.accept().unwrap();
    let _held = raw.engine.accept().unwrap();
    for _ in 0..3 {
        raw.put(Kind::Data, NO, 1, &[0; 10_000]);
    }
    while let Some(Some(Ok(_))) = now(|cx| taken.receiving.poll_data(cx)) {}
    assert_eq!(raw.out().len(), 0, "there is enough");
    for size in [16_000, 16_000, 3_535] {
        raw.put(Kind::Data, NO, 3, &vec![0; size]);
    }
    let told: Vec<_> = raw.out().into_iter().filter(|frame| frame.stream == 0).collect();
    assert!(told.iter().any(|frame| frame.kind == Kind::WindowUpdate), "{told:?}");
}

#[test]
fn output_full_of_data_keeps_nobody_from_reading() {
    let mut raw = Raw::client(config());
    raw.put(Kind::WindowUpdate, NO, 0, &(1_u32 << 30).to_be_bytes());
    raw.ask(1, NO, &[]);
    raw.window(1, 1 << 30);
    let mut incoming = raw.engine.accept().unwrap();
    incoming.sending.respond(http::StatusCode::OK, &Fields::new(), false).unwrap();
    while let Some(Ok(room)) = now(|cx| incoming.sending.poll_room(cx)) {
        incoming.sending.data(Bytes::from(vec![0; room]), false).unwrap();
    }
    assert!(raw.engine.wants_input());
    raw.put(Kind::RstStream, NO, 1, &8_u32.to_be_bytes());
    assert_eq!(now(|cx| incoming.sending.poll_ended(cx)), Some(StreamError::Reset(Code::CANCEL)));
    for _ in 0..10_000 {
        raw.put(Kind::Ping, NO, 0, b"say this");
    }
    assert!(!raw.engine.wants_input(), "but answers do");
}

#[test]
fn a_small_connection_window_is_the_least_there_is() {
    let mut raw = Raw::client(Config { connection_window: 0, ..config() });
    raw.ask(1, NO, &[]);
    let mut incoming = raw.engine.accept().unwrap();
    raw.put(Kind::Data, NO, 1, &[0; 10]);
    assert!(now(|cx| incoming.receiving.poll_data(cx)).is_some());
    drop(incoming);
    raw.engine.assert_window_is_whole();
    assert!(raw.out().iter().all(|frame| frame.kind != Kind::WindowUpdate), "there is no need");
}

proptest! {
    #[test]
    fn data_may_be_cut_anywhere(
        bodies in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), any::<Option<u8>>()), 1..8),
        cuts in proptest::collection::vec(1_usize..20, 1..20),
    ) {
        let mut raw = Raw::client(config());
        raw.ask(1, NO, &[]);
        let mut incoming = raw.engine.accept().unwrap();
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for (body, padding) in &bodies {
            wanted.extend_from_slice(body);
            bytes.extend(match padding {
                None => bytes_of(Kind::Data, NO, 1, body),
                Some(padding) => {
                    let payload = [&[*padding][..], body, &vec![0; usize::from(*padding)]].concat();
                    bytes_of(Kind::Data, PADDED, 1, &payload)
                }
            });
        }
        bytes.extend(bytes_of(Kind::Data, END_STREAM, 1, b""));
        let (mut rest, mut cuts, mut got) = (&bytes[..], cuts.into_iter().cycle(), Vec::new());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            raw.engine.receive(piece);
            rest = after;
            if piece.len() % 2 == 0 && let Some(Some(Ok(data))) = now(|cx| incoming.receiving.poll_data(cx)) {
                got.extend_from_slice(&data);
            }
        }
        while let Some(Some(Ok(data))) = now(|cx| incoming.receiving.poll_data(cx)) {
            got.extend_from_slice(&data);
        }
        prop_assert_eq!(got, wanted);
        prop_assert!(incoming.receiving.is_end());
        raw.engine.assert_window_is_whole();
    }
}
