//! Takeovers under load: nobody is refused, nothing is reset, and what is open lives on in the process that has it.

use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, full},
    grpc::GrpcStream,
    load::Load,
    manifest::service,
    sidle::{Ports, Sidle},
    wait,
    websocket::WebSocket,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet};

/// Requests a second: `TAKEOVER_RATE`, or what an unoptimised build can do while others use the machine.
fn rate() -> u32 {
    let asked = std::env::var("TAKEOVER_RATE").ok().and_then(|rate| rate.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 200 } else { 2_000 })
}

const STREAMS: usize = 100;
const STREAMS_A_CONNECTION: usize = 20;
/// Clients that open a connection for each request, and what each waits in between.
const NEWCOMERS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(5);
const HOST: &str = "echo.test";

struct Place {
    folder: tempfile::TempDir,
    ports: Ports,
    services: String,
}

impl Place {
    fn process(&self, workers: &str) -> Sidle {
        let socket = self.folder.path().join("takeover.sock");
        let arguments = ["--takeover", "--takeover-socket", socket.to_str().unwrap(), "--workers", workers];
        Sidle::builder().on(self.ports).file("services.yaml", &self.services).arguments(&arguments).spawn()
    }
}

/// Opens connections, one for each request, until told to stop; how many.
async fn newcomers(address: SocketAddr, stop: Arc<AtomicBool>) -> u64 {
    let mut count = 0;
    while !stop.load(Relaxed) {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("refused: {error}"));
        let request = request("GET", HOST, "/").body(full("")).unwrap();
        let answer = Client::http1_over(stream).await.try_exchange(request).await;
        let answer = answer.unwrap_or_else(|failure| panic!("after {count}: {failure}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        count += 1;
        tokio::time::sleep(PAUSE).await;
    }
    count
}

async fn web_socket(address: SocketAddr, stop: Arc<AtomicBool>, said: Arc<AtomicU64>) {
    let mut socket = WebSocket::open(address, HOST, "/chat").await.unwrap();
    while !stop.load(Relaxed) {
        let back = socket.exchange("hello").await.unwrap_or_else(|error| panic!("WebSocket: {error}"));
        assert_eq!(back, "hello");
        said.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    socket.close().await.unwrap();
}

async fn grpc(mut stream: GrpcStream, stop: Arc<AtomicBool>, said: Arc<AtomicU64>) {
    while !stop.load(Relaxed) {
        let back = stream.exchange(b"hello").await.unwrap_or_else(|error| panic!("gRPC: {error}"));
        assert_eq!(&back[..], b"hello");
        said.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(stream.finish().await.unwrap(), "\"0\"");
}

#[tokio::test]
async fn a_takeover_under_load_refuses_resets_and_fails_nothing() {
    let _machine = crate::MACHINE.lock().await;
    let (echo, grpc_echo) = (Echo::start("v1"), Echo::start("grpc"));
    let place = Place {
        folder: tempfile::tempdir().unwrap(),
        ports: Ports::free(),
        services: service("echo", HOST, "HTTP", &[("v1", echo.port())])
            + &service("grpc", "grpc.test", "GRPC", &[("v1", grpc_echo.port())]),
    };
    let address = place.ports.outbound;
    let mut first = place.process("2");
    first.wait_ready();

    let (stop, ended, said) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Arc::default());
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        streams.spawn(web_socket(address, ended.clone(), Arc::clone(&said)));
    }
    for _ in 0..STREAMS / STREAMS_A_CONNECTION {
        let mut client = Client::http2(address).await;
        for _ in 0..STREAMS_A_CONNECTION {
            let stream = GrpcStream::open(&mut client, "grpc.test", "/test.Echo/Stream").await.unwrap();
            streams.spawn(grpc(stream, ended.clone(), Arc::clone(&said)));
        }
    }
    let mut come: JoinSet<_> = (0..NEWCOMERS).map(|_| newcomers(address, stop.clone())).collect();
    let loads = [false, true].map(|http2| {
        let mut load = Load::new(address, HOST, "/");
        load.connections = 32;
        load.rate = rate() / 2;
        load.http2 = http2;
        load.start()
    });
    tokio::time::sleep(Duration::from_secs(1)).await;

    // Fewer workers, then more; the streams are the first one's, which the second leaves alone.
    let second = place.process("1");
    taken(&second).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut second = second;
    let third = place.process("3");
    taken(&third).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = said.load(Relaxed);
    wait::eventually("the streams to go on", || async {
        (said.load(Relaxed) > before + STREAMS as u64).then_some(())
    })
    .await;
    assert!(first.exit_status().is_none(), "the streams are its own: {}", first.output());
    assert!(second.ended().await.success(), "nothing was left to it: {}", second.output());

    for load in &loads {
        load.reached(rate() / 2, 0.75).await;
    }
    stop.store(true, Relaxed);
    let [http1, http2] = loads;
    let mut connections = 0;
    while let Some(count) = come.join_next().await {
        connections += count.unwrap();
    }
    for report in [http1.stop().await, http2.stop().await] {
        report.assert_no_failure();
        println!("{} requests, {:.0} a second", report.succeeded.load(Relaxed), report.rate());
    }
    ended.store(true, Relaxed);
    while let Some(stream) = streams.join_next().await {
        stream.unwrap();
    }
    assert!(first.ended().await.success(), "{}", first.output());
    assert!(first.output().contains("drained"), "{}", first.output());
    println!("{connections} connections of one request, {} messages on open streams", said.load(Relaxed));
}

async fn taken(sidle: &Sidle) {
    wait::eventually("the takeover", || async { sidle.output().contains("taken over").then_some(()) }).await;
}
