//! TLS: who we are, whom we believe, and the rustls configurations that follow from it.
//!
//! In:  [`sidle_model::ir::ServerTls`] and [`sidle_model::ir::ClientTls`], the files that they name, the workload's [`Svid`].
//! Out: [`Live`] configurations, which give each new handshake a [`rustls::ServerConfig`] or [`rustls::ClientConfig`] of what is
//! shown and believed now; or a [`TlsError`] that names the file.
//! Invariants: chains are checked by webpki, never here; the cryptography is aws-lc-rs, given explicitly, so no process default
//! is needed; no error and no log holds a byte of a key; no two configurations share session tickets; what is published was checked.
//! Not here: sockets and handshakes (`proxy/src/listener`, `proxy/src/upstream`), watching files, asking for certificates
//! (`proxy/src/identity`).
//! Read: `workload` -> `server`, `client` -> `live` -> `verifier` -> `chains`, `names` -> `store` -> `files`.

mod chains;
mod client;
mod development;
mod error;
mod files;
mod live;
mod moment;
mod names;
mod peer;
mod provider;
mod request;
mod roots;
mod server;
mod store;
mod subject;
mod summary;
#[cfg(test)]
mod tests;
mod verifier;
mod workload;

pub use client::client_config;
pub use development::{DevelopmentAuthority, Issued};
pub use error::TlsError;
pub use files::{Bundle, certified_from_der, certified_from_pem, split_der};
pub use live::Live;
pub use moment::Moment;
pub use peer::{Peer, SpiffeId};
pub use request::KeyRequest;
pub use server::server_config;
pub use store::Reloaded;
pub use summary::Summary;
pub use workload::{Bundles, Svid, Workload};
