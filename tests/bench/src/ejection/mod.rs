//! `ejection`: what clients notice of one endpoint that fails and one that is slow, beside Envoy.
//!
//! In:  how much to ask.   Out: for each setting, the share of errors and the latency that clients saw, at first and then.
//! Invariants: Envoy runs what `sidle export envoy` makes of the same manifests; requests are sent when they are due, whatever has come
//! back, and time counts from when they were due; nothing is retried.
//! Read: [`run`] -> `endpoints.rs` (five, of which two are not well) -> `subject.rs` (a proxy) -> `client.rs` (the load) -> `report.rs`.

mod client;
mod endpoints;
mod report;
mod subject;

use crate::{cores::load_average, void::Void};
use clap::Args;
use client::Load;
use endpoints::Endpoints;
use report::Report;
use std::time::Duration;
use subject::Subject;

/// How much to ask.
#[derive(Debug, Args)]
pub struct EjectionArgs {
    /// Requests in a second
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=5000))]
    rate: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(6..=120))]
    seconds: u32,
}

/// What is done about endpoints that are not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Off,
    Ejection,
    Latency,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Setting::Off => "no ejection",
            Setting::Ejection => "ejection (`outlierDetection`)",
            Setting::Latency => "ejection, and by latency (`HealthPolicy`)",
        }
    }
}

/// Measures.
///
/// # Errors
/// When the run does not count.
pub fn run(args: &EjectionArgs) -> Result<Report, Void> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &EjectionArgs) -> Result<Report, Void> {
    sidle_test_support::sidle::path(); // built before anything is measured
    let busy = load_average()?;
    let load = Load { rate: args.rate, time: Duration::from_secs(args.seconds.into()) };
    let mut rows = Vec::new();
    for setting in [Setting::Off, Setting::Ejection, Setting::Latency] {
        let endpoints = Endpoints::start().await?;
        let subject = Subject::sidle(endpoints.port, setting).await?;
        rows.push((subject.name, setting.name(), load.run(&subject).await?));
    }
    // Envoy has no ejection by latency.
    for setting in [Setting::Off, Setting::Ejection] {
        let endpoints = Endpoints::start().await?;
        if let Some(subject) = Subject::envoy(endpoints.port, setting).await? {
            rows.push((subject.name, setting.name(), load.run(&subject).await?));
        }
    }
    let conditions = format!(
        "{} requests/s for {} s each; five endpoints, LEAST_REQUEST, one worker; three answer after {:?}, one answers half of its \
         requests with 500, one answers after {:?}; no retries; load average before: {busy:.2}.",
        args.rate,
        args.seconds,
        endpoints::USUAL,
        endpoints::SLOW,
    );
    Ok(Report { conditions, rows })
}
