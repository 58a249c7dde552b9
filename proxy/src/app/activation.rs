//! Sockets that the service manager has bound: systemd's socket activation.
//!
//! In:  `LISTEN_PID`, `LISTEN_FDS`, and the descriptors that they tell of.   Out: sockets for the listeners that have their addresses.
//! Not here: which listener takes which (`publish`).

use crate::listener::Inherited;
use listenfd::ListenFd;
use std::{io, os::fd::OwnedFd};

/// What this process was given; nothing the second time. To be called before there are threads, since it takes the variables out of the
/// environment: an application that the proxy starts is not meant by them.
pub fn sockets() -> Vec<Inherited> {
    let mut given = ListenFd::from_env();
    let taken: Vec<_> = (0..given.len()).map(|at| one(&mut given, at)).collect();
    let told = |socket: io::Result<Option<Inherited>>| {
        socket
            .inspect_err(|error| tracing::warn!(%error, "a socket of the service manager cannot be used"))
            .ok()?
    };
    taken.into_iter().filter_map(told).collect()
}

fn one(given: &mut ListenFd, at: usize) -> io::Result<Option<Inherited>> {
    if let Ok(Some(socket)) = given.take_unix_listener(at) {
        socket.set_nonblocking(true)?;
        return Inherited::new(OwnedFd::from(socket)).map(Some);
    }
    let Some(socket) = given.take_tcp_listener(at)? else { return Ok(None) };
    socket.set_nonblocking(true)?;
    Inherited::new(OwnedFd::from(socket)).map(Some)
}
