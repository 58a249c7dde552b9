//! What an upstream answers.
//!
//! The usual answer is JSON: who answered, and what was asked. The query asks for other things, which travel through any
//! proxy: `?status=503`, `?delay=200ms` (before the head), `?bytes=1000000` (so much of a body), `?echo` (the body, as it
//! comes), `?fail=2` (503 to the first two attempts), `?reset` (no answer, the connection or stream is cut), `?hang`
//! (headers, and never a body).

use super::{Received, State, body};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

/// An answer that a test has set.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// 200 unless said.
    pub status: Option<StatusCode>,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Bytes,
    /// Waits so long before the head.
    pub delay: Duration,
    /// Cuts the connection or stream instead.
    pub reset: bool,
    /// Never says anything after the head and `body`.
    pub hangs: bool,
    /// After the body.
    pub trailers: Vec<(&'static str, String)>,
}

impl Answer {
    /// An answer that is only a status.
    pub fn status(code: u16) -> Self {
        Answer { status: StatusCode::from_u16(code).ok(), ..Answer::default() }
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What the query asks for.
#[derive(Default)]
struct Wish {
    status: Option<StatusCode>,
    delay: Duration,
    bytes: Option<u64>,
    fail: u32,
    echo: bool,
    reset: bool,
    hang: bool,
}

impl Wish {
    fn read(path: &str) -> Self {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let mut wish = Wish::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "status" => wish.status = value.parse().ok(),
                "delay" => wish.delay = duration(value),
                "bytes" => wish.bytes = value.parse().ok(),
                "fail" => wish.fail = value.parse().unwrap_or(0),
                "echo" => wish.echo = true,
                "reset" => wish.reset = true,
                "hang" => wish.hang = true,
                _ => {}
            }
        }
        wish
    }
}

fn duration(text: &str) -> Duration {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let count = digits.parse().unwrap_or(0);
    if unit == "s" { Duration::from_secs(count) } else { Duration::from_millis(count) }
}

/// Answers one request. An error cuts the connection or stream.
pub(super) async fn reply(
    state: &State,
    mut received: Received,
    body: Incoming,
) -> Result<Response<body::ReplyBody>, body::BoxError> {
    let wish = Wish::read(&received.path);
    let head = received.method == http::Method::HEAD;
    let grpc = received.header("content-type").starts_with("application/grpc");
    let rule = state.rule.lock().unwrap().clone();
    let mut answer = rule.and_then(|rule| rule(&received));
    let streams = answer.is_none() && (grpc || wish.echo || wish.hang);
    if streams {
        remember(state, received);
        tokio::time::sleep(wish.delay).await;
        return Ok(streamed(state, body, grpc, wish.hang));
    }
    let (kept, length) = read(body).await?;
    received.body = kept;
    let attempt = received.header("x-envoy-attempt-count").parse().unwrap_or(1);
    if answer.is_none() && attempt <= wish.fail {
        answer = Some(Answer::status(503));
    }
    let description = describe(state, &received, length);
    remember(state, received);
    tokio::time::sleep(wish.delay + answer.as_ref().map_or(Duration::ZERO, |answer| answer.delay)).await;
    if wish.reset || answer.as_ref().is_some_and(|answer| answer.reset) {
        return Err("asked to cut the connection".into());
    }
    let response = match answer {
        Some(answer) => given(state, answer),
        None => usual(state, &wish, description),
    };
    // hyper drops the body of an answer to HEAD on HTTP/1 only.
    Ok(if head { response.map(|_| body::full("")) } else { response })
}

fn remember(state: &State, received: Received) {
    if state.print {
        println!("{} {} {} {}", state.version, received.method, received.authority, received.path);
    }
    state.requests.fetch_add(1, Ordering::Relaxed);
    let mut all = state.received.lock().unwrap();
    if all.len() < 10_000 {
        all.push(received);
    }
}

/// The first 64 KiB, and how many bytes there were.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, u64), hyper::Error> {
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            length += data.len() as u64;
            let room = (64 << 10) - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok((kept, length))
}

fn describe(state: &State, received: &Received, length: u64) -> String {
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &received.headers {
        let text = headers.entry(name.as_str()).or_default();
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    json!({
        "version": state.version,
        "protocol": format!("{:?}", received.protocol),
        "method": received.method.as_str(),
        "path": received.path,
        "authority": received.authority,
        "headers": headers,
        "body_length": length,
        "body": String::from_utf8_lossy(&received.body[..received.body.len().min(1024)]),
    })
    .to_string()
}

fn head(state: &State, status: StatusCode) -> http::response::Builder {
    Response::builder().status(status).header("x-version", &state.version)
}

fn usual(state: &State, wish: &Wish, description: String) -> Response<body::ReplyBody> {
    let builder = head(state, wish.status.unwrap_or(StatusCode::OK));
    let response = match wish.bytes {
        Some(count) => builder.header("content-type", "application/octet-stream").body(body::zeros(count)),
        None => builder.header("content-type", "application/json").body(body::full(description)),
    };
    response.unwrap()
}

fn given(state: &State, answer: Answer) -> Response<body::ReplyBody> {
    let mut builder = head(state, answer.status.unwrap_or(StatusCode::OK));
    for (name, value) in &answer.headers {
        builder = builder.header(*name, value);
    }
    let hangs = answer.hangs;
    let body = body::full(answer.body);
    let body = if hangs {
        body::with_silence(body)
    } else if answer.trailers.is_empty() {
        body
    } else {
        let trailers: HeaderMap = answer
            .trailers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        body.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync()
    };
    builder.body(body).unwrap()
}

/// The body as it comes. gRPC's messages are thereby echoed one by one, and end well.
fn streamed(state: &State, incoming: Incoming, grpc: bool, hang: bool) -> Response<body::ReplyBody> {
    let content = if grpc { "application/grpc" } else { "application/octet-stream" };
    let builder = head(state, StatusCode::OK).header("content-type", content);
    let body = if hang {
        body::silence()
    } else {
        let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        body::returned(incoming, grpc.then(|| HeaderMap::from_iter([status])))
    };
    builder.body(body).unwrap()
}
