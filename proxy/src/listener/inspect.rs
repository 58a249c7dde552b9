//! What a connection is, by its first bytes: TLS or not, for whom, HTTP or not.

use super::Origin;
use crate::{
    codec::{
        Stream,
        detect::{self, Detection},
    },
    config::{Chain, ListenerPlan},
};
use bytes::BytesMut;
use sidle_model::ir::{ApplicationProtocol, Transport};
use sidle_routing::{ConnectionView, Inspection};
use sidle_telemetry::ListenerMetrics;
use std::{sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;

/// The most that is read before a connection is known: a ClientHello of several records.
const MAX_PEEK: usize = 64 << 10;

/// What was seen of a connection.
#[derive(Debug, Default)]
pub struct Seen {
    /// SNI.
    pub server_name: Option<Arc<str>>,
    /// `TLSv1.3`, once terminated.
    pub tls_version: Option<&'static str>,
    /// Whether HTTP/2 is spoken, if that is known yet.
    pub http2: Option<bool>,
}

impl Seen {
    /// Notes what the handshake agreed on.
    pub fn terminated(&mut self, stream: &Stream) {
        let Some(session) = stream.server_session() else { return };
        self.server_name = session.server_name().map(Into::into);
        self.http2 = session.alpn_protocol().map(|protocol| protocol == b"h2");
        self.tls_version = session.protocol_version().map(|version| match version {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        });
    }
}

/// Reads as much as the listener's chains need to be told apart, and chooses one; `None`: close.
pub async fn inspect(
    stream: &mut Stream,
    plan: &ListenerPlan,
    origin: &Origin,
    metrics: &ListenerMetrics,
) -> Option<(Arc<Chain>, Seen)> {
    let destination = origin.local.filter(|_| origin.redirected);
    let mut seen = Seen::default();
    let mut transport = Transport::RawBuffer;
    let mut offers: Vec<ApplicationProtocol> = Vec::new();
    if plan.chains.inspection(destination) != Inspection::None {
        let detected = detect_within(stream, plan.config.detection_timeout).await?;
        match detected {
            None => metrics.detection_timed_out(),
            Some(Detection::Tls(hello)) => {
                transport = Transport::Tls;
                seen.server_name = hello.server_name.as_deref().map(Into::into);
                offers = hello.alpn;
            }
            Some(Detection::Http1) => {
                offers.push(ApplicationProtocol::Http1);
                seen.http2 = Some(false);
            }
            Some(Detection::Http2) => {
                offers.push(ApplicationProtocol::Http2);
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
    let chain = plan.chains.select(&view)?.clone();
    Some((chain, seen))
}

/// Whether a connection that speaks HTTP begins with the HTTP/2 preface; `None`: it ended, or sent nothing in time.
pub async fn preface(stream: &mut Stream, timeout: Duration) -> Option<bool> {
    let detected = tokio::time::timeout(timeout, detect_all(stream)).await.ok()??;
    Some(matches!(detected, Detection::Http2))
}

/// `None`: the connection ended. `Some(None)`: the time ran out.
async fn detect_within(stream: &mut Stream, timeout: Duration) -> Option<Option<Detection>> {
    if timeout.is_zero() {
        return detect_all(stream).await.map(Some);
    }
    match tokio::time::timeout(timeout, detect_all(stream)).await {
        Ok(detected) => detected.map(Some),
        Err(_) => Some(None),
    }
}

/// Reads until the bytes tell; what was read stays to be read, however this ends.
async fn detect_all(stream: &mut Stream) -> Option<Detection> {
    struct Unread<'a>(&'a mut Stream, BytesMut);
    impl Drop for Unread<'_> {
        fn drop(&mut self) {
            if !self.1.is_empty() {
                self.0.unread(self.1.split().freeze());
            }
        }
    }
    let mut peek = Unread(stream, BytesMut::with_capacity(2048));
    loop {
        if peek.1.capacity() == peek.1.len() {
            peek.1.reserve(4096);
        }
        match peek.0.read_buf(&mut peek.1).await {
            Ok(0) if peek.1.is_empty() => return None,
            Ok(0) => return Some(Detection::Opaque),
            Ok(_) => {}
            Err(_) => return None,
        }
        match detect::detect(&peek.1) {
            Detection::NeedMore if peek.1.len() < MAX_PEEK => {}
            Detection::NeedMore => return Some(Detection::Opaque),
            detected => return Some(detected),
        }
    }
}
