//! The hostile client: one or many raw connections that do what a row says.
//!
//! In:  a row and an address.   Out: [`Talk`]s, which hold what was received and when the connection ended.
//! Invariants: what is received is kept up to a bound, counted beyond it; a write that does not get on ends the sending.
//! Not here: the healthy client (`probe`).

use crate::bytes::Sink;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const KEPT_BYTES: usize = 8 << 20;
const BLOCKED: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(2);

/// What a connection brought.
#[derive(Debug, Default, Clone)]
pub struct Received {
    /// The first bytes.
    pub bytes: Vec<u8>,
    /// When the proxy closed it, counted from the beginning.
    pub closed: Option<Duration>,
    /// When the last bytes came.
    pub last: Option<Duration>,
}

/// One connection.
pub struct Talk {
    stream: TcpStream,
    received: Arc<Mutex<Received>>,
    begin: Instant,
    reading: bool,
}

impl Talk {
    /// Connects. `deaf`: reads nothing until [`Talk::listen`].
    ///
    /// # Errors
    /// What TCP says.
    pub fn open(address: SocketAddr, deaf: bool) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, BLOCKED)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(BLOCKED))?;
        let mut talk = Talk { stream, received: Arc::default(), begin: Instant::now(), reading: false };
        if !deaf {
            talk.listen();
        }
        Ok(talk)
    }

    /// Begins to read.
    pub fn listen(&mut self) {
        if self.reading {
            return;
        }
        self.reading = true;
        let (mut stream, received, begin) =
            (self.stream.try_clone().unwrap(), self.received.clone(), self.begin);
        let reader = std::thread::Builder::new().stack_size(128 << 10);
        let _ = reader.spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let read = stream.read(&mut buffer).unwrap_or(0);
                let mut received = received.lock().unwrap();
                if read == 0 {
                    received.closed = Some(begin.elapsed());
                    return;
                }
                received.last = Some(begin.elapsed());
                let room = KEPT_BYTES.saturating_sub(received.bytes.len());
                received.bytes.extend_from_slice(&buffer[..read.min(room)]);
            }
        });
    }

    /// What came so far.
    pub fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }

    /// Since the connection was made.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Waits until `done` with what came, or the proxy closed, or `patience` ran out; says whether it did not.
    pub fn wait(&self, patience: Duration, mut done: impl FnMut(&Received) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut seen = (usize::MAX, false);
        loop {
            {
                let received = self.received.lock().unwrap();
                let now = (received.bytes.len(), received.closed.is_some());
                // Judged again only when there is something new to judge.
                if now != seen && done(&received) {
                    return true;
                }
                seen = now;
                if received.closed.is_some() {
                    return false;
                }
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Waits until nothing has come for `quiet`, at most for a second.
    pub fn settle(&self, quiet: Duration) {
        for _ in 0..50 {
            let received = self.received.lock().unwrap();
            let last = received.last.unwrap_or_default();
            if received.closed.is_some() || self.begin.elapsed() > last + quiet {
                return;
            }
            drop(received);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_closed(&self) -> bool {
        self.received.lock().unwrap().closed.is_some()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Sink for Talk {
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.is_closed() || self.stream.write_all(bytes).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn pause(&mut self, time: Duration) -> ControlFlow<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.is_closed() {
                return ControlFlow::Break(());
            }
            std::thread::sleep(TICK.min(time));
        }
        ControlFlow::Continue(())
    }

    fn until(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let holds = |received: &Received| crate::wire::holds(&received.bytes, bytes);
        if self.wait(BLOCKED, holds) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn half_close(&mut self) -> ControlFlow<()> {
        let _ = self.stream.shutdown(Shutdown::Write);
        ControlFlow::Continue(())
    }
}

/// Many connections that do the same at the same time.
pub struct Crowd(pub Vec<Talk>);

impl Crowd {
    fn each(&mut self, mut act: impl FnMut(&mut Talk) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut open = 0;
        for talk in &mut self.0 {
            if act(talk).is_continue() {
                open += 1;
            }
        }
        if open == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Sink for Crowd {
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.each(|talk| talk.push(bytes))
    }

    fn pause(&mut self, time: Duration) -> ControlFlow<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.0.iter().all(Talk::is_closed) {
                return ControlFlow::Break(());
            }
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
        ControlFlow::Continue(())
    }

    fn until(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.each(|talk| talk.until(bytes))
    }

    fn half_close(&mut self) -> ControlFlow<()> {
        self.each(Talk::half_close)
    }
}
