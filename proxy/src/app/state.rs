//! What admin sees and may ask for.

use super::{log::Handle, service_manager::Manager, takeover::Taken};
use crate::{
    admin::{AdminSource, ClusterView, DrainRequest, ListenerView, Readiness, SPARE, State},
    config::{ConfigStatus, ReloadRequest, Snapshot, StatusCell},
    jwks::SourceView,
    listener::BoundSocket,
    overload::Pressure,
    reserve::Reserve,
    worker::{Activity, Command, Shared},
};
use futures_util::future::{BoxFuture, join_all};
use sidle_identity::{Svid, Workload};
use sidle_model::ir::{self, Direction, ListenAddress};
use sidle_telemetry::Telemetry;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How long log lines may take to reach their file when the process ends.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Admin, metrics and health.
const SERVERS: usize = 3;

/// The process, as admin and the end of it see it.
pub struct AppState {
    telemetry: Arc<Telemetry>,
    log: Handle,
    /// Who started the process, and wants to know how it is.
    pub(super) manager: Manager,
    reload: mpsc::Sender<ReloadRequest>,
    status: OnceLock<StatusCell>,
    running: OnceLock<(Arc<Shared>, Vec<mpsc::UnboundedSender<Command>>)>,
    /// Where listeners are bound, with real ports.
    bound: Mutex<BTreeMap<Arc<str>, ListenAddress>>,
    started: AtomicBool,
    unhealthy: AtomicBool,
    draining: AtomicBool,
    /// Somebody asked for the end.
    pub(super) quit: Notify,
    workload: Workload,
    /// Where the workload's identity comes from, as the configuration in force says.
    identity: watch::Sender<Option<ir::Identity>>,
    /// A configuration took effect.
    pub(super) applied: Arc<Notify>,
    /// The same, for whoever measures memory.
    pub(super) limits: Notify,
    /// Descriptors of admin, metrics and health.
    pub(super) reserve: Arc<Reserve>,
    /// Where admin is bound, once it is.
    pub(super) admin: Arc<OnceLock<SocketAddr>>,
    /// What another process gave; until this one is ready, nothing is served.
    pub(super) taken: Mutex<Option<Taken>>,
    held: Mutex<Option<Vec<BoundSocket>>>,
    /// The sockets of admin, metrics and health, for the next process.
    servers: Mutex<Vec<(&'static str, OwnedFd)>>,
    /// The process that has taken over.
    pub(super) successor: watch::Sender<Option<i32>>,
    /// Whether that is all who accepts now.
    pub(super) succeeded: watch::Sender<bool>,
    /// It has been told so.
    pub(super) handed_over: Notify,
}

impl AppState {
    /// A process that has not started.
    pub fn new(telemetry: Arc<Telemetry>, log: Handle, reload: mpsc::Sender<ReloadRequest>) -> Arc<Self> {
        Arc::new(AppState {
            telemetry,
            log,
            manager: Manager::from_environment(),
            reload,
            status: OnceLock::new(),
            running: OnceLock::new(),
            bound: Mutex::default(),
            started: AtomicBool::new(false),
            unhealthy: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            quit: Notify::new(),
            workload: Workload::default(),
            identity: watch::Sender::default(),
            applied: Arc::default(),
            limits: Notify::new(),
            reserve: Arc::new(Reserve::new(SERVERS * SPARE)),
            admin: Arc::default(),
            taken: Mutex::default(),
            held: Mutex::default(),
            servers: Mutex::default(),
            successor: watch::Sender::default(),
            succeeded: watch::Sender::default(),
            handed_over: Notify::new(),
        })
    }

    pub(super) fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    pub(super) fn workload(&self) -> &Workload {
        &self.workload
    }

    pub(super) fn identity_settings(&self) -> watch::Receiver<Option<ir::Identity>> {
        self.identity.subscribe()
    }

    /// A configuration with these settings took effect.
    pub(super) fn set_applied(&self, settings: &ir::Settings) {
        self.identity.send_if_modified(|known| {
            let changed = *known != settings.identity;
            known.clone_from(&settings.identity);
            changed
        });
        self.applied.notify_one();
        self.limits.notify_one();
    }

    pub(super) fn set_status(&self, status: StatusCell) {
        let _ = self.status.set(status);
    }

    pub(super) fn set_running(&self, shared: Arc<Shared>, workers: Vec<mpsc::UnboundedSender<Command>>) {
        let _ = self.running.set((shared, workers));
    }

    pub(super) fn set_started(&self) {
        self.started.store(true, SeqCst);
    }

    /// Notes which listeners went, and where new ones are bound.
    pub(super) fn rebound(
        &self,
        gone: &[Arc<str>],
        new: Vec<(Arc<str>, Option<SocketAddr>)>,
        wanted: &BTreeMap<Arc<str>, ListenAddress>,
    ) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        for name in gone {
            bound.remove(name);
        }
        for (name, address) in new {
            if let Some(address) = address.map(ListenAddress::Socket).or_else(|| wanted.get(&name).cloned()) {
                tracing::info!(listener = %name, %address, "listening");
                bound.insert(name, address);
            }
        }
    }

    /// Has workers serve sockets, or keeps these until [`Self::release`].
    pub(super) fn serve(&self, workers: &[mpsc::UnboundedSender<Command>], sockets: Vec<BoundSocket>) {
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.extend(sockets),
            None => distribute(workers, sockets),
        }
    }

    /// From here on nothing is served.
    pub(super) fn hold(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// What was held is served, and what comes is served at once.
    pub(super) fn release(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        distribute(self.workers(), held.unwrap_or_default());
    }

    /// Notes the socket of a server of the process' own.
    pub(super) fn note_server(&self, name: &'static str, socket: OwnedFd) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push((name, socket));
    }

    /// The sockets of the process' own servers.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(super) fn servers(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().map(|(name, socket)| Ok((*name, socket.try_clone()?))).collect()
    }

    /// Whether the process is on its way out.
    pub(super) fn is_ending(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// Another process serves: clients are sent there, and once this returns, nobody is accepted any more.
    pub(super) async fn begin_succession(&self) {
        self.draining.store(true, SeqCst);
        self.telemetry.set_draining(true);
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.tell_listeners(|_| true, Command::Drain);
        let stopped = self.workers().iter().map(|worker| {
            let (reply, stopped) = oneshot::channel();
            // A worker that has gone accepts nobody.
            let _ = worker.send(Command::Stopped(reply));
            stopped
        });
        join_all(stopped).await;
    }

    /// Ends what takes connections from others: readiness off, clients told to go elsewhere.
    pub(super) fn begin_draining(&self) {
        self.draining.store(true, SeqCst);
        self.telemetry.set_draining(true);
        self.tell_listeners(|direction| direction != Direction::Outbound, Command::Close);
    }

    pub(super) fn workers(&self) -> &[mpsc::UnboundedSender<Command>] {
        self.running.get().map_or(&[], |(_, workers)| workers)
    }

    pub(super) fn activity(&self) -> Option<&Activity> {
        self.running.get().map(|(shared, _)| &shared.activity)
    }

    /// Has workers cut what is under way, and account for it.
    pub(super) fn end_workers(&self) {
        for worker in self.workers() {
            let _ = worker.send(Command::End);
        }
    }

    pub(super) fn drain_settings(&self) -> ir::Drain {
        self.snapshot().map(|snapshot| snapshot.ir.settings.drain.clone()).unwrap_or_default()
    }

    /// The most memory that the configuration allows.
    pub(super) fn max_memory(&self) -> Option<u64> {
        self.running.get()?.0.snapshot.load().ir.settings.limits.max_memory_bytes
    }

    /// Tells how much of its memory the process uses; what was told before. `None`: nobody works yet.
    pub(super) fn set_pressure(&self, share: f64, pressure: Pressure) -> Option<Pressure> {
        let (shared, workers) = self.running.get()?;
        self.telemetry.set_memory_pressure(share);
        let before = shared.overload.set(pressure);
        if pressure > before {
            for worker in workers {
                let _ = worker.send(Command::Shed);
            }
        }
        Some(before)
    }

    pub(super) fn flush_logs(&self) {
        if let Some((log, _)) = self.snapshot().as_ref().and_then(|snapshot| snapshot.access_log.as_ref())
            && !log.flush(LAST_LINES)
        {
            tracing::warn!("the access log could not be written to its end");
        }
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.running.get().map(|(shared, _)| shared.snapshot.load_full())
    }

    fn tell_listeners(&self, which: impl Fn(Direction) -> bool, command: impl Fn(Arc<str>) -> Command) {
        if let (Some(snapshot), Some((_, workers))) = (self.snapshot(), self.running.get()) {
            tell(&snapshot, workers, which, command);
        }
    }
}

/// Gives each worker its sockets in turn; a listener that was taken over may have more of them than there are workers.
fn distribute(workers: &[mpsc::UnboundedSender<Command>], sockets: Vec<BoundSocket>) {
    for (worker, socket) in workers.iter().cycle().zip(sockets) {
        let _ = worker.send(Command::Serve(socket));
    }
}

fn tell(
    snapshot: &Snapshot,
    workers: &[mpsc::UnboundedSender<Command>],
    which: impl Fn(Direction) -> bool,
    command: impl Fn(Arc<str>) -> Command,
) {
    for listener in snapshot.ir.listeners.iter().filter(|listener| which(listener.direction)) {
        for worker in workers {
            let _ = worker.send(command(listener.name.clone()));
        }
    }
}

impl AdminSource for AppState {
    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn readiness(&self) -> Readiness {
        let mut unmet = Vec::new();
        let state = if self.draining.load(SeqCst) {
            unmet.push("the process is draining".to_owned());
            State::Draining
        } else if self.started.load(SeqCst) {
            State::Live
        } else {
            unmet.push("the first configuration is not in".to_owned());
            State::Initializing
        };
        if self.identity.borrow().is_some()
            && let Err(error) = self.workload.valid()
        {
            unmet.push(error.to_string());
        }
        if self.unhealthy.load(SeqCst) {
            unmet.push("POST /healthcheck/fail was asked for".to_owned());
        }
        Readiness { state, unmet }
    }

    fn config_status(&self) -> Arc<ConfigStatus> {
        self.status.get().map(StatusCell::load).unwrap_or_default()
    }

    fn ir(&self) -> Option<Arc<ir::Ir>> {
        self.snapshot().map(|snapshot| snapshot.ir.clone())
    }

    fn svid(&self) -> Option<Arc<Svid>> {
        self.workload.current()
    }

    fn clusters(&self) -> Vec<ClusterView> {
        let Some(snapshot) = self.snapshot() else { return Vec::new() };
        let views = snapshot.ir.clusters.iter().filter_map(|config| {
            let (_, cluster) = snapshot.clusters.get(&config.name)?;
            Some(ClusterView {
                config: config.clone(),
                endpoints: cluster.endpoints.load_full(),
                usage: cluster.usage.clone(),
                concurrency: cluster.concurrency.as_ref().map(|limiter| limiter.counts()),
            })
        });
        views.collect()
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let views = bound.iter().map(|(name, address)| ListenerView {
            name: name.clone(),
            address: address.clone(),
            active: self.telemetry.listener_metrics(name).active(),
        });
        views.collect()
    }

    fn jwks(&self) -> Vec<SourceView> {
        self.snapshot()
            .iter()
            .flat_map(|snapshot| snapshot.keys.values())
            .map(|source| source.view())
            .collect()
    }

    fn log_level(&self) -> String {
        self.log.level()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.log.set(level)
    }

    fn reload(&self) -> BoxFuture<'static, Option<Arc<ConfigStatus>>> {
        let requests = self.reload.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            requests.send(reply).await.ok()?;
            answer.await.ok()
        })
    }

    fn reopen_logs(&self) {
        if let Some((log, _)) = self.snapshot().as_ref().and_then(|snapshot| snapshot.access_log.as_ref()) {
            log.reopen();
        }
    }

    fn drain(&self, drain: DrainRequest) {
        let which = move |direction| !drain.inbound_only || direction != Direction::Outbound;
        if !drain.graceful {
            return self.tell_listeners(which, Command::Drain);
        }
        self.tell_listeners(which, Command::Close);
        let (Some(snapshot), Some((_, workers))) = (self.snapshot(), self.running.get()) else { return };
        let workers = workers.clone();
        tokio::spawn(async move {
            tokio::time::sleep(snapshot.ir.settings.drain.deadline).await;
            tell(&snapshot, &workers, which, Command::Drain);
        });
    }

    fn set_healthy(&self, healthy: bool) {
        self.unhealthy.store(!healthy, SeqCst);
    }

    fn quit(&self) {
        self.quit.notify_one();
    }
}
