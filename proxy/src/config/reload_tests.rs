//! Real files, the real parser, a publisher that records.

use super::*;
use sidle_model::{diagnostic, pause};
use std::{cell::Cell, fs, sync::Mutex, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

const GOOD: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: 1 } }]
";

/// Records what is published; refuses while told to.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    published: Vec<String>,
    attempts: usize,
    refuse: bool,
}

impl Publish for Recorder {
    async fn publish(&mut self, built: Box<Built>) -> Result<Arc<Snapshot>, Refused> {
        let mut recorded = self.0.lock().unwrap();
        if recorded.refuse {
            let why = NotPublished::Machine("a port is taken".into());
            return Err(Refused { why, built: Some(built) });
        }
        recorded.published.push(built.version.to_string());
        Ok(Arc::new(built.snapshot))
    }

    fn attempted(&mut self, _: &ConfigStatus) {
        self.0.lock().unwrap().attempts += 1;
    }
}

struct Setup {
    dir: tempfile::TempDir,
    recorder: Recorder,
    reloader: Reloader<Recorder>,
}

fn setup() -> Setup {
    setup_with(Overrides::default())
}

fn setup_with(overrides: Overrides) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), GOOD).unwrap();
    let recorder = Recorder::default();
    let paths = vec![dir.path().to_path_buf()];
    let reloader = Reloader::new(paths, Node::default(), overrides, Builder::alone(), recorder.clone());
    Setup { dir, recorder, reloader }
}

impl Setup {
    fn write(&self, text: &str) {
        fs::write(self.dir.path().join("a.yaml"), text).unwrap();
    }

    async fn attempt(&mut self, cause: Cause) -> AttemptResult {
        self.reloader.attempt(cause).await.last_attempt.as_ref().unwrap().result
    }

    fn published(&self) -> usize {
        self.recorder.0.lock().unwrap().published.len()
    }
}

#[tokio::test]
async fn good_is_applied_and_the_same_again_is_nothing() {
    let mut setup = setup();
    assert_eq!(setup.attempt(Cause::Start).await, AttemptResult::Applied);
    assert_eq!(
        setup.attempt(Cause::Files).await,
        AttemptResult::Applied,
        "the last attempt is still the first"
    );
    assert_eq!(setup.recorder.0.lock().unwrap().attempts, 1);
    assert_eq!(setup.attempt(Cause::Signal).await, AttemptResult::Unchanged);
    setup.write(&format!("# A comment changes nothing.\n{GOOD}"));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Unchanged);
    assert_eq!(setup.published(), 1);
    setup.write(&GOOD.replace("http: 1 ", "http: 2 "));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    let status = setup.reloader.status().load();
    assert_eq!(status.version.as_ref().unwrap().generation, 2);
    assert_eq!((status.accepted, status.rejected), (4, 0));
}

#[tokio::test]
async fn a_mistake_keeps_what_runs_and_the_repair_is_applied() {
    let mut setup = setup();
    setup.attempt(Cause::Start).await;
    let before = setup.reloader.status().load();
    setup.write(&GOOD.replace("hosts:", "hots:"));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Rejected);
    let status = setup.reloader.status().load();
    assert_eq!(status.version, before.version);
    assert!(!status.is_current());
    let diagnostics = &status.last_attempt.as_ref().unwrap().diagnostics;
    let unknown = diagnostics.iter().find(|one| one.message.contains("hots")).unwrap();
    assert_eq!(unknown.span.unwrap().line, 5);
    assert!(unknown.file.ends_with("a.yaml"));
    assert_eq!(setup.published(), 1);
    setup.write(&GOOD.replace("http: 1 ", "http: 2 "));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    assert!(setup.reloader.status().load().is_current());
}

#[tokio::test]
async fn what_cannot_be_built_is_refused_with_its_reason() {
    let mut setup = setup();
    setup.attempt(Cause::Start).await;
    setup.recorder.0.lock().unwrap().refuse = true;
    setup.write(&GOOD.replace("http: 1 ", "http: 2 "));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Rejected);
    let status = setup.reloader.status().load();
    assert_eq!(status.last_attempt.as_ref().unwrap().failure.as_deref(), Some("a port is taken"));
    setup.recorder.0.lock().unwrap().refuse = false;
    assert_eq!(setup.attempt(Cause::Request).await, AttemptResult::Applied);
}

#[tokio::test]
async fn an_unreadable_path_is_refused() {
    let recorder = Recorder::default();
    let paths = vec![PathBuf::from("/nowhere/at/all.yaml")];
    let mut reloader =
        Reloader::new(paths, Node::default(), Overrides::default(), Builder::alone(), recorder);
    let status = reloader.attempt(Cause::Start).await;
    assert_eq!(status.last_attempt.as_ref().unwrap().result, AttemptResult::Rejected);
    assert!(reloader.running().is_none());
}

#[tokio::test]
async fn the_command_line_beats_the_files() {
    let admin = "127.0.0.1:9".parse().unwrap();
    let mut setup = setup_with(Overrides { admin: Some(admin), workers: None });
    setup.write(&format!(
        "{GOOD}---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{ name: p }}\n\
         spec: {{ admin: \"127.0.0.1:1\", concurrency: 3 }}\n"
    ));
    setup.attempt(Cause::Start).await;
    let settings = &setup.reloader.running().unwrap().settings;
    assert_eq!((settings.admin, settings.workers), (admin, Some(3)));
}

#[tokio::test]
async fn the_loop_follows_files_and_requests() {
    let mut setup = setup();
    let source = setup.reloader.watch(WatchOptions::default()).await;
    setup.attempt(Cause::Start).await;
    let status = setup.reloader.status();
    let (requests, receiver) = mpsc::channel(1);
    let hangup = signal(SignalKind::hangup()).unwrap();
    let running = tokio::spawn(setup.reloader.run(source, hangup, receiver));
    fs::write(setup.dir.path().join("a.yaml"), GOOD.replace("http: 1 ", "http: 2 ")).unwrap();
    let applied = async {
        while status.load().version.as_ref().unwrap().generation < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), applied).await.expect("the change is applied");
    let (reply, answer) = oneshot::channel();
    requests.send(reply).await.unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.last_attempt.as_ref().unwrap().cause, Cause::Request);
    assert_eq!(answer.last_attempt.as_ref().unwrap().result, AttemptResult::Unchanged);
    drop(requests);
    running.await.unwrap();
}

fn told_of_empty(status: &ConfigStatus) -> Option<&diagnostic::Diagnostic> {
    let told = &status.last_attempt.as_ref().unwrap().diagnostics;
    told.iter().find(|one| one.message.starts_with("this file is empty"))
}

#[tokio::test]
async fn a_file_that_is_empty_from_the_start_is_warned_of_and_shown() {
    let mut setup = setup();
    setup.write("");
    assert_eq!(setup.attempt(Cause::Start).await, AttemptResult::Applied);
    setup.write(" \n");
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Unchanged);
    let status = setup.reloader.status().load();
    assert_eq!((status.resources, status.files[0].resources), (0, 0));
    let told = told_of_empty(&status).unwrap();
    assert_eq!(told.severity, Severity::Warning);
    assert!(told.file.ends_with("a.yaml"));
}

/// A full disk, `> a.yaml`, an editor that died: none of them means it.
#[tokio::test]
async fn an_emptied_file_keeps_what_runs_until_it_is_written_or_removed() {
    let mut setup = setup();
    let second = setup.dir.path().join("b.yaml");
    fs::write(&second, GOOD.replace("{ name: a }", "{ name: b }").replace("a.test", "b.test")).unwrap();
    setup.attempt(Cause::Start).await;
    // Also a mistake in between makes no other file of it.
    for (text, cause) in [("", Cause::Files), ("kind: [", Cause::Files), (" \n\t\n", Cause::Request)] {
        setup.write(text);
        assert_eq!(setup.attempt(cause).await, AttemptResult::Rejected, "{text:?}");
    }
    let status = setup.reloader.status().load();
    let told = told_of_empty(&status).unwrap();
    assert_eq!((told.severity, told.code), (Severity::Error, diagnostic::codes::EMPTIED));
    assert!(
        told.file.ends_with("a.yaml") && told.help.as_ref().unwrap().contains("leave a comment in it"),
        "{told:?}"
    );
    assert_eq!((setup.published(), status.rejected), (1, 3));
    setup.write(GOOD);
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Unchanged);
    setup.write("");
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Rejected);
    fs::remove_file(setup.dir.path().join("a.yaml")).unwrap();
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    setup.write("");
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Unchanged, "a new file may be empty");
}

#[tokio::test]
async fn whoever_makes_a_comment_of_everything_means_it() {
    let mut setup = setup();
    setup.attempt(Cause::Start).await;
    setup.write("# Nothing for now.\n---\n");
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    assert_eq!(setup.reloader.status().load().resources, 0);
    setup.write("");
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Unchanged, "there is nothing left to lose");
}

#[tokio::test]
async fn edits_and_their_reverse_are_all_applied() {
    let mut setup = setup();
    let other = GOOD.replace("{ name: a }", "{ name: b }").replace("a.test", "b.test");
    let second = setup.dir.path().join("b.yaml");
    fs::write(&second, &other).unwrap();
    let first = setup.dir.path().join("a.yaml");
    let swap = |a: &std::path::Path, b: &std::path::Path| {
        let (text_a, text_b) = (fs::read(a).unwrap(), fs::read(b).unwrap());
        fs::write(a, text_b).unwrap();
        fs::write(b, text_a).unwrap();
    };
    setup.attempt(Cause::Start).await;
    let start = setup.reloader.running().unwrap().clone();
    setup.write(&GOOD.replace("http: 1 ", "http: 2 "));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    assert_ne!(setup.reloader.running(), Some(&start));
    setup.write(GOOD);
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    assert_eq!(setup.reloader.running(), Some(&start));
    swap(&first, &second);
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied, "the other is the older now");
    fs::rename(&second, setup.dir.path().join("c.yaml")).unwrap();
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Unchanged);
    fs::remove_file(&first).unwrap();
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    let left: Vec<_> =
        setup.reloader.running().unwrap().clusters.iter().map(|c| c.name.to_string()).collect();
    assert!(
        left.contains(&"outbound|80||a.test".to_owned()) && !left.contains(&"outbound|80||b.test".to_owned())
    );
}

thread_local! {
    static PLACES: Cell<usize> = const { Cell::new(0) };
}

/// Admin, names and readiness are answered by the thread that asks.
#[tokio::test]
async fn whoever_asks_does_none_of_the_long_work() {
    let mut setup = setup();
    pause::at_each(Some(|| PLACES.set(PLACES.get() + 1)));
    assert_eq!(setup.attempt(Cause::Start).await, AttemptResult::Applied);
    setup.write(&GOOD.replace("http: 1 ", "http: 2 "));
    assert_eq!(setup.attempt(Cause::Files).await, AttemptResult::Applied);
    assert_eq!(setup.attempt(Cause::Request).await, AttemptResult::Unchanged);
    setup.recorder.0.lock().unwrap().refuse = true;
    setup.write(&GOOD.replace("http: 1 ", "http: 3 "));
    for cause in [Cause::Files, Cause::Signal] {
        assert_eq!(setup.attempt(cause).await, AttemptResult::Rejected);
    }
    assert_eq!(PLACES.get(), 0, "places where long work may pause");
}

#[tokio::test]
async fn what_was_replaced_goes() {
    let mut setup = setup();
    setup.attempt(Cause::Start).await;
    let first = Arc::downgrade(setup.reloader.running.as_ref().unwrap());
    setup.write(&GOOD.replace("http: 1 ", "http: 2 "));
    setup.attempt(Cause::Files).await;
    let gone = async {
        while first.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("nobody uses it");
}
