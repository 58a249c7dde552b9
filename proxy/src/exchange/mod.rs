//! One request from its head to the last byte of its answer.
//!
//! In:  a [`RequestHead`] and its body.   Out: an [`Answer`]; one log line, one count in each metric.
//! Invariants: one configuration per request; accounted for exactly once, by [`Exchange::finish`] or, when the client
//! goes away, by `Drop`; nothing here knows an engine.
//! Not here: matching (`sidle-routing`), pools (`upstream`), bytes (`codec`).
//! Read: [`serve`] -> `attempt` -> `body` -> `record` -> `account`.

mod account;
pub mod ahead;
mod ask;
mod attempt;
mod begin;
mod believed;
mod body;
pub mod client_cert;
mod compare;
mod concurrency;
mod connect;
mod copy;
mod destination;
mod grpc_web;
mod hedge;
mod hops;
mod idle;
mod mirror;
mod outgoing;
mod own;
mod panic;
mod piece;
mod record;
mod refused;
mod repeat;
mod replay;
mod reply;
mod request_body;
mod seen;
mod send;
pub mod tcp;
mod upstream_fault;
mod via;

use account::CUT;
pub use ask::{Asker, Reply};
pub use outgoing::address_text;
pub use own::Own;
pub use record::{Downstream, Moment, Record, Rule, Wanted};
pub use refused::{Glimpse, refuse_seen};
pub use reply::{GRPC_STATUS, direct, grpc_status};
pub use send::client_failure;
pub use tcp::TcpExchange;

use crate::{
    codec::{Answer, Body, RequestHead, ResponseHead, tunnel::Meter},
    config::{ActionPlan, ForwardPlan, HttpPlan, RoutePlan, WeightedPlan},
    error::ProxyError,
    listener::{ActiveRequest, Connection},
    overload::Pressure,
    policy::{Verdict, authorization::Known, ext_authz, rate_limit},
    upstream::Cluster,
    worker::Held,
};
use grpc_web::GrpcWeb;
use http::{HeaderName, HeaderValue};
use http_body::Body as _;
use sidle_balance::{ConcurrencyPermit, Endpoint};
use sidle_jwt::VerifiedToken;
use sidle_model::ir::WorkloadPort;
use sidle_routing::{CompiledRoute, cors};
use std::{borrow::Cow, rc::Rc, sync::Arc};
use tokio::time::Instant;

/// One request.
pub struct Exchange {
    /// What is known of it.
    pub record: Record,
    /// The token that it brought, if it is believed.
    pub token: Option<Rc<VerifiedToken>>,
    connection: Rc<Connection>,
    plan: Held<HttpPlan>,
    web: Option<GrpcWeb>,
    added_headers: cors::Headers,
    response_changes: Vec<ext_authz::Change>,
    destination: Option<(Held<Cluster>, Option<Held<Endpoint>>)>,
    /// Its answer, beside those to copies of it that are compared with it.
    compared: Vec<compare::Side>,
    /// Whether the destination has a try that it did not answer.
    awaiting: bool,
    request_body: Rc<request_body::Progress>,
    tunnel: Option<Rc<Meter>>,
    finished: bool,
    /// Of a workload that has a limit.
    permit: Option<ConcurrencyPermit>,
    active: ActiveRequest,
}

/// Serves one request. Read this first: everything else is a room off this corridor.
///
/// No `async fn`: its future would have room for what it is given twice. So heads and exchanges are boxed, too: what moves is small.
pub fn serve<H: Into<Box<RequestHead>>>(
    connection: &Rc<Connection>,
    head: H,
    body: Body,
) -> impl Future<Output = Box<Answer>> + use<H> {
    let begun = begin::begin(connection, head.into(), body);
    async move {
        let (mut exchange, mut head, body) = match begun {
            Ok(begun) => begun,
            Err(answer) => return answer,
        };
        let waiting = Waiting { exchange: &mut exchange, head: &mut head };
        let result = panic::caught(waiting.exchange.forward(waiting.head, body)).await;
        std::mem::forget(waiting); // whoever answers keeps the fields
        let web = exchange.web;
        let answer = exchange.answer(&mut head, result);
        head.recycle();
        match web {
            Some(web) => Box::new(Box::pin(web.answer(*answer)).await),
            None => answer,
        }
    }
}

/// A request whose answer is awaited. When its client leaves meanwhile, the access log has its fields all the same.
struct Waiting<'a> {
    exchange: &'a mut Exchange,
    head: &'a mut RequestHead,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.exchange.keep(self.head);
    }
}

/// What an action comes to.
pub enum Outcome {
    /// The upstream's response.
    Upstream(Box<attempt::Response>),
    /// Made here.
    Local(Box<Local>),
}

/// An answer that is made here, and the details of it.
pub struct Local(ResponseHead, Body, Cow<'static, str>);

impl Outcome {
    fn local(head: ResponseHead, body: Body, details: impl Into<Cow<'static, str>>) -> Self {
        Outcome::Local(Box::new(Local(head, body, details.into())))
    }
}

impl Exchange {
    async fn forward(&mut self, head: &mut RequestHead, mut body: Body) -> Result<Outcome, ProxyError> {
        if self.connection.worker.shared.overload.pressure() >= Pressure::Requests {
            return Err(ProxyError::Overload);
        }
        if self.connection.is_outdated(&self.record.snapshot) {
            return Err(ProxyError::Outdated);
        }
        if self.connection.is_misdirected(&self.record.snapshot, head) {
            return Err(ProxyError::Misdirected);
        }
        if let Some((answer, details)) = hops::end(head) {
            return Ok(Outcome::local(answer, Body::Empty, details));
        }
        let plan = self.plan.clone();
        if let Verdict::Respond(answer, body, details) = plan.gate.admit(self, head, &mut body).await? {
            return Ok(Outcome::local(answer, body, details));
        }
        let place = plan.routes.find(&believed::Believed { head, token: self.token.as_deref() });
        if let Some(web) = self.web {
            web.translate(head); // routes see what the client sent, and policies what the upstream gets
        }
        let place = place.ok_or(ProxyError::NoRoute)?;
        self.record.rule = Some(Rule::Route(plan.clone(), place));
        let route = &plan.routes[place];
        match &route.action.action {
            ActionPlan::Forward(forward) => {
                let weighted = self.choose(forward);
                if let Some(refused) = self.limited(&plan, route, head, Some(&weighted.cluster)).await? {
                    return Ok(refused);
                }
                match self.admitted(route, forward, weighted, head, body).await {
                    Ok(outcome) => Ok(outcome),
                    Err(error) => {
                        self.note(&error);
                        let (mut answer, body) = reply::error(&error, head);
                        self.amend(route, weighted, head, &mut answer);
                        Ok(Outcome::local(answer, body, error.details()))
                    }
                }
            }
            ActionPlan::Redirect(redirect) => {
                if let Some(refused) = self.limited(&plan, route, head, None).await? {
                    return Ok(refused);
                }
                let answer = reply::redirect(redirect, head, self.connection.port())?;
                Ok(self.amend_local(route, head, answer))
            }
            ActionPlan::Direct(status, body) => {
                if let Some(refused) = self.limited(&plan, route, head, None).await? {
                    return Ok(refused);
                }
                Ok(self.amend_local(route, head, reply::direct(*status, body.clone(), head)))
            }
        }
    }

    /// The answer to a request that is one too many.
    async fn limited(
        &mut self,
        plan: &HttpPlan,
        route: &CompiledRoute<RoutePlan>,
        head: &mut RequestHead,
        cluster: Option<&Arc<Cluster>>,
    ) -> Result<Option<Outcome>, ProxyError> {
        if plan.rate_limits.is_empty() {
            return Ok(None);
        }
        let verdict = rate_limit::admit(&plan.rate_limits, self, head, &route.route.name, cluster).await?;
        Ok(match verdict {
            Verdict::Continue => None,
            Verdict::Respond(answer, body, details) => Some(Outcome::local(answer, body, details)),
        })
    }

    /// Policies, then the upstream.
    async fn admitted(
        &mut self,
        route: &CompiledRoute<RoutePlan>,
        forward: &ForwardPlan,
        weighted: &WeightedPlan,
        head: &mut RequestHead,
        body: Body,
    ) -> Result<Outcome, ProxyError> {
        match route.action.policy.admit(self, head).await? {
            Verdict::Respond(head, body, details) => Ok(Outcome::local(head, body, details)),
            Verdict::Continue => {
                if let Some(limiter) = &weighted.cluster.concurrency {
                    self.take_permit(&weighted.cluster, limiter, head)?;
                }
                let response = self.attempts(route, forward, weighted, head, body).await?;
                Ok(Outcome::Upstream(response))
            }
        }
    }

    /// Applies the route's response headers to an answer made here on its behalf.
    fn amend_local(
        &mut self,
        route: &CompiledRoute<RoutePlan>,
        request: &RequestHead,
        (mut head, body): (ResponseHead, Body),
    ) -> Outcome {
        let rules = &route.action.policy.response_headers;
        if !rules.is_empty() {
            let moment = Moment { record: &self.record, request: Some(request), response: Some(&head) };
            rules.evaluate(&moment).apply(&mut head.headers);
        }
        Outcome::local(head, body, "direct_response")
    }

    /// Turns the outcome into the answer; accounts when the last byte of it is gone.
    fn answer(
        mut self: Box<Self>,
        request: &mut RequestHead,
        result: Result<Outcome, ProxyError>,
    ) -> Box<Answer> {
        match result {
            Ok(Outcome::Upstream(response)) => {
                self.keep(request);
                self.answer_upstream(response)
            }
            Ok(Outcome::Local(local)) => {
                let Local(head, body, details) = *local;
                self.record.details = details;
                self.keep(request);
                self.answer_local(head, body)
            }
            Err(error) => {
                self.note(&error);
                let (mut head, body) = reply::error(&error, request);
                if self.plan.options.authorization_header {
                    reply::name_rule(&error, &mut head);
                }
                self.keep(request);
                self.answer_local(head, body)
            }
        }
    }

    /// Keeps the request's fields if the access log wants some; nobody else needs them any more.
    fn keep(&mut self, request: &mut RequestHead) {
        if let Some((_, wanted)) = &self.record.snapshot.access_log {
            wanted.capture_request(&mut request.headers, &mut self.record.captured);
        }
    }

    fn answer_local(mut self: Box<Self>, mut head: ResponseHead, mut body: Body) -> Box<Answer> {
        let bare = head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
        if bare || self.record.method == Some(http::Method::HEAD) {
            body = Body::Empty; // RFC 9110 section 6.4.1
        }
        if bare {
            head.headers.remove(http::header::CONTENT_LENGTH);
        }
        reply::date(&mut head.headers);
        self.finish_head(&mut head);
        self.record.bytes_sent = body.size_hint().exact().unwrap_or(0);
        self.record.grpc_status = reply::grpc_status(head.headers.get(&GRPC_STATUS));
        self.finish(Instant::now());
        Box::new(Answer { head, body, upload: None, tunnel: None })
    }

    fn answer_upstream(mut self: Box<Self>, mut response: Box<attempt::Response>) -> Box<Answer> {
        if self.record.details.is_empty() {
            self.record.details = "via_upstream".into();
        }
        if !response.head.headers.contains_key(http::header::DATE) {
            reply::date(&mut response.head.headers); // RFC 9110 section 6.6.1
        }
        self.finish_head(&mut response.head);
        if let Some(name) = &self.plan.options.via {
            via::append(&mut response.head.headers, name, response.lease.version());
        }
        body::answer(self, response)
    }

    /// What every answer gets, wherever it was made.
    fn finish_head(&mut self, head: &mut ResponseHead) {
        for (name, value) in std::mem::take(&mut self.added_headers) {
            head.headers.insert(name, value);
        }
        for change in std::mem::take(&mut self.response_changes) {
            change.apply(&mut head.headers);
        }
        if let Some(server) = &self.plan.server_name {
            head.headers.insert(http::header::SERVER, server.clone());
        }
        self.record.status = Some(head.status);
        if let Some((_, wanted)) = &self.record.snapshot.access_log {
            wanted.capture_response(&head.headers, &mut self.record.captured);
        }
    }

    fn watch_request(&mut self, body: Body, head: &RequestHead) -> Body {
        let body = match self.web {
            Some(web) => web.decode(body),
            None => body,
        };
        let began = self.record.began.into();
        if head.is_connect() || head.upgrade.is_some() {
            if body.is_end_stream() {
                self.request_body.complete(began);
            }
            return body; // a tunnel's bytes are counted by the relay
        }
        request_body::watch(body, self.record.grpc, &self.request_body, self.connection.limits(), began)
    }

    /// Remembers what policies add to the response.
    pub fn add_response_headers(&mut self, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
        self.added_headers.extend(headers);
    }

    /// What authorization asks about. Behind gateways the last address of `x-forwarded-for` is the client's, as in Envoy: the one
    /// that the gateway wrote.
    pub fn known<'a>(&'a self, head: &'a RequestHead, port: &'a WorkloadPort) -> Known<'a> {
        let client = self.record.peer;
        let client = match self.plan.edge {
            true => client,
            false => outgoing::forwarded_for(&head.headers, 1).or(client),
        };
        let (client, request) = (client.map(|client| client.ip()), Some((head, &*self.plan)));
        let token = self.token.as_deref();
        Known { downstream: &self.connection.downstream, client, request, token, port }
    }

    /// Remembers what an authoriser changes in the response.
    pub fn change_response(&mut self, changes: Vec<ext_authz::Change>) {
        self.response_changes.extend(changes);
    }

    /// A uniform random number.
    pub fn random(&self) -> u64 {
        self.connection.worker.random()
    }

    fn note(&mut self, error: &ProxyError) {
        self.fail_permit(matches!(error, ProxyError::ResponseTimeout | ProxyError::PerTryTimeout));
        self.record.flags |= error.flags();
        self.record.details = error.details();
        self.record.transport_failure = error.transport_failure().map(str::to_owned);
    }
}
