//! An upstream that speaks HTTP/2, gRPC included.

use super::Answers;
use crate::{
    compare::wire::{
        body,
        frames::{self, Frame},
        hpack::{Decoder, Encoder, Field, Repeated},
    },
    void::Void,
};
use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// As many as servers usually allow.
const STREAMS: u32 = 250;
/// What a client may send before it hears from this end.
const WINDOW: u32 = 1 << 20;
const BUFFER: usize = 64 << 10;

/// Answers until the other end closes.
///
/// # Errors
/// When it does not speak HTTP/2.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answers: Rc<Answers>,
) -> Result<(), Void> {
    let mut server = Server::new(answers);
    let mut input = Vec::with_capacity(BUFFER);
    let mut greeted = false;
    loop {
        let mut rest = &input[..];
        if !greeted && let Some(after) = rest.strip_prefix(frames::PREFACE) {
            (greeted, rest) = (true, after);
        }
        while greeted && let Some(frame) = Frame::take(&mut rest) {
            server.frame(&frame)?;
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        server.pump();
        if !server.output.is_empty() {
            stream.write_all(&server.output).await?;
            stream.flush().await?;
            server.output.clear();
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// An answer that is not all sent.
struct Pending {
    stream: u32,
    window: i64,
    content: Rc<[u8]>,
    sent: usize,
    trailers: bool,
}

struct Server {
    answers: Rc<Answers>,
    output: Vec<u8>,
    decoder: Decoder,
    encoder: Encoder,
    /// By the length of the content; 0 stands for gRPC.
    heads: Vec<(usize, Repeated)>,
    trailers: Option<Repeated>,
    /// Requests whose content is not all there.
    begun: HashMap<u32, Vec<u8>>,
    pending: VecDeque<Pending>,
    /// What may be sent on the connection.
    window: i64,
    /// What may be sent on a new stream.
    stream_window: i64,
    /// What was received and is not yet given back.
    credit: u32,
}

impl Server {
    fn new(answers: Rc<Answers>) -> Self {
        let mut output = Vec::with_capacity(BUFFER);
        frames::settings(
            &mut output,
            &[(frames::MAX_CONCURRENT_STREAMS, STREAMS), (frames::INITIAL_WINDOW_SIZE, WINDOW)],
        );
        frames::window_update(&mut output, 0, WINDOW - frames::WINDOW as u32);
        Server {
            answers,
            output,
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            heads: Vec::new(),
            trailers: None,
            begun: HashMap::new(),
            pending: VecDeque::new(),
            window: frames::WINDOW,
            stream_window: frames::WINDOW,
            credit: 0,
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Void> {
        match frame.kind {
            frames::HEADERS => self.request(frame)?,
            frames::DATA => {
                self.credit += frame.payload.len() as u32;
                if self.credit >= WINDOW / 2 {
                    frames::window_update(&mut self.output, 0, std::mem::take(&mut self.credit));
                }
                if let Some(begun) = self.begun.get_mut(&frame.stream) {
                    begun.extend_from_slice(frame.content()?);
                    if frame.ends()
                        && let Some(message) = self.begun.remove(&frame.stream)
                    {
                        self.echo(frame.stream, message);
                    }
                }
            }
            frames::RST_STREAM => {
                self.begun.remove(&frame.stream);
                self.pending.retain(|pending| pending.stream != frame.stream);
            }
            frames::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()),
            frames::WINDOW_UPDATE => {
                let mut of_stream = self.pending.iter_mut().filter(|pending| pending.stream == frame.stream);
                if let Some(pending) = of_stream.next() {
                    pending.window += i64::from(frame.number());
                }
            }
            frames::CONTINUATION => return Err(Void::because("fields of more than one frame")),
            _ => {
                if frame.kind == frames::SETTINGS {
                    self.settings(frame);
                }
                frames::acknowledge(&mut self.output, frame);
            }
        }
        Ok(())
    }

    fn settings(&mut self, frame: &Frame<'_>) {
        for (name, value) in frame.settings() {
            match name {
                // What comes later than the first answer would come too late for the table.
                frames::HEADER_TABLE_SIZE if self.heads.is_empty() => self.encoder.table_size(value),
                frames::INITIAL_WINDOW_SIZE => {
                    let more = i64::from(value) - self.stream_window;
                    self.stream_window += more;
                    self.pending.iter_mut().for_each(|pending| pending.window += more);
                }
                _ => {}
            }
        }
    }

    fn request(&mut self, frame: &Frame<'_>) -> Result<(), Void> {
        let mut target = Vec::new();
        self.decoder.decode(frame.content()?, &[":path"], |_, path| path.clone_into(&mut target))?;
        if !frame.ends() {
            self.begun.insert(frame.stream, Vec::new());
        } else if let Some(content) = self.answers.to(&target, |content| content) {
            self.answer(frame.stream, content, false);
        } else {
            let mut block = Vec::new();
            self.encoder.encode(&[(":status", "404".to_owned())], &mut block);
            let flags = frames::END_HEADERS | frames::END_STREAM;
            Frame { kind: frames::HEADERS, flags, stream: frame.stream, payload: &block }
                .write(&mut self.output);
        }
        Ok(())
    }

    /// Sends a gRPC message back, marked with the cluster.
    fn echo(&mut self, stream: u32, mut message: Vec<u8>) {
        body::mark(&mut message, self.answers.version);
        self.answer(stream, message.into(), true);
    }

    fn answer(&mut self, stream: u32, content: Rc<[u8]>, grpc: bool) {
        let kind = if grpc { 0 } else { content.len() };
        let place = match self.heads.iter().position(|(known, _)| *known == kind) {
            Some(place) => place,
            None => {
                self.heads.push((kind, Repeated::new(&mut self.encoder, &fields(kind))));
                self.heads.len() - 1
            }
        };
        let payload = self.heads[place].1.block();
        let head = Frame { kind: frames::HEADERS, flags: frames::END_HEADERS, stream, payload };
        head.write(&mut self.output);
        self.pending.push_back(Pending {
            stream,
            window: self.stream_window,
            content,
            sent: 0,
            trailers: grpc,
        });
        // Later answers have to wait for earlier ones, and this one need not wait at all.
        self.pump();
    }

    /// Sends as much as the other end takes, a frame of each answer in turn.
    fn pump(&mut self) {
        let mut stuck = 0;
        while stuck < self.pending.len() && self.window > 0 {
            let Some(mut pending) = self.pending.pop_front() else { return };
            let left = pending.content.len() - pending.sent;
            let room = self.window.min(pending.window).max(0) as usize;
            let length = left.min(room).min(frames::LONGEST);
            if length == 0 {
                stuck += 1;
                self.pending.push_back(pending);
                continue;
            }
            stuck = 0;
            let last = length == left;
            let flags = if last && !pending.trailers { frames::END_STREAM } else { 0 };
            let payload = &pending.content[pending.sent..pending.sent + length];
            Frame { kind: frames::DATA, flags, stream: pending.stream, payload }.write(&mut self.output);
            pending.sent += length;
            pending.window -= length as i64;
            self.window -= length as i64;
            if !last {
                self.pending.push_back(pending);
            } else if pending.trailers {
                let encoder = &mut self.encoder;
                let status = || [("grpc-status", "0".to_owned()), ("grpc-message", String::new())];
                let trailers = self.trailers.get_or_insert_with(|| Repeated::new(encoder, &status()));
                let flags = frames::END_HEADERS | frames::END_STREAM;
                let payload = trailers.block();
                Frame { kind: frames::HEADERS, flags, stream: pending.stream, payload }
                    .write(&mut self.output);
            }
        }
    }
}

/// The fields of an answer with so many bytes, or of gRPC.
fn fields(length: usize) -> Vec<Field> {
    let mut fields = vec![
        (":status", "200".to_owned()),
        ("server", "sidle-bench".to_owned()),
        ("date", "Sun, 22 Nov 2026 14:00:00 GMT".to_owned()),
    ];
    if length == 0 {
        fields.push(("content-type", "application/grpc".to_owned()));
    } else {
        fields.push(("content-type", "text/plain".to_owned()));
        fields.push(("cache-control", "max-age=60".to_owned()));
        fields.push(("content-length", length.to_string()));
    }
    fields
}
