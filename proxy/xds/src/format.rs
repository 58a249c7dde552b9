//! Substitution formats back to Envoy's text.
//!
//! Not here: parsing (`sidle_model::ir::Format`), values.

use sidle_model::ir::{Format, HeaderField, Operator, Piece};

/// The text that Envoy parses to the same values.
pub(crate) fn text(format: &Format) -> String {
    format.pieces().iter().map(piece).collect()
}

fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Literal(text) => escape(text),
        Piece::Operator(operator, length) => {
            let text = self::operator(operator);
            match length {
                Some(length) if text.ends_with(")%") => format!("{}:{length}%", &text[..text.len() - 1]),
                _ => text,
            }
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('%', "%%")
}

/// Sidle's own operators and those that are always `-` here become that dash: Envoy refuses names it does not know.
fn operator(operator: &Operator) -> String {
    use Operator::*;
    let name = match operator {
        StartTime(Some(format)) => return format!("%START_TIME({format})%"),
        RequestHeader(first, second) => return header("REQ", first, second.as_ref()),
        ResponseHeader(first, second) => return header("RESP", first, second.as_ref()),
        Trailer(first, second) => return header("TRAILER", first, second.as_ref()),
        Environment(value) => return escape(value),
        Absent | ConfigVersion | RouteOrigin => return "-".to_owned(),
        StartTime(None) => "START_TIME",
        Protocol => "PROTOCOL",
        ResponseCode => "RESPONSE_CODE",
        ResponseFlags => "RESPONSE_FLAGS",
        ResponseCodeDetails => "RESPONSE_CODE_DETAILS",
        ConnectionTerminationDetails => "CONNECTION_TERMINATION_DETAILS",
        UpstreamTransportFailureReason => "UPSTREAM_TRANSPORT_FAILURE_REASON",
        BytesReceived => "BYTES_RECEIVED",
        BytesSent => "BYTES_SENT",
        Duration => "DURATION",
        RequestDuration => "REQUEST_DURATION",
        ResponseDuration => "RESPONSE_DURATION",
        ResponseTxDuration => "RESPONSE_TX_DURATION",
        UpstreamHost => "UPSTREAM_HOST",
        // Not UPSTREAM_CLUSTER_RAW: that one would show the names that `authority` gives to twins.
        UpstreamCluster => "UPSTREAM_CLUSTER",
        UpstreamLocalAddress => "UPSTREAM_LOCAL_ADDRESS",
        UpstreamRemoteAddress => "UPSTREAM_REMOTE_ADDRESS",
        UpstreamRequestAttemptCount => "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        DownstreamLocalAddress => "DOWNSTREAM_LOCAL_ADDRESS",
        DownstreamLocalAddressWithoutPort => "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        DownstreamLocalPort => "DOWNSTREAM_LOCAL_PORT",
        DownstreamRemoteAddress => "DOWNSTREAM_REMOTE_ADDRESS",
        DownstreamRemoteAddressWithoutPort => "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        DownstreamRemotePort => "DOWNSTREAM_REMOTE_PORT",
        DownstreamDirectRemoteAddress => "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        DownstreamDirectRemoteAddressWithoutPort => "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        RequestedServerName => "REQUESTED_SERVER_NAME",
        DownstreamPeerUriSan => "DOWNSTREAM_PEER_URI_SAN",
        DownstreamPeerSubject => "DOWNSTREAM_PEER_SUBJECT",
        DownstreamLocalUriSan => "DOWNSTREAM_LOCAL_URI_SAN",
        UpstreamPeerUriSan => "UPSTREAM_PEER_URI_SAN",
        UpstreamPeerSubject => "UPSTREAM_PEER_SUBJECT",
        DownstreamTlsVersion => "DOWNSTREAM_TLS_VERSION",
        RouteName => "ROUTE_NAME",
        VirtualClusterName => "VIRTUAL_CLUSTER_NAME",
        GrpcStatus => "GRPC_STATUS",
        GrpcStatusNumber => "GRPC_STATUS_NUMBER",
        ConnectionId => "CONNECTION_ID",
        StreamId => "STREAM_ID",
        TraceId => "TRACE_ID",
        Hostname => "HOSTNAME",
    };
    format!("%{name}%")
}

fn header(operator: &str, first: &HeaderField, second: Option<&HeaderField>) -> String {
    match second {
        Some(second) => format!("%{operator}({}?{})%", field(first), field(second)),
        None => format!("%{operator}({})%", field(first)),
    }
}

fn field(field: &HeaderField) -> String {
    match field {
        HeaderField::Method => ":METHOD".to_owned(),
        HeaderField::Path => ":PATH".to_owned(),
        HeaderField::Authority => ":AUTHORITY".to_owned(),
        HeaderField::Scheme => ":SCHEME".to_owned(),
        HeaderField::Status => ":STATUS".to_owned(),
        HeaderField::Named(name) => name.as_str().to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_line_comes_back_as_it_was() {
        let format = Format::parse(Format::ISTIO_TEXT).unwrap();
        assert_eq!(text(&format), Format::ISTIO_TEXT.replace("CLUSTER_RAW", "CLUSTER"));
    }

    #[test]
    fn lengths_percent_signs_and_fallbacks_survive() {
        let given = "100%% %REQ(X-A?:PATH):7% %START_TIME(%s)%";
        assert_eq!(text(&Format::parse(given).unwrap()), given);
    }

    #[test]
    fn what_envoy_does_not_know_is_a_dash() {
        let given = "%SIDLE_CONFIG_VERSION% %SIDLE_ROUTE_ORIGIN% %DYNAMIC_METADATA(a:b)%";
        assert_eq!(text(&Format::parse(given).unwrap()), "- - -");
    }

    /// What we write must parse to what it was, operator by operator.
    #[test]
    fn every_operator_comes_back() {
        let names = [
            "START_TIME",
            "REQ(A)",
            "RESP(A)",
            "TRAILER(A)",
            "PROTOCOL",
            "RESPONSE_CODE",
            "RESPONSE_FLAGS",
            "RESPONSE_CODE_DETAILS",
            "CONNECTION_TERMINATION_DETAILS",
            "UPSTREAM_TRANSPORT_FAILURE_REASON",
            "BYTES_RECEIVED",
            "BYTES_SENT",
            "DURATION",
            "REQUEST_DURATION",
            "RESPONSE_DURATION",
            "RESPONSE_TX_DURATION",
            "UPSTREAM_HOST",
            "UPSTREAM_CLUSTER",
            "UPSTREAM_LOCAL_ADDRESS",
            "UPSTREAM_REMOTE_ADDRESS",
            "UPSTREAM_REQUEST_ATTEMPT_COUNT",
            "DOWNSTREAM_LOCAL_ADDRESS",
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
            "DOWNSTREAM_LOCAL_PORT",
            "DOWNSTREAM_REMOTE_ADDRESS",
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
            "DOWNSTREAM_REMOTE_PORT",
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
            "REQUESTED_SERVER_NAME",
            "DOWNSTREAM_PEER_URI_SAN",
            "DOWNSTREAM_PEER_SUBJECT",
            "DOWNSTREAM_LOCAL_URI_SAN",
            "UPSTREAM_PEER_URI_SAN",
            "UPSTREAM_PEER_SUBJECT",
            "DOWNSTREAM_TLS_VERSION",
            "ROUTE_NAME",
            "VIRTUAL_CLUSTER_NAME",
            "GRPC_STATUS",
            "GRPC_STATUS_NUMBER",
            "CONNECTION_ID",
            "STREAM_ID",
            "TRACE_ID",
            "HOSTNAME",
        ];
        for name in names {
            let given = format!("%{name}%");
            assert_eq!(text(&Format::parse(&given).unwrap()), given);
        }
    }
}
