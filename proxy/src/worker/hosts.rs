//! Hosts that a worker's connections are for.
//!
//! In:  the host of a connection's first request.   Out: a copy for as long as the connection lives, which it shares with others.
//! Invariant: few are remembered; those of the most connections are seen again soon after they were forgotten.

use crate::codec::Authority;
use std::cell::RefCell;

/// Hosts that are remembered: those that were new last.
const MOST: usize = 16;

/// Hosts that connections are for.
#[derive(Debug, Default)]
pub struct Hosts(RefCell<Vec<Authority>>);

impl Hosts {
    /// A copy that keeps nothing else of what it was read with.
    pub fn kept(&self, host: &Authority) -> Authority {
        let mut known = self.0.borrow_mut();
        if let Some(known) = known.iter().find(|known| *known == host) {
            return known.clone();
        }
        if known.len() >= MOST {
            known.remove(0);
        }
        known.push(host.detached());
        known[known.len() - 1].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_a_host_and_few_are_remembered() {
        let hosts = Hosts::default();
        let host = |name: &str| Authority::from_config(name).unwrap();
        let place = |kept: &Authority| kept.as_str().as_ptr();
        let first = hosts.kept(&host("a.test"));
        assert_eq!(first, host("a.test"));
        assert_eq!(place(&hosts.kept(&host("a.test"))), place(&first));
        for number in 0..MOST {
            hosts.kept(&host(&format!("b{number}.test")));
        }
        assert_eq!(hosts.0.borrow().len(), MOST);
        assert_ne!(place(&hosts.kept(&host("a.test"))), place(&first), "it was forgotten");
    }
}
