//! What the behaviour tests stand on: the real `sidle` process, upstreams that record, clients, peers.
//!
//! In:  manifests as text, and what to send.   Out: what came back, what the upstreams saw, what the process says of itself.
//! Invariants: every process and thread ends with its value; everything listens on loopback; a test waits for a condition,
//! never for a time; a peer that is not installed skips the test aloud, and fails it under `CI=true`.
//! Not here: assertions about behaviour (`tests/integration`).
//! Read: [`sidle`] (the process) -> [`echo`] (upstreams) -> [`client`] -> [`load`].

// A test that cannot go on panics; there is nobody to hand an error to.
#![allow(clippy::unwrap_used)]

pub mod client;
pub mod echo;
pub mod grpc;
pub mod http2;
pub mod issuer;
pub mod load;
pub mod manifest;
pub mod metrics;
pub mod peers;
pub mod ports;
pub mod process;
pub mod sidle;
pub mod tcp;
pub mod tls;
pub mod wait;
pub mod websocket;
