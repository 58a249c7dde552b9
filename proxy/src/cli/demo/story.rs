//! What the demo does, and what must be seen for it to have worked.
//!
//! In:  the running proxy, its files, its clients.   Out: [`Check`]s.
//! Invariants: a check is seen or not by what the clients and the proxy say, never by what was written to a file.
//! Not here: how it is shown (`screen`).
//! Read: `tell`, then each chapter.

use super::{
    super::{CliError, output::Style},
    files::{Files, Split},
    proxy::{Proxy, Status},
    screen::{Picture, Screen, shares},
    traffic::{Client, Counts},
    vault,
};
use std::time::{Duration, Instant};

/// The longest that a written file may take to be judged.
const APPLY: Duration = Duration::from_secs(10);
/// Answers without which a share says nothing, and how much longer than planned a slow machine may take for them.
const ENOUGH: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(10);
/// How far a share may be from what was asked for, in standard deviations.
const SIGMAS: f64 = 6.0;

/// Something that should be seen.
#[derive(Debug)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether.
    pub seen: bool,
}

/// The parts of the demo.
#[derive(Debug)]
pub struct Stage<'a> {
    /// What runs.
    pub proxy: &'a Proxy,
    /// What it runs on.
    pub files: &'a Files,
    /// Who asks; the first asks the service that is split.
    pub clients: &'a [Client],
    /// What shows it.
    pub screen: Screen,
    /// Collected as they are seen.
    pub checks: Vec<Check>,
}

impl Stage<'_> {
    /// Tells the whole story in about `length`.
    pub async fn tell(&mut self, length: Duration) -> Result<(), CliError> {
        let part = |share: f64| length.mul_f64(share);
        self.screen.heading("1  Nine of ten requests to echo.demo go to v1")?;
        self.split("90/10", 0.9, part(0.3)).await?;
        self.edit(part(0.3)).await?;
        self.mistake(part(0.25)).await?;
        self.repair(part(0.15)).await?;
        self.vault().await
    }

    async fn edit(&mut self, length: Duration) -> Result<(), CliError> {
        self.screen.heading(&format!("2  Edit split.yaml: {}", Split::FiftyFifty.edit()))?;
        let before = self.proxy.status().await?.version;
        let applied =
            self.write(Split::FiftyFifty, |status| status.version != before && !status.rejected).await?;
        self.check(applied.is_some(), format!("the edit was applied{}", after(applied)))?;
        self.split("50/50", 0.5, length).await
    }

    async fn mistake(&mut self, length: Duration) -> Result<(), CliError> {
        self.screen.heading(&format!("3  Break split.yaml: {}", Split::Broken.edit()))?;
        let before = self.proxy.status().await?.version;
        let refused = self.write(Split::Broken, |status| status.rejected).await?;
        let status = self.proxy.status().await?;
        for line in &status.diagnostics {
            self.screen.note(Style::Bad, line)?;
        }
        let positioned = status.diagnostics.iter().any(|line| line.starts_with("split.yaml:"));
        self.check(
            refused.is_some() && positioned,
            format!("the mistake was refused with its file, line and column{}", after(refused)),
        )?;
        self.check(status.version == before, format!("configuration {before} goes on"))?;
        self.split("50/50 still", 0.5, length).await
    }

    async fn repair(&mut self, length: Duration) -> Result<(), CliError> {
        self.screen.heading(&format!("4  Repair split.yaml: {}", Split::NinetyTen.edit()))?;
        let applied = self.write(Split::NinetyTen, |status| !status.rejected).await?;
        self.check(applied.is_some(), format!("the repair was applied{}", after(applied)))?;
        self.split("90/10 again", 0.9, length).await
    }

    async fn vault(&mut self) -> Result<(), CliError> {
        self.screen.heading("5  The proxy of vault.demo takes nothing but mTLS")?;
        let began = Instant::now();
        let mut answer = vault::ask(self.files.outbound).await;
        while answer != Some(200) && began.elapsed() < APPLY {
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer = vault::ask(self.files.outbound).await;
        }
        self.check(answer == Some(200), "a request through both proxies is answered".into())?;
        let known = self.files.vault.knows_its_caller().await?;
        self.check(known, format!("and known to come from {}", vault::CALLER))?;
        let refused = vault::ask(self.files.vault.inbound).await.is_none();
        self.check(refused, "a caller in plain text is refused".into())
    }

    /// Writes a file and waits until the proxy's status is `wanted`; `None`: it never was.
    async fn write(
        &mut self,
        split: Split,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Option<Duration>, CliError> {
        let written = Instant::now();
        self.files.edit(split)?;
        while written.elapsed() < APPLY {
            if wanted(&self.proxy.status().await?) {
                return Ok(Some(written.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(None)
    }

    /// Watches the traffic for `length`, then checks that v1 got its share of it.
    async fn split(&mut self, name: &str, v1: f64, length: Duration) -> Result<(), CliError> {
        // Requests that were under way when the phase began are still the last one's.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let start = self.clients[0].counts();
        let began = Instant::now();
        let failed = self.failed();
        let counts = loop {
            let counts = self.clients[0].counts().since(&start);
            let totals = self.totals();
            self.screen.draw(&Picture { split: &counts, totals: &totals })?;
            let left = length.saturating_sub(began.elapsed());
            let answered = counts.versions.values().sum::<u64>();
            if left.is_zero() && (answered >= ENOUGH || began.elapsed() > length + PATIENCE) {
                break counts;
            }
            let pace = self.screen.pace();
            tokio::time::sleep(if left.is_zero() { pace } else { pace.min(left) }).await;
        };
        let answered: u64 = counts.versions.values().sum();
        let share =
            shares(&counts).iter().find(|(version, _)| *version == "v1").map_or(0.0, |(_, share)| *share);
        let deviation = (v1 * (1.0 - v1) / answered.max(1) as f64).sqrt();
        let close = answered >= ENOUGH && (share - v1).abs() <= SIGMAS * deviation;
        self.check(close, format!("split {name}: {:.1} % of {answered} requests went to v1", share * 100.0))?;
        self.check(self.failed() == failed, format!("no request failed during {name}"))
    }

    fn totals(&self) -> Vec<(&'static str, Counts)> {
        self.clients.iter().map(|client| (client.name(), client.counts())).collect()
    }

    fn failed(&self) -> u64 {
        self.clients.iter().map(|client| client.counts().failed).sum()
    }

    fn check(&mut self, seen: bool, what: String) -> Result<(), CliError> {
        let (style, mark) = if seen { (Style::Good, "ok") } else { (Style::Bad, "NOT SEEN") };
        self.screen.note(style, &format!("{mark}  {what}"))?;
        self.checks.push(Check { what, seen });
        Ok(())
    }
}

fn after(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| format!(", {:.0} ms after it was saved", time.as_secs_f64() * 1e3))
}
