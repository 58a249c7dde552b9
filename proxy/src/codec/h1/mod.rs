//! HTTP/1.1 on both sides: an engine of our own.
//!
//! In:  a [`Stream`](super::Stream).   Out: [`RequestHead`](super::RequestHead)s and bodies, and their answers as bytes.
//! Invariants: a message ends in one place or it is refused; an idle connection holds no buffer, and soon after a tenth of a second no room for a
//! request; a request costs no task, no channel and no timer.
//! Why not hyper's: its server can pass on no interim answer, takes `chunked, chunked` and a length beside a coding, and
//! answers unreadable heads past every log.
//! Read: `framing` (where messages end) -> `decode`, `encode`, `parse` (bytes; pure) -> `wire` (a connection) -> `server`
//! (-> `respond`, `presence`, `resting`, `linger`), `client`. `convert` has what heads mean.

mod casing;
pub mod client;
mod convert;
pub mod decode;
mod encode;
pub mod framing;
mod incoming;
mod interim;
mod linger;
mod names;
mod output;
pub mod parse;
mod presence;
mod respond;
mod resting;
mod server;
mod upload;
mod wire;

pub use casing::Casing;
pub use incoming::{Incoming, Uploading};
pub use interim::InterimSender;
pub use server::serve;
