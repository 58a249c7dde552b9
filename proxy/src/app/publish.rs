//! A configuration takes effect: sockets bound, snapshot swapped, workers told.
//!
//! Invariants: everything that can fail comes before anything that shows; a listener that did not change is not touched.

use super::{
    health_checks, outliers,
    state::AppState,
    takeover::{self, TakeoverError, take},
};
use crate::{
    config::{self, AttemptResult, Builder, Built, ConfigStatus, NotPublished, Publish, Refused, Snapshot},
    jwks,
    listener::{BoundSocket, Inherited, Wanted, adopt, bind},
    name_server::NameServer,
    upstream::{Alarm, Cluster, dns::Dns},
    worker::{Command, Shared, Worker},
};
use arc_swap::ArcSwap;
use sidle_model::ir::{Discovery, Ir, ListenAddress, Listener, Settings};
use sidle_telemetry::Reload;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock, PoisonError},
    thread,
};
use tokio::{runtime, sync::mpsc};

/// Makes configurations run.
pub struct Publisher {
    state: Arc<AppState>,
    dns: Dns,
    to_resolve: mpsc::UnboundedSender<Arc<Cluster>>,
    name_server: Arc<NameServer>,
    outliers: Alarm,
    running: Option<Running>,
    takeover: takeover::Options,
    /// Sockets that somebody else has bound, until the first configuration takes effect.
    pub inherited: Vec<Inherited>,
    /// Why nothing could be taken over.
    pub refused: Arc<OnceLock<TakeoverError>>,
}

struct Running {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    listeners: BTreeMap<Arc<str>, ListenAddress>,
    settings: Settings,
    /// Whether there is a thread for health checks.
    checks: bool,
}

/// A listener's name, and a socket for each worker.
type BoundListener = (Arc<str>, Vec<BoundSocket>);

/// What the machine has given for a configuration.
struct Prepared {
    workers: usize,
    wanted: BTreeMap<Arc<str>, ListenAddress>,
    /// Those of `wanted` that are new.
    bound: Vec<BoundListener>,
}

impl Publisher {
    /// Nothing runs yet.
    pub fn new(
        state: Arc<AppState>,
        dns: Dns,
        to_resolve: mpsc::UnboundedSender<Arc<Cluster>>,
        name_server: Arc<NameServer>,
        takeover: takeover::Options,
    ) -> Self {
        Publisher {
            state,
            dns,
            to_resolve,
            name_server,
            outliers: Alarm::default(),
            running: None,
            takeover,
            inherited: Vec::new(),
            refused: Arc::default(),
        }
    }

    /// What builds the configurations that it makes run.
    pub fn builder(&self) -> Builder {
        Builder {
            telemetry: self.state.telemetry().clone(),
            workload: self.state.workload().clone(),
            outliers: self.outliers.clone(),
        }
    }

    /// Asks another process for its sockets, before the first configuration takes effect.
    async fn inherit(&mut self, settings: &Settings) -> Result<(), TakeoverError> {
        if self.running.is_some() || !std::mem::take(&mut self.takeover.take) {
            return Ok(());
        }
        let path = take::path(&self.takeover, settings.admin).ok_or(TakeoverError::NoPath)?;
        match take::ask(&path).await? {
            Some((taken, inherited)) => {
                self.state.hold();
                self.inherited.extend(inherited);
                *self.state.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            }
            None => tracing::info!(socket = %path.display(), "there is no process to take over from"),
        }
        Ok(())
    }

    /// Does what the machine may refuse while others run already. What `built` needs of it.
    async fn prepare(&mut self, built: &mut Built) -> Result<Prepared, NotPublished> {
        let ir = built.snapshot.ir.clone();
        if let Err(error) = self.inherit(&ir.settings).await {
            let why = error.to_string();
            let _ = self.refused.set(error);
            return Err(NotPublished::Machine(why));
        }
        let previous = self.running.as_ref().map(|running| running.shared.snapshot.load_full());
        // Here, not where it was built: the log's thread would be as nice as the one that starts it.
        built.snapshot.access_log = config::access_log(&ir, previous.as_deref(), self.state.telemetry())?;
        let workers = match &self.running {
            Some(running) => running.workers.len(),
            None => worker_count(&ir),
        };
        let wanted: BTreeMap<_, _> =
            ir.listeners.iter().map(|l| (l.name.clone(), l.address.clone())).collect();
        let bound = self.bind_new(&ir, &wanted, workers).map_err(NotPublished::Machine)?;
        if let Some(running) = &mut self.running {
            running.check(&built.snapshot)?;
        }
        Ok(Prepared { workers, wanted, bound })
    }

    /// Swaps `built` in. Fails only as the first of all, when threads cannot be started.
    fn apply(&mut self, built: Built, prepared: Prepared) -> Result<Arc<Snapshot>, NotPublished> {
        let Prepared { workers, wanted, bound } = prepared;
        built.take_over();
        let Built { snapshot, made, endpoint_updates, to_fetch, .. } = built;
        let ir = snapshot.ir.clone();
        let snapshot = Arc::new(snapshot);
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let started = start(&self.state, &self.dns, snapshot.clone(), workers);
                let running = self.running.insert(started.map_err(NotPublished::Machine)?);
                tokio::spawn(outliers::decide(running.shared.snapshot.clone(), self.outliers.clone()));
                running.check(&snapshot)?;
                running
            }
        };

        // Nothing below can fail.
        if let Some(given) = &ir.settings.name_server {
            self.name_server.publish(given.names.clone());
        }
        for (cluster, endpoints) in endpoint_updates {
            cluster.update_endpoints(endpoints);
        }
        for (cluster, _) in &made {
            cluster.count_endpoints();
            cluster.show_concurrency();
        }
        snapshot.rate_limits.iter().for_each(|limit| limit.show());
        running.shared.snapshot.store(snapshot.clone());
        self.outliers.raise();
        for (cluster, _) in made {
            if matches!(cluster.config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_)) {
                let _ = self.to_resolve.send(cluster);
            }
        }
        for (source, _) in to_fetch {
            tokio::spawn(jwks::follow(Arc::downgrade(&source), self.dns.clone()));
        }
        let gone: Vec<_> = (running.listeners.iter())
            .filter(|(name, address)| wanted.get(*name) != Some(address))
            .map(|(name, _)| name.clone())
            .collect();
        let addresses =
            bound.iter().filter_map(|(name, sockets)| Some((name.clone(), sockets.first()?.local_addr())));
        self.state.rebound(&gone, addresses.collect(), &wanted);
        for name in &gone {
            running.tell(|| Command::Drain(name.clone()));
        }
        for (_, sockets) in bound {
            self.state.serve(&running.workers, sockets);
        }
        running.tell(|| Command::Published);
        running.listeners = wanted;
        self.state.set_applied(&ir.settings);
        warn_of_restart(&running.settings, &ir.settings);
        Ok(snapshot)
    }

    fn bind_new(
        &mut self,
        ir: &Ir,
        wanted: &BTreeMap<Arc<str>, ListenAddress>,
        workers: usize,
    ) -> Result<Vec<BoundListener>, String> {
        // What is not chosen is closed here: a listener that is gone stays the other process' until its queue is empty.
        let mut inherited = std::mem::take(&mut self.inherited);
        let any = Wanted { both_families: true, ..Wanted::default() };
        for socket in &inherited {
            if !wanted.values().any(|address| any.fits(socket.address(), address)) {
                tracing::info!(address = %socket.address(), "handed over, and no listener has this address: closed");
            }
        }
        let theirs: Vec<_> = inherited.iter().map(|socket| socket.address().clone()).collect();
        let known = self.running.as_ref().map(|running| &running.listeners);
        let new =
            wanted.iter().filter(|(name, address)| known.and_then(|known| known.get(*name)) != Some(address));
        new.map(|(name, address)| {
            let transparent = ir.settings.transparent && &**name == "virtualInbound";
            let known = known.into_iter().flat_map(BTreeMap::values);
            let ours = known.chain(&theirs).any(|bound| same_port(bound, address));
            let asked = Wanted { workers, ours, both_families: Listener::is_built_in(name), transparent };
            let fitting: Vec<_> =
                inherited.extract_if(.., |socket| asked.fits(socket.address(), address)).collect();
            let sockets = if fitting.is_empty() {
                bind(name, address, asked)
            } else {
                adopt(name, address, fitting, asked)
            };
            let sockets = sockets
                .map_err(|error| format!("cannot bind listener {name} to {address}: {}", explain(&error)))?;
            Ok((name.clone(), sockets))
        })
        .collect()
    }
}

/// Whether one may stand in the other's way: `0.0.0.0` takes a port on every address.
fn same_port(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Socket(a), ListenAddress::Socket(b)) => a.port() == b.port(),
        (a, b) => a == b,
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{error}; ports below 1024 need CAP_NET_BIND_SERVICE, or a Service that maps them to a targetPort; \
                 interceptionMode TPROXY needs CAP_NET_ADMIN"
            )
        }
        _ => error.to_string(),
    }
}

impl Running {
    /// Sees to it that there is a thread for health checks, if `snapshot` has any.
    fn check(&mut self, snapshot: &Snapshot) -> Result<(), NotPublished> {
        if !self.checks && snapshot.clusters.values().any(|(_, cluster)| cluster.is_checked()) {
            health_checks::start(self.shared.snapshot.clone())
                .map_err(|error| NotPublished::Machine(format!("no thread for health checks: {error}")))?;
            self.checks = true;
        }
        Ok(())
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.send(command());
        }
    }
}

fn worker_count(ir: &Ir) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    ir.settings.workers.map_or_else(cores, usize::from).max(1)
}

fn start(
    state: &Arc<AppState>,
    dns: &Dns,
    snapshot: Arc<Snapshot>,
    workers: usize,
) -> Result<Running, String> {
    let settings = snapshot.ir.settings.clone();
    let shared = Arc::new(Shared {
        snapshot: Arc::new(ArcSwap::new(snapshot)),
        telemetry: state.telemetry().clone(),
        dns: dns.clone(),
        max_connections: super::descriptors::max_connections(),
        activity: Default::default(),
        sources: Default::default(),
        overload: Default::default(),
        reserve: state.reserve.clone(),
        admin: state.admin.clone(),
    });
    let mut senders = Vec::with_capacity(workers);
    for number in 0..workers {
        let (sender, commands) = mpsc::unbounded_channel();
        spawn_worker(number, shared.clone(), commands)
            .map_err(|error| format!("cannot start a worker: {error}"))?;
        senders.push(sender);
    }
    state.telemetry().set_workers(workers);
    state.set_running(shared.clone(), senders.clone());
    Ok(Running { shared, workers: senders, listeners: BTreeMap::new(), settings, checks: false })
}

fn spawn_worker(
    number: usize,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    // A runtime of local tasks belongs to the thread that makes it.
    let (made, making) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name(format!("sidle-worker-{number}")).spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        match runtime {
            Ok(runtime) => {
                let _ = made.send(Ok(())); // whoever started it waits
                runtime.block_on(Worker::new(shared).run(commands));
            }
            Err(error) => drop(made.send(Err(error))),
        }
    })?;
    making.recv().map_err(io::Error::other)?
}

fn address_of_dns(settings: &Settings) -> Option<SocketAddr> {
    settings.name_server.as_ref().map(|given| given.address)
}

fn warn_of_restart(before: &Settings, after: &Settings) {
    let changed = [
        ("admin", before.admin != after.admin),
        ("metrics", before.metrics != after.metrics),
        ("health", before.health != after.health),
        ("dns", address_of_dns(before) != address_of_dns(after)),
        ("interceptionMode", before.transparent != after.transparent),
        ("workers", before.workers != after.workers),
    ];
    for (name, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        tracing::warn!("a change of `{name}` takes effect after a restart");
    }
}

impl Publish for Publisher {
    async fn publish(&mut self, mut built: Box<Built>) -> Result<Arc<Snapshot>, Refused> {
        match self.prepare(&mut built).await {
            Ok(prepared) => self.apply(*built, prepared).map_err(|why| Refused { why, built: None }),
            Err(why) => Err(Refused { why, built: Some(built) }),
        }
    }

    fn asked(&mut self) {
        self.state.manager.reloading();
    }

    fn attempted(&mut self, status: &ConfigStatus) {
        self.state.manager.attempted(status);
        let Some(attempt) = &status.last_attempt else { return };
        let version = status.version.as_ref().map(ToString::to_string).unwrap_or_default();
        self.state.telemetry().reloaded(match attempt.result {
            AttemptResult::Applied => Reload::Applied(&version),
            AttemptResult::Unchanged => Reload::Unchanged,
            AttemptResult::Rejected => Reload::Rejected,
        });
    }
}
