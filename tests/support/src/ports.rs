//! Free ports on loopback.
//!
//! Invariants: ports lie below the range that the system gives to outgoing connections, so that no connection of another
//! test takes one between its choice and its use; one process never gives a port twice.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

const COUNT: u32 = 10_000;

/// `127.0.0.1` with a port that nothing listens on.
///
/// # Panics
/// When all are taken.
pub fn free() -> SocketAddr {
    listen().local_addr().expect("a bound socket has an address")
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A listener on a free port: nobody else can take the port in between.
///
/// # Panics
/// When all are taken.
pub fn listen() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = first();
    // Test processes that run at the same time begin at different places.
    let base = std::process::id().wrapping_mul(97);
    let listener = (0..COUNT)
        .map(|_| first + base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port as u16)).ok())
        .unwrap_or_else(|| panic!("no free port between {first} and {}", first + COUNT));
    // The standard library's queue is short: behind it a flood would make others wait for TCP to try again.
    let _ = socket2::SockRef::from(&listener).listen(BACKLOG);
    listener
}

/// `text` with others in the place of some of its numbers. Only whole numbers are replaced, and none is looked at twice: a
/// free port may hold or be another number of the text.
pub fn replaced(text: &str, places: &[(&str, u16)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        match places.iter().find(|(port, _)| *port == number) {
            Some((_, port)) => result.push_str(&port.to_string()),
            None => result.push_str(number),
        }
        rest = &rest[number.len()..];
    }
    result + rest
}

/// The first of [`COUNT`] ports, the last of which lies below the system's own range if there is room for them.
fn first() -> u32 {
    static FIRST: OnceLock<u32> = OnceLock::new();
    *FIRST.get_or_init(|| {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let outgoing = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768);
        below(outgoing)
    })
}

fn below(outgoing: u32) -> u32 {
    outgoing.checked_sub(COUNT).filter(|&first| first > 1024).unwrap_or(20_000).min(20_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_keeps_clear_of_outgoing_connections() {
        assert_eq!(below(32_768), 20_000);
        assert_eq!(below(16_000), 6_000);
        assert_eq!(below(1_024), 20_000, "no room: as good as any");
    }

    #[test]
    fn a_port_that_holds_or_is_another_is_replaced_once() {
        let places = [("18081", 28_080), ("8080", 22_809), ("8090", 18_081)];
        assert_eq!(replaced("18081, 8080: 8090; 80801 v1", &places), "28080, 22809: 18081; 80801 v1");
    }
}
