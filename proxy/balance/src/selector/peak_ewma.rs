//! Peak EWMA: of two endpoints by chance, the one with the shorter wait, as its latencies of late and the requests under way there
//! let expect.
//!
//! An endpoint that nothing is known of yet, or no longer, is compared by its requests alone, as least request does: it gets its share, and is
//! soon known. One that was tried before, or is being probed, loses to one that was not.

use super::least_request::{LeastRequest, Load};
use crate::{Endpoint, PickContext};
use std::{sync::Arc, time::Duration};

/// Power of two choices over expected waits.
#[derive(Debug)]
pub(crate) struct PeakEwma {
    draw: LeastRequest,
    decay: Duration,
}

impl PeakEwma {
    pub fn new(weights: &[u32], decay: Duration) -> Self {
        PeakEwma { draw: LeastRequest::new(weights), decay }
    }

    pub fn choose(&self, endpoints: &[Arc<Endpoint>], probing: bool, context: &mut PickContext<'_>) -> usize {
        let now = (context.now)();
        let wait = |endpoint: &Endpoint| endpoint.state.latency.at(now, self.decay);
        self.draw.choose_by(endpoints, probing, context, |a, b| match (wait(a), wait(b)) {
            (Some(a), Some(b)) => Load::Waits(a, b),
            _ => Load::Requests,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{ActiveRequest, EndpointSet, PickContext, set::tests::*};
    use proptest::prelude::*;
    use sidle_model::ir::LoadBalancer;
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    const DECAY: Duration = Duration::from_secs(10);

    fn balancer() -> LoadBalancer {
        LoadBalancer::PeakEwma { decay: DECAY }
    }

    /// Picks at a time; the index.
    fn pick(set: &EndpointSet, random: &mut dyn FnMut() -> u64, now: Instant) -> usize {
        let clock = move || now;
        let mut context = PickContext { now: &clock, ..context(random) };
        let picked = set.pick(&mut context).expect("not empty");
        set.endpoints().iter().position(|endpoint| Arc::ptr_eq(endpoint, picked)).expect("of the set")
    }

    #[test]
    fn the_slower_of_two_gets_nothing_until_it_is_forgotten_or_the_other_is_busy() {
        let set = set(balancer(), &[1, 1]);
        let (now, mut random) = (Instant::now(), source(1));
        let [slow, quick] = [0, 1].map(|at| &set.endpoints()[at]);
        slow.state.latency.record(Duration::from_millis(100), now, DECAY);
        quick.state.latency.record(Duration::from_millis(10), now, DECAY);
        assert!((0..1_000).all(|_| pick(&set, &mut random, now) == 1));
        let busy: Vec<_> = (0..10).map(|_| ActiveRequest::start(quick.clone())).collect();
        assert!(
            (0..1_000).all(|_| pick(&set, &mut random, now) == 0),
            "eleven times 10 ms are more than 100 ms"
        );
        drop(busy);
        // The quick one answers on, and the slow one's peak fades.
        let later = now + DECAY * 3;
        quick.state.latency.record(Duration::from_millis(10), later, DECAY);
        assert!((0..1_000).all(|_| pick(&set, &mut random, later) == 0), "100 ms, 30 s ago, are 5 ms");
    }

    #[test]
    fn who_is_not_known_yet_is_compared_by_requests() {
        let set = set(balancer(), &[1, 1]);
        let (now, mut random) = (Instant::now(), source(1));
        set.endpoints()[0].state.latency.record(Duration::from_millis(1), now, DECAY);
        let picks = (0..1_000).filter(|_| pick(&set, &mut random, now) == 1).count();
        assert!((400..600).contains(&picks), "{picks}");
        let _busy = ActiveRequest::start(set.endpoints()[1].clone());
        assert!(
            (0..1_000).all(|_| pick(&set, &mut random, now) == 0),
            "it does not get all before it has answered"
        );
    }

    proptest! {
        /// Of two, the one with the shorter wait for its weight, whatever the numbers.
        #[test]
        fn the_shorter_wait_wins(
            millis in prop::array::uniform2(1..10_000_u64),
            active in prop::array::uniform2(0..50_usize),
            age in prop::array::uniform2(0..60_u64),
            seed: u64,
        ) {
            let set = set(balancer(), &[1, 1]);
            let began = Instant::now();
            let now = began + Duration::from_secs(60);
            let mut held = Vec::new();
            let wait: [f64; 2] = std::array::from_fn(|at| {
                let endpoint = &set.endpoints()[at];
                let then = now - Duration::from_secs(age[at]);
                endpoint.state.latency.record(Duration::from_millis(millis[at]), then, DECAY);
                held.extend((0..active[at]).map(|_| ActiveRequest::start(endpoint.clone())));
                millis[at] as f64 * (-(age[at] as f64) / 10.0).exp() * (active[at] + 1) as f64
            });
            let mut random = source(seed);
            let picked = pick(&set, &mut random, now);
            prop_assert!(wait[picked] <= wait[1 - picked] * 1.001, "{wait:?}: {picked}");
        }

        /// Equal endpoints get equal shares.
        #[test]
        fn those_that_are_as_quick_share(seed: u64, millis in 1..1_000_u64) {
            let set = set(balancer(), &[1; 5]);
            let (now, mut random) = (Instant::now(), source(seed));
            set.endpoints().iter().for_each(|e| e.state.latency.record(Duration::from_millis(millis), now, DECAY));
            let mut counts = [0_u32; 5];
            (0..5_000).for_each(|_| counts[pick(&set, &mut random, now)] += 1);
            prop_assert!(counts.iter().all(|count| count.abs_diff(1_000) < 200), "{counts:?}");
        }
    }
}
