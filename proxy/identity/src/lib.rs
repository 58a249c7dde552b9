//! TLS: rustls configurations from the IR, and the check of the peer's name.
//!
//! In:  [`sidle_model::ir::ServerTls`] and [`sidle_model::ir::ClientTls`], and the files that they name.
//! Out: `Arc`s of [`rustls::ServerConfig`] and [`rustls::ClientConfig`], or a [`TlsError`] that names the file.
//! Invariants: chains are checked by webpki, never here; the cryptography is aws-lc-rs, given explicitly, so no process default
//! is needed; no error and no log holds a byte of a key; no two configurations share session tickets.
//! Not here: sockets and handshakes (`proxy/src/listener`, `proxy/src/upstream`), watching files, issuing certificates.
//! Read: `server`, `client` -> `names` -> `verifier` -> `files`.

mod client;
mod error;
mod files;
mod names;
mod peer;
mod provider;
mod roots;
mod server;
#[cfg(test)]
mod tests;
mod verifier;
mod workload;

pub use client::client_config;
pub use error::TlsError;
pub use peer::{Peer, SpiffeId};
pub use server::server_config;
pub use workload::{Svid, Workload};
