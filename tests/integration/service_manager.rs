//! What a service manager hears, as systemd does: on the socket that it names.

use crate::stage::Stage;
use sidle_test_support::{
    process::Orphan,
    sidle::{Builder, Sidle, command},
    wait,
};
use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        Manager { socket, folder }
    }

    fn start(&self, builder: Builder) -> Sidle {
        let path = self.folder.path().join("notify");
        builder.environment("NOTIFY_SOCKET", path.to_str().unwrap()).spawn()
    }

    /// The next message, line by line.
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("nothing was said");
        String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect()
    }

    /// What was said without being heard yet.
    fn rest(&self) -> Vec<Vec<String>> {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        let rest = std::iter::from_fn(|| self.socket.recv(&mut bytes).ok().map(|n| bytes[..n].to_vec()));
        let rest = rest.map(|bytes| String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect());
        rest.collect()
    }
}

/// Asserts that a message says ready, or nothing, with a status that holds `text`.
fn assert_status(message: &[String], ready: bool, text: &str) {
    let status = message.last().unwrap();
    assert_eq!(message.len(), 1 + usize::from(ready), "{message:?}");
    assert!(!ready || message[0] == "READY=1", "{message:?}");
    assert!(status.starts_with("STATUS=") && status.contains(text), "{message:?} lacks {text:?}");
}

/// CLOCK_MONOTONIC, as the manager compares it.
fn monotonic() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

#[test]
fn ready_reloading_and_stopping_are_said_in_order() {
    let (manager, stage) = (Manager::new(), Stage::new());
    let mut sidle = manager.start(Sidle::builder().file("a.yaml", &stage.manifests()));
    assert_status(&manager.next(), true, ".1, 3 resources");
    let reload = |message: &str| {
        let begin = monotonic();
        sidle.signal("HUP");
        let said = manager.next();
        assert_eq!(said[0], "RELOADING=1", "{said:?}");
        let at: i128 = said[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((begin..=monotonic()).contains(&at), "{at}");
        assert_status(&manager.next(), true, message);
    };
    reload(".1, 3 resources");
    // Nobody asked for this one: only the status changes.
    sidle.replace("a.yaml", "kind: Nonsense\n");
    assert_status(&manager.next(), false, "refused");
    reload(".1 goes on: what the files say now was refused");
    sidle.replace("a.yaml", &(stage.manifests() + "---\n" + &stage.service("HTTP").replace("echo", "other")));
    assert_status(&manager.next(), false, ".2, 4 resources");
    assert_eq!(sidle.admin_post("/reload").status, 200);
    assert_eq!(manager.next()[0], "RELOADING=1");
    assert_status(&manager.next(), true, ".2, 4 resources");

    sidle.signal("TERM");
    let end = ["STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000", "STATUS=draining"];
    assert_eq!(manager.next(), end);
    assert!(sidle.wait().success());
    assert!(manager.rest().is_empty());
}

#[test]
fn nothing_but_the_end_is_said_after_stopping() {
    let manager = Manager::new();
    let mut sidle = manager.start(Sidle::builder().settings("  drain: { minimum: 1s, deadline: 5s }\n"));
    assert_status(&manager.next(), true, "");
    sidle.signal("TERM");
    assert_eq!(manager.next()[..2], ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000"]);
    sidle.signal("HUP");
    sidle.wait();
    assert!(sidle.output().contains("configuration unchanged"), "the signal came too late");
    assert!(manager.rest().is_empty());
}

/// A proxy that waits for its certificate is not ready, and says what it waits for.
#[test]
fn ready_is_said_when_the_identity_has_come() {
    let (manager, certificates) = (Manager::new(), tempfile::tempdir().unwrap());
    let folder = certificates.path().join("web");
    std::fs::create_dir(&folder).unwrap();
    let settings = format!("  identity: {{ directory: {} }}\n", folder.display());
    let mut sidle = manager.start(Sidle::builder().settings(&settings));
    assert_status(&manager.next(), false, "waiting: ");
    sidle.signal("HUP");
    wait::until("the reload", || sidle.output().contains("configuration unchanged").then_some(()));
    assert!(manager.rest().is_empty(), "a reload makes nobody ready");
    manager.socket.set_nonblocking(false).unwrap();
    issue(certificates.path());
    assert_status(&manager.next(), true, ".1, 1 resource");
    sidle.wait_ready();
}

fn issue(folder: &Path) {
    let mut init = command();
    init.args(["certs", "init", "--service", "web", "--out"]).arg(folder);
    let output = init.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_watchdog_hears_that_every_worker_lives() {
    let manager = Manager::new();
    let limit = Duration::from_secs(2);
    let builder = Sidle::builder().arguments(&["--workers", "3"]);
    let _sidle = manager.start(builder.environment("WATCHDOG_USEC", &limit.as_micros().to_string()));
    let mut said = Vec::new();
    let mut alive = Vec::new();
    for _ in 0..6 {
        let message = manager.next();
        if message == ["WATCHDOG=1"] {
            alive.push(Instant::now());
        }
        said.push(message);
    }
    // Twice in the time; a machine that has other things to do is not always on time.
    let took = alive[alive.len() - 1] - alive[0];
    assert!(took < limit * 3, "{took:?}");
    assert_eq!(said.iter().filter(|message| message[0] == "READY=1").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|message| **message == ["WATCHDOG=1"]).count(), 5, "{said:?}");
}

/// Nobody but the main process is believed: the old one names the new one, and says nothing any more.
#[test]
fn a_takeover_names_the_new_main_process() {
    let manager = Manager::new();
    let builder = Sidle::builder().environment("RUNTIME_DIRECTORY", manager.folder.path().to_str().unwrap());
    let limit = wait::PATIENCE.as_micros().to_string();
    let mut sidle = manager.start(builder.environment("WATCHDOG_USEC", &limit));
    let said = || loop {
        let message = manager.next();
        if message != ["WATCHDOG=1"] {
            return message;
        }
    };
    assert_status(&said(), true, ".1, ");
    sidle.signal("USR2");
    let main = said();
    let process: u32 = main[0].strip_prefix("MAINPID=").expect("the new one's number").parse().unwrap();
    let orphan = Orphan::new(process);
    assert_ne!(orphan.id(), sidle.id());
    assert_status(&said(), true, ".1, ");
    assert!(sidle.wait().success(), "{}", sidle.output());
    let rest = manager.rest();
    assert!(rest.iter().all(|message| *message == ["WATCHDOG=1"]), "{rest:?}");
}

#[test]
fn a_watchdog_of_another_process_is_none_of_ours() {
    let manager = Manager::new();
    let builder = Sidle::builder().environment("WATCHDOG_USEC", "20000").environment("WATCHDOG_PID", "1");
    let mut sidle = manager.start(builder);
    sidle.wait_ready();
    sidle.signal("TERM");
    sidle.wait();
    assert!(!manager.rest().concat().contains(&"WATCHDOG=1".to_owned()));
}

/// The application's word is not the proxy's: it does not learn of the manager.
#[test]
fn the_application_does_not_hear_of_the_manager() {
    let manager = Manager::new();
    let script = r#"echo "seen: [$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID]""#;
    let builder = Sidle::builder().environment("WATCHDOG_USEC", "9000000").application(&["sh", "-c", script]);
    let mut sidle = manager.start(builder);
    assert!(sidle.wait().success());
    wait::until("the word of the application", || sidle.output().contains("seen: []").then_some(()));
    let said = manager.rest();
    assert!(
        said.contains(&vec![
            "STOPPING=1".into(),
            "EXTEND_TIMEOUT_USEC=35000000".into(),
            "STATUS=draining".into()
        ]),
        "{said:?}"
    );
}

/// A manager that has gone, or never reads, is no reason to stop working.
#[test]
fn a_manager_that_does_not_listen_stops_nobody() {
    let gone = Sidle::builder().environment("NOTIFY_SOCKET", "/nowhere/at/all").start();
    wait::until("the warning", || gone.output().contains("service manager cannot be told").then_some(()));
    let manager = Manager::new();
    let mut deaf = manager.start(Sidle::builder().environment("WATCHDOG_USEC", "2000"));
    deaf.wait_ready();
    // Far more than a socket keeps.
    for _ in 0..30 {
        assert_eq!(deaf.admin_post("/reload").status, 200);
    }
    deaf.signal("TERM");
    assert!(deaf.wait().success());
}
