//! From an operator to its value.

use super::{
    context::{Address, AddressValue, DurationValue, LogContext, Message, NumberValue, TextValue},
    escape::{Escaped, Style},
    time,
};
use crate::{ResponseFlags, grpc::grpc_status_name};
use sidle_model::ir::{HeaderField, Operator, Origin};
use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::OnceLock,
    time::SystemTime,
};

/// What an operator stands for.
pub(super) enum Value<'a> {
    Absent,
    Bytes(&'a [u8]),
    Number(u64),
    Socket(SocketAddr),
    Ip(IpAddr),
    Path(&'a Path),
    Flags(ResponseFlags),
    Time(SystemTime, Option<&'a str>),
    Origin(&'a Origin),
}

impl<'a> Value<'a> {
    pub(super) fn of(operator: &'a Operator, context: &'a impl LogContext) -> Self {
        use Operator::*;
        let text = |value| context.text(value).map_or(Value::Absent, |text| Value::Bytes(text.as_bytes()));
        let number = |value| context.number(value).map_or(Value::Absent, Value::Number);
        let milliseconds = |value| {
            context.duration(value).map_or(Value::Absent, |span| Value::Number(span.as_millis() as u64))
        };
        let header = |message, first, second: &'a Option<HeaderField>| {
            let found = context.header(message, first).or_else(|| context.header(message, second.as_ref()?));
            found.map_or(Value::Absent, Value::Bytes)
        };
        match operator {
            StartTime(format) => Value::Time(context.start_time(), format.as_deref()),
            RequestHeader(first, second) => header(Message::Request, first, second),
            ResponseHeader(first, second) => header(Message::Response, first, second),
            Trailer(first, second) => header(Message::Trailers, first, second),
            Protocol => text(TextValue::Protocol),
            ResponseCode => number(NumberValue::ResponseCode),
            ResponseFlags => Value::Flags(context.flags()),
            ResponseCodeDetails => text(TextValue::ResponseCodeDetails),
            ConnectionTerminationDetails => text(TextValue::ConnectionTerminationDetails),
            UpstreamTransportFailureReason => text(TextValue::UpstreamTransportFailureReason),
            BytesReceived => number(NumberValue::BytesReceived),
            BytesSent => number(NumberValue::BytesSent),
            Duration => milliseconds(DurationValue::Total),
            RequestDuration => milliseconds(DurationValue::Request),
            ResponseDuration => milliseconds(DurationValue::Response),
            ResponseTxDuration => milliseconds(DurationValue::ResponseTx),
            UpstreamCluster => text(TextValue::UpstreamCluster),
            UpstreamRequestAttemptCount => number(NumberValue::UpstreamRequestAttemptCount),
            RequestedServerName => text(TextValue::RequestedServerName),
            DownstreamPeerUriSan => text(TextValue::DownstreamPeerUriSan),
            DownstreamPeerSubject => text(TextValue::DownstreamPeerSubject),
            DownstreamLocalUriSan => text(TextValue::DownstreamLocalUriSan),
            UpstreamPeerUriSan => text(TextValue::UpstreamPeerUriSan),
            UpstreamPeerSubject => text(TextValue::UpstreamPeerSubject),
            DownstreamTlsVersion => text(TextValue::DownstreamTlsVersion),
            RouteName => text(TextValue::RouteName),
            GrpcStatus => grpc_status(context),
            GrpcStatusNumber => number(NumberValue::GrpcStatus),
            ConnectionId => number(NumberValue::ConnectionId),
            StreamId => text(TextValue::StreamId),
            TraceId => text(TextValue::TraceId),
            Hostname => Value::Bytes(hostname().as_bytes()),
            Environment(value) => Value::Bytes(value.as_bytes()),
            ConfigVersion => text(TextValue::ConfigVersion),
            RouteOrigin => context.route_origin().map_or(Value::Absent, Value::Origin),
            VirtualClusterName | Absent => Value::Absent,
            _ => address(operator, context),
        }
    }

    /// Appends the value, escaped and cut; `false` if there is none.
    pub(super) fn write(&self, style: Style, length: Option<usize>, out: &mut Vec<u8>) -> bool {
        let mut out = Escaped::new(out, style, length);
        // Writing to memory does not fail.
        let _: std::fmt::Result = match self {
            Value::Absent => return false,
            Value::Bytes(bytes) => {
                out.push(bytes);
                Ok(())
            }
            Value::Number(number) => {
                out.push_plain(itoa::Buffer::new().format(*number).as_bytes());
                Ok(())
            }
            Value::Socket(SocketAddr::V4(address)) => {
                let text = Dotted::of(*address.ip()).put(b":").number(address.port());
                out.push_plain(text.bytes());
                Ok(())
            }
            Value::Ip(IpAddr::V4(address)) => {
                out.push_plain(Dotted::of(*address).bytes());
                Ok(())
            }
            Value::Socket(address) => write!(out, "{address}"),
            Value::Ip(address) => write!(out, "{address}"),
            Value::Path(path) => write!(out, "{}", path.display()),
            Value::Flags(flags) => write!(out, "{flags}"),
            Value::Time(time, None) => time::write_default(*time, &mut out),
            Value::Time(time, Some(format)) => time::write(*time, format, &mut out),
            Value::Origin(origin) => write!(out, "{origin}"),
        };
        true
    }
}

/// An IPv4 address and perhaps a port, as `Display` writes them, in a tenth of the steps: a line has five of them.
struct Dotted {
    text: [u8; 21],
    length: usize,
}

impl Dotted {
    fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        let none = Dotted { text: [0; 21], length: 0 };
        none.number(a).put(b".").number(b).put(b".").number(c).put(b".").number(d)
    }

    fn number(self, number: impl Into<u16>) -> Self {
        self.put(itoa::Buffer::new().format(number.into()).as_bytes())
    }

    fn put(mut self, text: &[u8]) -> Self {
        self.text[self.length..][..text.len()].copy_from_slice(text);
        self.length += text.len();
        self
    }

    fn bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// How an address is shown.
enum Part {
    Whole,
    Ip,
    Port,
}

/// The operators that are addresses, or parts of them.
fn address<'a>(operator: &Operator, context: &'a impl LogContext) -> Value<'a> {
    use Operator::*;
    let (which, part) = match operator {
        UpstreamHost => (AddressValue::UpstreamHost, Part::Whole),
        UpstreamLocalAddress => (AddressValue::UpstreamLocal, Part::Whole),
        UpstreamRemoteAddress => (AddressValue::UpstreamRemote, Part::Whole),
        DownstreamLocalAddress => (AddressValue::DownstreamLocal, Part::Whole),
        DownstreamLocalAddressWithoutPort => (AddressValue::DownstreamLocal, Part::Ip),
        DownstreamLocalPort => (AddressValue::DownstreamLocal, Part::Port),
        DownstreamRemoteAddress => (AddressValue::DownstreamRemote, Part::Whole),
        DownstreamRemoteAddressWithoutPort => (AddressValue::DownstreamRemote, Part::Ip),
        DownstreamRemotePort => (AddressValue::DownstreamRemote, Part::Port),
        DownstreamDirectRemoteAddress => (AddressValue::DownstreamDirectRemote, Part::Whole),
        DownstreamDirectRemoteAddressWithoutPort => (AddressValue::DownstreamDirectRemote, Part::Ip),
        _ => return Value::Absent,
    };
    match (context.address(which), part) {
        (None, _) | (Some(Address::Unix(_)), Part::Port) => Value::Absent,
        (Some(Address::Unix(path)), _) => Value::Path(path),
        (Some(Address::Socket(address)), Part::Whole) => Value::Socket(address),
        (Some(Address::Socket(address)), Part::Ip) => Value::Ip(address.ip()),
        (Some(Address::Socket(address)), Part::Port) => Value::Number(address.port().into()),
    }
}

/// By name; a status beyond the list by its number.
fn grpc_status<'a>(context: &impl LogContext) -> Value<'a> {
    let Some(status) = context.number(NumberValue::GrpcStatus) else { return Value::Absent };
    match u8::try_from(status).ok().and_then(grpc_status_name) {
        Some(name) => Value::Bytes(name.as_bytes()),
        None => Value::Number(status),
    }
}

/// Name of this machine, read once.
fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) => name.trim_end().to_owned(),
        Err(_) => "-".to_owned(),
    })
}
