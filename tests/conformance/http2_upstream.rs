//! The HTTP/2 upstream of host `b`: frames by hand, so that it can break every rule.
//!
//! In:  a [`Script`](crate::case::Script).   Out: [`Seen`](crate::recorder::Seen), where a head is a header block as it came.
//! Not here: HPACK decoding; rows look at how many requests came, and at what the client got.

use crate::{
    bytes::{Counters, PREFACE, frame, perform, unhex},
    recorder::{InFlight, Shared, Voice},
};
use sidle_test_support::tcp::TcpServer;
use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::ControlFlow,
    sync::Arc,
};

/// One upstream.
pub struct Http2Upstream {
    server: TcpServer,
    /// What it has seen and what it does.
    pub shared: Arc<Shared>,
}

impl Http2Upstream {
    /// Starts one.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let server = TcpServer::start(move |stream, _| {
            own.seen().connections += 1;
            let _ = Served { stream, shared: own.clone(), open: Vec::new() }.serve();
        });
        Http2Upstream { server, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }
}

struct Served {
    stream: TcpStream,
    shared: Arc<Shared>,
    /// Requests that are not answered.
    open: Vec<(u32, InFlight)>,
}

impl Served {
    fn serve(&mut self) -> std::io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface)?;
        let script = self.shared.script();
        self.stream.write_all(&frame(4, 0, 0, &unhex(&script.settings, Counters::default())))?;
        let greet = script.clone();
        let mut stream = self.stream.try_clone()?;
        // A greeting may take its time; the connection is read meanwhile.
        std::thread::spawn(move || {
            perform(&greet.greet, &mut Counters::default(), &mut Voice(&mut stream)).is_continue()
        });
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload)?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if self.frame(head[3], head[4], stream, payload)?.is_break() {
                return Ok(());
            }
        }
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Vec<u8>,
    ) -> std::io::Result<ControlFlow<()>> {
        match kind {
            0 if !payload.is_empty() => {
                // Gives back the window of the connection and of the stream.
                let credit = (payload.len() as u32).to_be_bytes();
                self.stream.write_all(&[frame(8, 0, 0, &credit), frame(8, 0, stream, &credit)].concat())?;
            }
            1 => {
                let (_, guard) = self.shared.arrived(payload);
                self.open.push((stream, guard));
            }
            3 => self.open.retain(|(open, _)| *open != stream),
            4 if flags & 1 == 0 => self.stream.write_all(&frame(4, 1, 0, &[]))?,
            6 if flags & 1 == 0 => self.stream.write_all(&frame(6, 1, 0, &payload))?,
            _ => {}
        }
        let whole = kind <= 1 && flags & 1 == 1;
        let due = whole || (kind == 1 && self.shared.script().early);
        let waits = self.open.iter().any(|(open, _)| *open == stream);
        if due && waits { self.answer(stream) } else { Ok(ControlFlow::Continue(())) }
    }

    fn answer(&mut self, stream: u32) -> std::io::Result<ControlFlow<()>> {
        let script = self.shared.script();
        let number = self.shared.seen().requests;
        let scripted = !script.answer.is_empty() && script.first.is_none_or(|first| number <= first);
        if scripted {
            let mut counters = Counters { stream, round: 0 };
            let went = perform(&script.answer, &mut counters, &mut Voice(&mut self.stream));
            self.open.retain(|(open, _)| *open != stream);
            return Ok(if script.close { ControlFlow::Break(()) } else { went });
        }
        // `:status: 200`, and a body.
        self.stream.write_all(&[frame(1, 4, stream, &[0x88]), frame(0, 1, stream, b"ok")].concat())?;
        self.open.retain(|(open, _)| *open != stream);
        Ok(ControlFlow::Continue(()))
    }
}
