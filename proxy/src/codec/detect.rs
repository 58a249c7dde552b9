//! What a connection speaks, told from its first bytes.
//!
//! In:  all bytes that were read so far, none consumed.   Out: a [`Detection`].
//! Invariants: pure. An answer other than [`Detection::NeedMore`] never changes when more bytes follow, and comes at the latest
//! with [`MAX_BYTES`]. Arbitrary bytes never panic.
//! Not here: reading, and the time to wait for more (`listener`).
//! Read: this file, then `client_hello`.

mod client_hello;
#[cfg(test)]
mod tests;

use sidle_model::ir::ApplicationProtocol;

/// With this many bytes there always is an answer.
pub const MAX_BYTES: usize = 64 << 10;

/// What the client says before an HTTP/2 connection without ALPN (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Methods that are believed without the rest of their line (RFC 9110, section 9; RFC 5789).
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// A method longer than this is none.
const MAX_METHOD: usize = 20;

/// What a connection speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detection {
    /// Cannot be told yet.
    NeedMore,
    /// TLS.
    Tls(ClientHello),
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else.
    Opaque,
}

/// What a ClientHello says that matters for the choice of a filter chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// `server_name`, lower-case.
    pub server_name: Option<Box<str>>,
    /// Of the offered ALPN protocols those that are known, in the client's order.
    pub alpn: Vec<ApplicationProtocol>,
}

/// What a connection that begins with `bytes` speaks.
pub fn detect(bytes: &[u8]) -> Detection {
    let answer = match bytes.get(..MAX_BYTES).unwrap_or(bytes) {
        [] => Detection::NeedMore,
        bytes @ [client_hello::HANDSHAKE_RECORD, ..] => client_hello::detect(bytes),
        bytes => plaintext(bytes),
    };
    match answer {
        Detection::NeedMore if bytes.len() >= MAX_BYTES => Detection::Opaque,
        answer => answer,
    }
}

/// Whether a connection that begins with `bytes` is HTTP/2 rather than HTTP/1; `None`: more bytes must tell.
pub fn is_http2(bytes: &[u8]) -> Option<bool> {
    let compared = bytes.len().min(PREFACE.len());
    match bytes[..compared] == PREFACE[..compared] {
        true if compared < PREFACE.len() => None,
        same => Some(same),
    }
}

fn plaintext(bytes: &[u8]) -> Detection {
    if bytes.starts_with(PREFACE) {
        return Detection::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Detection::NeedMore;
    }
    let method = bytes.iter().take(MAX_METHOD).take_while(|byte| is_token(**byte)).count();
    match bytes.get(method) {
        None => Detection::NeedMore,
        // Not waiting for the line's end keeps a client that is slow to finish it an HTTP client, with HTTP's timeouts.
        Some(b' ') if METHODS.contains(&&bytes[..method]) => Detection::Http1,
        // `EHLO mail.example` and `AUTH secret` look like a method too.
        Some(b' ') if method > 0 => request_line(bytes),
        Some(_) => Detection::Opaque,
    }
}

/// Judges a line by its end.
fn request_line(bytes: &[u8]) -> Detection {
    let is_text = |byte: u8| byte >= b' ' && byte != 0x7f;
    let Some(end) = bytes.iter().position(|&byte| !is_text(byte)) else {
        return Detection::NeedMore;
    };
    let after = match &bytes[end..] {
        [b'\r'] => return Detection::NeedMore,
        [b'\r', after, ..] | [after, ..] => *after,
        [] => return Detection::NeedMore,
    };
    let line = &bytes[..end];
    if after == b'\n' && (line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")) {
        Detection::Http1
    } else {
        Detection::Opaque
    }
}

/// A `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
