//! Heads and trailers that come.
//!
//! Invariants: every block is decoded, whatever becomes of its stream, so that the compression of the others stays right.

use super::{
    Core, Drain, End, Role,
    fields::{Gathered, RequestFields, content_length},
};
use crate::{
    code::{Code, Violation},
    frame::{END_HEADERS, END_STREAM, Head, payload, window::Window},
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
    pub(super) fn headers(&mut self, head: Head, bytes: &[u8]) -> Result<(), Violation> {
        let block = bytes.get(payload::headers(&head, bytes)?).unwrap_or_default();
        if head.has(END_HEADERS) {
            return self.block(head.stream, head.has(END_STREAM), block);
        }
        self.input.sequence.begin(&head, block)
    }

    /// A block of fields is whole.
    pub(super) fn block(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Violation> {
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
            For::Trailers(_) => (Part::Trailers, Gathered::trailers()),
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
                let trailers = http::HeaderMap::try_from(gathered.headers).map_err(|_| malformed(id))?;
                self.table.at(key).trailers = Some(Box::new(trailers));
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
            self.refused += 1;
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
