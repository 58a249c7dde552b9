//! HTTP/2 clients in bad faith: each is told so and costs little, and its neighbours notice nothing.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    http2::{END_HEADERS, END_STREAM, Http2, block, frame, kind},
    manifest::virtual_service,
    sidle::Sidle,
    wait,
};
use std::time::{Duration, Instant};

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
/// So few that they are reached in a second by who waits for an answer to each, on a busy machine too.
const FEW: &str = "http2MaxResetsPerSecond: 20";

/// A proxy whose log is in a folder, with these limits.
pub struct Proxy {
    pub stage: Stage,
    pub sidle: Sidle,
    folder: tempfile::TempDir,
}

impl Proxy {
    pub fn start(limits: &str) -> Self {
        let stage = Stage::new();
        let folder = tempfile::tempdir().unwrap();
        let route = format!("    - route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]\n");
        let manifests = stage.manifests() + &virtual_service("echo", HOST, &route);
        let settings =
            format!("  accessLogFile: {}\n  limits: {{ {limits} }}\n", folder.path().join("log").display());
        let sidle = Sidle::builder().file("test.yaml", &manifests).settings(&settings).start();
        Proxy { stage, sidle, folder }
    }

    pub fn connect(&self) -> Http2 {
        Http2::connect(self.sidle.outbound(), &[])
    }

    /// Waits until so many connections were turned away for this kind of flood.
    fn counts(&self, kind: &str, floods: u32) {
        wait::until(&format!("{floods} floods of {kind}"), || {
            let counted = self.sidle.metrics().sum("sidle_http2_floods_total", &[("kind", kind)]);
            (counted == f64::from(floods)).then_some(())
        });
    }

    /// Waits until the log has `count` whole lines, and returns those with `part`.
    pub fn logged(&self, count: usize, part: &str) -> Vec<String> {
        wait::until("the log", || {
            let text = std::fs::read_to_string(self.folder.path().join("log")).ok()?;
            (text.matches('\n').count() >= count)
                .then(|| text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect())
        })
    }

    /// Asserts that a neighbour is served.
    pub async fn serves(&self) {
        assert_eq!(client(&self.sidle).await.get(HOST, "/neighbour").await.status, 200);
    }
}

/// The fields of a GET.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path)]
}

/// The fields of a POST.
pub fn post(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", path)]
}

/// Asserts that hardly more requests went on than may be reset; so many may be in each second.
fn went_on(proxy: &Proxy, began: Instant, a_second: u64, name: &str) {
    let most = (a_second + 1) * (1 + began.elapsed().as_secs());
    let requests = proxy.stage.v1.requests();
    assert!(requests <= most, "{name}: {requests} requests went on");
}

/// Opens streams with `open` until the proxy takes no more; what it then said.
fn flood(client: &mut Http2, count: u32, bytes: impl Fn(u32) -> Vec<u8>) -> u32 {
    for n in 0..count {
        if !client.send(&bytes(2 * n + 1)) {
            break;
        }
    }
    client.turned_away()
}

#[tokio::test]
async fn rapid_resets_end_the_connection_and_their_work() {
    let proxy = Proxy::start("");
    let head = block(get("/?delay=5s"));
    let (mut client, began) = (proxy.connect(), Instant::now());
    let code = flood(&mut client, 100_000, |stream| {
        let headers = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [headers, frame(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
    });
    assert_eq!(code, ENHANCE_YOUR_CALM);
    proxy.counts("resets", 1);
    went_on(&proxy, began, 100, "resets");
    wait::until("the upstream's work to end", || (proxy.stage.v1.open_connections() == 0).then_some(()));
    proxy.serves().await;
}

/// As fast as each request can be seen to have been taken.
#[tokio::test]
async fn resets_of_requests_under_way_end_the_connection_too() {
    let proxy = Proxy::start(FEW);
    let mut client = proxy.connect();
    let head = block(get("/?delay=5s"));
    let mut streams = (0..).map(|n| 2 * n + 1);
    let code = loop {
        let stream: u32 = streams.next().unwrap();
        client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head));
        client.send(&frame(kind::PING, 0, 0, &u64::from(stream).to_be_bytes()));
        let next = client.find(|frame| matches!(frame.kind, kind::PING | kind::GOAWAY));
        if next.kind == kind::GOAWAY {
            break next.code();
        }
        client.send(&frame(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    };
    assert_eq!(code, ENHANCE_YOUR_CALM);
    proxy.counts("resets", 1);
    wait::until("the upstream's work to end", || (proxy.stage.v1.open_connections() == 0).then_some(()));
}

#[tokio::test]
async fn streams_beyond_those_allowed_are_refused_and_counted() {
    let proxy = Proxy::start("http2MaxConcurrentStreams: 2");
    let mut client = proxy.connect();
    for stream in [1, 3, 5, 7, 9] {
        let head = block(get(if stream == 9 { "/last" } else { "/?delay=5s" }));
        client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head));
    }
    for stream in [5, 7, 9] {
        let reset = client.find(|frame| frame.kind == kind::RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, REFUSED_STREAM));
    }
    wait::until("the refusals to be counted", || {
        (proxy.sidle.metrics().sum("sidle_http2_streams_refused_total", &[]) == 3.0).then_some(())
    });
    proxy.serves().await;
}

/// The frame that breaks a stream.
type Broken<'a> = &'a dyn Fn(u32) -> Vec<u8>;

#[tokio::test]
async fn resets_that_the_proxy_is_made_to_send_count_too() {
    let self_dependent = |stream: u32| [&stream.to_be_bytes()[..], &[16]].concat();
    let broken: [(&str, Broken<'_>); 2] = [
        ("window", &|stream| frame(kind::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())),
        ("priority", &|stream| frame(kind::PRIORITY, 0, stream, &self_dependent(stream))),
    ];
    for (name, broken) in broken {
        let proxy = Proxy::start(FEW);
        let head = block(get("/?delay=5s"));
        let (mut client, began) = (proxy.connect(), Instant::now());
        let mut streams = (0..).map(|n| 2 * n + 1);
        let code = loop {
            let stream: u32 = streams.next().unwrap();
            client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head));
            client.send(&broken(stream));
            let end = client.find(|frame| matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY));
            if end.kind == kind::GOAWAY {
                break end.code();
            }
        };
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}");
        proxy.counts("resets", 1);
        went_on(&proxy, began, 20, name);
        wait::until("the upstream's work to end", || (proxy.stage.v1.open_connections() == 0).then_some(()));
        proxy.serves().await;
    }
}

#[tokio::test]
async fn what_no_stream_survives_ends_it_and_its_work() {
    let proxy = Proxy::start("");
    // Whether the connection ends, too (RFC 9113 sections 5.1, 6.3 and 6.9).
    for (connection, broken) in [
        (false, frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])),
        (false, frame(kind::PRIORITY, 0, 1, &[0; 4])),
        (false, frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(get("/")))),
        (false, frame(kind::DATA, END_STREAM, 1, b"a")),
        (true, frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4])),
        (true, frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        (true, frame(kind::HEADERS, END_HEADERS | END_STREAM, 2, &block(get("/")))),
        (true, frame(kind::HEADERS, END_HEADERS | END_STREAM, 3, &[0x3f, 0xe1, 0xff, 0x03])), // a table of 64 KiB
    ] {
        let before = proxy.stage.v1.requests();
        let mut client = proxy.connect();
        client.request(1, true, &get("/?delay=20s"));
        wait::until("the request", || (proxy.stage.v1.requests() > before).then_some(()));
        client.send(&broken);
        let code = if connection { client.turned_away() } else { client.reset_of(1) };
        assert!((1..=9).contains(&code) && code != CANCEL, "{broken:?}: {code}");
        wait::until("the upstream's work to end", || (proxy.stage.v1.open_connections() == 0).then_some(()));
        if !connection {
            client.send(&frame(kind::PING, 0, 0, b"goes on?"));
            client.find(|frame| frame.kind == kind::PING && frame.payload == b"goes on?");
        }
    }
    assert_eq!(proxy.logged(8, " DPE ").len(), 8, "{:?}", proxy.logged(8, ""));
}

#[tokio::test]
async fn requests_in_flight_are_logged_when_their_connection_is_turned_away() {
    let proxy = Proxy::start("");
    let mut client = proxy.connect();
    client.request(1, true, &get("/?delay=20s"));
    wait::until("the request", || (proxy.stage.v1.requests() == 1).then_some(()));
    let code = flood(&mut client, 5_000, |_| frame(kind::SETTINGS, 0, 0, &[]));
    assert_eq!(code, ENHANCE_YOUR_CALM);
    let lines = proxy.logged(1, " DPE http2.settings_flood ");
    assert_eq!(lines.len(), 1, "{:?}", proxy.logged(1, ""));
}

#[tokio::test]
async fn frames_that_carry_nothing_are_bounded() {
    let proxy = Proxy::start("");
    let ping = frame(kind::PING, 0, 0, b"12345678");
    let answer = frame(kind::PING, END_STREAM, 0, b"12345678");
    let priority = frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 16]);
    let window = frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let kinds = [
        ("ping", ping),
        ("ping", answer),
        ("priority", priority),
        ("window_update", window),
        ("other", frame(0x42, 0, 0, b"x")),
    ];
    for (n, (name, bytes)) in kinds.into_iter().enumerate() {
        let code = flood(&mut proxy.connect(), 1_000_000, |_| bytes.clone());
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}");
        proxy.counts(name, if n == 1 { 2 } else { 1 });
    }
    proxy.serves().await;
}

#[tokio::test]
async fn answers_that_are_never_read_are_bounded() {
    let proxy = Proxy::start("http2MaxControlFramesPerSecond: 1000000, streamIdleTimeout: 500ms");
    let before = proxy.sidle.metrics().sum("sidle_listener_connections_active", &[]);
    let mut client = proxy.connect();
    let pings = frame(kind::PING, 0, 0, b"12345678").repeat(1_000);
    while client.send(&pings) {} // until the proxy reads no more, and then closes
    wait::until("the connection to be closed", || {
        (proxy.sidle.metrics().sum("sidle_listener_connections_active", &[]) <= before).then_some(())
    });
    proxy.serves().await;
}

#[tokio::test]
async fn endless_heads_end_the_connection() {
    let proxy = Proxy::start("");
    let mut client = proxy.connect();
    client.send(&frame(kind::HEADERS, 0, 1, &block(get("/"))));
    let fields = block([("a", "b")]);
    assert_eq!(flood(&mut client, 100_000, |_| frame(kind::CONTINUATION, 0, 1, &fields)), ENHANCE_YOUR_CALM);

    // A field of 4,000 bytes in the table, and a block that names it 16,000 times.
    let mut client = proxy.connect();
    let field = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000]].concat();
    let bomb = [block(get("/")), field, vec![0xbe; 12_000]].concat();
    client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    assert_eq!(client.turned_away(), ENHANCE_YOUR_CALM);
    assert_eq!(proxy.stage.v1.requests(), 0);
    proxy.serves().await;
}

#[tokio::test]
async fn empty_data_ends_the_connection_and_small_data_may_flow() {
    let proxy = Proxy::start("");
    for (name, bytes) in
        [("empty", frame(kind::DATA, 0, 1, b"")), ("padded", frame(kind::DATA, 0x8, 1, &[2, 0, 0]))]
    {
        let mut client = proxy.connect();
        client.request(1, false, &post("/?delay=20s"));
        let code = flood(&mut client, 100_000, |_| bytes.clone());
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}");
    }
    let mut client = proxy.connect();
    client.request(1, false, &post("/small"));
    for _ in 0..2_000 {
        assert!(client.send(&frame(kind::DATA, 0, 1, b"x")));
    }
    client.send(&frame(kind::DATA, END_STREAM, 1, b""));
    let head = client.find(|frame| frame.kind == kind::HEADERS);
    assert_eq!(head.payload[0], 0x88, "200");
    let seen = proxy.stage.v1.received().into_iter().find(|seen| seen.path == "/small").unwrap();
    assert_eq!(seen.body, b"x".repeat(2_000));
}

#[tokio::test]
async fn what_is_begun_must_be_finished_in_time() {
    let proxy = Proxy::start("requestHeadersTimeout: 1s");
    let head = frame(kind::HEADERS, 0, 1, &block(get("/")));
    for begun in [&head[..], &head[..12], &head[..4]] {
        let mut client = proxy.connect();
        client.send(begun);
        assert_eq!(client.turned_away(), ENHANCE_YOUR_CALM);
    }
    proxy.counts("stalled", 3);
    let mut client = proxy.connect();
    client.request(1, false, &post("/slow"));
    let data = frame(kind::DATA, END_STREAM, 1, b"data may take its time");
    client.send(&data[..12]);
    tokio::time::sleep(Duration::from_millis(1500)).await; // there is nothing to wait for: that nothing happens is the point
    client.send(&data[12..]);
    assert_eq!(client.find(|frame| frame.kind == kind::HEADERS).payload[0], 0x88, "200");
}

/// Of answers, no more is read than can go on: a stream that waits has no buffer of content, and there may be a hundred on each connection.
#[tokio::test]
async fn a_client_that_opens_no_window_holds_little_and_not_for_long() {
    const STREAMS: u32 = 100;
    let proxy = Proxy::start("streamIdleTimeout: 2s");
    proxy.serves().await;
    for (round, window) in (1..).zip([0, 65_535, 1_000_000]) {
        let before = proxy.sidle.resident_bytes();
        let mut client = Http2::connect(proxy.sidle.outbound(), &[(4, window)]);
        for n in 0..STREAMS {
            client.request(2 * n + 1, true, &get("/?bytes=10000000"));
        }
        let (mut most, mut resets) = (0, 0);
        while resets < STREAMS {
            let frame = client.frame().expect("streams end, not the connection");
            most = most.max(proxy.sidle.resident_bytes());
            if frame.kind == kind::RST_STREAM {
                assert_eq!(frame.code(), CANCEL);
                resets += 1;
            }
        }
        let each = most.saturating_sub(before) / u64::from(STREAMS);
        assert!(each < 40 << 10, "{each} bytes each, window {window}");
        let ended = (round * STREAMS) as usize;
        // The first line is the neighbour's.
        assert_eq!(proxy.logged(1 + ended, " SI stream_idle_timeout ").len(), ended);
    }
    proxy.serves().await;
}

/// The same where the client opens all windows, and stops to read.
#[tokio::test]
async fn a_client_that_stops_reading_holds_little() {
    const STREAMS: u32 = 100;
    let proxy = Proxy::start("streamIdleTimeout: 2s");
    proxy.serves().await;
    let active = || proxy.sidle.metrics().sum("sidle_listener_connections_active", &[]);
    // What asking for metrics takes is not the streams'.
    let others = (0..10).fold(0.0, |_, _| active());
    let before = proxy.sidle.resident_bytes();
    let window = 0x7fff_ffff - 65_535_u32;
    let mut client = Http2::connect(proxy.sidle.outbound(), &[(4, 1 << 20)]);
    client.send(&frame(kind::WINDOW_UPDATE, 0, 0, &window.to_be_bytes()));
    for n in 0..STREAMS {
        client.request(2 * n + 1, true, &get("/?bytes=10000000"));
    }
    // Each stream has its turn.
    let (mut most, mut read) = (0, 0);
    while read < 4 << 20 {
        read += client.frame().expect("more of the answers").payload.len();
    }
    wait::until("the connection to be closed", || {
        most = most.max(proxy.sidle.resident_bytes());
        (active() <= others).then_some(())
    });
    let each = most.saturating_sub(before) / u64::from(STREAMS);
    assert!(each < 32 << 10, "{each} bytes each");
    proxy.serves().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed() {
    let proxy = Proxy::start("streamIdleTimeout: 1s");
    let before = proxy.sidle.metrics().sum("sidle_listener_connections_active", &[]);
    let window = 0x7fff_ffff - 65_535_u32;
    let mut client = Http2::connect(proxy.sidle.outbound(), &[(4, 0x7fff_ffff)]);
    client.send(&frame(kind::WINDOW_UPDATE, 0, 0, &window.to_be_bytes()));
    client.request(1, true, &get("/?bytes=100000000"));
    wait::until("the connection", || (proxy.stage.v1.requests() == 1).then_some(()));
    wait::until("the connection to be closed", || {
        (proxy.sidle.metrics().sum("sidle_listener_connections_active", &[]) <= before).then_some(())
    });
    drop(client);
    wait::until("the upstream to be left", || (proxy.stage.v1.open_connections() == 0).then_some(()));
}
