//! The end of the process: readiness off, clients sent elsewhere, out when nothing is under way or time is up.

use super::{core_files, state::AppState};
use crate::{admin::AdminSource, child::Application, worker::Activity};
use std::{
    ffi::OsString,
    io,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the draining process looks whether it may end.
const LOOK: Duration = Duration::from_millis(20);

/// How long it may take until nobody is accepted any more, and then until the other process knows.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How long workers may take to account for what was cut.
const LAST_ACCOUNTS: Duration = Duration::from_secs(1);

/// What may end the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes SIGTERM and SIGINT over.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn either(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts the application, if there is a command, and waits for it to end, for a signal, for admin's quit, or for another process
/// to have taken over; then drains. A second signal ends at once. `retire` ends what a process does that has been taken over
/// from and only drains; when it is done, the process' own servers accept nobody.
///
/// # Errors
/// The application cannot be started.
pub async fn until_the_end(
    state: &AppState,
    mut signals: Signals,
    command: &[OsString],
    retire: impl AsyncFnOnce(),
) -> io::Result<ExitCode> {
    let mut application = if command.is_empty() { None } else { Some(Application::start(command)?) };
    // After its start: the application's limits are its own affair.
    core_files::forbid();
    let (mut code, mut succeeded) = (None, false);
    tokio::select! {
        biased; // who has taken over waits to hear that it is alone
        successor = successor(state) => {
            tracing::info!(process = successor, "another process has taken over");
            succeeded = true;
        }
        () = signals.either() => {}
        () = state.quit.notified() => {}
        ended = ended(&mut application) => code = Some(ended),
    }
    tracing::info!("draining");
    let began = Instant::now();
    let mut settings = state.drain_settings();
    if succeeded {
        // Whoever comes, comes to the other process; what is left may last.
        settings.minimum = Duration::ZERO;
        settings.deadline = settings.takeover_deadline;
        let handed_over = async { tokio::join!(retire(), state.begin_succession()) };
        if tokio::time::timeout(HAND_OVER, handed_over).await.is_err() {
            tracing::warn!("some sockets are still accepted on");
        }
        state.succeeded.send_replace(true);
        // It takes our end for a failure before it has heard so, whatever signal has come meanwhile.
        let _ = tokio::time::timeout(HAND_OVER, state.handed_over.notified()).await;
    } else {
        state.manager.stopping(settings.deadline);
        state.begin_draining();
    }
    let drained = async {
        // Until then clients may still come that have not heard of the end.
        tokio::time::sleep(settings.minimum).await;
        if let Some(application) = &application {
            application.terminate();
        }
        while !is_quiet(state, succeeded) {
            tokio::time::sleep(LOOK).await;
        }
        if code.is_none() && application.is_some() {
            code = Some(ended(&mut application).await);
        }
    };
    tokio::select! {
        () = drained => tracing::info!(took = ?began.elapsed(), "drained"),
        () = tokio::time::sleep(settings.deadline) => tracing::warn!("the drain deadline cuts what is left"),
        () = signals.either() => tracing::warn!("asked again; ending now"),
    }
    state.end_workers();
    let cut = async {
        while !is_idle(state) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(LAST_ACCOUNTS, cut).await.is_err() {
        tracing::warn!("what was cut could not all be accounted for");
    }
    if let Some(application) = &mut application {
        application.kill_if_alive();
        if code.is_none() {
            code = Some(application.ended().await);
        }
    }
    Ok(ExitCode::from(code.unwrap_or(0)))
}

async fn ended(application: &mut Option<Application>) -> u8 {
    match application {
        Some(application) => application.ended().await,
        None => std::future::pending().await,
    }
}

/// The process that has taken over, once there is one.
async fn successor(state: &AppState) -> i32 {
    let mut successor = state.successor.subscribe();
    let known = successor.wait_for(Option::is_some).await.ok().and_then(|process| *process);
    known.unwrap_or_default()
}

/// Whether nothing is left to wait for. `all`: the application has to leave, too, since it has somewhere to go.
fn is_quiet(state: &AppState, all: bool) -> bool {
    let connected = |activity: &Activity| {
        let connections = if all { &activity.connections } else { &activity.inbound_connections };
        connections.load(Relaxed) != 0
    };
    is_idle(state) && !state.activity().is_some_and(connected)
}

/// Whether no request and no TCP connection is under way.
fn is_idle(state: &AppState) -> bool {
    state.activity().is_none_or(Activity::is_idle)
}

/// SIGUSR1 opens log files anew, as in Envoy and nginx: what logrotate sends.
pub async fn reopen_logs_on_signal(state: Arc<AppState>) {
    let Ok(mut signals) = signal(SignalKind::user_defined1()) else { return };
    while signals.recv().await.is_some() {
        state.reopen_logs();
    }
}
