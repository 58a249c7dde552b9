//! What other strict parsers make of the bytes that a proxy wrote: hyper here, h11 in Python.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sidle_test_support::peers;
use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A request as a parser saw it: method, target, and the length of its body, which is none if it did not end.
pub type Parsed = (String, String, Option<usize>);

/// What hyper's server reads in these bytes.
pub fn hyper(stream: &[u8]) -> Vec<Parsed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seen: Arc<Mutex<Vec<Parsed>>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (method, target) = (request.method().to_string(), request.uri().to_string());
            let body = request.into_body().collect().await;
            seen.lock().unwrap().push((method, target, body.ok().map(|body| body.to_bytes().len())));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    runtime.block_on(async {
        let (mut near, far) = tokio::io::duplex(stream.len() + 1024);
        let feed = async {
            near.write_all(stream).await.unwrap();
            near.shutdown().await.unwrap();
            let _ = near.read_to_end(&mut Vec::new()).await;
        };
        let mut builder = hyper::server::conn::http1::Builder::new();
        let serve = builder.half_close(true).serve_connection(TokioIo::new(far), service);
        let _ = tokio::join!(serve, feed);
    });
    seen.lock().unwrap().clone()
}

/// h11, in a Python of its own.
pub struct H11 {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl H11 {
    pub fn start(python: &Path) -> Self {
        let mut process = Command::new(python)
            .arg(peers::root().join("tests/peers/h11_peer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        H11 { process, input, output }
    }

    /// What it reads in these bytes.
    pub fn parse(&mut self, stream: &[u8]) -> Vec<Parsed> {
        let line: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let all: Vec<Value> = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("h11 said {answer:?}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let parsed =
            |one: Value| (text(&one[0]), text(&one[1]), one[2].as_u64().map(|length| length as usize));
        all.into_iter().map(parsed).collect()
    }
}

impl Drop for H11 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn hyper_counts_requests() {
    let stream =
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab\
                   PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab";
    let seen = hyper(stream);
    assert_eq!(seen[..2], [("GET".into(), "/a".into(), Some(0)), ("POST".into(), "/b".into(), Some(2))]);
    assert_eq!(seen[2].2, None);
}
