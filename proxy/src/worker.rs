//! A worker: one thread, one runtime, its own sockets, connections and pools.
//!
//! Invariants: nothing on a request's way takes a lock or wakes another thread; what workers share is atomic or swapped.
//! Not here: binding sockets (`listener::bind`), deciding what to bind (`app`).

mod activity;
mod held;

pub use activity::{Activity, UnderWay};
pub use held::{Held, Holds};

use crate::{
    codec::patience,
    config::{HttpPlan, Snapshot},
    exchange::Downstream,
    listener::{self, BoundSocket, Crew, Drain, Listening, Sources},
    overload::Overload,
    reserve::Reserve,
    upstream::{Cluster, dns::Dns, pool::Pools},
};
use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};
use sidle_balance::{Endpoint, EndpointAddr, EndpointSet, EndpointSpec};
use sidle_identity::{Peer, SpiffeId};
use sidle_model::ir;
use sidle_telemetry::{
    ConnectionSecurityPolicy, Reporter, RequestLabels, RequestMetrics, RequestProtocol, RequestRecord,
    TcpLabels, TcpMetrics, Telemetry, WorkloadLabels,
};
use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    sync::Arc,
    time::Instant,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
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
    /// Tasks for connections of clients.
    pub crew: Crew,
    /// Wakes connections that wait for nothing else when memory has become short.
    pub shed: Notify,
    /// Wakes them when another configuration is in force.
    pub changed: Notify,
    /// What it has under way.
    pub under_way: Arc<UnderWay>,
    snapshot: RefCell<(Followed, Held<Snapshot>)>,
    /// Holds on what is of that snapshot.
    plans: Holds<HttpPlan>,
    clusters: Holds<Cluster>,
    endpoints: Holds<Endpoint>,
    random: RefCell<fastrand::Rng>,
    metrics: RefCell<HashMap<MetricsKey, Arc<RequestMetrics>>>,
    tcp_metrics: RefCell<HashMap<MetricsKey, Arc<TcpMetrics>>>,
    metrics_generation: Cell<u64>,
    ending: Cell<bool>,
    /// How often connections were told by `shed` or `changed`.
    told: Cell<u64>,
    /// Who answers at an endpoint that clients named.
    nobody: Arc<ir::Workload>,
    /// Endpoints that clients named, for as long as they are used.
    named: RefCell<HashMap<(u64, EndpointAddr), Arc<Endpoint>>>,
}

/// The configuration in force, looked at without a lock or a count.
type Followed = arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// Addresses of a cluster and a workload that the snapshot of `metrics_generation` keeps alive; whether gRPC; whether the other
/// side showed a certificate, and who it proved to be.
type MetricsKey = (usize, usize, bool, bool, Option<SpiffeId>);

/// A socket that is accepted on, while it is, and what ends that.
type Served = (Rc<Drain>, Weak<Listening>);

/// Handles of metrics that a worker keeps at hand: clients with identities of their own are many.
const MAX_METRICS: usize = 4096;

/// Who the two sides of a hop said and proved to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sides<'a> {
    /// We.
    pub own: Option<&'a SpiffeId>,
    /// The other side, if it showed a certificate.
    pub other: Option<&'a Peer>,
}

impl<'a> Sides<'a> {
    /// Towards the client for what comes in, towards the endpoint for what goes out.
    pub fn of(direction: ir::Direction, downstream: &'a Downstream, upstream: Option<&'a Peer>) -> Self {
        match direction {
            ir::Direction::Inbound => {
                Sides { own: downstream.own.as_ref(), other: downstream.identity.as_deref() }
            }
            ir::Direction::Outbound | ir::Direction::Gateway => Sides { own: None, other: upstream },
        }
    }
}

/// Destinations that clients named and a worker remembers.
const MAX_NAMED: usize = 1024;

impl Worker {
    /// A worker without sockets.
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        let snapshot = Held::new(shared.snapshot.load_full());
        Rc::new(Worker {
            pools: Pools::new(),
            crew: Crew::default(),
            shed: Notify::new(),
            changed: Notify::new(),
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
            told: Cell::new(0),
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
                    let stopping = std::mem::take(&mut accepting);
                    tokio::task::spawn_local(async {
                        stopping.join_all().await;
                        let _ = reply.send(());
                    });
                }
                Command::Share(reply) => {
                    let sockets = served.values().flatten().filter_map(|(_, socket)| socket.upgrade());
                    // Whoever asked may have gone.
                    let _ = reply.send(sockets.map(|socket| socket.share()).collect());
                }
                Command::Shed => self.tell(&self.shed),
                // Whoever asked may have gone.
                Command::Answer(reply) => drop(reply.send(())),
                Command::Published => self.published(),
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

    fn published(&self) {
        let snapshot = self.snapshot();
        let live: foldhash::HashSet<u64> =
            snapshot.clusters.values().map(|(_, cluster)| cluster.connector.id).collect();
        self.pools.retain(|connector| live.contains(&connector));
        self.named.borrow_mut().retain(|(connector, _), _| live.contains(connector));
        self.tell(&self.changed);
    }

    fn tell(&self, what: &Notify) {
        self.told.set(self.told.get() + 1);
        what.notify_waiters();
    }

    /// How often connections were told of anything: who has seen so much has missed nothing.
    pub fn told(&self) -> u64 {
        self.told.get()
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

    /// Counts a request of `direction` to an endpoint of a cluster, or to none.
    pub fn count_request(
        &self,
        snapshot: &Snapshot,
        direction: ir::Direction,
        destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>,
        grpc: bool,
        sides: Sides<'_>,
        request: &RequestRecord,
    ) {
        self.follow(snapshot);
        let key = key(direction, destination, grpc, sides);
        if let Some(metrics) = self.metrics.borrow().get(&key) {
            return metrics.record(request);
        }
        let (source, target, reporter) =
            ends(snapshot, direction, destination.and_then(|(_, endpoint)| endpoint), sides);
        let metrics = self.shared.telemetry.request_metrics(&RequestLabels {
            reporter,
            source,
            destination: target,
            service: service(destination),
            request_protocol: if grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
            connection_security_policy: security(direction, sides),
        });
        metrics.record(request);
        self.metrics.borrow_mut().insert(key, metrics);
    }

    /// The metrics of TCP connections, of `direction` to an endpoint of a cluster, or to none.
    pub fn tcp_metrics(
        &self,
        snapshot: &Snapshot,
        direction: ir::Direction,
        destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>,
        sides: Sides<'_>,
    ) -> Arc<TcpMetrics> {
        self.follow(snapshot);
        let key = key(direction, destination, false, sides);
        if let Some(metrics) = self.tcp_metrics.borrow().get(&key) {
            return metrics.clone();
        }
        let (source, target, reporter) =
            ends(snapshot, direction, destination.and_then(|(_, endpoint)| endpoint), sides);
        let metrics = self.shared.telemetry.tcp_metrics(&TcpLabels {
            reporter,
            source,
            destination: target,
            service: service(destination),
            connection_security_policy: security(direction, sides),
        });
        self.tcp_metrics.borrow_mut().insert(key, metrics.clone());
        metrics
    }

    /// Forgets handles of another snapshot: their addresses may come to mean something else.
    fn follow(&self, snapshot: &Snapshot) {
        let is_new = self.metrics_generation.replace(snapshot.generation) != snapshot.generation;
        if is_new || self.metrics.borrow().len() + self.tcp_metrics.borrow().len() >= MAX_METRICS {
            self.metrics.borrow_mut().clear();
            self.tcp_metrics.borrow_mut().clear();
        }
    }
}

fn key(
    direction: ir::Direction,
    destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>,
    grpc: bool,
    sides: Sides<'_>,
) -> MetricsKey {
    let cluster = destination.map_or(direction as usize, |(cluster, _)| Arc::as_ptr(cluster) as usize);
    let workload =
        destination.and_then(|(_, e)| e).map_or(0, |endpoint| Arc::as_ptr(&endpoint.workload) as usize);
    let id = sides.other.and_then(|peer| peer.spiffe_id.clone());
    (cluster, workload, grpc, sides.other.is_some(), id)
}

fn service(destination: Option<(&Arc<Cluster>, Option<&Arc<Endpoint>>)>) -> ir::ServiceIdentity {
    destination.map(|(cluster, _)| cluster.config.service.clone()).unwrap_or_default()
}

fn ends(
    snapshot: &Snapshot,
    direction: ir::Direction,
    endpoint: Option<&Arc<Endpoint>>,
    sides: Sides<'_>,
) -> (Arc<WorkloadLabels>, Arc<WorkloadLabels>, Reporter) {
    let id = sides.other.and_then(|peer| peer.spiffe_id.as_ref());
    let seen_as = |labels: WorkloadLabels, id: Option<&SpiffeId>| {
        Arc::new(labels.with_principal(id.map_or("", SpiffeId::as_str)))
    };
    match direction {
        ir::Direction::Outbound | ir::Direction::Gateway => {
            let target =
                endpoint.map_or_else(WorkloadLabels::unknown, |e| WorkloadLabels::of_workload(&e.workload));
            // Who is believed for a SPIFFE id asked for ours.
            let own = id.and_then(|_| snapshot.workload.current());
            let source = match &own {
                Some(own) => seen_as((*snapshot.node).clone(), Some(&own.id)),
                None => snapshot.node.clone(),
            };
            (source, seen_as(target, id), Reporter::Source)
        }
        ir::Direction::Inbound => {
            let target = match sides.own {
                Some(own) => seen_as((*snapshot.node).clone(), Some(own)),
                None => snapshot.node.clone(),
            };
            (seen_as(WorkloadLabels::unknown(), id), target, Reporter::Destination)
        }
    }
}

fn security(direction: ir::Direction, sides: Sides<'_>) -> ConnectionSecurityPolicy {
    match direction {
        // The client's side cannot know what the server's proxy made of the connection.
        ir::Direction::Outbound | ir::Direction::Gateway => ConnectionSecurityPolicy::Unknown,
        ir::Direction::Inbound if sides.other.is_some() => ConnectionSecurityPolicy::MutualTls,
        ir::Direction::Inbound => ConnectionSecurityPolicy::None,
    }
}
