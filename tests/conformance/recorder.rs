//! The upstream of every row: it keeps each byte that it got, and answers as the row wants.
//!
//! In:  a [`Script`].   Out: [`Seen`].
//! Invariants: requests are told apart by the letter of the standard; what is none is kept as [`Seen::garbage`]. Requests of
//! the healthy client (`/probe`) and of the harness (`/next`) are answered as usual and not kept.
//! Not here: HTTP/2 (`http2_upstream`).
//!
//! Without a script, `/slow/N` is answered after N ms, `/bytes/N` with N bytes, everything else with its target.

use crate::{
    bytes::{Counters, Sink, Step, perform},
    case::Script,
    wire::{self, Chunked, Framing},
};
use sidle_test_support::tcp::TcpServer;
use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

const KEPT_BYTES: usize = 4 << 20;

/// What an upstream has seen of a row.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// How many requests came.
    pub requests: u64,
    /// Heads of requests, as they came, up to a bound.
    pub heads: Vec<Vec<u8>>,
    /// Bodies, without framing.
    pub bodies: Vec<Vec<u8>>,
    /// All bytes of these requests.
    pub bytes: Vec<u8>,
    /// What stood where a request should.
    pub garbage: Vec<u8>,
    /// How many connections came.
    pub connections: u64,
    /// How many requests it has now.
    pub in_flight: u64,
    /// How many it had at most.
    pub most_in_flight: u64,
    /// Which row this is: what belongs to an earlier one is not counted.
    pub row: u64,
}

/// What the threads of one upstream share.
#[derive(Default)]
pub struct Shared {
    seen: Mutex<Seen>,
    script: Mutex<Arc<Script>>,
}

impl Shared {
    /// What was seen.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// What to do.
    pub fn script(&self) -> Arc<Script> {
        self.script.lock().unwrap().clone()
    }

    /// Forgets, and takes a script for what comes next.
    pub fn begin(&self, script: Script) {
        *self.script.lock().unwrap() = Arc::new(script);
        let mut seen = self.seen();
        *seen = Seen { row: seen.row + 1, ..Seen::default() };
    }

    /// Writes down what belongs to a row, if that is still the one.
    fn of_row(&self, row: Option<u64>, write: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen();
        if row == Some(seen.row) {
            write(&mut seen);
        }
    }

    /// A request is here; gives its number in the row, from 1. The guard counts it out.
    pub fn arrived(self: &Arc<Self>, head: Vec<u8>) -> (u64, InFlight) {
        let mut seen = self.seen();
        keep(&mut seen.bytes, &head);
        seen.requests += 1;
        if seen.bytes.len() < KEPT_BYTES {
            seen.heads.push(head);
        }
        seen.in_flight += 1;
        seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        (seen.requests, InFlight { shared: self.clone(), row: seen.row })
    }
}

/// A request that the upstream has not finished with.
pub struct InFlight {
    shared: Arc<Shared>,
    row: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut seen = self.shared.seen();
        if seen.row == self.row {
            seen.in_flight -= 1;
        }
    }
}

/// The HTTP/1 upstream.
pub struct Recorder {
    server: TcpServer,
    /// What it has seen and what it does.
    pub shared: Arc<Shared>,
}

impl Recorder {
    /// Starts one.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let server = TcpServer::start(move |stream, _| {
            own.seen().connections += 1;
            Served { stream, buffer: Vec::new(), shared: own.clone() }.serve();
        });
        Recorder { server, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn expects_continue(head: &[u8]) -> bool {
    String::from_utf8_lossy(head).to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n")
}

/// One connection from the proxy.
struct Served {
    stream: TcpStream,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
}

impl Served {
    fn serve(&mut self) {
        while let Some(head) = self.head() {
            let target = target(&head);
            let ours = target.starts_with("/probe") || target.starts_with("/next");
            let script = if ours { Arc::default() } else { self.shared.script() };
            let arrived = (!ours).then(|| self.shared.arrived(head.clone()));
            let number = arrived.as_ref().map_or(0, |(number, _)| *number);
            let scripted = !script.answer.is_empty() && script.first.is_none_or(|first| number <= first);
            let early = scripted && script.early;
            if early && self.say(&script.answer).is_break() {
                return;
            }
            let row = arrived.as_ref().map(|(_, guard)| guard.row);
            if !early
                && expects_continue(&head)
                && self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err()
            {
                return;
            }
            let Some(body) = self.body(&head, row) else { return };
            self.shared.of_row(row, |seen| seen.bodies.push(body));
            if !early && scripted && self.say(&script.answer).is_break() {
                return;
            }
            if scripted && script.close {
                return;
            }
            if !scripted && self.usual(&head, &target).is_break() {
                return;
            }
        }
    }

    /// Reads more; `false` at the end.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(read) if read > 0 => {
                self.buffer.extend_from_slice(&chunk[..read]);
                true
            }
            _ => false,
        }
    }

    fn head(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = wire::head_end(&self.buffer) {
                return Some(self.buffer.drain(..end).collect());
            }
            if self.buffer.len() > KEPT_BYTES || !self.more() {
                keep(&mut self.shared.seen().garbage, &self.buffer);
                return None;
            }
        }
    }

    /// The body after `head`; `None` when it breaks off or is none, and the connection is of no more use.
    fn body(&mut self, head: &[u8], row: Option<u64>) -> Option<Vec<u8>> {
        let framing = wire::framing(head, true);
        loop {
            let whole = match framing {
                Some(Framing::Length(length)) => {
                    (self.buffer.len() >= length).then(|| (self.buffer[..length].to_vec(), length))
                }
                Some(Framing::Chunked) => match wire::chunked(&self.buffer) {
                    Chunked::Whole(body, length) => Some((body, length)),
                    Chunked::Partial => None,
                    Chunked::Broken => return self.broken(row),
                },
                _ => return self.broken(row),
            };
            if let Some((body, length)) = whole {
                let raw: Vec<u8> = self.buffer.drain(..length).collect();
                self.shared.of_row(row, |seen| keep(&mut seen.bytes, &raw));
                return Some(body);
            }
            if !self.more() {
                self.shared.of_row(row, |seen| keep(&mut seen.bytes, &self.buffer));
                return None;
            }
        }
    }

    fn broken(&mut self, row: Option<u64>) -> Option<Vec<u8>> {
        self.shared.of_row(row, |seen| keep(&mut seen.garbage, &self.buffer));
        None
    }

    fn say(&mut self, steps: &[Step]) -> ControlFlow<()> {
        perform(steps, &mut Counters::default(), &mut Voice(&mut self.stream))
    }

    /// The answer of a server that means well.
    fn usual(&mut self, head: &[u8], target: &str) -> ControlFlow<()> {
        let number = |prefix: &str| target.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(wait) = number("/slow/") {
            self.linger(Duration::from_millis(wait))?;
        }
        let large = number("/bytes/");
        let length = large.unwrap_or(target.len() as u64);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        self.write(answer.as_bytes())?;
        if head.starts_with(b"HEAD ") {
            return ControlFlow::Continue(());
        }
        let Some(mut left) = large else { return self.write(target.as_bytes()) };
        let block = [b'x'; 16 << 10];
        while left > 0 {
            let part = left.min(block.len() as u64);
            self.write(&block[..part as usize])?;
            left -= part;
        }
        ControlFlow::Continue(())
    }

    /// Waits, unless the proxy goes away.
    fn linger(&mut self, time: Duration) -> ControlFlow<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let _ = self.stream.set_read_timeout(Some(left));
            let looked = self.stream.peek(&mut [0]);
            let _ = self.stream.set_read_timeout(None);
            match looked {
                Ok(0) => return ControlFlow::Break(()),
                Ok(_) => std::thread::sleep(Duration::from_millis(5).min(left)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn write(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        Voice(&mut self.stream).push(bytes)
    }
}

fn target(head: &[u8]) -> String {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A connection that a script speaks on.
pub struct Voice<'a>(pub &'a mut TcpStream);

impl Sink for Voice<'_> {
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.0.write_all(bytes).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn pause(&mut self, time: Duration) -> ControlFlow<()> {
        std::thread::sleep(time);
        ControlFlow::Continue(())
    }

    fn until(&mut self, _: &[u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn half_close(&mut self) -> ControlFlow<()> {
        let _ = self.0.shutdown(std::net::Shutdown::Write);
        ControlFlow::Continue(())
    }
}
