//! The composition root: what runs on which thread, and in which order it starts and ends.
//!
//! Workers, one thread each, carry traffic. The control runtime, on the main thread, does the rest: files, DNS,
//! admin, signals, the application. Only this room knows all others.
//! Read: [`run`] -> `publish` (a configuration takes effect) -> `state` (what admin sees) -> `service_manager` (what systemd hears)
//! -> `shutdown` (the end) -> `takeover` (another process goes on).

mod activation;
mod core_files;
mod descriptors;
mod file_size;
mod health_checks;
mod log;
mod memory;
mod outliers;
mod publish;
mod service_manager;
mod shutdown;
mod state;
mod takeover;

use crate::{
    admin::{AdminSource, Server, Surface, narrowed},
    config::{AttemptResult, Cause, Overrides, Reloader, WatchOptions},
    identity,
    listener::Inherited,
    name_server::NameServer,
    upstream::dns,
};
use publish::Publisher;
use sidle_model::ir::{Node, Settings};
use sidle_telemetry::{Takeover, Telemetry};
use state::AppState;
use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};
use takeover::{Door, Taken, TakeoverError, give, renew, take};
pub use takeover::{Options as TakeoverOptions, renew::detach};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

/// What the command line decides.
#[derive(Debug)]
pub struct RunOptions {
    /// Files, folders, globs, `-`.
    pub paths: Vec<PathBuf>,
    /// Who this proxy is.
    pub node: Node,
    /// What beats the files.
    pub overrides: Overrides,
    /// The application, if the proxy is to start it.
    pub command: Vec<OsString>,
    /// How the process takes another's place, and gives its own.
    pub takeover: takeover::Options,
}

/// Why the proxy did not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The first configuration was refused; the log has said why.
    #[error("the configuration was refused")]
    Configuration,
    /// A server of the proxy's own cannot be bound.
    #[error("cannot bind the {0} server to {1}: {2}")]
    Bind(&'static str, SocketAddr, io::Error),
    /// There is a process to take over from, and it does not let this one.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The running process waited for too long; it goes on.
    #[error("not ready in time to take over ({0}); the running process goes on")]
    Late(String),
    /// The runtime or a thread cannot be started.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The system's resolver configuration cannot be used.
    #[error("cannot use the system's resolver configuration: {0}")]
    Resolver(String),
}

/// How often it is looked whether the process may take over.
const LOOK: Duration = Duration::from_millis(20);
/// Reloads that may be asked for at once.
const MAX_RELOAD_REQUESTS: usize = 16;

/// Runs the proxy to its end.
///
/// # Errors
/// [`AppError`].
pub fn run(options: RunOptions) -> Result<ExitCode, AppError> {
    let telemetry = Telemetry::new();
    let log = log::start(telemetry.clone());
    let activated = activation::sockets();
    descriptors::raise_limit();
    descriptors::make_room();
    let control =
        tokio::runtime::Builder::new_current_thread().thread_name("sidle-control").enable_all().build()?;
    let code = control.block_on(live(options, telemetry, log, activated));
    control.shutdown_background();
    code
}

async fn live(
    options: RunOptions,
    telemetry: Arc<Telemetry>,
    log: log::Handle,
    activated: Vec<Inherited>,
) -> Result<ExitCode, AppError> {
    let RunOptions { paths, node, overrides, command, takeover } = options;
    // Now: a newer one may be put in its place.
    let program = std::env::current_exe();
    file_size::survive_limit()?;
    count_panics(telemetry.clone());
    let (dns, dns_server) =
        dns::dns(telemetry.clone()).map_err(|error| AppError::Resolver(error.to_string()))?;
    let (to_resolve, clusters) = mpsc::unbounded_channel();
    tokio::spawn(dns_server.run(clusters));
    let (reload, reload_requests) = mpsc::channel(MAX_RELOAD_REQUESTS);
    let state = AppState::new(telemetry.clone(), log, reload);

    // The signals are ours before anything can be asked to stop.
    let (signals, renewals) = (shutdown::Signals::listen()?, renew::signals()?);
    let hangup = signal(SignalKind::hangup())?;
    let name_server = NameServer::new().unwrap_or_else(|error| {
        tracing::warn!(%error, "/etc/resolv.conf cannot be read: names outside the mesh will not be answered");
        NameServer::alone()
    });
    let mut publisher = Publisher::new(state.clone(), dns, to_resolve, name_server.clone(), takeover.clone());
    publisher.inherited = activated;
    let refused = publisher.refused.clone();
    let mut reloader = Reloader::new(paths, node, overrides, publisher.builder(), publisher);
    state.set_status(reloader.status());
    let source = reloader.watch(WatchOptions::default()).await;
    let first = reloader.attempt(Cause::Start).await;
    if first.last_attempt.as_ref().is_none_or(|attempt| attempt.result == AttemptResult::Rejected) {
        drop(reloader);
        return Err(match Arc::into_inner(refused).and_then(OnceLock::into_inner) {
            Some(error) => error.into(),
            None => AppError::Configuration,
        });
    }
    tokio::spawn(shutdown::reopen_logs_on_signal(state.clone()));
    tokio::spawn(memory::watch(state.clone()));
    let (workload, metrics) = (state.workload().clone(), telemetry.clone());
    tokio::spawn(identity::run(state.identity_settings(), workload.clone(), metrics.clone()));
    tokio::spawn(identity::follow_files(workload, metrics, state.applied.clone()));
    let settings = reloader.running().map(|ir| ir.settings.clone()).unwrap_or_default();
    let (stop, stopped) = watch::channel(false);
    let mut taken = state.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    let servers = bind_servers(&settings, &state, &mut taken).await?;
    let shares = taken.is_some();
    state.set_started();
    let (door, others) = match taken {
        Some(mut taken) => {
            ready(&state, &mut taken).await?;
            (taken.door.take(), Some(taken))
        }
        None => (None, None),
    };
    // Only now: what is asked of this socket the other process does not hear.
    if let Some(given) = &settings.name_server {
        let bound = name_server.serve(given.address, shares, &stopped);
        bound.map_err(|error| AppError::Bind("DNS", given.address, error))?;
        tracing::info!(server = "dns", address = %given.address, "listening");
    }
    state.release();
    for server in servers {
        tokio::spawn(server.serve(state.clone(), stop_of(&stopped)));
    }
    if let Some(taken) = others {
        taken.ready().await?;
        state.telemetry().taken_over(Takeover::Taken);
        tracing::info!("taken over");
    }
    let socket = take::path(&takeover, settings.admin);
    let has_application = !command.is_empty();
    let door = open_door(door, socket.as_deref(), &state, has_application);
    let renewal = renew::Renewal { program, socket: door.clone(), has_application };
    tokio::spawn(renew::on_signal(renewals, state.clone(), renewal));
    tokio::spawn(service_manager::tell_when_ready(state.clone()));
    tokio::spawn(service_manager::watchdog(state.clone()));
    let reloading = tokio::spawn(reloader.run(source, hangup, reload_requests));
    drop(stopped);
    let retire = async || {
        reloading.abort();
        stop.send_replace(true);
        stop.closed().await;
    };
    let code = shutdown::until_the_end(&state, signals, &command, retire).await?;
    stop.send_replace(true);
    if let Some(path) = door.filter(|_| state.successor.borrow().is_none()) {
        let _ = std::fs::remove_file(path); // one that is left behind is replaced
    }
    state.flush_logs();
    state.manager.flush().await;
    Ok(code)
}

/// A panic ends the exchange or connection that it happened in, and shows in the log and the metrics.
fn count_panics(telemetry: Arc<Telemetry>) {
    std::panic::set_hook(Box::new(move |panic| {
        telemetry.panicked();
        tracing::error!("{panic}");
    }));
}

/// Binds the admin, metrics and health servers, or takes over what another process has bound.
async fn bind_servers(
    settings: &Settings,
    state: &Arc<AppState>,
    taken: &mut Option<Taken>,
) -> Result<Vec<Server>, AppError> {
    let servers = [
        ("admin", settings.admin, Surface::Admin),
        ("metrics", settings.metrics, Surface::Metrics),
        ("health", settings.health, Surface::Health),
    ];
    let mut bound = Vec::new();
    for (name, address, surface) in servers {
        let reserve = state.reserve.clone();
        let places: Vec<_> = [address].into_iter().chain(narrowed(address, surface)).collect();
        let server = match taken.as_mut().and_then(|taken| taken.server(name, &places)) {
            Some(socket) => Server::adopt(socket, surface, reserve),
            None => Server::bind(address, surface, reserve).await,
        };
        let server = server.map_err(|error| AppError::Bind(name, address, error))?;
        if let Ok(bound) = server.local_addr() {
            tracing::info!(server = name, address = %bound, "listening");
            if surface == Surface::Admin {
                let _ = state.admin.set(bound); // bound once
            }
        }
        if let Ok(socket) = server.share() {
            state.note_server(name, socket);
        }
        bound.push(server);
    }
    Ok(bound)
}

/// Waits until everything is there that [`AdminSource::readiness`] asks for, before another process lets go.
async fn ready(state: &AppState, taken: &mut Taken) -> Result<(), AppError> {
    let unmet = || state.readiness().unmet;
    let waiting = async {
        while !unmet().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = waiting => Ok(()),
        () = taken.given_up() => Err(AppError::Late(unmet().join(", "))),
    }
}

fn stop_of(stopped: &watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
    let mut stopped = stopped.clone();
    async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// Opens the door for the process that is to come; the path, if it could be opened.
fn open_door(
    theirs: Option<OwnedFd>,
    path: Option<&Path>,
    state: &Arc<AppState>,
    has_application: bool,
) -> Option<PathBuf> {
    let path = path?;
    // One that was taken over is at the same path: there it was found.
    let door = match theirs {
        Some(socket) => Door::adopt(socket),
        None => Door::open(path),
    };
    match door {
        Ok(door) => {
            tokio::spawn(give::serve(door, state.clone(), has_application));
            Some(path.to_owned())
        }
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "no process can take over from this one: no socket to meet at");
            None
        }
    }
}
