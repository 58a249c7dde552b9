//! Disks that are full, cannot be written or are gone: lines of logs are lost, counted and told of, and nothing else.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    client::{Client, request},
    echo::full,
    manifest::virtual_service,
    peers,
    process::Process,
    sidle::{Builder, Sidle, command_started_by, http_get},
    wait,
};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// A small disk of its own, which those see who are started [inside](Disk::starter).
struct Disk {
    keeper: Process,
    place: tempfile::TempDir,
}

impl Disk {
    /// `None`, after a line that says so, where it cannot be. `options` are those of tmpfs.
    fn new(options: &str) -> Option<Disk> {
        if !rustix::process::geteuid().is_root() {
            peers::skip("root, to make namespaces");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let path = place.path().display();
        let script = format!("mount -t tmpfs -o {options} tmpfs {path} && echo mounted && exec sleep 600");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let mut keeper = Process::start(command);
        wait::until("the disk", || {
            assert!(keeper.exit_status().is_none(), "{}", keeper.output());
            keeper.output().contains("mounted").then_some(())
        });
        Some(Disk { keeper, place })
    }

    /// What starts those who see it.
    fn starter(&self) -> [String; 4] {
        ["nsenter".into(), "--target".into(), self.keeper.id().to_string(), "--mount".into()]
    }

    /// A path of it, for those inside.
    fn inside(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The same for everybody else.
    fn outside(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.inside(name).strip_prefix("/").unwrap())
    }

    fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.outside("fill")).unwrap();
        while file.write(&[b'x'; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.outside("fill")).unwrap();
    }

    /// A proxy inside, with its access log on the disk.
    fn proxy(&self, stage: &Stage) -> Builder {
        let starter = self.starter();
        logging(stage, &self.inside("access.log")).started_by(&starter.each_ref().map(String::as_str))
    }
}

/// A proxy before `v1`, with this access log.
fn logging(stage: &Stage, log: &Path) -> Builder {
    let route = format!("    - route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]\n");
    let settings = format!("  accessLogFile: {}\n  accessLogEncoding: JSON\n", log.display());
    let manifests = stage.manifests() + &virtual_service("echo", HOST, &route);
    Sidle::builder().file("test.yaml", &manifests).settings(&settings)
}

fn counted(sidle: &Sidle, metric: &str) -> f64 {
    sidle.metrics().sum(metric, &[])
}

const WRITTEN: &str = "sidle_access_log_lines_total";
const DROPPED: &str = "sidle_access_log_dropped_total";

/// Sends requests until `metric` is more than it was. Each is answered.
async fn ask_until_more(sidle: &Sidle, client: &mut Client, metric: &str) {
    let before = counted(sidle, metric);
    let asking = async {
        while counted(sidle, metric) <= before {
            for _ in 0..20 {
                assert_eq!(client.get(HOST, "/").await.status, 200);
            }
        }
    };
    wait::within(metric, asking).await;
}

/// How often the proxy's own log says this.
fn said(sidle: &Sidle, what: &str) -> usize {
    sidle.output().lines().filter(|line| line.contains(what)).count()
}

const LOST: &str = "access log lines are lost";
const AGAIN: &str = "the access log is written again";

/// Whole lines of an access log, and how many are none.
fn lines(log: &Path) -> (Vec<serde_json::Value>, usize) {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    let all = text.lines().filter(|line| !line.is_empty()).count();
    let whole: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let torn = all - whole.len();
    (whole, torn)
}

#[tokio::test]
async fn while_the_disk_is_full_only_log_lines_are_lost_and_then_none_are() {
    let Some(disk) = Disk::new("size=256k") else { return };
    let stage = Stage::new();
    let sidle = disk.proxy(&stage).start();
    let mut client = client(&sidle).await;
    ask_until_more(&sidle, &mut client, WRITTEN).await;
    disk.fill();
    for _ in 0..3 {
        ask_until_more(&sidle, &mut client, DROPPED).await;
    }
    wait::until("a line about it", || (said(&sidle, LOST) > 0).then_some(()));
    let output = sidle.output();
    let line = output.lines().find(|line| line.contains(LOST)).unwrap();
    assert!(line.contains("WARN") && line.contains("No space left"), "{line}");
    assert!(line.contains(disk.inside("access.log").to_str().unwrap()), "{line}");
    // A configuration takes effect all the same.
    let rules = format!(
        "    - match: [{{ uri: {{ exact: /new }} }}]\n      directResponse: {{ status: 418 }}\n    - route: [{{ \
         destination: {{ host: {HOST}, subset: v1 }} }}]\n"
    );
    sidle.replace("test.yaml", &(stage.manifests() + &virtual_service("echo", HOST, &rules)));
    wait::eventually("the edit", || async {
        let mut one = Client::http1(sidle.outbound()).await;
        (one.get(HOST, "/new").await.status == 418).then_some(())
    })
    .await;
    let (before, _) = lines(&disk.outside("access.log"));
    disk.make_room();
    ask_until_more(&sidle, &mut client, WRITTEN).await;
    wait::until("a line about the end", || (said(&sidle, AGAIN) > 0).then_some(()));
    assert_eq!((said(&sidle, LOST), said(&sidle, AGAIN)), (1, 1), "not a line for each:\n{}", sidle.output());
    assert_eq!(counted(&sidle, "sidle_panics_total"), 0.0);
    // Another line may be cut as long as it is being written.
    let whole = wait::until("no more than one line that was cut", || {
        let (whole, torn) = lines(&disk.outside("access.log"));
        (torn <= 1).then_some(whole)
    });
    assert!(whole.len() > before.len() && whole.iter().all(|line| line["authority"] == HOST));
}

#[tokio::test]
async fn a_full_disk_keeps_no_proxy_from_starting_or_taking_over() {
    let Some(disk) = Disk::new("size=64k") else { return };
    disk.fill();
    let stage = Stage::new();
    let socket = disk.inside("takeover.sock");
    let arguments = ["--takeover-socket", socket.to_str().unwrap()];
    let mut first = disk.proxy(&stage).arguments(&arguments).start();
    ask_until_more(&first, &mut client(&first).await, DROPPED).await;
    let arguments = [&arguments[..], &["--takeover"]].concat();
    let mut second = disk.proxy(&stage).on(first.ports).arguments(&arguments).spawn();
    assert!(first.ended().await.success(), "{}", first.output());
    second.wait_ready();
    ask_until_more(&second, &mut client(&second).await, DROPPED).await;
    wait::until("a line about it", || (said(&second, LOST) == 1).then_some(()));
}

#[test]
fn a_disk_that_takes_no_file_is_named_by_a_proxy_that_cannot_start() {
    let stage = Stage::new();
    for (options, why) in [("ro", "Read-only file system"), ("nr_inodes=1", "No space left on device")] {
        let Some(disk) = Disk::new(options) else { return };
        let mut sidle = disk.proxy(&stage).spawn();
        assert_eq!(sidle.wait().code(), Some(1));
        wait::until("the reason", || {
            let log = disk.inside("access.log").display().to_string();
            sidle.output().lines().any(|line| line.contains(&log) && line.contains(why)).then_some(())
        });
    }
}

#[test]
fn what_a_command_cannot_write_whole_stays_as_it_was() {
    let Some(disk) = Disk::new("size=1m") else { return };
    let (folder, text) = (tempfile::tempdir().unwrap(), "x".repeat(64 << 10));
    let manifests = folder.path().join("pod.yaml");
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: web, annotations: {{ note: {text} }} }}\n\
         spec: {{ containers: [{{ name: web, image: web }}] }}\n"
    );
    fs::write(&manifests, pod).unwrap();
    let manifests = manifests.to_str().unwrap();
    let examples = peers::root().join("config-examples/quickstart");
    let export = ["export", "envoy", "-c", examples.to_str().unwrap(), "-o"];
    for arguments in [&["inject", "-f", manifests, "-o"][..], &export] {
        for was in [Some("what was there"), None] {
            let out = disk.outside("out");
            was.inspect(|was| fs::write(&out, was).unwrap());
            disk.fill();
            let [starter, inside @ ..] = disk.starter();
            let mut command = command_started_by(&starter, &inside);
            let output = command.args(arguments).arg(disk.inside("out")).output().unwrap();
            let now = fs::read_to_string(&out);
            assert_eq!((output.status.code(), now.ok().as_deref()), (Some(1), was), "{arguments:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("No space left on device") && said.contains("as it was") == was.is_some(),
                "{said}"
            );
            let left = fs::read_dir(disk.outside("")).unwrap().count();
            assert_eq!(left, 1 + usize::from(was.is_some()), "{arguments:?} leaves nothing behind");
            disk.make_room();
            let _ = fs::remove_file(&out);
        }
    }
}

#[tokio::test]
async fn a_log_whose_folder_is_removed_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let stage = Stage::new();
    let sidle = logging(&stage, &logs.join("access.log")).start();
    let mut client = client(&sidle).await;
    ask_until_more(&sidle, &mut client, WRITTEN).await;
    fs::remove_dir_all(&logs).unwrap();
    ask_until_more(&sidle, &mut client, DROPPED).await;
    wait::until("a line about it", || (said(&sidle, LOST) == 1).then_some(()));
    fs::create_dir(&logs).unwrap();
    ask_until_more(&sidle, &mut client, WRITTEN).await;
    assert!(lines(&logs.join("access.log")).0.iter().all(|line| line["response_code"] == 200));
}

#[tokio::test]
async fn a_file_that_may_not_grow_costs_lines_and_not_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let stage = Stage::new();
    let mut sidle = logging(&stage, &log).file_size(16).start();
    let mut client = client(&sidle).await;
    ask_until_more(&sidle, &mut client, DROPPED).await;
    wait::until("a line about it", || (said(&sidle, "File too large") == 1).then_some(()));
    fs::rename(&log, folder.path().join("access.log.1")).unwrap();
    assert_eq!(sidle.admin_post("/reopen_logs").status, 200);
    ask_until_more(&sidle, &mut client, WRITTEN).await;
    assert!(lines(&log).0.iter().all(|line| line["response_code"] == 200));
    sidle.signal("TERM");
    assert!(sidle.wait().success());
}

#[tokio::test]
async fn killed_again_and_again_with_a_full_disk_its_log_stays_readable() {
    const ROUNDS: usize = 10;
    let Some(disk) = Disk::new("size=16m") else { return };
    let stage = Stage::new();
    let log = disk.outside("access.log");
    for round in 0..ROUNDS {
        // What a process leaves behind that ends while it writes.
        let mut file = fs::File::options().create(true).append(true).open(&log).unwrap();
        file.write_all(br#"{"path":"/cut"#).unwrap();
        let mut sidle = disk.proxy(&stage).start();
        let path = format!("/round/{round}");
        let mut client = client(&sidle).await;
        assert_eq!(client.get(HOST, &path).await.status, 200);
        wait::until("the first line, whole", || {
            lines(&log).0.iter().any(|line| line["path"] == path).then_some(())
        });
        let busy = tokio::spawn(async move {
            let ask = || request("GET", HOST, "/busy").body(full("")).unwrap();
            while client.try_exchange(ask()).await.is_ok() {}
        });
        let full = round % 2 == 0;
        if full {
            disk.fill();
        }
        let (metric, before) = if full { (DROPPED, 0.0) } else { (WRITTEN, counted(&sidle, WRITTEN)) };
        wait::eventually("more lines", || async { (counted(&sidle, metric) > before).then_some(()) }).await;
        sidle.signal("KILL");
        sidle.ended().await;
        busy.await.unwrap();
        if full {
            disk.make_room();
        }
    }
    let (whole, torn) = lines(&log);
    assert!((ROUNDS..=3 * ROUNDS).contains(&torn), "{torn} lines were cut");
    for round in 0..ROUNDS {
        assert!(whole.iter().any(|line| line["path"] == format!("/round/{round}")), "round {round}");
    }
}

#[tokio::test]
async fn nobody_waits_for_who_does_not_read_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Who reads and writes need not wait for another to open it.
    let mut reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let script = format!("exec \"$0\" \"$@\" 2>'{}'", pipe.display());
    let stage = Stage::new();
    let log = folder.path().join("access.log");
    let mut sidle = logging(&stage, &log).started_by(&["sh", "-c", &script]).start();
    let mistake = "---\napiVersion: networking.istio.io/v1\nkind: Nothing\nmetadata: { name: a }\n";
    sidle.write("wrong.yaml", &mistake.repeat(500));
    let mut client = client(&sidle).await;
    const LOST_LINES: &str = "sidle_log_dropped_total";
    wait::until("lines that are lost", || {
        assert_eq!(sidle.admin_post("/reload").status, 422);
        (counted(&sidle, LOST_LINES) > 0.0).then_some(())
    });
    assert_eq!(client.get(HOST, "/").await.status, 200);
    assert_eq!(http_get(sidle.ports.health, "/healthz/ready").unwrap().status, 200);
    fs::remove_file(sidle.folder().join("wrong.yaml")).unwrap();
    assert_eq!(sidle.admin_post("/reload").status, 200);
    // The reader wakes.
    let text = std::thread::spawn(move || {
        let (mut text, mut bytes) = (String::new(), [0; 4096]);
        while !text.contains("lines of this log were lost here)\n") {
            let count = reader.read(&mut bytes).unwrap();
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text
    });
    wait::until("its lines", || {
        sidle.admin_post("/reload");
        text.is_finished().then_some(())
    });
    assert!(text.join().unwrap().contains("there is no kind Nothing"));
    sidle.signal("TERM");
    assert!(sidle.wait().success());
}

#[tokio::test]
async fn a_standard_error_that_cannot_be_written_changes_nothing() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let log = folder.path().join("access.log");
        logging(&stage, &log).started_by(&["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"])
    };
    let sidle = start().start();
    assert_eq!(client(&sidle).await.get(HOST, "/").await.status, 200);
    assert!(counted(&sidle, "sidle_log_dropped_total") > 0.0);
    assert_eq!(counted(&sidle, "sidle_panics_total"), 0.0);
    let mut refused = start().file("wrong.yaml", "kind: Nothing\n").spawn();
    assert_eq!(refused.wait().code(), Some(1));
}
