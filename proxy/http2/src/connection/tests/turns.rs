//! Who may send next: streams have their turns, and no turn is lost.

use super::{
    together::{Dice, World},
    *,
};
use crate::frame::{END_STREAM, HEAD_BYTES};
use http::StatusCode;
use std::{cell::RefCell, future::poll_fn};

/// How much of 50 endless answers has been sent, once 6 MB were.
fn shares(client: Config, step: usize) -> Vec<usize> {
    const STREAMS: usize = 50;
    let sent = Rc::new(RefCell::new(Vec::new()));
    let counted = sent.clone();
    let mut world = World::new(client, config(), Dice::new(7), step, move |incoming| {
        let (sent, number) = (counted.clone(), counted.borrow().len());
        sent.borrow_mut().push(0);
        let Incoming { mut sending, receiving, .. } = incoming;
        Box::pin(async move {
            let _kept = receiving;
            sending.respond(StatusCode::OK, &Fields::new(), false).unwrap();
            loop {
                let room = poll_fn(|cx| sending.poll_room(cx)).await.unwrap();
                sending.data(vec![0; room].into(), false).unwrap();
                sent.borrow_mut()[number] += room;
            }
        })
    });
    let opener = world.client().opener();
    for _ in 0..STREAMS {
        let (sending, mut receiving) = opener.open(request(&Method::GET, &Fields::new()), true).unwrap();
        world.spawn(Box::pin(async move {
            let _sending = sending;
            while let Some(Ok(_)) = poll_fn(|cx| receiving.poll_data(cx)).await {}
        }));
    }
    world.run(|| sent.borrow().iter().sum::<usize>() > 6_000_000);
    let sent = sent.borrow().clone();
    assert_eq!(sent.len(), STREAMS);
    sent
}

#[test]
fn all_have_their_share() {
    let large = 1 << 20;
    for (stream_window, connection_window) in [(65_535, 65_535), (large, 65_535), (large, 4 * large)] {
        for step in [3_000, 16_384, 200_000] {
            let shares = shares(Config { stream_window, connection_window, ..config() }, step);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(
                *most <= 4 * least,
                "from {least} to {most}: windows {stream_window}, {connection_window}, writes {step}"
            );
        }
    }
}

/// Streams of a server that all wait for the connection's window, and who was woken.
struct Waiting {
    raw: Raw,
    streams: Vec<Incoming>,
    bells: Vec<Arc<Bell>>,
}

impl Waiting {
    /// Each in line, in this order.
    fn begin(streams: u32) -> Self {
        let mut raw = Raw::client(config());
        for number in 0..=streams {
            raw.ask(number * 2 + 1, if number > 0 { END_STREAM } else { 0 }, &[]);
        }
        raw.greet(&Settings { initial_window_size: Some(1 << 20), ..Settings::default() });
        let mut incoming: Vec<_> = std::iter::from_fn(|| raw.engine.accept()).collect();
        let mut first = incoming.remove(0);
        while let Some(room) = now(|cx| first.sending.poll_room(cx)) {
            first.sending.data(vec![0; room.unwrap()].into(), false).unwrap();
            raw.out();
        }
        drop(first);
        raw.out();
        let bells: Vec<_> = incoming.iter().map(|_| Bell::rung()).collect();
        let mut waiting = Waiting { raw, streams: incoming, bells };
        for number in 0..waiting.streams.len() {
            assert_eq!(waiting.room(number), None);
        }
        waiting
    }

    fn room(&mut self, number: usize) -> Option<usize> {
        self.bells[number].take();
        let waker = Waker::from(self.bells[number].clone());
        match self.streams[number].sending.poll_room(&mut Context::from_waker(&waker)) {
            Poll::Ready(room) => Some(room.unwrap()),
            Poll::Pending => None,
        }
    }

    fn send(&mut self, number: usize, length: usize) {
        self.streams[number].sending.data(vec![0; length].into(), false).unwrap();
    }

    fn woken(&self) -> Vec<usize> {
        let woken = self.bells.iter().enumerate().filter(|(_, bell)| bell.0.load(Ordering::Relaxed));
        woken.map(|(number, _)| number).collect()
    }
}

#[test]
fn turns_go_round() {
    let mut waiting = Waiting::begin(3);
    waiting.raw.window(0, 1_000);
    assert_eq!(waiting.woken(), [0]);
    assert_eq!(waiting.room(1), None, "it is not its turn");
    assert_eq!(waiting.room(0), Some(1_000));
    waiting.send(0, 400);
    assert_eq!(waiting.woken(), [1]);
    assert_eq!(waiting.room(0), None, "others wait");
    assert_eq!(waiting.room(1), Some(600));
    waiting.send(1, 600);
    assert_eq!(waiting.woken(), [0_usize; 0]);
    waiting.raw.window(0, 100_000);
    assert_eq!(waiting.woken(), [2]);
    assert_eq!(waiting.room(2), Some(FRAME));
    waiting.send(2, FRAME);
    assert_eq!(waiting.woken(), [0], "and again");
}

/// Whoever is told what it could send may read so much, and has it gone at once.
#[test]
fn what_was_said_of_the_room_holds() {
    let mut waiting = Waiting::begin(2);
    waiting.raw.window(0, 1 << 20);
    assert_eq!(waiting.streams[0].sending.outlook(), 0, "it has to wait for its turn");
    assert_eq!(waiting.room(0), Some(FRAME), "others wait");
    waiting.send(0, FRAME);
    assert_eq!(waiting.room(1), Some(DATA_WATER - FRAME - HEAD_BYTES), "nobody else waits");
    waiting.send(1, DATA_WATER - 2 * FRAME);
    assert_eq!((waiting.streams[0].sending.outlook(), waiting.room(0)), (0, None), "what is left is little");
    waiting.raw.out();
    assert_eq!(waiting.woken(), [0]);
    assert_eq!(waiting.room(0), Some(DATA_WATER), "for several frames");
    waiting.send(0, DATA_WATER);
    let frames = waiting.raw.out();
    let data = frames.iter().filter(|frame| frame.kind == Kind::Data);
    assert_eq!(data.count(), DATA_WATER.div_ceil(FRAME));
    assert_eq!(waiting.streams[0].sending.outlook(), DATA_WATER);
}

#[test]
fn a_turn_may_have_parts() {
    let mut waiting = Waiting::begin(2);
    waiting.raw.window(0, 1_000);
    assert_eq!(waiting.room(0), Some(1_000));
    waiting.streams[0].sending.more(vec![0; 300].into()).unwrap();
    assert_eq!((waiting.woken(), waiting.room(1)), (vec![], None));
    waiting.streams[0].sending.more(vec![0; 300].into()).unwrap();
    waiting.streams[0].sending.pass();
    assert_eq!((waiting.woken(), waiting.room(1)), (vec![1], Some(400)));
}

/// Nobody who has the turn keeps it back: the next is woken.
#[test]
fn no_turn_is_lost() {
    type Leaves = fn(&mut Waiting);
    let ways: [(&str, Leaves); 8] = [
        ("passed on", |waiting| waiting.streams[0].sending.pass()),
        ("reset", |waiting| waiting.streams[0].sending.reset(Code::CANCEL)),
        ("reset by the peer", |waiting| waiting.raw.put(Kind::RstStream, 0, 3, &[0, 0, 0, 8])),
        ("ended", |waiting| waiting.streams[0].sending.data(Bytes::new(), true).unwrap()),
        ("ended by trailers", |waiting| waiting.streams[0].sending.trailers(&HeaderMap::new()).unwrap()),
        ("let go", |waiting| drop(waiting.streams.remove(0))),
        ("its own window is gone", |waiting| {
            waiting.raw.greet(&Settings { initial_window_size: Some(0), ..Settings::default() });
            for stream in [5, 7] {
                waiting.raw.window(stream, 10_000);
            }
            assert_eq!(waiting.room(0), None);
        }),
        ("half let go", |waiting| {
            let Incoming { sending, receiving, .. } = waiting.streams.remove(0);
            drop(sending);
            std::mem::forget(receiving);
        }),
    ];
    for (way, leave) in ways {
        for before in [true, false] {
            let mut waiting = Waiting::begin(3);
            if before {
                leave(&mut waiting);
                waiting.raw.window(0, 1_000);
            } else {
                waiting.raw.window(0, 1_000);
                leave(&mut waiting);
            }
            if waiting.streams.len() == 2 {
                waiting.bells.remove(0);
                waiting.streams.insert(0, waiting_stub(&mut waiting.raw));
                waiting.bells.insert(0, Bell::rung());
            }
            assert!(waiting.bells[1].0.load(Ordering::Relaxed), "{way}, {before}");
            assert_eq!(waiting.room(1), Some(1_000), "{way}, {before}");
        }
    }
}

/// Any stream.
fn waiting_stub(raw: &mut Raw) -> Incoming {
    raw.ask(101, END_STREAM, &[]);
    raw.engine.accept().unwrap()
}

#[test]
fn no_turn_is_lost_to_a_peer_that_leaves() {
    let mut raw = Raw::server(config());
    let mut streams: Vec<_> = (0..3).map(|_| raw.open(&Method::POST, false)).collect();
    for (_, receiving) in &streams {
        assert!(!receiving.is_end());
    }
    raw.greet(&Settings { initial_window_size: Some(1 << 20), ..Settings::default() });
    // The third has its turn first.
    while let Some(room) = now(|cx| streams[1].0.poll_room(cx)) {
        streams[1].0.data(vec![0; room.unwrap()].into(), false).unwrap();
        raw.out();
    }
    streams.swap(1, 2);
    let mut gone = streams.remove(1).0;
    let bell = Bell::rung();
    streams[1].0.data(Bytes::new(), true).unwrap();
    assert!(now(|cx| gone.poll_room(cx)).is_none());
    assert!(streams[0].0.poll_room(&mut Context::from_waker(&Waker::from(bell.clone()))).is_pending());
    bell.take();
    raw.window(0, 1_000);
    raw.put(Kind::GoAway, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert!(bell.take());
    assert_eq!(now(|cx| streams[0].0.poll_room(cx)), Some(Ok(1_000)));
}

#[test]
fn a_line_is_no_longer_than_there_are_streams() {
    let mut waiting = Waiting::begin(2);
    for round in 0..1_000 {
        let stream = 101 + round * 2;
        waiting.raw.ask(stream, END_STREAM, &[]);
        let mut incoming = waiting.raw.engine.accept().unwrap();
        assert!(now(|cx| incoming.sending.poll_room(cx)).is_none());
        waiting.raw.put(Kind::RstStream, 0, stream, &[0, 0, 0, 8]);
    }
    assert!(waiting.raw.engine.0.borrow().waiting.len() <= 3);
}
