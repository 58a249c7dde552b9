//! What can go wrong with a request, and what the client, the log and the metrics are told: one table.
//!
//! Source: Envoy's response flags, details and local replies; gRPC's HTTP to status mapping.

use http::StatusCode;
use sidle_telemetry::ResponseFlags;
use std::borrow::Cow;

/// Why the proxy answered in place of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The request's head cannot be served.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The request's token is not believed.
    #[error("{0}")]
    Token(#[from] sidle_jwt::Refusal),
    /// No virtual host or route matches.
    #[error("no route")]
    NoRoute,
    /// Authorization policies refuse the request; holds the details.
    #[error("RBAC: access denied")]
    Forbidden(Box<str>),
    /// An external authoriser refuses a connection of bytes, or does not answer.
    #[error("{0}")]
    Unauthorized(#[from] ExternalRefusal),
    /// The request is for a host that other TLS settings hold for than those of its connection.
    #[error("misdirected request")]
    Misdirected,
    /// The client's connection was let in by a configuration that is no longer in force, and would not be now.
    #[error("the connection is no longer admitted")]
    Outdated,
    /// The route's cluster is [`sidle_model::ir::BLACK_HOLE_CLUSTER`].
    #[error("destination is not registered")]
    BlackHole,
    /// The route's cluster cannot take part: an unknown subset.
    #[error("no cluster")]
    NoCluster,
    /// The cluster has no endpoint to send to.
    #[error("no healthy upstream")]
    NoHealthyUpstream,
    /// The name of the destination could not be resolved.
    #[error("DNS resolution failed")]
    DnsFailure,
    /// A bound of the cluster is reached.
    #[error("upstream overflow")]
    Overflow,
    /// The endpoint could not be connected to; holds the reason.
    #[error("connection failure: {0}")]
    ConnectFailure(Cow<'static, str>),
    /// The endpoint could not be connected to in time.
    #[error("connection timeout")]
    ConnectTimeout,
    /// The connection ended before a response; `true`: after some of the request was written.
    #[error("connection termination")]
    ConnectionTermination(bool),
    /// The endpoint reset the stream before a response; REFUSED_STREAM if `true`.
    #[error("remote reset")]
    RemoteReset(bool),
    /// The endpoint broke the protocol.
    #[error("upstream protocol error")]
    UpstreamProtocol,
    /// The route's timeout, or the client's deadline, ran out.
    #[error("response timeout")]
    ResponseTimeout,
    /// A try's timeout ran out.
    #[error("per try timeout")]
    PerTryTimeout,
    /// An injected abort.
    #[error("fault injected")]
    FaultAbort(StatusCode),
    /// An injected gRPC abort.
    #[error("fault injected")]
    FaultGrpc(u8),
    /// An injected reset of a connection of bytes.
    #[error("fault injected")]
    FaultReset,
    /// The request would come back to this proxy.
    #[error("destination is this proxy itself")]
    Loop,
    /// The client would get where only this machine may.
    #[error("destination is this proxy's admin server")]
    Admin,
    /// The client went away.
    #[error("downstream disconnected")]
    ClientGone,
    /// The client's body stopped coming.
    #[error("request body timeout")]
    ClientTooSlow,
    /// The request did not come whole in the time that it may take.
    #[error("request timeout")]
    RequestTimeout,
    /// The client's body broke off or broke the protocol.
    #[error("downstream body failed")]
    ClientBody,
    /// The body is longer than those who must see it can take.
    #[error("request body too large")]
    BodyTooLarge,
    /// A defect of this program.
    #[error("internal error")]
    Panicked,
    /// A policy has no token left for the request.
    #[error("local_rate_limited")]
    RateLimited,
    /// A service that counts requests gave no answer, and its policy refuses without one.
    #[error("rate limit service failed")]
    RateLimitService,
    /// The workload has as many requests as it can serve without making them wait.
    #[error("reached concurrency limit")]
    ConcurrencyLimit,
    /// There is too little memory to take more on.
    #[error("overloaded")]
    Overload,
}

/// Why an external authoriser lets nothing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExternalRefusal {
    /// It says no.
    #[error("external authorization refuses")]
    Denied,
    /// It says nothing that could be understood.
    #[error("external authorization failed")]
    Failed,
}

impl ExternalRefusal {
    /// Envoy's response code details.
    pub fn details(self) -> &'static str {
        match self {
            ExternalRefusal::Denied => "ext_authz_denied",
            ExternalRefusal::Failed => "ext_authz_error",
        }
    }
}

/// Why a request's head cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// HTTP/1.0.
    #[error("HTTP/1.0 is not spoken here")]
    Http10,
    /// No host.
    #[error("missing host")]
    NoHost,
    /// Several hosts, or one that is not a host.
    #[error("invalid host")]
    BadHost,
    /// A target that is not a path.
    #[error("invalid path")]
    BadTarget,
    /// CONNECT with a body of its own: where it ends and the tunnel begins, two programs may not agree.
    #[error("CONNECT with content")]
    ConnectContent,
    /// Bytes that are no request, or more than one.
    #[error("{0}")]
    BadRequest(&'static str),
    /// A request line beyond the limit for heads.
    #[error("request target too long")]
    UriTooLong,
    /// A head beyond its limit in bytes.
    #[error("request head too large")]
    HeadTooLarge,
    /// A head beyond its limit in fields.
    #[error("too many header fields")]
    TooManyHeaders,
    /// A head that did not come in time.
    #[error("request head timeout")]
    HeadTimeout,
    /// A transfer coding that is not spoken here.
    #[error("transfer coding not implemented")]
    NotImplementedTransferCoding,
    /// `expect` asks for what nobody can promise.
    #[error("unknown expectation")]
    UnknownExpectation,
    /// A header with `_` in its name, where the configuration refuses those.
    #[error("header name with an underscore")]
    Underscore,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Http10 => StatusCode::UPGRADE_REQUIRED,
            Refusal::UriTooLong => StatusCode::URI_TOO_LONG,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Refusal::NotImplementedTransferCoding => StatusCode::NOT_IMPLEMENTED,
            Refusal::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            Refusal::NoHost
            | Refusal::BadHost
            | Refusal::BadTarget
            | Refusal::ConnectContent
            | Refusal::Underscore
            | Refusal::BadRequest(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Envoy's response flag.
    pub fn flags(self) -> ResponseFlags {
        match self {
            Refusal::HeadTimeout => ResponseFlags::DT,
            _ => ResponseFlags::DPE,
        }
    }

    /// Envoy's response code details.
    pub fn details(self) -> &'static str {
        match self {
            Refusal::Http10 => "low_version",
            Refusal::NoHost => "missing_host_header",
            Refusal::BadHost => "http1.invalid_host",
            Refusal::BadTarget => "path_normalization_failed",
            Refusal::ConnectContent => "http1.content_length_not_allowed",
            Refusal::Underscore => "http1.unexpected_underscore",
            Refusal::BadRequest(_) => "http1.codec_error",
            Refusal::UriTooLong => "http1.request_target_too_long",
            Refusal::HeadTooLarge => "http1.headers_too_large",
            Refusal::TooManyHeaders => "http1.too_many_headers",
            Refusal::HeadTimeout => "request_header_timeout",
            Refusal::NotImplementedTransferCoding => "http1.invalid_transfer_encoding",
            Refusal::UnknownExpectation => "http1.unknown_expectation",
        }
    }
}

impl ProxyError {
    /// The status of the local reply.
    pub fn status(&self) -> StatusCode {
        use ProxyError::*;
        match self {
            Refused(refusal) => refusal.status(),
            ClientBody => StatusCode::BAD_REQUEST,
            Token(sidle_jwt::Refusal::Audience) => StatusCode::FORBIDDEN,
            Token(_) => StatusCode::UNAUTHORIZED,
            BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RateLimited => StatusCode::TOO_MANY_REQUESTS,
            NoRoute => StatusCode::NOT_FOUND,
            Forbidden(_) | Unauthorized(_) | Admin => StatusCode::FORBIDDEN,
            Misdirected | Outdated => StatusCode::MISDIRECTED_REQUEST,
            BlackHole | UpstreamProtocol => StatusCode::BAD_GATEWAY,
            NoCluster
            | NoHealthyUpstream
            | DnsFailure
            | Overflow
            | ConnectFailure(_)
            | ConnectTimeout
            | ConnectionTermination(_)
            | RemoteReset(_)
            | ConcurrencyLimit
            | FaultReset
            | Overload => StatusCode::SERVICE_UNAVAILABLE,
            ResponseTimeout | PerTryTimeout => StatusCode::GATEWAY_TIMEOUT,
            FaultAbort(status) => *status,
            FaultGrpc(_) => StatusCode::OK,
            Loop => StatusCode::LOOP_DETECTED,
            Panicked | RateLimitService => StatusCode::INTERNAL_SERVER_ERROR,
            ClientTooSlow | RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            ClientGone => StatusCode::BAD_REQUEST, // if it is there after all: half closed
        }
    }

    /// Envoy's response flag.
    pub fn flags(&self) -> ResponseFlags {
        use ProxyError::*;
        match self {
            Refused(refusal) => refusal.flags(),
            ClientBody => ResponseFlags::DPE,
            BodyTooLarge => ResponseFlags::NONE,
            NoRoute | Misdirected | Admin => ResponseFlags::NR,
            BlackHole | Token(_) | Forbidden(_) | Outdated => ResponseFlags::NONE,
            Unauthorized(_) => ResponseFlags::UAEX,
            NoCluster => ResponseFlags::NC,
            NoHealthyUpstream => ResponseFlags::UH,
            DnsFailure => ResponseFlags::DF,
            Overflow => ResponseFlags::UO,
            ConnectFailure(_) | ConnectTimeout => ResponseFlags::UF,
            ConnectionTermination(_) => ResponseFlags::UC,
            RemoteReset(_) => ResponseFlags::UR,
            UpstreamProtocol => ResponseFlags::UPE,
            ResponseTimeout | PerTryTimeout => ResponseFlags::UT,
            FaultAbort(_) | FaultGrpc(_) | FaultReset => ResponseFlags::FI,
            Loop | Panicked => ResponseFlags::NONE,
            Overload => ResponseFlags::OM,
            ConcurrencyLimit => ResponseFlags::DO,
            RateLimited => ResponseFlags::RL,
            RateLimitService => ResponseFlags::RLSE,
            ClientTooSlow => ResponseFlags::SI,
            RequestTimeout => ResponseFlags::DT,
            ClientGone => ResponseFlags::DC,
        }
    }

    /// Envoy's response code details.
    pub fn details(&self) -> Cow<'static, str> {
        use ProxyError::*;
        Cow::Borrowed(match self {
            Refused(refusal) => refusal.details(),
            // One word, for logs whose fields are parted by spaces.
            Token(refusal) => {
                let words = refusal.to_string().replace(' ', "_");
                return format!("jwt_authn_access_denied{{{words}}}").into();
            }
            Forbidden(details) => return Cow::Owned(details.to_string()),
            Unauthorized(refusal) => refusal.details(),
            NoRoute => "route_not_found",
            Misdirected => "misdirected_request",
            Outdated => "connection_no_longer_admitted",
            BlackHole => "direct_response",
            NoCluster => "cluster_not_found",
            NoHealthyUpstream => "no_healthy_upstream",
            DnsFailure => "dns_resolution_failure",
            Overflow => "upstream_reset_before_response_started{overflow}",
            ConnectFailure(_) => "upstream_reset_before_response_started{remote_connection_failure}",
            ConnectTimeout => "upstream_reset_before_response_started{connection_timeout}",
            ConnectionTermination(_) => "upstream_reset_before_response_started{connection_termination}",
            RemoteReset(_) => "upstream_reset_before_response_started{remote_reset}",
            UpstreamProtocol => "upstream_reset_before_response_started{protocol_error}",
            ResponseTimeout => "response_timeout",
            PerTryTimeout => "upstream_per_try_timeout",
            FaultAbort(_) | FaultGrpc(_) | FaultReset => "fault_filter_abort",
            Loop => "loop_detected",
            Admin => "destination_is_admin",
            Panicked => "panic",
            Overload => "overload",
            RateLimited => "local_rate_limited",
            RateLimitService => "rate_limiter_error",
            ConcurrencyLimit => "reached_concurrency_limit",
            ClientTooSlow => "stream_idle_timeout",
            RequestTimeout => "request_overall_timeout",
            ClientGone => "downstream_remote_disconnect",
            ClientBody => "http.downstream_body_error",
            BodyTooLarge => "request_payload_too_large",
        })
    }

    /// The body of the local reply; those that people search for are Envoy's, word for word.
    pub fn body(&self) -> Cow<'static, str> {
        use ProxyError::*;
        const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";
        match self {
            NoRoute | ClientGone | NoCluster => Cow::Borrowed(""),
            NoHealthyUpstream => Cow::Borrowed("no healthy upstream"),
            Overflow => format!("{RESET}overflow").into(),
            ConnectFailure(reason) => {
                format!("{RESET}remote connection failure, transport failure reason: {reason}").into()
            }
            ConnectTimeout => format!("{RESET}connection timeout").into(),
            ConnectionTermination(_) => format!("{RESET}connection termination").into(),
            RemoteReset(_) => format!("{RESET}remote reset").into(),
            UpstreamProtocol => format!("{RESET}protocol error").into(),
            ResponseTimeout | PerTryTimeout => Cow::Borrowed("upstream request timeout"),
            FaultAbort(_) | FaultGrpc(_) => Cow::Borrowed("fault filter abort"),
            other => other.to_string().into(),
        }
    }

    /// `grpc-status` of the local reply.
    pub fn grpc_status(&self) -> u8 {
        match self {
            ProxyError::ResponseTimeout | ProxyError::PerTryTimeout => 4,
            ProxyError::FaultGrpc(status) => *status,
            other => sidle_telemetry::grpc_status_from_http(other.status().as_u16()),
        }
    }

    /// Why the transport failed, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub fn transport_failure(&self) -> Option<&str> {
        match self {
            ProxyError::ConnectFailure(reason) => Some(reason),
            _ => None,
        }
    }
}
