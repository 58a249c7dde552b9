//! The engine, seen from the other end of its bytes.

mod hostile;
mod leaving;
mod states;
mod together;
mod turns;
mod windows;

use super::*;
use crate::{
    frame::{END_HEADERS, Head, Kind, PREFACE, settings},
    hpack::{Block, Pseudo},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sidle_fields::Fields;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake},
};

/// What a connection keeps while it waits, and an open stream besides. Who makes them larger makes every connection or every stream dearer.
#[test]
fn connections_and_streams_take_little_room() {
    let sizes = [
        ("a connection", size_of::<Core>(), 896),
        ("a place for a stream", size_of::<stream::Stream>(), 208),
        ("a request that waits", size_of::<heads::Waiting>(), 264),
        ("the encoder's index", crate::hpack::Encoder::index_bytes(), 1280),
    ];
    let large: Vec<_> = sizes.iter().filter(|(_, size, most)| size > most).collect();
    assert!(large.is_empty(), "{large:?} of {sizes:?}");
}

fn config() -> Config {
    Config {
        stream_window: 65_535,
        connection_window: 65_535,
        max_streams: 100,
        max_list: 16 << 10,
        allowance: Allowance { resets: Some(1_000), control: 10_000 },
        host: Host { clock: || Duration::ZERO, buffers: Buffers { take: Vec::new, give_back: drop } },
    }
}

/// Knows whether it was woken.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung() -> Arc<Bell> {
        Arc::new(Bell(AtomicBool::new(true)))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// All that waits to be written, `most` bytes of it.
fn written(connection: &Connection, most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = connection.write(|pieces| {
        let room = most - out.len();
        if room == 0 {
            return Poll::Pending;
        }
        let before = out.len();
        for piece in pieces {
            let step = piece.len().min(most - out.len());
            out.extend_from_slice(&piece[..step]);
        }
        Poll::Ready(Ok(out.len() - before))
    });
    out
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: Kind,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let head = Head::parse(*head);
        head.check(LEAST_MAX_FRAME_SIZE).unwrap();
        let (payload, rest) = rest.split_at(head.length as usize);
        all.push(Frame {
            kind: head.kind,
            flags: head.flags,
            stream: head.stream,
            payload: payload.to_vec(),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

/// What the peer is told that something was wrong.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Reset(u32, Code),
    Gone(Code),
}

/// The other end, frame by frame.
struct Raw {
    engine: Connection,
    encoder: Encoder,
}

impl Raw {
    /// Of a server that has greeted.
    fn client(config: Config) -> Self {
        let mut raw = Raw { engine: Connection::server(config), encoder: Encoder::new(Huffman::default()) };
        raw.engine.receive(PREFACE);
        raw.greet(&Settings::default());
        raw
    }

    /// Of a client that has greeted.
    fn server(config: Config) -> Self {
        let mut raw = Raw { engine: Connection::client(config), encoder: Encoder::new(Huffman::default()) };
        written(&raw.engine, usize::MAX); // begins with the preface
        raw.greet(&Settings::default());
        raw
    }

    fn greet(&mut self, settings: &Settings) {
        let mut out = Vec::new();
        settings.put(&mut out);
        settings::put_acknowledgement(&mut out);
        self.engine.receive(&out);
        self.out();
    }

    fn put(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.engine.receive(&bytes_of(kind, flags, stream, payload));
    }

    fn window(&mut self, stream: u32, more: u32) {
        self.put(Kind::WindowUpdate, 0, stream, &more.to_be_bytes());
    }

    fn block(&mut self, write: impl FnOnce(&mut Block<'_>)) -> Vec<u8> {
        let mut block = Vec::new();
        write(&mut self.encoder.block(&mut block));
        block
    }

    /// A request; its head alone if `flags` do not end it.
    fn ask(&mut self, stream: u32, flags: u8, fields: &[(&'static str, &'static str)]) {
        let block = self.block(|block| {
            block.method(&Method::POST);
            block.pseudo(Pseudo::Scheme, b"http");
            block.pseudo(Pseudo::Path, b"/");
            put_fields(block, fields);
        });
        self.put(Kind::Headers, flags | END_HEADERS, stream, &block);
    }

    fn answer(&mut self, stream: u32, flags: u8, status: u16, fields: &[(&'static str, &'static str)]) {
        let block = self.block(|block| {
            block.status(http::StatusCode::from_u16(status).unwrap());
            put_fields(block, fields);
        });
        self.put(Kind::Headers, flags | END_HEADERS, stream, &block);
    }

    fn trailers(&mut self, stream: u32, flags: u8) {
        let block = self.block(|block| put_fields(block, &[("x-trailer", "1")]));
        self.put(Kind::Headers, flags | END_HEADERS, stream, &block);
    }

    fn out(&mut self) -> Vec<Frame> {
        frames(&written(&self.engine, usize::MAX))
    }

    fn told(&mut self) -> Told {
        told(&self.out())
    }

    fn open(&self, method: &Method, ends: bool) -> (Sending, Receiving) {
        self.engine.opener_for_tests().open(request(method, &Fields::new()), ends).unwrap()
    }

    fn send_window(&self) -> usize {
        self.engine.0.borrow().send_window.available()
    }
}

fn told(out: &[Frame]) -> Told {
    let code = |bytes: &[u8]| Code(u32::from_be_bytes(bytes.try_into().unwrap()));
    for frame in out {
        match frame.kind {
            Kind::GoAway => return Told::Gone(code(&frame.payload[4..8])),
            Kind::RstStream => return Told::Reset(frame.stream, code(&frame.payload)),
            _ => {}
        }
    }
    Told::Nothing
}

fn bytes_of(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Head { length: payload.len() as u32, kind, flags, stream }.put(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn put_fields(block: &mut Block<'_>, fields: &[(&'static str, &'static str)]) {
    for (name, value) in fields {
        block.field(&HeaderName::from_static(name), &HeaderValue::from_static(value));
    }
}

fn request<'a>(method: &'a Method, headers: &'a Fields) -> Request<'a> {
    Request { method, scheme: "http", authority: "a", path: "/", headers }
}

impl Connection {
    /// One that does not end the connection when it is dropped.
    fn opener_for_tests(&self) -> std::mem::ManuallyDrop<Opener> {
        std::mem::ManuallyDrop::new(self.opener())
    }

    /// No stream is left, and nothing of one.
    fn assert_empty(&self) {
        let core = self.0.borrow();
        assert_eq!(core.table.active(), 0, "streams are open");
        assert_eq!(core.table.held(), 0, "places are held");
        assert!(core.waiting.is_empty(), "{:?}", core.waiting);
        assert!(core.requests.is_empty());
    }

    /// What the peer may send, and what it is to be told that it may: all.
    fn assert_window_is_whole(&self) {
        let core = self.0.borrow();
        let announced = core.config.connection_window.max(DEFAULT_WINDOW) as usize;
        assert_eq!(core.receive_window.available() + core.taken as usize, announced);
    }
}
