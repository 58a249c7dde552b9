//! What an HTTP/2 connection comes to does not depend on how its bytes come, and whoever serves it meets no surprise.

use bytes::Bytes;
use http::{Method, StatusCode};
use sidle_fields::Fields;
use sidle_http2::{
    Code,
    connection::{Allowance, Buffers, Config, Connection, HIGH_WATER, Host, Incoming, Request},
};
use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

/// What the answers to one read may add to the output.
const ANSWERS: usize = 1 << 20;

/// The first byte says which end this is and in which pieces the rest comes.
pub fn run(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let (server, step) = (first & 0x80 == 0, usize::from(first % 32) + 1);
    if server {
        assert_eq!(heard(bytes, bytes.len().max(1)), heard(bytes, step));
    }
    serve(bytes, step, server);
}

fn config() -> Config {
    Config {
        stream_window: 1 << 10,
        connection_window: 64 << 10,
        max_streams: 10,
        max_list: 4 << 10,
        allowance: Allowance { resets: Some(10), control: 100 },
        host: Host {
            clock: || Duration::ZERO,
            buffers: Buffers { take: || Vec::with_capacity(1 << 10), give_back: drop },
        },
    }
}

/// Output, end and requests, where nobody takes anything before all has come.
fn heard(bytes: &[u8], step: usize) -> (Vec<u8>, String) {
    let connection = Connection::server(config());
    let mut output = written(&connection);
    for piece in bytes.chunks(step) {
        connection.receive(piece);
        output.extend(written(&connection));
    }
    let requests: Vec<_> =
        std::iter::from_fn(|| connection.accept()).map(|incoming| incoming.fields).collect();
    (output, format!("{:?} {requests:?}", connection.ended()))
}

/// Takes, answers and lets go of everything.
fn serve(bytes: &[u8], step: usize, server: bool) {
    let connection = if server { Connection::server(config()) } else { Connection::client(config()) };
    let cx = &mut Context::from_waker(Waker::noop());
    let (opener, headers) = (connection.opener(), Fields::new());
    let mut held = Vec::new();
    for (round, piece) in bytes.chunks(step).enumerate() {
        if !server {
            let request = Request {
                method: &Method::GET,
                scheme: "http",
                authority: "a",
                path: "/",
                headers: &headers,
            };
            held.extend(opener.open(request, round % 2 == 0));
        }
        connection.receive(piece);
        while let Some(Incoming { mut sending, receiving, .. }) = connection.accept() {
            let _ = sending.respond(StatusCode::OK, &headers, round % 3 == 0);
            held.push((sending, receiving));
        }
        for (sending, receiving) in &mut held {
            let _ = receiving.poll_head(cx);
            let _ = receiving.poll_data(cx);
            let _ = receiving.take_trailers();
            if let Poll::Ready(Ok(room)) = sending.poll_room(cx) {
                let _ = sending.data(Bytes::from(vec![1; room]), round % 5 == 0);
            }
            if round % 7 == 0 {
                sending.reset(Code::CANCEL);
            }
        }
        held.truncate(8);
        assert!(written(&connection).len() < HIGH_WATER + ANSWERS);
    }
    connection.drain();
    connection.end(Code::NO_ERROR);
    drop(held);
    assert!(connection.is_done());
}

fn written(connection: &Connection) -> Vec<u8> {
    let mut output = Vec::new();
    let written = connection.write(|pieces| {
        let before = output.len();
        pieces.iter().for_each(|piece| output.extend_from_slice(piece));
        Poll::Ready(Ok(output.len() - before))
    });
    assert!(matches!(written, Poll::Ready(Ok(()))));
    output
}
