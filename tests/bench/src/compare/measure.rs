//! One work of one scenario, one round.
//!
//! Invariants: a subject is started anew for each, on a core where only subjects are; nobody but the one that is asked has anything to do; what
//! it did not answer rightly makes the run void.

use super::{
    load::{Figures, Measured, Plan, Target},
    scenarios::{Kind, Scenario, Work},
    stage::{Setup, Stage},
    subjects::{Reason, Subject},
};
use crate::{cores::Cores, usage::family, void::Void};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sidle_test_support::process::Process;
use std::{
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, time::timeout};

/// How long a subject may take to start: 10,000 routes are many.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(3);
/// What a load may take longer than it asks.
const SLACK: Duration = Duration::from_secs(30);
/// The share of requests that the second cluster is to get.
const SHARE: std::ops::Range<f64> = 0.07..0.13;
/// The share of answers that is in the log at least.
const LOGGED: f64 = 0.98;
/// A subject that does nothing is looked at for so long at least: Sidle looks at its files every five seconds.
const LOOK: Duration = Duration::from_secs(10);
/// Too few answers say nothing of shares.
const MANY: u64 = 2000;

/// How long to ask.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub window: Duration,
}

impl Times {
    /// Those of a kind of work.
    pub fn of(self, kind: Kind) -> Self {
        let window = if kind == Kind::Idle { self.window.max(LOOK) } else { self.window };
        Times { window, ..self }
    }
}

/// A subject that runs.
struct Running {
    process: Process,
}

impl Running {
    async fn start(subject: &Subject, setup: &Setup<'_>, cores: Cores) -> Result<Self, Reason> {
        let mut command = subject.command(setup)?;
        if let Err(error) = setup.keep(subject.name(), &command) {
            eprintln!("--keep: {error}"); // a full disk costs the files, not the figures
        }
        // A Ctrl-C is for this program, which then ends what it started.
        command.process_group(0);
        let mut running = Running { process: cores.on_proxy_core(|| Process::start(command))? };
        let begin = Instant::now();
        while TcpStream::connect(setup.address).is_err() {
            let ended = running.process.exit_status().is_some();
            if ended || begin.elapsed() > PATIENCE {
                let output = running.process.output();
                return Err(Reason::Void(Void::because(format!("does not listen: {}", output.trim()))));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(running)
    }
}

impl Running {
    /// Why the run is void, and what the subject says of it.
    fn failed(&mut self, void: &Void, name: &str) -> Reason {
        if !void.is_of(name) {
            return Reason::Void(Void::because(void.to_string()));
        }
        let output = self.process.output();
        let last: Vec<_> = output.trim().lines().rev().take(3).collect();
        let said = if last.is_empty() { String::new() } else { format!("; it says: {}", last.join(" / ")) };
        Reason::Void(Void::because(format!("{void}{said}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked to end, a subject ends its children too.
        let all = family(self.process.id());
        let signal = |id: u32, signal| {
            // One that has gone needs no signal.
            Pid::from_raw(id as i32).map(|id| kill_process(id, signal))
        };
        signal(self.process.id(), Signal::TERM);
        let begin = Instant::now();
        while self.process.exit_status().is_none() && begin.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.process.exit_status().is_none() {
            for id in all {
                signal(id, Signal::KILL);
            }
        }
    }
}

/// Does one work of a scenario with some subjects, which are there at once; with one, if it is idle. Figures of each, or why there are none:
/// it cannot do this, or the run is void.
pub async fn measure(
    stage: &Stage,
    cores: Cores,
    subjects: &[&Subject],
    scenario: &Scenario,
    work: Work,
    times: Times,
) -> Vec<Result<Figures, Reason>> {
    let mut started = Vec::new();
    for subject in subjects {
        started.push(start(stage, cores, subject, scenario).await);
    }
    let targets: Vec<_> = started.iter().flatten().map(|(_, _, target)| target.clone()).collect();
    if targets.is_empty() {
        return started.into_iter().filter_map(Result::err).map(Err).collect();
    }
    let plan = Plan {
        targets,
        upstream: stage.upstream(),
        cores: [cores.proxy(), cores.load()],
        clients: scenario.clients,
        certificates: stage.certificates().to_owned(),
        work,
        warm_up: times.warm_up,
        window: times.window,
    };
    let mut loaded = load(&plan).await.map(Vec::into_iter);
    let outcome = |(subject, started): (&&Subject, Result<_, Reason>)| {
        let (setup, mut running, _) = started?;
        match &mut loaded {
            Ok(figures) => {
                let figures = figures.next().ok_or_else(|| Void::because("no figures"))?;
                judge(subject, scenario, &setup, running, &figures)?;
                Ok(figures)
            }
            Err(void) => Err(running.failed(void, subject.name())),
        }
    };
    subjects.iter().zip(started).map(outcome).collect()
}

/// Starts a subject on a setup of its own.
async fn start<'a>(
    stage: &'a Stage,
    cores: Cores,
    subject: &Subject,
    scenario: &'a Scenario,
) -> Result<(Setup<'a>, Running, Target), Reason> {
    let setup = stage.setup(scenario)?;
    let running = Running::start(subject, &setup, cores).await?;
    let target =
        Target { name: subject.name().to_owned(), address: setup.address, process: running.process.id() };
    Ok((setup, running, target))
}

/// Whether a subject did what it was to do; it ends.
fn judge(
    subject: &Subject,
    scenario: &Scenario,
    setup: &Setup<'_>,
    running: Running,
    figures: &Figures,
) -> Result<(), Void> {
    if let Some(measured) = figures.load().filter(|_| subject.splits()) {
        right_shares(measured)?;
    }
    drop(running);
    match figures.load().filter(|_| scenario.logs) {
        Some(measured) => logged(&setup.log(), measured.answers),
        None => Ok(()),
    }
}

/// Whether a log has a line for each answer, but for what may be lost when a subject ends.
fn logged(log: &Path, answers: u64) -> Result<(), Void> {
    let lines = memchr::memchr_iter(b'\n', &std::fs::read(log)?).count();
    if lines as f64 >= answers as f64 * LOGGED {
        return Ok(());
    }
    Err(Void::because(format!("{lines} lines in the log for {answers} answers")))
}

/// Runs the load in a process of its own.
async fn load(plan: &Plan) -> Result<Vec<Figures>, Void> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .arg("load")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&serde_json::to_vec(plan)?).await?;
    }
    // Idle connections are waited for twice.
    let limit = (plan.warm_up + plan.window) * 2 * plan.targets.len() as u32 + SLACK;
    let ended = timeout(limit, child.wait_with_output()).await;
    let output = ended.map_err(|_| Void::because(format!("no end after {limit:?}")))??;
    if output.stdout.is_empty() {
        return Err(Void::because(format!("the load ended by itself: {}", output.status)));
    }
    match serde_json::from_slice(&output.stdout)? {
        Outcome::Counts(figures) => Ok(figures),
        Outcome::Void(reason) => Err(Void::because(reason)),
    }
}

/// What a load says.
#[derive(Serialize, Deserialize)]
pub enum Outcome {
    /// All was right.
    Counts(Vec<Figures>),
    /// Something was not.
    Void(String),
}

/// The other end of [`load`]: what a load says, for its standard output.
///
/// # Errors
/// When it is not told what to do.
pub fn load_process() -> Result<String, Void> {
    let plan: Plan = serde_json::from_reader(std::io::stdin())?;
    let outcome =
        super::load::run(&plan).map_or_else(|void| Outcome::Void(void.to_string()), Outcome::Counts);
    Ok(serde_json::to_string(&outcome)?)
}

/// Whether the second cluster had its part.
fn right_shares(measured: &Measured) -> Result<(), Void> {
    let share = measured.clusters[1] as f64 / measured.answers as f64;
    let few = measured.answers < MANY;
    if few || SHARE.contains(&share) {
        return Ok(());
    }
    Err(Void::because(format!(
        "of {} answers {share:.3} came from the second cluster, not 0.1",
        measured.answers
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_one_that_does_nothing_is_long_whatever_loads_are() {
        let of = |seconds, kind| {
            let times = Times { warm_up: Duration::ZERO, window: Duration::from_secs(seconds) };
            times.of(kind).window.as_secs()
        };
        assert_eq!((of(2, Kind::Idle), of(20, Kind::Idle), of(2, Kind::Rate)), (10, 20, 2));
    }

    #[test]
    fn a_log_has_a_line_for_each_answer() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "line\n".repeat(99)).unwrap();
        assert!(logged(log.path(), 100).is_ok());
        assert!(logged(log.path(), 102).is_err());
        assert!(logged(Path::new("/no/such/file"), 1).is_err());
    }

    #[test]
    fn a_tenth_goes_to_the_second_cluster_if_there_are_many() {
        let judged = |clusters: [u64; 2]| {
            let answers = clusters.iter().sum();
            let measured = Measured {
                answers,
                clusters,
                seconds: 1.0,
                cpu_nanoseconds: 1,
                disturbance: [0.0; 2],
                latency: None,
            };
            right_shares(&measured).is_ok()
        };
        assert!(judged([9000, 1000]));
        assert!(judged([9300, 701]) && judged([8701, 1299]));
        assert!(!judged([10_000, 0]) && !judged([5000, 5000]));
        assert!(judged([10, 10]), "few say nothing");
    }
}
