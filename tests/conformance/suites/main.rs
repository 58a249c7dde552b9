//! Suites that others wrote, through the proxy: h2spec, gRPC's interoperability cases, Autobahn's WebSocket cases, and the odd
//! options of curl and nghttp.
//!
//! In:  the peers that `tests/run peers` installs.   Out: `target/suites.md`, a line for each case.
//! Invariant: a case may fail only where it fails without the proxy too.
//! Read: `door.rs` (the proxy in all of them) -> `table.rs` (results) -> any suite.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod curl;
mod door;
mod grpc;
mod h2spec;
mod nghttp;
mod table;
mod websocket;
