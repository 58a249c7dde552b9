//! Endpoints that say they are not well, or say nothing, are not used: health checks.

use crate::stage::{HOST, client, versions};
use sidle_test_support::{
    echo::{Answer, Echo, Received},
    manifest::{service, subsets, virtual_service},
    ports,
    sidle::{Sidle, command},
    wait,
};
use std::time::{Duration, Instant};

/// The timeout is of no check that is answered, however busy the machine.
const QUICK: &str = "interval: 50ms, intervalJitter: 10ms, timeout: 5s";
const IMPATIENT: &str = "interval: 50ms, intervalJitter: 10ms, timeout: 2s";

/// One of three may be all that is left.
const NO_PANIC: &str = ", outlierDetection: { minHealthPercent: 0 }";

fn crowd(count: usize) -> Vec<Echo> {
    (0..count).map(|index| Echo::start(&format!("e{index}"))).collect()
}

fn manifests(protocol: &str, ports: &[u16], policy: &str, check: &str) -> String {
    let endpoints: Vec<_> = ports.iter().map(|&port| ("any", port)).collect();
    let spec = format!("  trafficPolicy: {{ loadBalancer: {{ simple: ROUND_ROBIN }}{policy} }}\n");
    let rule = subsets("crowd", HOST, &[], &spec).replace("  subsets:\n", "");
    let route =
        format!("    - retries: {{ attempts: 0 }}\n      route: [{{ destination: {{ host: {HOST} }} }}]");
    let health = match check {
        "" => String::new(),
        check => format!(
            "---\napiVersion: sidle.dev/v1\nkind: HealthPolicy\nmetadata: {{ name: crowd }}\nspec:\n  host: {HOST}\n  \
             healthCheck: {{ {check} }}\n"
        ),
    };
    service("crowd", HOST, protocol, &endpoints) + &rule + &virtual_service("crowd", HOST, &route) + &health
}

fn run(protocol: &str, echoes: &[Echo], policy: &str, check: &str) -> Sidle {
    let ports: Vec<_> = echoes.iter().map(Echo::port).collect();
    Sidle::run(&manifests(protocol, &ports, policy, check))
}

/// Has an endpoint answer checks with `answer`, and everything else as usual.
fn say(echo: &Echo, path: &'static str, answer: impl Fn() -> Answer + Send + Sync + 'static) {
    echo.answer(move |request: &Received| (request.path == path).then(&answer));
}

fn figure(sidle: &Sidle, name: &str) -> f64 {
    sidle.metrics().sum(&format!("envoy_cluster_{name}"), &[("envoy_cluster_name", "outbound|80||echo.test")])
}

fn until_healthy(sidle: &Sidle, count: usize) {
    wait::until("so many that are well", || {
        (figure(sidle, "membership_healthy") == count as f64).then_some(())
    });
}

/// Waits until so many are known to fail their checks: who was not checked yet is not well, and is used nevertheless.
fn until_failed(sidle: &Sidle, count: usize) {
    wait::until("so many that fail their checks", || {
        let failed = sidle.admin("/clusters").body.matches("health_flags::/failed_active_hc\n").count();
        (failed == count).then_some(())
    });
}

/// Requests that were not checks.
fn asked(echo: &Echo, check: &str) -> usize {
    echo.received().iter().filter(|request| request.path != check).count()
}

#[tokio::test]
async fn who_answers_badly_is_left_out_until_it_answers_well() {
    let echoes = crowd(3);
    say(&echoes[1], "/healthz?deep", || Answer::status(503));
    let check =
        format!("http: {{ path: '/healthz?deep', host: check.test, expectedStatuses: [200, 204] }}, {QUICK}");
    let sidle = run("HTTP", &echoes, "", &check);
    until_healthy(&sidle, 2);
    until_failed(&sidle, 1);
    let mut client = client(&sidle).await;
    let before = asked(&echoes[1], "/healthz?deep");
    let answered = versions(&mut client, "/", 30).await;
    assert_eq!(answered.iter().filter(|version| *version == "e0").count(), 15, "{answered:?}");
    assert_eq!(asked(&echoes[1], "/healthz?deep"), before);
    let received = echoes[0].received();
    let check = received.iter().find(|request| request.path == "/healthz?deep").unwrap();
    assert_eq!((check.authority.as_str(), check.method.as_str()), ("check.test", "GET"));

    let address = echoes[1].address();
    let flag = format!("outbound|80||echo.test::{address}::health_flags::/failed_active_hc\n");
    let text = sidle.admin("/clusters").body;
    assert!(text.contains(&flag) && text.matches("health_flags::healthy").count() == 2, "{text}");
    let output = command().args(["endpoints", "--admin", &sidle.ports.admin.to_string()]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let line = table.lines().find(|line| line.starts_with(&address.to_string())).unwrap_or_default();
    assert_eq!(line.split_whitespace().nth(1), Some("UNHEALTHY"), "{table}");
    assert!(figure(&sidle, "health_check_failure") >= 1.0 && figure(&sidle, "health_check_success") >= 2.0);
    assert_eq!(
        (figure(&sidle, "health_check_healthy"), figure(&sidle, "health_check_network_failure")),
        (2.0, 0.0)
    );
    wait::until("the log", || {
        let told =
            |line: &&str| line.contains("endpoint fails its health checks") && line.contains("answered 503");
        let log = sidle.output();
        log.lines().find(told).filter(|line| line.contains(&address.to_string())).map(drop)
    });

    say(&echoes[1], "/healthz?deep", || Answer::status(204));
    until_healthy(&sidle, 3);
    assert!(versions(&mut client, "/", 30).await.contains(&"e1".to_owned()));
    wait::until("the log", || sidle.output().contains("passes its health checks again").then_some(()));
    assert!(!sidle.admin("/clusters").body.contains("failed_active_hc"));
}

#[tokio::test]
async fn a_check_that_is_never_answered_fails_and_holds_up_nobody() {
    let echoes = crowd(2);
    say(&echoes[0], "/slow", || Answer { delay: Duration::from_secs(60), ..Answer::default() });
    let sidle = run("HTTP", &echoes, "", &format!("http: {{ path: /slow }}, {IMPATIENT}"));
    let mut client = client(&sidle).await;
    let began = Instant::now();
    versions(&mut client, "/", 20).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    until_healthy(&sidle, 1);
    wait::until("a failure of the network", || {
        (figure(&sidle, "health_check_network_failure") >= 1.0).then_some(())
    });
    until_failed(&sidle, 1);
    assert_eq!(versions(&mut client, "/", 10).await, vec!["e1"; 10]);
}

fn grpc_health(status: u8) -> Answer {
    Answer {
        headers: vec![("content-type", "application/grpc".into())],
        body: vec![0, 0, 0, 0, 2, 8, status].into(),
        trailers: vec![("grpc-status", "0".into())],
        ..Answer::default()
    }
}

#[tokio::test]
async fn grpc_servers_are_asked_in_their_own_words() {
    const PATH: &str = "/grpc.health.v1.Health/Check";
    let echoes = crowd(3);
    say(&echoes[0], PATH, || grpc_health(1));
    say(&echoes[1], PATH, || grpc_health(2));
    say(&echoes[2], PATH, || Answer {
        headers: vec![("content-type", "application/grpc".into()), ("grpc-status", "12".into())],
        ..Answer::default()
    });
    let sidle = run("HTTP2", &echoes, NO_PANIC, &format!("grpc: {{ service: shop.Orders }}, {QUICK}"));
    until_healthy(&sidle, 1);
    until_failed(&sidle, 2);
    let mut client = client(&sidle).await;
    assert_eq!(versions(&mut client, "/", 10).await, vec!["e0"; 10]);
    let received = echoes[0].received();
    let check = received.iter().find(|request| request.path == PATH).unwrap();
    assert_eq!(check.body, [&[0, 0, 0, 0, 13, 0x0a, 11][..], b"shop.Orders"].concat());
    assert_eq!((check.authority.as_str(), check.header("te")), (HOST, "trailers"));
    wait::until("the log", || {
        let log = sidle.output();
        (log.contains("it does not serve") && log.contains("answered grpc-status 12")).then_some(())
    });

    say(&echoes[1], PATH, || grpc_health(1));
    until_healthy(&sidle, 2);
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent() {
    let echoes = crowd(1);
    let nobody = ports::free().port();
    let check = format!("tcp: {{}}, {QUICK}");
    let sidle = Sidle::run(&manifests("HTTP", &[nobody, echoes[0].port()], "", &check));
    until_healthy(&sidle, 1);
    until_failed(&sidle, 1);
    let mut client = client(&sidle).await;
    versions(&mut client, "/", 20).await;

    let later = Echo::at("later", ([127, 0, 0, 1], nobody).into());
    until_healthy(&sidle, 2);
    assert!(versions(&mut client, "/", 20).await.contains(&"later".to_owned()));
    drop(later);
    until_healthy(&sidle, 1);
    versions(&mut client, "/", 20).await;
}

#[tokio::test]
async fn when_all_fail_their_checks_it_depends_on_the_panic_threshold() {
    for (policy, status) in
        [("", 200), (NO_PANIC, 503), (", outlierDetection: { minHealthPercent: 50 }", 200)]
    {
        let echoes = crowd(2);
        echoes.iter().for_each(|echo| say(echo, "/", || Answer::status(500)));
        let sidle = run("HTTP", &echoes, policy, &format!("http: {{}}, {QUICK}"));
        until_failed(&sidle, 2);
        until_healthy(&sidle, 0);
        // Endpoints that nothing is known of yet are not healthy, either, and are used.
        let answer = wait::eventually(&format!("{status} with `{policy}`"), || async {
            let answer = client(&sidle).await.get(HOST, "/asked").await;
            (answer.status == status).then_some(answer)
        })
        .await;
        if status == 503 {
            assert_eq!(answer.text(), "no healthy upstream");
        }
    }
}

#[tokio::test]
async fn one_that_is_ejected_and_one_that_fails_its_checks_are_both_out_and_the_last_is_used() {
    let echoes = crowd(3);
    say(&echoes[0], "/healthz", || Answer::status(503));
    echoes[1].answer(|request| (request.path == "/").then(|| Answer::status(500)));
    let policy = ", outlierDetection: { consecutive5xxErrors: 2, interval: 100ms, baseEjectionTime: 300s, maxEjectionPercent: 100 }";
    let sidle = run("HTTP", &echoes, policy, &format!("http: {{ path: /healthz }}, {QUICK}"));
    until_healthy(&sidle, 2);
    until_failed(&sidle, 1);
    let mut client = client(&sidle).await;
    while figure(&sidle, "membership_healthy") == 2.0 {
        client.get(HOST, "/").await;
    }
    assert_eq!(versions(&mut client, "/", 10).await, vec!["e2"; 10]);
    let text = sidle.admin("/clusters").body;
    assert!(text.contains("::/failed_active_hc\n") && text.contains("::/failed_outlier_check\n"), "{text}");
    // The one that is left fails too: it is not ejected, since nobody would be left.
    echoes[2].answer(|request| (request.path == "/").then(|| Answer::status(500)));
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.status, 500, "its own answer, and not one made here");
    }
}

#[tokio::test]
async fn without_the_policy_everybody_is_used_again() {
    let echoes = crowd(2);
    say(&echoes[0], "/", || Answer::status(503));
    let sidle = run("HTTP", &echoes, "", &format!("http: {{}}, {QUICK}"));
    until_healthy(&sidle, 1);
    let ports: Vec<_> = echoes.iter().map(Echo::port).collect();
    sidle.write("test.yaml", &manifests("HTTP", &ports, "", ""));
    assert_eq!(sidle.admin_post("/reload").status, 200);
    assert!(versions(&mut client(&sidle).await, "/other", 20).await.contains(&"e0".to_owned()));
    assert!(!sidle.admin("/clusters").body.contains("failed_active_hc"));
}
