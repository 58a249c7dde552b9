//! A request before anything is waited for: what is known of it, and under which configuration.
//!
//! Not here: what becomes of it (`serve`).

use super::{Exchange, Glimpse, Record, grpc_web::GrpcWeb, outgoing, refuse_seen, request_body, via};
use crate::{
    codec::{Answer, Body, RequestHead},
    config::{HttpPlan, Snapshot},
    error::Refusal,
    listener::Connection,
    worker::Held,
};
use std::rc::Rc;

/// What is known before anything is waited for.
pub(super) fn begin(
    connection: &Rc<Connection>,
    mut head: Box<RequestHead>,
    body: Body,
) -> Result<(Box<Exchange>, Box<RequestHead>, Body), Box<Answer>> {
    let snapshot = connection.worker.snapshot(); // one configuration per request
    let Some(plan) = connection.http_plan(&snapshot) else {
        // A connection of TCP cannot bring a request.
        return Err(refuse_seen(connection, Refusal::BadTarget, Glimpse::default()));
    };
    let typed = head.headers.contains_key(http::header::CONTENT_TYPE);
    let client = outgoing::identify(&mut head, &plan, connection);
    let mut exchange = Exchange::begin(connection, snapshot, plan, &head, typed);
    exchange.record.peer = client;
    let body = exchange.watch_request(body, &head);
    if let Some(name) = &exchange.plan.options.via {
        via::append(&mut head.headers, name, head.version);
    }
    Ok((exchange, head, body))
}

impl Exchange {
    fn begin(
        connection: &Rc<Connection>,
        snapshot: Held<Snapshot>,
        plan: Held<HttpPlan>,
        head: &RequestHead,
        typed: bool,
    ) -> Box<Self> {
        let web = if typed { GrpcWeb::of(head) } else { None };
        let mut exchange = Exchange::of(connection, snapshot, plan);
        exchange.web = web;
        let record = &mut exchange.record;
        record.method = Some(head.method.clone());
        record.target = Some(head.target.clone());
        record.authority = head.authority.clone();
        record.scheme = head.scheme.as_str();
        record.protocol = Some(head.version);
        record.grpc = typed && (web.is_some() || head.is_grpc());
        exchange
    }

    pub(super) fn of(
        connection: &Rc<Connection>,
        snapshot: Held<Snapshot>,
        plan: Held<HttpPlan>,
    ) -> Box<Self> {
        // Made where it stays, and filled in there: a record is too large to be moved about.
        Box::new(Exchange {
            record: Record::begin(snapshot, connection.downstream.clone()),
            token: None,
            connection: connection.clone(),
            plan,
            web: None,
            added_headers: Vec::new(),
            response_changes: Vec::new(),
            destination: None,
            compared: Vec::new(),
            awaiting: false,
            request_body: Rc::new(request_body::Progress::default()),
            tunnel: None,
            finished: false,
            permit: None,
            active: connection.begin_request(),
        })
    }
}
