//! The application that `sidle run … -- CMD` starts and ends with.
//!
//! In:  a command.   Out: a process, and its exit code.
//! Invariants: the process does not outlive the value; a signal that ends it becomes 128 and its number, as in a shell.
//! Not here: when it starts and is asked to end (`app`).

use rustix::process::{Pid, Signal, kill_process};
use std::{ffi::OsString, io, os::unix::process::ExitStatusExt, process::ExitStatus};
use tokio::process::{Child, Command};

/// What a service manager tells this process alone: ready, say, is the proxy's word and not the application's.
const MANAGERS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A running application.
#[derive(Debug)]
pub struct Application {
    child: Child,
}

impl Application {
    /// Starts `command`, with the proxy's own streams and environment, but for [`MANAGERS`].
    ///
    /// # Errors
    /// When it is empty, or cannot be started; names the program.
    pub fn start(command: &[OsString]) -> io::Result<Application> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command after --"))?;
        let program_name = program.to_string_lossy();
        let mut command = Command::new(program);
        for variable in MANAGERS {
            command.env_remove(variable);
        }
        let child = command
            .args(arguments)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("`{program_name}`: {error}")))?;
        tracing::info!(pid = child.id(), program = %program_name, "the application started");
        Ok(Application { child })
    }

    /// Waits for its end, and gives its exit code. Cancel-safe.
    pub async fn ended(&mut self) -> u8 {
        match self.child.wait().await {
            Ok(status) => code(status),
            Err(error) => {
                tracing::error!(%error, "the application cannot be waited for");
                1
            }
        }
    }

    /// Asks it to end: SIGTERM.
    pub fn terminate(&self) {
        // None once it was waited for: then there is nobody to ask.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            tracing::warn!(%error, "the application could not be asked to end");
        }
    }

    /// Ends it without asking, if it has not ended.
    pub fn kill_if_alive(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            tracing::warn!("the application did not end in time; killing it");
            // It ended meanwhile, or the system lets nobody kill it: nothing is left to be done either way.
            let _ = self.child.start_kill();
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shell(script: &str) -> Application {
        Application::start(&["sh", "-c", script].map(OsString::from)).unwrap()
    }

    /// A shell that has done `setup`, and runs until a signal ends it.
    async fn running(setup: &str) -> Application {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("set-up");
        let application = shell(&format!("{setup}; touch {}; while :; do sleep 0.02; done", mark.display()));
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        application
    }

    #[tokio::test]
    async fn the_exit_code_is_the_commands() {
        assert_eq!(shell("exit 7").ended().await, 7);
        assert_eq!(shell("kill -9 $$").ended().await, 137);
    }

    #[tokio::test]
    async fn what_cannot_start_is_named() {
        let error = Application::start(&[OsString::from("/nowhere/at/all")]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        assert!(Application::start(&[]).is_err());
    }

    #[tokio::test]
    async fn it_may_end_by_itself_when_asked() {
        let mut application = running("trap 'exit 3' TERM").await;
        application.terminate();
        assert_eq!(application.ended().await, 3);
        application.terminate();
        application.kill_if_alive();
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_killed() {
        let mut application = running("trap '' TERM").await;
        application.terminate();
        let early = tokio::time::timeout(Duration::from_millis(100), application.ended()).await;
        assert!(early.is_err(), "ended with {early:?}");
        application.kill_if_alive();
        assert_eq!(application.ended().await, 137);
    }
}
