//! SIGUSR2: this process starts its own program anew, which then takes over.

use crate::app::state::AppState;
use sidle_telemetry::Takeover;
use std::{io, path::PathBuf, sync::Arc};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
};

/// What to start.
pub struct Renewal {
    /// The file of this program, as it was found when it started; by now there may be a newer one.
    pub program: io::Result<PathBuf>,
    /// Where the two meet.
    pub socket: Option<PathBuf>,
    /// Whether this process has an application, which cannot have another parent.
    pub has_application: bool,
}

impl Renewal {
    fn detached(&self) -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    fn start(&self) -> io::Result<Child> {
        let impossible = |why: &str| io::Error::new(io::ErrorKind::Unsupported, why);
        if let Some(why) = irreplaceable(self.has_application) {
            return Err(impossible(why));
        }
        let Some(socket) = &self.socket else {
            return Err(impossible("there is no takeover socket; --takeover-socket says where it may be"));
        };
        let program = match &self.program {
            Ok(program) => program,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        let mut command = Command::new(program);
        if self.detached() {
            command.env(DETACH, "true");
        }
        command
            .args(std::env::args_os().skip(1))
            .env("SIDLE_TAKEOVER", "true")
            .env("SIDLE_TAKEOVER_SOCKET", socket)
            // It may live as long as the service manager's word is for whoever is its main process.
            .env_remove("WATCHDOG_PID")
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", program.display())))
    }
}

/// Tells a new process to start another one that does the work, and to end.
const DETACH: &str = "SIDLE_DETACH";

/// Starts this program once more and is done, if that was asked for: the one that goes on is a child of the service manager then, as a
/// main process of its has to be. systemd waits for no other before it kills it.
///
/// # Errors
/// It could not be started.
pub fn detach() -> io::Result<bool> {
    if std::env::var_os(DETACH).is_none() {
        return Ok(false);
    }
    let program = std::env::current_exe()?;
    std::process::Command::new(program).args(std::env::args_os().skip(1)).env_remove(DETACH).spawn()?;
    Ok(true)
}

/// Why no other process can take this one's place, if so.
pub fn irreplaceable(has_application: bool) -> Option<&'static str> {
    if has_application {
        return Some("the application after `--` is this process' child and ends with it");
    }
    (std::process::id() == 1).then_some("this is process 1 of a container, which ends with it")
}

/// Hears SIGUSR2 from here on, so that it kills nobody.
///
/// # Errors
/// The system's.
pub fn signals() -> io::Result<Signal> {
    signal(SignalKind::user_defined2())
}

/// Starts the new process at each SIGUSR2.
pub async fn on_signal(mut signals: Signal, state: Arc<AppState>, renewal: Renewal) {
    while signals.recv().await.is_some() {
        match renewal.start() {
            Ok(child) => {
                tracing::info!(process = child.id(), "started, to take over");
                tokio::spawn(reap(child, renewal.detached()));
            }
            Err(error) => {
                state.telemetry().taken_over(Takeover::Failed);
                tracing::error!(%error, "SIGUSR2: no new process could be started; this one goes on");
            }
        }
    }
}

/// Notes the end of a new process that did not outlive this one.
async fn reap(mut child: Child, detached: bool) {
    let process = child.id();
    match child.wait().await {
        Ok(status) if detached && status.success() => {} // it has started another
        Ok(status) => tracing::warn!(process, %status, "the new process has ended"),
        Err(error) => tracing::warn!(process, %error, "the new process cannot be waited for"),
    }
}
