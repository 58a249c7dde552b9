//! What both ends of a comparison speak, made of bytes: they should cost less than any proxy, or no proxy is ever full.
//!
//! Read: `body.rs` (contents) -> `frames.rs` (HTTP/2) -> `hpack.rs`, `huffman.rs` (its fields) -> `tls.rs`.

pub mod body;
pub mod frames;
pub mod hpack;
mod huffman;
pub mod tls;
