//! Envoy's substitution formats: `[%START_TIME%] "%REQ(:METHOD)%"`, in access logs and header values.
//!
//! Invariant: a [`Format`] holds only operators that this proxy knows, so that a typing error is found by `check`, not in
//! the log. Not here: the values (`sidle-telemetry`).
//! Source: Envoy "Access logging" configuration reference.

use http::HeaderName;
use std::sync::Arc;

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text, with `%%` made `%`.
    Literal(Arc<str>),
    /// A value, cut to so many bytes if a length was given.
    Operator(Operator, Option<usize>),
}

/// A value of the request or its exchange. Names are Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the Envoy operator of the same name")]
pub enum Operator {
    /// When the request began; the format is strftime's, `None`: RFC 3339 with milliseconds.
    StartTime(Option<Arc<str>>),
    /// `REQ(A?B)`.
    RequestHeader(HeaderField, Option<HeaderField>),
    /// `RESP(A?B)`.
    ResponseHeader(HeaderField, Option<HeaderField>),
    /// `TRAILER(A?B)`.
    Trailer(HeaderField, Option<HeaderField>),
    Protocol,
    ResponseCode,
    ResponseFlags,
    ResponseCodeDetails,
    ConnectionTerminationDetails,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    ResponseDuration,
    ResponseTxDuration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocalAddress,
    UpstreamRemoteAddress,
    UpstreamRequestAttemptCount,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamRemotePort,
    DownstreamDirectRemoteAddress,
    DownstreamDirectRemoteAddressWithoutPort,
    RequestedServerName,
    DownstreamPeerUriSan,
    DownstreamPeerSubject,
    DownstreamLocalUriSan,
    UpstreamPeerUriSan,
    UpstreamPeerSubject,
    DownstreamTlsVersion,
    RouteName,
    VirtualClusterName,
    GrpcStatus,
    GrpcStatusNumber,
    ConnectionId,
    StreamId,
    TraceId,
    Hostname,
    /// `ENVIRONMENT(NAME)`, read when the format is parsed.
    Environment(Arc<str>),
    /// `DYNAMIC_METADATA(…)` and `FILTER_STATE(…)`: known, and always `-` here.
    Absent,
    /// Sidle's: the configuration version that served the request.
    ConfigVersion,
    /// Sidle's: `file:line` of the matched rule.
    RouteOrigin,
}

/// A header, or a pseudo-header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the pseudo-headers of RFC 9113")]
pub enum HeaderField {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    /// An ordinary one.
    Named(HeaderName),
}

impl Format {
    /// Istio's default text line, newline included.
    pub const ISTIO_TEXT: &'static str = concat!(
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
        "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
        "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
        "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
        "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
        "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
    );

    /// The parts in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// A format that is only text.
    pub fn literal(text: &str) -> Self {
        Format(vec![Piece::Literal(text.into())])
    }

    /// Parses `text`.
    ///
    /// # Errors
    /// Says which operator is unknown or malformed, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let end = operator_end(rest)
                .ok_or_else(|| format!("`%{rest}` has no closing `%`; write `%%` for a percent sign"))?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(operator(&rest[..end])?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Format(pieces))
    }
}

/// The place of the closing `%`; one inside parentheses does not close.
fn operator_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn operator(text: &str) -> Result<Piece, String> {
    let (name, after) = match text.find('(') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (argument, length) = match after {
        Some(after) => {
            let close = after.rfind(')').ok_or_else(|| format!("`%{text}%` lacks `)`"))?;
            (Some(&after[..close]), &after[close + 1..])
        }
        None => (None, ""),
    };
    // A length may also follow a bare name: %RESPONSE_CODE_DETAILS:10% is not Envoy's, so only after parentheses.
    let length = match length.strip_prefix(':') {
        Some(digits) => {
            Some(digits.parse::<usize>().map_err(|_| format!("`{digits}` in `%{text}%` is not a length"))?)
        }
        None if length.is_empty() => None,
        None => return Err(format!("`{length}` after `)` in `%{text}%`; expected `:LENGTH`")),
    };
    let headers = || -> Result<(HeaderField, Option<HeaderField>), String> {
        let argument = argument.ok_or_else(|| format!("`%{name}%` needs a header: `%{name}(NAME)%`"))?;
        let (first, second) = match argument.split_once('?') {
            Some((first, second)) => (first, Some(second)),
            None => (argument, None),
        };
        Ok((HeaderField::parse(first)?, second.map(HeaderField::parse).transpose()?))
    };
    use Operator::*;
    let operator = match name {
        "START_TIME" => StartTime(argument.filter(|a| !a.is_empty()).map(Into::into)),
        "REQ" => headers().map(|(a, b)| RequestHeader(a, b))?,
        "RESP" => headers().map(|(a, b)| ResponseHeader(a, b))?,
        "TRAILER" => headers().map(|(a, b)| Trailer(a, b))?,
        "PROTOCOL" => Protocol,
        "RESPONSE_CODE" => ResponseCode,
        "RESPONSE_FLAGS" => ResponseFlags,
        "RESPONSE_CODE_DETAILS" => ResponseCodeDetails,
        "CONNECTION_TERMINATION_DETAILS" => ConnectionTerminationDetails,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => UpstreamTransportFailureReason,
        "BYTES_RECEIVED" => BytesReceived,
        "BYTES_SENT" => BytesSent,
        "DURATION" => Duration,
        "REQUEST_DURATION" => RequestDuration,
        "RESPONSE_DURATION" => ResponseDuration,
        "RESPONSE_TX_DURATION" => ResponseTxDuration,
        "UPSTREAM_HOST" => UpstreamHost,
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => UpstreamCluster,
        "UPSTREAM_LOCAL_ADDRESS" => UpstreamLocalAddress,
        "UPSTREAM_REMOTE_ADDRESS" => UpstreamRemoteAddress,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => UpstreamRequestAttemptCount,
        "DOWNSTREAM_LOCAL_ADDRESS" => DownstreamLocalAddress,
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => DownstreamLocalAddressWithoutPort,
        "DOWNSTREAM_LOCAL_PORT" => DownstreamLocalPort,
        "DOWNSTREAM_REMOTE_ADDRESS" => DownstreamRemoteAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => DownstreamRemoteAddressWithoutPort,
        "DOWNSTREAM_REMOTE_PORT" => DownstreamRemotePort,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => DownstreamDirectRemoteAddress,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => DownstreamDirectRemoteAddressWithoutPort,
        "REQUESTED_SERVER_NAME" => RequestedServerName,
        "DOWNSTREAM_PEER_URI_SAN" => DownstreamPeerUriSan,
        "DOWNSTREAM_PEER_SUBJECT" => DownstreamPeerSubject,
        "DOWNSTREAM_LOCAL_URI_SAN" => DownstreamLocalUriSan,
        "UPSTREAM_PEER_URI_SAN" => UpstreamPeerUriSan,
        "UPSTREAM_PEER_SUBJECT" => UpstreamPeerSubject,
        "DOWNSTREAM_TLS_VERSION" => DownstreamTlsVersion,
        "ROUTE_NAME" => RouteName,
        "VIRTUAL_CLUSTER_NAME" => VirtualClusterName,
        "GRPC_STATUS" => GrpcStatus,
        "GRPC_STATUS_NUMBER" => GrpcStatusNumber,
        "CONNECTION_ID" => ConnectionId,
        "STREAM_ID" => StreamId,
        "TRACE_ID" => TraceId,
        "HOSTNAME" => Hostname,
        "ENVIRONMENT" => {
            let variable = argument.ok_or("`%ENVIRONMENT%` needs a variable: `%ENVIRONMENT(NAME)%`")?;
            Environment(std::env::var(variable).unwrap_or_else(|_| "-".into()).into())
        }
        "DYNAMIC_METADATA" | "FILTER_STATE" => Absent,
        "SIDLE_CONFIG_VERSION" => ConfigVersion,
        "SIDLE_ROUTE_ORIGIN" => RouteOrigin,
        _ => return Err(format!("unknown operator `%{name}%`")),
    };
    Ok(Piece::Operator(operator, length))
}

impl HeaderField {
    /// Reads a name, in any case.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_lowercase().as_str() {
            ":method" => HeaderField::Method,
            ":path" => HeaderField::Path,
            ":authority" => HeaderField::Authority,
            ":scheme" => HeaderField::Scheme,
            ":status" => HeaderField::Status,
            name => HeaderField::Named(
                HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("`{text}` is not a header name"))?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istio_default_line_parses() {
        let format = Format::parse(Format::ISTIO_TEXT).unwrap();
        assert_eq!(format.pieces().iter().filter(|p| matches!(p, Piece::Operator(..))).count(), 24);
    }

    #[test]
    fn percent_sign_length_and_fallback() {
        let format = Format::parse("100%% %REQ(X-A?:PATH):7%").unwrap();
        assert_eq!(format.pieces()[0], Piece::Literal("100% ".into()));
        let Piece::Operator(
            Operator::RequestHeader(HeaderField::Named(name), Some(HeaderField::Path)),
            Some(7),
        ) = &format.pieces()[1]
        else {
            panic!("{format:?}")
        };
        assert_eq!(name, "x-a");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("%REQ%", "needs a header"),
            ("%NOPE%", "unknown operator"),
            ("50%", "closing"),
            ("%REQ(a b)%", "not a header name"),
            ("%REQ(a)x%", ":LENGTH"),
        ] {
            assert!(Format::parse(text).unwrap_err().contains(part), "{text}");
        }
    }
}
