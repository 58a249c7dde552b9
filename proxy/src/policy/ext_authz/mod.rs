//! External authorisation: a service that decides about a request, or a connection of bytes, before it goes on.
//!
//! In:  a request's head, and its body where the service is to see it; or a connection.   Out: a [`Verdict`], and what the service
//! changed.
//! Invariants: no answer is no permission, unless the provider was said to fail open; only 200, or gRPC's 0, is a permission; what
//! the service says never frames a message or changes whom the request is for.
//! Not here: which requests are asked about (policies), sending the question (`exchange::ask`).
//! Read: [`ExtAuthz::check`], [`ExtAuthz::check_bytes`] -> `http`, `grpc` -> `messages`; `change` is what an answer does to headers.
//! Source: Envoy's two `ext_authz` filters, for HTTP and for bytes.

mod change;
#[cfg_attr(not(feature = "grpc-clients"), path = "without_grpc.rs")]
mod grpc;
mod http;
#[cfg(feature = "grpc-clients")]
pub(super) mod messages;

pub use change::Change;

use super::{Verdict, service::Silence};
use crate::{
    codec::{Body, RequestHead, ResponseHead},
    error::{ExternalRefusal, ProxyError},
    exchange::{self, Exchange, TcpExchange},
    upstream::Cluster,
};
use ::http::{HeaderName, HeaderValue, StatusCode, header::EXPECT};
use bytes::Bytes;
use http_body::Body as _;
use sidle_model::ir;
use sidle_telemetry::{ExtAuthzMetrics, ExtAuthzOutcome, ResponseFlags};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What tells the upstream that nobody was asked.
const FAILURE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// For what the service is to see of a body: streams may never bring so much.
const LOOK: Duration = Duration::from_secs(60);

/// A service that decides, ready to be asked.
pub struct ExtAuthz {
    config: Arc<ir::ExtAuthz>,
    cluster: Arc<Cluster>,
    /// What came of it.
    pub metrics: Arc<ExtAuthzMetrics>,
}

/// What a service says.
struct Opinion {
    /// `None`: the request may pass.
    refusal: Option<Refusal>,
    /// To the request, if it passes.
    request: Vec<Change>,
    /// To the response, if it passes.
    response: Vec<Change>,
    /// The path and query in place of the request's.
    target: Option<::http::uri::PathAndQuery>,
}

/// What a refused client gets.
struct Refusal {
    status: StatusCode,
    body: Bytes,
    headers: Vec<Change>,
}

/// What a service sees of a body.
#[derive(Default)]
struct Seen {
    /// Whether it sees anything of it.
    shown: bool,
    bytes: Bytes,
    /// Whether there is more.
    partial: bool,
}

impl ExtAuthz {
    /// With the cluster that the configuration names.
    pub fn new(config: Arc<ir::ExtAuthz>, cluster: Arc<Cluster>, metrics: Arc<ExtAuthzMetrics>) -> Self {
        ExtAuthz { config, cluster, metrics }
    }

    /// What policies call it.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Asks, and does what the answer says.
    ///
    /// # Errors
    /// The client's body broke off, or it is too long to be shown.
    pub async fn check(
        &self,
        exchange: &mut Exchange,
        head: &mut RequestHead,
        body: &mut Body,
    ) -> Result<Verdict, ProxyError> {
        let seen = self.look(head, body).await?;
        let deadline = Instant::now() + self.config.timeout;
        let opinion = match &self.config.transport {
            ir::ExtAuthzTransport::Http(by) => {
                http::ask(self, by, exchange.asker(), head, seen, deadline).await
            }
            ir::ExtAuthzTransport::Grpc => {
                grpc::ask(self, exchange.asker(), &exchange.record, head, seen, deadline).await
            }
        };
        let permission = opinion.as_ref().map(|opinion| opinion.refusal.is_none());
        self.count(permission, &|what| self.metrics.request(what));
        Ok(match opinion {
            Ok(opinion) => opinion.carry_out(exchange, head),
            Err(silence) => self.failed(&silence, exchange, head),
        })
    }

    /// Whether it can be asked about connections of bytes.
    pub fn knows_bytes(&self) -> bool {
        self.config.transport == ir::ExtAuthzTransport::Grpc
    }

    /// Asks by gRPC whether a connection may go on.
    ///
    /// # Errors
    /// It may not.
    pub async fn check_bytes(&self, exchange: &TcpExchange) -> Result<(), ProxyError> {
        let deadline = Instant::now() + self.config.timeout;
        let permission = grpc::ask_of_bytes(self, exchange.asker(), &exchange.record, deadline).await;
        self.count(permission.as_ref().copied(), &|what| self.metrics.connection(what));
        match permission {
            Ok(true) => Ok(()),
            Ok(false) => Err(ExternalRefusal::Denied.into()),
            Err(silence) if self.passes(&silence) => Ok(()),
            Err(_) => Err(ExternalRefusal::Failed.into()),
        }
    }

    /// Reads as much of the body as the service is to see.
    async fn look(&self, head: &mut RequestHead, body: &mut Body) -> Result<Seen, ProxyError> {
        let Some(shown) = self.config.body.filter(|_| head.upgrade.is_none() && !head.is_connect()) else {
            return Ok(Seen::default());
        };
        if !body.is_end_stream() && head.headers.remove(EXPECT).is_some() {
            // The client waits for a word of ours before it sends what the service is to see.
            if let Some(interim) = &head.interim {
                interim.send(ResponseHead::new(StatusCode::CONTINUE));
            }
        }
        let beginning =
            tokio::time::timeout(LOOK, exchange::ahead::read(body, shown.max_bytes as usize)).await;
        let beginning = beginning.map_err(|_| ProxyError::ClientTooSlow)?;
        let beginning = beginning.map_err(exchange::client_failure)?;
        if !beginning.whole && !shown.allow_partial {
            return Err(ProxyError::BodyTooLarge);
        }
        Ok(Seen { shown: true, bytes: beginning.bytes, partial: !beginning.whole })
    }

    fn count(&self, permission: Result<bool, &Silence>, count: &dyn Fn(ExtAuthzOutcome)) {
        match permission {
            Ok(true) => count(ExtAuthzOutcome::Ok),
            Ok(false) => count(ExtAuthzOutcome::Denied),
            Err(silence) => {
                tracing::debug!(provider = %self.config.name, %silence, "external authorisation failed");
                count(ExtAuthzOutcome::Error);
                if matches!(silence, Silence::Failed(ProxyError::ResponseTimeout)) {
                    count(ExtAuthzOutcome::Timeout);
                }
                if self.passes(silence) {
                    count(ExtAuthzOutcome::FailureModeAllowed);
                }
            }
        }
    }

    /// Whether what the service said nothing about passes all the same. What cannot be understood may have been a refusal.
    fn passes(&self, silence: &Silence) -> bool {
        self.config.fail_open && matches!(silence, Silence::Failed(_))
    }

    fn failed(&self, silence: &Silence, exchange: &mut Exchange, head: &mut RequestHead) -> Verdict {
        if self.passes(silence) {
            head.headers.insert(FAILURE_ALLOWED, HeaderValue::from_static("true"));
            return Verdict::Continue;
        }
        exchange.record.flags |= ResponseFlags::UAEX;
        let (answer, body) = exchange::direct(self.config.status_on_error, Bytes::new(), head);
        Verdict::Respond(answer, body, ExternalRefusal::Failed.details().into())
    }
}

impl Opinion {
    fn carry_out(self, exchange: &mut Exchange, head: &mut RequestHead) -> Verdict {
        let Some(refusal) = self.refusal else {
            self.request.iter().for_each(|change| change.apply(&mut head.headers));
            head.target = self.target.unwrap_or_else(|| head.target.clone());
            exchange.change_response(self.response);
            return Verdict::Continue;
        };
        exchange.record.flags |= ResponseFlags::UAEX;
        let (mut answer, body) = exchange::direct(refusal.status, refusal.body, head);
        refusal.headers.iter().for_each(|change| change.apply(&mut answer.headers));
        Verdict::Respond(answer, body, ExternalRefusal::Denied.details().into())
    }
}
