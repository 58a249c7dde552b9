//! curl's odd options, each of which is a request that a correct client may send.

use crate::{
    door::{Door, run},
    table::{self, Case},
};
use sidle_test_support::{
    echo::{Answer, Echo, Received},
    peers,
    tcp::{self, TcpServer},
};
use std::{
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// What curl is told, and what must come of it.
struct Try {
    name: &'static str,
    /// `{door}` stands for the gateway, `{tls}` for its port with TLS, `{out}` for the outbound listener.
    arguments: &'static [&'static str],
    input: &'static str,
    /// What curl must print, parts of it.
    printed: &'static [&'static str],
    /// What must be so of the request at the upstream.
    seen: fn(&Received) -> bool,
}

const ANY: fn(&Received) -> bool = |_| true;

const TRIES: &[Try] = &[
    Try {
        name: "HTTP/1.0 is refused with its status",
        arguments: &["-i", "--http1.0", "{door}/"],
        input: "",
        printed: &[" 426 "],
        seen: ANY,
    },
    Try {
        name: "HTTP/2 with prior knowledge",
        arguments: &["--http2-prior-knowledge", "-i", "{door}/"],
        input: "",
        printed: &["HTTP/2 200", "\"version\":\"v1\""],
        seen: ANY,
    },
    Try {
        name: "HTTP/2 asked for by upgrade",
        arguments: &["--http2", "{door}/"],
        input: "",
        printed: &["\"version\":\"v1\""],
        seen: |seen| seen.header("upgrade").is_empty() && seen.header("http2-settings").is_empty(),
    },
    Try {
        name: "HTTP/2 by ALPN",
        arguments: &["--http2", "-k", "-i", "{tls}/"],
        input: "",
        printed: &["HTTP/2 200"],
        seen: ANY,
    },
    Try {
        name: "HTTP/1.1 by ALPN",
        arguments: &["--http1.1", "-k", "-i", "{tls}/"],
        input: "",
        printed: &["HTTP/1.1 200"],
        seen: ANY,
    },
    Try {
        name: "no ALPN",
        arguments: &["--no-alpn", "-k", "-i", "{tls}/"],
        input: "",
        printed: &["HTTP/1.1 200"],
        seen: ANY,
    },
    Try {
        name: "a body after 100 Continue",
        arguments: &["-i", "-H", "expect: 100-continue", "--expect100-timeout", "10", "-d", "@-", "{door}/"],
        input: "hello",
        printed: &["100 Continue", "\"body_length\":5"],
        seen: |seen| seen.body == b"hello",
    },
    Try {
        name: "a body without waiting for 100",
        arguments: &["-H", "expect:", "-d", "@-", "{door}/"],
        input: "hello",
        printed: &["\"body_length\":5"],
        seen: ANY,
    },
    Try {
        name: "an upload of unknown length, HTTP/1.1",
        arguments: &["--http1.1", "-T", "-", "{door}/up"],
        input: LONG,
        printed: &["\"body_length\":3000", "\"method\":\"PUT\""],
        seen: |seen| seen.body == LONG.as_bytes(),
    },
    Try {
        name: "an upload of unknown length, one chunk at a time",
        arguments: &["--http1.1", "-T", ".", "{door}/up"],
        input: LONG,
        printed: &["\"body_length\":3000"],
        seen: ANY,
    },
    Try {
        name: "an upload of unknown length, HTTP/2",
        arguments: &["--http2-prior-knowledge", "-T", "-", "{door}/up"],
        input: LONG,
        printed: &["\"body_length\":3000"],
        seen: |seen| seen.body == LONG.as_bytes(),
    },
    Try {
        name: "a GET with a body of known length",
        arguments: &["-X", "GET", "-d", "hello", "{door}/"],
        input: "",
        printed: &["\"body_length\":5"],
        seen: |seen| seen.method == "GET",
    },
    Try {
        name: "a GET with a body of unknown length",
        arguments: &["-X", "GET", "-H", "transfer-encoding: chunked", "-d", "hello", "{door}/"],
        input: "",
        printed: &["\"body_length\":5"],
        seen: |seen| seen.method == "GET",
    },
    Try {
        name: "a DELETE with a body of unknown length",
        arguments: &["-X", "DELETE", "-H", "transfer-encoding: chunked", "-d", "hello", "{door}/"],
        input: "",
        printed: &["\"body_length\":5"],
        seen: ANY,
    },
    Try {
        name: "a method of its own",
        arguments: &["-X", "FROBNICATE", "{door}/"],
        input: "",
        printed: &["\"method\":\"FROBNICATE\""],
        seen: ANY,
    },
    Try {
        name: "a part, by range",
        arguments: &["-r", "2-5", "-i", "{door}/"],
        input: "",
        printed: &[" 206 ", "content-range: bytes 2-5/9", "2345"],
        seen: |seen| seen.header("range") == "bytes=2-5",
    },
    Try {
        name: "the end, by range",
        arguments: &["-r", "-3", "{door}/"],
        input: "",
        printed: &["206"],
        seen: |seen| seen.header("range") == "bytes=-3",
    },
    Try {
        name: "HEAD",
        arguments: &["-I", "--max-time", "5", "{door}/head"],
        input: "",
        printed: &["HTTP/1.1 200", "content-length: 1000"],
        seen: |seen| seen.method == "HEAD",
    },
    Try {
        name: "HEAD over HTTP/2",
        arguments: &["-I", "--http2-prior-knowledge", "--max-time", "5", "{door}/head"],
        input: "",
        printed: &["HTTP/2 200"],
        seen: |seen| seen.method == "HEAD",
    },
    Try {
        name: "no content",
        arguments: &["-i", "--max-time", "5", "{door}/?status=204"],
        input: "",
        printed: &["204"],
        seen: ANY,
    },
    Try {
        name: "a path as it is",
        arguments: &["--path-as-is", "-w", "%{http_code}", "{door}/a/../b/./c"],
        input: "",
        printed: &["200"],
        seen: |seen| seen.path == "/b/c" || seen.path == "/a/../b/./c",
    },
    Try {
        name: "a path with slashes as it is",
        arguments: &["--path-as-is", "{door}//a//b"],
        input: "",
        printed: &["200"],
        seen: |seen| seen.path.ends_with("/b"),
    },
    Try {
        name: "a compressed answer is left as it is",
        arguments: &["--compressed", "{door}/gzip"],
        input: "",
        printed: &["unpacked"],
        seen: |seen| seen.header("accept-encoding").contains("gzip"),
    },
    Try {
        name: "without decoding",
        arguments: &["--raw", "-i", "{door}/?bytes=100"],
        input: "",
        printed: &["200"],
        seen: ANY,
    },
    Try {
        name: "absolute form by a proxy option",
        arguments: &["-x", "{out}", "http://suite.internal/path?query"],
        input: "",
        printed: &["\"version\":\"v1\""],
        seen: |seen| seen.path == "/path?query" && seen.authority == "suite.internal",
    },
    Try {
        name: "a tunnel by CONNECT",
        arguments: &["-p", "-x", "{out}", "http://suite.internal/path"],
        input: "",
        printed: &["\"version\":\"v1\""],
        seen: |seen| seen.path == "/path",
    },
    Try {
        name: "OPTIONS *",
        arguments: &["-X", "OPTIONS", "--request-target", "*", "{door}/"],
        input: "",
        printed: &["\"path\":\"*\""],
        seen: |seen| seen.method == "OPTIONS",
    },
    Try {
        name: "a target in absolute form",
        arguments: &["--request-target", "http://other.example/x?y", "{door}/"],
        input: "",
        printed: &["\"path\":\"/x?y\""],
        seen: |seen| seen.authority == "other.example",
    },
    Try {
        name: "many header lines",
        arguments: &["-H", "x-a: 1", "-H", "x-a: 2", "-H", "x-empty;", "-H", "X-CasE: y", "{door}/"],
        input: "",
        printed: &["\"x-a\":\"1,2\""],
        seen: |seen| seen.headers.contains_key("x-empty") && seen.header("x-case") == "y",
    },
    Try {
        name: "a form of several parts",
        arguments: &["-F", "a=b", "-F", "c=@-", "{door}/"],
        input: "file",
        printed: &["multipart/form-data"],
        seen: |seen| String::from_utf8_lossy(&seen.body).contains("file"),
    },
    Try {
        name: "credentials",
        arguments: &["-u", "user:pass", "{door}/"],
        input: "",
        printed: &["Basic dXNlcjpwYXNz"],
        seen: ANY,
    },
    Try {
        name: "cookies",
        arguments: &["-b", "a=b; c=d", "--http2-prior-knowledge", "{door}/"],
        input: "",
        printed: &["a=b; c=d"],
        seen: |seen| seen.header("cookie") == "a=b; c=d",
    },
    Try {
        name: "two requests on one connection",
        arguments: &["{door}/1", "{door}/2"],
        input: "",
        printed: &["\"path\":\"/1\"", "\"path\":\"/2\""],
        seen: ANY,
    },
    Try {
        name: "a limited speed",
        arguments: &[
            "--limit-rate",
            "20M",
            "-w",
            "%{size_download}",
            "-o",
            "/dev/null",
            "{door}/?bytes=1000000",
        ],
        input: "",
        printed: &["1000000"],
        seen: ANY,
    },
];

const LONG: &str = match std::str::from_utf8(&[b'x'; 3000]) {
    Ok(text) => text,
    Err(_) => "",
};

#[test]
fn every_option_that_makes_another_request() {
    let Some(program) = peers::find("curl") else { return };
    let echo = Echo::start("v1");
    echo.answer(answer);
    let door = Door::open("HTTP", echo.port());
    let mut cases: Vec<Case> =
        TRIES.iter().map(|one| Case::new(one.name, attempt(&program, &door, &echo, one))).collect();
    cases.push(Case::new("a limit of time", limited(&program, &door, &echo)));
    cases.extend(trailers(&program));
    table::enter("curl", TRIES.len() + 3, cases);
}

/// Trailers of an HTTP/1.1 answer reach clients of both versions that ask for them.
fn trailers(program: &Path) -> Vec<Case> {
    let upstream = TcpServer::start(|mut stream, _| {
        while tcp::read_request(&mut stream).is_some() {
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nsum\r\n0\r\nx-sum: 42\r\n\r\n",
            );
        }
    });
    let door = Door::open("HTTP", upstream.port());
    let url = format!("http://{}/", door.clear);
    let ways: [(&str, &[&str]); 2] = [
        ("trailers of an answer, HTTP/1.1", &["--raw", "-H", "te: trailers", "-H", "connection: te"]),
        ("trailers of an answer, HTTP/2", &["--http2-prior-knowledge", "-H", "te: trailers"]),
    ];
    let case = |(name, arguments): (&str, &[&str])| {
        let (succeeded, text) =
            run(Command::new(program).args(["-sSi", "--max-time", "20"]).args(arguments).arg(&url), b"");
        let arrived = succeeded && text.contains("sum") && text.to_ascii_lowercase().contains("x-sum: 42");
        Case::new(name, if arrived { Ok(()) } else { Err(text) })
    };
    ways.into_iter().map(case).collect()
}

/// What the usual answers of the upstream lack.
fn answer(seen: &Received) -> Option<Answer> {
    if !seen.header("range").is_empty() {
        let part = Answer {
            status: http::StatusCode::from_u16(206).ok(),
            body: "2345 206".into(),
            ..Answer::default()
        };
        return Some(part.header("content-range", "bytes 2-5/9"));
    }
    match &*seen.path {
        "/head" => Some(Answer::default().header("content-length", "1000")),
        "/gzip" => Some(Answer { body: GZIP.into(), ..Answer::default() }.header("content-encoding", "gzip")),
        path if path.ends_with("/b") => Some(Answer { body: "200".into(), ..Answer::default() }),
        _ => None,
    }
}

/// `unpacked`, in gzip.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x2b, 0xcd, 0x2b, 0x48, 0x4c, 0xce, 0x4e, 0x4d, 1, 0, 0x96, 0x62,
    0x2f, 0xca, 8, 0, 0, 0,
];

fn attempt(program: &Path, door: &Door, echo: &Echo, one: &Try) -> Result<(), String> {
    echo.forget();
    let (clear, tls) = (format!("http://{}", door.clear), format!("https://{}", door.tls));
    let outbound = format!("http://{}", door.sidle.outbound());
    let filled =
        |text: &&str| text.replace("{door}", &clear).replace("{tls}", &tls).replace("{out}", &outbound);
    let mut command = Command::new(program);
    command.args(["-sS", "--max-time", "20"]).args(one.arguments.iter().map(filled));
    let (succeeded, text) = run(&mut command, one.input.as_bytes());
    let folded = text.to_ascii_lowercase();
    if let Some(part) = one.printed.iter().find(|part| !folded.contains(&part.to_ascii_lowercase())) {
        return Err(format!("no {part:?} in {text:?}"));
    }
    match echo.received().last() {
        _ if !succeeded => Err(text),
        Some(seen) if !(one.seen)(seen) => Err(format!("the upstream saw {seen:?}")),
        _ => Ok(()),
    }
}

/// curl gives up; the upstream hears of it.
fn limited(program: &Path, door: &Door, echo: &Echo) -> Result<(), String> {
    let before = echo.cancelled();
    let url = format!("http://{}/?hang", door.clear);
    let (succeeded, text) = run(Command::new(program).args(["-sS", "--max-time", "2", &url]), b"");
    let begin = Instant::now();
    while echo.cancelled() == before {
        if begin.elapsed() > Duration::from_secs(5) {
            return Err(format!("the upstream still answers: {text}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if succeeded { Err("curl did not give up".to_owned()) } else { Ok(()) }
}
