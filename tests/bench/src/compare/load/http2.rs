//! Clients of HTTP/2: one task a connection, which writes all that it has to say at once.

use super::{
    pace::{Due, Pace},
    tally::Tally,
};
use crate::{
    compare::{
        scenarios::{Clients, Content, HOST},
        wire::{
            body::{Expected, Progress, message},
            frames::{self, Frame},
            hpack::{Decoder, Encoder, Field, Repeated},
        },
    },
    void::Void,
};
use std::rc::Rc;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

/// What a server may send on a stream before it hears from this end.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same of a connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What is read at once.
const BUFFER: usize = 64 << 10;

/// What the clients of a scenario ask.
pub struct Question {
    fields: Vec<Field>,
    body: Vec<u8>,
    grpc: bool,
    expected: Rc<Expected>,
}

impl Question {
    /// For a scenario.
    pub fn new(clients: &Clients, expected: Rc<Expected>) -> Self {
        let (method, body) = match clients.content {
            Content::Bytes(_) => ("GET", Vec::new()),
            Content::Message(size) => ("POST", message(b'q', size)),
        };
        let grpc = !body.is_empty();
        let mut fields = vec![
            (":method", method.to_owned()),
            (":scheme", if clients.tls { "https" } else { "http" }.to_owned()),
            (":authority", HOST.to_owned()),
            (":path", clients.content.path()),
            ("user-agent", "sidle-bench".to_owned()),
        ];
        if grpc {
            fields.extend([("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())]);
        } else {
            fields.push(("accept", "*/*".to_owned()));
        }
        Question { fields, body, grpc, expected }
    }
}

/// Asks at its pace, with so many streams at once.
///
/// # Errors
/// When an answer is wrong, or none comes.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    question: Rc<Question>,
    streams: usize,
    mut pace: Pace,
    tally: Rc<Tally>,
) -> Result<(), Void> {
    let mut connection = Connection::open(stream, question, streams).await?;
    let mut over = false;
    loop {
        while !over && connection.room() {
            match pace.now() {
                Due::Now(intended) => connection.ask(intended),
                Due::Later => break,
                Due::Never => over = true,
            }
        }
        if over && connection.open.is_empty() {
            return Ok(());
        }
        connection.flush().await?;
        let room = connection.room() && !over;
        tokio::select! {
            biased;
            received = connection.receive() => received?,
            due = pace.next(), if room => match due {
                Some(intended) => connection.ask(intended),
                None => over = true,
            },
        }
        connection.understand(|cluster, intended| tally.answered(cluster, intended))?;
    }
}

/// A question that is not answered yet.
struct Open {
    stream: u32,
    intended: Option<Instant>,
    progress: Progress,
    begun: bool,
}

/// A connection, seen from the client.
pub struct Connection<S> {
    stream: S,
    question: Rc<Question>,
    block: Repeated,
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
    next: u32,
    open: Vec<Open>,
    /// Streams at once.
    most: usize,
    /// What may be sent on the connection.
    window: i64,
    /// What was received and is not yet given back.
    credit: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Says hello, and waits for what the server wants.
    ///
    /// # Errors
    /// When no server of HTTP/2 answers.
    pub async fn open(mut stream: S, question: Rc<Question>, streams: usize) -> Result<Self, Void> {
        let mut output = frames::PREFACE.to_vec();
        frames::settings(
            &mut output,
            &[(frames::ENABLE_PUSH, 0), (frames::INITIAL_WINDOW_SIZE, STREAM_WINDOW)],
        );
        frames::window_update(&mut output, 0, CONNECTION_WINDOW - frames::WINDOW as u32);
        stream.write_all(&output).await?;
        stream.flush().await?;
        output.clear();
        let mut input = Vec::with_capacity(BUFFER);
        let mut encoder = Encoder::default();
        let mut most = streams;
        loop {
            if stream.read_buf(&mut input).await? == 0 {
                return Err(Void::because("the connection was closed in place of SETTINGS"));
            }
            let Some(first) = Frame::take(&mut &input[..]) else { continue };
            if first.kind != frames::SETTINGS {
                return Err(Void::because(format!("a frame of kind {} in place of SETTINGS", first.kind)));
            }
            for (name, value) in first.settings() {
                match name {
                    frames::HEADER_TABLE_SIZE => encoder.table_size(value),
                    frames::MAX_CONCURRENT_STREAMS => most = most.min(value as usize),
                    _ => {}
                }
            }
            break;
        }
        let block = Repeated::new(&mut encoder, &question.fields);
        let mut connection = Connection {
            stream,
            question,
            block,
            decoder: Decoder::default(),
            input,
            output,
            next: 1,
            open: Vec::with_capacity(streams),
            most,
            window: frames::WINDOW,
            credit: 0,
        };
        connection.understand(|_, _| ())?;
        Ok(connection)
    }

    /// Asks once, and waits for the answer.
    ///
    /// # Errors
    /// When it is wrong.
    pub async fn once(&mut self) -> Result<(), Void> {
        self.ask(None);
        self.flush().await?;
        while !self.open.is_empty() {
            self.receive().await?;
            self.understand(|_, _| ())?;
        }
        self.flush().await
    }

    /// Whether one more question may be asked.
    fn room(&self) -> bool {
        self.open.len() < self.most && self.window >= self.question.body.len() as i64
    }

    fn ask(&mut self, intended: Option<Instant>) {
        let (stream, question) = (self.next, &self.question);
        self.next += 2;
        let block = self.block.block();
        let last = if question.body.is_empty() { frames::END_STREAM } else { 0 };
        let flags = frames::END_HEADERS | last;
        Frame { kind: frames::HEADERS, flags, stream, payload: block }.write(&mut self.output);
        if !question.body.is_empty() {
            let data =
                Frame { kind: frames::DATA, flags: frames::END_STREAM, stream, payload: &question.body };
            data.write(&mut self.output);
            self.window -= question.body.len() as i64;
        }
        self.open.push(Open { stream, intended, progress: Progress::default(), begun: false });
    }

    async fn flush(&mut self) -> Result<(), Void> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Waits for bytes; nothing is lost when it is given up.
    async fn receive(&mut self) -> Result<(), Void> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Void::because("the connection was closed in place of an answer")),
            _ => Ok(()),
        }
    }

    /// Takes what has been received apart; `answered` hears of each whole answer.
    fn understand(&mut self, mut answered: impl FnMut(usize, Option<Instant>)) -> Result<(), Void> {
        let mut input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some(frame) = Frame::take(&mut rest) {
            if let Some((cluster, intended)) = self.frame(&frame)? {
                answered(cluster, intended);
            }
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        self.input = input;
        if self.credit >= CONNECTION_WINDOW / 2 {
            frames::window_update(&mut self.output, 0, std::mem::take(&mut self.credit));
        }
        Ok(())
    }

    /// Takes a frame; the answer that ends with it.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<Option<(usize, Option<Instant>)>, Void> {
        let place = self.open.iter().position(|open| open.stream == frame.stream);
        match (frame.kind, place) {
            (frames::HEADERS, place) => {
                let (mut status, mut grpc_status) = (false, false);
                self.decoder.decode(
                    frame.content()?,
                    &[":status", "grpc-status"],
                    |name, value| match name {
                        b":status" => status = value == b"200",
                        _ => grpc_status = value == b"0",
                    },
                )?;
                let Some(place) = place else { return Ok(None) };
                let trailers = std::mem::replace(&mut self.open[place].begun, true);
                if !trailers && !status || trailers && !grpc_status {
                    return Err(Void::because("an answer with a wrong status"));
                }
                if frame.ends() {
                    return self.whole(place, trailers).map(Some);
                }
            }
            (frames::DATA, Some(place)) => {
                self.credit += frame.payload.len() as u32;
                let open = &mut self.open[place];
                if !open.begun || !open.progress.take(&self.question.expected, frame.content()?) {
                    return Err(Void::because("an answer with wrong content"));
                }
                if frame.ends() {
                    return self.whole(place, false).map(Some);
                }
            }
            (frames::RST_STREAM, Some(_)) => {
                return Err(Void::because(format!("a stream was reset with code {}", frame.number())));
            }
            (frames::GOAWAY, _) => {
                let reason = String::from_utf8_lossy(frame.payload.get(8..).unwrap_or_default());
                return Err(Void::because(format!("GOAWAY {reason}")));
            }
            (frames::WINDOW_UPDATE, _) if frame.stream == 0 => self.window += i64::from(frame.number()),
            (frames::CONTINUATION, _) => return Err(Void::because("fields of more than one frame")),
            _ => frames::acknowledge(&mut self.output, frame),
        }
        Ok(None)
    }

    fn whole(&mut self, place: usize, trailers: bool) -> Result<(usize, Option<Instant>), Void> {
        let open = self.open.swap_remove(place);
        let cluster = open.progress.whole(&self.question.expected).filter(|_| trailers == self.question.grpc);
        let cluster =
            cluster.ok_or_else(|| Void::because("an answer that is too short, or has no trailers"))?;
        Ok((cluster, open.intended))
    }
}
