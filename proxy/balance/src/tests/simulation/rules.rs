//! What must hold, whatever happens.

use super::{CALM, world::World};
use crate::{outlier::tests::simulation::index, *};
use foldhash::{HashMap, HashMapExt};
use sidle_model::ir::LoadBalancer;
use std::{
    fmt,
    ops::AddAssign,
    time::{Duration, Instant},
};

/// What happened, so that it can be seen that something did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    requests: u64,
    failed: u64,
    tries: u64,
    ejections: u64,
    refused_retries: u64,
    refused_tokens: u64,
    slowest: Duration,
}

impl Totals {
    pub fn proves_something(&self) -> bool {
        let Totals { failed, ejections, refused_retries, refused_tokens, .. } = *self;
        [failed, ejections, refused_retries, refused_tokens].iter().all(|count| *count > 0)
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.tries += other.tries;
        self.ejections += other.ejections;
        self.refused_retries += other.refused_retries;
        self.refused_tokens += other.refused_tokens;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} of them failed, {} tries, {} ejections, {} retries without a permit, {} requests without a \
             token; the slowest recovery took {:.1?}",
            self.requests,
            self.failed,
            self.tries,
            self.ejections,
            self.refused_retries,
            self.refused_tokens,
            self.slowest
        )
    }
}

pub(super) struct Rules {
    pub totals: Totals,
    /// Who is out, since when, and until when at the latest.
    away: HashMap<EndpointAddr, (Instant, Instant)>,
    last_return: Instant,
    faults_end: Instant,
    /// Tries that went well, retries that did not.
    well: u64,
    lost: u64,
    tokens: u64,
    calm: bool,
    picks: Vec<u32>,
}

impl Rules {
    pub fn new(world: &World) -> Self {
        Rules {
            totals: Totals::default(),
            away: HashMap::new(),
            last_return: world.began,
            faults_end: world.began + world.faults_end,
            well: 0,
            lost: 0,
            tokens: 0,
            calm: false,
            picks: vec![0; world.hosts.len()],
        }
    }

    /// When everybody who has been ejected so far is back at the latest.
    pub fn last_return(&self) -> Instant {
        self.last_return
    }

    pub fn token(&mut self, world: &World, allowed: bool, now: Instant) {
        if !allowed {
            self.totals.refused_tokens += 1;
            return;
        }
        self.tokens += 1;
        let fills = (now - world.began).as_nanos() / world.bucket.fill_interval.as_nanos();
        let most =
            u64::from(world.bucket.max_tokens) + fills as u64 * u64::from(world.bucket.tokens_per_fill);
        assert!(self.tokens <= most, "{} tokens of {most}", self.tokens);
    }

    pub fn admitted(&mut self, world: &World) {
        self.totals.requests += 1;
        if let Some(counts) = world.limiter.as_ref().map(|limiter| limiter.counts()) {
            assert!(counts.under_way <= counts.limit, "{counts:?}");
        }
    }

    pub fn picked(&mut self, world: &World, endpoint: &Endpoint, is_hedge: bool) {
        self.totals.tries += 1;
        let trusts = world.settings.min_health_percent == 0;
        assert!(!trusts || !endpoint.state.is_ejected(), "{} is out", endpoint.address);
        if self.calm && !is_hedge {
            self.picks[index(endpoint)] += 1;
        }
    }

    pub fn retried(&mut self, world: &World, granted: bool, had: bool, limit: u32) {
        if !granted {
            self.totals.refused_retries += 1;
            return;
        }
        let active = world.usage.count(Resource::Retry);
        assert!(had || active <= limit, "{active} retries, {limit} may be");
    }

    /// A try that was paid for was of no use.
    pub fn lost(&mut self) {
        self.lost += 1;
    }

    pub fn won(&mut self) {
        self.well += 1;
    }

    pub fn answered(&mut self, well: bool, began: Instant, recovered: Instant) {
        if !well {
            self.totals.failed += 1;
            assert!(began <= recovered, "all has been well since {:?}", began - recovered);
        }
    }

    pub fn changed(&mut self, world: &World, changes: &[Change], now: Instant, settled: Instant) {
        for change in changes {
            match change {
                Change::Ejected { endpoint, term, .. } => {
                    self.totals.ejections += 1;
                    assert!(world.has_failed(endpoint, now), "{} never failed", endpoint.address);
                    assert!(now <= settled, "{} is ejected though all is well", endpoint.address);
                    let until = now + *term + world.detector.interval();
                    self.last_return = self.last_return.max(until);
                    let before = self.away.insert(endpoint.address.clone(), (now, until));
                    assert!(before.is_none(), "{} is out twice", endpoint.address);
                }
                Change::Overflow { .. } => {}
                Change::Returned { endpoint, .. } => {
                    self.away.remove(&endpoint.address);
                    if now > self.faults_end {
                        self.totals.slowest = self.totals.slowest.max(now - self.faults_end);
                    }
                }
            }
        }
    }

    pub fn reloaded(&mut self, world: &World) {
        let here = |address: &EndpointAddr| world.set.endpoints().iter().any(|e| e.address == *address);
        self.away.retain(|address, _| here(address));
    }

    /// At any time.
    pub fn bounds(&self, world: &World, now: Instant) {
        let (all, ejected) = (world.set.endpoints().len(), world.set.ejected());
        let share = (all as f64 * f64::from(world.settings.max_ejection_percent) / 100.0).floor() as usize;
        let most = if all < 2 { 0 } else { share.clamp(1, all - 1) };
        assert!(ejected <= most, "{ejected} of {all} are out, {most} may be");
        assert_eq!(self.away.len(), ejected);
        for (address, (since, until)) in &self.away {
            assert!(now <= *until, "{address} is out for {:?}", now - *since);
        }
        if world.limits.earned_retries {
            let most = u64::from(Earned::MOST) + self.well / 5;
            assert!(self.lost <= most, "{} retries were of no use, {most} had been earned", self.lost);
        }
    }

    pub fn begin_calm(&mut self) {
        self.calm = true;
    }

    pub fn at_the_end(&self, world: &World) {
        for resource in [Resource::Request, Resource::Retry] {
            assert_eq!(world.usage.count(resource), 0, "{resource:?}");
        }
        let under_way = world.limiter.as_ref().map_or(0, |limiter| limiter.counts().under_way);
        assert_eq!((under_way, world.set.ejected(), self.away.len()), (0, 0, 0));
        assert!(world.set.endpoints().iter().all(|endpoint| endpoint.state.active_requests() == 0));
        self.shares_are_fair(world);
    }

    /// The nearest take all; there, equal hosts get equal shares, and with a balancer that looks at latencies the quicker ones more.
    fn shares_are_fair(&self, world: &World) {
        let first = world.set.endpoints().iter().map(|endpoint| endpoint.priority).min();
        let mut near = Vec::new();
        for endpoint in world.set.endpoints() {
            let picks = self.picks[index(endpoint)];
            if Some(endpoint.priority) == first {
                near.push((world.hosts[index(endpoint)].latency, f64::from(picks)));
            } else {
                assert_eq!(picks, 0, "{} is for when others fail", endpoint.address);
            }
        }
        let total: f64 = near.iter().map(|(_, picks)| picks).sum();
        let share = total / near.len() as f64;
        if share < 20.0 {
            return;
        }
        let chance = 6.0 * share.sqrt() + 3.0;
        for &(latency, picks) in &near {
            match world.set.policy().load_balancer {
                LoadBalancer::RoundRobin if world.hedge.is_some() => {} // hedges take turns, too
                LoadBalancer::RoundRobin => {
                    assert!((picks - share).abs() <= 2.0, "{near:?}");
                }
                LoadBalancer::LeastRequest => {
                    assert!((picks - share).abs() <= chance + 0.5 * share, "{near:?}");
                }
                LoadBalancer::PeakEwma { .. } => {
                    let slower = |other: &&(Duration, f64)| other.0 >= latency * 3 / 2;
                    for (_, other) in near.iter().filter(slower) {
                        assert!(picks + chance >= *other, "{near:?} within {CALM:?}");
                    }
                }
                _ => assert!((picks - share).abs() <= chance, "{near:?}"),
            }
        }
    }
}
