//! Free ports on loopback.
//!
//! Invariants: ports lie below the range that the system gives to outgoing connections, so that no connection of another
//! test takes one between its choice and its use; one process never gives a port twice.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u32 = 20_000;
const COUNT: u32 = 10_000;

/// `127.0.0.1` with a port that nothing listens on.
///
/// # Panics
/// When all are taken.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time begin at different places.
    let base = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let port = FIRST + base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
