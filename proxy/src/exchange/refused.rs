//! Requests whose heads cannot be served: answered, logged and counted like any other, with what is known of them.

use super::{Exchange, reply};
use crate::{
    codec::{Answer, Authority},
    error::{ProxyError, Refusal},
    listener::Connection,
};
use http::{Method, Version, uri::PathAndQuery};
use std::rc::Rc;

/// What could be read of a head that is refused.
#[derive(Debug, Default)]
pub struct Glimpse {
    /// What the client speaks.
    pub version: Option<Version>,
    /// As sent.
    pub method: Option<Method>,
    /// As sent.
    pub target: Option<PathAndQuery>,
    /// Where to.
    pub authority: Option<Authority>,
}

/// Answers a request whose head cannot be served.
pub fn refuse_seen(connection: &Rc<Connection>, refusal: Refusal, seen: Glimpse) -> Box<Answer> {
    tracing::debug!(peer = %connection.peer(), %refusal, "request refused");
    connection.count_protocol_error();
    let error = ProxyError::Refused(refusal);
    let snapshot = connection.worker.snapshot();
    let Some(plan) = connection.http_plan(&snapshot) else { return Box::new(reply::plain(&error)) };
    let mut exchange = Exchange::of(connection, snapshot, plan);
    let record = &mut exchange.record;
    record.method = seen.method;
    record.target = seen.target;
    record.authority = seen.authority;
    record.scheme = connection.scheme().as_str();
    record.protocol = seen.version;
    exchange.note(&error);
    exchange.request_body.complete(exchange.record.began.into());
    let Answer { head, body, .. } = reply::plain(&error);
    exchange.answer_local(head, body)
}
