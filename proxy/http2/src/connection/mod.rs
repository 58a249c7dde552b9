//! A connection: its streams, what may be sent on them, and what a peer may do.
//!
//! In:  bytes ([`Connection::receive`]); heads, data and ends of messages (the handles).   Out: bytes ([`Connection::write`]), requests
//! ([`Connection::accept`]), and to whoever holds a handle what came for it.
//! How: everything about a connection lies in one cell that the tasks of one thread share: no task, channel or queue stands between
//! a message and its bytes. What a stream sends is encoded at once into the connection's output; whoever drives the connection is
//! woken, once, and writes all that the streams of this turn have made.
//! Invariants: what a peer has sent and nobody has taken is bounded by the windows; output by [`HIGH_WATER`] and by the answers to what
//! one read may ask for; streams by their number. A stream whose handles are gone is reset, and its bytes go back to the window.
//! Not here: sockets, tasks, time (given by [`Host::clock`]), what a request means.
//! Source: RFC 9113.
//! Read: this file -> `stream`, `table` -> `input` (frames) -> `receive`, `data`, `heads` (what they do) -> `send` -> `handle` -> [`budget`].

mod budget;
mod client;
mod data;
mod fields;
mod handle;
mod heads;
mod input;
mod output;
mod receive;
mod send;
mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use budget::{Allowance, Flood, accuses};
pub use client::{Opener, Request};
pub use fields::{RequestFields, ResponseFields};
pub use handle::{InterimSender, Receiving, Sending};
pub use output::Buffers;
pub use stream::StreamError;

use crate::{
    code::{Code, Violation},
    frame::{self, LEAST_MAX_FRAME_SIZE, MOST_31_BITS, payload, settings::Settings, window::Window},
    hpack::{Decoder, Encoder, Huffman},
};
use budget::Budget;
use input::Input;
use output::Output;
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    rc::Rc,
    task::{Poll, Waker, ready},
    time::Duration,
};
use table::Table;

/// Output beyond which nothing is read, for it may ask for more. Data never comes so far: two ends whose output is full of data, and
/// that do not read for it, would wait for each other.
pub const HIGH_WATER: usize = 128 << 10;
/// As far as output is filled with data: an answer of 64 KiB goes at once. Streams wait when less than a frame is left of it.
const DATA_WATER: usize = 70 << 10;
/// The most data in a frame that we send, and in the turn of a stream while others wait.
const FRAME: usize = LEAST_MAX_FRAME_SIZE as usize;
/// The window of a connection, and of its streams, before anybody has said otherwise.
const DEFAULT_WINDOW: u32 = 65_535;
/// What our PING says when a connection is drained.
const DRAINING: [u8; 8] = *b"draining";

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It opens streams.
    Client,
    /// It answers on them.
    Server,
}

/// How a connection is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes that a peer may send on a stream before they are taken.
    pub stream_window: u32,
    /// The same, for all streams together; 65,535 at least.
    pub connection_window: u32,
    /// Of a server: streams that its client may have at once. Of a client: those that it has until its server has said how many.
    pub max_streams: u32,
    /// Bytes of the fields of a message: names, values, and 32 each.
    pub max_list: u32,
    /// What the peer may send of what costs it nothing.
    pub allowance: Allowance,
    /// What it runs on.
    pub host: Host,
}

/// What a connection needs of the program around it.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The time since some moment. Asked only when something is counted.
    pub clock: fn() -> Duration,
    /// Where output is gathered.
    pub buffers: Buffers,
}

/// Why a connection serves no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its transport has closed or failed.
    Transport,
    /// The peer broke the protocol, and was told.
    Violation(Violation),
    /// The peer sent too much of what costs it nothing, and was told.
    Flood(Flood),
    /// This side ended it.
    Local(Code),
}

/// How far a connection has got in leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// The peer was told to open no more, and asked to say that it has heard.
    Asked,
    /// Streams above this one are ignored.
    Told(u32),
}

/// What the peer takes.
#[derive(Debug)]
struct Peer {
    initial_window: u32,
    max_streams: u32,
}

/// All about one connection.
#[derive(Debug)]
pub(crate) struct Core {
    role: Role,
    config: Config,
    decoder: Decoder,
    encoder: Encoder,
    input: Input,
    output: Output,
    table: Table,
    budget: Budget,
    peer: Peer,
    /// The peer's SETTINGS have come.
    greeted: bool,
    /// The peer has acknowledged ours: no stream's window is larger than they say.
    heeded: bool,
    /// What the peer may still send, and what was taken since it was told.
    receive_window: Window,
    taken: u32,
    send_window: Window,
    /// Streams that wait for room in the output or in the connection's window: where they are. The first may have its turn.
    waiting: VecDeque<u32>,
    /// Requests that nobody has accepted.
    requests: VecDeque<heads::Waiting>,
    last_peer: u32,
    next_own: u32,
    /// Streams beyond those that the peer may have, since somebody asked.
    refused: u32,
    drain: Drain,
    /// The peer has said GOAWAY, or nobody can open streams any more.
    leaving: bool,
    end: Option<End>,
    driver: Option<Waker>,
    /// The driver knows that there is something to do.
    woken: bool,
}

/// A connection, as whoever moves its bytes sees it.
#[derive(Debug)]
pub struct Connection(Rc<RefCell<Core>>);

impl Connection {
    /// The server's end.
    pub fn server(config: Config) -> Self {
        let settings = Settings {
            max_concurrent_streams: Some(config.max_streams),
            enable_connect_protocol: Some(true),
            ..announced(&config)
        };
        let mut core = Core::new(Role::Server, config);
        settings.put(core.output.small());
        core.open_wide();
        Connection(Rc::new(RefCell::new(core)))
    }

    /// The client's end.
    pub fn client(config: Config) -> Self {
        let settings = Settings { enable_push: Some(false), ..announced(&config) };
        let mut core = Core::new(Role::Client, config);
        core.output.small().extend_from_slice(frame::PREFACE);
        settings.put(core.output.small());
        core.open_wide();
        Connection(Rc::new(RefCell::new(core)))
    }

    /// Opens streams; once it is dropped, the connection ends with its last stream.
    pub fn opener(&self) -> Opener {
        Opener::new(self.0.clone())
    }

    /// Who is to be woken when there is something to write, or to look at.
    pub fn watch(&self, waker: &Waker) {
        let mut core = self.0.borrow_mut();
        core.woken = false;
        match &mut core.driver {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Takes what the peer has sent; how many frames have begun in it. What follows the end of a connection is not looked at.
    pub fn receive(&self, bytes: &[u8]) -> u32 {
        self.0.borrow_mut().receive(bytes)
    }

    /// Whether there is room for the answers to what may come.
    pub fn wants_input(&self) -> bool {
        let core = self.0.borrow();
        core.output.len() < HIGH_WATER && core.end.is_none()
    }

    /// Writes all there is.
    ///
    /// # Errors
    /// Those of `write`, and that it takes nothing.
    pub fn write(
        &self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let core = &mut *self.0.borrow_mut();
        while !core.output.is_empty() {
            let written = ready!(core.output.with_pieces(&mut write))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            core.output.advance(written);
            core.grant();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        !self.0.borrow().output.is_empty()
    }

    /// The next request, of a server.
    pub fn accept(&self) -> Option<Incoming> {
        let mut core = self.0.borrow_mut();
        let waiting = core.requests.pop_front()?;
        core.table.at(waiting.key).handles = 2;
        drop(core);
        Some(Incoming {
            fields: waiting.fields,
            too_large: waiting.too_large,
            sending: Sending::new(self.0.clone(), waiting.key),
            receiving: Receiving::new(self.0.clone(), waiting.key),
        })
    }

    /// How many streams were refused since this was asked last, because the client had as many as it may.
    pub fn take_refused(&self) -> u32 {
        std::mem::take(&mut self.0.borrow_mut().refused)
    }

    /// Asks the client for no more streams, and ends the connection with those that there are. Said again, it is not waited for that
    /// the client has heard: what it opens from now on is ignored.
    pub fn drain(&self) {
        let core = &mut *self.0.borrow_mut();
        if core.end.is_some() {
            return;
        }
        match core.drain {
            Drain::No => {
                core.drain = Drain::Asked;
                payload::put_go_away(core.output.small(), MOST_31_BITS, Code::NO_ERROR);
                payload::put_ping(core.output.small(), DRAINING, false);
                core.wake_driver();
            }
            Drain::Asked => core.tell_last(),
            Drain::Told(_) => {}
        }
    }

    /// Ends the connection, and all its streams, at once; the peer is told why.
    pub fn end(&self, code: Code) {
        self.0.borrow_mut().finish(End::Local(code), Some(code));
    }

    /// Nothing can be read or written any more.
    pub fn lost(&self) {
        self.0.borrow_mut().finish(End::Transport, None);
    }

    /// Why it has ended, once it has.
    pub fn ended(&self) -> Option<End> {
        self.0.borrow().end
    }

    /// Whether nothing is left to do but to write what there is, and close.
    pub fn is_done(&self) -> bool {
        let core = self.0.borrow();
        let left = core.leaving || matches!(core.drain, Drain::Told(_));
        core.end.is_some() || (left && core.table.active() == 0 && core.requests.is_empty())
    }

    /// The number of something that the peer has begun and must soon finish: anything but the data of a stream, which comes at its
    /// sender's pace.
    pub fn unfinished(&self) -> Option<u64> {
        self.0.borrow().input.unfinished()
    }

    /// Whether the peer resets streams, or has them reset.
    pub fn is_suspicious(&self) -> bool {
        self.0.borrow_mut().budget.is_suspicious()
    }

    /// Whether the peer has said anything yet.
    pub fn is_greeted(&self) -> bool {
        self.0.borrow().greeted
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lost(); // nobody moves its bytes any more
    }
}

/// A request that has come.
#[derive(Debug)]
pub struct Incoming {
    /// Its head.
    pub fields: RequestFields,
    /// Its head has more fields than are taken: some are missing.
    pub too_large: bool,
    /// For the answer.
    pub sending: Sending,
    /// Its content.
    pub receiving: Receiving,
}

/// What both ends say of themselves.
fn announced(config: &Config) -> Settings {
    Settings {
        initial_window_size: Some(config.stream_window),
        max_header_list_size: Some(config.max_list),
        ..Settings::default()
    }
}

impl Core {
    fn new(role: Role, config: Config) -> Self {
        Core {
            role,
            decoder: Decoder::new(config.max_list as usize),
            encoder: Encoder::new(Huffman::default()),
            input: Input::new(role, config.max_list),
            output: Output::new(config.host.buffers),
            table: Table::default(),
            budget: Budget::new(config.allowance, role == Role::Server, config.host.clock),
            peer: Peer { initial_window: DEFAULT_WINDOW, max_streams: config.max_streams },
            greeted: false,
            heeded: false,
            receive_window: Window::new(config.connection_window.max(DEFAULT_WINDOW)),
            taken: 0,
            send_window: Window::new(DEFAULT_WINDOW),
            waiting: VecDeque::new(),
            // One: most connections that idle never had two that waited, and the smallest that grows by itself has room for four.
            requests: VecDeque::with_capacity(usize::from(role == Role::Server)),
            last_peer: 0,
            next_own: 1,
            refused: 0,
            drain: Drain::No,
            leaving: false,
            end: None,
            driver: None,
            woken: false,
            config,
        }
    }

    /// Opens the connection's window as far as it is to be.
    fn open_wide(&mut self) {
        let more = self.config.connection_window.saturating_sub(DEFAULT_WINDOW);
        if more > 0 {
            payload::put_window_update(self.output.small(), 0, more);
        }
    }

    /// There is something for the driver to do.
    fn wake_driver(&mut self) {
        if !std::mem::replace(&mut self.woken, true)
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    /// Ends everything. The first reason counts.
    fn finish(&mut self, end: End, told: Option<Code>) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        if let Some(code) = told {
            let last = match self.drain {
                Drain::Told(last) => last, // those above it were ignored
                _ => self.last_peer,
            };
            payload::put_go_away(self.output.small(), last, code);
        }
        self.requests.clear();
        self.waiting.clear();
        let error = match end {
            End::Transport => StreamError::Closed,
            End::Violation(violation) => StreamError::Ended(violation.code()),
            End::Flood(_) => StreamError::Ended(Code::ENHANCE_YOUR_CALM),
            End::Local(code) => StreamError::Ended(code),
        };
        self.table.fail_all(error);
        self.wake_driver();
    }
}
