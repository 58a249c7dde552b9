//! The composition root: what runs on which thread, and in which order it starts and ends.
//!
//! Workers, one thread each, carry traffic. The control runtime, on the main thread's behalf, does the rest: files, DNS,
//! admin, signals, the application. Only this room knows all others.
//! Read: [`run`] -> `publish` (a configuration takes effect) -> `state` (what admin sees) -> `service_manager` (what systemd hears)
//! -> `shutdown` (the end).

mod core_files;
mod descriptors;
mod log;
mod memory;
mod outliers;
mod publish;
mod service_manager;
mod shutdown;
mod state;

use crate::{
    admin::{Server, Surface},
    config::{AttemptResult, Cause, Overrides, Reloader, WatchOptions},
    identity,
    name_server::NameServer,
    upstream::dns,
};
use publish::Publisher;
use sidle_model::ir::{Node, Settings};
use sidle_telemetry::Telemetry;
use state::AppState;
use std::{ffi::OsString, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};
use tokio::sync::{mpsc, watch};

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
    /// The runtime or a thread cannot be started.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The system's resolver configuration cannot be used.
    #[error("cannot use the system's resolver configuration: {0}")]
    Resolver(String),
}

/// Threads of the control runtime.
const CONTROL_THREADS: usize = 1;
/// Reloads that may be asked for at once.
const MAX_RELOAD_REQUESTS: usize = 16;

/// Runs the proxy to its end.
///
/// # Errors
/// [`AppError`].
pub fn run(options: RunOptions) -> Result<ExitCode, AppError> {
    let log = log::start();
    descriptors::raise_limit();
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("sidle-control")
        .enable_all()
        .build()?;
    let code = control.block_on(live(options, log));
    control.shutdown_background();
    code
}

async fn live(options: RunOptions, log: log::Handle) -> Result<ExitCode, AppError> {
    let RunOptions { paths, node, overrides, command } = options;
    let telemetry = Telemetry::new();
    count_panics(telemetry.clone());
    let (dns, dns_server) =
        dns::dns(telemetry.clone()).map_err(|error| AppError::Resolver(error.to_string()))?;
    let (to_resolve, clusters) = mpsc::unbounded_channel();
    tokio::spawn(dns_server.run(clusters));
    let (reload, reload_requests) = mpsc::channel(MAX_RELOAD_REQUESTS);
    let state = AppState::new(telemetry.clone(), log, reload);

    // The signals are ours before anything can be asked to stop.
    let signals = shutdown::Signals::listen()?;
    let name_server = NameServer::new().unwrap_or_else(|error| {
        tracing::warn!(%error, "/etc/resolv.conf cannot be read: names outside the mesh will not be answered");
        NameServer::alone()
    });
    let publisher = Publisher::new(state.clone(), dns, to_resolve, name_server.clone());
    let mut reloader = Reloader::new(paths, node, overrides, publisher);
    state.set_status(reloader.status());
    let source = reloader.watch(WatchOptions::default()).await;
    let first = reloader.attempt(Cause::Start).await;
    if first.last_attempt.as_ref().is_none_or(|attempt| attempt.result == AttemptResult::Rejected) {
        return Err(AppError::Configuration);
    }
    tokio::spawn(shutdown::reopen_logs_on_signal(state.clone()));
    tokio::spawn(memory::watch(state.clone()));
    let (workload, metrics) = (state.workload().clone(), telemetry.clone());
    tokio::spawn(identity::run(state.identity_settings(), workload.clone(), metrics.clone()));
    tokio::spawn(identity::follow_files(workload, metrics, state.applied.clone()));
    let settings = reloader.running().map(|ir| ir.settings.clone()).unwrap_or_default();
    let (stop, stopped) = watch::channel(false);
    serve_admin(&settings, &state, stopped).await?;
    if let Some(given) = &settings.name_server {
        let bound = name_server.serve(given.address).await;
        bound.map_err(|error| AppError::Bind("DNS", given.address, error))?;
        tracing::info!(server = "dns", address = %given.address, "listening");
    }
    state.set_started();
    tokio::spawn(service_manager::tell_when_ready(state.clone()));
    tokio::spawn(service_manager::watchdog(state.clone()));
    let reloading = tokio::spawn(reloader.run(source, reload_requests));
    let code = shutdown::until_the_end(&state, signals, &command).await?;
    reloading.abort();
    let _ = stop.send(true);
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

/// Binds and starts the admin, metrics and health servers.
async fn serve_admin(
    settings: &Settings,
    state: &Arc<AppState>,
    stopped: watch::Receiver<bool>,
) -> Result<(), AppError> {
    let servers = [
        ("admin", settings.admin, Surface::Admin),
        ("metrics", settings.metrics, Surface::Metrics),
        ("health", settings.health, Surface::Health),
    ];
    for (name, address, surface) in servers {
        let server = Server::bind(address, surface, state.reserve.clone());
        let server = server.await.map_err(|error| AppError::Bind(name, address, error))?;
        if let Ok(bound) = server.local_addr() {
            tracing::info!(server = name, address = %bound, "listening");
        }
        let mut stopped = stopped.clone();
        let stop = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::spawn(server.serve(state.clone(), stop));
    }
    Ok(())
}
