//! Detectors that look at an interval: shares of good and bad answers, times.

use super::*;

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
