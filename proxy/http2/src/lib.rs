//! HTTP/2, without sockets: frames, the compression of fields, and connections with their streams.
//!
//! In:  bytes of a connection; messages to send.   Out: messages and bytes, or the error that the peer is to be told.
//! Invariants: whatever a peer sends, work and memory are bounded by what it sent and by the limits of [`connection::Config`]; a
//! block that is not acceptable is still decoded to its end, so that the connection's other streams live on; each
//! [`Violation`] says whether the stream ends or the connection, and with which [`Code`].
//! Not here: sockets, tasks, time (`proxy/src/codec/h2`).
//! Source: RFC 9113 (frames, streams), RFC 7541 (HPACK), RFC 8441 (`:protocol`).
//! Read: [`code`] -> [`frame`] -> [`hpack`] -> [`connection`].

pub mod code;
pub mod connection;
pub mod frame;
pub mod hpack;

pub use code::{Code, Violation};
