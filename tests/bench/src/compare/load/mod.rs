//! The load, a process of its own: clients that check every answer, and look at what the subjects have used meanwhile.
//!
//! In:  a [`Plan`], JSON on standard input.   Out: [`Figures`], or why the run is void, JSON on standard output.
//! Invariants: what a subject has used is read at the moments at which answers begin and end to be counted; the first wrong answer makes
//! the run void; nothing is asked twice.
//! Read: [`run`] -> `turns.rs`, `idle.rs` (what is done) -> `pace.rs` (when to ask) -> `client.rs` (on which connection) -> `http1.rs`,
//! `http2.rs` (asking) -> `tally.rs` (what came back), `moment.rs` (what was used).

mod client;
mod http1;
mod http2;
mod idle;
mod moment;
pub mod pace;
pub mod tally;
mod turns;

use super::scenarios::{Clients, Work};
use crate::void::Void;
use client::Client;
pub use idle::Idle;
#[cfg(test)]
pub use idle::Nothing;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};
pub use tally::Latency;
use tokio::{
    task::{JoinSet, LocalSet},
    time::timeout,
};

/// How long answers may take when no more is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long questions may take that are asked one after the other.
const TURNS: Duration = Duration::from_secs(100);

/// A subject that listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// Whose mistakes are told.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process, whose children are looked at too.
    pub process: u32,
}

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Whom to ask; one, where connections stay and do nothing.
    pub targets: Vec<Target>,
    /// The process of the upstreams.
    pub upstream: u32,
    /// The subjects' core, and the one of load and upstreams.
    pub cores: [usize; 2],
    /// Who asks.
    pub clients: Clients,
    /// Where `ca.pem` is.
    pub certificates: PathBuf,
    /// How.
    pub work: Work,
    /// Asked before anything is counted.
    pub warm_up: Duration,
    /// What is counted of each target.
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
                        ", p50 {p50:.0} µs, p99 of 200 in a row {p99_of_run:.0} µs, p99 of all {p99:.0} µs, p99.9 {p999:.0} µs"
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

/// Does what the plan says: figures of each target.
///
/// # Errors
/// When the run is void.
pub fn run(plan: &Plan) -> Result<Vec<Figures>, Void> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        match (plan.work, plan.targets.as_slice()) {
            (Work::Idle(connections), [target]) => {
                Ok(vec![Figures::Idle(idle::run(plan, target, connections).await?)])
            }
            (Work::Idle(_), _) => Err(Void::because("one target at a time")),
            (Work::Rate(rate), _) => turns::run(plan, Some(rate)).await,
            (Work::Saturation, _) => turns::run(plan, None).await,
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
        let client = Client::of(turns.target, clients, certificates, Rc::default())?;
        timeout(TURNS, client.in_turn(turns.connections, turns.requests))
            .await
            .map_err(|_| Void::because("answers do not come"))?
    }))
}

/// Waits for the last answers of clients that are told of no more questions.
///
/// # Errors
/// When one is wrong, or does not come.
async fn end(mut clients: JoinSet<Result<(), Void>>) -> Result<(), Void> {
    let rest = async {
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| Void::because(error.to_string()))??;
        }
        Ok(())
    };
    timeout(PATIENCE, rest).await.map_err(|_| Void::because("answers do not come"))?
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
