//! HTTP/2 between bytes and meaning: the frames, and the compression of fields.
//!
//! In:  bytes of a connection; fields to send.   Out: frames and fields, or the error that the peer is to be told.
//! Invariants: whatever a peer sends, work and memory are bounded by what it sent and by limits given to [`hpack::Decoder::new`];
//! a block that is not acceptable is still decoded to its end, so that the connection's other streams live on; each
//! [`Violation`] says whether the stream ends or the connection, and with which [`Code`].
//! Not here: streams and their states, when windows are opened, sockets, time (`proxy/src/codec`).
//! Source: RFC 9113 (frames), RFC 7541 (HPACK), RFC 8441 (`:protocol`).
//! Read: [`code`] -> [`frame`] -> [`frame::payload`] and [`frame::settings`] -> [`hpack`].

pub mod code;
pub mod frame;
pub mod hpack;

pub use code::{Code, Violation};
