//! A service of known capacity under load, with and without the limit, in simulated time.

use super::super::*;
use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque};

/// Places where requests are served at once, and how long each is.
const PLACES: usize = 20;
const SERVICE: Duration = Duration::from_millis(20);
/// Requests a second that it can serve.
const CAPACITY: f64 = PLACES as f64 / 0.020;
/// Whoever waits longer has no use for the answer.
const PATIENCE: Duration = Duration::from_millis(500);
const SECONDS: u64 = 120;

/// A small generator, good enough for arrivals.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        mean.mul_f64(-uniform.ln())
    }
}

struct Result {
    /// Answers in time, a second, as a share of the capacity.
    goodput: f64,
    p99: Duration,
}

/// Requests arrive at random, `load` times as many as can be served, and queue before the places.
fn run(load: f64, limited: bool) -> Result {
    let mut random = Random(42);
    let begin = Instant::now();
    let limiter = Arc::new(ConcurrencyLimiter::new(AdaptiveConcurrency::default(), begin));
    let gap = Duration::from_secs_f64(1.0 / (CAPACITY * load));
    let (mut now, mut arrival) = (begin, begin);
    let end = begin + Duration::from_secs(SECONDS);
    let mut queue: VecDeque<(Instant, Option<ConcurrencyPermit>)> = VecDeque::new();
    let mut served = Vec::<Option<(Instant, Option<ConcurrencyPermit>)>>::new();
    let mut ends = BinaryHeap::<Reverse<(Instant, usize)>>::new();
    let mut latencies = Vec::new();
    let mut busy = 0;
    while now < end {
        let next_end = ends.peek().map(|Reverse((at, _))| *at);
        if next_end.is_none_or(|at| arrival <= at) {
            now = arrival;
            arrival += random.exponential(gap);
            let permit = if limited { limiter.admit(now, random.next()) } else { None };
            if !limited || permit.is_some() {
                queue.push_back((now, permit));
            }
        } else if let Some(Reverse((at, index))) = ends.pop() {
            now = at;
            busy -= 1;
            if let Some((began, permit)) = served[index].take() {
                latencies.push(now - began);
                if let Some(permit) = permit {
                    permit.answered(now, random.next());
                }
            }
        }
        while busy < PLACES
            && let Some(request) = queue.pop_front()
        {
            busy += 1;
            served.push(Some(request));
            // From half of the mean to one and a half.
            let took = SERVICE.mul_f64(0.5 + (random.next() >> 11) as f64 / (1_u64 << 53) as f64);
            ends.push(Reverse((now + took, served.len() - 1)));
        }
    }
    let good = latencies.iter().filter(|latency| **latency <= PATIENCE).count();
    latencies.sort_unstable();
    let p99 = latencies[latencies.len() * 99 / 100];
    Result { goodput: good as f64 / SECONDS as f64 / CAPACITY, p99 }
}

#[test]
fn at_three_times_the_capacity_it_serves_what_it_can_and_nobody_waits_for_long() {
    let (with, without) = (run(3.0, true), run(3.0, false));
    println!("with: {:.3} of capacity, p99 {:?}", with.goodput, with.p99);
    println!("without: {:.3} of capacity, p99 {:?}", without.goodput, without.p99);
    assert!(with.goodput >= 0.9 && with.p99 < 5 * SERVICE);
    assert!(without.goodput < 0.1, "otherwise there is nothing to show");
}

#[test]
fn below_the_capacity_hardly_anybody_is_turned_away() {
    let with = run(0.6, true);
    println!("{:.4} of capacity, p99 {:?}", with.goodput, with.p99);
    assert!(with.goodput > 0.6 * 0.98, "{}", with.goodput);
}
