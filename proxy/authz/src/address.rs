//! Sets of addresses.
//!
//! Invariants: an IPv4 address and the same mapped to IPv6 are one; no other IPv6 range holds an IPv4 address.

use ipnet::IpNet;
use std::net::IpAddr;

/// Addresses of both kinds.
#[derive(Debug, Default)]
pub(crate) struct AddressSet {
    v4: Ranges,
    v6: Ranges,
}

/// First and last addresses, in order; no two ranges meet.
type Ranges = Box<[(u128, u128)]>;

impl AddressSet {
    /// Compiles.
    pub fn new(networks: &[IpNet]) -> Self {
        let ranges =
            networks.iter().map(|network| (canonical(network.network()), canonical(network.broadcast())));
        let of = |kind: fn(&IpAddr) -> bool| {
            let both = |(first, last): &(IpAddr, IpAddr)| kind(first) && kind(last);
            merged(ranges.clone().filter(both).map(|(first, last)| (number(first), number(last))).collect())
        };
        AddressSet { v4: of(IpAddr::is_ipv4), v6: of(IpAddr::is_ipv6) }
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let number = number(address);
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= ranges[after - 1].1
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Ranges {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

/// A socket of both kinds shows IPv4 addresses mapped.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_addresses() {
        let networks =
            ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "192.168.1.7/24", "2001:db8::/32", "::1/128"];
        let set = AddressSet::new(&networks.map(|text| text.parse().unwrap()));
        assert_eq!((set.v4.len(), set.v6.len()), (2, 2));
        for (address, inside) in [
            ("10.0.0.0", true),
            ("11.255.255.255", true),
            ("12.0.0.0", false),
            ("9.255.255.255", false),
            ("192.168.1.1", true),
            ("::ffff:10.2.3.4", true),
            ("::ffff:12.2.3.4", false),
            ("2001:db8:1::", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!AddressSet::default().contains("10.0.0.0".parse().unwrap()));
        let everything = AddressSet::new(&["::/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap()]);
        assert!(
            everything.contains("1.2.3.4".parse().unwrap()) && everything.contains("::".parse().unwrap())
        );
    }
}
