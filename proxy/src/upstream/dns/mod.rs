//! Names to addresses, on the control runtime.
//!
//! In:  clusters with names; single look-ups of workers.   Out: endpoint sets, swapped into their clusters.
//! Invariants: one look-up a name at a time, however many workers ask; at most [`MAX_CACHED`] names that clients bring are
//! remembered, and [`MAX_WAITING`] questions wait for one name, no longer than `resolv.conf` has it; of theirs and of those of clusters, [`lookup::AT_ONCE`] each are
//! looked up at once, so that neither waits for the other.
//! Not here: choosing among addresses (`sidle-balance`).
//! Read: `lookup` (one name, once) -> this file (questions of workers) -> `names` (what is known of a cluster's names) ->
//! `follow` (a cluster for as long as it is in use).

mod follow;
mod lookup;
mod names;
#[cfg(test)]
mod tests;

use super::Cluster;
use crate::error::ProxyError;
use foldhash::{HashMap, HashMapExt};
use hickory_resolver::{config::ResolverOpts, net::NetError, system_conf::read_system_conf};
use lookup::{Addresses, Lookup};
use sidle_telemetry::Telemetry;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{Id, JoinSet},
};

const MAX_CACHED: usize = 4096;
/// Questions of workers that were not taken up yet.
const MAX_QUEUED: usize = 1024;
/// Questions for one name.
const MAX_WAITING: usize = 4096;

/// Looks names up. Cheap to clone; usable from every thread.
#[derive(Clone)]
pub struct Dns {
    questions: mpsc::Sender<Question>,
    cache: Cache,
    /// How long a request waits for a name, its turn included.
    patience: Duration,
}

/// Addresses of names, and until when they hold.
type Cache = Arc<Mutex<HashMap<Arc<str>, Addresses>>>;

/// Where a worker waits.
type Asker = oneshot::Sender<Option<Vec<IpAddr>>>;

struct Question {
    name: Arc<str>,
    answer: Asker,
}

/// The part that runs on the control runtime.
pub struct DnsServer {
    lookup: Lookup,
    of_clusters: Lookup,
    questions: mpsc::Receiver<Question>,
    cache: Cache,
    /// Who waits for a name that is being looked up.
    waiting: HashMap<Arc<str>, Vec<Asker>>,
    under_way: JoinSet<Option<Addresses>>,
    names: HashMap<Id, Arc<str>>,
}

/// Prepares both parts with the system's resolver configuration.
///
/// # Errors
/// A resolver configuration that cannot be used.
pub fn dns(telemetry: Arc<Telemetry>) -> Result<(Dns, DnsServer), NetError> {
    let (config, mut options) = read_system_conf()?;
    let patience = patience(&mut options);
    Ok(with_lookup(Lookup::new(config, options, telemetry)?, patience))
}

/// How long a name may take, as `timeout` and `attempts` of resolv.conf(5) have it: there `attempts` are all of them, in `options` those after
/// the first. No less than a second each, as glibc has it: `timeout:0` is that.
fn patience(options: &mut ResolverOpts) -> Duration {
    options.timeout = options.timeout.max(Duration::from_secs(1));
    let attempts = options.attempts.max(1);
    options.attempts = attempts - 1;
    options.timeout * attempts as u32
}

fn with_lookup(lookup: Lookup, patience: Duration) -> (Dns, DnsServer) {
    let (sender, questions) = mpsc::channel(MAX_QUEUED);
    let cache = Cache::default();
    let server = DnsServer {
        of_clusters: lookup.apart(),
        lookup,
        questions,
        cache: cache.clone(),
        waiting: HashMap::new(),
        under_way: JoinSet::new(),
        names: HashMap::new(),
    };
    (Dns { questions: sender, cache, patience }, server)
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
        let in_time = tokio::time::timeout(self.patience, answered).await;
        in_time.ok().and_then(Result::ok).flatten().ok_or(ProxyError::DnsFailure)
    }
}

impl DnsServer {
    /// Answers workers until the last [`Dns`] is gone.
    pub async fn run(mut self, mut clusters: mpsc::UnboundedReceiver<Arc<Cluster>>) {
        loop {
            tokio::select! {
                question = self.questions.recv(), if self.under_way.len() < lookup::AT_ONCE => match question {
                    Some(question) => self.ask(question),
                    None => return,
                },
                Some(done) = self.under_way.join_next_with_id() => {
                    // A look-up that panicked has found nothing.
                    let (id, found) = done.unwrap_or_else(|error| (error.id(), None));
                    self.answer(id, found);
                }
                Some(cluster) = clusters.recv() => {
                    tokio::spawn(follow::follow(self.of_clusters.clone(), cluster.config.clone(), Arc::downgrade(&cluster)));
                }
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let Question { name, answer } = question;
        if answer.is_closed() {
            return; // its turn came too late
        }
        if let Some(waiting) = self.waiting.get_mut(&name) {
            if waiting.len() >= MAX_WAITING {
                waiting.retain(|asker| !asker.is_closed()); // their time is up
            }
            if waiting.len() < MAX_WAITING {
                waiting.push(answer);
            }
            return;
        }
        let lookup = self.lookup.clone();
        let asked = name.clone();
        let task = self.under_way.spawn(async move { lookup.addresses(&asked).await });
        self.names.insert(task.id(), name.clone());
        self.waiting.insert(name, vec![answer]);
    }

    fn answer(&mut self, id: Id, found: Option<Addresses>) {
        let Some(name) = self.names.remove(&id) else { return };
        let waiting = self.waiting.remove(&name).unwrap_or_default();
        // In the order of the answer: workers use the first, and servers rotate.
        let addresses = found.map(|(addresses, until)| {
            self.remember(name, addresses.clone(), until);
            addresses
        });
        for asker in waiting {
            let _ = asker.send(addresses.clone());
        }
    }

    fn remember(&self, name: Arc<str>, addresses: Vec<IpAddr>, until: Instant) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED {
            let now = Instant::now();
            cache.retain(|_, (_, until)| *until > now);
        }
        if cache.len() < MAX_CACHED || cache.contains_key(&name) {
            cache.insert(name, (addresses, until));
        }
    }
}
