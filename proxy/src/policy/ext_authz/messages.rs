//! `envoy.service.auth.v3`, as far as it is spoken here: field numbers are the protocol's, what is not looked at is left out.
//!
//! Source: `envoy/service/auth/v3/{external_auth,attribute_context}.proto`, `envoy/config/core/v3/{base,address}.proto`.

use std::collections::HashMap;

/// May this request pass?
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    /// What is known of it.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attributes {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// Who is asked.
    #[prost(message, optional, tag = "2")]
    pub destination: Option<Peer>,
    /// What.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    /// How.
    #[prost(message, optional, tag = "12")]
    pub tls_session: Option<TlsSession>,
}

/// One end of the connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Peer {
    /// Where it is.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    /// The URI of its certificate.
    #[prost(string, tag = "4")]
    pub principal: String,
}

/// One of several kinds; here always a socket's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// IP and port.
    #[prost(message, optional, tag = "1")]
    pub socket: Option<SocketAddress>,
}

/// IP and port.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketAddress {
    /// IP.
    #[prost(string, tag = "2")]
    pub address: String,
    /// Port.
    #[prost(uint32, tag = "3")]
    pub port: u32,
}

/// The request, and when it came.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// When.
    #[prost(message, optional, tag = "1")]
    pub time: Option<Timestamp>,
    /// What.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timestamp {
    /// Since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Of the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// An HTTP request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpRequest {
    /// `x-request-id`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Fields and pseudo-fields; several of one name are joined by commas.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// With the query.
    #[prost(string, tag = "4")]
    pub path: String,
    /// Authority.
    #[prost(string, tag = "5")]
    pub host: String,
    /// `http` or `https`.
    #[prost(string, tag = "6")]
    pub scheme: String,
    /// Of the body; -1: not known.
    #[prost(int64, tag = "9")]
    pub size: i64,
    /// `HTTP/1.1`, `HTTP/2`.
    #[prost(string, tag = "10")]
    pub protocol: String,
    /// Of the body, if it is text.
    #[prost(string, tag = "11")]
    pub body: String,
    /// Of the body, if bytes were asked for.
    #[prost(bytes = "vec", tag = "12")]
    pub raw_body: Vec<u8>,
}

/// TLS of the client.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TlsSession {
    /// Server name.
    #[prost(string, tag = "1")]
    pub sni: String,
}

/// Yes or no.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckResponse {
    /// Code 0: yes.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What a refused client gets.
    #[prost(message, optional, tag = "2")]
    pub denied: Option<Denied>,
    /// What becomes of the request.
    #[prost(message, optional, tag = "3")]
    pub ok: Option<Allowed>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// gRPC's codes.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// What a refused client gets.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Denied {
    /// Default: 403.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    /// Body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpStatus {
    /// 100 to 599.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// What becomes of a request that passes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Allowed {
    /// For the upstream.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    /// The upstream does not get these.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    /// For the client.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderOption>,
    /// In the query.
    #[prost(message, repeated, tag = "7")]
    pub query_parameters_to_set: Vec<QueryParameter>,
    /// Not in the query.
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

/// A header, and how it meets others of its name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// Old: whether it is added to those that are there.
    #[prost(message, optional, tag = "2")]
    pub append: Option<Bool>,
    /// 0: append, 1: only if there is none, 2: in place of what is there, 3: only in place of what is there.
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Bool {
    /// Itself.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// A header.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value, as text.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Value, as bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// A parameter of the query.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryParameter {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}
