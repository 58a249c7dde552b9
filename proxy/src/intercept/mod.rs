//! Traffic capture: the kernel's rules that bring an application's connections to the proxy.
//!
//! In:  [`Rules`].   Out: a script for `nft`, or one for each `iptables-restore`; and their application.
//! Invariants: applied twice is applied once; the kernel has all rules of a table or none; what the proxy itself sends is never
//! brought back to it, unless it is for the workload's own address, where it arrives as anybody's would.
//! Not here: what the proxy does with such connections (`listener`, `upstream::Via`).
//! Source: istio-iptables for what is captured and what the flags are called; the rules are our own.
//! Read: here -> `nft` -> `iptables` -> `system`.

mod iptables;
mod nft;
mod system;
#[cfg(test)]
mod tests;

pub use system::{Found, Program, apply, check, clean, program, text};

use ipnet::IpNet;
use std::{fmt, str::FromStr};

/// The proxy's own ports that others ask from outside; never captured. 15020 is Istio's agent.
const OWN_PORTS: [u16; 4] = [15008, 15020, 15021, 15090];

/// The mark of a connection that the proxy makes with the address of its client, and the routing table for its answers.
pub const CLIENT_MARK: u32 = 1337;
/// The mark of what the proxy sends to the workload's own address.
const SELF_MARK: u32 = 1338;

/// How connections to the workload are brought to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Mode {
    /// Their destination is rewritten; the application sees 127.0.0.6 as its client
    #[value(alias = "redirect")]
    Redirect,
    /// Nothing is rewritten; the application sees the client's address. The proxy needs CAP_NET_ADMIN
    #[value(alias = "tproxy")]
    Tproxy,
}

/// All of something, or only these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<T> {
    /// `*`
    All,
    /// A list; may be empty.
    Only(Vec<T>),
}

/// What a [`Choice`] is among.
pub trait Item: Sized {
    /// Reads one.
    ///
    /// # Errors
    /// Says what is expected.
    fn read(text: &str) -> Result<Self, String>;
}

impl Item for u16 {
    fn read(text: &str) -> Result<Self, String> {
        port(text)
    }
}

impl Item for Range {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

/// A port.
///
/// # Errors
/// Says what is expected.
pub fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| "expected a port, a number from 1 to 65535".into())
}

impl<T: Item> FromStr for Choice<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Choice::All);
        }
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let parsed = items.map(|item| T::read(item).map_err(|why| format!("`{item}`: {why}")));
        parsed.collect::<Result<_, _>>().map(Choice::Only)
    }
}

/// An address, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(pub IpNet);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        range
            .map(|range| Range(range.trunc()))
            .map_err(|_| "expected an address or a range, such as 10.0.0.5 or 10.0.0.0/8".into())
    }
}

/// What is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How connections to the workload are captured.
    pub mode: Mode,
    /// Where the proxy takes the application's connections.
    pub outbound_port: u16,
    /// Where the proxy takes connections to the workload.
    pub inbound_port: u16,
    /// Accounts whose connections are the proxy's own.
    pub uids: Vec<u32>,
    /// Groups, as well.
    pub gids: Vec<u32>,
    /// Control groups (version 2), as well.
    pub cgroups: Vec<String>,
    /// Ports of the workload.
    pub inbound: Choice<u16>,
    /// But not these.
    pub inbound_excluded: Vec<u16>,
    /// Where the application connects to.
    pub outbound: Choice<Range>,
    /// But not these.
    pub outbound_excluded: Vec<Range>,
    /// Ports that are captured wherever they are.
    pub outbound_ports: Vec<u16>,
    /// Ports that are not.
    pub outbound_ports_excluded: Vec<u16>,
    /// Network interfaces that are left alone.
    pub interfaces_excluded: Vec<String>,
    /// Where the proxy answers the application's DNS questions, if it does.
    pub dns_port: Option<u16>,
    /// Which servers' questions those are.
    pub dns_servers: Choice<Range>,
    /// The routing table of [`Mode::Tproxy`].
    pub route_table: u32,
    /// Whether IPv6 is captured.
    pub ipv6: bool,
}

/// Whether this may be the name of a network interface, as the kernel has them and as no rule can be broken by.
pub fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte))
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            mode: Mode::Redirect,
            outbound_port: 15001,
            inbound_port: 15006,
            uids: vec![1337],
            gids: vec![1337],
            cgroups: Vec::new(),
            inbound: Choice::All,
            inbound_excluded: vec![22],
            outbound: Choice::All,
            outbound_excluded: Vec::new(),
            outbound_ports: Vec::new(),
            outbound_ports_excluded: Vec::new(),
            interfaces_excluded: Vec::new(),
            dns_port: None,
            dns_servers: Choice::All,
            route_table: 133,
            ipv6: true,
        }
    }
}

impl Rules {
    /// Ports of the workload that are not captured, each once.
    fn inbound_left_alone(&self) -> Vec<u16> {
        let mut ports: Vec<u16> =
            OWN_PORTS.into_iter().chain(self.inbound_excluded.iter().copied()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// What tells one set of rules from another.
fn fingerprint(script: &str) -> String {
    format!("{:08x}", xxhash_rust::xxh64::xxh64(script.as_bytes(), 0) as u32)
}

/// The items, with something between them.
fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

fn family(ranges: &[Range], v6: bool) -> Vec<String> {
    let of_family = ranges.iter().filter(|range| matches!(range.0, IpNet::V6(_)) == v6);
    of_family.map(|range| range.0.to_string()).collect()
}
