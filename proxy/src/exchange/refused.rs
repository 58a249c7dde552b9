//! Requests whose heads cannot be served: answered, logged and counted like any other, with what is known of them.

use super::{Exchange, Record, reply};
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
pub fn refuse_seen(connection: &Rc<Connection>, refusal: Refusal, seen: Glimpse) -> Answer {
    tracing::debug!(peer = %connection.peer(), %refusal, "request refused");
    connection.count_protocol_error();
    let error = ProxyError::Refused(refusal);
    let snapshot = connection.worker.snapshot();
    let Some(plan) = connection.http_plan(&snapshot) else { return reply::plain(&error) };
    let record = Record {
        method: seen.method,
        target: seen.target,
        authority: seen.authority,
        scheme: connection.scheme().as_str(),
        protocol: seen.version,
        ..Record::begin(snapshot.version.clone(), connection.downstream.clone())
    };
    let mut exchange = Exchange::of(connection, snapshot, plan, record);
    exchange.note(&error);
    exchange.request_body.complete();
    let Answer { head, body, .. } = reply::plain(&error);
    exchange.answer_local(head, body)
}
