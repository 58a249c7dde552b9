//! Sequences by chance: well-formed ones, with one or two things changed. The same seed makes the same bytes everywhere.

use crate::{
    random::Random,
    rows::{EVIL, Sequence},
};
use std::collections::BTreeSet;

/// So many different ones.
pub fn all(seed: u64, count: usize) -> Vec<Sequence> {
    let mut random = Random::new(seed);
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let base = random.below(BASES.len());
        let mut bytes =
            BASES[base].replace("{EVIL}", EVIL).replace("{LEN}", &EVIL.len().to_string()).into_bytes();
        let mut name = format!("base {base}");
        for _ in 0..if random.percent(40) { 2 } else { 1 } {
            let (what, change) = CHANGES[random.below(CHANGES.len())];
            change(&mut bytes, &mut random);
            name = format!("{name}, {what}");
        }
        if seen.insert(bytes.clone()) {
            all.push(Sequence { name: format!("{name} ({})", all.len()), bytes });
        }
    }
    all
}

const BASES: &[&str] = &[
    "GET /g HTTP/1.1\r\nHost: a\r\n\r\n{EVIL}",
    "GET /g?x=y HTTP/1.1\r\nHost: a\r\nUser-Agent: t\r\nAccept: */*\r\n\r\n",
    "POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello{EVIL}",
    "POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n{EVIL}",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{EVIL}",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nX-T: v\r\n\r\n{EVIL}",
    "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n{EVIL}",
    "POST /o HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /k HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello{EVIL}",
    "GET http://a/absolute HTTP/1.1\r\nHost: a\r\n\r\n{EVIL}",
    "PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello{EVIL}",
    "PUT /z HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n{EVIL}",
    "DELETE /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: 1\r\nX-A: 2\r\n\r\n{EVIL}",
];

type Change = fn(&mut Vec<u8>, &mut Random);

const CHANGES: &[(&str, Change)] = &[
    ("a header line twice", duplicate),
    ("a header line more", insert),
    ("a line less", remove_line),
    ("lines in another order", swap_lines),
    ("upper and lower case", |bytes, random| change_case(bytes, random)),
    ("a byte more", insert_byte),
    ("a byte more", insert_byte),
    ("a byte less", remove_byte),
    ("a byte changed", |bytes, random| replace_byte(bytes, random)),
    ("another line end", line_end),
    ("another line end", line_end),
    ("another length", |bytes, random| value(bytes, random, "content-length", LENGTHS)),
    ("another coding", |bytes, random| value(bytes, random, "transfer-encoding", CODINGS)),
    ("another connection", |bytes, random| value(bytes, random, "connection", CONNECTIONS)),
    ("another host", |bytes, random| value(bytes, random, "host", HOSTS)),
    ("another chunk size", chunk_size),
    ("another method", |bytes, random| word(bytes, random, 0, METHODS)),
    ("another target", |bytes, random| word(bytes, random, 1, TARGETS)),
    ("another version", |bytes, random| word(bytes, random, 2, VERSIONS)),
];

const LENGTHS: &[&str] = &[
    "0",
    "1",
    "4",
    "6",
    "05",
    "+5",
    "-5",
    " 5",
    "5 ",
    "5,5",
    "5, 5",
    "5,6",
    "0x5",
    "5;x",
    "'5'",
    "5\t",
    "",
    "4294967301",
    "18446744073709551621",
    "\u{b}5",
    "5\u{c}",
];
const CODINGS: &[&str] = &[
    "chunked",
    "Chunked",
    " chunked",
    "chunked ",
    "chunked,",
    ",chunked",
    "chunked, chunked",
    "identity",
    "gzip, chunked",
    "chunked, gzip",
    "chunked;a=b",
    "x",
    "",
    "\u{b}chunked",
    "chunked\u{c}",
    "\"chunked\"",
    "chunked\0",
];
const CONNECTIONS: &[&str] = &[
    "close",
    "keep-alive",
    "close, keep-alive",
    "content-length",
    "transfer-encoding",
    "host",
    "upgrade",
    "Upgrade, close",
    "x-a",
    "te",
    "",
    ",",
    "close,",
    "\"close\"",
];
const HOSTS: &[&str] = &["", "b", "a:80", "a:x", "a,b", "a b", "a/", "a@b", "[::1]", "a\t", "A", "a."];
const METHODS: &[&str] =
    &["GET", "POST", "get", "HEAD", "OPTIONS", "TRACE", "PATCH", "M-SEARCH", "G ET", "", "GET\t", "(", "PRI"];
const TARGETS: &[&str] = &[
    "*",
    "/",
    "//",
    "/a/../b",
    "/%2e/",
    "/%00",
    "/a b",
    "/\t",
    "/#f",
    "?",
    "",
    "a:80",
    "http://b/",
    "http://a:80/x",
    "/a\\b",
    "/;x",
    "/\u{7f}",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/0.9",
    "HTTP/1.1 ",
    "http/1.1",
    "HTTP/1",
    "",
    "HTTP/11",
];
const LINES: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 6",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "Content-Length : 5",
    " Content-Length: 5",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: content-length",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: x",
    "TE: trailers",
    "Trailer: x",
    "Host: b",
    "X: y\r\n z",
    "X",
    ":",
    "Keep-Alive: 1",
    "Content-Type: a/b",
    "Range: bytes=0-",
];
const BYTES: &[u8] = b" \t\r\n\0\x0b\x0c\x7f\x80\xa0\xff:;,\"'/\\#%0aZ";

/// Where the lines of the first head begin and end, its request line first.
fn lines(bytes: &[u8]) -> Vec<(usize, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |end| end + 2);
    let mut all = Vec::new();
    let mut begin = 0;
    while let Some(end) = bytes[begin..head].windows(2).position(|two| two == b"\r\n") {
        all.push((begin, begin + end + 2));
        begin += end + 2;
    }
    all
}

/// One of the header lines of the first head.
fn header(bytes: &[u8], random: &mut Random) -> Option<(usize, usize)> {
    let lines = lines(bytes);
    (lines.len() > 1).then(|| lines[1 + random.below(lines.len() - 1)])
}

fn duplicate(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((begin, end)) = header(bytes, random) else { return };
    let line = bytes[begin..end].to_vec();
    bytes.splice(begin..begin, line);
}

fn insert(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((begin, end)) = header(bytes, random) else { return };
    let at = if random.percent(50) { begin } else { end };
    bytes.splice(at..at, format!("{}\r\n", random.pick(LINES)).into_bytes());
}

fn remove_line(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((begin, end)) = header(bytes, random) else { return };
    bytes.drain(begin..end);
}

fn swap_lines(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((begin, end)) = header(bytes, random) else { return };
    let line: Vec<u8> = bytes.drain(begin..end).collect();
    let at = lines(bytes).first().map_or(0, |first| first.1);
    bytes.splice(at..at, line);
}

fn change_case(bytes: &mut [u8], random: &mut Random) {
    let Some((begin, end)) = header(bytes, random) else { return };
    for byte in &mut bytes[begin..end] {
        if random.percent(50) {
            *byte =
                if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        }
    }
}

fn insert_byte(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    bytes.insert(at, random.pick(BYTES));
}

fn remove_byte(bytes: &mut Vec<u8>, random: &mut Random) {
    bytes.remove(random.below(bytes.len()));
}

fn replace_byte(bytes: &mut [u8], random: &mut Random) {
    let at = random.below(bytes.len());
    bytes[at] = random.pick(BYTES);
}

fn line_end(bytes: &mut Vec<u8>, random: &mut Random) {
    let ends: Vec<usize> = (1..bytes.len()).filter(|&at| bytes[at - 1..=at] == *b"\r\n").collect();
    if ends.is_empty() {
        return;
    }
    let at = random.pick(&ends);
    let other = random.pick(&["\n", "\r", "\r\r\n", "\n\r", "\r\n\r\n", " \r\n", "\r\n ", ""]);
    bytes.splice(at - 1..=at, other.bytes());
}

/// Another value for a field, in the first head; a new line for it if there is none.
fn value(bytes: &mut Vec<u8>, random: &mut Random, name: &str, values: &[&str]) {
    let line = format!("{name}: {}\r\n", random.pick(values)).into_bytes();
    let lines = lines(bytes);
    let present = lines.iter().find(|(begin, end)| {
        let text = String::from_utf8_lossy(&bytes[*begin..*end]).to_ascii_lowercase();
        text.starts_with(&format!("{name}:"))
    });
    match (present, lines.first()) {
        (Some(&(begin, end)), _) => bytes.splice(begin..end, line),
        (None, Some(&(_, end))) => bytes.splice(end..end, line),
        (None, None) => return,
    };
}

/// Another word of the first line.
fn word(bytes: &mut Vec<u8>, random: &mut Random, index: usize, words: &[&str]) {
    let Some((_, end)) = lines(bytes).first().copied() else { return };
    let line = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
    let mut parts: Vec<&str> = line.splitn(3, ' ').collect();
    if let Some(part) = parts.get_mut(index) {
        *part = random.pick(words);
    }
    bytes.splice(..end, format!("{}\r\n", parts.join(" ")).into_bytes());
}

/// Another size of a chunk; elsewhere, another digit.
fn chunk_size(bytes: &mut Vec<u8>, random: &mut Random) {
    let digits: Vec<usize> = (2..bytes.len().saturating_sub(1))
        .filter(|&at| bytes[at - 2..at] == *b"\r\n" && bytes[at].is_ascii_hexdigit())
        .collect();
    if digits.is_empty() {
        return;
    }
    let at = random.pick(&digits);
    let sizes = [
        "00",
        "05",
        "5 ",
        " 5",
        "+5",
        "0x5",
        "5;",
        "5;a=b",
        "5\t",
        "6",
        "4",
        "5\u{b}",
        "1g",
        "",
        "ffffffffffffffff",
        "100000005",
    ];
    bytes.splice(at..=at, random.pick(&sizes).bytes());
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let bytes = |seed| all(seed, 50).into_iter().map(|one| one.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}
