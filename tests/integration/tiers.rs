//! Retries through several tiers: each tier tries again what failed, and the load must not multiply.

use crate::stage::HOST;
use sidle_test_support::{
    client::Client,
    echo::{Answer, Echo},
    manifest::{service, subsets, virtual_service},
    sidle::Sidle,
};

const RETRIES: &str =
    "    - retries: { attempts: 3, retryOn: 5xx }\n      route: [{ destination: { host: echo.test } }]";

/// Three proxies in a row before one upstream, each with three retries; `rule` are lines of the `spec` of a DestinationRule.
fn tiers(upstream: &Echo, rule: &str) -> Vec<Sidle> {
    let mut tiers: Vec<Sidle> = Vec::new();
    for _ in 0..3 {
        let port = tiers.last().map_or(upstream.port(), |below| below.outbound().port());
        let manifests = service("echo", HOST, "HTTP", &[("v1", port)]);
        let rule = subsets("echo", HOST, &[], rule).replace("  subsets:\n", "");
        tiers.push(Sidle::run(&(manifests + &rule + &virtual_service("echo", HOST, RETRIES))));
    }
    tiers
}

/// Sends `each` requests on each of `clients` connections; requests at the upstream for one that was sent.
async fn load(tiers: &[Sidle], upstream: &Echo, clients: u64, each: u64, status: u16) -> f64 {
    upstream.forget();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let mut client = Client::http1(tiers[2].outbound()).await;
        tasks.spawn(async move {
            for _ in 0..each {
                assert_eq!(client.get(HOST, "/").await.status, status);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let times = upstream.requests() as f64 / (clients * each) as f64;
    println!("{clients} clients, {each} requests each, {status}: {times:.3} times the load at the upstream");
    times
}

#[tokio::test]
async fn a_last_tier_that_fails_everything_gets_hardly_more_than_what_is_offered() {
    let upstream = Echo::start("v1");
    let tiers = tiers(&upstream, "");
    upstream.answer(|_| Some(Answer::status(503)));
    // From the first request on, before anybody knows: one at a time, where each tier may retry each of them.
    let first = load(&tiers, &upstream, 1, 1_000, 503).await;
    assert!((1.0..=1.2).contains(&first), "{first}");
    // And once it is known, by many at a time.
    let steady = load(&tiers, &upstream, 16, 100, 503).await;
    assert!((1.0..=1.01).contains(&steady), "{steady}");
    upstream.answer(|_| None);
    let well = load(&tiers, &upstream, 16, 50, 200).await;
    assert!((1.0..=1.01).contains(&well), "{well}");
    // Retries have been earned again.
    upstream.forget();
    upstream.answer(|seen| (seen.header("x-envoy-attempt-count") == "1").then(|| Answer::status(503)));
    assert_eq!(Client::http1(tiers[2].outbound()).await.get(HOST, "/").await.status, 200);
    assert_eq!(upstream.requests(), 2);
}

/// What a user asks for holds, also where it multiplies.
#[tokio::test]
async fn a_retry_budget_of_a_rule_is_what_it_says() {
    let upstream = Echo::start("v1");
    let tiers =
        tiers(&upstream, "  trafficPolicy: { retryBudget: { percent: 20, minRetryConcurrency: 3 } }\n");
    upstream.answer(|_| Some(Answer::status(503)));
    let times = load(&tiers, &upstream, 1, 2, 503).await;
    assert!((times - 64.0).abs() < 1e-9, "four tries, three times over: {times}");
}
