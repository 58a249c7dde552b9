//! Sets of addresses.
//!
//! Invariants: an IPv4 address and the same mapped to IPv6 are one.

use ipnet::IpNet;
use std::net::IpAddr;

/// Ranges in order, none of which meets another.
#[derive(Debug, Default)]
pub(crate) struct AddressSet(Box<[(u128, u128)]>);

impl AddressSet {
    /// Compiles.
    pub fn new(networks: &[IpNet]) -> Self {
        let mut ranges: Vec<_> = networks.iter().map(range).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        AddressSet(merged.into())
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= self.0[after - 1].1
    }
}

fn range(network: &IpNet) -> (u128, u128) {
    (number(network.network()), number(network.broadcast()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
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
        assert_eq!(set.0.len(), 4);
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
