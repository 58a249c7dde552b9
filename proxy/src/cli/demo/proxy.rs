//! The demo's proxy: this very binary, run on the demo's files.
//!
//! In:  the demo's files.   Out: readiness, [`Status`], an exit code.
//! Invariants: the process ends with the value, whatever happens.

use super::{
    super::{CliError, admin},
    files::Files,
    vault::Vault,
};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// Times that the proxy is started before it is given up.
const ATTEMPTS: usize = 3;
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
}

/// What `/config/status` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Of the running configuration.
    pub version: String,
    /// Where it is read from.
    pub paths: Vec<PathBuf>,
    /// Whether the last attempt to apply the files was refused.
    pub rejected: bool,
    /// What the proxy said of the refused files, first line first.
    pub diagnostics: Vec<String>,
}

impl Proxy {
    /// Starts it and waits until it is ready; somewhere else if somebody took its ports just then.
    pub async fn start(files: &mut Files) -> Result<Proxy, CliError> {
        let mut attempts = 1..ATTEMPTS;
        loop {
            match Self::start_once(files.folder(), files.admin, &[]).await {
                Err(_) if attempts.next().is_some() => files.place_proxy()?,
                started => return started,
            }
        }
    }

    /// Starts the one beside the vault.
    pub async fn start_vault(vault: &Vault) -> Result<Proxy, CliError> {
        Self::start_once(vault.folder(), vault.admin, &["--labels", "app=vault"]).await
    }

    async fn start_once(folder: &Path, address: SocketAddr, arguments: &[&str]) -> Result<Proxy, CliError> {
        let failed = |error: std::io::Error| CliError::Failed(format!("the demo's proxy: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let log = folder.join("proxy.log");
        let output = File::create(&log).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["run", "--no-color", "-c"]).arg(folder).args(arguments);
        // The demo's own files decide, not what the caller's proxy is told.
        for variable in ["SIDLE_ADMIN", "SIDLE_WORKERS", "SIDLE_NAMESPACE", "POD_NAMESPACE", "SIDLE_LABELS"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        let child = command.kill_on_drop(true).spawn().map_err(failed)?;
        let mut proxy = Proxy { child, admin: address, log };
        proxy.ready(folder).await?;
        Ok(proxy)
    }

    async fn ready(&mut self, folder: &Path) -> Result<(), CliError> {
        let began = Instant::now();
        loop {
            // Whoever answers may be another proxy: ours knows our files.
            if let Ok(answer) = admin::ask(self.admin, "/ready").await
                && answer.status == StatusCode::OK
                && self.status().await.is_ok_and(|status| status.paths == [folder])
            {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(&format!("ended at once ({status})")));
            }
            if began.elapsed() > START {
                return Err(self.failure("did not become ready"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn failure(&self, what: &str) -> CliError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        CliError::Failed(format!("the demo's proxy {what}; it said:\n{log}"))
    }

    /// What it says of its configuration.
    pub async fn status(&self) -> Result<Status, CliError> {
        let answer = admin::ask(self.admin, "/config/status").await?;
        let json: serde_json::Value = serde_json::from_slice(&answer.body)
            .map_err(|error| CliError::Failed(format!("/config/status: {error}")))?;
        let attempt = &json["lastAttempt"];
        let diagnostics = items(&attempt["diagnostics"]);
        Ok(Status {
            paths: items(&json["paths"]).iter().filter_map(|path| path.as_str()).map(PathBuf::from).collect(),
            version: json["version"].as_str().unwrap_or_default().to_owned(),
            rejected: attempt["result"] == "rejected",
            diagnostics: diagnostics.iter().filter(|one| one["severity"] == "error").map(one_line).collect(),
        })
    }

    /// Asks it to end, waits until it has, and gives its exit code; `None` if a signal ended it.
    pub async fn stop(mut self) -> Result<Option<i32>, CliError> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(|error| CliError::Failed(format!("SIGTERM: {error}")))?;
        }
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status.code()),
            Ok(Err(error)) => Err(CliError::Failed(format!("the demo's proxy: {error}"))),
            Err(_) => Err(self.failure(&format!("did not end within {STOP:?} of SIGTERM"))),
        }
    }
}

fn items(value: &serde_json::Value) -> &[serde_json::Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `split.yaml:14:11: unknown field …`, with the help that comes with it.
fn one_line(diagnostic: &serde_json::Value) -> String {
    let text = |key: &str| diagnostic[key].as_str().unwrap_or_default();
    let file = text("file").rsplit('/').next().unwrap_or_default();
    let (line, column) = (&diagnostic["span"]["line"], &diagnostic["span"]["column"]);
    let help = text("help");
    let help = if help.is_empty() { String::new() } else { format!(" ({help})") };
    format!("{file}:{line}:{column}: {}{help}", text("message"))
}
