//! What the peer's frames do.
//!
//! Invariants: every block is decoded, whatever becomes of its stream, so that the compression of the others stays right; what breaks
//! the protocol for one stream ends that one, and what breaks it for the connection ends it.

use super::{
    Config, Core, DEFAULT_WINDOW, DRAINING, Drain, End, Role,
    fields::{Gathered, RequestFields, content_length},
    input::{DataFrame, Expect},
    stream::StreamError,
};
use crate::{
    code::{Code, Violation},
    frame::{
        ACK, END_HEADERS, END_STREAM, Head, Kind, LEAST_MAX_FRAME_SIZE, PADDED, payload,
        settings::{self, Sender, Settings},
        window::Window,
    },
    hpack::{Part, Verdict},
};
use http::StatusCode;

/// Interim answers that wait for whoever asked.
const MOST_INTERIM: u8 = 16;

/// A request that nobody has accepted.
#[derive(Debug)]
pub struct Waiting {
    pub key: u32,
    pub id: u32,
    pub fields: RequestFields,
    pub too_large: bool,
}

/// What a block is for.
enum For {
    /// A new stream.
    Request,
    /// The answer on this stream.
    Response(u32),
    /// What follows the content of this stream.
    Trailers(u32),
    /// Nobody.
    Nobody(Option<Violation>),
}

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
        let asked = head.kind == Kind::Ping && head.has(ACK) && self.drain == Drain::Asked;
        if !asked && let Some(flood) = self.budget.received(&head) {
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
                    self.drain = Drain::Told(self.last_peer);
                    payload::put_go_away(self.output.small(), self.last_peer, Code::NO_ERROR);
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
    fn is_ignored(&self, id: u32) -> bool {
        self.table.was_reset(id)
            || matches!(self.drain, Drain::Told(last) if self.role == Role::Server && id > last)
    }

    /// Whether a stream has not been used yet: frames for it are out of place.
    fn is_idle(&self, id: u32) -> bool {
        let ours = (id % 2 == 1) == (self.role == Role::Client);
        if ours { id >= self.next_own } else { id > self.last_peer }
    }

    fn not_idle(&self, id: u32) -> Result<(), Violation> {
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

    fn data_head(&mut self, head: Head) -> Result<(), Violation> {
        self.receive_window.take(0, head.length)?;
        if head.length == 0 && head.has(PADDED) {
            return Err(Violation::Connection(Code::FRAME_SIZE_ERROR, "padding without its length"));
        }
        let mut frame = DataFrame {
            stream: head.stream,
            key: None,
            left: head.length,
            padding: (!head.has(PADDED)).then_some(0),
            ends: head.has(END_STREAM),
        };
        let expected = self.data_expected(&head);
        if let Ok(key) = expected {
            frame.key = key;
        }
        self.input.expect = Expect::Data(frame);
        let outcome = expected.map(drop);
        if head.length == 0 {
            self.input.expect = Expect::Head;
            return outcome.and_then(|()| self.data_ends(frame));
        }
        outcome
    }

    /// Whose data this is; `None`: nobody's, and no fault.
    fn data_expected(&mut self, head: &Head) -> Result<Option<u32>, Violation> {
        let closed = Violation::Stream(head.stream, Code::STREAM_CLOSED, "data for a stream that is closed");
        self.not_idle(head.stream)?;
        let Some(key) = self.table.find(head.stream) else {
            return if self.is_ignored(head.stream) { Ok(None) } else { Err(closed) };
        };
        let stream = self.table.at(key);
        if !stream.receiving {
            return Err(closed);
        }
        if !stream.has_head {
            return Err(Violation::Stream(head.stream, Code::PROTOCOL_ERROR, "data before a head"));
        }
        stream.receive_window.take(head.stream, head.length)?;
        Ok(Some(key))
    }

    /// Data comes, a piece of a frame at a time.
    fn data(&mut self, mut frame: DataFrame, bytes: &mut &[u8]) -> Result<(), Violation> {
        let padding = match frame.padding {
            Some(padding) => padding,
            None => {
                let padding = u32::from(bytes[0]);
                *bytes = &bytes[1..];
                frame.left -= 1;
                if padding > frame.left {
                    return Err(Violation::Connection(Code::PROTOCOL_ERROR, "more padding than data"));
                }
                frame.padding = Some(padding);
                if frame.left == padding
                    && !frame.ends
                    && let Some(flood) = self.budget.received_nothing()
                {
                    self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
                    return Ok(());
                }
                self.took(frame.key, frame.stream, 1 + padding);
                padding
            }
        };
        let content = (frame.left - padding) as usize;
        let (piece, rest) = bytes.split_at(content.min(bytes.len()));
        let skipped = if piece.len() == content { rest.len().min(padding as usize) } else { 0 };
        *bytes = &rest[skipped..];
        frame.left -= (piece.len() + skipped) as u32;
        if piece.len() == content && skipped > 0 {
            frame.padding = Some(padding - skipped as u32);
        }
        self.input.expect = if frame.left == 0 { Expect::Head } else { Expect::Data(frame) };
        let kept = self.keep(frame, piece);
        match frame.left {
            0 => kept.and_then(|()| self.data_ends(frame)),
            _ => kept,
        }
    }

    /// Keeps a piece of data for whoever waits for it.
    fn keep(&mut self, frame: DataFrame, piece: &[u8]) -> Result<(), Violation> {
        let length = piece.len() as u32;
        if length == 0 {
            return Ok(());
        }
        let stream = frame.key.and_then(|key| self.table.of(key, frame.stream));
        let Some(stream) = stream else {
            self.took(None, frame.stream, length);
            return Ok(());
        };
        if let Some(left) = &mut stream.content_left {
            match left.checked_sub(u64::from(length)) {
                Some(rest) => *left = rest,
                None => {
                    self.took(None, frame.stream, length);
                    return Err(Violation::Stream(
                        frame.stream,
                        Code::PROTOCOL_ERROR,
                        "more content than its length",
                    ));
                }
            }
        }
        if stream.wanted {
            stream.keep(piece);
            stream.wake_receiver();
        } else {
            self.took(frame.key, frame.stream, length);
        }
        Ok(())
    }

    fn data_ends(&mut self, frame: DataFrame) -> Result<(), Violation> {
        let open = frame.key.is_some_and(|key| self.table.of(key, frame.stream).is_some());
        match frame.key {
            Some(key) if frame.ends && open => self.message_ends(key),
            _ => Ok(()),
        }
    }

    /// The peer's message is whole.
    fn message_ends(&mut self, key: u32) -> Result<(), Violation> {
        let stream = self.table.at(key);
        if stream.content_left.is_some_and(|left| left > 0) {
            return Err(Violation::Stream(stream.id, Code::PROTOCOL_ERROR, "less content than its length"));
        }
        stream.receiving = false;
        stream.wake_receiver();
        if stream.is_over() {
            self.close(key);
        }
        Ok(())
    }

    fn headers(&mut self, head: Head, bytes: &[u8]) -> Result<(), Violation> {
        let block = bytes.get(payload::headers(&head, bytes)?).unwrap_or_default();
        if head.has(END_HEADERS) {
            return self.block(head.stream, head.has(END_STREAM), block);
        }
        self.input.sequence.begin(&head, block)
    }

    /// A block of fields is whole.
    fn block(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Violation> {
        let purpose = self.purpose(id, ends)?;
        if self.role == Role::Server
            && !matches!(purpose, For::Request)
            && let Some(flood) = self.budget.late()
        {
            self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
            return Ok(());
        }
        let (part, mut gathered) = match purpose {
            For::Request | For::Response(_) => (Part::Head, Gathered::head()),
            For::Trailers(_) => (Part::Trailers, Gathered::default()),
            For::Nobody(_) => (Part::Head, Gathered::default()),
        };
        let wanted = !matches!(purpose, For::Nobody(_));
        let verdict = self.decoder.decode(block, part, &mut |field| {
            if wanted {
                gathered.add(field);
            }
        })?;
        if verdict == Verdict::Expanded {
            return Err(Violation::Connection(Code::ENHANCE_YOUR_CALM, "a small block of very many fields"));
        }
        match purpose {
            For::Nobody(fault) => fault.map_or(Ok(()), Err),
            For::Request => self.request(id, ends, verdict, gathered),
            For::Response(key) => self.response(key, ends, verdict, gathered),
            For::Trailers(key) => {
                if verdict != Verdict::Whole {
                    return Err(malformed(id));
                }
                self.table.at(key).trailers = Some(Box::new(gathered.headers));
                self.message_ends(key)
            }
        }
    }

    /// What the block of a stream is for.
    fn purpose(&mut self, id: u32, ends: bool) -> Result<For, Violation> {
        let closed = Violation::Stream(id, Code::STREAM_CLOSED, "a head for a stream that is closed");
        if let Some(key) = self.table.find(id) {
            let stream = self.table.look(key);
            return Ok(match (stream.receiving, stream.has_head, ends) {
                (false, ..) => For::Nobody(Some(closed)),
                (true, false, _) => For::Response(key),
                (true, true, true) => For::Trailers(key),
                (true, true, false) => For::Nobody(Some(malformed(id))), // trailers that end nothing
            });
        }
        if self.role == Role::Client {
            self.not_idle(id)?;
            return Ok(For::Nobody((!self.is_ignored(id)).then_some(closed)));
        }
        if id.is_multiple_of(2) {
            return Err(Violation::Connection(Code::PROTOCOL_ERROR, "a client's streams have odd numbers"));
        }
        if id <= self.last_peer {
            // Its end was the client's own, or it was passed over: RFC 9113 sections 5.1 and 5.1.1.
            return match self.is_ignored(id) {
                true => Ok(For::Nobody(None)),
                false => {
                    Err(Violation::Connection(Code::STREAM_CLOSED, "a head for a stream that is closed"))
                }
            };
        }
        self.budget.opened();
        self.last_peer = id;
        if matches!(self.drain, Drain::Told(last) if id > last) {
            return Ok(For::Nobody(None));
        }
        if self.table.active() >= self.config.max_streams {
            let refused = Violation::Stream(id, Code::REFUSED_STREAM, "more streams than were allowed");
            return Ok(For::Nobody(Some(refused)));
        }
        Ok(For::Request)
    }

    fn request(
        &mut self,
        id: u32,
        ends: bool,
        verdict: Verdict,
        gathered: Gathered,
    ) -> Result<(), Violation> {
        let (fields, too_large) = match verdict {
            Verdict::Malformed(_) => return Err(malformed(id)),
            Verdict::TooLarge | Verdict::Expanded => (gathered.partial(), true),
            Verdict::Whole => (gathered.request().ok_or(malformed(id))?, false),
        };
        let length = content_length(&fields.headers).map_err(|()| malformed(id))?;
        let tunnel = fields.method == http::Method::CONNECT;
        let send_window = Window::new(self.peer.initial_window);
        let key = self.table.begin(id, self.new_receive_window(), send_window);
        let stream = self.table.at(key);
        stream.has_head = true;
        stream.content_left = length.filter(|_| !tunnel);
        if ends {
            self.message_ends(key)?;
        }
        self.requests.push_back(Waiting { key, id, fields, too_large });
        Ok(())
    }

    fn response(
        &mut self,
        key: u32,
        ends: bool,
        verdict: Verdict,
        gathered: Gathered,
    ) -> Result<(), Violation> {
        let stream = self.table.at(key);
        let id = stream.id;
        if verdict != Verdict::Whole {
            return Err(malformed(id));
        }
        let fields = gathered.response().ok_or(malformed(id))?;
        if fields.status.is_informational() {
            stream.interim += 1;
            if ends {
                return Err(malformed(id));
            }
            if stream.interim > MOST_INTERIM {
                return Err(Violation::Stream(id, Code::ENHANCE_YOUR_CALM, "too many interim answers"));
            }
        } else {
            let bodyless =
                stream.bodyless || matches!(fields.status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
            let length = content_length(&fields.headers).map_err(|()| malformed(id))?;
            // What such an answer brought would be taken for the next one behind an HTTP/1 connection.
            stream.content_left = if bodyless { Some(0) } else { length };
            if ends && stream.content_left.is_some_and(|left| left > 0) {
                return Err(malformed(id)); // before anybody has seen a head that promises what does not come
            }
            stream.has_head = true;
        }
        stream.heads.push_back(fields);
        stream.wake_receiver();
        if ends { self.message_ends(key) } else { Ok(()) }
    }
}

fn malformed(id: u32) -> Violation {
    Violation::Stream(id, Code::PROTOCOL_ERROR, "a malformed message")
}
