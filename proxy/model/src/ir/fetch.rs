//! What may be fetched from where, when a configuration names a URL.

use super::Trust;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How keys of issuers are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyFetching {
    /// Whether addresses of private networks and of this machine may be asked. Who writes a RequestAuthentication would
    /// otherwise have the proxy ask what only the proxy can reach.
    pub allow_private: bool,
    /// Addresses that may be asked, whatever they are.
    pub allowed: Vec<IpNet>,
    /// Whose certificates are believed.
    pub ca: Trust,
}

impl Default for KeyFetching {
    fn default() -> Self {
        KeyFetching { allow_private: false, allowed: Vec::new(), ca: Trust::System }
    }
}

impl KeyFetching {
    /// Whether a connection may be made to `address`. Link-local addresses, where clouds keep their secrets, have to be named.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.allowed.iter().any(|network| network.contains(&address))
            || match class(address) {
                Class::Public => true,
                Class::Private => self.allow_private,
                Class::Never => false,
            }
    }
}

enum Class {
    /// Of the internet.
    Public,
    /// Of a network of one's own, or of this machine.
    Private,
    /// Of a link, of nobody, or of many.
    Never,
}

/// The IPv4 address that an IPv6 address stands for, where it does.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, .., y, z] = v6.segments();
    let low = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (v6.to_ipv4_mapped(), a) {
        (Some(v4), _) => IpAddr::V4(v4),
        (None, 0x64) if v6.segments()[1..6] == [0xff9b, 0, 0, 0, 0] => low(y, z), // NAT64, RFC 6052
        (None, 0x2002) => low(b, c),                                              // 6to4, RFC 3056
        _ => address,
    }
}

fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => class_of_v6(v6),
    }
}

/// RFC 6890.
fn class_of_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Class::Private,
        (0 | 224.., ..)
        | (169, 254, _)
        | (192, 0, 0 | 2)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Class::Never,
        _ => Class::Public,
    }
}

fn class_of_v6(address: Ipv6Addr) -> Class {
    match address.segments()[0] {
        _ if address.is_loopback() => Class::Private,
        0xfc00..=0xfdff => Class::Private,
        0x2000..=0x3fff => Class::Public,
        _ => Class::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted(fetching: &KeyFetching, address: &str) -> bool {
        fetching.permits(address.parse().unwrap())
    }

    const PUBLIC: [&str; 5] = ["8.8.8.8", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2606:4700::1"];
    const PRIVATE: [&str; 12] = [
        "10.0.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
    ];
    const NEVER: [&str; 9] = [
        "0.0.0.0",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "ff02::1",
        "64:ff9b::a9fe:a9fe",
    ];

    #[test]
    fn only_the_internet_is_asked_unless_more_is_allowed() {
        let strict = KeyFetching::default();
        let private = KeyFetching { allow_private: true, ..Default::default() };
        for address in PUBLIC {
            assert!(permitted(&strict, address) && permitted(&private, address), "{address}");
        }
        for address in PRIVATE {
            assert!(!permitted(&strict, address) && permitted(&private, address), "{address}");
        }
        for address in NEVER {
            assert!(!permitted(&strict, address) && !permitted(&private, address), "{address}");
        }
        let named = KeyFetching { allowed: vec!["169.254.169.0/24".parse().unwrap()], ..Default::default() };
        assert!(permitted(&named, "169.254.169.254") && permitted(&named, "::ffff:169.254.169.254"));
        assert!(!permitted(&named, "10.0.0.1"));
    }
}
