//! HTTP/2 frame by frame, for what no client and no server of good faith would send.
//!
//! Heads are written as literals (RFC 7541 section 6.2.2), so any name and any value can be. Read ones are not decoded.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "RFC 9113 section 6 has them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM, and ACK.
pub const END_STREAM: u8 = 0x1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 0x4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// As the kind means them.
    pub flags: u8,
    /// Of the connection, 0.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of RST_STREAM or GOAWAY.
    ///
    /// # Panics
    /// On other frames.
    pub fn code(&self) -> u32 {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => panic!("{self:?} has no code"),
        };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// Whether a head has this status of three digits, as an entry of the static table, as text, or in Huffman's code.
pub fn has_status(head: &Frame, status: &str) -> bool {
    const STATIC: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
    let indexed = STATIC.iter().position(|known| *known == status).map(|at| vec![0x88 + at as u8]);
    let plain = [&[3], status.as_bytes()].concat();
    let mut bits = String::new();
    for digit in status.bytes().map(|byte| byte - b'0') {
        // RFC 7541, appendix B: five bits for 0 to 2, six for the others.
        match digit {
            0..3 => bits += &format!("{digit:05b}"),
            _ => bits += &format!("{:06b}", 0x19 + digit - 3),
        }
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let coded =
        bits.as_bytes().chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')));
    let coded: Vec<u8> = [0x80 | (bits.len() / 8) as u8].into_iter().chain(coded).collect();
    let holds = |part: &[u8]| head.payload.windows(part.len()).any(|bytes| bytes == part);
    indexed.is_some_and(|part| head.payload.starts_with(&part)) || holds(&plain) || holds(&coded)
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of headers, each as a literal that is not indexed.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(length as u8);
    }
    block.push(127);
    let mut left = length - 127;
    while left >= 128 {
        block.push((left % 128 + 128) as u8);
        left /= 128;
    }
    block.push(left as u8);
}

/// One end of a connection.
pub struct Http2 {
    stream: TcpStream,
}

impl Http2 {
    /// A client that has sent its preface and these settings.
    ///
    /// # Panics
    /// When it cannot connect.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        let mut client = Http2::over(stream);
        client.send(PREFACE);
        client.settings(settings);
        client
    }

    /// A server that has read its client's preface and sent these settings.
    ///
    /// # Panics
    /// When the client does not speak HTTP/2.
    pub fn accept(stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut server = Http2::over(stream);
        let mut preface = [0; PREFACE.len()];
        server.stream.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        server.settings(settings);
        server
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Http2 { stream }
    }

    fn settings(&mut self, settings: &[(u16, u32)]) {
        let fields =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        self.send(&frame(kind::SETTINGS, 0, 0, &fields.collect::<Vec<_>>()));
    }

    /// Sends bytes; `false` once the peer takes no more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Opens a stream with these fields.
    pub fn request(&mut self, stream: u32, end: bool, fields: &[(&str, &str)]) -> bool {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(&frame(kind::HEADERS, flags, stream, &block(fields.iter().copied())))
    }

    /// The next frame; `None` when the peer has closed.
    ///
    /// # Panics
    /// When nothing comes for long.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                panic!("the peer says nothing for {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }

    /// The first frame that `wanted` takes; those before it are dropped.
    ///
    /// # Panics
    /// When the peer closes first.
    pub fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let mut seen = Vec::new();
        while let Some(frame) = self.frame() {
            if wanted(&frame) {
                return frame;
            }
            seen.push(frame);
        }
        panic!("the peer closed after {seen:?}");
    }

    /// The code with which the peer resets a stream.
    ///
    /// # Panics
    /// When it does not.
    pub fn reset_of(&mut self, stream: u32) -> u32 {
        self.find(|frame| frame.kind == kind::RST_STREAM && frame.stream == stream).code()
    }

    /// The code with which the peer ends the connection, which it then closes.
    ///
    /// # Panics
    /// When it does neither.
    pub fn turned_away(&mut self) -> u32 {
        let code = self.find(|frame| frame.kind == kind::GOAWAY).code();
        while self.frame().is_some() {}
        code
    }
}
