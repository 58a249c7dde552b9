//! What a row sends, as bytes: readable text with escapes, hex, frames, repeats.
//!
//! In:  [`Step`]s.   Out: bytes into a [`Sink`], and pauses between them.
//! Invariants: nothing is corrected on the way: what a row says is what goes out.
//! Not here: reading the rows (`case`), the connection (`client`).
//!
//! | in text | is |
//! |---|---|
//! | `\r`, `\n`, `\t`, `\0`, `\\`, `\x0b` | that byte |
//! | `{H}` | `Host: a\r\n` |
//! | `{s}` | the stream counter, in hex of 8 digits: 1, and 2 more after each round of a `repeat` |
//! | `{i}` | the round of the innermost `repeat`, from 0, decimal |
//! | `{x*4000}` | what stands before the star, so often; in hex too |

use crate::hpack;
use serde::Deserialize;
use std::{ops::ControlFlow, time::Duration};

/// The preface of an HTTP/2 client.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const BATCH: usize = 64 << 10;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// One thing that a row does on its connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// Bytes, as text.
    Text(String),
    /// Anything else.
    Act(Act),
}

/// One thing that a row does on its connection, by its name.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Act {
    /// Bytes, as hex.
    Hex { hex: String },
    /// The client's preface and a SETTINGS frame with this payload.
    Preface { preface: String },
    /// A HEADERS frame; `'GET /path'` in the list stands for the four pseudo-headers to host `a`.
    Headers {
        headers: Vec<Field>,
        stream: Option<u32>,
        #[serde(default = "yes")]
        end: bool,
    },
    /// A DATA frame.
    Data {
        data: String,
        stream: Option<u32>,
        #[serde(default = "yes")]
        end: bool,
    },
    /// The same again and again.
    Repeat { repeat: u64, of: Vec<Step> },
    /// Nothing for so many milliseconds.
    Pause { pause: u64 },
    /// Waits until what was received holds these bytes.
    Until { until: String },
    /// One byte at a time, so many milliseconds apart.
    Drip { drip: String, every: u64 },
    /// Sends no more.
    HalfClose { half_close: bool },
}

/// A header field of HTTP/2.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Field {
    /// Method and path.
    Request(String),
    /// Name and value.
    Pair(String, String),
}

/// Where bytes go.
pub trait Sink {
    /// Sends; `Break` when nothing can be sent any more.
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()>;
    /// Lets time pass.
    fn pause(&mut self, time: Duration) -> ControlFlow<()>;
    /// Waits for bytes from the other side.
    fn until(&mut self, bytes: &[u8]) -> ControlFlow<()>;
    /// Ends the sending half.
    fn half_close(&mut self) -> ControlFlow<()>;
}

/// Counters that rows can name.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    /// `{s}`.
    pub stream: u32,
    /// `{i}`.
    pub round: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters { stream: 1, round: 0 }
    }
}

fn yes() -> bool {
    true
}

/// Does all steps in order.
pub fn perform(steps: &[Step], counters: &mut Counters, sink: &mut impl Sink) -> ControlFlow<()> {
    for step in steps {
        match step {
            Step::Act(Act::Repeat { repeat, of }) => rounds(*repeat, of, counters, sink)?,
            Step::Act(Act::Pause { pause }) => sink.pause(Duration::from_millis(*pause))?,
            Step::Act(Act::Until { until }) => sink.until(&text(until, *counters))?,
            Step::Act(Act::HalfClose { half_close: true }) => sink.half_close()?,
            Step::Act(Act::Drip { drip, every }) => {
                for byte in text(drip, *counters) {
                    sink.push(&[byte])?;
                    sink.pause(Duration::from_millis(*every))?;
                }
            }
            plain => sink.push(&render(plain, *counters))?,
        }
    }
    ControlFlow::Continue(())
}

fn rounds(count: u64, of: &[Step], counters: &mut Counters, sink: &mut impl Sink) -> ControlFlow<()> {
    let outer = counters.round;
    let plain = of.iter().all(is_plain);
    let mut batch = Vec::with_capacity(BATCH);
    for round in 0..count {
        counters.round = round;
        if plain {
            of.iter().for_each(|step| batch.extend(render(step, *counters)));
            if batch.len() >= BATCH {
                sink.push(&batch)?;
                batch.clear();
            }
        } else {
            perform(of, counters, sink)?;
        }
        counters.stream = counters.stream.wrapping_add(2);
    }
    counters.round = outer;
    if batch.is_empty() { ControlFlow::Continue(()) } else { sink.push(&batch) }
}

/// Whether a step is bytes and nothing else.
fn is_plain(step: &Step) -> bool {
    matches!(
        step,
        Step::Text(_)
            | Step::Act(Act::Hex { .. } | Act::Preface { .. } | Act::Headers { .. } | Act::Data { .. })
    )
}

fn render(step: &Step, counters: Counters) -> Vec<u8> {
    match step {
        Step::Text(line) => text(line, counters),
        Step::Act(Act::Hex { hex }) => unhex(hex, counters),
        Step::Act(Act::Preface { preface }) => {
            let settings = unhex(preface, counters);
            [PREFACE, &frame(4, 0, 0, &settings)].concat()
        }
        Step::Act(Act::Headers { headers, stream, end }) => {
            let flags = END_HEADERS | if *end { END_STREAM } else { 0 };
            frame(1, flags, stream.unwrap_or(counters.stream), &block(headers, counters))
        }
        Step::Act(Act::Data { data, stream, end }) => {
            let flags = if *end { END_STREAM } else { 0 };
            frame(0, flags, stream.unwrap_or(counters.stream), &text(data, counters))
        }
        _ => Vec::new(),
    }
}

fn block(fields: &[Field], counters: Counters) -> Vec<u8> {
    let mut block = Vec::new();
    for field in fields {
        match field {
            Field::Pair(name, value) => {
                hpack::literal(&mut block, &text(name, counters), &text(value, counters));
            }
            Field::Request(line) => {
                let (method, path) = line.split_once(' ').unwrap_or((line, "/"));
                let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
                for (name, value) in pseudo {
                    hpack::literal(&mut block, name.as_bytes(), &text(value, counters));
                }
            }
        }
    }
    block
}

/// An HTTP/2 frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The bytes of text; see the table above.
pub fn text(source: &str, counters: Counters) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find(['\\', '{']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        rest =
            if rest.starts_with('\\') { escape(rest, &mut out) } else { generator(rest, counters, &mut out) };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Takes one escape off the front of `rest`.
fn escape<'a>(rest: &'a str, out: &mut Vec<u8>) -> &'a str {
    let (byte, length) = match rest.as_bytes().get(1) {
        Some(b'r') => (b'\r', 2),
        Some(b'n') => (b'\n', 2),
        Some(b't') => (b'\t', 2),
        Some(b'0') => (0, 2),
        Some(b'\\') => (b'\\', 2),
        Some(b'x') => match u8::from_str_radix(rest.get(2..4).unwrap_or(""), 16) {
            Ok(byte) => (byte, 4),
            Err(_) => panic!("not an escape: {rest:?}"),
        },
        _ => panic!("not an escape: {rest:?}"),
    };
    out.push(byte);
    &rest[length..]
}

/// Takes one `{…}` off the front of `rest`; braces that mean nothing stay.
fn generator<'a>(rest: &'a str, counters: Counters, out: &mut Vec<u8>) -> &'a str {
    let end = rest.find('}').unwrap_or(rest.len() - 1);
    let inner = rest[1..].get(..end.saturating_sub(1)).unwrap_or("");
    if inner == "H" {
        out.extend_from_slice(b"Host: a\r\n");
    } else if inner == "s" {
        out.extend_from_slice(format!("{:08x}", counters.stream).as_bytes());
    } else if inner == "i" {
        out.extend_from_slice(counters.round.to_string().as_bytes());
    } else if let Some((of, Ok(count))) = inner.rsplit_once('*').map(|(of, count)| (of, count.parse())) {
        out.extend(text(of, counters).repeat(count));
    } else {
        out.push(b'{');
        return &rest[1..];
    }
    &rest[end + 1..]
}

/// The bytes of hex; spaces do not count.
///
/// # Panics
/// When it is not hex.
pub fn unhex(source: &str, counters: Counters) -> Vec<u8> {
    let digits = text(source, counters);
    let digits: Vec<u8> = digits.into_iter().filter(|digit| !digit.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte at the end of {source:?}");
    digits
        .chunks_exact(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{pair:?} is not hex in {source:?}"))
        })
        .collect()
}
