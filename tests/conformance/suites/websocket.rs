//! Autobahn's WebSocket cases: with an echo server directly, and with the same server behind the proxy.

use crate::{
    door::{Door, run},
    table::{self, Case},
};
use sidle_test_support::{peers, process::Process, wait};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Command};

#[test]
fn no_case_fails_that_does_not_fail_directly() {
    let Some(python) = peers::find("python") else { return };
    let mut command = Command::new(&python);
    command.arg(script()).arg("serve");
    let server = Process::start(command);
    let upstream: SocketAddr = wait::until("the WebSocket server", || {
        server.output().lines().next().and_then(|line| line.strip_prefix("listening ")?.parse().ok())
    });
    let door = Door::open("HTTP", upstream.port());
    let (directly, through) = std::thread::scope(|scope| {
        let directly = scope.spawn(|| outcomes(&python, upstream));
        let through = scope.spawn(|| outcomes(&python, door.clear));
        (directly.join().unwrap(), through.join().unwrap())
    });
    let cases = directly.into_iter().map(|(name, direct)| {
        let found = through.get(&name).cloned().unwrap_or_else(|| "not run".to_owned());
        let passed = good(&found) || !good(&direct) && found != "not run";
        Case { name, directly: Some(direct), through: found, passed }
    });
    table::enter("WebSocket (Autobahn)", 500, cases.collect());
}

fn script() -> std::path::PathBuf {
    peers::root().join("tests/peers/autobahn_peer.py")
}

/// Autobahn's own words for what is not a failure.
fn good(outcome: &str) -> bool {
    let verdicts: Vec<_> = outcome.split(" / ").collect();
    verdicts.iter().all(|verdict| matches!(*verdict, "OK" | "NON-STRICT" | "INFORMATIONAL"))
}

/// Each case with its verdict, and the one about how the connection was closed.
fn outcomes(python: &Path, address: SocketAddr) -> BTreeMap<String, String> {
    let (succeeded, text) = run(Command::new(python).arg(script()).arg("run").arg(address.to_string()), b"");
    assert!(succeeded, "{text}");
    let lines = text.lines().filter_map(|line| line.strip_prefix("case "));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, verdict)| (sortable(name), verdict.to_owned()))
        .collect()
}

/// `1.2.3` as `01.02.03`.
fn sortable(name: &str) -> String {
    name.split('.').map(|part| format!("{part:0>2}")).collect::<Vec<_>>().join(".")
}
