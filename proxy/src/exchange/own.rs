//! Addresses at which this proxy listens itself: nobody is led there by what comes through it.
//!
//! In:  where the proxy listens, an address that a request is to go to.   Out: the address, or why not.
//! Invariants: pure, so that `sidle explain` says what the proxy does. Metrics and health are for everybody. A ServiceEntry may lead the
//! application, and a gateway, anywhere.
//! Not here: how the address was found (`destination`).

use crate::error::ProxyError;
use sidle_model::ir::{Direction, Ir, ListenAddress, Listener};
use std::net::{IpAddr, SocketAddr};

/// Where this proxy listens, for a request that came in somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// What runs.
    pub ir: &'a Ir,
    /// Where admin is bound.
    pub admin: Option<SocketAddr>,
    /// Of the listener.
    pub direction: Direction,
    /// An address of this machine, if one is known.
    pub here: Option<IpAddr>,
}

impl Own<'_> {
    /// An address behind an inbound listener: whoever writes a Service does not thereby open admin to strangers, nor make one request as
    /// many as there are connections.
    ///
    /// # Errors
    /// Why nobody is led there.
    pub fn keep_from_endpoint(&self, address: SocketAddr) -> Result<SocketAddr, ProxyError> {
        let arrives = |listener: &Listener| {
            let heard =
                |own: &SocketAddr| hears(&listener.name, *own, address) && arrives(address, *own, self.here);
            socket(listener).filter(heard).is_some()
        };
        not_again(self.listeners().any(arrives))?;
        self.keep_from_admin(address)
    }

    /// An address that a redirected connection meant. What came in from outside was for this machine, whichever of its addresses that is.
    ///
    /// # Errors
    /// Why nobody is led there.
    pub fn keep_from_meant(&self, address: SocketAddr) -> Result<SocketAddr, ProxyError> {
        let inbound = self.direction == Direction::Inbound;
        let comes_again =
            |own: SocketAddr| reaches(address, own) || (inbound && own.port() == address.port());
        not_again(self.listeners().filter_map(socket).any(comes_again))?;
        self.keep_from_admin(address)
    }

    /// An address that a request names.
    ///
    /// # Errors
    /// Why nobody is led there.
    pub fn keep_from_named(&self, address: SocketAddr) -> Result<SocketAddr, ProxyError> {
        not_again(self.ir.listeners.iter().filter_map(|one| socket(one)).any(|own| reaches(address, own)))?;
        self.keep_from_admin(address)
    }

    /// Admin believes everybody on this machine, and what the proxy sends comes from there.
    fn keep_from_admin(&self, address: SocketAddr) -> Result<SocketAddr, ProxyError> {
        let Some(admin) = self.admin.filter(|admin| admin.port() == address.port()) else {
            return Ok(address);
        };
        // What came in from outside was for this machine, whichever of its addresses that is.
        let inbound = self.direction == Direction::Inbound && admin.ip().to_canonical().is_unspecified();
        if inbound || arrives(address, admin, self.here) { Err(ProxyError::Admin) } else { Ok(address) }
    }

    /// Where those of a sidecar listen: a gateway's may be at the port of its own Service.
    fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.ir.listeners.iter().map(|one| &**one).filter(|one| one.direction != Direction::Gateway)
    }
}

fn socket(listener: &Listener) -> Option<SocketAddr> {
    match listener.address {
        ListenAddress::Socket(address) => Some(address),
        ListenAddress::Unix(_) => None,
    }
}

fn not_again(comes_again: bool) -> Result<(), ProxyError> {
    if comes_again { Err(ProxyError::Loop) } else { Ok(()) }
}

/// Whether a listener that is bound to `own` is for the family of `address`.
fn hears(listener: &str, own: SocketAddr, address: SocketAddr) -> bool {
    Listener::is_built_in(listener)
        || own.ip().to_canonical().is_ipv4() == address.ip().to_canonical().is_ipv4()
}

/// Whether a connection to `address` arrives at who listens at `own`; `here`: an address of this machine. Other programs may have its
/// port at other addresses, of loopback too.
fn arrives(address: SocketAddr, own: SocketAddr, here: Option<IpAddr>) -> bool {
    if address.port() != own.port() {
        return false;
    }
    let (ip, own) = (address.ip().to_canonical(), own.ip().to_canonical());
    match own.is_unspecified() {
        true => ip.is_loopback() || ip.is_unspecified() || here.is_some_and(|here| here.to_canonical() == ip),
        false => ip == own || (ip.is_unspecified() && own.is_loopback()),
    }
}

/// As [`arrives`], for what comes from this machine, where all of loopback counts as one.
fn reaches(address: SocketAddr, own: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let local = ip.is_loopback() || ip.is_unspecified(); // connecting to 0.0.0.0 reaches loopback
    let any = own.ip().is_unspecified() || own.ip().is_loopback();
    own.port() == address.port() && (own.ip().to_canonical() == ip || (any && local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_for_the_family_that_it_is_bound_to() {
        for (listener, own, address, expected) in [
            ("0.0.0.0_8080", "0.0.0.0:8080", "127.0.0.1:8080", true),
            ("0.0.0.0_8080", "0.0.0.0:8080", "[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0_8080", "0.0.0.0:8080", "[::1]:8080", false),
            ("[::]_8080", "[::]:8080", "[::1]:8080", true),
            ("[::]_8080", "[::]:8080", "127.0.0.1:8080", false),
            ("virtualInbound", "0.0.0.0:15006", "[::1]:15006", true),
        ] {
            let heard = hears(listener, own.parse().unwrap(), address.parse().unwrap());
            assert_eq!(heard, expected, "{address} at {listener}");
        }
    }

    #[test]
    fn addresses_that_lead_back_here() {
        let reached = |own: &str, address: &str| reaches(address.parse().unwrap(), own.parse().unwrap());
        for (own, address, expected) in [
            ("127.0.0.1:15001", "127.0.0.1:15001", true),
            ("127.0.0.1:15001", "127.0.0.1:15002", false),
            ("127.0.0.1:15001", "0.0.0.0:15001", true),
            ("127.0.0.1:15001", "[::ffff:127.0.0.1]:15001", true),
            ("127.0.0.1:15001", "10.0.0.1:15001", false),
            ("0.0.0.0:15006", "127.0.0.5:15006", true),
            ("0.0.0.0:15006", "[::]:15006", true),
            ("[::]:15006", "[::1]:15006", true),
            ("10.0.0.7:80", "10.0.0.7:80", true),
            ("10.0.0.7:80", "[::ffff:10.0.0.7]:80", true),
            ("10.0.0.7:80", "127.0.0.1:80", false),
            ("10.0.0.7:80", "10.0.0.8:80", false),
        ] {
            assert_eq!(reached(own, address), expected, "{address} at {own}");
        }
        for (admin, address, expected) in [
            ("127.0.0.1:15000", "127.0.0.1:15000", true),
            ("127.0.0.1:15000", "127.0.0.1:15001", false),
            ("127.0.0.1:15000", "0.0.0.0:15000", true),
            ("127.0.0.1:15000", "[::ffff:127.0.0.1]:15000", true),
            ("127.0.0.1:15000", "127.0.0.5:15000", false),
            ("127.0.0.1:15000", "10.0.0.7:15000", false),
            ("[::ffff:127.0.0.1]:15000", "127.0.0.1:15000", true),
            ("0.0.0.0:15000", "127.0.0.5:15000", true),
            ("0.0.0.0:15000", "10.0.0.7:15000", true),
            ("0.0.0.0:15000", "10.0.0.8:15000", false),
            ("[::]:15000", "[::1]:15000", true),
            ("[::ffff:0.0.0.0]:15000", "127.0.0.1:15000", true),
            ("10.0.0.7:15000", "10.0.0.7:15000", true),
            ("10.0.0.7:15000", "127.0.0.1:15000", false),
        ] {
            let here = Some("10.0.0.7".parse().unwrap());
            let reached = arrives(address.parse().unwrap(), admin.parse().unwrap(), here);
            assert_eq!(reached, expected, "{address} with admin at {admin}");
        }
    }
}
