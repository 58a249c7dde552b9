//! Hedging: a request that takes long goes to a second endpoint too, and the answer that comes first counts.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    client::request,
    echo::{Answer, Echo, full},
    manifest::{service, virtual_service},
    sidle::Sidle,
    wait,
};
use std::time::{Duration, Instant};

const SLOW: Duration = Duration::from_secs(10);

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: sidle.dev/v1\nkind: UpstreamPolicy\nmetadata: {{ name: p }}\nspec:\n  host: {HOST}\n{spec}---\n"
    )
}

/// Both versions, of which `v1` does not answer in time.
fn slow_v1(hedging: &str, route: &str) -> (Stage, Sidle) {
    let stage = Stage::new();
    stage.v1.answer(|_| Some(Answer { delay: SLOW, ..Answer::default() }));
    let route = format!("    - route: [{{ destination: {{ host: {HOST} }} }}]\n{route}");
    let manifests = stage.service("HTTP") + &policy(hedging) + &virtual_service("echo", HOST, &route);
    let sidle = Sidle::run(&manifests);
    (stage, sidle)
}

#[tokio::test]
async fn a_slow_endpoint_costs_the_wait_and_no_more() {
    let (stage, sidle) = slow_v1("  hedging: { after: 100ms }\n", "");
    let mut client = client(&sidle).await;
    // On a machine that stands still, the quick one is late, too, and the slow one is asked beside it.
    let (mut hedged, mut late) = (0, 0);
    for _ in 0..30 {
        let began = Instant::now();
        let answer = client.get(HOST, "/").await;
        assert_eq!((answer.status.as_u16(), answer.version()), (200, "v2"));
        assert!(began.elapsed() < SLOW / 2, "{:?}", began.elapsed());
        let second = stage.v2.last().header("x-envoy-attempt-count") == "2";
        hedged += u64::from(second);
        late += u64::from(!second && began.elapsed() >= Duration::from_millis(100));
    }
    let asked = hedged..=hedged + late;
    assert_eq!(stage.v2.requests(), 30);
    assert!(asked.contains(&stage.v1.requests()), "{} of {asked:?}", stage.v1.requests());
    assert!(hedged > 0, "the slow one was never first");
    let metrics = sidle.metrics();
    let hedges = metrics.sum("sidle_cluster_hedges_total", &[]) as u64;
    assert!(asked.contains(&hedges), "{hedges} of {asked:?}");
    assert_eq!(metrics.sum("sidle_cluster_hedges_won_total", &[]), hedged as f64);
    wait::eventually("the losers are cancelled", || async {
        (stage.v1.cancelled() == stage.v1.requests() || stage.v1.open_connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_done_twice_is_sent_once() {
    let (stage, sidle) = slow_v1("  hedging: { after: 50ms }\n", "      timeout: 1500ms\n");
    let mut client = client(&sidle).await;
    for _ in 0..6 {
        client.exchange(request("POST", HOST, "/").body(full("pay")).unwrap()).await;
    }
    assert_eq!(stage.v1.requests() + stage.v2.requests(), 6);
    assert_eq!(sidle.metrics().sum("sidle_cluster_hedges_total", &[]), 0.0);
    stage.v1.forget();
    stage.v2.forget();
    for _ in 0..6 {
        let keyed = request("POST", HOST, "/").header("idempotency-key", "1").body(full("pay")).unwrap();
        let answer = client.exchange(keyed).await;
        assert_eq!((answer.status.as_u16(), answer.json()["body_length"].as_u64()), (200, Some(3)));
    }
    assert_eq!(stage.v2.requests(), 6);
}

/// The try's time is over: a second one, and the first goes on.
#[tokio::test]
async fn without_a_time_it_is_the_try_s() {
    let stage = Stage::new();
    for echo in [&stage.v1, &stage.v2] {
        // The first to be asked is the first to answer: in 1.5 s, with 1 s for a try.
        echo.answer(|seen| {
            let first = seen.header("x-envoy-attempt-count") == "1";
            Some(Answer {
                delay: if first { Duration::from_millis(1_500) } else { SLOW },
                ..Answer::default()
            })
        });
    }
    let route = format!(
        "    - route: [{{ destination: {{ host: {HOST} }} }}]\n      retries: {{ attempts: 1, perTryTimeout: 1s, retryOn: 5xx }}\n"
    );
    let manifests =
        stage.service("HTTP") + &policy("  hedging: {}\n") + &virtual_service("echo", HOST, &route);
    let sidle = Sidle::run(&manifests);
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((stage.v1.requests(), stage.v2.requests()), (1, 1));
    assert_eq!(sidle.metrics().sum("sidle_cluster_hedges_won_total", &[]), 0.0);
}

#[tokio::test]
async fn a_percentile_finds_the_wait_out() {
    let stage = Stage::new();
    let manifests = stage.service("HTTP") + &policy("  hedging: { percentile: 90, after: 30ms }\n");
    let sidle = Sidle::run(&manifests);
    let mut client = client(&sidle).await;
    for _ in 0..250 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    let before = sidle.metrics().sum("sidle_cluster_hedges_won_total", &[]);
    stage.v1.answer(|_| Some(Answer { delay: SLOW, ..Answer::default() }));
    // Each time the slow one is the first or the second: of so many, it is the first of some.
    for _ in 0..30 {
        let began = Instant::now();
        assert_eq!(client.get(HOST, "/").await.version(), "v2");
        assert!(began.elapsed() < SLOW / 2, "{:?}", began.elapsed());
    }
    assert!(sidle.metrics().sum("sidle_cluster_hedges_won_total", &[]) > before);
}

/// A hedge is a retry: it needs a permit, and one that loses has to be paid for.
#[tokio::test]
async fn hedges_count_against_the_retry_budget() {
    let echoes: Vec<_> = (0..2).map(|index| Echo::start(&format!("e{index}"))).collect();
    let endpoints: Vec<_> = echoes.iter().map(|echo| ("any", echo.port())).collect();
    for echo in &echoes {
        echo.answer(|_| Some(Answer { delay: Duration::from_millis(60), ..Answer::status(500) }));
    }
    let sidle =
        Sidle::run(&(service("echo", HOST, "HTTP", &endpoints) + &policy("  hedging: { after: 5ms }\n")));
    let mut client = client(&sidle).await;
    for _ in 0..120 {
        client.get(HOST, "/").await;
    }
    let hedges = sidle.metrics().sum("sidle_cluster_hedges_total", &[]);
    // 50 to begin with, and one for each five requests that were answered.
    assert!((50.0..=50.0 + 120.0 / 5.0 + 5.0).contains(&hedges), "{hedges} of 120");
}

/// Also where nothing is to be retried, they are earned by what goes well.
#[tokio::test]
async fn without_retries_hedges_are_earned_all_the_same() {
    let stage = Stage::new();
    for echo in [&stage.v1, &stage.v2] {
        echo.answer(|_| Some(Answer { delay: Duration::from_millis(25), ..Answer::default() }));
    }
    let route =
        format!("    - route: [{{ destination: {{ host: {HOST} }} }}]\n      retries: {{ attempts: 0 }}\n");
    let manifests = stage.service("HTTP")
        + &policy("  hedging: { after: 5ms }\n")
        + &virtual_service("echo", HOST, &route);
    let sidle = Sidle::run(&manifests);
    let mut client = client(&sidle).await;
    for _ in 0..120 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    let hedges = sidle.metrics().sum("sidle_cluster_hedges_total", &[]);
    assert!(hedges > 55.0, "{hedges} of 120, of which 50 are given");
}

/// What fails decides nothing while the other one goes on.
#[tokio::test]
async fn a_second_try_that_fails_leaves_the_first_alone() {
    for retries in ["", "      retries: { attempts: 0 }\n"] {
        let stage = Stage::new();
        for echo in [&stage.v1, &stage.v2] {
            echo.answer(|seen| {
                let reset = seen.header("x-envoy-attempt-count") == "2";
                let delay = Duration::from_millis(if reset { 0 } else { 1_500 });
                Some(Answer { reset, delay, ..Answer::default() })
            });
        }
        let route = format!("    - route: [{{ destination: {{ host: {HOST} }} }}]\n{retries}");
        let manifests = stage.service("HTTP")
            + &policy("  hedging: { after: 50ms }\n")
            + &virtual_service("echo", HOST, &route);
        let sidle = Sidle::run(&manifests);
        let answer = client(&sidle).await.get(HOST, "/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((stage.v1.requests(), stage.v2.requests()), (1, 1));
        assert_eq!(sidle.metrics().sum("sidle_cluster_hedges_won_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn peak_ewma_turns_away_from_a_slow_endpoint() {
    let stage = Stage::new();
    // So slow that on a busy machine the other one is not.
    stage.v1.answer(|_| Some(Answer { delay: Duration::from_millis(400), ..Answer::default() }));
    let sidle = Sidle::run(&(stage.service("HTTP") + &policy("  peakEwma: {}\n")));
    // One at a time: by its requests alone the slow one looks as idle as the other.
    let mut client = client(&sidle).await;
    for _ in 0..200 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    let slow = stage.v1.requests();
    assert!((1..=10).contains(&slow), "the slow one got {slow} of 200");
}
