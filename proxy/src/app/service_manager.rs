//! What the service manager hears: ready, reloading, stopping, alive, and a line for `systemctl status`.
//!
//! In:  `NOTIFY_SOCKET`, `WATCHDOG_USEC`; what happens to the process.   Out: datagrams, as sd_notify(3) describes.
//! Invariants: messages keep the order of the calls; ready is said when `/ready` says so, and nothing but the end after stopping was
//! said; a manager that does not read holds up nothing but the thread that tells it. Without `NOTIFY_SOCKET` nothing is sent.
//! Not here: what the unit says (`deploy/systemd`).
//! Read: [`Manager`] -> [`tell_when_ready`] -> [`watchdog`].

use super::state::AppState;
use crate::{
    admin::AdminSource,
    config::{AttemptResult, ConfigStatus},
    worker::Command,
};
use sd_notify::{NotifyState, notify};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc as queue},
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How often it is looked whether the proxy has become ready.
const LOOK: Duration = Duration::from_millis(100);
/// How long the last message may take.
const LAST_MESSAGE: Duration = Duration::from_secs(1);
/// What the end takes besides the drain's deadline: accounts, log lines, the application.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

enum Message {
    Status(String),
    Ready(String),
    Reloading,
    Alive,
    Stopping(Duration),
    Succeeded(u32),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    /// Somebody asked for a reload, and waits for its end.
    Reloading,
    Stopping,
    /// Another process has taken over: what is to be said is its word.
    Succeeded,
}

/// The service manager, if there is one.
pub struct Manager {
    messages: Option<queue::Sender<Message>>,
    phase: Mutex<Phase>,
}

impl Manager {
    /// The one of the environment.
    pub fn from_environment() -> Self {
        let asked = std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty());
        Manager { messages: if asked { speaker() } else { None }, phase: Mutex::new(Phase::Starting) }
    }

    /// A reload that somebody asked for begins.
    pub fn reloading(&self) {
        self.step(|phase| (phase == Phase::Ready).then_some((Phase::Reloading, Message::Reloading)));
    }

    /// An attempt to apply the files has ended.
    pub fn attempted(&self, status: &ConfigStatus) {
        let text = describe(status);
        self.step(|phase| match phase {
            // Still waiting for something else, which the status names.
            Phase::Starting | Phase::Stopping | Phase::Succeeded => None,
            Phase::Ready => Some((phase, Message::Status(text))),
            Phase::Reloading => Some((Phase::Ready, Message::Ready(text))),
        });
    }

    /// The end begins, and takes `deadline` at most.
    pub fn stopping(&self, deadline: Duration) {
        self.step(|phase| {
            let message = Message::Stopping(deadline + AFTER_DRAIN);
            (phase != Phase::Succeeded).then_some((Phase::Stopping, message))
        });
    }

    /// The process of this number is the service from now on; waits until that is said, since until then nobody believes it.
    pub async fn succeeded(&self, process: Option<u32>) {
        let Some(process) = process else { return };
        self.step(|_| Some((Phase::Succeeded, Message::Succeeded(process))));
        self.flush().await;
    }

    /// Waits until all is said.
    pub async fn flush(&self) {
        let (done, said) = oneshot::channel();
        self.send(Message::Flush(done));
        // A manager that does not read learns the rest from the end of the process.
        let _ = tokio::time::timeout(LAST_MESSAGE, said).await;
    }

    /// The next phase and what is said of it, together, so that no message of another thread comes between.
    fn step(&self, next: impl FnOnce(Phase) -> Option<(Phase, Message)>) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((to, message)) = next(*phase) {
            *phase = to;
            self.send(message);
        }
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // The thread lives as long as the sender.
            let _ = messages.send(message);
        }
    }
}

/// Says ready once `/ready` does, and until then what is missing.
pub async fn tell_when_ready(state: Arc<AppState>) {
    let manager = &state.manager;
    if manager.messages.is_none() {
        return;
    }
    let mut told = Vec::new();
    loop {
        let unmet = state.readiness().unmet;
        if unmet.is_empty() {
            break;
        }
        if unmet != told {
            let text = format!("waiting: {}", unmet.join(", "));
            manager.step(|phase| (phase == Phase::Starting).then_some((phase, Message::Status(text))));
            told = unmet;
        }
        tokio::time::sleep(LOOK).await;
    }
    let text = describe(&state.config_status());
    manager.step(|phase| (phase == Phase::Starting).then_some((Phase::Ready, Message::Ready(text))));
}

/// Says alive twice in the time that the manager gives, as long as every worker answers.
pub async fn watchdog(state: Arc<AppState>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if all_answer(state.workers()).await {
            state.manager.step(|phase| (phase != Phase::Succeeded).then_some((phase, Message::Alive)));
        }
    }
}

/// Waits for an answer of every worker. `false`: one has ended.
async fn all_answer(workers: &[mpsc::UnboundedSender<Command>]) -> bool {
    let answers = workers.iter().map(|worker| {
        let (reply, answer) = oneshot::channel();
        // One that cannot be told drops the reply.
        let _ = worker.send(Command::Answer(reply));
        answer
    });
    futures_util::future::join_all(answers).await.iter().all(Result::is_ok)
}

/// One line for whoever looks at the service.
fn describe(status: &ConfigStatus) -> String {
    let version = status.version.as_ref().map(ToString::to_string).unwrap_or_default();
    match &status.last_attempt {
        Some(attempt) if attempt.result == AttemptResult::Rejected => {
            format!("configuration {version} goes on: what the files say now was refused, see the log")
        }
        _ => {
            let plural = if status.resources == 1 { "" } else { "s" };
            format!("configuration {version}, {} resource{plural}", status.resources)
        }
    }
}

/// The thread that talks: sending may wait for the manager to read.
fn speaker() -> Option<queue::Sender<Message>> {
    let (sender, messages) = queue::channel();
    let speak = move || {
        let mut failed = false;
        for message in messages {
            if let Err(error) = say(message)
                && !std::mem::replace(&mut failed, true)
            {
                tracing::warn!(%error, "the service manager cannot be told");
            }
        }
    };
    let started = thread::Builder::new().name("sidle-notify".into()).spawn(speak);
    started.inspect_err(|error| tracing::warn!(%error, "the service manager cannot be told")).ok()?;
    Some(sender)
}

fn say(message: Message) -> io::Result<()> {
    match message {
        Message::Status(text) => notify(&[NotifyState::Status(&text)]),
        Message::Ready(text) => notify(&[NotifyState::Ready, NotifyState::Status(&text)]),
        Message::Reloading => notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]),
        Message::Alive => notify(&[NotifyState::Watchdog]),
        Message::Stopping(within) => {
            let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
            notify(&[
                NotifyState::Stopping,
                NotifyState::ExtendTimeoutUsec(within),
                NotifyState::Status("draining"),
            ])
        }
        Message::Succeeded(process) => notify(&[NotifyState::MainPid(process)]),
        Message::Flush(done) => {
            let _ = done.send(());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>) {
        mpsc::unbounded_channel()
    }

    fn answer(command: Option<Command>) {
        match command {
            Some(Command::Answer(reply)) => reply.send(()).unwrap(),
            _ => panic!("not asked"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_that_does_not_answer_is_enough() {
        let ((first, mut commands), (second, mut others)) = (worker(), worker());
        let workers = [first, second];
        let hour = Duration::from_secs(3600);
        let asked = tokio::time::timeout(hour, async {
            tokio::join!(all_answer(&workers), async { answer(commands.recv().await) })
        });
        assert!(asked.await.is_err(), "the second one hangs");
        // Both answer.
        let _asked_before = others.recv().await;
        let (alive, (), ()) =
            tokio::join!(all_answer(&workers), async { answer(commands.recv().await) }, async {
                answer(others.recv().await)
            });
        assert!(alive);
        // One has ended.
        drop(others);
        let (alive, ()) = tokio::join!(all_answer(&workers), async { answer(commands.recv().await) });
        assert!(!alive);
    }
}
