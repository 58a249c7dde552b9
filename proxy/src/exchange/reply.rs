//! Answers made here: errors, redirects, fixed content.

use crate::{
    codec::{Answer, Body, RequestHead, ResponseHead, grpc::percent},
    error::ProxyError,
    policy::jwt,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use sidle_fields::Fields;
use std::{cell::RefCell, time::SystemTime};

/// `grpc-status`.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const AUTHORIZATION: HeaderName = HeaderName::from_static("x-sidle-authorization");
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// The answer to a request that failed: its status and Envoy's words, or to gRPC a trailers-only response.
pub fn error(error: &ProxyError, request: &RequestHead) -> (ResponseHead, Body) {
    let text = error.body();
    let (mut head, body) = if request.is_grpc() {
        grpc(error.grpc_status(), &text)
    } else {
        content(error.status(), Bytes::copy_from_slice(text.as_bytes()))
    };
    if *error == ProxyError::Overflow {
        head.headers.insert(OVERLOADED, HeaderValue::from_static("true"));
    }
    if *error == ProxyError::RateLimited {
        head.headers.insert(RATE_LIMITED, HeaderValue::from_static("true"));
    }
    if let ProxyError::Token(_) = error
        && error.status() == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str(&jwt::challenge(request))
    {
        head.headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if matches!(error, ProxyError::Overload | ProxyError::ConcurrencyLimit) {
        head.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    (head, body)
}

/// Says which rule refused, to those who may know.
pub fn name_rule(error: &ProxyError, head: &mut ResponseHead) {
    if let ProxyError::Forbidden(details) = error
        && let Ok(value) = HeaderValue::from_str(details)
    {
        head.headers.insert(AUTHORIZATION, value);
    }
}

/// The answer to a request that did not become an exchange.
pub fn plain(error: &ProxyError) -> Answer {
    let (mut head, body) = content(error.status(), Bytes::copy_from_slice(error.body().as_bytes()));
    date(&mut head.headers);
    Answer { head, body, upload: None, tunnel: None }
}

/// Fixed content; to gRPC, its status and text in gRPC's words.
pub fn direct(status: StatusCode, body: Bytes, request: &RequestHead) -> (ResponseHead, Body) {
    if !request.is_grpc() {
        return content(status, body);
    }
    grpc(sidle_telemetry::grpc_status_from_http(status.as_u16()), &String::from_utf8_lossy(&body))
}

/// A trailers-only response.
fn grpc(status: u8, message: &str) -> (ResponseHead, Body) {
    let mut head = ResponseHead::new(StatusCode::OK);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status)));
    if !message.is_empty() {
        head.headers.insert(GRPC_MESSAGE, percent::encode(message.as_bytes()));
    }
    (head, Body::Empty)
}

/// A redirect.
///
/// # Errors
/// When the request's own text cannot stand in a `location`.
pub fn redirect(
    redirect: &sidle_routing::Redirect,
    request: &RequestHead,
    listener_port: u16,
) -> Result<(ResponseHead, Body), ProxyError> {
    let location = HeaderValue::from_str(&redirect.location(request, listener_port))
        .map_err(|_| ProxyError::Refused(crate::error::Refusal::BadTarget))?;
    let (mut head, body) = direct(redirect.status, Bytes::new(), request);
    head.headers.insert(header::LOCATION, location);
    Ok((head, body))
}

fn content(status: StatusCode, body: Bytes) -> (ResponseHead, Body) {
    let mut head = ResponseHead::new(status);
    if !body.is_empty() {
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if !status.is_informational() && status != StatusCode::NO_CONTENT {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    (head, body.into())
}

/// What `grpc-status` says, in headers or trailers.
pub fn grpc_status(said: Option<&HeaderValue>) -> Option<u8> {
    std::str::from_utf8(said?.as_bytes()).ok()?.parse().ok()
}

/// Adds the date, made once a second for each thread.
pub fn date(headers: &mut Fields) {
    thread_local! {
        static DATE: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let value = DATE.with_borrow_mut(|(made, value)| {
        if *made != second
            && let Ok(fresh) = HeaderValue::from_str(&httpdate::fmt_http_date(now))
        {
            (*made, *value) = (second, fresh);
        }
        value.clone()
    });
    headers.insert(header::DATE, value);
}
