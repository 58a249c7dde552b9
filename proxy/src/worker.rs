//! A worker: one thread, one runtime, its own sockets, connections and pools.
//!
//! Invariants: nothing on a request's way takes a lock or wakes another thread; what workers share is atomic or swapped.
//! Not here: binding sockets (`listener::bind`), deciding what to bind (`app`).
//! Read: [`Worker::run`] (what it is told) -> `held` (what it shares with others) -> `hosts` (what its connections have in common) ->
//! `activity` (what it has under way) -> `metrics`.

mod activity;
mod crew;
mod held;
mod hosts;
mod metrics;

pub use activity::{Activity, UnderWay};
pub use crew::Crew;
pub use held::{Held, Holds};
pub use hosts::Hosts;
pub use metrics::Sides;

use crate::{
    codec::{h2::ClientStream, patience},
    config::{HttpPlan, Snapshot},
    listener::{self, BoundSocket, Drain, Listening, Opening, Sources},
    overload::Overload,
    reserve::Reserve,
    upstream::{Cluster, dns::Dns, pool::Pools},
};
use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};
use metrics::MetricsKey;
use sidle_balance::{Endpoint, EndpointAddr, EndpointSet, EndpointSpec};
use sidle_model::ir::{self, Direction};
use sidle_telemetry::{RequestMetrics, TcpMetrics, Telemetry};
use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    sync::{Arc, OnceLock},
    time::Instant,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// What all workers share.
pub struct Shared {
    /// The configuration in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Looks names up.
    pub dns: Dns,
    /// Downstream connections, unless the configuration says how many.
    pub max_connections: usize,
    /// What is under way.
    pub activity: Activity,
    /// Who is connected.
    pub sources: Arc<Sources>,
    /// Whether memory is short.
    pub overload: Overload,
    /// Descriptors that are not for connections.
    pub reserve: Arc<Reserve>,
    /// Where admin is bound, once it is: clients are not led there.
    pub admin: Arc<OnceLock<SocketAddr>>,
}

/// What a worker is told.
pub enum Command {
    /// Serve this socket.
    Serve(BoundSocket),
    /// A new snapshot is in force.
    Published,
    /// Tell the clients of the listener of this name to go elsewhere; whoever comes all the same is served.
    Close(Arc<str>),
    /// Stop accepting on the listener of this name, too.
    Drain(Arc<str>),
    /// Say so once nobody is accepted any more: all listeners were told to drain.
    Stopped(oneshot::Sender<()>),
    /// Cut what is still under way.
    End,
    /// Memory has become shorter: let idle connections go.
    Shed,
    /// Give its listening sockets, for another process.
    Share(oneshot::Sender<io::Result<Vec<OwnedFd>>>),
    /// Say that it is alive.
    Answer(oneshot::Sender<()>),
}

/// One worker.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Connections to endpoints.
    pub pools: Pools,
    /// Tasks for connections of clients, while it is not known what they speak, and as long as that is HTTP/1.
    pub connections: Crew<Opening>,
    /// Tasks for their streams of HTTP/2.
    pub streams: Crew<ClientStream>,
    /// Whom its connections are for.
    pub hosts: Hosts,
    /// What it has under way.
    pub under_way: Arc<UnderWay>,
    snapshot: RefCell<(Followed, Held<Snapshot>)>,
    /// Holds on what is of that snapshot, and on endpoints that have come since.
    plans: Holds<HttpPlan>,
    clusters: Holds<Cluster>,
    endpoints: Holds<Endpoint>,
    random: RefCell<fastrand::Rng>,
    metrics: RefCell<HashMap<MetricsKey, Arc<RequestMetrics>>>,
    tcp_metrics: RefCell<HashMap<MetricsKey, Arc<TcpMetrics>>>,
    metrics_generation: Cell<u64>,
    ending: Cell<bool>,
    /// Who answers at an endpoint that clients named.
    nobody: Arc<ir::Workload>,
    /// Endpoints that clients named, for as long as they are used.
    named: RefCell<HashMap<(u64, EndpointAddr), Arc<Endpoint>>>,
}

/// The configuration in force, looked at without a lock or a count.
type Followed = arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// A socket that is accepted on, while it is, and what ends that.
type Served = (Rc<Drain>, Weak<Listening>);

/// Has connections look whether they may go on.
fn tell<'a>(served: impl Iterator<Item = &'a Served>) {
    served.for_each(|(drain, _)| drain.tell());
}

/// Whether a listener's connections come from the application: no configuration would take those no more.
fn is_outbound(snapshot: &Snapshot, listener: &str) -> bool {
    snapshot.listeners.get(listener).is_some_and(|plan| plan.config.direction == Direction::Outbound)
}

/// Destinations that clients named and a worker remembers.
const MAX_NAMED: usize = 1024;

impl Worker {
    /// A worker without sockets.
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        let snapshot = Held::new(shared.snapshot.load_full());
        Rc::new(Worker {
            pools: Pools::new(),
            connections: Crew::default(),
            streams: Crew::default(),
            hosts: Hosts::default(),
            under_way: shared.activity.enlist(),
            snapshot: RefCell::new((arc_swap::Cache::new(shared.snapshot.clone()), snapshot)),
            plans: Holds::default(),
            clusters: Holds::default(),
            endpoints: Holds::default(),
            random: RefCell::new(fastrand::Rng::new()),
            metrics: RefCell::new(HashMap::new()),
            tcp_metrics: RefCell::new(HashMap::new()),
            metrics_generation: Cell::new(0),
            ending: Cell::new(false),
            nobody: Arc::default(),
            named: RefCell::new(HashMap::new()),
            shared,
        })
    }

    /// Serves until `commands` is closed, or one says so.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        tokio::task::spawn_local(patience::keep());
        let mut served: HashMap<Arc<str>, Vec<Served>> = HashMap::new();
        let mut accepting = JoinSet::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Serve(socket) => {
                    let name = socket.name().clone();
                    while accepting.try_join_next().is_some() {} // those that have stopped
                    if let Some(socket) = self.serve(socket, &mut accepting) {
                        served.entry(name).or_default().push(socket);
                    }
                }
                Command::Close(name) => {
                    served.get(&name).into_iter().flatten().for_each(|(drain, _)| drain.begin())
                }
                Command::Drain(name) => {
                    served.remove(&name).into_iter().flatten().for_each(|(drain, _)| drain.stop())
                }
                Command::Stopped(reply) => {
                    let mut stopping = std::mem::take(&mut accepting);
                    tokio::task::spawn_local(async move {
                        while stopping.join_next().await.is_some() {}
                        let _ = reply.send(());
                    });
                }
                Command::Share(reply) => {
                    let sockets = served.values().flatten().filter_map(|(_, socket)| socket.upgrade());
                    // Whoever asked may have gone.
                    let _ = reply.send(sockets.map(|socket| socket.share()).collect());
                }
                Command::Shed => tell(served.values().flatten()),
                // Whoever asked may have gone.
                Command::Answer(reply) => drop(reply.send(())),
                Command::Published => {
                    let snapshot = self.published();
                    tell(
                        served
                            .iter()
                            .filter(|(name, _)| !is_outbound(&snapshot, name))
                            .flat_map(|(_, all)| all),
                    );
                }
                Command::End => break,
            }
        }
        self.ending.set(true);
    }

    /// Begins to accept on a socket.
    fn serve(self: &Rc<Self>, socket: BoundSocket, accepting: &mut JoinSet<()>) -> Option<Served> {
        let name = socket.name().clone();
        let listening = match socket.listen() {
            Ok(listening) => Rc::new(listening),
            Err(error) => {
                tracing::error!(listener = %name, %error, "cannot serve");
                return None;
            }
        };
        let served = (Rc::new(Drain::default()), Rc::downgrade(&listening));
        accepting.spawn_local(listener::accept(self.clone(), name, listening, served.0.clone()));
        Some(served)
    }

    /// Whether what is dropped now is cut by the end of the process.
    pub fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Held<Snapshot> {
        let (cache, held) = &mut *self.snapshot.borrow_mut();
        let current = cache.load();
        if !Arc::ptr_eq(current, held.shared()) {
            // Before the old one: whoever lets go of it last takes it apart, and that is not to be a worker.
            self.plans.clear();
            self.clusters.clear();
            self.endpoints.clear();
            *held = Held::new(current.clone());
        }
        held.clone()
    }

    /// A hold on a plan of `snapshot`.
    pub fn hold_plan(&self, snapshot: &Snapshot, plan: &Arc<HttpPlan>) -> Held<HttpPlan> {
        if self.is_current(snapshot) { self.plans.of(plan) } else { Held::new(plan.clone()) }
    }

    /// A hold on a cluster of `snapshot`.
    pub fn hold_cluster(&self, snapshot: &Snapshot, cluster: &Arc<Cluster>) -> Held<Cluster> {
        if self.is_current(snapshot) { self.clusters.of(cluster) } else { Held::new(cluster.clone()) }
    }

    /// A hold on an endpoint.
    pub fn hold_endpoint(&self, endpoint: &Arc<Endpoint>) -> Held<Endpoint> {
        self.endpoints.of(endpoint)
    }

    /// Whether it is the one that the last request began with: nothing is remembered of another.
    fn is_current(&self, snapshot: &Snapshot) -> bool {
        std::ptr::eq(Arc::as_ptr(self.snapshot.borrow().1.shared()), snapshot)
    }

    /// Looks at the configuration in force, as it is now.
    pub fn see_snapshot<T>(&self, see: impl FnOnce(&Snapshot) -> T) -> T {
        see(self.snapshot.borrow_mut().0.load())
    }

    /// A uniform random number.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    fn published(&self) -> Held<Snapshot> {
        let snapshot = self.snapshot();
        let is_live = |connector| snapshot.connectors.contains(&connector);
        self.pools.retain(is_live);
        self.named.borrow_mut().retain(|(connector, _), _| is_live(*connector));
        snapshot
    }

    /// An endpoint at an address that the client named; the same while it is remembered, so that its pool is found.
    pub fn named_endpoint(&self, cluster: &Cluster, address: EndpointAddr) -> Option<Arc<Endpoint>> {
        let mut named = self.named.borrow_mut();
        if named.len() >= MAX_NAMED {
            // Their pools go with them; those in use live on with their requests.
            named.drain().for_each(|(_, endpoint)| endpoint.state.leave());
            self.pools.retain(|_| true);
        }
        let key = (cluster.connector.id, address);
        if let Some(endpoint) = named.get(&key) {
            return Some(endpoint.clone());
        }
        let spec = EndpointSpec {
            address: key.1.clone(),
            hostname: "".into(),
            weight: 1,
            workload: self.nobody.clone(),
            locality: "".into(),
            priority: 0,
            mtls: false,
        };
        let set = EndpointSet::build(&ir::LoadBalancer::Random.into(), vec![spec], None, Instant::now());
        let endpoint = set.endpoints().first()?.clone();
        named.insert(key, endpoint.clone());
        Some(endpoint)
    }
}
