//! A proxy on a mesh: started, changed, loaded, and measured from outside.
//!
//! Invariants: one worker; on a core of its own where there are two; a configuration with a warning is void.

use super::{
    mesh::{Mesh, Switch, file_name},
    steady::Steady,
};
use crate::{
    compare::load::Latency,
    cores::Cores,
    load::{Connection, Load, Question},
    usage::CpuTime,
    void::Void,
};
use sidle_test_support::{
    ports,
    process::Process,
    sidle::{Ports, command, http_get},
};
use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a start or a change may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a swap its report may come.
const REPORT: Duration = Duration::from_secs(2);
/// Between two looks. What is looked at costs the proxy far less.
const LOOK: Duration = Duration::from_millis(2);

/// Where a proxy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a core of its own.
    Alone,
    /// On both cores, one of which the load uses, too.
    Both,
}

/// A proxy on a mesh.
pub struct Subject {
    /// What it runs on.
    pub mesh: Mesh,
    /// Size of its manifests.
    pub bytes: usize,
    folder: TempDir,
    ports: Ports,
    cores: Option<Cores>,
    process: Option<Process>,
    switch: Switch,
    /// Configurations that this process has been given.
    applied: u64,
}

/// How a change went.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// From before the write until a request was answered by it.
    pub applied: Duration,
    /// How much of that the proxy says it worked: reading, checking, lowering, building, swapping.
    pub work: Duration,
    /// The slowest request from the write until a while after.
    pub slowest: Duration,
}

impl Subject {
    /// Writes the files of `mesh`; does not run yet.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(mesh: Mesh, cores: Option<Cores>) -> Result<Self, Void> {
        let folder = tempfile::Builder::new().prefix("sidle-bench-").tempdir()?;
        let ports = Ports {
            outbound: ports::free(),
            inbound: ports::free(),
            admin: ports::free(),
            metrics: ports::free(),
            health: ports::free(),
        };
        fs::write(folder.path().join("proxy.yaml"), ports.document("  concurrency: 1\n"))?;
        let mut bytes = 0;
        for (name, text) in mesh.files() {
            bytes += text.len();
            fs::write(folder.path().join(name), text)?;
        }
        Ok(Subject { mesh, bytes, folder, ports, cores, process: None, switch: 0, applied: 0 })
    }

    /// Ends the proxy if it runs, and starts it anew. Time until it is ready.
    ///
    /// # Errors
    /// When it ends, does not become ready, or warns of its configuration.
    pub async fn start(&mut self, place: Place) -> Result<Duration, Void> {
        self.process = None;
        let mut command = command();
        command.arg("run").arg("-c").arg(self.folder.path());
        let begin = Instant::now();
        let process = match self.cores {
            Some(cores) if place == Place::Both => cores.on_both(|| Process::start(command))?,
            Some(cores) => cores.on_proxy_core(|| Process::start(command))?,
            None => Process::start(command),
        };
        let process = self.process.insert(process);
        loop {
            if let Some(status) = process.exit_status() {
                return Err(Void::because(format!("the proxy ended with {status}:\n{}", process.output())));
            }
            if http_get(self.ports.admin, "/ready").is_ok_and(|answer| answer.status == 200) {
                break;
            }
            if begin.elapsed() > PATIENCE {
                return Err(Void::because(format!("the proxy is not ready after {PATIENCE:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        let took = begin.elapsed();
        self.applied = 1;
        self.last_attempt()?;
        Ok(took)
    }

    /// Changes one weight, as [`Self::switch`] does, and asks the proxy what it made of that.
    ///
    /// # Errors
    /// When the change is not applied, or a request fails meanwhile.
    pub async fn change(&mut self, aftermath: Duration) -> Result<Change, Void> {
        let (applied, slowest) = self.switch(aftermath).await?;
        Ok(Change { applied, work: self.last_attempt()?, slowest })
    }

    /// Changes one weight in one file, and asks until a request is answered by it, and `aftermath` longer. How long it took, and the
    /// slowest request.
    async fn switch(&mut self, aftermath: Duration) -> Result<(Duration, Duration), Void> {
        let question = self.mesh.switched();
        let mut client = Connection::open(self.ports.outbound).await?;
        if client.ask(&question).await? != self.switch {
            return Err(Void::because("the weights before the change do not hold"));
        }
        let wanted = 1 - self.switch;
        let text = self.mesh.file(0, wanted);
        // In one step, as editors and deployments do: there is never half a file.
        let hidden = self.folder.path().join(".new");
        let begin = Instant::now();
        fs::write(&hidden, text)?;
        fs::rename(&hidden, self.folder.path().join(file_name(0)))?;
        let mut slowest = Duration::ZERO;
        let mut applied = None;
        while applied.is_none_or(|applied| begin.elapsed() < applied + aftermath) {
            let asked = Instant::now();
            let answer = client.ask(&question).await?;
            slowest = slowest.max(asked.elapsed());
            if answer == wanted {
                applied.get_or_insert_with(|| begin.elapsed());
            } else if applied.is_some() {
                return Err(Void::because("an applied change was taken back"));
            } else if begin.elapsed() > PATIENCE {
                return Err(Void::because(format!("a change is not applied after {PATIENCE:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        let applied = applied.unwrap_or_default();
        self.switch = wanted;
        self.applied += 1;
        Ok((applied, slowest))
    }

    /// Microseconds of CPU for each request, and requests a second.
    ///
    /// # Errors
    /// When an answer is wrong.
    pub async fn cost(&self, load: &Load, questions: &Arc<[Question]>) -> Result<(f64, f64), Void> {
        let before = CpuTime::of(self.process()?.id())?;
        let took = load.run(self.ports.outbound, questions).await?;
        let nanoseconds = CpuTime::of(self.process()?.id())?.since(&before);
        let requests = load.requests as f64;
        Ok((nanoseconds as f64 / 1e3 / requests, requests / took.as_secs_f64()))
    }

    /// How long requests take that come at a fixed rate, in a quiet time, or while one change follows another.
    ///
    /// # Errors
    /// When an answer is wrong, or a change is not applied.
    pub async fn latency(&mut self, steady: Steady, reloads: bool) -> Result<Latency, Void> {
        let load = steady.start(self.ports.outbound, self.mesh.forwarded());
        while !load.is_finished() {
            match reloads {
                true => drop(self.switch(Duration::ZERO).await?),
                false => tokio::time::sleep(LOOK).await,
            }
        }
        let latency = load.join().map_err(|_| Void::because("the load ended by a panic"))?;
        // Not after each change: whoever asks stands still until it is answered, and the upstreams share this thread.
        self.last_attempt()?;
        latency
    }

    /// Resident memory in MiB.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident_mib(&self) -> Result<f64, Void> {
        Ok(self.process()?.resident_bytes() as f64 / f64::from(1 << 20))
    }

    fn process(&self) -> Result<&Process, Void> {
        self.process.as_ref().ok_or_else(|| Void::because("the proxy does not run"))
    }

    /// How long the last attempt to apply the configuration took. The swap comes a moment before the report of it.
    fn last_attempt(&self) -> Result<Duration, Void> {
        let begin = Instant::now();
        loop {
            let status = http_get(self.ports.admin, "/config/status")?.json();
            let attempt = &status["lastAttempt"];
            let expected = attempt["result"] == "applied"
                && attempt["diagnostics"]
                    .as_array()
                    .is_some_and(|all| all.iter().all(|one| one["severity"] == "info"))
                && status["accepted"] == self.applied
                && status["rejected"] == 0;
            if let (true, Some(milliseconds)) = (expected, attempt["durationMs"].as_f64()) {
                return Ok(Duration::from_secs_f64(milliseconds / 1e3));
            }
            if begin.elapsed() > REPORT {
                return Err(Void::because(format!("attempt {} is not as expected: {attempt}", self.applied)));
            }
            std::thread::sleep(LOOK);
        }
    }
}
