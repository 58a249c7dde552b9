//! What an access log line or a header value can ask of a request: one method for each class of values.

use crate::ResponseFlags;
use sidle_model::ir::{HeaderField, Origin};
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

/// What is known of a request, or of a TCP connection. Each answer is cheap and borrowed; `None` is "not known".
pub trait LogContext {
    /// When the request began.
    fn start_time(&self) -> SystemTime;
    /// A header or pseudo-header.
    fn header(&self, message: Message, name: &HeaderField) -> Option<&[u8]>;
    /// A text.
    fn text(&self, value: TextValue) -> Option<&str>;
    /// A number.
    fn number(&self, value: NumberValue) -> Option<u64>;
    /// A span of time.
    fn duration(&self, value: DurationValue) -> Option<Duration>;
    /// An address.
    fn address(&self, value: AddressValue) -> Option<Address<'_>>;
    /// What went wrong.
    fn flags(&self) -> ResponseFlags;
    /// Where the rule stands that decided.
    fn route_origin(&self) -> Option<&Origin>;
}

/// Whose header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request as it was received, but for changes that the route made.
    Request,
    /// The response as it was sent.
    Response,
    /// Trailers of the response.
    Trailers,
}

/// A text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextValue {
    /// `HTTP/1.1`, `HTTP/2`.
    Protocol,
    /// `via_upstream`, `route_not_found`, …
    ResponseCodeDetails,
    /// Why the downstream connection was closed.
    ConnectionTerminationDetails,
    /// Why no upstream connection stood.
    UpstreamTransportFailureReason,
    /// Name of the cluster.
    UpstreamCluster,
    /// SNI.
    RequestedServerName,
    /// From the client's certificate.
    DownstreamPeerUriSan,
    /// From the client's certificate.
    DownstreamPeerSubject,
    /// What we showed to the client.
    DownstreamLocalUriSan,
    /// From the endpoint's certificate.
    UpstreamPeerUriSan,
    /// From the endpoint's certificate.
    UpstreamPeerSubject,
    /// `TLSv1.3`.
    DownstreamTlsVersion,
    /// Name of the route.
    RouteName,
    /// Unique to the request.
    StreamId,
    /// The trace id of `traceparent`.
    TraceId,
    /// The configuration that served the request.
    ConfigVersion,
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberValue {
    /// Status; 0 when none was sent.
    ResponseCode,
    /// Of the request's body.
    BytesReceived,
    /// Of the response's body.
    BytesSent,
    /// Tries.
    UpstreamRequestAttemptCount,
    /// Unique to the downstream connection.
    ConnectionId,
    /// `grpc-status`.
    GrpcStatus,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationValue {
    /// From the start to the last byte sent.
    Total,
    /// From the start to the last byte of the request received.
    Request,
    /// From the start to the first byte of the upstream's response.
    Response,
    /// From the first byte of the upstream's response to the last byte sent.
    ResponseTx,
}

/// Which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressValue {
    /// The endpoint that was chosen.
    UpstreamHost,
    /// Our end of the upstream connection.
    UpstreamLocal,
    /// Its other end.
    UpstreamRemote,
    /// Our end of the downstream connection; the original destination of a redirected one.
    DownstreamLocal,
    /// The client, from `x-forwarded-for` where that is trusted.
    DownstreamRemote,
    /// The other end of the downstream connection.
    DownstreamDirectRemote,
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// IP and port.
    Socket(SocketAddr),
    /// A Unix domain socket.
    Unix(&'a Path),
}
