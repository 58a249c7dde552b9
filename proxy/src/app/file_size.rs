//! A file that may not grow any more (`RLIMIT_FSIZE`, `LimitFSIZE=`) costs what was to be written, not the process.

use rustix::process::Signal;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Takes SIGXFSZ over, whose default is the end of the process, until that ends; the write itself fails, and who writes deals with it.
/// What the process starts gets the default back.
///
/// # Errors
/// The system's.
pub fn survive_limit() -> io::Result<()> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
