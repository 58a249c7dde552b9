//! What there is: hosts and their faults, and the policies of one seed.

use super::PATIENCE;
use crate::{
    outlier::tests::simulation::index,
    set::tests::{source, spec},
    *,
};
use sidle_model::ir::{self, LoadBalancer};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PLACES: [&str; 3] = ["eu/a", "eu/b", "us/a"];
const MS: Duration = Duration::from_millis(1);

/// What comes of a try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub took: Duration,
    /// `None`: nothing comes.
    status: Option<u16>,
}

impl Answer {
    pub fn is_good(&self) -> bool {
        self.took < PATIENCE && self.status.is_some_and(|status| status < 500)
    }

    fn seen(&self) -> Seen {
        self.status.filter(|_| self.took < PATIENCE).map_or(Seen::Failure, Seen::Status)
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Status(u16),
    Silent,
    /// An error every so many requests.
    Sometimes(u64),
    /// So many times slower.
    Slow(u32),
}

/// A host, and when it fails how.
pub(super) struct Host {
    pub latency: Duration,
    faults: Vec<(Duration, Duration, Fault)>,
    spec: EndpointSpec,
}

pub(super) struct World {
    random: Box<dyn FnMut() -> u64>,
    pub hosts: Vec<Host>,
    pub set: EndpointSet,
    pub detector: OutlierDetector,
    pub settings: ir::OutlierDetection,
    pub usage: Arc<ClusterUsage>,
    pub limits: ir::ClusterLimits,
    pub attempts: u32,
    pub hedge: Option<Hedge>,
    pub limiter: Option<Arc<ConcurrencyLimiter>>,
    pub buckets: RateLimiter,
    pub bucket: ir::TokenBucket,
    pub suspected: bool,
    pub began: Instant,
    pub faults_end: Duration,
    /// Between two requests, in the mean.
    gap: Duration,
    now: Instant,
}

impl World {
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut random = source(seed);
        let mut up_to = |most: u64| random() % most;
        let faults_begin = Duration::from_secs(8);
        let faults_end = faults_begin + Duration::from_secs(10 + up_to(20));
        let settings = detection(&mut up_to);
        let load_balancer = match up_to(4) {
            0 => LoadBalancer::LeastRequest,
            1 => LoadBalancer::RoundRobin,
            2 => LoadBalancer::Random,
            _ => LoadBalancer::PeakEwma { decay: Duration::from_secs(1 + up_to(10)) },
        };
        let warms = up_to(3) == 0 && !matches!(load_balancer, LoadBalancer::Random);
        let policy = SetPolicy {
            panic_threshold: Some(settings.min_health_percent),
            slow_start: warms.then_some(ir::SlowStart {
                window: Duration::from_secs(4),
                minimum_percent: 10.0,
                aggression: 1.0,
            }),
            ..load_balancer.into()
        };
        let (count, failover) = (1 + up_to(12), up_to(3) == 0);
        // Sometimes all of them fail at once.
        let outage = (up_to(4) == 0).then(|| fault(&mut up_to, faults_begin, faults_end));
        let hosts: Vec<_> = (0..count as u16)
            .map(|port| {
                let place = up_to(3) as usize;
                let times = if up_to(2) == 0 { 0 } else { 1 + up_to(3) };
                let faults = (0..times).map(|_| fault(&mut up_to, faults_begin, faults_end)).chain(outage);
                let faults = faults.collect();
                let priority = if failover { place as u32 } else { 0 };
                let spec = EndpointSpec { priority, locality: PLACES[place].into(), ..spec(port, 1) };
                Host { latency: MS * (5 + up_to(25)) as u32, faults, spec }
            })
            .collect();
        let mut limits = ir::ClusterLimits::default();
        match up_to(4) {
            0 => {
                let (percent, min_concurrency) = (up_to(100) as f64, up_to(5) as u32);
                limits.retry_budget = Some(ir::RetryBudget { percent, min_concurrency });
                limits.earned_retries = false;
            }
            1 => {
                (limits.retry_budget, limits.max_retries, limits.earned_retries) =
                    (None, 1 + up_to(5) as u32, false);
            }
            _ => {}
        }
        let hedge = match up_to(4) {
            0 => Some(ir::Hedging { after: Some(MS * (20 + up_to(100)) as u32), percentile: None }),
            1 => Some(ir::Hedging { after: None, percentile: Some(90 + up_to(10) as u8) }),
            _ => None,
        };
        let bucket = ir::TokenBucket {
            max_tokens: 20 + up_to(100) as u32,
            tokens_per_fill: 5 + up_to(100) as u32,
            fill_interval: MS * (100 + up_to(900)) as u32,
        };
        let limiter = || Arc::new(ConcurrencyLimiter::new(ir::AdaptiveConcurrency::default(), now));
        let limiter = (up_to(3) == 0).then(limiter);
        let (attempts, gap) = (up_to(4) as u32, MS * (8 + up_to(30)) as u32);
        let specs = hosts.iter().map(|host| host.spec.clone()).collect();
        World {
            set: EndpointSet::build(&policy, specs, None, now),
            detector: OutlierDetector::new(&settings),
            hosts,
            settings,
            usage: Arc::default(),
            limits,
            attempts,
            hedge: hedge.map(Hedge::new),
            limiter,
            buckets: RateLimiter::new(bucket, None, now),
            bucket,
            suspected: false,
            began: now,
            faults_end,
            gap,
            now,
            random: Box::new(random),
        }
    }

    /// How long it matters who was slow: until what is left of the time for a try is less than what a quick host takes.
    pub fn memory(&self) -> Duration {
        match self.set.policy().load_balancer {
            LoadBalancer::PeakEwma { decay } => decay * 5,
            _ => Duration::ZERO,
        }
    }

    pub fn random(&mut self) -> u64 {
        (self.random)()
    }

    /// Until the next request comes: requests come by chance.
    pub fn pause(&mut self) -> Duration {
        let uniform = ((self.random() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        self.gap.mul_f64(-uniform.ln())
    }

    pub fn pick(&mut self, tried: &[Arc<Endpoint>], now: Instant) -> Arc<Endpoint> {
        let clock = move || now;
        let random = &mut *self.random;
        let mut context = PickContext { hash: None, random, now: &clock, tried, leave: &[] };
        self.set.pick(&mut context).expect("somebody is always left").clone()
    }

    /// What comes of a try that begins now.
    pub fn answer(&mut self, endpoint: &Endpoint, now: Instant) -> Answer {
        let (at, random) = (now - self.began, self.random());
        let host = &self.hosts[index(endpoint)];
        let well = Answer { took: host.latency, status: Some([200, 204, 404][(random % 3) as usize]) };
        let fault = host.faults.iter().find(|(from, to, _)| (*from..*to).contains(&at));
        match fault {
            None => well,
            Some((.., Fault::Status(status))) => Answer { took: MS * 2, status: Some(*status) },
            Some((.., Fault::Silent)) => Answer { took: PATIENCE, status: None },
            Some((.., Fault::Slow(times))) => Answer { took: host.latency * *times, ..well },
            Some((.., Fault::Sometimes(every))) if random.is_multiple_of(*every) => {
                Answer { status: Some(503), ..well }
            }
            Some((.., Fault::Sometimes(_))) => well,
        }
    }

    /// Whether a host had done anything wrong by now.
    pub fn has_failed(&self, endpoint: &Endpoint, now: Instant) -> bool {
        self.hosts[index(endpoint)].faults.iter().any(|(from, ..)| now >= self.began + *from)
    }

    /// Notes an answer, or that there was none, as the proxy does.
    pub fn heard(&mut self, endpoint: &Endpoint, answer: &Answer, took: Duration, now: Instant) {
        self.suspected |= self.detector.record(&endpoint.state, answer.seen());
        let answered = answer.status.is_some() && answer.took < PATIENCE;
        if answered {
            self.detector.time(&endpoint.state, took);
        }
        if let LoadBalancer::PeakEwma { decay } = self.set.policy().load_balancer {
            match answer.is_good() {
                true => endpoint.state.latency.record(took, now, decay),
                false => endpoint.state.latency.record_at_least(took, now, decay),
            }
        }
    }

    /// Notes a try that was given up for another.
    pub fn cancelled(&self, endpoint: &Endpoint, took: Duration, now: Instant) {
        if let LoadBalancer::PeakEwma { decay } = self.set.policy().load_balancer {
            endpoint.state.latency.record_given_up(took, now, decay);
        }
    }

    pub fn review(&mut self, now: Instant) {
        if let Some(set) = self.set.reviewed(now) {
            self.set = set;
        }
    }

    /// While there are faults, hosts sometimes leave, and are back at some later time. At the end all are there.
    pub fn reload(&mut self, now: Instant) -> bool {
        let since = now - self.began;
        let is_last = since >= self.faults_end && self.now < self.began + self.faults_end;
        self.now = now;
        if !is_last && (since >= self.faults_end || !self.random().is_multiple_of(12)) {
            return false;
        }
        let gone = if is_last { 0 } else { self.random() };
        let stays = |at: usize| at == 0 || (gone >> (2 * at)) & 3 != 3;
        let hosts = self.hosts.iter().enumerate().filter(|(at, _)| stays(*at));
        let specs = hosts.map(|(_, host)| host.spec.clone()).collect();
        let set = EndpointSet::build(self.set.policy(), specs, Some(&self.set), now);
        self.set.leave_for(&set);
        self.set = set;
        true
    }
}

fn detection(up_to: &mut impl FnMut(u64) -> u64) -> ir::OutlierDetection {
    let split = up_to(3) == 0;
    ir::OutlierDetection {
        consecutive_5xx: (up_to(4) > 0).then(|| 2 + up_to(6) as u32),
        consecutive_gateway_errors: (up_to(2) > 0).then(|| 2 + up_to(6) as u32),
        consecutive_local_origin_failures: split.then(|| 2 + up_to(4) as u32),
        split_external_local_origin_errors: split,
        interval: Duration::from_secs(1 + up_to(4)),
        base_ejection_time: Duration::from_secs(1 + up_to(6)),
        max_ejection_percent: [1, 10, 33, 50, 80, 100][up_to(6) as usize],
        min_health_percent: [0, 0, 30, 60][up_to(4) as usize],
        error_codes: Vec::new(),
        success_rate: (up_to(4) == 0).then(|| ir::SuccessRate {
            minimum_hosts: 1 + up_to(8) as u32,
            request_volume: 1 + up_to(30) as u32,
            stdev_factor: 1000 + up_to(1500) as u32,
        }),
        failure_percentage: (up_to(4) == 0).then(|| ir::FailurePercentage {
            threshold: 20 + up_to(80) as u8,
            minimum_hosts: 1 + up_to(8) as u32,
            request_volume: 1 + up_to(30) as u32,
        }),
        latency: (up_to(3) == 0).then(|| ir::Latency {
            factor: 2_000 + up_to(3_000) as u32,
            minimum: MS * 50,
            minimum_hosts: 2 + up_to(3) as u32,
            request_volume: 1 + up_to(20) as u32,
        }),
        probes: if up_to(3) == 0 { 1 + up_to(4) as u32 } else { 0 },
    }
}

fn fault(up_to: &mut impl FnMut(u64) -> u64, begin: Duration, end: Duration) -> (Duration, Duration, Fault) {
    let from = begin + (end - begin).mul_f64(up_to(100) as f64 / 200.0);
    let to = (from + Duration::from_secs(1 + up_to(12))).min(end);
    let fault = match up_to(6) {
        0 => Fault::Silent,
        1 => Fault::Sometimes(1 + up_to(4)),
        2 => Fault::Slow(5 + up_to(20) as u32),
        3 => Fault::Status(500),
        _ => Fault::Status([502, 503, 504][up_to(3) as usize]),
    };
    (from, to, fault)
}
