//! `scale`: what a large configuration costs beside a small one.
//!
//! In:  sizes.   Out: for both, time to start, time from a file's change to its effect and what requests notice of it, memory, CPU for each request.
//! Invariants: both proxies stay up while requests are measured, and rounds of the two alternate, so that what else happens to
//! the machine happens to both; the ratio is taken round by round.
//! Read: [`run`] -> `measure` -> `subject.rs` (a proxy) -> `mesh.rs` (its configuration) -> `report.rs`.

mod mesh;
mod report;
mod steady;
mod subject;

use crate::{
    compare::load::Latency,
    cores::{Cores, load_average},
    load::Load,
    upstream::Upstream,
    void::Void,
};
use clap::Args;
use mesh::Mesh;
use report::{Column, Cost, Figures, Report};
use std::time::Duration;
use steady::Steady;
use subject::{Place, Subject};

/// The small mesh.
const SMALL: (usize, usize) = (1, 10);
/// The whole measurement; more is a machine that is too busy.
const DEADLINE: Duration = Duration::from_secs(240);
/// How long requests are watched after a change: what was replaced has to go, too.
const AFTERMATH: Duration = Duration::from_millis(500);
/// Pause before memory is read and before requests are measured.
const SETTLE: Duration = Duration::from_secs(1);

/// Sizes of the large mesh, and how often to look.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Services of the large configuration
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    services: u16,
    /// Endpoints of each service
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(2..=200))]
    endpoints: u8,
    /// VirtualServices of the large configuration
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    virtual_services: u32,
    /// Starts of each proxy
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    starts: u32,
    /// Changes of one weight
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    changes: u32,
    /// Rounds of requests, after one that does not count
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Requests of a round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
    /// Pairs of times at a fixed rate, the first quiet, the second with one change after another
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=50))]
    pairs: u32,
    /// Requests a second of these times
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds of each of these times
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Clients at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
}

/// Measures.
///
/// # Errors
/// When the run does not count.
pub fn run(args: &ScaleArgs) -> Result<Report, Void> {
    if cfg!(debug_assertions) {
        return Err(Void::because("an unoptimised build says nothing: run with --release"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let in_time = tokio::time::timeout(DEADLINE, measure(args)).await;
        in_time.unwrap_or_else(|_| Err(Void::because(format!("no end after {DEADLINE:?}"))))
    })
}

async fn measure(args: &ScaleArgs) -> Result<Report, Void> {
    // Builds the program if it is not there: before anything is measured, and before this thread keeps to one core.
    sidle_test_support::sidle::path();
    let busy = load_average()?;
    let cores = Cores::claim()?;
    let upstream = Upstream::start(args.endpoints).await?;
    let small =
        Mesh { services: SMALL.0, virtual_services: SMALL.1, endpoints: args.endpoints, port: upstream.port };
    let large =
        Mesh { services: args.services.into(), virtual_services: args.virtual_services as usize, ..small };
    let mut subjects = [Subject::new(small, cores)?, Subject::new(large, cores)?];
    let mut figures = [Figures::default(), Figures::default()];
    for (subject, figures) in subjects.iter_mut().zip(&mut figures) {
        start_and_change(args, subject, figures).await?;
    }
    tokio::time::sleep(SETTLE).await;
    requests(args, &subjects, &mut figures).await?;

    let pinned = match cores {
        Some(_) => "the proxy alone on one core, load and upstream on another",
        None => "proxy, load and upstream on one core",
    };
    let conditions = format!(
        "One worker; {pinned}; load average before: {busy:.2}. Median (smallest–largest) of {} starts, {} changes of one weight, \
         {} rounds of {} requests on {} connections; p99 at {} requests/s, {} times {} s.",
        args.starts,
        args.changes,
        args.rounds,
        args.requests,
        args.connections,
        args.rate,
        args.pairs,
        args.seconds,
    );
    let [first, second] = figures;
    Ok(Report { conditions, columns: [Column::new(&subjects[0], first), Column::new(&subjects[1], second)] })
}

async fn start_and_change(
    args: &ScaleArgs,
    subject: &mut Subject,
    figures: &mut Figures,
) -> Result<(), Void> {
    subject.start(Place::Both).await?;
    figures.on_both = pairs(args, subject).await?;
    for _ in 0..args.starts {
        figures.start.push(milliseconds(subject.start(Place::Alone).await?));
    }
    tokio::time::sleep(SETTLE).await;
    figures.resident_at_start = subject.resident_mib()?;
    for _ in 0..args.changes {
        let change = subject.change(AFTERMATH).await?;
        figures.change.push(milliseconds(change.applied));
        figures.work.push(milliseconds(change.work));
        figures.slowest.push(milliseconds(change.slowest));
    }
    tokio::time::sleep(SETTLE).await;
    figures.resident_after_changes = subject.resident_mib()?;
    figures.alone = pairs(args, subject).await?;
    Ok(())
}

/// Requests at a fixed rate: when it is quiet, and while one change follows another.
async fn pairs(args: &ScaleArgs, subject: &mut Subject) -> Result<Vec<[Latency; 2]>, Void> {
    let steady = Steady {
        connections: args.connections.into(),
        rate: args.rate,
        lasts: Duration::from_secs(args.seconds),
    };
    let mut pairs = Vec::new();
    for _ in 0..args.pairs {
        tokio::time::sleep(SETTLE).await;
        let quiet = subject.latency(steady, false).await?;
        let reloads = subject.latency(steady, true).await?;
        pairs.push([quiet, reloads]);
    }
    Ok(pairs)
}

/// Rounds of both loads: small, large, small, large. The first of each only warms up.
async fn requests(args: &ScaleArgs, subjects: &[Subject; 2], figures: &mut [Figures; 2]) -> Result<(), Void> {
    let load = Load {
        connections: args.connections.into(),
        requests: args.requests as usize,
        patience: Duration::from_secs(30),
        core: None,
    };
    for kind in 0..2 {
        let questions = subjects.each_ref().map(|subject| match kind {
            0 => subject.mesh.forwarded(),
            _ => subject.mesh.direct(),
        });
        for round in 0..=args.rounds {
            for at in 0..subjects.len() {
                let (microseconds, rate) = subjects[at].cost(&load, &questions[at]).await?;
                if round > 0 {
                    figures[at].costs[kind].push(Cost { microseconds, rate });
                }
            }
        }
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
