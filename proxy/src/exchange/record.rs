//! What is known of an exchange, for its log line, its metrics and header values with operators.

use crate::{
    codec::{Authority, RequestHead, ResponseHead, grpc::MessageCounter},
    config::{HttpPlan, Snapshot},
    upstream::Cluster,
    worker::Held,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
use sidle_balance::EndpointAddr;
use sidle_fields::{Fields, spare};
use sidle_identity::{Peer, SpiffeId};
use sidle_model::ir::{AccessLog, AccessLogFormat, Format, HeaderField, Operator, Origin, Piece};
use sidle_routing::Place;
use sidle_telemetry::{
    ResponseFlags, TraceParent,
    log::{Address, AddressValue, DurationValue, LogContext, Message, NumberValue, TextValue},
};
use smallvec::SmallVec;
use std::{
    borrow::Cow,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// What `%STREAM_ID%` shows.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where `%TRACE_ID%` is found.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is known of an exchange.
pub struct Record {
    /// Monotonic: the wall clock is asked where it is shown.
    pub began: Instant,
    /// As sent; `None` for TCP, and where a head could not be read so far.
    pub method: Option<Method>,
    /// As the log shows it: rewritten if the route does so.
    pub target: Option<PathAndQuery>,
    /// As the log shows it.
    pub authority: Option<Authority>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What the client spoke; `None` for TCP.
    pub protocol: Option<Version>,
    /// Whether the metrics say gRPC.
    pub grpc: bool,
    /// The rule that decided.
    pub rule: Option<Rule>,
    /// The cluster.
    pub cluster: Option<Held<Cluster>>,
    /// The endpoint.
    pub upstream: Option<EndpointAddr>,
    /// Our end of the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// Who the endpoint proved to be.
    pub upstream_identity: Option<Arc<Peer>>,
    /// Tries so far.
    pub attempts: u32,
    /// What went wrong.
    pub flags: ResponseFlags,
    /// `via_upstream`, …
    pub details: Cow<'static, str>,
    /// Why a connection of bytes was closed.
    pub termination: Cow<'static, str>,
    /// Why no upstream connection stood.
    pub transport_failure: Option<String>,
    /// What was sent.
    pub status: Option<StatusCode>,
    /// `grpc-status` of headers or trailers.
    pub grpc_status: Option<u8>,
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the response's body.
    pub bytes_sent: u64,
    /// gRPC messages of the response.
    pub response_messages: MessageCounter,
    /// When the request was received whole.
    pub request_complete: Option<Instant>,
    /// When the upstream's response began.
    pub response_began: Option<Instant>,
    /// When all was over.
    pub ended: Option<Instant>,
    /// Headers that the access log wants, if there is one that wants any.
    pub captured: Option<Box<Captured>>,
    /// The configuration that it follows.
    pub snapshot: Held<Snapshot>,
    /// The client, as far as those in front are believed.
    pub peer: Option<SocketAddr>,
    /// The downstream connection.
    pub downstream: Rc<Downstream>,
}

/// A rule of the configuration.
pub enum Rule {
    /// For requests: whose it is, and where it stands.
    Route(Held<HttpPlan>, Place),
    /// For connections of bytes: its name, and where it stands.
    Bytes(Arc<str>, Origin),
}

impl Rule {
    fn name(&self) -> &str {
        match self {
            Rule::Route(plan, place) => &plan.routes[*place].route.name,
            Rule::Bytes(name, _) => name,
        }
    }

    fn origin(&self) -> &Origin {
        match self {
            Rule::Route(plan, place) => &plan.routes[*place].route.origin,
            Rule::Bytes(_, origin) => origin,
        }
    }
}

impl Record {
    /// A record that begins now, of bytes until a request says otherwise.
    pub fn begin(snapshot: Held<Snapshot>, downstream: Rc<Downstream>) -> Self {
        Record {
            began: Instant::now(),
            method: None,
            target: None,
            authority: None,
            scheme: "",
            protocol: None,
            grpc: false,
            rule: None,
            cluster: None,
            upstream: None,
            upstream_local: None,
            upstream_identity: None,
            attempts: 0,
            flags: ResponseFlags::NONE,
            details: "".into(),
            termination: "".into(),
            transport_failure: None,
            status: None,
            grpc_status: None,
            bytes_received: 0,
            bytes_sent: 0,
            response_messages: MessageCounter::default(),
            request_complete: None,
            response_began: None,
            ended: None,
            captured: None,
            snapshot,
            peer: downstream.peer,
            downstream,
        }
    }

    /// When it began, by the wall clock as it is now.
    pub fn began_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.began.elapsed()).unwrap_or(now)
    }
}

/// The downstream connection, as far as logs show it.
#[derive(Debug, Clone, Default)]
pub struct Downstream {
    /// Unique in this process.
    pub id: u64,
    /// The client, as far as the connection tells.
    pub peer: Option<SocketAddr>,
    /// The other end of the socket.
    pub direct: Option<SocketAddr>,
    /// Our end, or the original destination.
    pub local: Option<SocketAddr>,
    /// SNI.
    pub server_name: Option<Arc<str>>,
    /// `TLSv1.3`.
    pub tls_version: Option<&'static str>,
    /// Who the client proved to be by his certificate.
    pub identity: Option<Arc<Peer>>,
    /// Who we said to be.
    pub own: Option<SpiffeId>,
}

/// Values that outlive the heads they were in.
#[derive(Default)]
pub struct Captured {
    /// All of them: they are not needed any more where they were.
    request: Fields,
    response: SmallVec<[(HeaderName, HeaderValue); 2]>,
    trailers: SmallVec<[(HeaderName, HeaderValue); 1]>,
}

impl Drop for Captured {
    fn drop(&mut self) {
        spare::give_back(std::mem::take(&mut self.request));
    }
}

/// Which headers an access log wants.
#[derive(Debug, Default)]
pub struct Wanted {
    request: Vec<HeaderName>,
    response: Vec<HeaderName>,
    trailers: Vec<HeaderName>,
}

impl Wanted {
    /// By the formats of an access log.
    pub fn by(log: &AccessLog) -> Self {
        let mut wanted = Wanted::default();
        match &log.format {
            AccessLogFormat::Text(format) => wanted.add(format),
            AccessLogFormat::Json(fields) => fields.iter().for_each(|(_, format)| wanted.add(format)),
        }
        wanted
    }

    fn add(&mut self, format: &Format) {
        for piece in format.pieces() {
            let Piece::Operator(operator, _) = piece else { continue };
            let (list, first, second) = match operator {
                Operator::StreamId => {
                    keep(&mut self.request, &REQUEST_ID);
                    continue;
                }
                Operator::TraceId => {
                    keep(&mut self.request, &TRACEPARENT);
                    continue;
                }
                Operator::RequestHeader(first, second) => (&mut self.request, first, second),
                Operator::ResponseHeader(first, second) => (&mut self.response, first, second),
                Operator::Trailer(first, second) => (&mut self.trailers, first, second),
                _ => continue,
            };
            for field in [Some(first), second.as_ref()].into_iter().flatten() {
                if let HeaderField::Named(name) = field {
                    keep(list, name);
                }
            }
        }
    }

    /// Takes the fields of a request if some are wanted.
    pub fn capture_request(&self, headers: &mut Fields, into: &mut Option<Box<Captured>>) {
        if !self.request.is_empty() {
            into.get_or_insert_default().request = std::mem::take(headers);
        }
    }

    /// Keeps only what is wanted of a request's fields: of an exchange that may last for days.
    pub fn keep_little(&self, captured: &mut Captured) {
        let few = pick(&self.request, |name| captured.request.get(name));
        let few = few.map(|(name, value)| (name, detached(value))).collect();
        spare::give_back(std::mem::replace(&mut captured.request, few));
    }

    /// Keeps what is wanted of a response.
    pub fn capture_response(&self, headers: &Fields, into: &mut Option<Box<Captured>>) {
        if !self.response.is_empty() {
            into.get_or_insert_default().response = pick(&self.response, |name| headers.get(name))
                .map(|(name, value)| (name, detached(value)))
                .collect();
        }
    }

    /// Keeps what is wanted of trailers.
    pub fn capture_trailers(&self, headers: &http::HeaderMap, into: &mut Option<Box<Captured>>) {
        if !self.trailers.is_empty() {
            into.get_or_insert_default().trailers = pick(&self.trailers, |name| headers.get(name)).collect();
        }
    }
}

fn keep(list: &mut Vec<HeaderName>, name: &HeaderName) {
    if !list.contains(name) {
        list.push(name.clone());
    }
}

fn pick<'a>(
    names: &'a [HeaderName],
    value: impl Fn(&HeaderName) -> Option<&'a HeaderValue>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    names.iter().filter_map(move |name| Some((name.clone(), value(name)?.clone())))
}

/// The same bytes by themselves: a value of an answer's lies among all that was read with it.
fn detached(value: HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or(value)
}

fn find<'a>(captured: &'a [(HeaderName, HeaderValue)], name: &HeaderName) -> Option<&'a [u8]> {
    captured.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_bytes())
}

/// A record at a moment when heads are at hand.
pub struct Moment<'a> {
    /// What is known.
    pub record: &'a Record,
    /// The request, while it is here.
    pub request: Option<&'a RequestHead>,
    /// The response, while it is here.
    pub response: Option<&'a ResponseHead>,
}

impl Moment<'_> {
    fn request_header(&self, name: &HeaderName) -> Option<&[u8]> {
        match self.request {
            Some(head) => head.headers.get(name).map(HeaderValue::as_bytes),
            None => self.record.captured.as_ref()?.request.get(name).map(HeaderValue::as_bytes),
        }
    }
}

impl LogContext for Moment<'_> {
    fn start_time(&self) -> SystemTime {
        self.record.began_at()
    }

    fn header(&self, message: Message, name: &HeaderField) -> Option<&[u8]> {
        let record = self.record;
        match (message, name) {
            (Message::Request, HeaderField::Method) => {
                record.method.as_ref().map(|method| method.as_str().as_bytes())
            }
            (Message::Request, HeaderField::Path) => {
                record.target.as_ref().map(|target| target.as_str().as_bytes())
            }
            (Message::Request, HeaderField::Authority) => {
                record.authority.as_ref().map(|authority| authority.as_str().as_bytes())
            }
            (Message::Request, HeaderField::Scheme) => record.protocol.map(|_| record.scheme.as_bytes()),
            (Message::Response, HeaderField::Status) => None, // RESPONSE_CODE says it
            (Message::Request, HeaderField::Named(name)) => self.request_header(name),
            (Message::Response, HeaderField::Named(name)) => match self.response {
                Some(head) => head.headers.get(name).map(HeaderValue::as_bytes),
                None => find(&record.captured.as_ref()?.response, name),
            },
            (Message::Trailers, HeaderField::Named(name)) => find(&record.captured.as_ref()?.trailers, name),
            _ => None,
        }
    }

    fn text(&self, value: TextValue) -> Option<&str> {
        let record = self.record;
        match value {
            TextValue::Protocol => record.protocol.map(|version| match version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            }),
            TextValue::ResponseCodeDetails => Some(&*record.details),
            TextValue::ConnectionTerminationDetails => Some(&*record.termination),
            TextValue::DownstreamPeerUriSan => {
                record.downstream.identity.as_ref().and_then(|peer| peer.uris.first()).map(|uri| &**uri)
            }
            TextValue::DownstreamPeerSubject => {
                record.downstream.identity.as_ref().map(|peer| &*peer.subject)
            }
            TextValue::DownstreamLocalUriSan => record.downstream.own.as_ref().map(SpiffeId::as_str),
            TextValue::UpstreamPeerUriSan => {
                record.upstream_identity.as_ref().and_then(|peer| peer.uris.first()).map(|uri| &**uri)
            }
            TextValue::UpstreamPeerSubject => record.upstream_identity.as_ref().map(|peer| &*peer.subject),
            TextValue::UpstreamTransportFailureReason => record.transport_failure.as_deref(),
            TextValue::UpstreamCluster => record.cluster.as_ref().map(|cluster| &*cluster.config.name),
            TextValue::RequestedServerName => record.downstream.server_name.as_deref(),
            TextValue::DownstreamTlsVersion => record.downstream.tls_version,
            TextValue::RouteName => record.rule.as_ref().map(Rule::name),
            TextValue::StreamId => {
                self.request_header(&REQUEST_ID).and_then(|id| std::str::from_utf8(id).ok())
            }
            TextValue::TraceId => {
                self.request_header(&TRACEPARENT).and_then(TraceParent::parse).map(|trace| trace.trace_id)
            }
            TextValue::ConfigVersion => Some(&*record.snapshot.version),
        }
        .filter(|text| !text.is_empty())
    }

    fn number(&self, value: NumberValue) -> Option<u64> {
        let record = self.record;
        Some(match value {
            NumberValue::ResponseCode => record.status.map_or(0, |status| status.as_u16().into()),
            NumberValue::BytesReceived => record.bytes_received,
            NumberValue::BytesSent => record.bytes_sent,
            NumberValue::UpstreamRequestAttemptCount => record.attempts.into(),
            NumberValue::ConnectionId => record.downstream.id,
            NumberValue::GrpcStatus => return record.grpc_status.map(u64::from),
        })
    }

    fn duration(&self, value: DurationValue) -> Option<Duration> {
        let record = self.record;
        let ended = || record.ended.unwrap_or_else(Instant::now);
        match value {
            DurationValue::Total => Some(ended() - record.began),
            DurationValue::Request => record.request_complete.map(|at| at - record.began),
            DurationValue::Response => record.response_began.map(|at| at - record.began),
            DurationValue::ResponseTx => record.response_began.map(|at| ended() - at),
        }
    }

    fn address(&self, value: AddressValue) -> Option<Address<'_>> {
        let record = self.record;
        match value {
            AddressValue::UpstreamHost | AddressValue::UpstreamRemote => {
                record.upstream.as_ref().map(|address| match address {
                    EndpointAddr::Socket(socket) => Address::Socket(*socket),
                    EndpointAddr::Unix(path) => Address::Unix(path),
                })
            }
            AddressValue::UpstreamLocal => record.upstream_local.map(Address::Socket),
            AddressValue::DownstreamLocal => record.downstream.local.map(Address::Socket),
            AddressValue::DownstreamRemote => record.peer.map(Address::Socket),
            AddressValue::DownstreamDirectRemote => record.downstream.direct.map(Address::Socket),
        }
    }

    fn flags(&self) -> ResponseFlags {
        self.record.flags
    }

    fn route_origin(&self) -> Option<&Origin> {
        self.record.rule.as_ref().map(Rule::origin)
    }
}
