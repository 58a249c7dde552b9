//! One process takes the place of another: who is connected, who comes, and what happens when it does not work out.

use crate::stage::Stage;
use sidle_test_support::{
    client::Client,
    process::Orphan,
    sidle::{Builder, Ports, Sidle, http_get},
    wait,
    websocket::WebSocket,
};
use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf};

/// Where the processes of one test meet, and what they serve.
struct Place {
    folder: tempfile::TempDir,
    ports: Ports,
    stage: Stage,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap(), ports: Ports::free(), stage: Stage::new() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("takeover.sock")
    }

    /// A process that says of itself that it is `name`.
    fn process(&self, name: &str) -> Builder {
        let names = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: name }}\nspec:\n  \
             hosts: [name.test]\n  http: [{{ directResponse: {{ status: 200, body: {{ string: {name} }} }} }}]\n"
        );
        Sidle::builder()
            .on(self.ports)
            .file("stage.yaml", &self.stage.manifests())
            .file("name.yaml", &names)
            .arguments(&["--takeover-socket", self.socket().to_str().unwrap()])
    }

    /// One that takes over, and has.
    fn successor(&self, name: &str, arguments: &[&str]) -> Sidle {
        let mut sidle = self.process(name).arguments(&["--takeover"]).arguments(arguments).spawn();
        wait::until("the takeover", || {
            assert!(sidle.exit_status().is_none(), "{}", sidle.output());
            sidle.output().contains("taken over").then_some(())
        });
        sidle
    }
}

/// Who serves new connections there.
async fn who(address: SocketAddr) -> String {
    Client::http1(address).await.get("name.test", "/").await.text()
}

#[tokio::test]
async fn connections_live_on_and_new_ones_go_to_the_new_process() {
    let place = Place::new();
    let mut first = place.process("first").start();
    let mode = std::fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for nobody else");
    let outbound = place.ports.outbound;
    let mut socket = WebSocket::open(outbound, "echo.test", "/chat").await.unwrap();
    let mut idle = Client::http1(outbound).await;
    assert_eq!(idle.get("name.test", "/").await.text(), "first");

    let second = place.successor("second", &[]);
    assert_eq!(who(outbound).await, "second");
    // The request that comes on an old connection is served, and is its last.
    let answer = idle.get("name.test", "/").await;
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("first", "close"));
    for server in [place.ports.admin, place.ports.metrics, place.ports.health] {
        let taken = "sidle_takeovers_total{result=\"taken\"} 1";
        let answer = http_get(
            server,
            if server == place.ports.health { "/healthz/ready" } else { "/stats/prometheus" },
        );
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(server == place.ports.health || answer.body.contains(taken), "{}", answer.body);
    }
    assert_eq!(socket.exchange("still here").await.unwrap(), "still here");
    assert!(first.exit_status().is_none(), "{}", first.output());
    socket.close().await.unwrap();
    assert!(first.ended().await.success(), "{}", first.output());
    assert!(first.output().contains("drained"), "{}", first.output());

    // And so on.
    let third = place.successor("third", &[]);
    assert_eq!(who(outbound).await, "third");
    drop((second, third));
}

/// Whatever happens to it before it is ready.
#[tokio::test]
async fn a_takeover_that_fails_changes_nothing() {
    let place = Place::new();
    let first = place.process("first").start();
    let outbound = place.ports.outbound;
    let mut kept = Client::http1(outbound).await;
    let mut same = async |why: &str| {
        for answer in
            [kept.get("name.test", "/").await, Client::http1(outbound).await.get("name.test", "/").await]
        {
            assert_eq!((answer.text().as_str(), answer.header("connection")), ("first", ""), "{why}");
        }
    };

    let mut wrong =
        place.process("second").file("wrong.yaml", "kind: Nonsense\n").arguments(&["--takeover"]).spawn();
    assert_eq!(wrong.ended().await.code(), Some(1));
    same("a configuration that is refused").await;

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - {{ port: {{ number: {port}, name: http, protocol: HTTP }}, hosts: ['*'] }}\n"
    );
    let mut wrong = place.process("second").file("gateway.yaml", &gateway).arguments(&["--takeover"]).spawn();
    assert_eq!(wrong.ended().await.code(), Some(1), "{}", wrong.output());
    assert!(wrong.output().contains("cannot bind"), "{}", wrong.output());
    // One at a time: until this is known, the next is turned away.
    wait::until("the loss to be noticed", || first.output().contains("the takeover failed").then_some(()));
    same("a port that is another's").await;

    // It waits for its identity, and dies.
    let mut waiting = waiting(&place, &first, 2);
    same("one that is not ready").await;
    let mut third = place.process("third").arguments(&["--takeover"]).spawn();
    assert_eq!(third.ended().await.code(), Some(1));
    assert!(third.output().contains("another process is taking over already"), "{}", third.output());
    same("two at once").await;
    waiting.signal("KILL");
    waiting.ended().await;
    wait::until("the loss to be noticed", || {
        (first.output().matches("the takeover failed").count() == 2).then_some(())
    });
    same("one that died").await;
    let (metrics, result) = (first.metrics(), |result| [("result", result)]);
    assert_eq!(metrics.sum("sidle_takeovers_total", &result("failed")), 2.0);
    assert_eq!(metrics.sum("sidle_takeovers_total", &result("refused")), 1.0);

    let _fourth = place.successor("fourth", &[]);
    assert_eq!(who(outbound).await, "fourth");
}

/// A process that has the sockets and is not ready: nobody gives it a certificate. `asked`: how many have asked then.
fn waiting(place: &Place, first: &Sidle, asked: usize) -> Sidle {
    let settings = format!("  identity: {{ directory: {} }}\n", place.folder.path().display());
    let waiting = place.process("second").settings(&settings).arguments(&["--takeover"]).spawn();
    wait::until("it to ask", || {
        (first.output().matches("a process asks for the sockets").count() == asked).then_some(())
    });
    waiting
}

#[tokio::test]
async fn other_workers_and_other_listeners_are_taken_over_too() {
    let place = Place::new();
    let doors = [sidle_test_support::ports::free(), sidle_test_support::ports::free()];
    let gateway = |door: SocketAddr| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
             - {{ port: {{ number: {}, name: http, protocol: HTTP }}, hosts: ['*'] }}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  \
             hosts: ['*']\n  gateways: [door]\n  http: [{{ directResponse: {{ status: 200 }} }}]\n",
            door.port()
        )
    };
    let mut before =
        place.process("p0").file("gateway.yaml", &gateway(doors[0])).arguments(&["--workers", "3"]).start();
    assert_eq!(Client::http1(doors[0]).await.get("x", "/").await.status, 200);
    for (number, workers) in ["1", "5", "2"].iter().enumerate() {
        let name = format!("p{}", number + 1);
        let mut builder = place.process(&name).arguments(&["--takeover", "--workers", workers]);
        if number > 0 {
            builder = builder.file("gateway.yaml", &gateway(doors[1]));
        }
        let next = builder.spawn();
        wait::until("the takeover", || next.output().contains("taken over").then_some(()));
        assert!(before.ended().await.success());
        // Each of the sockets is served, whichever a connection is given.
        for _ in 0..40 {
            assert_eq!(who(place.ports.outbound).await, name);
        }
        assert!(tokio::net::TcpStream::connect(doors[0]).await.is_err(), "nobody's any more");
        if number > 0 {
            assert_eq!(Client::http1(doors[1]).await.get("x", "/").await.status, 200);
        }
        before = next;
    }
}

/// So that one line can stand in a unit.
#[tokio::test]
async fn with_nobody_to_take_over_from_it_is_a_start_as_usual() {
    let place = Place::new();
    let mut sidle = place.process("first").arguments(&["--takeover"]).start();
    wait::until("the log", || sidle.output().contains("no process to take over from").then_some(()));
    assert_eq!(who(place.ports.outbound).await, "first");
    sidle.signal("TERM");
    assert!(sidle.ended().await.success());
    assert!(!place.socket().exists(), "nothing is left behind");
    // Nor is what is left behind in the way.
    let mut killed = place.process("second").start();
    killed.signal("KILL");
    killed.ended().await;
    place.process("third").arguments(&["--takeover"]).start();
}

/// The number of the process that took over.
pub fn successor(sidle: &Sidle) -> Option<u32> {
    let output = sidle.output();
    let line = output.lines().find(|line| line.contains("another process has taken over"))?;
    line.rsplit_once("process=")?.1.trim().parse().ok()
}

#[tokio::test]
async fn sigusr2_starts_the_same_program_anew_and_hands_over_to_it() {
    let place = Place::new();
    let mut first = place.process("first").start();
    let mut socket = WebSocket::open(place.ports.outbound, "echo.test", "/chat").await.unwrap();
    // Not ready, since what the files say now is wrong.
    first.write("wrong.yaml", "kind: Nonsense\n");
    first.signal("USR2");
    wait::until("the failure", || first.output().contains("the new process has ended").then_some(()));
    assert_eq!(who(place.ports.outbound).await, "first");

    std::fs::remove_file(first.folder().join("wrong.yaml")).unwrap();
    first.signal("USR2");
    let process = Orphan::new(wait::until("the takeover", || successor(&first)));
    assert_ne!(process.id(), first.id());
    assert_eq!(socket.exchange("still here").await.unwrap(), "still here");
    socket.close().await.unwrap();
    assert!(first.ended().await.success());
    assert_eq!(who(place.ports.outbound).await, "first", "the same files");
    assert!(
        std::fs::read_to_string(format!("/proc/{}/cmdline", process.id()))
            .unwrap()
            .contains("takeover-socket")
    );
}

#[tokio::test]
async fn an_application_stays_with_its_parent() {
    let place = Place::new();
    let mut both = place.process("a").arguments(&["--takeover"]).application(&["sleep", "60"]).spawn();
    assert_eq!(both.ended().await.code(), Some(2), "{}", both.output());
    let sidle = place.process("a").application(&["sleep", "60"]).start();
    sidle.signal("USR2");
    wait::until("the refusal", || sidle.output().contains("ends with it").then_some(()));
    assert_eq!(who(place.ports.outbound).await, "a");
}

/// Streams do not keep the old process for ever.
#[tokio::test]
async fn what_never_ends_is_cut_at_the_deadline() {
    let place = Place::new();
    let mut first = place.process("first").settings("  drain: { takeoverDeadline: 2s }\n").start();
    let mut socket = WebSocket::open(place.ports.outbound, "echo.test", "/chat").await.unwrap();
    let _second = place.successor("second", &[]);
    assert_eq!(socket.exchange("still here").await.unwrap(), "still here");
    assert!(first.ended().await.success());
    assert!(first.output().contains("the drain deadline cuts"), "{}", first.output());
    assert!(socket.exchange("gone").await.is_err());
}
