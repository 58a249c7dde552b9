//! Values of flags. What is wrong with one is told by what it should be, with an example.

pub use crate::intercept::port;
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

/// A server's address.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port, such as 127.0.0.1:15000 or [::1]:15000".into())
}

/// One address.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "expected one IP address, such as 10.0.0.5 or 2001:db8::5".into())
}

/// A whole number.
pub fn whole<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let number = number.and_then(|number: u64| T::try_from(number).ok());
    number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// A user or group of the system.
pub fn account(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "expected a number; `id -u NAME` and `id -g NAME` print those of an account".into())
}
