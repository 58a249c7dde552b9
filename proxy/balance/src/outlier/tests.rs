//! Each rule by itself.

mod bounds;
mod sets;
mod shares;
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
