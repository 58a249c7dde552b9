mod simulation;

use super::*;
use proptest::prelude::*;

fn policy() -> AdaptiveConcurrency {
    AdaptiveConcurrency { request_count: 5, ..AdaptiveConcurrency::default() }
}

const MS: Duration = Duration::from_millis(1);

/// So many requests, one after the other, that each take so long.
fn requests(limiter: &Arc<ConcurrencyLimiter>, now: &mut Instant, count: u32, each: Duration) {
    for _ in 0..count {
        let permit = limiter.admit(*now, 0).expect("one at a time");
        *now += each;
        permit.answered(*now, 0);
    }
}

#[test]
fn it_measures_then_grows_while_nobody_waits_and_shrinks_when_somebody_does() {
    let mut now = Instant::now();
    let limiter = Arc::new(ConcurrencyLimiter::new(policy(), now));
    assert_eq!((limiter.counts().limit, limiter.counts().min_rtt), (3, Duration::ZERO));
    requests(&limiter, &mut now, 5, 10 * MS);
    assert!((9_700..=10_300).contains(&limiter.counts().min_rtt.as_micros()), "{:?}", limiter.counts());
    // An answer takes what it takes alone: 3 * 1.25 and its root.
    requests(&limiter, &mut now, 11, 10 * MS);
    assert_eq!(limiter.counts().limit, 5);
    for _ in 0..200 {
        requests(&limiter, &mut now, 11, 10 * MS);
    }
    assert_eq!(limiter.counts().limit, 1000, "no further");
    requests(&limiter, &mut now, 11, 40 * MS);
    assert!(limiter.counts().limit < 600, "{:?}", limiter.counts());
}

#[test]
fn what_is_under_way_is_counted_and_one_more_is_shed() {
    let now = Instant::now();
    let limiter = Arc::new(ConcurrencyLimiter::new(policy(), now));
    let mut permits: Vec<_> = (0..3).map(|_| limiter.admit(now, 0).unwrap()).collect();
    assert!(limiter.admit(now, 0).is_none());
    assert_eq!((limiter.counts().under_way, limiter.counts().shed), (3, 1));
    permits.pop();
    assert!(limiter.admit(now, 0).is_some(), "one that told nothing has gone, too");
    assert_eq!(limiter.counts().min_rtt, Duration::ZERO);
}

/// What began under another limit would tell of the queue that it made.
#[test]
fn it_measures_anew_now_and_then_only_what_begins_then() {
    let mut now = Instant::now();
    let limiter = Arc::new(ConcurrencyLimiter::new(policy(), now));
    requests(&limiter, &mut now, 5, 10 * MS);
    let old = limiter.admit(now, 0).unwrap();
    let limit = limiter.counts().limit;
    now += Duration::from_secs(61);
    drop(limiter.admit(now, 0));
    assert_eq!(limiter.counts().limit, 3);
    old.answered(now + MS, 0);
    requests(&limiter, &mut now, 4, 20 * MS);
    assert!(limiter.counts().min_rtt < 11 * MS, "too early to tell");
    requests(&limiter, &mut now, 1, 20 * MS);
    assert!(limiter.counts().min_rtt > 19 * MS, "{:?}", limiter.counts());
    assert_eq!(limiter.counts().limit, limit, "what it was before");
}

#[test]
fn a_limit_that_stays_at_its_least_is_measured_anew() {
    let mut now = Instant::now();
    let limiter = Arc::new(ConcurrencyLimiter::new(policy(), now));
    requests(&limiter, &mut now, 5, MS);
    // The service has become ten times as slow: for good.
    for _ in 0..9 {
        requests(&limiter, &mut now, 12, 10 * MS);
    }
    assert!(limiter.counts().min_rtt > 9 * MS, "{:?}", limiter.counts());
}

proptest! {
    /// Whatever happens when, on however many workers.
    #[test]
    fn the_limit_stays_between_its_bounds_and_permits_are_counted(
        min in 1_u32..20, more in 0_u32..500, count in 1_u32..60, buffer in 0_u32..=100, jitter in 0_u32..=100,
        events in prop::collection::vec((0_u64..200_000, 0_u8..4, any::<u64>()), 1..400),
    ) {
        let policy = AdaptiveConcurrency {
            min_concurrency: min,
            max_concurrency: min + more,
            request_count: count,
            buffer,
            jitter,
            min_rtt_interval: Duration::from_secs(2),
            ..AdaptiveConcurrency::default()
        };
        let mut now = Instant::now();
        let limiter = Arc::new(ConcurrencyLimiter::new(policy, now));
        let mut open = Vec::new();
        for (after, what, random) in events {
            now += Duration::from_micros(after);
            match what {
                0 | 1 => open.extend(limiter.admit(now, random)),
                2 => if let Some(permit) = open.pop() { permit.answered(now, random) },
                _ => drop(open.pop()),
            }
            let counts = limiter.counts();
            prop_assert!((min..=min + more).contains(&counts.limit));
            prop_assert_eq!(counts.under_way as usize, open.len());
            prop_assert!(open.len() <= (min + more) as usize);
        }
    }

    #[test]
    fn measuring_comes_after_the_interval_and_its_jitter(random in any::<u64>()) {
        let mut now = Instant::now();
        let limiter = Arc::new(ConcurrencyLimiter::new(policy(), now));
        for _ in 0..5 {
            let permit = limiter.admit(now, random).unwrap();
            now += MS;
            permit.answered(now, random);
        }
        let limit = limiter.counts().limit;
        drop(limiter.admit(now + Duration::from_millis(59_998), random));
        let early = limiter.due_after.load(Relaxed);
        prop_assert_eq!((early, limiter.counts().limit), (u32::MAX, limit));
        drop(limiter.admit(now + Duration::from_millis(69_100), random));
        prop_assert_eq!(limiter.due_after.load(Relaxed), 5);
    }
}
