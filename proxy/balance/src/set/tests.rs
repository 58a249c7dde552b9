mod simulation;
mod spread;

use super::*;
use ir::LoadBalancer;

/// A small generator (splitmix64), so that tests repeat.
pub(crate) fn source(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn spec(port: u16, weight: u32) -> EndpointSpec {
    EndpointSpec {
        address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
        hostname: "".into(),
        weight,
        workload: Default::default(),
        locality: "".into(),
        priority: 0,
        mtls: false,
    }
}

/// 127.0.0.1:1000, :1001, … with these weights.
pub(crate) fn set(policy: LoadBalancer, weights: &[u32]) -> EndpointSet {
    let specs = weights.iter().enumerate().map(|(i, &weight)| spec(1000 + i as u16, weight)).collect();
    build(policy, specs, None)
}

/// Builds without anything but a policy; as if no time passed.
pub(crate) fn build(
    policy: LoadBalancer,
    specs: Vec<EndpointSpec>,
    previous: Option<&EndpointSet>,
) -> EndpointSet {
    EndpointSet::build(&policy.into(), specs, previous, Instant::now())
}

pub(crate) fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
    set(LoadBalancer::Random, weights).endpoints
}

pub(crate) fn context(random: &mut dyn FnMut() -> u64) -> PickContext<'_> {
    PickContext { hash: None, random, now: &Instant::now, tried: &[], leave: &[] }
}

/// How often each endpoint is picked.
pub(crate) fn picks(set: &EndpointSet, times: u32) -> Vec<u32> {
    let mut random = source(42);
    let mut counts = vec![0; set.endpoints().len()];
    for _ in 0..times {
        let picked = set.pick(&mut context(&mut random)).expect("not empty");
        counts[set.endpoints().iter().position(|e| Arc::ptr_eq(e, picked)).expect("of the set")] += 1;
    }
    counts
}

fn policies() -> [LoadBalancer; 6] {
    [
        LoadBalancer::LeastRequest,
        LoadBalancer::PeakEwma { decay: Duration::from_secs(10) },
        LoadBalancer::RoundRobin,
        LoadBalancer::Random,
        LoadBalancer::RingHash { minimum_ring_size: 1024 },
        LoadBalancer::Maglev { table_size: 65_537 },
    ]
}

#[test]
fn nothing_is_picked_from_nothing_and_one_from_one() {
    for policy in policies() {
        assert!(set(policy.clone(), &[]).pick(&mut context(&mut source(1))).is_none());
        let one = set(policy, &[7]);
        let tried = [one.endpoints()[0].clone()];
        let mut random = source(1);
        let mut asked = PickContext { hash: Some(3), tried: &tried, ..context(&mut random) };
        assert!(one.pick(&mut asked).is_some(), "the only one, even if it was tried");
    }
}

#[test]
fn weights_are_followed_by_every_policy() {
    for policy in policies() {
        // A ring is only as even as its points: about 1 / sqrt(points of an endpoint).
        let allowed = if matches!(policy, LoadBalancer::RingHash { .. }) { 3_000 } else { 800 };
        for weights in [[1, 1, 1, 1], [1, 2, 3, 4]] {
            let total: u32 = weights.iter().sum();
            for (count, weight) in picks(&set(policy.clone(), &weights), 40_000).iter().zip(weights) {
                let expected = 40_000 * weight / total;
                assert!(count.abs_diff(expected) < allowed, "{policy:?} {weights:?}: {count} for {expected}");
            }
        }
    }
}

#[test]
fn a_hash_finds_the_same_endpoint_every_time() {
    for policy in
        [LoadBalancer::RingHash { minimum_ring_size: 1024 }, LoadBalancer::Maglev { table_size: 65_537 }]
    {
        let set = set(policy, &[1; 10]);
        let mut random = source(5);
        for hash in 0..50u64 {
            let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut pick = || {
                let mut asked = PickContext { hash: Some(hash), ..context(&mut random) };
                set.pick(&mut asked).expect("not empty").address.clone()
            };
            assert_eq!(pick(), pick());
        }
    }
}

#[test]
fn tried_endpoints_are_avoided_and_then_allowed() {
    for policy in policies() {
        let set = set(policy.clone(), &[1; 8]);
        let mut random = source(9);
        let mut again = 0;
        for hash in 0..1000u64 {
            let tried = [set.endpoints()[(hash % 8) as usize].clone()];
            let hash = Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut asked = PickContext { hash, tried: &tried, ..context(&mut random) };
            again += u32::from(Arc::ptr_eq(set.pick(&mut asked).expect("not empty"), &tried[0]));
        }
        // By chance: 1 / 8^6.
        assert!(again <= 1, "{policy:?} took the tried one {again} times");
        let mut asked = PickContext { hash: Some(1), tried: set.endpoints(), ..context(&mut random) };
        assert!(set.pick(&mut asked).is_some());
    }
}

#[test]
fn state_outlives_a_rebuild() {
    let first = set(LoadBalancer::LeastRequest, &[1, 1, 1]);
    let request = crate::ActiveRequest::start(first.endpoints()[1].clone());
    let specs = vec![spec(1001, 5), spec(1002, 1), spec(1003, 1), spec(1002, 9)];
    let second = build(LoadBalancer::Random, specs, Some(&first));

    let (before, after) = (first.endpoints(), second.endpoints());
    assert_eq!(after.len(), 3, "the second of one address is dropped");
    assert!(
        before[1].is_same_place(&after[0]) && !Arc::ptr_eq(&before[1], &after[0]),
        "a new weight, the same place"
    );
    assert_eq!((after[0].weight, after[0].state.active_requests()), (5, 1));
    assert!(Arc::ptr_eq(&before[2], &after[1]), "unchanged");
    assert!(before.iter().all(|endpoint| !endpoint.is_same_place(&after[2])), "new");
    drop(request);
    assert_eq!(after[0].state.active_requests(), 0);
}

#[test]
fn no_weight_is_a_weight_of_one() {
    let set = set(LoadBalancer::RoundRobin, &[0, 1]);
    assert_eq!(set.endpoints().iter().map(|endpoint| endpoint.weight).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(picks(&set, 10), [5, 5]);
}

fn selector(set: &EndpointSet) -> &Arc<crate::selector::Selector> {
    &set.groups[0].choice().selector
}

#[test]
fn tables_are_kept_while_choices_are_the_same() {
    let policy = LoadBalancer::Maglev { table_size: 1009 };
    let specs = || vec![spec(1, 1), spec(2, 1)];
    let first = build(policy.clone(), specs(), None);
    let mut moved = specs();
    moved[0].locality = "r2".into();
    let second = build(policy.clone(), moved, Some(&first));
    assert!(Arc::ptr_eq(selector(&first), selector(&second)), "a locality does not change the table");
    let third = build(policy, vec![spec(1, 1), spec(2, 2)], Some(&second));
    assert!(!Arc::ptr_eq(selector(&second), selector(&third)), "a weight does");
    let fourth = build(LoadBalancer::Maglev { table_size: 2003 }, specs(), Some(&first));
    assert!(!Arc::ptr_eq(selector(&first), selector(&fourth)), "another size does");
}

#[test]
fn workers_share_one_rotation() {
    let set = set(LoadBalancer::RoundRobin, &[1, 2, 1]);
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| picks(&set, 1000))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"))
            .fold(vec![0; 3], |sum, counts| sum.iter().zip(&counts).map(|(a, b)| a + b).collect())
    });
    assert_eq!(counts, [1000, 2000, 1000]);
}
