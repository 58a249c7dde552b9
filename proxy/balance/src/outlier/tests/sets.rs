//! What ejections do to the set that is picked from.

use super::*;

#[test]
fn whoever_comes_back_is_tried_with_one_request_at_a_time() {
    for policy in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin] {
        let mut patient = Patient::with(|settings| settings.probes = 2);
        let set = build(policy, vec![spec(1000, 1), spec(1001, 1)], None);
        patient.endpoints = set.endpoints().to_vec();
        patient.fall_ill();
        patient.pass(30);
        assert_eq!(reason(patient.statuses(&[500])), Some(Reason::Probe), "one bad answer is enough");
        patient.pass(60);
        let set = set.reviewed(Instant::now()).expect("one is tried");
        let mut random = source(5);
        let mut picks = |set: &EndpointSet| {
            let mut pick = || set.pick(&mut context(&mut random)).expect("not empty").clone();
            (0..300).filter(|_| Arc::ptr_eq(&pick(), &patient.endpoints[0])).count()
        };
        let hold = |at: usize| crate::ActiveRequest::start(patient.endpoints[at].clone());
        let (probe, _others) = (hold(0), [hold(1), hold(1)]);
        assert_eq!(picks(&set), 0, "it is busy with one");
        drop(probe);
        assert!(picks(&set) > 100, "and now it is not");
        assert!(patient.statuses(&[200, 404]).is_none());
        let _busy = hold(0);
        assert!(picks(&set) > 100, "it is trusted");
        assert!(patient.statuses(&[500; 4]).is_none() && !patient.endpoints[0].state.is_ejected());
        let set = set.reviewed(Instant::now()).expect("nobody is tried any more");
        assert!(set.reviewed(Instant::now()).is_none());
    }
}

#[test]
fn a_set_without_the_ejected_is_picked_from_as_if_they_were_not_there() {
    for policy in [
        LoadBalancer::LeastRequest,
        LoadBalancer::RoundRobin,
        LoadBalancer::Random,
        LoadBalancer::RingHash { minimum_ring_size: 1024 },
        LoadBalancer::Maglev { table_size: 1009 },
    ] {
        let whole = set(policy.clone(), &[1, 2, 3, 4]);
        whole.endpoints()[2].state.health.set_ejected(true);
        let set = whole.reviewed(Instant::now()).expect("changed");
        assert!(set.reviewed(Instant::now()).is_none(), "nothing new");
        let fewer = set_of(policy, &[(1000, 1), (1001, 2), (1003, 4)]);
        let (mut one, mut other) = (source(3), source(3));
        for hash in 0..2000u64 {
            let hash = Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let pick = |set: &EndpointSet, random: &mut dyn FnMut() -> u64| {
                let mut asked = crate::PickContext { hash, ..context(random) };
                set.pick(&mut asked).expect("not empty").address.clone()
            };
            assert_eq!(pick(&set, &mut one), pick(&fewer, &mut other));
        }
        whole.endpoints()[2].state.health.set_ejected(false);
        let set = set.reviewed(Instant::now()).expect("it is back");
        assert!((0..100).any(|seed| {
            let picked = set.pick(&mut context(&mut source(seed))).expect("not empty");
            Arc::ptr_eq(picked, &set.endpoints()[2])
        }));
    }
}

fn set_of(policy: LoadBalancer, endpoints: &[(u16, u32)]) -> EndpointSet {
    build(policy, endpoints.iter().map(|&(port, weight)| spec(port, weight)).collect(), None)
}

#[test]
fn when_too_few_are_well_all_are_used() {
    let set = |panic_threshold| {
        let policy = SetPolicy { panic_threshold: Some(panic_threshold), ..LoadBalancer::Random.into() };
        let specs = (0..4).map(|port| spec(port, 1)).collect();
        EndpointSet::build(&policy, specs, None, Instant::now())
    };
    let eject = |set: &EndpointSet, at: usize| set.endpoints()[at].state.health.set_ejected(true);
    let picked_from = |set: &EndpointSet| {
        let set = set.reviewed(Instant::now()).unwrap_or_else(|| set.clone());
        crate::set::tests::picks(&set, 1000).iter().filter(|&&count| count > 0).count()
    };
    let (half, any) = (set(50), set(0));
    (0..2).for_each(|at| eject(&half, at));
    assert_eq!(picked_from(&half), 2, "half of them are well");
    eject(&half, 2);
    assert_eq!(picked_from(&half), 4, "a quarter is");
    (0..3).for_each(|at| eject(&any, at));
    assert_eq!(picked_from(&any), 1, "and nobody asked how many");
}
