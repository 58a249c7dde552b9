//! gRPC-Web to gRPC and back: for clients that see no trailers, such as browsers.
//!
//! In:  a request of `application/grpc-web` or `application/grpc-web-text`.   Out: the same as gRPC; its answer with the
//! trailers as the last frame of the body, in base64 if the client accepts only that.
//! Invariants: bodies stream, and at most three bytes of them wait; an answer that is not gRPC becomes a status, with at
//! most [`MAX_MESSAGE_BYTES`] of its text; a preflight is nobody's business here.
//! Not here: cross-origin policy (`policy`), what gRPC itself is (`codec::grpc`).
//! Source: "gRPC-Web protocol"; Envoy's `grpc_web` filter, which Istio puts on every HTTP listener.
//! Read: [`GrpcWeb::of`] -> `decode` -> `encode`.

mod decode;
mod encode;

use super::reply::{GRPC_MESSAGE, GRPC_STATUS};
use crate::codec::{Answer, Body, RequestHead, ResponseHead, grpc::percent, head};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use sidle_fields::Fields;
use std::{future::poll_fn, pin::Pin};

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What is kept of an answer that is not gRPC, as its `grpc-message`.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// How one client speaks gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcWeb {
    text_request: bool,
    text_response: bool,
    json: bool,
}

/// A gRPC-Web media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MediaType {
    text: bool,
    json: bool,
}

/// What follows this, in capitals or not.
fn without_prefix<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl MediaType {
    fn parse(value: &HeaderValue) -> Option<Self> {
        let name = value.as_bytes().split(|&byte| byte == b';').next()?.trim_ascii();
        let rest = without_prefix(name, b"application/grpc-web")?;
        let (text, rest) = match without_prefix(rest, b"-text") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let json = rest.eq_ignore_ascii_case(b"+json");
        (json || rest.is_empty() || rest.eq_ignore_ascii_case(b"+proto")).then_some(MediaType { text, json })
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match (self.text, self.json) {
            (false, false) => "application/grpc-web+proto",
            (false, true) => "application/grpc-web+json",
            (true, false) => "application/grpc-web-text+proto",
            (true, true) => "application/grpc-web-text+json",
        })
    }
}

impl GrpcWeb {
    /// Whether a request is gRPC-Web, and which. What it accepts decides what it gets: bytes, unless it says text.
    pub fn of(head: &RequestHead) -> Option<Self> {
        let sent = MediaType::parse(head.headers.get(header::CONTENT_TYPE)?)?;
        let accepted = head.headers.get(header::ACCEPT).and_then(MediaType::parse);
        Some(GrpcWeb {
            text_request: sent.text,
            text_response: accepted.is_some_and(|accepted| accepted.text),
            json: sent.json,
        })
    }

    /// Makes the request gRPC.
    pub fn translate(self, head: &mut RequestHead) {
        let headers = &mut head.headers;
        let name = if self.json { "application/grpc+json" } else { "application/grpc" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(name));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.remove(header::CONTENT_LENGTH);
        if !headers.contains_key(GRPC_ACCEPT_ENCODING) {
            headers.append(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// The request's body as gRPC's.
    pub fn decode(self, body: Body) -> Body {
        if self.text_request && !body.is_end_stream() { decode::from_base64(body) } else { body }
    }

    /// Makes the answer gRPC-Web.
    pub async fn answer(self, mut answer: Answer) -> Answer {
        let ends = answer.body.is_end_stream();
        let headers = &mut answer.head.headers;
        headers.remove(header::CONTENT_LENGTH);
        answer.body = if is_grpc_answer(&answer.head, ends) {
            if ends { Body::Empty } else { encode::with_trailers(answer.body, self.text_response) }
        } else {
            let message = text_of(answer.body).await;
            describe(&mut answer.head, &message);
            Body::Empty
        };
        let media_type = MediaType { text: self.text_response, json: self.json };
        answer.head.headers.insert(header::CONTENT_TYPE, media_type.name());
        answer
    }
}

/// Whether an answer is gRPC's, or gRPC-Web's already. One without a body has to say its status.
fn is_grpc_answer(answer: &ResponseHead, ends: bool) -> bool {
    if ends {
        return answer.headers.contains_key(GRPC_STATUS);
    }
    answer.status == StatusCode::OK && (head::is_grpc(&answer.headers) || is_grpc_web(&answer.headers))
}

fn is_grpc_web(headers: &Fields) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(MediaType::parse).is_some()
}

/// The first bytes of a body; it is read to its end, so that its connection can be used again.
async fn text_of(mut body: Body) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Some(data) = frame.data_ref() {
            let room = MAX_MESSAGE_BYTES - text.len();
            text.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    text
}

/// Says in gRPC's words what an HTTP answer said.
fn describe(head: &mut ResponseHead, message: &[u8]) {
    let status = sidle_telemetry::grpc::status_of_answer(head.status.as_u16());
    head.headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status)));
    if !message.is_empty() {
        head.headers.insert(GRPC_MESSAGE, percent::encode(message));
    }
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
}

#[cfg(test)]
mod tests;
