//! Lines as Envoy and Istio write them.

use super::*;
use crate::{
    ResponseFlags,
    log::{Address, AddressValue, DurationValue, Message, NumberValue, TextValue},
};
use sidle_model::ir::{HeaderField, Origin};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A request like those in Istio's documentation.
struct Request {
    user_agent: &'static [u8],
    origin: Origin,
}

impl Default for Request {
    fn default() -> Self {
        let origin =
            Origin { resource: "VirtualService default/a".into(), file: "a.yaml".into(), line: 7, column: 3 };
        Request { user_agent: b"curl/8", origin }
    }
}

impl LogContext for Request {
    fn start_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_368_072_345)
    }
    fn header(&self, message: Message, name: &HeaderField) -> Option<&[u8]> {
        match (message, name) {
            (Message::Request, HeaderField::Method) => Some(b"GET"),
            (Message::Request, HeaderField::Path) => Some(b"/status/418"),
            (Message::Request, HeaderField::Authority) => Some(b"httpbin:8000"),
            (Message::Request, HeaderField::Named(name)) if name == "user-agent" => Some(self.user_agent),
            (Message::Response, HeaderField::Named(name)) if name == "x-envoy-upstream-service-time" => {
                Some(b"4")
            }
            _ => None,
        }
    }
    fn text(&self, value: TextValue) -> Option<&str> {
        match value {
            TextValue::Protocol => Some("HTTP/1.1"),
            TextValue::ResponseCodeDetails => Some("via_upstream"),
            TextValue::UpstreamCluster => Some("outbound|8000||httpbin.foo.svc.cluster.local"),
            TextValue::RouteName => Some("default"),
            _ => None,
        }
    }
    fn number(&self, value: NumberValue) -> Option<u64> {
        match value {
            NumberValue::ResponseCode => Some(418),
            NumberValue::BytesReceived => Some(0),
            NumberValue::BytesSent => Some(135),
            NumberValue::GrpcStatus => Some(14),
            _ => None,
        }
    }
    fn duration(&self, value: DurationValue) -> Option<Duration> {
        (value == DurationValue::Total).then(|| Duration::from_micros(5_999))
    }
    fn address(&self, value: AddressValue) -> Option<Address<'_>> {
        match value {
            AddressValue::UpstreamHost => Some(Address::Socket(([10, 44, 1, 27], 80).into())),
            AddressValue::DownstreamRemote => Some(Address::Socket("[::1]:37652".parse().unwrap())),
            AddressValue::DownstreamLocal => Some(Address::Unix(std::path::Path::new("/run/a.sock"))),
            _ => None,
        }
    }
    fn flags(&self) -> ResponseFlags {
        ResponseFlags::UF | ResponseFlags::URX
    }
    fn route_origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }
}

fn text(format: &str) -> String {
    let format = LineFormat::new(&AccessLogFormat::Text(Format::parse(format).unwrap()));
    let mut out = Vec::new();
    format.write(&Request::default(), &mut out);
    String::from_utf8(out).unwrap()
}

fn json(fields: &[(&str, &str)], request: &Request) -> String {
    let fields =
        fields.iter().map(|(key, format)| ((*key).to_owned(), Format::parse(format).unwrap())).collect();
    let mut out = Vec::new();
    LineFormat::new(&AccessLogFormat::Json(fields)).write(request, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn istio_default_line() {
    assert_eq!(
        text(Format::ISTIO_TEXT),
        concat!(
            "[2026-11-22T17:21:12.345Z] \"GET /status/418 HTTP/1.1\" 418 UF,URX via_upstream - \"-\" 0 135 5 4 \"-\" ",
            "\"curl/8\" \"-\" \"httpbin:8000\" \"10.44.1.27:80\" outbound|8000||httpbin.foo.svc.cluster.local - ",
            "/run/a.sock [::1]:37652 - default\n"
        )
    );
}

#[test]
fn a_line_ends_once() {
    assert_eq!(text("%RESPONSE_CODE%"), "418\n");
    assert_eq!(text("%RESPONSE_CODE%\n"), "418\n");
    assert_eq!(text(""), "\n");
}

#[test]
fn parts_and_lengths() {
    assert_eq!(text("%REQ(USER-AGENT):4% %START_TIME(%s.%3f)%"), "curl 1795368072.345\n");
    assert_eq!(text("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%"), "::1 37652\n");
    assert_eq!(text("%DOWNSTREAM_LOCAL_PORT% %GRPC_STATUS% %GRPC_STATUS_NUMBER%"), "- Unavailable 14\n");
    assert_eq!(text("%SIDLE_ROUTE_ORIGIN% %DYNAMIC_METADATA(a:b)%"), "a.yaml:7 -\n");
}

#[test]
fn json_values_keep_their_types() {
    let fields = [
        ("start_time", "%START_TIME%"),
        ("response_code", "%RESPONSE_CODE%"),
        ("response_flags", "%RESPONSE_FLAGS%"),
        ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
        ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
        ("both", "%RESPONSE_CODE%/%REQ(X-NONE)%"),
        ("fixed \"key\"", "a\"b"),
    ];
    assert_eq!(
        json(&fields, &Request::default()),
        concat!(
            r#"{"start_time":"2026-11-22T17:21:12.345Z","response_code":418,"response_flags":"UF,URX","#,
            r#""x_forwarded_for":null,"upstream_service_time":"4","both":"418/-","fixed \"key\"":"a\"b"}"#,
            "\n"
        )
    );
    assert_eq!(json(&[], &Request::default()), "{}\n");
}

#[test]
fn json_is_json_whatever_the_client_sends() {
    let request = Request { user_agent: b"\"},{\"a\":\"\xff\x80\\", ..Request::default() };
    let line = json(&[("agent", "%REQ(USER-AGENT)%")], &request);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["agent"], String::from_utf8_lossy(request.user_agent).as_ref());
    assert_eq!(value.as_object().unwrap().len(), 1);
}

#[test]
fn header_values_leave_out_what_is_missing() {
    let request = Request { user_agent: b"a\tb\r\nx: y", ..Request::default() };
    let mut out = Vec::new();
    let format = HeaderFormat(Format::parse("[%REQ(X-NONE)%] %REQ(USER-AGENT)% 100%%").unwrap());
    write_header_value(&format, &request, &mut out);
    assert_eq!(out, b"[] a\\x09b\\x0d\\x0ax: y 100%");
    assert!(http::HeaderValue::from_bytes(&out).is_ok());
}
