//! A new process takes the place of a running one, without a connection noticing.
//!
//! In:  a Unix socket that both know, SIGUSR2.   Out: listening sockets, handed from the old process to the new.
//! The old process goes on with everything until the new one says that it is ready, which it does with its configuration checked,
//! its identity at hand and its workers accepting. Then the old one accepts nobody any more, and drains.
//! Invariants: the sockets themselves go over, so that whoever waits in one's queue is served; nothing that happens to the new
//! process before it is ready changes the old one; one takeover at a time; only the same user, or root, is talked to.
//! Not here: what a drain is (`shutdown`), binding (`listener::bind`).
//! Read: [`door`] (where they meet) -> [`give`] (the old process) -> [`take`] (the new one) -> [`wire`]; [`renew`] starts the new one.

pub mod door;
pub mod give;
pub mod renew;
pub mod take;
mod wire;

pub use door::Door;
pub use take::{Taken, TakeoverError};

use std::path::PathBuf;

/// What the command line says of takeovers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether this process takes over, if there is another.
    pub take: bool,
    /// Where they meet; `None`: where this user's files of run time are.
    pub socket: Option<PathBuf>,
}
