//! Least request: of two endpoints by chance, the one with fewer active requests.
//!
//! With equal weights the two are always different ones, which is never worse than Envoy's draw with replacement.
//!
//! With unequal weights Envoy keeps a schedule that it changes at each pick, with `weight / (active + 1)` as the weight; that
//! needs a lock or a schedule for each worker. Here the two are drawn in proportion to their weights, and the one with fewer
//! active requests *for its weight* wins, the first drawn on a tie. Without load the shares are exactly the weights, as
//! Envoy's are; under load both move traffic away from endpoints that are busy for their weight. It costs the same for any
//! number of endpoints, and no worker waits for another.
//!
//! An endpoint that was tried before, or is being probed, loses to one that was not: a broken endpoint that fails at once looks idle, and would
//! else win every time.

use super::alias::AliasTable;
use crate::{Endpoint, PickContext};
use std::sync::Arc;

/// By what two endpoints are compared.
pub(crate) enum Load {
    /// Active requests.
    Requests,
    /// Active requests, and one more, times these: what each of them takes.
    Waits(f64, f64),
}

/// Power of two choices over active requests.
#[derive(Debug)]
pub(crate) struct LeastRequest {
    /// `None`: all weights are equal.
    weighted: Option<(AliasTable, Vec<u32>)>,
}

impl LeastRequest {
    pub fn new(weights: &[u32]) -> Self {
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        LeastRequest { weighted: (!equal).then(|| (AliasTable::new(weights), weights.to_vec())) }
    }

    pub fn choose(&self, endpoints: &[Arc<Endpoint>], probing: bool, context: &mut PickContext<'_>) -> usize {
        self.choose_by(endpoints, probing, context, |_, _| Load::Requests)
    }

    /// Chooses by what `load` says of two.
    pub fn choose_by(
        &self,
        endpoints: &[Arc<Endpoint>],
        probing: bool,
        context: &mut PickContext<'_>,
        load: impl Fn(&Endpoint, &Endpoint) -> Load,
    ) -> usize {
        let (first, second) = match &self.weighted {
            Some((table, _)) => (table.sample((context.random)()), table.sample((context.random)())),
            None => two_of(endpoints.len(), (context.random)()),
        };
        let (a, b) = (&*endpoints[first], &*endpoints[second]);
        let avoids = |endpoint| context.was_tried(endpoint) || probing && endpoint.state.is_busy_with_probe();
        let prefer_second = match (avoids(a), avoids(b)) {
            (false, true) => false,
            (true, false) => true,
            _ => match load(b, a) {
                Load::Requests => self.is_less_loaded((second, b), (first, a)),
                Load::Waits(of_b, of_a) => self.waits_less((second, b, of_b), (first, a, of_a)),
            },
        };
        if prefer_second { second } else { first }
    }

    /// Whether what is under way at `a`, and one more, takes less time for its weight than at `b`.
    fn waits_less(&self, a: (usize, &Endpoint, f64), b: (usize, &Endpoint, f64)) -> bool {
        let weight = |at: usize| self.weighted.as_ref().map_or(1.0, |(_, weights)| f64::from(weights[at]));
        let wait = |(_, endpoint, each): (usize, &Endpoint, f64)| {
            (f64::from(endpoint.state.active_requests()) + 1.0) * each
        };
        wait(a) * weight(b.0) < wait(b) * weight(a.0)
    }

    /// Whether `a` has fewer active requests for its weight than `b`.
    fn is_less_loaded(&self, a: (usize, &Endpoint), b: (usize, &Endpoint)) -> bool {
        let load = |(_, endpoint): (usize, &Endpoint)| u64::from(endpoint.state.active_requests());
        match &self.weighted {
            None => load(a) < load(b),
            Some((_, weights)) => load(a) * u64::from(weights[b.0]) < load(b) * u64::from(weights[a.0]),
        }
    }
}

/// Two different numbers below `count`, which is at least 2, each pair equally likely.
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let scale = |random: u64, below: usize| ((random * below as u64) >> 32) as usize;
    let first = scale(random >> 32, count);
    let second = scale(random & u64::from(u32::MAX), count - 1);
    (first, if second >= first { second + 1 } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActiveRequest, set::tests::*};
    use proptest::prelude::*;
    use sidle_model::ir::LoadBalancer;

    proptest! {
        #[test]
        fn the_two_differ_and_are_in_range(count in 2..10_000usize, random: u64) {
            let (first, second) = two_of(count, random);
            prop_assert!(first < count && second < count && first != second);
        }
    }

    #[test]
    fn the_busier_of_two_is_never_chosen() {
        let set = set(LoadBalancer::LeastRequest, &[1, 1]);
        let _busy = ActiveRequest::start(set.endpoints()[0].clone());
        assert_eq!(picks(&set, 1000), [0, 1000]);
    }

    #[test]
    fn without_load_the_shares_are_the_weights() {
        let shares = picks(&set(LoadBalancer::LeastRequest, &[1, 3, 6]), 100_000);
        for (count, expected) in shares.iter().zip([10_000u32, 30_000, 60_000]) {
            assert!(count.abs_diff(expected) < 800, "{shares:?}");
        }
    }

    /// Requests that all take equally long pile up in proportion to the weights.
    #[test]
    fn under_load_the_active_requests_follow_the_weights() {
        for (weights, tolerance) in [([1, 1, 1, 1], 2), ([1, 2, 3, 4], 12)] {
            let set = set(LoadBalancer::LeastRequest, &weights);
            let mut random = source(7);
            let mut held = Vec::new();
            for _ in 0..1000 {
                let picked = set.pick(&mut context(&mut random)).expect("not empty");
                held.push(ActiveRequest::start(picked.clone()));
            }
            let total: u32 = weights.iter().sum();
            for endpoint in set.endpoints() {
                let (active, expected) = (endpoint.state.active_requests(), 1000 * endpoint.weight / total);
                assert!(
                    active.abs_diff(expected) <= tolerance,
                    "{active} at weight {} of {weights:?}",
                    endpoint.weight
                );
            }
        }
    }

    #[test]
    fn a_tried_endpoint_that_looks_idle_does_not_win() {
        let set = set(LoadBalancer::LeastRequest, &[1, 1]);
        let _busy = ActiveRequest::start(set.endpoints()[1].clone());
        let tried = [set.endpoints()[0].clone()];
        let mut random = source(1);
        for _ in 0..100 {
            let mut asked = PickContext { tried: &tried, ..context(&mut random) };
            assert!(Arc::ptr_eq(set.pick(&mut asked).expect("not empty"), &set.endpoints()[1]));
        }
    }
}
