//! An upstream that keeps every byte, and answers each whole request with a 200 on a connection that it keeps open.
//!
//! Invariants: what a connection brought is kept as it came; a request that is none is answered with a 400 and the end of the
//! connection; a connection that is used again in the middle of a request is remembered as poisoned.

use crate::framing::{self, Message, Next};
use sidle_test_support::tcp::TcpServer;
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
    time::Instant,
};

/// What one conversation left at the upstream.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Whole requests in the order in which they became whole.
    pub requests: Vec<Message>,
    /// Heads whose bodies never became whole.
    pub partial: Vec<Message>,
    /// What was no request.
    pub broken: Vec<String>,
    /// Whether bytes came on a connection that an earlier conversation had left in the middle of a request.
    pub poisoned: bool,
    /// What each connection brought.
    pub streams: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Connection {
    bytes: Vec<u8>,
    /// Where the conversation began.
    begin: usize,
    /// Where the request begins that is not whole yet.
    parsed: usize,
    continued: bool,
    poisoned: bool,
    broken: Option<String>,
}

struct State {
    connections: Vec<Connection>,
    requests: Vec<Message>,
    last: Instant,
}

/// A running recorder.
pub struct Recorder {
    server: TcpServer,
    state: Arc<Mutex<State>>,
}

impl Recorder {
    pub fn start() -> Self {
        let state = State { connections: Vec::new(), requests: Vec::new(), last: Instant::now() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let server = TcpServer::start(move |stream, _| serve(stream, &shared));
        Recorder { server, state }
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// When the last byte came.
    pub fn last(&self) -> Instant {
        self.state.lock().unwrap().last
    }

    /// What came since it was asked last.
    pub fn take(&self) -> Recorded {
        let mut state = self.state.lock().unwrap();
        let mut recorded = Recorded { requests: std::mem::take(&mut state.requests), ..Recorded::default() };
        for connection in state.connections.iter_mut().filter(|one| one.bytes.len() > one.begin) {
            recorded.streams.push(connection.bytes[connection.begin..].to_vec());
            recorded.poisoned |= connection.poisoned;
            recorded.broken.extend(connection.broken.take());
            if let Next::Incomplete(Some(head)) = framing::next(&connection.bytes[connection.parsed..]) {
                recorded.partial.push(head);
            }
            connection.begin = connection.bytes.len();
        }
        recorded
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let number = {
        let mut state = state.lock().unwrap();
        state.connections.push(Connection::default());
        state.connections.len() - 1
    };
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        let answer = receive(&mut state.lock().unwrap(), number, &buffer[..read]);
        if stream.write_all(&answer.bytes).is_err() || answer.close {
            return;
        }
    }
}

#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    close: bool,
}

fn receive(state: &mut State, number: usize, bytes: &[u8]) -> Answer {
    state.last = Instant::now();
    let connection = &mut state.connections[number];
    if connection.bytes.len() == connection.begin && connection.parsed < connection.begin {
        connection.poisoned = true;
    }
    connection.bytes.extend_from_slice(bytes);
    let mut answer = Answer::default();
    while connection.parsed < connection.bytes.len() {
        match framing::next(&connection.bytes[connection.parsed..]) {
            Next::Whole(message, length) => {
                connection.parsed += length;
                connection.continued = false;
                answer.bytes.extend_from_slice(reply(&message));
                state.requests.push(message);
            }
            Next::Incomplete(Some(head)) if head.expects && !connection.continued => {
                connection.continued = true;
                answer.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            Next::Incomplete(_) => break,
            Next::Broken(why) => {
                connection.broken = Some(why);
                answer.bytes.extend_from_slice(
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
                answer.close = true;
                break;
            }
        }
    }
    answer
}

fn reply(message: &Message) -> &'static [u8] {
    match &*message.method {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        "CONNECT" => b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n",
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    }
}
