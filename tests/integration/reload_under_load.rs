//! A thousand reloads under load: nothing fails, nothing is cut, nothing grows.

use sidle_test_support::{
    client::Client,
    echo::Echo,
    grpc::GrpcStream,
    load::Load,
    manifest::{service, split, subsets},
    sidle::Sidle,
    websocket::WebSocket,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// An unoptimised build proves the same with less of it.
const SCALE: u32 = if cfg!(debug_assertions) { 10 } else { 1 };
const RELOADS: u32 = 1_000 / SCALE;
const RATE: u32 = 2_000 / SCALE;
/// Between two reloads, so that there is load between them too.
const PAUSE: Duration = Duration::from_millis(10);
const WEBSOCKETS: usize = 200;
const STREAMS: usize = 200;
const STREAMS_A_CONNECTION: usize = 20;
const HOST: &str = "echo.test";

/// The routes of reload `number`: weights change, and a rule of its own comes and goes.
fn routes(number: u32) -> String {
    let weight = number % 99 + 1;
    split("echo", HOST, &[("v1", weight), ("v2", 100 - weight)]).replace(
        "  http:\n",
        &format!("  http:\n    - match: [{{ uri: {{ exact: /only-{number} }} }}]\n      directResponse: {{ status: 204 }}\n"),
    )
}

/// What the open streams saw.
#[derive(Default)]
struct Streams {
    stop: AtomicBool,
    exchanges: AtomicU64,
}

/// A stream that echoes.
enum Stream {
    WebSocket(Box<WebSocket>),
    Grpc(GrpcStream),
}

impl Stream {
    async fn exchange(&mut self, text: &str) -> Result<(), String> {
        let back = match self {
            Stream::WebSocket(socket) => {
                socket.exchange(text).await.map_err(|error| format!("WebSocket: {error}"))?
            }
            Stream::Grpc(stream) => {
                let back =
                    stream.exchange(text.as_bytes()).await.map_err(|error| format!("gRPC: {error}"))?;
                String::from_utf8_lossy(&back).into_owned()
            }
        };
        if back == text { Ok(()) } else { Err(format!("{back:?} came back for {text:?}")) }
    }

    async fn finish(self) -> Result<(), String> {
        match self {
            Stream::WebSocket(socket) => socket.close().await,
            Stream::Grpc(stream) => match stream.finish().await?.as_str() {
                "\"0\"" => Ok(()),
                other => Err(format!("grpc-status {other}")),
            },
        }
    }
}

impl Streams {
    /// Says something about once a second until told to stop, then once more, and ends the stream.
    async fn talk(self: Arc<Self>, mut stream: Stream, offset: u64) {
        tokio::time::sleep(Duration::from_millis(offset)).await;
        let mut last = false;
        for number in 0.. {
            if let Err(error) = stream.exchange(&format!("message {number}")).await {
                panic!("cut after {number} messages: {error}");
            }
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            if last {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            last = self.stop.load(Ordering::Relaxed);
        }
        stream.finish().await.unwrap();
    }
}

/// Opens all streams; each begins to talk.
async fn open_streams(sidle: &Sidle, streams: &Arc<Streams>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..WEBSOCKETS {
        let socket = WebSocket::open(sidle.outbound(), HOST, "/chat").await.unwrap();
        tasks.spawn(streams.clone().talk(Stream::WebSocket(Box::new(socket)), tasks.len() as u64 * 5));
    }
    for _ in 0..STREAMS / STREAMS_A_CONNECTION {
        let mut client = Client::http2(sidle.outbound()).await;
        for _ in 0..STREAMS_A_CONNECTION {
            let stream = GrpcStream::open(&mut client, "grpc.test", "/test.Echo/Stream").await.unwrap();
            tasks.spawn(streams.clone().talk(Stream::Grpc(stream), tasks.len() as u64 * 5));
        }
    }
    tasks
}

#[tokio::test]
async fn a_thousand_reloads_fail_nothing_cut_nothing_and_leak_nothing() {
    let _machine = crate::MACHINE.lock().await;
    let (v1, v2) = (Echo::start("v1"), Echo::start("v2"));
    let grpc = Echo::start("grpc");
    let services = service("echo", HOST, "HTTP", &[("v1", v1.port()), ("v2", v2.port())])
        + &subsets("echo", HOST, &["v1", "v2"], "")
        + &service("grpc", "grpc.test", "GRPC", &[("v1", grpc.port())]);
    let sidle = Sidle::builder().file("services.yaml", &services).file("routes.yaml", &routes(0)).start();

    let streams = Arc::new(Streams::default());
    let mut tasks = open_streams(&sidle, &streams).await;
    let mut load = Load::new(sidle.outbound(), HOST, "/");
    load.rate = RATE;
    load.connections = 64;
    let begin = Instant::now();
    let load = load.start();

    let mut settled = 0;
    for number in 1..=RELOADS {
        sidle.replace("routes.yaml", &routes(number));
        let admin = sidle.ports.admin;
        let posted = tokio::task::spawn_blocking(move || {
            sidle_test_support::sidle::http_request(admin, "POST", "/reload", &[]).unwrap()
        });
        let answer = posted.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        tokio::time::sleep(PAUSE).await;
        if number == RELOADS / 5 {
            settled = sidle.resident_bytes();
        }
    }
    let resident = sidle.resident_bytes();
    streams.stop.store(true, Ordering::Relaxed);
    let report = load.stop().await;
    let seconds = begin.elapsed().as_secs_f64();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }

    report.assert_no_failure();
    let rate = report.succeeded.load(Ordering::Relaxed) as f64 / seconds;
    assert!(rate > f64::from(RATE) * 0.75, "only {rate:.0} requests a second");
    let applied = sidle.metrics().sum("sidle_config_reloads_total", &[("result", "applied")]);
    assert!(applied >= f64::from(RELOADS), "{applied} configurations were applied");
    let growth = resident.saturating_sub(settled);
    assert!(growth < 8 << 20, "grew by {} KiB to {} KiB", growth >> 10, resident >> 10);
    println!(
        "{RELOADS} reloads in {seconds:.1} s, {} requests, {} messages on open streams, {} KiB resident (grew by {} KiB)",
        report.succeeded.load(Ordering::Relaxed),
        streams.exchanges.load(Ordering::Relaxed),
        resident >> 10,
        growth >> 10,
    );
}
