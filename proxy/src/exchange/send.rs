//! One try: a connection, the request on it, the head of the response.

use super::destination::host_of;
use crate::{
    codec::{
        Body, BodyError, Duplex, RequestHead, ResponseHead, Scheme, SendingBody,
        body::Http2Body,
        h1::client::{self, SendError},
        hop_by_hop,
    },
    error::ProxyError,
    listener::Connection,
    upstream::{
        Cluster,
        pool::{Checkout, ConnectionInfo, Http1Lease, Http2Lease},
    },
};
use http::{HeaderValue, StatusCode, Version, header};
use http_body::Body as _;
use sidle_balance::{Endpoint, Outcome};
use sidle_http2::{
    Code,
    connection::{Receiving, ResponseFields, StreamError},
};
use sidle_model::ir::UpstreamProtocol;
use std::{future::poll_fn, rc::Rc, sync::Arc};
use tokio::time::Instant;

/// Interim responses of one request; a server needs one or two.
const MAX_INTERIM: u32 = 8;

/// Where a try goes.
#[derive(Clone, Copy)]
pub struct To<'a> {
    /// Whose request it is.
    pub connection: &'a Connection,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// Whether a pooled connection will not do.
    pub fresh: bool,
}

/// A response's head, with what holds its connection.
pub struct Sent {
    /// Status and headers, hop-by-hop fields gone.
    pub head: ResponseHead,
    /// The body.
    pub body: Body,
    /// The connection.
    pub lease: Lease,
    /// The connection itself, after 101.
    pub upgraded: Option<Box<Duplex>>,
}

/// What comes of a try. In boxes: it goes through many hands.
pub type Tried = Result<Box<Sent>, Box<Failure>>;

/// A connection that carries a response.
pub enum Lease {
    /// Alone.
    Http1(Http1Lease),
    /// Among others.
    Http2(Http2Lease),
    /// Not pooled.
    None,
}

impl Lease {
    /// To be called when the response has been read to its end, which is `now`.
    pub fn give_back(self, now: Instant) {
        if let Lease::Http1(lease) = self {
            lease.give_back(now);
        }
    }

    /// What is spoken on it.
    pub fn version(&self) -> Version {
        if matches!(self, Lease::Http2(_)) { Version::HTTP_2 } else { Version::HTTP_11 }
    }

    /// About the connection.
    pub fn info(&self) -> Option<&Rc<ConnectionInfo>> {
        match self {
            Lease::Http1(lease) => Some(&lease.info),
            Lease::Http2(lease) => Some(lease.info()),
            Lease::None => None,
        }
    }
}

/// A try without a response.
#[derive(Debug)]
pub struct Failure {
    /// What to tell.
    pub error: ProxyError,
    /// For the retry policy.
    pub outcome: Outcome,
    /// Whether the connection had carried requests before, and so may have been closed as this one was sent.
    pub reused: bool,
}

impl Failure {
    /// A try that found no connection.
    pub fn unconnected(error: ProxyError) -> Box<Self> {
        let outcome = match error {
            ProxyError::Overflow => Outcome::Overflow,
            ProxyError::ConnectionTermination(_) => Outcome::ResetBeforeRequest,
            _ => Outcome::ConnectFailure,
        };
        Box::new(Failure { error, outcome, reused: false })
    }
}

/// Sends `head` and `body`, and waits for the response's head.
///
/// # Errors
/// [`Failure`]; then the body may have been read in part.
pub async fn send(to: To<'_>, head: &RequestHead, body: Body) -> Tried {
    let http2 = match to.cluster.connector.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => head.upgrade.is_none(),
        UpstreamProtocol::AsDownstream => head.version == Version::HTTP_2 && head.upgrade.is_none(),
    };
    let host = if to.cluster.connector.is_tls(to.endpoint) {
        host_of(head.authority.as_ref(), &to.endpoint.address)
    } else {
        String::new()
    };
    let checkout = Checkout {
        cluster: to.cluster,
        endpoint: to.endpoint,
        host: &host,
        fresh: to.fresh,
        limits: to.connection.limits(),
    };
    let pool = to.connection.worker.pools.pool(to.cluster, to.endpoint, &host, to.connection.via());
    if http2 {
        // Boxed: a request of HTTP/1 needs no room for it.
        let lease = Box::pin(pool.http2(checkout)).await.map_err(Failure::unconnected)?;
        send_http2(lease, to, head, body).await
    } else {
        let lease = match pool.idle_http1(&checkout) {
            Some(lease) => lease,
            // Boxed: most requests find a connection.
            None => Box::pin(pool.http1(checkout)).await.map_err(Failure::unconnected)?,
        };
        send_http1(lease, to, head, body).await
    }
}

async fn send_http1(lease: Http1Lease, to: To<'_>, head: &RequestHead, body: Body) -> Tried {
    let reused = lease.reused;
    let (case, patience) = (to.connection.preserve_header_case(), to.connection.limits().stream_idle_timeout);
    let response = lease.client.send(head, body, case, patience).await;
    let client::Response { head: mut answered, body, upgraded } = response.map_err(|error| {
        let reused = reused && error != SendError::Cut;
        let (error, outcome) = match error {
            SendError::Unsent => (ProxyError::ConnectionTermination(false), Outcome::ResetBeforeRequest),
            SendError::Malformed => (ProxyError::UpstreamProtocol, Outcome::Reset),
            SendError::Closed | SendError::Cut => (ProxyError::ConnectionTermination(true), Outcome::Reset),
            SendError::Stalled => (ProxyError::ResponseTimeout, Outcome::Reset),
            SendError::Body(error) => (client_failure(error), Outcome::Reset),
        };
        Box::new(Failure { error, outcome, reused })
    })?;
    let upgraded = upgraded.map(|upgraded| {
        let (stream, token) = *upgraded;
        announce_upgrade(&mut answered, head, token);
        Box::new(Duplex::Stream(stream))
    });
    Ok(Box::new(Sent { head: answered, body, lease: Lease::Http1(lease), upgraded }))
}

/// Puts back what makes a 101 one; to an HTTP/2 client it is a 200.
fn announce_upgrade(response: &mut ResponseHead, request: &RequestHead, token: Option<HeaderValue>) {
    if request.version == Version::HTTP_2 {
        response.status = StatusCode::OK;
        response.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        return;
    }
    let token = token.or_else(|| request.upgrade.clone());
    response.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(token) = token {
        response.headers.insert(header::UPGRADE, token);
    }
}

async fn send_http2(lease: Http2Lease, to: To<'_>, head: &RequestHead, body: Body) -> Tried {
    let reused = lease.reused;
    let failed = |error: StreamError, lease: &Http2Lease| {
        if matches!(error, StreamError::Closed | StreamError::Ended(_) | StreamError::Unprocessed) {
            lease.retire();
        }
        let (mut error, outcome) = classify(error);
        if outcome == Outcome::RefusedStream && lease.exceeds_limit() {
            error = ProxyError::ConnectionTermination(false); // sent before the limit was known
        }
        Box::new(Failure { error, outcome, reused })
    };
    let tls = to.cluster.connector.is_https(to.endpoint);
    let authority =
        head.authority.as_ref().ok_or_else(|| Failure::unconnected(ProxyError::UpstreamProtocol))?;
    let request = sidle_http2::connection::Request {
        method: &head.method,
        scheme: if tls || head.scheme == Scheme::Https { "https" } else { "http" },
        authority: authority.as_str(),
        path: head.target.as_str(),
        headers: &head.headers,
    };
    let ends = body.is_end_stream();
    let Ok((sending, mut receiving)) = lease.opener().open(request, ends) else {
        lease.retire();
        tracing::debug!("pooled HTTP/2 connection had ended");
        let error = ProxyError::ConnectionTermination(false);
        return Err(Box::new(Failure { error, outcome: Outcome::ResetBeforeRequest, reused }));
    };
    let patience = Some(to.connection.limits().stream_idle_timeout).filter(|limit| !limit.is_zero());
    let sending = if ends { None } else { SendingBody::start(sending, body, patience).await };
    let answered = final_response(&mut receiving, head).await.map_err(|error| match error {
        Some(error) => failed(error, &lease),
        None => Box::new(Failure { error: ProxyError::UpstreamProtocol, outcome: Outcome::Reset, reused }),
    })?;
    let ResponseFields { status, mut headers } = answered;
    hop_by_hop::strip(&mut headers);
    let body = if receiving.is_end() {
        Body::Empty
    } else {
        Body::Http2(Http2Body::new(receiving).with_sending(sending))
    };
    let head = ResponseHead { status, headers, original_case: Default::default() };
    Ok(Box::new(Sent { head, body, lease: Lease::Http2(lease), upgraded: None }))
}

/// Passes interim responses on until the final one comes.
///
/// # Errors
/// The stream's; `None`: there were too many.
async fn final_response(
    receiving: &mut Receiving,
    head: &RequestHead,
) -> Result<ResponseFields, Option<StreamError>> {
    for _ in 0..=MAX_INTERIM {
        let answer = poll_fn(|cx| receiving.poll_head(cx)).await.map_err(Some)?;
        if !answer.status.is_informational() {
            return Ok(answer);
        }
        let ResponseFields { status, headers } = answer;
        head.pass_on(ResponseHead { status, headers, original_case: Default::default() });
    }
    Err(None)
}

fn classify(error: StreamError) -> (ProxyError, Outcome) {
    match error {
        StreamError::Reset(Code::REFUSED_STREAM) => (ProxyError::RemoteReset(true), Outcome::RefusedStream),
        // Streams above GOAWAY's last one were not looked at.
        StreamError::Unprocessed => (ProxyError::ConnectionTermination(false), Outcome::RefusedStream),
        StreamError::Reset(_) => (ProxyError::RemoteReset(false), Outcome::Reset),
        StreamError::Closed => (ProxyError::ConnectionTermination(true), Outcome::Reset),
        StreamError::Local(_) => (ProxyError::ResponseTimeout, Outcome::Reset), // it would not take the request
        StreamError::Malformed(_) | StreamError::Ended(_) => (ProxyError::UpstreamProtocol, Outcome::Reset),
    }
}

/// What a failed request body means for the exchange.
pub fn client_failure(error: BodyError) -> ProxyError {
    match error {
        BodyError::Idle => ProxyError::ClientTooSlow,
        BodyError::Malformed => ProxyError::ClientBody,
        BodyError::Deadline => ProxyError::RequestTimeout,
        BodyError::Closed | BodyError::Reset(_) => ProxyError::ClientGone,
    }
}
