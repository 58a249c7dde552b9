//! A configuration takes effect: sockets bound, snapshot swapped, workers told.
//!
//! Invariants: everything that can fail comes before anything that shows; a listener that did not change is not touched.

use super::{outliers, state::AppState};
use crate::{
    config::{self, AttemptResult, ConfigStatus, ConfigVersion, NotPublished, Publish, Snapshot},
    jwks,
    listener::{BoundSocket, Wanted, bind},
    name_server::NameServer,
    upstream::{Alarm, Cluster, dns::Dns},
    worker::{Command, Shared, Worker},
};
use arc_swap::ArcSwap;
use sidle_model::ir::{Ir, ListenAddress, Settings};
use sidle_telemetry::Reload;
use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, thread, time::Duration};
use tokio::{sync::mpsc, task::LocalSet};

/// Makes configurations run.
pub struct Publisher {
    state: Arc<AppState>,
    dns: Dns,
    to_resolve: mpsc::UnboundedSender<Arc<Cluster>>,
    name_server: Arc<NameServer>,
    outliers: Alarm,
    running: Option<Running>,
}

struct Running {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    listeners: BTreeMap<Arc<str>, ListenAddress>,
    settings: Settings,
}

/// A listener's name, and a socket for each worker.
type BoundListener = (Arc<str>, Vec<BoundSocket>);

impl Publisher {
    /// Nothing runs yet.
    pub fn new(
        state: Arc<AppState>,
        dns: Dns,
        to_resolve: mpsc::UnboundedSender<Arc<Cluster>>,
        name_server: Arc<NameServer>,
    ) -> Self {
        Publisher { state, dns, to_resolve, name_server, outliers: Alarm::default(), running: None }
    }

    fn apply(&mut self, ir: &Arc<Ir>, version: &ConfigVersion) -> Result<(), NotPublished> {
        let previous = self.running.as_ref().map(|running| running.shared.snapshot.load_full());
        let (telemetry, workload) = (self.state.telemetry(), self.state.workload());
        let built = config::build(
            ir,
            &version.to_string(),
            previous.as_deref(),
            telemetry,
            workload,
            &self.outliers,
        )?;
        let workers = match &self.running {
            Some(running) => running.workers.len(),
            None => worker_count(ir),
        };
        let wanted: BTreeMap<_, _> =
            ir.listeners.iter().map(|l| (l.name.clone(), l.address.clone())).collect();
        let bound = self.bind_new(ir, &wanted, workers).map_err(NotPublished::Machine)?;
        let snapshot = Arc::new(built.snapshot);
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let started = start(&self.state, &self.dns, snapshot.clone(), workers);
                let running = self.running.insert(started.map_err(NotPublished::Machine)?);
                tokio::spawn(outliers::decide(running.shared.snapshot.clone(), self.outliers.clone()));
                running
            }
        };

        // Nothing below can fail.
        if let Some(given) = &ir.settings.name_server {
            self.name_server.publish(given.names.clone());
        }
        for (cluster, endpoints) in built.endpoint_updates {
            cluster.update_endpoints(endpoints);
        }
        for (name, (_, cluster)) in &snapshot.clusters {
            if let Some((_, before)) = previous.as_ref().and_then(|previous| previous.clusters.get(name))
                && !Arc::ptr_eq(before, cluster)
            {
                before.endpoints.load().leave_for(&cluster.endpoints.load());
                cluster.succeed(before);
            }
            cluster.count_endpoints();
        }
        running.shared.snapshot.store(snapshot);
        self.outliers.raise();
        for cluster in built.to_resolve {
            let _ = self.to_resolve.send(cluster);
        }
        for source in built.to_fetch {
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
            for (worker, socket) in running.workers.iter().zip(sockets) {
                let _ = worker.send(Command::Serve(socket));
            }
        }
        running.tell(|| Command::Published);
        running.listeners = wanted;
        if let Some(previous) = previous {
            tokio::spawn(retire(previous));
        }
        self.state.set_applied(&ir.settings);
        warn_of_restart(&running.settings, &ir.settings);
        Ok(())
    }

    fn bind_new(
        &self,
        ir: &Ir,
        wanted: &BTreeMap<Arc<str>, ListenAddress>,
        workers: usize,
    ) -> Result<Vec<BoundListener>, String> {
        let known = self.running.as_ref().map(|running| &running.listeners);
        let new =
            wanted.iter().filter(|(name, address)| known.and_then(|known| known.get(*name)) != Some(address));
        new.map(|(name, address)| {
            let ours = known.is_some_and(|known| known.values().any(|bound| same_port(bound, address)));
            let mesh = &**name == "virtualInbound" || &**name == "virtualOutbound";
            let transparent = ir.settings.transparent && &**name == "virtualInbound";
            let sockets = Wanted { workers, ours, both_families: mesh, transparent };
            let sockets = bind(name, address, sockets)
                .map_err(|error| format!("cannot bind listener {name} to {address}: {}", explain(&error)))?;
            Ok((name.clone(), sockets))
        })
        .collect()
    }
}

/// How often, and how many times, it is looked whether the workers have let go of a snapshot.
const RETIRE_LOOK: Duration = Duration::from_millis(100);
const RETIRE_LOOKS: u32 = 50;

/// Outlives the workers' hold on a snapshot, so that a large one is taken apart here and stalls no request. What a long
/// stream still needs goes with the stream.
async fn retire(snapshot: Arc<Snapshot>) {
    for _ in 0..RETIRE_LOOKS {
        if Arc::strong_count(&snapshot) == 1 {
            return;
        }
        tokio::time::sleep(RETIRE_LOOK).await;
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
    Ok(Running { shared, workers: senders, listeners: BTreeMap::new(), settings })
}

fn spawn_worker(
    number: usize,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(format!("sidle-worker-{number}")).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, Worker::new(shared).run(commands));
    })
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
    async fn publish(&mut self, ir: &Arc<Ir>, version: &ConfigVersion) -> Result<(), NotPublished> {
        self.apply(ir, version)
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
