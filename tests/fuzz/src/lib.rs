//! What must hold for any bytes. One module a target; each `run` panics when its property does not hold.
//!
//! Read: [`TARGETS`], then the target.

pub mod cookie;
pub mod detect;
pub mod grpc_timeout;
pub mod http1_body;
pub mod http1_request;
pub mod http1_response;
pub mod http2;
pub mod jwt;
pub mod manifests;
pub mod path;
pub mod proxy_protocol;
pub mod traceparent;

/// A target: its name, which is its corpus' folder too, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("cookie", cookie::run),
    ("detect", detect::run),
    ("grpc_timeout", grpc_timeout::run),
    ("http1_body", http1_body::run),
    ("http1_request", http1_request::run),
    ("http1_response", http1_response::run),
    ("http2", http2::run),
    ("jwt", jwt::run),
    ("manifests", manifests::run),
    ("path", path::run),
    ("proxy_protocol", proxy_protocol::run),
    ("traceparent", traceparent::run),
];
