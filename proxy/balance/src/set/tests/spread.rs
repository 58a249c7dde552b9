//! Priorities, weights of localities, slow start: what share who gets.

use super::*;
use crate::ActiveCheck;
use proptest::prelude::*;

fn at(port: u16, priority: u32, locality: &str) -> EndpointSpec {
    EndpointSpec { priority, locality: locality.into(), ..spec(port, 1) }
}

/// Two priorities of four.
fn near_and_far(policy: LoadBalancer) -> EndpointSet {
    let specs = (0..8).map(|port| at(port, u32::from(port / 4), "")).collect();
    let set =
        EndpointSet::build(&SetPolicy { is_checked: true, ..policy.into() }, specs, None, Instant::now());
    pass(&set)
}

fn fail(set: &EndpointSet, which: &[usize]) {
    for at in which {
        set.endpoints()[*at].state.set_active_check(ActiveCheck::Failed, Instant::now());
    }
}

/// The set after all have passed their checks, long ago.
fn pass(set: &EndpointSet) -> EndpointSet {
    for endpoint in set.endpoints() {
        endpoint.state.forget_checks();
        endpoint.state.set_active_check(ActiveCheck::Passed, Instant::now());
    }
    set.reviewed(Instant::now()).unwrap_or_else(|| set.clone())
}

fn reviewed(set: &EndpointSet) -> EndpointSet {
    set.reviewed(Instant::now()).expect("something changed")
}

fn sum(picks: &[u32]) -> u32 {
    picks.iter().sum()
}

#[test]
fn the_next_priority_takes_what_the_first_cannot() {
    for policy in policies() {
        let set = near_and_far(policy.clone());
        let near = |set: &EndpointSet| {
            let mut random = source(11);
            let mut pick = |hash: u64| {
                let hash = Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let mut asked = PickContext { hash, ..context(&mut random) };
                set.pick(&mut asked).expect("not empty").priority
            };
            (0..10_000).filter(|&hash| pick(hash) == 0).count()
        };
        assert_eq!(near(&set), 10_000, "{policy:?}");
        fail(&set, &[0]);
        let set = reviewed(&set);
        assert_eq!(near(&set), 10_000, "{policy:?}: three of four can take it");
        fail(&set, &[1]);
        let set = reviewed(&set);
        assert!(near(&set).abs_diff(7_000) < 200, "{policy:?}: {}", near(&set));
        fail(&set, &[2, 3]);
        let set = reviewed(&set);
        assert_eq!(near(&set), 0, "{policy:?}");
        for at in 0..4 {
            set.endpoints()[at].state.set_active_check(ActiveCheck::Passed, Instant::now());
        }
        assert_eq!(near(&reviewed(&set)), 10_000, "{policy:?}: all are back");
    }
}

#[test]
fn when_all_have_failed_it_depends_on_the_panic_threshold() {
    for (panic_threshold, used) in [(0, 0), (50, 8)] {
        let policy = SetPolicy {
            panic_threshold: Some(panic_threshold),
            is_checked: true,
            ..LoadBalancer::Random.into()
        };
        let specs = (0..8).map(|port| at(port, u32::from(port / 4), "")).collect();
        let set = pass(&EndpointSet::build(&policy, specs, None, Instant::now()));
        fail(&set, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let set = set.reviewed(Instant::now()).unwrap_or(set);
        if used == 0 {
            assert!(set.pick(&mut context(&mut source(1))).is_none());
        } else {
            assert_eq!(picks(&set, 1000).iter().filter(|&&count| count > 0).count(), used);
        }
        let one = pass(&EndpointSet::build(&policy, vec![spec(1, 1)], None, Instant::now()));
        fail(&one, &[0]);
        let one = one.reviewed(Instant::now()).unwrap_or(one);
        assert_eq!(one.pick(&mut context(&mut source(1))).is_some(), used > 0);
    }
}

#[test]
fn endpoints_that_were_not_checked_yet_are_used_when_there_is_nobody_else() {
    let policy = SetPolicy { is_checked: true, ..LoadBalancer::RoundRobin.into() };
    let set = EndpointSet::build(&policy, vec![spec(1, 1), spec(2, 1)], None, Instant::now());
    assert_eq!(picks(&set, 10), [5, 5]);
    set.endpoints()[0].state.set_active_check(ActiveCheck::Passed, Instant::now());
    assert_eq!(picks(&reviewed(&set), 10), [10, 0]);
}

#[test]
fn localities_share_by_their_weights() {
    for policy in policies() {
        let weights = [("a".into(), 20), ("b".into(), 80)].into();
        let settings = SetPolicy { locality_weights: weights, is_checked: true, ..policy.clone().into() };
        let specs = vec![at(1, 0, "a"), at(2, 0, "a"), at(3, 0, "a"), at(4, 0, "b"), at(5, 0, "b")];
        let set = pass(&EndpointSet::build(&settings, specs, None, Instant::now()));
        let of_a = |set: &EndpointSet| sum(&picks(set, 20_000)[..3]);
        assert!(of_a(&set).abs_diff(4_000) < 200, "{policy:?}: {}", of_a(&set));
        fail(&set, &[3]);
        // 80 times 0.7 (140 % of a half), of 76.
        let set = reviewed(&set);
        assert!(of_a(&set).abs_diff(5_263) < 200, "{policy:?}: {}", of_a(&set));
        fail(&set, &[4]);
        assert_eq!(of_a(&reviewed(&set)), 20_000, "{policy:?}");
    }
}

#[test]
fn a_retry_that_may_go_far_leaves_priorities_that_were_tried_twice() {
    let set = near_and_far(LoadBalancer::Random);
    let mut random = source(3);
    let leave = |set: &EndpointSet, which: &[usize]| -> Vec<_> {
        which.iter().map(|at| set.endpoints()[*at].clone()).collect()
    };
    for (tried, expected) in [(&[0][..], 0), (&[0, 1], 1), (&[0, 1, 4], 1), (&[0, 1, 4, 5], 0)] {
        let leave = leave(&set, tried);
        for _ in 0..100 {
            let mut asked = PickContext { leave: &leave, ..context(&mut random) };
            assert_eq!(set.pick(&mut asked).expect("not empty").priority, expected, "{tried:?}");
        }
    }
}

fn warming(load_balancer: LoadBalancer, aggression: f64) -> SetPolicy {
    let window = Duration::from_secs(100);
    let slow_start = Some(ir::SlowStart { window, minimum_percent: 10.0, aggression });
    SetPolicy { slow_start, ..load_balancer.into() }
}

#[test]
fn a_new_endpoint_gets_its_share_by_and_by() {
    for policy in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin] {
        for (aggression, expected) in [
            (1.0, [(0, 0.1), (5, 0.1), (50, 0.5), (99, 0.99), (100, 1.0)]),
            (2.0, [(0, 0.1), (4, 0.2), (25, 0.5), (81, 0.9), (100, 1.0)]),
        ] {
            let start = Instant::now();
            let policy = warming(policy.clone(), aggression);
            let old = EndpointSet::build(&policy, vec![spec(1, 1), spec(2, 1)], None, start);
            assert_eq!(picks(&old, 10).iter().filter(|&&count| count > 0).count(), 2, "all are as new");
            let joined = start + Duration::from_secs(1000);
            let specs = vec![spec(1, 1), spec(2, 1), spec(3, 1)];
            let mut set = EndpointSet::build(&policy, specs, Some(&old), joined);
            assert!(set.next_review().is_some());
            for (age, part) in expected {
                let now = joined + Duration::from_secs(age);
                set = set.reviewed(now).unwrap_or(set);
                let share = f64::from(picks(&set, 20_000)[2]) / 20_000.0;
                let wanted = part / (2.0 + part);
                assert!((share - wanted).abs() < 0.01, "{policy:?}: {share} for {wanted} after {age} s");
            }
            assert!(set.next_review().is_none() && set.reviewed(joined + Duration::from_secs(200)).is_none());
        }
    }
}

#[test]
fn whoever_passes_its_checks_again_warms_up_again() {
    let policy = SetPolicy { is_checked: true, ..warming(LoadBalancer::RoundRobin, 1.0) };
    let start = Instant::now();
    let set = pass(&EndpointSet::build(&policy, vec![spec(1, 1), spec(2, 1)], None, start));
    let later = start + Duration::from_secs(500);
    set.endpoints()[1].state.set_active_check(ActiveCheck::Failed, later);
    let set = set.reviewed(later).expect("changed");
    set.endpoints()[1].state.set_active_check(ActiveCheck::Passed, later);
    let set = set.reviewed(later).expect("changed");
    assert_eq!(picks(&set, 1100), [1000, 100]);
}

proptest! {
    /// Whatever fails: a pick is of somebody who is well, unless nobody is, and of no priority after one that can take it all.
    #[test]
    fn picks_are_of_those_that_are_well(
        priorities in prop::collection::vec((0..3u32, any::<bool>()), 1..30),
        weighted: bool,
        panic_threshold in prop::sample::select(vec![0u8, 50, 100]),
        seed: u64,
    ) {
        let localities = ["a", "b"];
        let specs = priorities.iter().zip(0..).map(|((priority, _), port)| at(port, *priority, localities[usize::from(port) % 2])).collect();
        let locality_weights = if weighted { [("a".into(), 3), ("b".into(), 1)].into() } else { Default::default() };
        let policy = SetPolicy { panic_threshold: Some(panic_threshold), locality_weights, is_checked: true, ..LoadBalancer::Random.into() };
        let set = pass(&EndpointSet::build(&policy, specs, None, Instant::now()));
        let failed: Vec<_> = priorities.iter().zip(0..).filter(|((_, failed), _)| *failed).map(|(_, at)| at).collect();
        fail(&set, &failed);
        let set = set.reviewed(Instant::now()).unwrap_or(set);
        let well = |priority: u32| set.endpoints().iter().filter(|e| e.priority == priority && set.policy().uses(e)).count();
        let all = |priority: u32| set.endpoints().iter().filter(|e| e.priority == priority).count();
        let mut random = source(seed);
        for _ in 0..50 {
            let Some(picked) = set.pick(&mut context(&mut random)) else {
                prop_assert!(panic_threshold == 0 && failed.len() == priorities.len());
                continue;
            };
            let priority = picked.priority;
            let panics = well(priority) * 100 < all(priority) * usize::from(panic_threshold);
            prop_assert!(set.policy().uses(picked) || panics);
            prop_assert!((0..priority).all(|before| all(before) == 0 || well(before) * 140 < all(before) * 100));
        }
    }
}
