//! What a connection is, by its first bytes: TLS or not, for whom, HTTP or not.

use super::{
    Origin,
    proxy_protocol::{self, Parsed},
};
use crate::{
    codec::{
        Stream,
        detect::{self, Detection},
    },
    config::{Chain, Filter, ListenerPlan},
};
use bytes::BytesMut;
use sidle_identity::{Peer, SpiffeId};
use sidle_model::ir::{ApplicationProtocol, Limits, Transport};
use sidle_routing::{ConnectionView, Inspection};
use sidle_telemetry::ListenerMetrics;
use std::{
    borrow::Cow,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};

/// The most that is read before a connection is known: a ClientHello of several records.
const MAX_PEEK: usize = 64 << 10;
/// How much of it is read at once: most ClientHellos.
const PIECE: usize = 2 << 10;

/// What was seen of a connection.
#[derive(Debug, Default)]
pub struct Seen {
    /// SNI.
    pub server_name: Option<Arc<str>>,
    /// `TLSv1.3`, once terminated.
    pub tls_version: Option<&'static str>,
    /// Who the client proved to be.
    pub identity: Option<Arc<Peer>>,
    /// Who we said to be.
    pub own: Option<SpiffeId>,
    /// Whether HTTP/2 is spoken, if that is known yet.
    pub http2: Option<bool>,
    /// What its first bytes were, as chains are chosen by it.
    pub first: First,
}

/// What the first bytes of a connection were.
#[derive(Debug, Default)]
pub struct First {
    /// Whether they were TLS.
    pub tls: bool,
    /// The protocols that they offered, or were of.
    pub offers: Cow<'static, [ApplicationProtocol]>,
}

impl Seen {
    /// Notes what the handshake agreed on. `own`: what was shown.
    pub fn terminated(&mut self, stream: &Stream, own: Option<SpiffeId>) {
        let Some(session) = stream.server_session() else { return };
        self.own = own;
        self.server_name = session.server_name().map(Into::into);
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        self.identity = leaf.and_then(Peer::of).map(Arc::new);
        self.http2 = match session.alpn_protocol() {
            Some(b"h2" | b"istio-h2") => Some(true),
            Some(b"http/1.1" | b"istio-http/1.0" | b"istio-http/1.1") => Some(false),
            _ => None, // `istio` says whose it is, not what is inside
        };
        self.tls_version = session.protocol_version().map(|version| match version {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        });
    }
}

/// What became of the PROXY protocol header of a connection.
pub enum Proxied {
    /// The origin is what it says.
    Known,
    /// The connection ended before its first byte, as health checks do.
    Silent,
    /// There is none, or it is broken, or it took too long.
    Invalid,
}

/// Takes the PROXY protocol header away, and notes in `origin` what it says.
pub async fn proxied(stream: &mut Stream, origin: &mut Origin, timeout: Duration) -> Proxied {
    let mut bytes = BytesMut::with_capacity(proxy_protocol::MAX_BYTES);
    let reading = async {
        loop {
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) if bytes.is_empty() => return Err(Proxied::Silent),
                Ok(0) | Err(_) => return Err(Proxied::Invalid),
                Ok(_) => {}
            }
            match proxy_protocol::parse(&bytes) {
                Parsed::Incomplete => bytes.reserve(1),
                Parsed::Header { length, addresses } => return Ok((length, addresses)),
                Parsed::Invalid => return Err(Proxied::Invalid),
            }
        }
    };
    let read = tokio::time::timeout(timeout, reading).await.unwrap_or(Err(Proxied::Invalid));
    match read {
        Ok((length, addresses)) => {
            stream.unread(bytes.split_off(length).freeze());
            if let Some(addresses) = addresses {
                origin.peer = Some(addresses.source);
                origin.local = Some(addresses.destination);
            }
            Proxied::Known
        }
        Err(failed) => failed,
    }
}

/// Reads as much as the listener's chains need to be told apart, and chooses one; `None`: close.
pub async fn inspect(
    stream: &mut Stream,
    plan: &ListenerPlan,
    origin: &Origin,
    limits: &Limits,
    metrics: &ListenerMetrics,
) -> Option<(Arc<Chain>, Seen)> {
    let destination = origin.local.filter(|_| origin.redirected);
    let mut seen = Seen::default();
    let mut transport = Transport::RawBuffer;
    let mut offers: Cow<'static, [ApplicationProtocol]> = Cow::default();
    if plan.chains.inspection(destination) != Inspection::None {
        let silent = ConnectionView { destination, server_name: None, transport, application_protocols: &[] };
        let for_silent = plan.chains.select(&silent).map(|chain| &chain.filter);
        // Only of bytes the server may be the one to begin.
        let by_bytes = matches!(for_silent, Some(Filter::Tcp(_)));
        let detected = match for_silent {
            Some(Filter::Tcp(_)) => detect_within(stream, plan.config.detection_timeout).await?,
            Some(Filter::Http(_)) => detect_patiently(stream, limits.connection_idle_timeout, limits).await?,
            None => detect_patiently(stream, limits.tls_handshake_timeout, limits).await?,
        };
        match detected {
            None if by_bytes => metrics.detection_timed_out(),
            None => {}
            Some(Detection::Tls(hello)) => {
                transport = Transport::Tls;
                seen.server_name = hello.server_name.as_deref().map(Into::into);
                offers = hello.alpn.into();
            }
            Some(Detection::Http1) => {
                offers = Cow::Borrowed(&[ApplicationProtocol::Http1]);
                seen.http2 = Some(false);
            }
            Some(Detection::Http2) => {
                offers = Cow::Borrowed(&[ApplicationProtocol::Http2]);
                seen.http2 = Some(true);
            }
            Some(Detection::NeedMore | Detection::Opaque) => {}
        }
    }
    let view = ConnectionView {
        destination,
        server_name: seen.server_name.as_deref(),
        transport,
        application_protocols: &offers,
    };
    let Some(chain) = plan.chains.select(&view) else {
        metrics.no_chain();
        return None;
    };
    seen.first = First { tls: transport == Transport::Tls || chain.tls.is_some(), offers };
    Some((chain.clone(), seen))
}

/// Whether a connection that speaks HTTP begins with the HTTP/2 preface; `None`: it ended, or sent nothing for `idle`.
///
/// Anything else is HTTP/1's to read and to refuse, so that one byte decides; a preface that stalls for `begun` too.
pub async fn preface(stream: &mut Stream, idle: Duration, begun: Duration) -> Option<bool> {
    let mut peek = Unread::new(stream);
    let mut patience = idle;
    loop {
        match in_time(patience, peek.read()).await {
            Some(Some(true)) => {}
            Some(_) => return None,
            None => return (!peek.bytes.is_empty()).then_some(false),
        }
        if let Some(http2) = detect::is_http2(&peek.bytes) {
            return Some(http2);
        }
        patience = begun;
    }
}

/// `None`: the connection ended. `Some(None)`: the time ran out.
async fn detect_within(stream: &mut Stream, timeout: Duration) -> Option<Option<Detection>> {
    match in_time(timeout, detect_all(stream)).await {
        Some(detected) => detected.map(Some),
        None => Some(None),
    }
}

/// The output of `future` within `limit`; zero: whenever it comes.
async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    if limit.is_zero() {
        return Some(future.await);
    }
    tokio::time::timeout(limit, future).await.ok()
}

/// For ports where only the client may begin: it has `idle` to do so, and then as long as for a handshake. A ClientHello that
/// was lost on its way comes again after a second.
async fn detect_patiently(stream: &mut Stream, idle: Duration, limits: &Limits) -> Option<Option<Detection>> {
    let mut peek = Unread::new(stream);
    in_time(idle, peek.read()).await.flatten().filter(|more| *more)?;
    drop(peek);
    detect_within(stream, limits.tls_handshake_timeout).await
}

/// Reads until the bytes tell; what was read stays to be read, however this ends.
async fn detect_all(stream: &mut Stream) -> Option<Detection> {
    let mut peek = Unread::new(stream);
    loop {
        match peek.read().await? {
            true => {}
            false if peek.bytes.is_empty() => return None,
            false => return Some(Detection::Opaque),
        }
        match detect::detect(&peek.bytes) {
            Detection::NeedMore if peek.bytes.len() < MAX_PEEK => {}
            Detection::NeedMore => return Some(Detection::Opaque),
            detected => return Some(detected),
        }
    }
}

/// Bytes that were read ahead; put back when dropped.
struct Unread<'a> {
    stream: &'a mut Stream,
    bytes: Vec<u8>,
}

impl<'a> Unread<'a> {
    fn new(stream: &'a mut Stream) -> Self {
        Unread { stream, bytes: Vec::new() }
    }

    /// Reads some more; `false`: there is no more. `None`: the connection broke.
    async fn read(&mut self) -> Option<bool> {
        poll_fn(|cx| {
            let mut piece = [0; PIECE]; // here, so that a client that says nothing takes no room
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut piece));
            self.bytes.extend_from_slice(piece.filled());
            Poll::Ready(read.ok().map(|()| !piece.filled().is_empty()))
        })
        .await
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.stream.unread(std::mem::take(&mut self.bytes).into());
        }
    }
}
