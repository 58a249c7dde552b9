//! All endpoints: path, method, who offers it, what it does.

use super::{
    AdminSource,
    answer::{Answer, Query, TEXT, answer},
    certs, clusters, config, index, jwks, listeners, process, ready, stats,
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use std::sync::Arc;

/// Which endpoints a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// All of them, to this machine.
    Admin,
    /// Only metrics, to everyone.
    Metrics,
    /// Only readiness, to everyone.
    Health,
}

/// A request that may be answered.
pub(super) struct Ask {
    pub(super) source: Arc<dyn AdminSource>,
    pub(super) query: Query,
    pub(super) accept: Option<String>,
}

/// How an endpoint makes its answer.
pub(super) enum Handler {
    /// At once.
    Quick(fn(&Ask) -> Answer),
    /// On a thread that may be busy for a while or wait for a disk.
    Slow(fn(&Ask) -> Answer),
    /// When something else is done.
    Later(fn(Ask) -> BoxFuture<'static, Answer>),
}

/// One of them.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    /// Whether it changes something.
    pub(super) post: bool,
    /// Offered by these besides [`Surface::Admin`].
    also: &'static [Surface],
    /// Parameters and purpose.
    pub(super) help: &'static str,
    handler: Handler,
}

const fn get(path: &'static str, help: &'static str, handler: Handler) -> Endpoint {
    Endpoint { path, post: false, also: &[], help, handler }
}

const fn post(path: &'static str, help: &'static str, handler: Handler) -> Endpoint {
    Endpoint { path, post: true, also: &[], help, handler }
}

impl Endpoint {
    const fn also(self, also: &'static [Surface]) -> Self {
        Endpoint { also, ..self }
    }
}

use Handler::{Later, Quick, Slow};

/// Every endpoint, in the order of the index.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/", "this list", Quick(index::html)),
    get("/help", "this list as text", Quick(index::help)),
    get("/ready", "200 if requests should come, else 503 and why not", Quick(ready::ready)),
    get("/healthz/ready", "the same, for probes", Quick(ready::healthz)).also(&[Surface::Health]),
    get("/config/status", "which configuration runs, and how the last reload went", Quick(config::status)),
    get("/config_dump", "the configuration in Envoy's words", Slow(config::dump)),
    get("/clusters", "?format=json: clusters and their endpoints", Slow(clusters::clusters)),
    get("/listeners", "?format=json: listeners and their addresses", Quick(listeners::listeners)),
    get(
        "/certs",
        "the workload's certificate and roots, and those of the configuration's files",
        Slow(certs::certs),
    ),
    get("/jwks", "keys of issuers that are fetched: names, age, last failure", Quick(jwks::jwks)),
    get("/stats", "?filter=REGEX&usedonly&format=json|prometheus: metrics", Slow(stats::stats)),
    get("/stats/prometheus", "metrics for Prometheus", Slow(stats::prometheus)).also(&[Surface::Metrics]),
    get("/metrics", "the same", Slow(stats::prometheus)).also(&[Surface::Metrics]),
    get("/server_info", "version, state and command line", Quick(process::server_info)),
    get("/memory", "memory of the process", Slow(process::memory)),
    post("/reload", "read the files again; 422 if they have errors", Later(config::reload)),
    post(
        "/logging",
        "?level=error|warn|info|debug|trace|off, or TARGET=LEVEL,…: the proxy's own log",
        Quick(process::logging),
    ),
    post("/reopen_logs", "open the access log anew, after a rotation", Quick(process::reopen_logs)),
    post("/healthcheck/fail", "make /ready answer 503", Quick(ready::fail)),
    post("/healthcheck/ok", "undo /healthcheck/fail", Quick(ready::ok)),
    post("/drain_listeners", "?graceful&inboundonly: close listeners", Quick(process::drain_listeners)),
    post("/quitquitquit", "end the process as SIGTERM does", Quick(process::quit)),
];

impl Surface {
    /// What is at `path`.
    pub(super) fn find(self, path: &str) -> Option<&'static Endpoint> {
        let offered = |endpoint: &&Endpoint| self == Surface::Admin || endpoint.also.contains(&self);
        ENDPOINTS.iter().filter(offered).find(|endpoint| endpoint.path == path)
    }
}

impl Endpoint {
    /// The answer to a request of this method.
    pub(super) async fn call(&'static self, method: &Method, ask: Ask) -> Answer {
        let allowed =
            if self.post { *method == Method::POST } else { [Method::GET, Method::HEAD].contains(method) };
        if !allowed {
            return self.wrong_method();
        }
        match self.handler {
            Quick(handler) => handler(&ask),
            Slow(handler) => match tokio::task::spawn_blocking(move || handler(&ask)).await {
                Ok(answer) => answer,
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            },
            Later(handler) => handler(ask).await,
        }
    }

    fn wrong_method(&self) -> Answer {
        let allow = if self.post { "POST" } else { "GET, HEAD" };
        let mut answer =
            answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{} takes {allow}\n", self.path));
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        answer
    }
}
