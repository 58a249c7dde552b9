//! Names to addresses, on the control runtime.
//!
//! In:  clusters with names; single look-ups of workers.   Out: endpoint sets, swapped into their clusters.
//! Invariants: a refresh that fails keeps the last good set; TTLs are followed within [`MIN_TTL`] and [`MAX_TTL`]; at most
//! [`MAX_CACHED`] names that clients bring are remembered, and [`MAX_ADDRESSES`] addresses of one name used.
//! Not here: choosing among addresses (`sidle-balance`).

use super::Cluster;
use crate::error::ProxyError;
use foldhash::{HashMap, HashMapExt};
use hickory_resolver::{TokioResolver, net::NetError};
use sidle_balance::{EndpointAddr, EndpointSpec};
use sidle_model::ir;
use sidle_telemetry::Telemetry;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(300);
/// After a failure; Envoy's `dns_failure_refresh_rate` with Istio's base.
const RETRY: Duration = Duration::from_secs(5);
const MAX_CACHED: usize = 4096;
const MAX_ADDRESSES: usize = 1024;
/// Look-ups for workers that may be under way.
const MAX_QUEUED: usize = 1024;

/// Looks names up. Cheap to clone; usable from every thread.
#[derive(Clone)]
pub struct Dns {
    questions: mpsc::Sender<Question>,
    cache: Cache,
}

/// Addresses of names, and until when they hold.
type Cache = Arc<Mutex<HashMap<Arc<str>, (Vec<IpAddr>, Instant)>>>;

struct Question {
    name: Arc<str>,
    answer: oneshot::Sender<Option<Vec<IpAddr>>>,
}

/// The part that runs on the control runtime.
pub struct DnsServer {
    resolver: TokioResolver,
    questions: mpsc::Receiver<Question>,
    cache: Cache,
    telemetry: Arc<Telemetry>,
}

/// Prepares both parts with the system's resolver configuration.
///
/// # Errors
/// A resolver configuration that cannot be used.
pub fn dns(telemetry: Arc<Telemetry>) -> Result<(Dns, DnsServer), NetError> {
    let (sender, questions) = mpsc::channel(MAX_QUEUED);
    let cache = Arc::new(Mutex::new(HashMap::new()));
    let resolver = TokioResolver::builder_tokio()?.build()?;
    Ok((Dns { questions: sender, cache: cache.clone() }, DnsServer { resolver, questions, cache, telemetry }))
}

impl Dns {
    /// The addresses of `host`; at once for an IP address or a remembered name.
    ///
    /// # Errors
    /// [`ProxyError::DnsFailure`].
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ProxyError> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![ip]);
        }
        let name: Arc<str> = host.to_ascii_lowercase().into();
        if let Some((addresses, until)) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&name)
            && *until > Instant::now()
        {
            return Ok(addresses.clone());
        }
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question { name, answer }).map_err(|_| ProxyError::DnsFailure)?;
        answered.await.ok().flatten().ok_or(ProxyError::DnsFailure)
    }
}

impl DnsServer {
    /// Answers workers until the last [`Dns`] is gone.
    pub async fn run(mut self, clusters: mpsc::UnboundedReceiver<Arc<Cluster>>) {
        let mut clusters = clusters;
        loop {
            tokio::select! {
                question = self.questions.recv() => match question {
                    Some(question) => self.answer(question),
                    None => return,
                },
                Some(cluster) = clusters.recv() => self.follow(&cluster),
            }
        }
    }

    fn answer(&self, question: Question) {
        let (resolver, cache, telemetry) =
            (self.resolver.clone(), self.cache.clone(), self.telemetry.clone());
        tokio::spawn(async move {
            let found = lookup(&resolver, &question.name, &telemetry).await;
            if let Some((addresses, until)) = &found {
                let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= MAX_CACHED {
                    let now = Instant::now();
                    cache.retain(|_, (_, until)| *until > now);
                }
                if cache.len() < MAX_CACHED {
                    cache.insert(question.name, (addresses.clone(), *until));
                }
            }
            let _ = question.answer.send(found.map(|(addresses, _)| addresses));
        });
    }

    /// Keeps the names of a cluster resolved for as long as the cluster is in use.
    fn follow(&self, cluster: &Arc<Cluster>) {
        let (resolver, telemetry) = (self.resolver.clone(), self.telemetry.clone());
        let (config, cluster) = (cluster.config.clone(), Arc::downgrade(cluster));
        tokio::spawn(async move {
            loop {
                let next = refresh(&resolver, &config, &cluster, &telemetry).await;
                tokio::time::sleep_until(next.into()).await;
                if cluster.strong_count() == 0 {
                    return;
                }
            }
        });
    }
}

/// Looks up every name of a cluster once; gives when to do it again.
async fn refresh(
    resolver: &TokioResolver,
    config: &ir::Cluster,
    cluster: &Weak<Cluster>,
    telemetry: &Telemetry,
) -> Instant {
    let (endpoints, first_only) = match &config.discovery {
        ir::Discovery::StrictDns(endpoints) => (endpoints.as_slice(), false),
        ir::Discovery::LogicalDns(endpoint) => (std::slice::from_ref(endpoint), true),
        _ => (&[][..], false),
    };
    let mut next = Instant::now() + MAX_TTL;
    let mut specs = Vec::new();
    let mut failed = Vec::new();
    for endpoint in endpoints {
        let (name, port) = match (&endpoint.address, EndpointSpec::literal(endpoint)) {
            (ir::EndpointAddress::Name(name, port), _) => (name, *port),
            (_, literal) => {
                specs.extend(literal);
                continue;
            }
        };
        match lookup(resolver, name, telemetry).await {
            Some((addresses, until)) => {
                next = next.min(until);
                let used = addresses.into_iter().take(if first_only { 1 } else { MAX_ADDRESSES });
                specs.extend(used.map(|ip| {
                    EndpointSpec::resolved(endpoint, EndpointAddr::Socket(SocketAddr::new(ip, port)))
                }));
            }
            None => {
                next = next.min(Instant::now() + RETRY);
                failed.push(name.clone());
            }
        }
    }
    if let Some(cluster) = cluster.upgrade() {
        keep_last_good(&cluster, &failed, &mut specs);
        cluster.update_endpoints(specs);
    }
    next
}

/// Adds the endpoints of names that could not be looked up this time.
fn keep_last_good(cluster: &Cluster, failed: &[Arc<str>], specs: &mut Vec<EndpointSpec>) {
    for endpoint in cluster.endpoints.load().endpoints() {
        if failed.contains(&endpoint.hostname) {
            specs.push(EndpointSpec {
                address: endpoint.address.clone(),
                hostname: endpoint.hostname.clone(),
                weight: endpoint.weight,
                workload: endpoint.workload.clone(),
                locality: endpoint.locality.clone(),
            });
        }
    }
}

async fn lookup(
    resolver: &TokioResolver,
    name: &str,
    telemetry: &Telemetry,
) -> Option<(Vec<IpAddr>, Instant)> {
    match resolver.lookup_ip(name).await {
        Ok(found) => {
            let now = Instant::now();
            let until = found.valid_until().clamp(now + MIN_TTL, now + MAX_TTL);
            let mut addresses: Vec<IpAddr> = found.iter().collect();
            // As Envoy and Istio: IPv6 only where there is no IPv4. A name such as `localhost` has both, its server often one.
            if addresses.iter().any(IpAddr::is_ipv4) {
                addresses.retain(IpAddr::is_ipv4);
            }
            addresses.sort_unstable(); // equal answers make equal sets
            addresses.dedup();
            (!addresses.is_empty()).then_some((addresses, until))
        }
        Err(error) => {
            telemetry.dns_failed();
            tracing::warn!(name, %error, "DNS look-up failed");
            None
        }
    }
}
