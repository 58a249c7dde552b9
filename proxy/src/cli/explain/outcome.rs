//! What happens to a request once its rule is known.
//!
//! In:  the rule, the clusters it names.   Out: an [`Outcome`].
//! Invariants: paths and locations are computed by the code that the proxy runs.
//! Not here: chance: shares are told, none is drawn.

use super::{
    cluster::{concurrency, endpoints, limits, load_balancer, tls, upstream_faults},
    request::Request,
};
use crate::error::ProxyError;
use serde::Serialize;
use sidle_model::ir::{
    self, Direction, FaultAbort, Forward, HeaderOperations, Ir, Piece, Route, RouteAction, TcpProxy,
    WeightedCluster,
};
use sidle_routing::{PathRewriter, Redirect};
use std::time::Duration;

/// What happens to the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "action")]
pub enum Outcome {
    /// It goes to an endpoint of one of the clusters.
    Forward(Box<Forwarded>),
    /// Its bytes go to an endpoint of one of the clusters.
    Tcp {
        /// Where.
        destinations: Vec<Destination>,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where.
        location: String,
        /// Changes to the response's headers.
        headers: Vec<String>,
    },
    /// The proxy answers.
    Direct {
        /// The status.
        status: u16,
        /// The body, if it is text.
        body: String,
        /// Changes to the response's headers.
        headers: Vec<String>,
    },
    /// It is refused, whatever its rule says.
    Refused {
        /// 400 for its head, 403 for who sends it, 403, 502 or 508 for where it would go.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// No rule takes it.
    NoRoute {
        /// 404.
        status: u16,
        /// `NR`.
        flag: &'static str,
    },
    /// The connection is closed.
    Closed {
        /// Why.
        reason: &'static str,
    },
}

/// A request that is forwarded.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarded {
    /// Chosen by share.
    pub destinations: Vec<Destination>,
    /// Path and query as the upstream sees them.
    pub path: String,
    /// `:authority` as the upstream sees it; a destination may have its own.
    pub authority: String,
    /// Whether one of the two is not what the client sent.
    pub rewritten: bool,
    /// For all tries.
    pub timeout: Option<String>,
    /// `2 tries after the first on …`.
    pub retries: Option<String>,
    /// Changes to headers.
    pub headers: Vec<String>,
    /// What consistent hashing hashes.
    pub hash: Vec<String>,
    /// Copies.
    pub mirrors: Vec<String>,
    /// Injected faults.
    pub faults: Vec<String>,
    /// Whether cross-origin requests are judged.
    pub cors: Option<String>,
}

/// A cluster with its share.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Its name.
    pub cluster: String,
    /// In percent of the requests.
    pub percent: f64,
    /// The subset, or empty.
    pub subset: String,
    /// How an endpoint is chosen; empty where there is no choice.
    pub load_balancer: String,
    /// Endpoints: `127.0.0.1:18081 v1`; for names `dns reviews:9080`.
    pub endpoints: Vec<String>,
    /// What is spoken to them besides plain text: `TLS`, `mTLS as SNI`; empty: nothing.
    pub tls: String,
    /// Where the cluster was made.
    pub origin: String,
    /// How much of it is used at once: `1024 connections (as by default), …`; empty where nothing bounds it.
    pub limits: String,
    /// What a ConcurrencyPolicy finds; empty: there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub concurrency: String,
    /// Injected as if it had them, by a FaultPolicy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Changes to headers for this destination alone.
    pub headers: Vec<String>,
    /// `:authority` for this destination alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

impl Outcome {
    /// What `route` does with `request`, which came in on `listener_port`.
    pub fn of(ir: &Ir, route: &Route, request: &Request, listener_port: u16) -> Outcome {
        let response_headers = || changes("response", &route.response_headers);
        match &route.action {
            RouteAction::Forward(forward) => {
                Outcome::Forward(Box::new(Forwarded::new(ir, route, forward, request)))
            }
            RouteAction::Redirect(redirect) => Outcome::Redirect {
                status: redirect.status.as_u16(),
                location: Redirect::new(redirect, &route.matches).location(request, listener_port),
                headers: response_headers(),
            },
            RouteAction::Direct(direct) => Outcome::Direct {
                status: direct.status.as_u16(),
                body: String::from_utf8_lossy(&direct.body).into_owned(),
                headers: response_headers(),
            },
        }
    }

    /// What a TCP proxy does.
    pub fn tcp(ir: &Ir, proxy: &TcpProxy) -> Outcome {
        Outcome::Tcp { destinations: destinations(ir, &proxy.clusters) }
    }

    /// No virtual host, or no rule.
    pub fn no_route() -> Outcome {
        Outcome::NoRoute { status: 404, flag: "NR" }
    }

    /// Whether somebody takes the request.
    pub fn is_taken(&self) -> bool {
        !matches!(self, Outcome::Refused { .. } | Outcome::NoRoute { .. } | Outcome::Closed { .. })
    }

    /// Refuses what leads to the black hole alone, as the proxy does.
    pub fn refuse_black_hole(&mut self, direction: Direction) {
        let reason = match direction {
            Direction::Inbound => "the port stays closed: its TLS cannot be served (`sidle check` says why)",
            _ => "no service has this address, and outboundTrafficPolicy is REGISTRY_ONLY",
        };
        let all = |destinations: &[Destination]| {
            let mut clusters = destinations.iter().map(|destination| &*destination.cluster);
            !destinations.is_empty() && clusters.all(|cluster| cluster == ir::BLACK_HOLE_CLUSTER)
        };
        match self {
            Outcome::Forward(forwarded) if all(&forwarded.destinations) => {
                let status = ProxyError::BlackHole.status().as_u16();
                *self = Outcome::Refused { status, reason: reason.to_owned() };
            }
            Outcome::Tcp { destinations } if all(destinations) => *self = Outcome::Closed { reason },
            _ => {}
        }
    }
}

impl Forwarded {
    fn new(ir: &Ir, route: &Route, forward: &Forward, request: &Request) -> Forwarded {
        let path = match &forward.path_rewrite {
            Some(rewrite) if !request.path.is_empty() => {
                PathRewriter::new(rewrite, &route.matches).rewrite(&request.path, request.query.as_deref())
            }
            _ => request.target(),
        };
        let authority = forward.authority_rewrite.as_deref().unwrap_or(&request.authority).to_owned();
        let mut headers = changes("request", &route.request_headers);
        headers.extend(changes("response", &route.response_headers));
        Forwarded {
            rewritten: path != request.target() || authority != request.authority,
            destinations: destinations(ir, &forward.clusters),
            path,
            authority,
            timeout: forward.timeout.map(time),
            retries: forward.retry.as_deref().map(retries),
            headers,
            hash: forward.hash_policies.iter().map(hash).collect(),
            mirrors: forward.mirrors.iter().map(|mirror| mirrored(ir, mirror)).collect(),
            faults: route.fault.as_deref().map(faults).unwrap_or_default(),
            cors: route.cors.as_deref().map(cors),
        }
    }
}

fn destinations(ir: &Ir, clusters: &[WeightedCluster]) -> Vec<Destination> {
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    clusters
        .iter()
        .map(|weighted| {
            let cluster =
                ir.clusters.iter().find(|cluster| cluster.name == weighted.cluster).map(|cluster| &**cluster);
            let mut headers = changes("request", &weighted.request_headers);
            headers.extend(changes("response", &weighted.response_headers));
            Destination {
                cluster: weighted.cluster.to_string(),
                percent: f64::from(weighted.weight) * 100.0 / total.max(1) as f64,
                subset: cluster.map(|cluster| cluster.subset.to_string()).unwrap_or_default(),
                load_balancer: cluster.map(load_balancer).unwrap_or_default(),
                endpoints: cluster.map(endpoints).unwrap_or_default(),
                tls: cluster.map(tls).unwrap_or_default(),
                origin: cluster.map(|cluster| cluster.origin.to_string()).unwrap_or_default(),
                limits: cluster.map(limits).unwrap_or_default(),
                concurrency: cluster.map(concurrency).unwrap_or_default(),
                faults: cluster
                    .and_then(|cluster| cluster.faults.as_deref())
                    .map(upstream_faults)
                    .unwrap_or_default(),
                headers,
                authority: weighted.authority.as_ref().map(|authority| authority.to_string()),
            }
        })
        .collect()
}

fn mirrored(ir: &Ir, mirror: &ir::Mirror) -> String {
    let compared = ir.clusters.iter().any(|one| one.name == mirror.cluster && one.compares_mirrored);
    let compared = if compared { ", whose answers are compared" } else { "" };
    format!("{} to {}{compared}", percent(mirror.percent), mirror.cluster)
}

/// `request set x-a: 1`.
fn changes(side: &str, operations: &HeaderOperations) -> Vec<String> {
    let value = |format: &ir::HeaderFormat| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.to_string(),
            Piece::Operator(..) => "%…%".to_owned(),
        };
        format.0.pieces().iter().map(piece).collect()
    };
    let removed = operations.remove.iter().map(|name| format!("{side} remove {name}"));
    let set = operations.set.iter().map(|(name, format)| format!("{side} set {name}: {}", value(format)));
    let added = operations.add.iter().map(|(name, format)| format!("{side} add {name}: {}", value(format)));
    removed.chain(set).chain(added).collect()
}

pub(super) fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(super) fn percent(percent: ir::Percent) -> String {
    format!("{} %", f64::from(percent.parts_per_million()) / 10_000.0)
}

fn retries(policy: &ir::RetryPolicy) -> String {
    let ir::RetryOn {
        server_error,
        gateway_error,
        reset,
        reset_before_request,
        connect_failure,
        retriable_4xx,
        refused_stream,
        envoy_ratelimited,
        status_codes,
        grpc_statuses,
    } = &policy.on;
    let named = [
        (server_error, "5xx"),
        (gateway_error, "gateway-error"),
        (reset, "reset"),
        (reset_before_request, "reset-before-request"),
        (connect_failure, "connect-failure"),
        (retriable_4xx, "retriable-4xx"),
        (refused_stream, "refused-stream"),
        (envoy_ratelimited, "envoy-ratelimited"),
    ];
    let mut on: Vec<String> =
        named.iter().filter(|(is_on, _)| **is_on).map(|(_, name)| name.to_string()).collect();
    on.extend(status_codes.iter().map(|status| status.as_u16().to_string()));
    on.extend(grpc_statuses.iter().map(|status| grpc_status(*status)));
    let per_try = policy.per_try_timeout.map(|timeout| format!(", {} each", time(timeout)));
    format!("{} more on {}{}", policy.attempts, on.join(", "), per_try.unwrap_or_default())
}

/// As in `retryOn`.
fn grpc_status(status: u8) -> String {
    match status {
        1 => "cancelled".into(),
        4 => "deadline-exceeded".into(),
        8 => "resource-exhausted".into(),
        13 => "internal".into(),
        14 => "unavailable".into(),
        other => format!("grpc-status {other}"),
    }
}

fn hash(policy: &ir::HashPolicy) -> String {
    match policy {
        ir::HashPolicy::Header(name) => format!("header {name}"),
        ir::HashPolicy::Cookie { name, .. } => format!("cookie {name}"),
        ir::HashPolicy::SourceIp => "the client's address".into(),
        ir::HashPolicy::QueryParameter(name) => format!("query parameter {name}"),
    }
}

pub(super) fn faults(fault: &ir::Fault) -> Vec<String> {
    let delay = fault.delay.map(|(length, share)| format!("{} waits {}", percent(share), time(length)));
    let abort = fault.abort.map(|(abort, share)| match abort {
        FaultAbort::Http(status) => format!("{} is answered {}", percent(share), status.as_u16()),
        FaultAbort::Grpc(status) => format!("{} is answered grpc-status {status}", percent(share)),
    });
    delay.into_iter().chain(abort).collect()
}

fn cors(cors: &ir::Cors) -> String {
    let credentials = if cors.allow_credentials { ", with credentials" } else { "" };
    let methods = if cors.allow_methods.is_empty() { "" } else { ", methods " };
    format!(
        "{} allowed origin patterns{methods}{}{credentials}",
        cors.allow_origins.len(),
        cors.allow_methods
    )
}
