//! nghttp's odd options: windows, padding, priorities, trailers, continuation, many streams.

use crate::{
    door::{Door, run},
    table::{self, Case},
};
use sidle_test_support::{
    echo::{Echo, Received},
    peers,
};
use std::{path::Path, process::Command};

/// What nghttp is told, and what must come of it.
struct Try {
    name: &'static str,
    arguments: &'static [&'static str],
    path: &'static str,
    body: bool,
    /// How many requests the upstream must see.
    requests: usize,
    /// What must be so of each of them.
    seen: fn(&Received) -> bool,
}

const ANY: fn(&Received) -> bool = |_| true;
/// Larger than any window here.
const BODY: usize = 60_000;
const WHOLE: fn(&Received) -> bool = |seen| seen.body.len() == BODY;

const TRIES: &[Try] = &[
    Try { name: "a plain request", arguments: &[], path: "/", body: false, requests: 1, seen: ANY },
    Try { name: "a body", arguments: &[], path: "/", body: true, requests: 1, seen: WHOLE },
    Try {
        name: "a body without content-length",
        arguments: &["--no-content-length"],
        path: "/",
        body: true,
        requests: 1,
        seen: WHOLE,
    },
    Try {
        name: "a priority in the tree",
        arguments: &["-p", "256"],
        path: "/",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "no tree of priorities",
        arguments: &["--no-dep"],
        path: "/",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "no RFC 7540 priorities",
        arguments: &["--no-rfc7540-pri", "-H", "priority: u=0, i"],
        path: "/",
        body: false,
        requests: 1,
        seen: |seen| seen.header("priority") == "u=0, i",
    },
    Try {
        name: "the smallest window of a stream",
        arguments: &["-w", "1"],
        path: "/?bytes=2000",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "a small window of a stream",
        arguments: &["-w", "10"],
        path: "/?bytes=200000",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "the largest window of a stream",
        arguments: &["-w", "30"],
        path: "/?bytes=2000000",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "the largest window of a connection",
        arguments: &["-W", "30"],
        path: "/?bytes=2000000",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "small windows and many streams",
        arguments: &["-w", "12", "-m", "20"],
        path: "/?bytes=50000",
        body: false,
        requests: 20,
        seen: ANY,
    },
    Try { name: "padding", arguments: &["-b", "255"], path: "/", body: true, requests: 1, seen: WHOLE },
    Try {
        name: "padding and many streams",
        arguments: &["-b", "17", "-m", "10"],
        path: "/",
        body: true,
        requests: 10,
        seen: WHOLE,
    },
    Try {
        name: "Expect: 100-continue",
        arguments: &["--expect-continue"],
        path: "/",
        body: true,
        requests: 1,
        seen: WHOLE,
    },
    Try {
        name: "a hundred streams",
        arguments: &["-m", "100"],
        path: "/",
        body: false,
        requests: 100,
        seen: ANY,
    },
    Try {
        name: "more streams than are allowed at once",
        arguments: &["-m", "300", "-M", "50"],
        path: "/",
        body: false,
        requests: 300,
        seen: ANY,
    },
    Try {
        name: "CONTINUATION",
        arguments: &["--continuation"],
        path: "/",
        body: false,
        requests: 1,
        seen: ANY,
    },
    Try {
        name: "a header table of size 0",
        arguments: &["-c", "0", "-m", "5"],
        path: "/",
        body: false,
        requests: 5,
        seen: ANY,
    },
    Try {
        name: "an encoder without a table",
        arguments: &["--encoder-header-table-size", "0", "-m", "5"],
        path: "/",
        body: false,
        requests: 5,
        seen: ANY,
    },
    Try {
        name: "an encoder with a large table",
        arguments: &["--encoder-header-table-size", "64K", "-m", "5"],
        path: "/",
        body: false,
        requests: 5,
        seen: ANY,
    },
    Try { name: "no push", arguments: &["--no-push"], path: "/", body: false, requests: 1, seen: ANY },
    Try {
        name: "a method of its own",
        arguments: &["-H", ":method: FROBNICATE"],
        path: "/",
        body: false,
        requests: 1,
        seen: |seen| seen.method == "FROBNICATE",
    },
    Try {
        name: "HEAD with a length",
        arguments: &["-H", ":method: HEAD"],
        path: "/?bytes=1000",
        body: false,
        requests: 1,
        seen: |seen| seen.method == "HEAD",
    },
    Try {
        name: "crumbs of a cookie",
        arguments: &["-H", "cookie: a=b", "-H", "cookie: c=d"],
        path: "/",
        body: false,
        requests: 1,
        seen: |seen| seen.header("cookie") == "a=b; c=d",
    },
    Try {
        name: "te: trailers",
        arguments: &["-H", "te: trailers"],
        path: "/",
        body: false,
        requests: 1,
        seen: ANY,
    },
];

#[test]
fn every_option_in_clear_and_with_tls() {
    let Some(program) = peers::find("nghttp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, "x".repeat(BODY)).unwrap();
    let mut cases = Vec::new();
    for protocol in ["HTTP", "HTTP2"] {
        let echo = Echo::start("v1");
        let door = Door::open(protocol, echo.port());
        let ways =
            [("in clear", format!("http://{}", door.clear)), ("with TLS", format!("https://{}", door.tls))];
        for (way, url) in ways {
            for one in TRIES {
                let name = format!("{}, {way}, {protocol} upstream", one.name);
                cases.push(Case::new(&name, attempt(&program, &url, &echo, &body, one)));
            }
            // hyper sends no trailers over HTTP/1 unless they were announced.
            if protocol == "HTTP2" {
                cases.push(Case::new(&format!("a trailer, {way}"), trailer(&program, &url, &body)));
                let direct = two_table_sizes(&program, &format!("http://{}", echo.address()));
                let through = two_table_sizes(&program, &url);
                cases.push(Case::beside(&format!("two sizes of the header table, {way}"), direct, through));
            }
        }
    }
    table::enter("nghttp", 4 * TRIES.len() + 4, cases);
}

fn attempt(program: &Path, url: &str, echo: &Echo, body: &Path, one: &Try) -> Result<(), String> {
    echo.forget();
    let mut command = Command::new("timeout");
    command.arg("20").arg(program).args(["-v", "-n", "-y"]).args(one.arguments);
    if one.body {
        command.arg("-d").arg(body);
    }
    let (succeeded, text) = run(command.arg(format!("{url}{}", one.path)), b"");
    let end = || text.lines().rev().take(8).collect::<Vec<_>>().join(" / ");
    let answers = text.matches(":status: 200").count();
    let seen = echo.received();
    if !succeeded || answers != one.requests {
        return Err(format!("{answers} answers: {}", end()));
    }
    if seen.len() != one.requests {
        return Err(format!("{} requests at the upstream", seen.len()));
    }
    match seen.iter().find(|request| !(one.seen)(request)) {
        Some(request) => {
            Err(format!("the upstream saw {} {} {:?}", request.method, request.path, request.headers))
        }
        None => Ok(()),
    }
}

/// Trailers of a request come back as those of its answer.
fn trailer(program: &Path, url: &str, body: &Path) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.arg("20").arg(program).args([
        "-v",
        "-n",
        "-y",
        "-H",
        "te: trailers",
        "--trailer",
        "x-sum: 42",
        "-d",
    ]);
    let (succeeded, text) = run(command.arg(body).arg(format!("{url}/?echo")), b"");
    let came = text.lines().any(|line| line.contains("recv (stream_id=") && line.contains("x-sum: 42"));
    if succeeded && came { Ok(()) } else { Err(format!("no trailer in {} lines", text.lines().count())) }
}

/// Two table sizes in one SETTINGS. The library that the upstream has too, and so the proxy, knows only the last of them, and
/// does not signal the smaller one as RFC 7541 section 4.2 wants: it fails with the upstream itself.
fn two_table_sizes(program: &Path, url: &str) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.arg("20").arg(program).args(["-v", "-n", "-y", "-c", "0", "-c", "4096", "-m", "5"]);
    let (succeeded, text) = run(command.arg(format!("{url}/")), b"");
    let answers = text.matches(":status: 200").count();
    if succeeded && answers == 5 { Ok(()) } else { Err(format!("{answers} answers of 5")) }
}
