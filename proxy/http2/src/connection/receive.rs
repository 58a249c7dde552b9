//! What the peer's frames do.
//!
//! Invariants: what breaks the protocol for one stream ends that one, and what breaks it for the connection ends it.
//! Not here: data (`data`), heads (`heads`).

use super::{Config, Core, DEFAULT_WINDOW, DRAINING, Drain, End, Role, input::Expect, stream::StreamError};
use crate::{
    code::{Code, Violation},
    frame::{
        ACK, END_HEADERS, Head, Kind, LEAST_MAX_FRAME_SIZE, payload,
        settings::{self, Sender, Settings},
        window::Window,
    },
};

impl Core {
    /// See [`super::Connection::receive`].
    pub fn receive(&mut self, mut bytes: &[u8]) -> u32 {
        let begun = self.input.begun;
        while !bytes.is_empty() && self.end.is_none() {
            if let Err(violation) = self.step(&mut bytes) {
                self.punish(violation);
            }
        }
        (self.input.begun - begun) as u32
    }

    /// Tells the peer what it did wrong.
    fn punish(&mut self, violation: Violation) {
        match violation {
            Violation::Connection(code, _) => self.finish(End::Violation(violation), Some(code)),
            Violation::Stream(id, code, _) => {
                if let Some(key) = self.table.find(id) {
                    let of_server = self.role == Role::Server;
                    if of_server && self.table.look(key).handles == 0 {
                        self.requests.retain(|waiting| waiting.id != id);
                    }
                    self.table.at(key).fail(StreamError::Malformed(code));
                    self.close(key);
                }
                self.tell_reset(id, code);
                if let Some(flood) = self.budget.sent_reset(code) {
                    self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
                }
            }
        }
    }

    fn step(&mut self, bytes: &mut &[u8]) -> Result<(), Violation> {
        match self.input.expect {
            Expect::Preface(left) => {
                let step = left.len().min(bytes.len());
                if left[..step] != bytes[..step] {
                    return Err(Violation::Connection(Code::PROTOCOL_ERROR, "not the preface of HTTP/2"));
                }
                *bytes = &bytes[step..];
                self.input.expect = match &left[step..] {
                    [] => Expect::Head,
                    left => Expect::Preface(left),
                };
                Ok(())
            }
            Expect::Head => match self.input.next_head(bytes) {
                Some(head) => self.head(head),
                None => Ok(()),
            },
            Expect::Payload(head) => self.whole(head, bytes),
            Expect::Data(frame) => self.data(frame, bytes),
            Expect::Skip(left) => {
                let step = bytes.len().min(left as usize);
                *bytes = &bytes[step..];
                self.input.expect = match left - step as u32 {
                    0 => Expect::Head,
                    left => Expect::Skip(left),
                };
                Ok(())
            }
        }
    }

    /// A frame begins.
    fn head(&mut self, head: Head) -> Result<(), Violation> {
        let answer = head.kind == Kind::Ping && head.has(ACK); // counted once it is known to what
        if !answer && let Some(flood) = self.budget.received(&head) {
            self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
            return Ok(());
        }
        self.input.expect = match head.length {
            0 => Expect::Head,
            length => Expect::Skip(length),
        };
        self.input.sequence.check(&head)?;
        head.check(LEAST_MAX_FRAME_SIZE)?;
        if !self.greeted && (head.kind != Kind::Settings || head.has(ACK)) {
            return Err(Violation::Connection(Code::PROTOCOL_ERROR, "not SETTINGS first"));
        }
        if matches!(head.kind, Kind::Headers | Kind::Continuation) {
            self.input.in_block = !head.has(END_HEADERS);
        }
        match (head.kind, head.length) {
            (Kind::Data, _) => self.data_head(head),
            (Kind::Unknown(_) | Kind::PushPromise, _) => Ok(()),
            (_, 0) => self.frame(head, &[]),
            _ => {
                self.input.expect = Expect::Payload(head);
                Ok(())
            }
        }
    }

    /// A frame's payload, once all of it is there.
    fn whole(&mut self, head: Head, bytes: &mut &[u8]) -> Result<(), Violation> {
        let length = head.length as usize;
        if self.input.partial.is_empty()
            && let Some((payload, rest)) = bytes.split_at_checked(length)
        {
            *bytes = rest;
            self.input.expect = Expect::Head;
            return self.frame(head, payload);
        }
        if !self.input.gather(length, bytes) {
            return Ok(());
        }
        self.input.expect = Expect::Head;
        let payload = std::mem::take(&mut self.input.partial);
        self.frame(head, &payload)
    }

    fn frame(&mut self, head: Head, bytes: &[u8]) -> Result<(), Violation> {
        match head.kind {
            Kind::Headers => self.headers(head, bytes),
            Kind::Continuation => {
                let Some(whole) = self.input.sequence.more(&head, bytes)? else { return Ok(()) };
                self.block(whole.stream, whole.end_stream, &whole.block)
            }
            Kind::Priority => payload::priority(&head, bytes),
            Kind::RstStream => self.reset_received(head.stream, payload::rst_stream(bytes)?),
            Kind::Settings if head.has(ACK) => self.settings_heeded(),
            Kind::Settings => {
                let sender = match self.role {
                    Role::Server => Sender::Client,
                    Role::Client => Sender::Server,
                };
                self.settings(settings::parse(bytes, sender)?)
            }
            Kind::Ping => {
                let said = payload::ping(bytes)?;
                if !head.has(ACK) {
                    payload::put_ping(self.output.small(), said, true);
                } else if self.drain == Drain::Asked && said == DRAINING {
                    self.tell_last();
                } else if let Some(flood) = self.budget.received(&head) {
                    self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
                }
                Ok(())
            }
            Kind::GoAway => {
                let said = payload::go_away(bytes)?;
                self.leaving = true;
                if self.role == Role::Client {
                    self.fail_above(said.last_stream);
                }
                Ok(())
            }
            Kind::WindowUpdate => self.window_update(head, bytes),
            Kind::Data | Kind::PushPromise | Kind::Unknown(_) => Ok(()),
        }
    }

    /// The peer will not look at streams above this one.
    fn fail_above(&mut self, last: u32) {
        for key in self.table.open_above(last) {
            self.table.at(key).fail(StreamError::Unprocessed);
            self.close(key);
        }
    }

    /// Whether frames for this stream mean nothing any more: we have reset it lately, or it came after we said which the last is.
    pub(super) fn is_ignored(&self, id: u32) -> bool {
        self.table.was_reset(id)
            || matches!(self.drain, Drain::Told(last) if self.role == Role::Server && id > last)
    }

    /// Says which stream was the last: those after it are ignored.
    pub(super) fn tell_last(&mut self) {
        self.drain = Drain::Told(self.last_peer);
        payload::put_go_away(self.output.small(), self.last_peer, Code::NO_ERROR);
        self.wake_driver();
    }

    /// Whether a stream has not been used yet: frames for it are out of place.
    fn is_idle(&self, id: u32) -> bool {
        let ours = (id % 2 == 1) == (self.role == Role::Client);
        if ours { id >= self.next_own } else { id > self.last_peer }
    }

    pub(super) fn not_idle(&self, id: u32) -> Result<(), Violation> {
        match self.is_idle(id) {
            true => Err(Violation::Connection(Code::PROTOCOL_ERROR, "a frame for a stream that is idle")),
            false => Ok(()),
        }
    }

    fn reset_received(&mut self, id: u32, code: Code) -> Result<(), Violation> {
        self.not_idle(id)?;
        if let Some(key) = self.table.find(id) {
            if self.role == Role::Server && self.table.look(key).handles == 0 {
                self.requests.retain(|waiting| waiting.id != id);
            }
            self.table.at(key).fail(StreamError::Reset(code));
            self.close(key);
        }
        Ok(())
    }

    fn window_update(&mut self, head: Head, bytes: &[u8]) -> Result<(), Violation> {
        if head.stream != 0 {
            self.not_idle(head.stream)?;
        }
        let more = payload::window_update(&head, bytes)?;
        if head.stream == 0 {
            self.send_window.open(0, more)?;
            self.grant();
        } else if let Some(key) = self.table.find(head.stream) {
            let stream = self.table.at(key);
            stream.send_window.open(head.stream, more)?;
            stream.wake_sender();
        }
        Ok(())
    }

    fn settings(&mut self, said: Settings) -> Result<(), Violation> {
        let first = !std::mem::replace(&mut self.greeted, true);
        for size in [said.least_header_table_size, said.header_table_size].into_iter().flatten() {
            self.encoder.set_table_size(size as usize);
        }
        if let Some(window) = said.initial_window_size {
            let before = std::mem::replace(&mut self.peer.initial_window, window);
            let mut changed = Ok(());
            self.table.each(|stream| {
                if let Err(violation) = stream.send_window.change(before, window) {
                    changed = Err(violation);
                }
                stream.wake_sender();
            });
            changed?;
        }
        match said.max_concurrent_streams {
            Some(streams) => self.peer.max_streams = streams,
            None if first => self.peer.max_streams = u32::MAX,
            None => {}
        }
        settings::put_acknowledgement(self.output.small());
        Ok(())
    }

    /// The peer knows our settings: windows that were larger than they say, because it could not know, are no more.
    fn settings_heeded(&mut self) -> Result<(), Violation> {
        if std::mem::replace(&mut self.heeded, true) {
            return Ok(());
        }
        let (lenient, window) = (self.lenient_window(), self.config.stream_window);
        let mut changed = Ok(());
        self.table.each(|stream| changed = changed.and(stream.receive_window.change(lenient, window)));
        changed
    }

    /// What a stream's window is until the peer knows better.
    fn lenient_window(&self) -> u32 {
        self.config.stream_window.max(DEFAULT_WINDOW)
    }

    /// The window of a new stream.
    pub(super) fn new_receive_window(&self) -> Window {
        let Config { stream_window, .. } = self.config;
        Window::new(if self.heeded { stream_window } else { self.lenient_window() })
    }
}
