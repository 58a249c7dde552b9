//! What is known of the names of one cluster.
//!
//! In:  answers with their times; how connections to an address go.   Out: the addresses to use, and when to ask again.
//! Invariants: a look-up that fails keeps the last good addresses; so does an answer that there are none, for
//! [`GONE_AFTER`]: after that they are dropped, since whoever has them by then is somebody else. Of a name of which one
//! address is used at a time, that one stays for as long as the answer has it and connections to it are made.
//! Not here: a clock; looking up (`lookup`).

use super::lookup::{Answer, MAX_TTL};
use foldhash::HashMap;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the addresses of a name that is gone are kept.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(300);
/// After a failure; Envoy's `dns_failure_refresh_rate` with Istio's base.
const RETRY: Duration = Duration::from_secs(5);

/// The names of a cluster.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Arc<str>, Known>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Since when every answer says that there is no such name.
    gone_since: Option<Instant>,
    /// Whether the last look-up found nothing, so that it is told once.
    failing: bool,
    /// The one that is used, where one is used at a time.
    current: Option<IpAddr>,
}

impl Names {
    /// Takes over an address that is in use.
    pub fn remember(&mut self, name: &Arc<str>, address: IpAddr) {
        let known = self.known.entry(name.clone()).or_default();
        known.addresses.push(address);
        known.current = known.current.or(Some(address));
    }

    /// Takes an answer in; gives when to ask again.
    pub fn answered(&mut self, name: &Arc<str>, answer: Answer, now: Instant) -> Instant {
        let known = self.known.entry(name.clone()).or_default();
        let failing = !matches!(answer, Answer::Found(_));
        if failing && !known.failing {
            tracing::warn!(%name, kept = known.addresses.len(), "a name cannot be looked up");
        }
        known.failing = failing;
        match answer {
            Answer::Found((addresses, until)) => {
                known.addresses = addresses;
                known.gone_since = None;
                return until.min(now + MAX_TTL);
            }
            Answer::Gone => {
                let since = *known.gone_since.get_or_insert(now);
                if now.duration_since(since) >= GONE_AFTER && !known.addresses.is_empty() {
                    tracing::warn!(%name, dropped = known.addresses.len(), "a name is gone for good");
                    known.addresses.clear();
                    known.current = None;
                }
            }
            Answer::Failed => {}
        }
        now + RETRY
    }

    /// All addresses of a name, in order, so that equal answers make equal sets.
    pub fn all(&self, name: &str) -> Vec<IpAddr> {
        let mut addresses = self.known.get(name).map_or_else(Vec::new, |known| known.addresses.clone());
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The address to use where one is used at a time: the one in use, else the first of the answer, which servers rotate.
    pub fn one(&mut self, name: &str) -> Option<IpAddr> {
        let known = self.known.get_mut(name)?;
        known.current = known
            .current
            .filter(|current| known.addresses.contains(current))
            .or_else(|| known.addresses.first().copied());
        known.current
    }

    /// Goes on to the next address of a name, since nobody gets through to the one in use. Whether there is another.
    pub fn next(&mut self, name: &str) -> bool {
        let Some(known) = self.known.get_mut(name) else { return false };
        let at = known.addresses.iter().position(|address| Some(*address) == known.current);
        let next = at.and_then(|at| known.addresses.get((at + 1) % known.addresses.len())).copied();
        let is_another = next.is_some() && next != known.current;
        known.current = next.or(known.current);
        is_another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn found(ips: &[u8], now: Instant) -> Answer {
        Answer::Found((ips.iter().map(|last| ip(*last)).collect(), now + Duration::from_secs(30)))
    }

    #[test]
    fn what_fails_is_kept_and_what_is_gone_is_dropped_in_the_end() {
        let (mut names, name, start) = (Names::default(), Arc::from("a.test"), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(names.answered(&name, found(&[2, 1], at(0)), at(0)), at(30));
        assert_eq!(names.all(&name), [ip(1), ip(2)]);
        assert_eq!(names.answered(&name, Answer::Failed, at(30)), at(35));
        assert_eq!(names.answered(&name, Answer::Failed, at(4000)), at(4005));
        assert_eq!(names.all(&name).len(), 2, "however long nobody can tell");
        names.answered(&name, Answer::Gone, at(4005));
        names.answered(&name, Answer::Gone, at(4304));
        assert_eq!(names.all(&name).len(), 2);
        names.answered(&name, found(&[3], at(4304)), at(4304));
        names.answered(&name, Answer::Gone, at(4310));
        names.answered(&name, Answer::Failed, at(4400));
        assert_eq!(names.all(&name), [ip(3)], "an address in between starts it anew");
        names.answered(&name, Answer::Gone, at(4610));
        assert!(names.all(&name).is_empty());
        names.answered(&name, found(&[4], at(4700)), at(4700));
        assert_eq!((names.all(&name), names.one(&name)), (vec![ip(4)], Some(ip(4))));
    }

    #[test]
    fn the_one_in_use_stays_until_it_fails_or_leaves() {
        let (mut names, name, now) = (Names::default(), Arc::from("a.test"), Instant::now());
        assert_eq!((names.one(&name), names.next(&name)), (None, false));
        names.answered(&name, found(&[3, 1, 2], now), now);
        assert_eq!(names.one(&name), Some(ip(3)), "the first, not the least");
        names.answered(&name, found(&[1, 2, 3], now), now);
        assert_eq!(names.one(&name), Some(ip(3)), "a rotated answer changes nothing");
        assert!(names.next(&name));
        assert_eq!(names.one(&name), Some(ip(1)), "and round");
        names.answered(&name, found(&[2], now), now);
        assert_eq!(names.one(&name), Some(ip(2)));
        assert!(!names.next(&name), "there is no other");
        assert_eq!(names.one(&name), Some(ip(2)));
    }

    #[test]
    fn addresses_in_use_are_taken_over() {
        let (mut names, name) = (Names::default(), Arc::from("a.test"));
        names.remember(&name, ip(9));
        names.answered(&name, Answer::Failed, Instant::now());
        assert_eq!((names.all(&name), names.one(&name)), (vec![ip(9)], Some(ip(9))));
    }
}
