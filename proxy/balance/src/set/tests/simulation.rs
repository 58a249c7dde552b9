//! A set in a bottle: endpoints of several priorities and localities that fail, are ejected, come back, join and leave; from one seed. What
//! each endpoint gets is held against shares that are worked out by hand.
//!
//! `SIM_SEEDS=10000 cargo test -p sidle-balance --release simulation` runs as many (40 unless said); `SIM_SEED=17` runs that one alone.

use super::*;
use crate::ActiveCheck;

const WINDOW: Duration = Duration::from_secs(60);
const PICKS: u32 = 1500;
const PLACES: [&str; 3] = ["eu/a", "eu/b", "us/a"];

struct World<R> {
    random: R,
    policy: SetPolicy,
    /// Port, priority, place, weight.
    members: Vec<(u16, u32, usize, u32)>,
    set: EndpointSet,
    /// When each port joined, or passed its checks again.
    since: HashMap<u16, Instant>,
    now: Instant,
}

fn world(seed: u64) -> World<impl FnMut() -> u64> {
    let mut random = source(seed);
    let mut up_to = |most: u64| random() % most;
    let levels = 1 + up_to(3);
    let members: Vec<_> = (0..1 + up_to(12) as u16)
        .map(|port| (port, up_to(levels) as u32, up_to(3) as usize, 1 + up_to(4) as u32))
        .collect();
    let weighted = up_to(2) == 0;
    let policy = SetPolicy {
        load_balancer: LoadBalancer::Random,
        locality_weights: PLACES
            .iter()
            .map(|place| (Arc::from(*place), 1 + up_to(9) as u32))
            .filter(|_| weighted)
            .collect(),
        // Random does not have one otherwise: with it shares are exact, and the formula is the same.
        slow_start: (up_to(2) == 0).then_some(ir::SlowStart {
            window: WINDOW,
            minimum_percent: 20.0,
            aggression: 1.0,
        }),
        panic_threshold: Some([0, 50, 100][up_to(3) as usize]),
        is_checked: true,
    };
    let now = Instant::now();
    let specs = members.iter().map(member).collect();
    let set = EndpointSet::build(&policy, specs, None, now);
    let since = members.iter().map(|(port, ..)| (*port, now)).collect();
    let mut world = World { random, policy, members, set, since, now };
    for at in 0..world.members.len() {
        world.check(at, ActiveCheck::Passed);
    }
    world.review();
    world
}

fn member(&(port, priority, place, weight): &(u16, u32, usize, u32)) -> EndpointSpec {
    EndpointSpec { priority, locality: PLACES[place].into(), ..spec(port, weight) }
}

fn port(endpoint: &Endpoint) -> u16 {
    endpoint.address.to_string().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

impl<R: FnMut() -> u64> World<R> {
    fn step(&mut self) {
        self.now += Duration::from_millis((self.random)() % 20_000);
        let at = (self.random)() as usize % self.members.len();
        match (self.random)() % 6 {
            0 | 1 => self.check(at, ActiveCheck::Failed),
            2 => self.check(at, ActiveCheck::Passed),
            3 => {
                let health = &self.set.endpoints()[at].state.health;
                health.set_ejected(!health.is_ejected());
            }
            4 if self.members.len() > 1 => drop(self.members.remove(at)),
            _ => {
                let port = self.members.iter().map(|(port, ..)| *port).max().unwrap_or_default() + 1;
                let priority = (self.random)() % 3;
                self.members.push((port, priority as u32, at % 3, 1));
                self.since.insert(port, self.now);
            }
        }
        if self.members.len() != self.set.endpoints().len() {
            let specs = self.members.iter().map(member).collect();
            self.set = EndpointSet::build(&self.policy, specs, Some(&self.set), self.now);
        }
        self.review();
    }

    fn check(&mut self, at: usize, says: ActiveCheck) {
        let endpoint = &self.set.endpoints()[at];
        if says == ActiveCheck::Passed && endpoint.state.active_check() != says {
            self.since.insert(port(endpoint), self.now);
        }
        endpoint.state.set_active_check(says, self.now);
    }

    fn review(&mut self) {
        if let Some(set) = self.set.reviewed(self.now) {
            self.set = set;
        }
        assert!(self.set.reviewed(self.now).is_none(), "nothing more to do");
    }

    /// Whether the endpoint is picked from while nobody panics.
    fn fits(&self, endpoint: &Endpoint) -> bool {
        let passes = endpoint.state.active_check() == ActiveCheck::Passed;
        let well = |e: &Endpoint| !e.state.is_ejected() && e.state.active_check() == ActiveCheck::Passed;
        match self.set.endpoints().iter().any(|e| well(e)) {
            true => well(endpoint),
            false => passes || endpoint.state.active_check() == ActiveCheck::Pending,
        }
    }

    /// What each endpoint is to get of all picks.
    fn shares(&self) -> Vec<f64> {
        let all = self.set.endpoints();
        let mut priorities: Vec<_> = all.iter().map(|endpoint| endpoint.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let of = |priority: u32| all.iter().filter(move |endpoint| endpoint.priority == priority);
        let fit = |priority| of(priority).filter(|endpoint| self.fits(endpoint)).count();
        let health: Vec<_> = priorities.iter().map(|&p| (140 * fit(p) / of(p).count()).min(100)).collect();
        let total = health.iter().sum::<usize>().min(100);
        let threshold = usize::from(self.policy.panic_threshold.unwrap_or_default());
        let panics: Vec<_> =
            (priorities.iter()).map(|&p| total < 100 && 100 * fit(p) < threshold * of(p).count()).collect();
        let mut loads = vec![0; priorities.len()];
        if panics.iter().all(|panics| *panics) {
            for (load, &p) in loads.iter_mut().zip(&priorities) {
                *load = 100 * of(p).count() / all.len();
            }
            loads[0] += 100 - loads.iter().sum::<usize>();
        } else {
            let mut left = 100;
            for (load, health) in loads.iter_mut().zip(&health) {
                *load = (health * 100).checked_div(total).unwrap_or(0).min(left);
                left -= *load;
            }
            let first = health.iter().position(|health| *health > 0).unwrap_or_default();
            loads[first] += left;
        }
        let share = |endpoint: &Arc<Endpoint>| {
            let level = priorities.iter().position(|p| *p == endpoint.priority).expect("one of them");
            let used = |e: &&Arc<Endpoint>| panics[level] || self.fits(e);
            let here = |e: &&Arc<Endpoint>| {
                self.policy.locality_weights.is_empty() || e.locality == endpoint.locality
            };
            if !used(&endpoint) {
                return 0.0;
            }
            let place = |locality: &Arc<str>| {
                let there = || of(endpoint.priority).filter(|e| e.locality == *locality);
                let well = if panics[level] {
                    100
                } else {
                    (140 * there().filter(used).count() / there().count()).min(100)
                };
                f64::from(self.policy.locality_weights.get(locality).copied().unwrap_or(1)) * well as f64
            };
            let localities: HashSet<_> = of(endpoint.priority).map(|e| e.locality.clone()).collect();
            let of_place = match self.policy.locality_weights.is_empty() {
                true => 1.0,
                false => place(&endpoint.locality) / localities.iter().map(place).sum::<f64>(),
            };
            let weights: f64 = of(endpoint.priority).filter(here).filter(used).map(|e| self.weight(e)).sum();
            loads[level] as f64 / 100.0 * of_place * self.weight(endpoint) / weights
        };
        all.iter().map(share).collect()
    }

    fn weight(&self, endpoint: &Endpoint) -> f64 {
        let weight = f64::from(endpoint.weight);
        if self.policy.slow_start.is_none() {
            return weight;
        }
        let age = (self.now - self.since[&port(endpoint)]).as_secs_f64().max(1.0);
        weight * (age / WINDOW.as_secs_f64()).clamp(0.2, 1.0)
    }

    fn picks_are_as_they_should_be(&mut self) {
        let shares = self.shares();
        let mut counts = vec![0u32; shares.len()];
        for _ in 0..PICKS {
            let Some(picked) = self.set.pick(&mut context(&mut self.random)) else { continue };
            counts[self.set.endpoints().iter().position(|e| Arc::ptr_eq(e, picked)).expect("of the set")] +=
                1;
        }
        for ((count, share), endpoint) in counts.iter().zip(&shares).zip(self.set.endpoints()) {
            let expected = share * f64::from(PICKS);
            let allowed = if *share == 0.0 { 0.0 } else { 6.0 * expected.sqrt() + 3.0 };
            assert!(
                (f64::from(*count) - expected).abs() <= allowed,
                "{} got {count} and not {expected}: {shares:?} {:?}",
                endpoint.address,
                self.policy
            );
        }
    }
}

#[test]
fn no_simulation_gives_anybody_another_share() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(40),
    };
    for seed in seeds {
        let mut world = world(seed);
        let _seed = crate::outlier::tests::simulation::Seed(seed);
        for _ in 0..25 {
            world.step();
            world.picks_are_as_they_should_be();
        }
        for at in 0..world.members.len() {
            world.set.endpoints()[at].state.health.set_ejected(false);
            world.check(at, ActiveCheck::Passed);
        }
        world.now += 2 * WINDOW;
        world.review();
        world.picks_are_as_they_should_be();
        let first = world.set.endpoints().iter().map(|endpoint| endpoint.priority).min();
        for _ in 0..100 {
            let picked = world.set.pick(&mut context(&mut world.random)).expect("not empty");
            assert_eq!(Some(picked.priority), first, "all are well: the nearest take all");
        }
    }
}
