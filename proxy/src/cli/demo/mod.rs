//! `sidle demo`: the proxy at work on this machine.
//!
//! In:  a time to spend.   Out: a live picture, a summary; success only if everything was seen.
//! Invariants: the proxy is this binary, run as a user would run it; the traffic is real; nothing is left behind.
//! Not here: the example itself (`config-examples/quickstart`).
//! Read: [`run`] -> `story`.

mod echo;
mod files;
mod proxy;
mod screen;
mod story;
mod traffic;
mod vault;

use super::{
    CliError, admin,
    output::{Style, Terminal},
    value,
};
use echo::Protocol;
use files::Files;
use proxy::Proxy;
use screen::Screen;
use std::{process::ExitCode, time::Duration};
use story::Stage;
use tokio::task::LocalSet;
use traffic::Client;

/// Arguments of `sidle demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How long it takes; Ctrl-C ends it earlier
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = |text: &str| value::whole::<u64>(text, 5..=3600))]
    seconds: u64,
}

/// Runs the demo.
pub fn run(args: &DemoArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let runtime = admin::runtime()?;
    LocalSet::new().block_on(&runtime, play(Duration::from_secs(args.seconds), terminal))
}

async fn play(length: Duration, terminal: Terminal) -> Result<ExitCode, CliError> {
    let mut files = Files::write()?;
    let mut screen = Screen::new(terminal);
    for (protocol, version, socket) in std::mem::take(&mut files.echoes) {
        let socket = tokio::net::TcpListener::from_std(socket)
            .map_err(|error| CliError::Failed(format!("the demo's services: {error}")))?;
        tokio::task::spawn_local(echo::serve(socket, protocol, version));
    }
    screen.heading(&format!("sidle demo: the files are in {}", files.folder().display()))?;
    let proxy = Proxy::start(&mut files).await?;
    let beside = Proxy::start_vault(&files.vault).await?;
    let address = files.outbound;
    screen.note(Style::Faint, &format!("try it: curl -H 'Host: echo.demo' http://{address}/"))?;
    let clients = [
        Client::start(Protocol::Http1, "echo.demo", address, Duration::from_millis(2)),
        Client::start(Protocol::Http2, "echo-h2.demo", address, Duration::from_millis(10)),
        Client::start(Protocol::Grpc, "echo-grpc.demo", address, Duration::from_millis(10)),
    ];
    let mut stage = Stage { proxy: &proxy, files: &files, clients: &clients, screen, checks: Vec::new() };
    let interrupted = tokio::select! {
        told = stage.tell(length) => told.map(|()| false)?,
        _ = tokio::signal::ctrl_c() => true,
    };
    let Stage { screen, checks, .. } = stage;
    let totals: Vec<_> = clients.iter().map(|client| (client.name(), client.counts())).collect();
    // A proxy that drains waits for its clients.
    drop(clients);
    let codes = [proxy.stop().await?, beside.stop().await?];
    let code = codes.into_iter().find(|code| *code != Some(0)).unwrap_or(Some(0));
    summary(screen, &checks, &totals, interrupted, code)
}

fn summary(
    mut screen: Screen,
    checks: &[story::Check],
    totals: &[(&'static str, traffic::Counts)],
    interrupted: bool,
    code: Option<i32>,
) -> Result<ExitCode, CliError> {
    screen.heading("Summary")?;
    for (name, counts) in totals {
        let style = if counts.failed == 0 { Style::Good } else { Style::Bad };
        screen.note(style, &format!("{name}: {} requests, {} failed", counts.requests, counts.failed))?;
        if let Some(failure) = &counts.last_failure {
            screen.note(Style::Bad, &format!("last failure: {failure}"))?;
        }
    }
    let unseen: Vec<_> = checks.iter().filter(|check| !check.seen).collect();
    for check in &unseen {
        screen.note(Style::Bad, &format!("not seen: {}", check.what))?;
    }
    let unanswered = totals.iter().any(|(_, counts)| counts.requests == 0 || counts.failed > 0);
    if interrupted {
        screen.note(Style::Caution, "ended before the end of the story")?;
    } else if code != Some(0) {
        screen.note(Style::Bad, &format!("the proxy did not end cleanly: exit code {code:?}"))?;
    } else if unseen.is_empty() && !unanswered {
        screen
            .note(Style::Good, &format!("all {} checks were seen; the proxy ended cleanly", checks.len()))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
