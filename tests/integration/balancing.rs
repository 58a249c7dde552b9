//! How an endpoint is chosen.

use crate::stage::{HOST, Stage, client, versions};
use sidle_test_support::{
    client::{Client, request},
    echo::Echo,
    manifest::{service, subsets},
    sidle::Sidle,
};
use std::{collections::BTreeSet, time::Duration};

/// Five endpoints with a load balancer setting.
fn five(setting: &str) -> (Vec<Echo>, Sidle) {
    let echoes: Vec<_> = (0..5).map(|index| Echo::start(&format!("e{index}"))).collect();
    let endpoints: Vec<_> = echoes.iter().map(|echo| ("any", echo.port())).collect();
    let spec = format!("  trafficPolicy:\n    loadBalancer: {setting}\n");
    let manifests = service("echo", HOST, "HTTP", &endpoints) + &subsets("echo", HOST, &["any"], &spec);
    (echoes, Sidle::run(&manifests))
}

async fn version(client: &mut Client, ask: http::request::Builder) -> String {
    client.ask(ask).await.version().to_owned()
}

#[tokio::test]
async fn round_robin_is_fair() {
    let (_echoes, sidle) = five("{ simple: ROUND_ROBIN }");
    let answered = versions(&mut client(&sidle).await, "/", 100).await;
    for index in 0..5 {
        let count = answered.iter().filter(|version| **version == format!("e{index}")).count();
        // A client connection stays on one worker; each worker begins its turn at a place of its own.
        assert!((19..=21).contains(&count), "e{index} answered {count} of 100");
    }
}

#[tokio::test]
async fn random_reaches_everyone() {
    let (_echoes, sidle) = five("{ simple: RANDOM }");
    let seen: BTreeSet<_> = versions(&mut client(&sidle).await, "/", 200).await.into_iter().collect();
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn least_request_turns_away_from_a_slow_endpoint() {
    let stage = Stage::new();
    // So slow that on a busy machine the other one is not.
    stage.v1.answer(|_| {
        Some(sidle_test_support::echo::Answer { delay: Duration::from_millis(300), ..Default::default() })
    });
    let sidle = Sidle::run(&stage.service("HTTP"));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = client(&sidle).await;
        clients.spawn(async move { versions(&mut client, "/", 40).await });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let (slow, quick) = (stage.v1.requests(), stage.v2.requests());
    assert_eq!(slow + quick, 400);
    assert!(slow * 3 < quick, "the slow one got {slow}, the quick one {quick}");
}

#[tokio::test]
async fn a_header_keeps_its_endpoint() {
    let (_echoes, sidle) = five("{ consistentHash: { httpHeaderName: x-user } }");
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let ask = || request("GET", HOST, "/").header("x-user", format!("user-{user}"));
        let mut first = client(&sidle).await;
        let chosen = version(&mut first, ask()).await;
        for _ in 0..5 {
            assert_eq!(version(&mut client(&sidle).await, ask()).await, chosen);
        }
        seen.insert(chosen);
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[tokio::test]
async fn a_query_parameter_keeps_its_endpoint() {
    let (_echoes, sidle) = five("{ consistentHash: { httpQueryParameterName: user } }");
    let mut client = client(&sidle).await;
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let path = format!("/?a=b&user={user}");
        let answered: BTreeSet<_> = versions(&mut client, &path, 4).await.into_iter().collect();
        assert_eq!(answered.len(), 1);
        seen.extend(answered);
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[tokio::test]
async fn a_source_address_keeps_its_endpoint() {
    let (_echoes, sidle) = five("{ consistentHash: { useSourceIp: true } }");
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        seen.extend(versions(&mut client(&sidle).await, "/", 2).await);
    }
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn a_cookie_is_made_and_keeps_its_endpoint() {
    let (_echoes, sidle) = five("{ consistentHash: { httpCookie: { name: cart, path: /shop, ttl: 60s } } }");
    let mut seen = BTreeSet::new();
    for _ in 0..30 {
        let mut client = client(&sidle).await;
        let first = client.get(HOST, "/").await;
        let made = first.header("set-cookie").to_owned();
        assert!(
            made.starts_with("cart=") && made.contains("Path=/shop") && made.contains("Max-Age=60"),
            "{made}"
        );
        let cookie = made.split(';').next().unwrap().to_owned();
        for _ in 0..3 {
            let again = client.ask(request("GET", HOST, "/").header("cookie", &cookie)).await;
            assert_eq!((again.version(), again.header("set-cookie")), (first.version(), ""));
        }
        seen.insert(first.version().to_owned());
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

#[tokio::test]
async fn maglev_keeps_a_header_too() {
    let (_echoes, sidle) = five("{ consistentHash: { httpHeaderName: x-user, maglev: {} } }");
    let mut client = client(&sidle).await;
    for user in 0..20 {
        let ask = || request("GET", HOST, "/").header("x-user", format!("user-{user}"));
        let chosen = version(&mut client, ask()).await;
        assert_eq!(version(&mut client, ask()).await, chosen);
    }
}

#[tokio::test]
async fn endpoint_weights_count() {
    let (heavy, light) = (Echo::start("heavy"), Echo::start("light"));
    let sidle = Sidle::run(&format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: w }}\nspec:\n  hosts: [{HOST}]\n  \
         resolution: STATIC\n  ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  endpoints:\n    \
         - {{ address: 127.0.0.1, ports: {{ http: {} }}, weight: 9 }}\n    \
         - {{ address: 127.0.0.1, ports: {{ http: {} }}, weight: 1 }}\n---\n{}",
        heavy.port(),
        light.port(),
        subsets("w", HOST, &[], "  trafficPolicy: { loadBalancer: { simple: RANDOM } }\n")
            .replace("  subsets:\n", ""),
    ));
    versions(&mut client(&sidle).await, "/", 1_000).await;
    let light = light.requests() as f64;
    // Once in a hundred million runs it is further off.
    assert!((light - 100.0).abs() < 5.8 * 90.0_f64.sqrt(), "the light one got {light} of 1000");
}

#[tokio::test]
async fn a_name_is_resolved_to_its_addresses() {
    let echo = Echo::start("v1");
    for resolution in ["DNS", "DNS_ROUND_ROBIN"] {
        let sidle = Sidle::run(&format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: d }}\nspec:\n  hosts: [{HOST}]\n  \
             resolution: {resolution}\n  ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  \
             endpoints: [{{ address: localhost, ports: {{ http: {} }} }}]\n",
            echo.port()
        ));
        assert_eq!(versions(&mut client(&sidle).await, "/", 20).await, vec!["v1"; 20], "{resolution}");
    }
}
