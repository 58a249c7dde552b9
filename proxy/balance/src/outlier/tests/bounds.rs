//! How many may be out, and who comes back when there are fewer.

use super::*;

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
