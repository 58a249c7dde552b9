//! More connections than there are descriptors: the process' own servers answer, and all is well when they are gone.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    manifest::virtual_service,
    sidle::{Sidle, http_get},
    wait,
};
use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

const OPEN_FILES: u32 = 256;

async fn flood(settings: &str, limit: &str) {
    let stage = Stage::new();
    let route = format!("    - route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]\n");
    let mut sidle = Sidle::builder()
        .file("test.yaml", &(stage.manifests() + &virtual_service("echo", HOST, &route)))
        .settings(settings)
        .arguments(&["--workers", "2"])
        .open_files(OPEN_FILES)
        .start();
    let outbound = sidle.outbound();
    let held: Vec<_> = (0..2 * OPEN_FILES).map(|_| TcpStream::connect(outbound).unwrap()).collect();
    let refused =
        |sidle: &Sidle| sidle.metrics().sum("sidle_listener_connections_refused_total", &[("limit", limit)]);
    wait::until("connections that are kept out", || (refused(&sidle) > 0.0).then_some(()));
    let (began, before) = (Instant::now(), refused(&sidle));
    // For so long that one refusal more or less does not count.
    let mut asked = 0;
    while asked < 20 || began.elapsed() < Duration::from_millis(500) {
        asked += 1;
        assert_eq!(http_get(sidle.ports.health, "/healthz/ready").unwrap().status, 200);
        assert_eq!(sidle.admin("/clusters").status, 200);
        assert_eq!(http_get(sidle.ports.metrics, "/stats/prometheus").unwrap().status, 200);
    }
    let each_second = (refused(&sidle) - before) / began.elapsed().as_secs_f64();
    assert!(
        limit != "descriptors" || each_second < 200.0,
        "the loops of two workers pause: {each_second} refusals a second"
    );
    drop(held);
    sidle.wait_ready();
    wait::eventually("an answer", || async {
        let stream = tokio::net::TcpStream::connect(outbound).await.ok()?;
        let mut one = sidle_test_support::client::Client::http1_over(stream).await;
        let ask =
            sidle_test_support::client::request("GET", HOST, "/").body(sidle_test_support::echo::full(""));
        one.try_exchange(ask.unwrap()).await.ok().filter(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(client(&sidle).await.get(HOST, "/").await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_leave_room_for_the_rest() {
    flood("", "connections").await;
}

#[tokio::test]
async fn when_descriptors_run_out_accepting_pauses_and_admin_has_its_own() {
    flood("  limits: { maxConnections: 100000 }\n", "descriptors").await;
}

/// It does not grow, which takes a worker some 10 ms, when connections come.
#[test]
fn the_table_of_open_files_is_large_from_the_beginning() {
    let stage = Stage::new();
    let sidle = Sidle::builder().file("test.yaml", &stage.manifests()).start();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", sidle.id())).unwrap();
    let (status, limits) = (read("status"), read("limits"));
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let most = limit.split_whitespace().next().unwrap().parse().unwrap_or(u32::MAX);
    assert!(size.trim().parse::<u32>().unwrap() >= most.min(16 << 10), "{size}");
}
