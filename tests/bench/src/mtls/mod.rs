//! `mtls`: what mutual TLS costs, beside Envoy on the same files.
//!
//! In:  how much to ask.   Out: for both proxies, CPU of a connection with its handshake and one request, of a request on a
//! connection that stands, and of a request in the clear.
//! Invariants: Envoy runs what `sidle export envoy` makes of the same manifests; both have one worker and the same core, and rounds of
//! the two alternate; every handshake is a full one; every answer is checked.
//! Read: [`run`] -> `subject.rs` (a proxy) -> `client.rs` (the load) -> `report.rs`.

mod client;
mod report;
mod subject;

use crate::{
    cores::{Cores, load_average},
    load::Question,
    upstream::{self, Upstream},
    void::Void,
};
use clap::Args;
use client::Client;
use report::Report;
use std::{sync::Arc, time::Duration};
use subject::{HOST, Subject};

/// The whole measurement; more is a machine that is too busy.
const DEADLINE: Duration = Duration::from_secs(180);

/// How much to ask.
#[derive(Debug, Args)]
pub struct MtlsArgs {
    /// Rounds, after one that does not count
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// New connections of a round
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    handshakes: u32,
    /// Requests of a round on connections that stand
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
    /// Clients at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
}

/// What is measured of each proxy, in the order of the table.
pub const LOADS: [&str; 3] =
    ["connection: handshake, one request", "request on a connection with mTLS", "request in the clear"];

/// Measures.
///
/// # Errors
/// When the run does not count.
pub fn run(args: &MtlsArgs) -> Result<Report, Void> {
    if cfg!(debug_assertions) {
        return Err(Void::because("an unoptimised build says nothing: run with --release"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let in_time = tokio::time::timeout(DEADLINE, measure(args)).await;
        in_time.unwrap_or_else(|_| Err(Void::because(format!("no end after {DEADLINE:?}"))))
    })
}

async fn measure(args: &MtlsArgs) -> Result<Report, Void> {
    // Builds the program if it is not there: before anything is measured, and before this thread keeps to one core.
    sidle_test_support::sidle::path();
    let busy = load_average()?;
    let cores = Cores::claim()?;
    let upstream = Upstream::start(1).await?;
    let mut subjects = vec![Subject::sidle(upstream.port, cores).await?];
    subjects.extend(Subject::envoy(upstream.port, cores).await?);
    let right = upstream::body(upstream::VERSIONS[0], "/path");
    let question: Arc<Question> = Arc::new(Question::get(HOST, "/path", vec![right]));
    let mut figures = vec![[const { Vec::new() }; LOADS.len()]; subjects.len()];
    for round in 0..=args.rounds {
        for (subject, figures) in subjects.iter().zip(&mut figures) {
            let client = Client::new(subject, question.clone(), args.connections.into());
            let costs = [
                subject.cost(args.handshakes, client.handshakes(args.handshakes)).await?,
                subject.cost(args.requests, client.requests(args.requests)).await?,
                subject.cost(args.requests, client.clear(args.requests)).await?,
            ];
            for (figures, cost) in figures.iter_mut().zip(costs).filter(|_| round > 0) {
                figures.push(cost);
            }
        }
    }
    let agreed = Client::new(&subjects[0], question, 1).agreed().await?;
    let conditions = format!(
        "One worker; {}; {agreed}; load average before: {busy:.2}. Median (smallest–largest) of {} rounds of {} connections and {} \
         requests, {} clients.",
        if cores.is_some() { "the proxy alone on one core" } else { "all on one core" },
        args.rounds,
        args.handshakes,
        args.requests,
        args.connections,
    );
    let names = subjects.iter().map(|subject| subject.name).collect();
    Ok(Report { conditions, names, figures })
}
