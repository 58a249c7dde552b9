//! Timeouts and retries.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    client::request,
    echo::{Answer, full},
    manifest::{service, virtual_service},
    ports,
    sidle::Sidle,
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_slow_upstream_is_a_504() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      timeout: 1s");
    let begin = Instant::now();
    let answer = client(&sidle).await.get(HOST, "/?delay=5s").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (504, "upstream request timeout"));
    assert!((1_000..4_500).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    assert_eq!(stage.v1.requests(), 1, "a timeout of the whole request is not retried");
}

#[tokio::test]
async fn a_failed_try_is_repeated_up_to_the_limit() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      retries: { attempts: 2, retryOn: 5xx }");
    let mut client = client(&sidle).await;
    assert_eq!(client.get(HOST, "/?fail=2").await.status, 200);
    assert_eq!(stage.v1.requests(), 3);
    stage.v1.forget();
    assert_eq!(client.get(HOST, "/?fail=3").await.status, 503);
    assert_eq!(stage.v1.requests(), 3);
    let attempts: Vec<_> =
        stage.v1.received().iter().map(|seen| seen.header("x-envoy-attempt-count").to_owned()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

#[tokio::test]
async fn retries_are_for_what_retry_on_names() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      retries: { attempts: 3, retryOn: 'gateway-error,retriable-4xx,418' }");
    let mut client = client(&sidle).await;
    for (status, tries) in [(500, 1), (502, 4), (409, 4), (418, 4), (404, 1)] {
        stage.v1.forget();
        stage.v1.answer(move |_| Some(Answer::status(status)));
        assert_eq!(client.get(HOST, "/").await.status, status);
        assert_eq!(stage.v1.requests(), tries, "{status}");
    }
}

#[tokio::test]
async fn each_try_has_its_own_time() {
    let stage = Stage::new();
    stage.v1.answer(|seen| {
        (seen.header("x-envoy-attempt-count") == "1")
            .then(|| Answer { delay: Duration::from_secs(15), ..Answer::default() })
    });
    let sidle =
        stage.route_v1("      timeout: 14s\n      retries: { attempts: 1, perTryTimeout: 2s, retryOn: 5xx }");
    let begin = Instant::now();
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(stage.v1.requests(), 2);
}

#[tokio::test]
async fn a_small_body_is_sent_again_whole() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      retries: { attempts: 2, retryOn: 5xx }");
    let body = vec![b'x'; 10_000];
    let answer =
        client(&sidle).await.exchange(request("POST", HOST, "/?fail=1").body(full(body)).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.json()["body_length"].as_u64()), (200, Some(10_000)));
}

#[tokio::test]
async fn a_dead_endpoint_is_avoided_by_default() {
    let stage = Stage::new();
    let dead = ports::free().port();
    let sidle = Sidle::run(&service("echo", HOST, "HTTP", &[("dead", dead), ("v1", stage.v1.port())]));
    let mut client = client(&sidle).await;
    for _ in 0..50 {
        let answer = client.get(HOST, "/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn attempts_zero_means_no_retry() {
    let dead = ports::free().port();
    let manifests = service("echo", HOST, "HTTP", &[("dead", dead)]);
    let route =
        format!("    - retries: {{ attempts: 0 }}\n      route: [{{ destination: {{ host: {HOST} }} }}]");
    let sidle = Sidle::run(&(manifests + &virtual_service("echo", HOST, &route)));
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().starts_with("upstream connect error or disconnect/reset before headers"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn no_endpoint_at_all_is_no_healthy_upstream() {
    let manifests = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: empty }\nspec:\n  \
                     hosts: [echo.test]\n  resolution: STATIC\n  ports: [{ number: 80, name: http, protocol: HTTP }]\n  \
                     workloadSelector: { labels: { app: nobody } }\n";
    let sidle = Sidle::run(manifests);
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "no healthy upstream"));
}
