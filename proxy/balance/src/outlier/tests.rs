//! Each rule by itself.

pub(crate) mod simulation;

use super::*;
use crate::{
    EndpointSet, SetPolicy,
    set::tests::{build, context, endpoints, set, source, spec},
};
use proptest::prelude::*;
use sidle_model::ir::LoadBalancer;

pub(super) fn settings() -> ir::OutlierDetection {
    ir::OutlierDetection {
        consecutive_5xx: Some(5),
        consecutive_gateway_errors: None,
        consecutive_local_origin_failures: None,
        split_external_local_origin_errors: false,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 10,
        min_health_percent: 0,
        error_codes: Vec::new(),
        success_rate: None,
        failure_percentage: None,
        latency: None,
        probes: 0,
    }
}

/// One of two endpoints, with a clock that is moved by hand.
struct Patient {
    detector: OutlierDetector,
    endpoints: Vec<Arc<Endpoint>>,
    now: Instant,
}

impl Patient {
    fn with(change: impl FnOnce(&mut ir::OutlierDetection)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        Patient {
            detector: OutlierDetector::new(&settings),
            endpoints: endpoints(&[1, 1]),
            now: Instant::now(),
        }
    }

    /// Records, and decides when it is told to; the last decision.
    fn see(&self, seen: &[Seen]) -> Option<Change> {
        let mut changes = Vec::new();
        for &seen in seen {
            if self.detector.record(&self.endpoints[0].state, seen) {
                changes.extend(self.detector.examine(&self.endpoints, self.now));
            }
        }
        changes.pop()
    }

    fn statuses(&self, statuses: &[u16]) -> Option<Change> {
        self.see(&statuses.iter().map(|&status| Seen::Status(status)).collect::<Vec<_>>())
    }

    /// Fails until it is kept out; for how many seconds.
    fn fall_ill(&self) -> u64 {
        match self.statuses(&[500; 5]) {
            Some(Change::Ejected { term, .. }) => term.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    /// Sweeps every interval until so many seconds are over; when it came back, counted from now.
    fn pass(&mut self, seconds: u64) -> Option<u64> {
        let mut back = None;
        for step in 1..=seconds / 10 {
            self.now += Duration::from_secs(10);
            if let Some(Change::Returned { .. }) = self.detector.sweep(&self.endpoints, self.now).pop() {
                back = Some(step * 10);
            }
        }
        back
    }
}

fn reason(change: Option<Change>) -> Option<Reason> {
    match change? {
        Change::Ejected { reason, .. } => Some(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn five_errors_in_a_row_are_too_many_and_four_are_not() {
    let patient = Patient::with(|_| {});
    assert!(patient.statuses(&[500, 503, 599, 500]).is_none());
    assert!(
        patient.statuses(&[200, 500, 500, 500, 500, 404, 500, 500, 500, 500]).is_none(),
        "404 is an answer"
    );
    assert_eq!(reason(patient.statuses(&[502])), Some(Reason::Consecutive5xx));
    assert!(patient.endpoints[0].state.is_ejected() && !patient.endpoints[1].state.is_ejected());
    assert!(patient.statuses(&[500; 20]).is_none(), "it is out already");
}

#[test]
fn gateway_errors_are_counted_for_themselves() {
    let gateway = |five: Option<u32>| {
        Patient::with(|settings| {
            (settings.consecutive_5xx, settings.consecutive_gateway_errors) = (five, Some(3))
        })
    };
    let patient = gateway(None);
    assert!(patient.statuses(&[502, 503, 500, 503, 504, 200, 502, 504]).is_none());
    assert_eq!(reason(patient.statuses(&[503])), Some(Reason::ConsecutiveGatewayFailure));
    assert!(gateway(None).statuses(&[500; 100]).is_none(), "500 is none");
    let both = gateway(Some(3));
    assert_eq!(
        reason(both.statuses(&[503; 3])),
        Some(Reason::ConsecutiveGatewayFailure),
        "it is looked at first"
    );
    assert_eq!(reason(gateway(Some(3)).statuses(&[500, 503, 503])), Some(Reason::Consecutive5xx));
}

#[test]
fn failures_are_answers_of_503_unless_they_are_counted_apart() {
    let patient = Patient::with(|_| {});
    assert!(patient.see(&[Seen::Failure; 4]).is_none());
    assert!(patient.see(&[Seen::Connected, Seen::Failure, Seen::Failure]).is_none(), "bytes can be sent");
    assert_eq!(
        reason(patient.see(&[Seen::Failure, Seen::Status(500), Seen::Failure])),
        Some(Reason::Consecutive5xx)
    );

    let apart = |threshold| {
        Patient::with(move |settings| {
            settings.split_external_local_origin_errors = true;
            settings.consecutive_local_origin_failures = threshold;
        })
    };
    let patient = apart(Some(3));
    assert!(patient.see(&[Seen::Failure, Seen::Failure, Seen::Status(500), Seen::Failure]).is_none());
    assert!(patient.see(&[Seen::Failure, Seen::Connected, Seen::Failure, Seen::Failure]).is_none());
    assert_eq!(reason(patient.see(&[Seen::Failure])), Some(Reason::ConsecutiveLocalOriginFailure));
    assert!(apart(None).see(&[Seen::Failure; 100]).is_none(), "it is off");
    let patient = apart(Some(3));
    let both = [Seen::Status(500), Seen::Failure, Seen::Status(500), Seen::Failure, Seen::Status(500)];
    assert!(patient.see(&both).is_none());
    assert_eq!(
        reason(patient.statuses(&[500, 500])),
        Some(Reason::Consecutive5xx),
        "failures are no answers"
    );
}

#[test]
fn codes_that_are_listed_are_the_only_errors() {
    let patient = Patient::with(|settings| {
        settings.error_codes = vec![429, 503];
        settings.consecutive_gateway_errors = Some(1);
    });
    assert!(patient.statuses(&[500; 20]).is_none());
    assert!(patient.statuses(&[429, 429, 503, 429, 500, 429]).is_none());
    assert_eq!(reason(patient.statuses(&[503, 429, 429, 429])), Some(Reason::Consecutive5xx));
}

#[test]
fn a_detector_of_zero_is_off() {
    let patient = Patient::with(|settings| settings.consecutive_5xx = None);
    assert!(patient.statuses(&[500; 100]).is_none() && patient.see(&[Seen::Failure; 100]).is_none());
}

#[test]
fn a_lower_threshold_counts_what_was_counted_before() {
    let mut patient = Patient::with(|_| {});
    assert!(patient.statuses(&[500; 4]).is_none());
    patient.detector = OutlierDetector::new(&ir::OutlierDetection { consecutive_5xx: Some(2), ..settings() });
    assert!(patient.statuses(&[500]).is_some());
}

#[test]
fn each_time_is_longer_up_to_the_longest_and_a_good_while_makes_it_shorter() {
    let mut patient = Patient::with(|_| {});
    assert_eq!((patient.fall_ill(), patient.pass(30)), (30, Some(30)));
    assert_eq!((patient.fall_ill(), patient.pass(60)), (60, Some(60)));
    assert_eq!((patient.fall_ill(), patient.pass(90)), (90, Some(90)));
    assert_eq!(patient.pass(20), None);
    assert_eq!(patient.fall_ill(), 60, "two sweeps later");
    patient.pass(60);
    patient.pass(1000);
    assert_eq!(patient.fall_ill(), 30, "all is forgotten");
    patient.pass(30);
    for _ in 0..20 {
        let term = patient.fall_ill();
        assert!(term <= 300 && patient.pass(term) == Some(term), "{term}");
    }
    assert_eq!(patient.fall_ill(), 300);
    patient.pass(300);
    assert_eq!(patient.pass(100), None);
    assert_eq!(patient.fall_ill(), 30, "and the longest did not pile up");
}

#[test]
fn a_base_time_beyond_the_longest_is_the_longest() {
    let patient = Patient::with(|settings| settings.base_ejection_time = Duration::from_secs(1000));
    assert_eq!((patient.fall_ill(), patient.detector.longest().as_secs()), (1000, 1000));
}

#[test]
fn whoever_comes_back_begins_anew() {
    let mut patient = Patient::with(|settings| settings.consecutive_gateway_errors = Some(3));
    assert!(patient.statuses(&[503, 503, 500, 500, 503, 503]).is_some());
    assert_eq!(patient.pass(30), Some(30));
    assert!(patient.statuses(&[503]).is_none(), "two came before");
}

#[test]
fn one_may_always_go_but_never_the_last() {
    let most = |percent, count| {
        OutlierDetector::new(&ir::OutlierDetection { max_ejection_percent: percent, ..settings() })
            .most(count)
    };
    for (percent, count, expected) in [
        (10, 0, 0),
        (10, 1, 0),
        (100, 1, 0),
        (10, 2, 1),
        (10, 5, 1),
        (10, 19, 1),
        (10, 20, 2),
        (50, 3, 1),
        (50, 5, 2),
        (100, 2, 1),
        (100, 5, 4),
        (255, 5, 4),
    ] {
        assert_eq!(most(percent, count), expected, "{percent} % of {count}");
    }
}

#[test]
fn one_too_many_is_told_and_may_go_later() {
    let mut patient = Patient::with(|_| {});
    patient.fall_ill();
    let other = patient.endpoints[1].clone();
    let fail = |times| (0..times).any(|_| patient.detector.record(&other.state, Seen::Failure));
    assert!(fail(5));
    let changes = patient.detector.examine(&patient.endpoints, patient.now);
    assert!(matches!(&changes[..], [Change::Overflow { endpoint, .. }] if Arc::ptr_eq(endpoint, &other)));
    assert!(!fail(4), "it is counted anew");
    patient.pass(30);
    let fail = |times| (0..times).any(|_| patient.detector.record(&other.state, Seen::Failure));
    assert!(fail(1));
    let changes = patient.detector.examine(&patient.endpoints, patient.now);
    assert!(matches!(&changes[..], [Change::Ejected { .. }]));
}

/// Has each endpoint answer so many requests, so many of them well; who is kept out at the end of the interval.
fn after(
    settings: ir::OutlierDetection,
    answers: &[(u32, u32)],
) -> (Vec<usize>, Option<Reason>, Vec<Change>) {
    let detector = OutlierDetector::new(&ir::OutlierDetection { consecutive_5xx: None, ..settings });
    let set = endpoints(&vec![1; answers.len()]);
    for (endpoint, &(all, good)) in set.iter().zip(answers) {
        for number in 0..all {
            let status = if number < good { 200 } else { 500 };
            assert!(!detector.record(&endpoint.state, Seen::Status(status)));
        }
    }
    let changes = detector.sweep(&set, Instant::now());
    let out = (0..set.len()).filter(|&at| set[at].state.is_ejected()).collect();
    let reason = changes.iter().find_map(|change| match change {
        Change::Ejected { reason, .. } => Some(*reason),
        _ => None,
    });
    assert!(detector.sweep(&set, Instant::now()).is_empty(), "each interval begins anew");
    (out, reason, changes)
}

#[test]
fn a_share_of_good_answers_far_below_the_others_is_too_small() {
    let rate = |minimum_hosts, request_volume| ir::OutlierDetection {
        success_rate: Some(ir::SuccessRate { minimum_hosts, request_volume, stdev_factor: 1900 }),
        ..settings()
    };
    // Envoy's own example: mean 90, deviation 20, so that less than 52 is too little.
    let example = [(10, 10), (10, 10), (10, 5), (10, 10), (10, 10)];
    assert_eq!(after(rate(5, 10), &example).1, Some(Reason::SuccessRate));
    assert_eq!(after(rate(5, 10), &example).0, [2]);
    assert!(after(rate(6, 10), &example).0.is_empty(), "too few endpoints to compare");
    assert!(after(rate(5, 11), &example).0.is_empty(), "too few requests to judge");
    assert!(after(rate(1, 10), &[(10, 0); 5]).0.is_empty(), "all are equally bad");
    let idle = [(100, 100), (100, 100), (100, 90), (100, 100), (100, 100), (3, 0)];
    assert_eq!(after(rate(5, 100), &idle).0, [2], "who had three requests is not judged");
}

#[test]
fn a_share_of_bad_answers_may_be_too_large_whatever_the_others_do() {
    let percentage = |threshold| ir::OutlierDetection {
        failure_percentage: Some(ir::FailurePercentage { threshold, minimum_hosts: 3, request_volume: 10 }),
        max_ejection_percent: 60,
        ..settings()
    };
    let answers = [(10, 2), (10, 1), (10, 10), (9, 0)];
    let (out, reason, _) = after(percentage(80), &answers);
    assert_eq!((out, reason), (vec![0, 1], Some(Reason::FailurePercentage)));
    assert_eq!(after(percentage(85), &answers).0, [1]);
    assert!(after(percentage(80), &answers[1..]).0.is_empty(), "two are too few");
    let (out, _, changes) = after(percentage(10), &[(10, 5), (10, 2), (10, 4), (10, 5)]);
    assert_eq!(out, [1, 2], "the worst go while there is room");
    assert_eq!(changes.iter().filter(|change| matches!(change, Change::Overflow { .. })).count(), 2);
}

#[test]
fn whoever_is_much_slower_than_the_others_goes() {
    let latency = |minimum_hosts, request_volume, minimum| ir::OutlierDetection {
        latency: Some(ir::Latency {
            factor: 3000,
            minimum: Duration::from_millis(minimum),
            minimum_hosts,
            request_volume,
        }),
        max_ejection_percent: 40,
        ..settings()
    };
    let out = |settings: ir::OutlierDetection, times: &[u64]| {
        let (detector, set) = (OutlierDetector::new(&settings), endpoints(&vec![1; times.len()]));
        for (endpoint, &millis) in set.iter().zip(times) {
            (0..10).for_each(|_| detector.time(&endpoint.state, Duration::from_millis(millis)));
        }
        let changes = detector.sweep(&set, Instant::now());
        assert!(changes.iter().all(|change| !matches!(change, Change::Returned { .. })));
        assert!(detector.sweep(&set, Instant::now()).is_empty(), "each interval begins anew");
        (0..set.len()).filter(|&at| set[at].state.is_ejected()).collect::<Vec<_>>()
    };
    let none = Vec::<usize>::new();
    assert_eq!(out(latency(3, 10, 20), &[10, 10, 31, 12, 9]), [2]);
    assert_eq!(out(latency(3, 10, 20), &[10, 10, 30, 12, 9]), none, "three times is not more than that");
    assert_eq!(out(latency(3, 10, 50), &[1, 1, 49, 1, 1]), none, "fast enough");
    assert_eq!(out(latency(6, 10, 20), &[10, 10, 31, 12, 9]), none, "too few endpoints");
    assert_eq!(out(latency(3, 11, 20), &[10, 10, 31, 12, 9]), none, "too few requests");
    assert_eq!(out(latency(3, 10, 20), &[500; 5]), none, "all are equally slow");
    assert_eq!(out(latency(3, 10, 20), &[10, 100, 10, 90, 10]), [1, 3]);
    let slow = [10, 100, 10, 90, 10, 10, 95];
    assert_eq!(out(latency(3, 10, 20), &slow), [1, 6], "the slowest while there is room");
    assert_eq!(out(latency(2, 10, 20), &[10, 100]), [1]);
}

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
fn of_those_that_pass_their_health_checks_one_is_left() {
    let detector = OutlierDetector::new(&ir::OutlierDetection { max_ejection_percent: 100, ..settings() });
    let set = set(LoadBalancer::Random, &[1; 3]);
    let [failed, other, last] = [0, 1, 2].map(|at| &set.endpoints()[at].state);
    failed.set_active_check(ActiveCheck::Failed, Instant::now());
    let ejected = |state: &EndpointState| {
        assert!((0..5).any(|_| detector.record(state, Seen::Failure)));
        detector.examine(set.endpoints(), Instant::now());
        state.is_ejected()
    };
    assert_eq!([ejected(other), ejected(last), ejected(failed)], [true, false, true]);
}

#[test]
fn when_others_leave_those_who_were_kept_out_come_back() {
    let settings = ir::OutlierDetection { max_ejection_percent: 50, ..settings() };
    let detector = OutlierDetector::new(&settings);
    let before = set(LoadBalancer::Random, &[1; 6]);
    let mut now = Instant::now();
    for endpoint in &before.endpoints()[..3] {
        assert!((0..5).any(|_| detector.record(&endpoint.state, Seen::Failure)));
        now += Duration::from_secs(1);
        detector.examine(before.endpoints(), now);
    }
    assert_eq!(before.ejected(), 3);
    let specs = vec![spec(1000, 1), spec(1001, 1), spec(1002, 1)];
    let after = build(LoadBalancer::Random, specs, Some(&before));
    assert!(after.pick(&mut context(&mut source(1))).is_some(), "if none is left, all are");
    let changes = detector.examine(after.endpoints(), now);
    assert!(changes.iter().all(|change| matches!(change, Change::Returned { early: true, .. })));
    let back: Vec<_> = after.endpoints().iter().map(|endpoint| !endpoint.state.is_ejected()).collect();
    assert_eq!(back, [true, true, false], "those who were away the longest");
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

/// Workers count at the same time; what they count is not lost.
#[test]
fn workers_count_together() {
    for _ in 0..50 {
        let detector = OutlierDetector::new(&ir::OutlierDetection {
            consecutive_5xx: Some(4000),
            consecutive_gateway_errors: Some(4000),
            ..settings()
        });
        let endpoint = endpoints(&[1]).remove(0);
        let calls: usize = std::thread::scope(|scope| {
            let fail = || (0..1000).filter(|_| detector.record(&endpoint.state, Seen::Status(503))).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(fail)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(calls, 1, "the four thousandth, and nobody else");
    }
}

proptest! {
    /// The counters are the longest run at the end of what was seen.
    #[test]
    fn counts_are_runs(seen in prop::collection::vec(prop::sample::select(vec![200u16, 404, 500, 502, 503]), 0..60)) {
        let endpoint = endpoints(&[1]).remove(0);
        let mut run = (0, 0);
        for status in seen {
            let health = &endpoint.state.health;
            match status {
                200 | 404 => { health.succeeded(); run = (0, 0); }
                500 => { run = (run.0 + 1, 0); prop_assert_eq!(health.failed(false), run); }
                _ => { run = (run.0 + 1, run.1 + 1); prop_assert_eq!(health.failed(true), run); }
            }
        }
    }
}
