//! One name, looked up once.
//!
//! In:  a name.   Out: its [`Addresses`], or an [`Answer`].
//! Invariants: at most [`AT_ONCE`] names take their turn at once; TTLs are followed within [`MIN_TTL`] and [`MAX_TTL`]; at most [`MAX_ADDRESSES`] addresses of one name are used;
//! a name counts as gone only if every name that it may stand for is known not to exist, or to have no address.
//! Not here: what becomes of the answer (`names`).

use hickory_resolver::{
    TokioResolver,
    config::{ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RecordType,
};
use sidle_telemetry::Telemetry;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// Each look-up has a socket or two for as long as it takes, and a server that is slow is not helped by more questions.
pub(super) const AT_ONCE: usize = 64;
const MIN_TTL: Duration = Duration::from_secs(1);
pub(super) const MAX_TTL: Duration = Duration::from_secs(300);
pub(super) const MAX_ADDRESSES: usize = 256;

/// Addresses of a name in the order of the answer, never none, and until when they hold.
pub(super) type Addresses = (Vec<IpAddr>, Instant);

/// What is known of a name now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its addresses.
    Found(Addresses),
    /// There is no such name, or it has no address: a server that knows says so.
    Gone,
    /// Nobody could tell.
    Failed,
}

/// Looks names up. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lookup {
    resolver: TokioResolver,
    /// What may be put behind a name.
    suffixes: Arc<[String]>,
    telemetry: Arc<Telemetry>,
    turns: Arc<Semaphore>,
}

impl Lookup {
    pub fn new(
        config: ResolverConfig,
        options: ResolverOpts,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, NetError> {
        let suffixes =
            config.search().iter().chain(config.domain()).map(|suffix| suffix.to_ascii()).collect();
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Lookup { resolver: builder.build()?, suffixes, telemetry, turns: turns() })
    }

    /// The same, with turns of its own.
    pub fn apart(&self) -> Self {
        Lookup { turns: turns(), ..self.clone() }
    }

    /// The addresses of a name for one request; whoever asks does not care why there are none.
    pub async fn addresses(&self, name: &str) -> Option<Addresses> {
        let _turn = self.turns.acquire().await; // never closed
        self.look_up(name).await.ok()
    }

    /// What is known of a name whose addresses are kept.
    pub async fn answer(&self, name: &str) -> Answer {
        let _turn = self.turns.acquire().await; // never closed
        match self.look_up(name).await {
            Ok(found) => Answer::Found(found),
            Err(may_be_gone) if may_be_gone && self.is_gone(name).await => Answer::Gone,
            Err(_) => Answer::Failed,
        }
    }

    /// # Errors
    /// There are no addresses; whether that may be because the name is gone.
    async fn look_up(&self, name: &str) -> Result<Addresses, bool> {
        let error = match self.resolver.lookup_ip(name).await {
            Ok(found) => {
                let now = Instant::now();
                let addresses = used(name, found.iter().collect());
                if !addresses.is_empty() {
                    return Ok((addresses, found.valid_until().clamp(now + MIN_TTL, now + MAX_TTL)));
                }
                None
            }
            Err(error) => Some(error),
        };
        self.telemetry.dns_failed();
        tracing::debug!(name, error = error.as_ref().map(tracing::field::display), "DNS look-up failed");
        Err(error.is_none_or(|error| error.is_no_records_found()))
    }

    /// Whether no name that `name` may stand for has an address. The error of a look-up tells of the last name of the search
    /// list and of one kind of address only; another name, or the other kind, may have failed for a passing reason.
    async fn is_gone(&self, name: &str) -> bool {
        let mut candidates = vec![format!("{}.", name.trim_end_matches('.'))];
        if !name.ends_with('.') {
            let suffixed = |suffix: &String| format!("{name}.{}.", suffix.trim_end_matches('.'));
            candidates.extend(self.suffixes.iter().map(suffixed));
        }
        for candidate in candidates {
            for kind in [RecordType::A, RecordType::AAAA] {
                match self.resolver.lookup(candidate.as_str(), kind).await {
                    Err(error) if error.is_nx_domain() => break,
                    Err(error) if error.is_no_records_found() => {}
                    _ => return false,
                }
            }
        }
        true
    }
}

fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE))
}

/// As Envoy and Istio: IPv6 only where there is no IPv4. A name such as `localhost` has both, its server often one.
fn used(name: &str, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    if addresses.len() > MAX_ADDRESSES {
        tracing::warn!(
            name,
            addresses = addresses.len(),
            used = MAX_ADDRESSES,
            "a name has too many addresses"
        );
        addresses.sort_unstable(); // the same ones the next time
        addresses.truncate(MAX_ADDRESSES);
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_one_kind_and_not_too_many() {
        let ip = |n: u16| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        let both = vec![IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), ip(2), ip(1)];
        assert_eq!(used("a", both), [ip(2), ip(1)], "in the order of the answer");
        let many = used("a", (0..1000).rev().map(ip).collect());
        assert_eq!((many.len(), many[0]), (MAX_ADDRESSES, ip(0)));
    }
}
