//! What gRPC adds to HTTP/2: messages in the body, a deadline, a status with words.
//!
//! Source: "gRPC over HTTP2".
//! Not here: names of statuses (`sidle-telemetry`), gRPC-Web (`exchange::grpc_web`).
//! Read: [`messages`] -> [`timeout`] -> [`percent`].

pub mod messages;
pub mod percent;
pub mod timeout;

pub use messages::MessageCounter;
