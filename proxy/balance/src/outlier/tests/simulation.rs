//! A cluster in a bottle: hosts that fail by a script, requests, sweeps, hosts that come and go, reloads; all of it from one seed.
//!
//! `SIM_SEEDS=10000 cargo test -p sidle-balance --release simulation` runs as many worlds (40 unless said); a world that breaks a
//! rule tells its seed, and `SIM_SEED=17` runs that one alone.

use super::*;
use crate::{
    EndpointAddr, EndpointSet, PickContext, SetPolicy,
    set::tests::{context, source, spec},
};
use foldhash::{HashMap, HashMapExt};
use sidle_model::ir::LoadBalancer;

/// How long a world lasts, and how long it is quiet at the end.
const LASTS: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_millis(50);

/// What a host does to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Status(u16),
    Failure,
    /// An error every so many requests.
    Sometimes(u64),
}

/// A host, and when it fails how.
struct Host {
    faults: Vec<(Duration, Duration, Fault)>,
}

impl Host {
    fn answer(&self, at: Duration, random: &mut impl FnMut() -> u64) -> Seen {
        match self.faults.iter().find(|(from, to, _)| (*from..*to).contains(&at)) {
            None => Seen::Status([200, 204, 404][(random() % 3) as usize]),
            Some((.., Fault::Status(status))) => Seen::Status(*status),
            Some((.., Fault::Failure)) => Seen::Failure,
            Some((.., Fault::Sometimes(every))) => {
                Seen::Status(if random().is_multiple_of(*every) { 503 } else { 200 })
            }
        }
    }
}

struct World<R> {
    random: R,
    settings: ir::OutlierDetection,
    detector: OutlierDetector,
    hosts: Vec<Host>,
    set: EndpointSet,
    began: Instant,
    now: Instant,
    /// Since when a host is out, and for how long at most.
    away: HashMap<EndpointAddr, (Instant, Duration)>,
    /// Picks since the set was last changed.
    picks: HashMap<EndpointAddr, u32>,
    /// Hosts that are picked from, as the rules have it.
    used: usize,
    ejections: u32,
}

fn world(seed: u64) -> World<impl FnMut() -> u64> {
    let mut random = source(seed);
    let mut up_to = |most: u64| random() % most + 1;
    let seconds = |number: u64| Duration::from_secs(number);
    let split = up_to(3) == 1;
    let settings = ir::OutlierDetection {
        consecutive_5xx: (up_to(4) > 1).then_some(up_to(8) as u32),
        consecutive_gateway_errors: (up_to(2) > 1).then_some(up_to(8) as u32),
        consecutive_local_origin_failures: split.then_some(up_to(6) as u32),
        split_external_local_origin_errors: split,
        interval: seconds(up_to(20)),
        base_ejection_time: seconds(up_to(60)),
        max_ejection_percent: [1, 10, 10, 33, 50, 80, 100][(up_to(7) - 1) as usize],
        min_health_percent: [0, 0, 30, 60][(up_to(4) - 1) as usize],
        error_codes: Vec::new(),
        success_rate: (up_to(4) == 1).then(|| ir::SuccessRate {
            minimum_hosts: up_to(8) as u32,
            request_volume: up_to(30) as u32,
            stdev_factor: 1000 + up_to(1500) as u32,
        }),
        latency: None,
        probes: if up_to(3) == 1 { up_to(4) as u32 } else { 0 },
        failure_percentage: (up_to(4) == 1).then(|| ir::FailurePercentage {
            threshold: up_to(100) as u8,
            minimum_hosts: up_to(8) as u32,
            request_volume: up_to(30) as u32,
        }),
    };
    let policy = match up_to(5) {
        1 => LoadBalancer::LeastRequest,
        2 => LoadBalancer::RoundRobin,
        3 => LoadBalancer::Random,
        4 => LoadBalancer::RingHash { minimum_ring_size: 256 },
        _ => LoadBalancer::Maglev { table_size: 251 },
    };
    let policy = SetPolicy { panic_threshold: Some(settings.min_health_percent), ..policy.into() };
    let count = if up_to(3) == 1 { up_to(4) } else { up_to(60) };
    let hosts: Vec<_> = (0..count).map(|_| host(&mut up_to)).collect();
    let specs = (0..hosts.len()).map(|host| spec(host as u16, 1)).collect();
    let now = Instant::now();
    World {
        detector: OutlierDetector::new(&settings),
        set: EndpointSet::build(&policy, specs, None, now),
        random,
        settings,
        hosts,
        began: now,
        now,
        away: HashMap::new(),
        picks: HashMap::new(),
        used: count as usize,
        ejections: 0,
    }
}

/// Half of the hosts never fail.
fn host(up_to: &mut impl FnMut(u64) -> u64) -> Host {
    let times = if up_to(2) == 1 { 0 } else { up_to(4) };
    let fault = |_| {
        let from = Duration::from_secs(up_to(500));
        let fault = match up_to(6) {
            1 => Fault::Failure,
            2 => Fault::Sometimes(up_to(4)),
            3 => Fault::Status(500),
            _ => Fault::Status([502, 503, 504][(up_to(3) - 1) as usize]),
        };
        (from, from + Duration::from_secs(up_to(100)), fault)
    };
    Host { faults: (0..times).map(fault).collect() }
}

impl<R: FnMut() -> u64> World<R> {
    fn run(&mut self) {
        let mut next_sweep = self.now + self.settings.interval;
        let mut suspected = false;
        while self.now < self.began + LASTS {
            self.now += STEP;
            suspected |= self.request();
            // The one who decides may be a little late.
            if suspected && !(self.random)().is_multiple_of(3) {
                suspected = false;
                let changes = self.detector.examine(self.set.endpoints(), self.now);
                self.follow(changes);
            }
            if self.now >= next_sweep {
                next_sweep = self.now + self.settings.interval;
                let changes = self.detector.sweep(self.set.endpoints(), self.now);
                self.follow(changes);
            }
            if (self.random)().is_multiple_of(2000) {
                self.reload();
            }
            self.nobody_is_forgotten();
        }
        // Faults end at 600 s. Nothing that was counted then can matter any more.
        let quiet = self.detector.longest() + self.settings.interval;
        for _ in 0..=quiet.as_secs() / self.settings.interval.as_secs() {
            self.now += self.settings.interval;
            let changes = self.detector.sweep(self.set.endpoints(), self.now);
            self.follow(changes);
        }
        assert_eq!(self.set.ejected(), 0, "all are well, and all are back");
    }

    /// A request to whoever is picked.
    fn request(&mut self) -> bool {
        let hash = Some((self.random)());
        let mut asked = PickContext { hash, ..context(&mut self.random) };
        let picked = self.set.pick(&mut asked).expect("somebody is always left").clone();
        assert!(!picked.state.is_ejected() || self.in_panic(), "{} is out", picked.address);
        *self.picks.entry(picked.address.clone()).or_default() += 1;
        let seen = self.hosts[index(&picked)].answer(self.now - self.began, &mut self.random);
        self.detector.record(&picked.state, seen)
    }

    /// Whether so few are well that all are used.
    fn in_panic(&self) -> bool {
        let (all, ejected) = (self.set.endpoints().len(), self.set.ejected());
        (all - ejected) * 100 < all * usize::from(self.settings.min_health_percent)
    }

    fn follow(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Ejected { endpoint, term, reason, .. } => {
                    assert!(!self.hosts[index(&endpoint)].faults.is_empty(), "it never failed");
                    let apart = self.settings.split_external_local_origin_errors;
                    assert!(apart || reason != Reason::ConsecutiveLocalOriginFailure);
                    self.ejections += 1;
                    let until = term + self.settings.interval + STEP;
                    assert!(self.away.insert(endpoint.address.clone(), (self.now, until)).is_none(), "twice");
                }
                Change::Overflow { .. } => {
                    // Ejections of the same round come first, so it is full at its end at the latest.
                    assert_eq!(self.set.ejected(), self.bound(), "there was room");
                }
                Change::Returned { endpoint, .. } => drop(self.away.remove(&endpoint.address)),
            }
        }
        assert!(self.set.ejected() <= self.bound(), "{} of {}", self.set.ejected(), self.bound());
        if let Some(set) = self.set.reviewed(self.now) {
            self.picks_were_fair();
            self.renew(set);
        }
    }

    fn renew(&mut self, set: EndpointSet) {
        self.set = set;
        let (all, ejected) = (self.set.endpoints().len(), self.set.ejected());
        self.used = if self.in_panic() || all == ejected { all } else { all - ejected };
    }

    /// As the documentation says it.
    fn bound(&self) -> usize {
        let all = self.set.endpoints().len();
        let share = (all as f64 * f64::from(self.settings.max_ejection_percent) / 100.0).floor() as usize;
        if all < 2 { 0 } else { share.clamp(1, all - 1) }
    }

    /// Hosts leave and come, or the settings change; what is known of the hosts stays.
    fn reload(&mut self) {
        self.picks_were_fair();
        let random = (self.random)();
        let mut specs: Vec<_> = (0..self.hosts.len() as u16).map(|host| spec(host, 1)).collect();
        if random.is_multiple_of(2) {
            let left = random >> 8;
            specs.retain(|spec| {
                index_of(&spec.address) == 0 || (left >> (index_of(&spec.address) % 50)) & 1 == 0
            });
        }
        if random.is_multiple_of(3) {
            self.settings.max_ejection_percent = (random >> 16) as u8 % 101;
            self.detector = OutlierDetector::new(&self.settings);
        }
        self.renew(EndpointSet::build(self.set.policy(), specs, Some(&self.set), self.now));
        let here: Vec<_> = self.set.endpoints().iter().map(|endpoint| endpoint.address.clone()).collect();
        self.away.retain(|address, _| here.contains(address));
        let changes = self.detector.examine(self.set.endpoints(), self.now);
        self.follow(changes);
    }

    fn nobody_is_forgotten(&self) {
        for (address, (since, most)) in &self.away {
            assert!(self.now - *since <= *most, "{address} is out for {:?}", self.now - *since);
        }
        assert_eq!(self.away.len(), self.set.ejected());
    }

    /// Equal hosts got equal shares while nothing changed: exactly in turn, else within six standard deviations.
    fn picks_were_fair(&mut self) {
        let picks = std::mem::take(&mut self.picks);
        let (total, used) = (picks.values().sum::<u32>(), self.used);
        if total < 20 * used as u32 {
            return;
        }
        let share = f64::from(total) / used as f64;
        let allowed = match self.set.policy().load_balancer {
            LoadBalancer::RoundRobin => 1.0,
            LoadBalancer::Random | LoadBalancer::LeastRequest | LoadBalancer::PeakEwma { .. } => {
                6.0 * share.sqrt() + 3.0
            }
            LoadBalancer::RingHash { .. } | LoadBalancer::Maglev { .. } => return,
        };
        for (address, &count) in &picks {
            let off = (f64::from(count) - share).abs();
            assert!(off <= allowed, "{address} had {count} of {total}, {used} hosts");
        }
        assert_eq!(picks.len(), used, "everybody had a turn");
    }
}

pub(crate) fn index(endpoint: &Endpoint) -> usize {
    index_of(&endpoint.address)
}

fn index_of(address: &EndpointAddr) -> usize {
    match address {
        EndpointAddr::Socket(address) => address.port().into(),
        EndpointAddr::Unix(_) => unreachable!("no host of a world is one"),
    }
}

/// Tells which world it was.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: SIM_SEED={}", self.0);
        }
    }
}

#[test]
fn no_world_breaks_a_rule() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(40),
    };
    let mut ejections = 0;
    for seed in seeds.clone() {
        let _seed = Seed(seed);
        let mut world = world(seed);
        world.run();
        ejections += world.ejections;
    }
    assert!(ejections > 0 || seeds.count() < 10, "worlds in which nobody is ever ejected prove nothing");
}
