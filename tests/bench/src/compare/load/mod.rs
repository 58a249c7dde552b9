//! The load, a process of its own: clients that check every answer, and look at what the subject has used meanwhile.
//!
//! In:  a [`Plan`], JSON on standard input.   Out: [`Measured`], or why the run is void, JSON on standard output.
//! Invariants: what the subject has used is read at the moments at which answers begin and end to be counted; the first wrong answer makes
//! the run void; nothing is asked twice.
//! Read: [`run`] -> `pace.rs` (when to ask) -> `client.rs` (on which connection) -> `http1.rs`, `http2.rs` (asking) -> `tally.rs` (what came back) -> `idle.rs`.

mod client;
mod http1;
mod http2;
mod idle;
pub mod pace;
pub mod tally;

use super::scenarios::{Clients, Work};
use crate::{cores::CoreTime, usage::CpuTime, void::Void};
use client::Client;
pub use idle::Idle;
#[cfg(test)]
pub use idle::Nothing;
use pace::Pace;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};
pub use tally::Latency;
use tally::Tally;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until, timeout},
};

/// How long answers may take when no more is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long questions may take that are asked one after the other.
const TURNS: Duration = Duration::from_secs(100);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where the subject listens.
    pub target: SocketAddr,
    /// Its process, whose children are looked at too.
    pub subject: u32,
    /// The process of the upstreams.
    pub upstream: u32,
    /// The subject's core, and the one of load and upstreams.
    pub cores: [usize; 2],
    /// Who asks.
    pub clients: Clients,
    /// Where `ca.pem` is.
    pub certificates: PathBuf,
    /// How.
    pub work: Work,
    /// Asked before anything is counted.
    pub warm_up: Duration,
    /// What is counted.
    pub window: Duration,
}

/// Questions that are asked one after the other.
pub struct Turns {
    /// Where the subject listens.
    pub target: SocketAddr,
    /// So many connections, in turn.
    pub connections: usize,
    /// How many.
    pub requests: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Right answers.
    pub answers: u64,
    /// Of these, by cluster.
    pub clusters: [u64; 2],
    /// How long it took.
    pub seconds: f64,
    /// Processor time of the subject.
    pub cpu_nanoseconds: u64,
    /// What others used of the two cores, a hypervisor among them, in parts of the whole time.
    pub disturbance: [f64; 2],
    /// From the moment a request should have been sent to its whole answer; only at a fixed rate.
    pub latency: Option<Latency>,
}

/// What a work comes to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Figures {
    /// Of clients that ask.
    Load(Measured),
    /// Of connections that stay.
    Idle(Idle),
}

impl Figures {
    /// If clients asked.
    pub fn load(&self) -> Option<&Measured> {
        match self {
            Figures::Load(measured) => Some(measured),
            Figures::Idle(_) => None,
        }
    }

    /// Whether something else used the subject's core.
    pub fn disturbed(&self) -> bool {
        self.load()
            .is_some_and(|measured| measured.disturbance.iter().any(|part| *part > Measured::DISTURBANCE))
    }

    /// If connections stayed.
    pub fn idle(&self) -> Option<&Idle> {
        match self {
            Figures::Load(_) => None,
            Figures::Idle(idle) => Some(idle),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figures::Load(load) => {
                let (cost, rate, full) = (load.cpu_microseconds(), load.rate(), load.fullness() * 100.0);
                write!(f, "{cost:.1} µs, {rate:.0} requests/s, its core {full:.0} % full")?;
                if let Some(Latency { p50, p99, p999, p99_of_run, .. }) = load.latency {
                    write!(
                        f,
                        ", p50 {p50:.0} µs, p99 {p99:.0} µs, of runs {p99_of_run:.0} µs, p99.9 {p999:.0} µs"
                    )?;
                }
                if self.disturbed() {
                    let [first, second] = load.disturbance.map(|part| part * 100.0);
                    write!(
                        f,
                        ", disturbed: others had {first:.0} % of its core, {second:.0} % of the other"
                    )?;
                }
                Ok(())
            }
            Figures::Idle(idle) => write!(
                f,
                "{:.1} MiB, {:.1} KiB for each connection, {:.2} ms/s, with connections {:.2} ms/s",
                idle.alone.resident_bytes as f64 / f64::from(1 << 20),
                idle.bytes_of_connection() / 1024.0,
                idle.alone.cpu_milliseconds,
                idle.with.cpu_milliseconds,
            ),
        }
    }
}

impl Measured {
    /// What others may use of a core.
    const DISTURBANCE: f64 = 0.06;

    /// Processor time of a request.
    pub fn cpu_microseconds(&self) -> f64 {
        self.cpu_nanoseconds as f64 / 1e3 / self.answers as f64
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    /// Which part of the time the subject ran.
    pub fn fullness(&self) -> f64 {
        self.cpu_nanoseconds as f64 / 1e9 / self.seconds
    }
}

/// Does what the plan says.
///
/// # Errors
/// When the run is void.
pub fn run(plan: &Plan) -> Result<Figures, Void> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        let begin = Instant::now() + plan.warm_up;
        let tally = Rc::new(Tally::new(begin, begin + plan.window));
        let client = Client::new(plan, tally.clone())?;
        match plan.work {
            Work::Idle(connections) => Ok(Figures::Idle(idle::run(plan, &client, connections).await?)),
            _ => Ok(Figures::Load(ask(plan, &tally, &client).await?)),
        }
    }))
}

/// Asks one question after the other.
///
/// # Errors
/// When an answer is wrong, or none comes.
pub fn take_turns(turns: &Turns, clients: Clients, certificates: &Path) -> Result<(), Void> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        let now = Instant::now();
        let client = Client::of(turns.target, clients, certificates, Rc::new(Tally::new(now, now)))?;
        timeout(TURNS, client.in_turn(turns.connections, turns.requests))
            .await
            .map_err(|_| Void::because("answers do not come"))?
    }))
}

async fn ask(plan: &Plan, tally: &Rc<Tally>, client: &Client) -> Result<Measured, Void> {
    let mut clients = JoinSet::new();
    let (paces, pacer) = match plan.work {
        Work::Rate(rate) => {
            let (paces, pacer) = pace::fixed(plan.clients.connections, rate, tally.end)?;
            (paces, Some(pacer))
        }
        _ => ((0..plan.clients.connections).map(|_| Pace::closed(tally)).collect(), None),
    };
    for pace in paces {
        clients.spawn_local(client.clone().ask(pace));
    }
    if let Some(pacer) = pacer {
        clients.spawn_local(pacer);
    }
    let counted = tokio::select! {
        counted = count(plan, tally) => counted?,
        failed = first_failure(&mut clients) => return Err(failed),
    };
    tally.stop();
    let rest = async {
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| Void::because(error.to_string()))??;
        }
        Ok::<_, Void>(())
    };
    timeout(PATIENCE, rest).await.map_err(|_| Void::because("answers do not come"))??;
    let latency = matches!(plan.work, Work::Rate(_)).then(|| tally.latency()).flatten();
    Ok(Measured { latency, ..counted })
}

/// The first client that gives up; does not end while all are well.
async fn first_failure(clients: &mut JoinSet<Result<(), Void>>) -> Void {
    while let Some(ended) = clients.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(void)) => return void,
            Err(error) => return Void::because(error.to_string()),
        }
    }
    std::future::pending().await
}

/// Looks at the beginning and at the end of what is counted.
async fn count(plan: &Plan, tally: &Tally) -> Result<Measured, Void> {
    sleep_until(tally.begin).await;
    let before = Moment::now(plan, tally)?;
    sleep_until(tally.end).await;
    let after = Moment::now(plan, tally)?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let [cpu_nanoseconds, ours] = [0, 1].map(|core| after.used[core].since(&before.used[core]));
    let disturbance = [(0, cpu_nanoseconds), (1, ours)].map(|(core, known)| {
        let others = after.cores[core].since(&before.cores[core]) - known as f64 / 1e9;
        (others / seconds).max(0.0)
    });
    let clusters = [0, 1].map(|at| after.clusters[at] - before.clusters[at]);
    let answers = clusters.iter().sum();
    if answers == 0 {
        return Err(Void::because("no answer"));
    }
    Ok(Measured { answers, clusters, seconds, cpu_nanoseconds, disturbance, latency: None })
}

/// What there is at a moment.
struct Moment {
    at: Instant,
    /// By the subject; by the upstreams and this process.
    used: [CpuTime; 2],
    cores: [CoreTime; 2],
    clusters: [u64; 2],
}

impl Moment {
    fn now(plan: &Plan, tally: &Tally) -> Result<Self, Void> {
        Ok(Moment {
            at: Instant::now(),
            used: [
                CpuTime::of(plan.subject)?,
                CpuTime::of(plan.upstream)?.and(CpuTime::of(std::process::id())?),
            ],
            cores: [CoreTime::of(plan.cores[0])?, CoreTime::of(plan.cores[1])?],
            clusters: tally.clusters(),
        })
    }
}
