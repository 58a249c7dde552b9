//! Endpoints that fail are kept out for a while: outlier detection.

use crate::stage::{HOST, client, versions};
use sidle_test_support::{
    client::{Client, request},
    echo::{Answer, Echo},
    manifest::{service, service_on, subsets, virtual_service},
    ports,
    sidle::{Sidle, command},
    tcp::TcpServer,
    wait,
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Quick enough for a test, and nobody is out for so short that a test could miss it.
const QUICK: &str = "consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 5s";
/// Nobody comes back while a test runs.
const LONG: &str = "consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 300s";

/// Upstreams of one service without retries.
struct Crowd {
    echoes: Vec<Echo>,
    /// Of each request. Long, where no answer is to be late: a busy machine answers late, too.
    timeout: &'static str,
}

impl Crowd {
    fn of(count: usize) -> Self {
        Crowd { echoes: (0..count).map(|index| Echo::start(&format!("e{index}"))).collect(), timeout: "15s" }
    }

    fn ports(&self) -> Vec<u16> {
        self.echoes.iter().map(Echo::port).collect()
    }

    fn rule(&self, detection: &str, balancer: &str) -> String {
        let spec = format!(
            "  trafficPolicy:\n    loadBalancer: {{ simple: {balancer} }}\n    outlierDetection: {{ {detection} }}\n"
        );
        destination_rule(&spec)
    }

    fn manifests(&self, ports: &[u16], rule: &str) -> String {
        let endpoints: Vec<_> = ports.iter().map(|&port| ("any", port)).collect();
        let route = format!(
            "    - retries: {{ attempts: 0 }}\n      timeout: {}\n      route: [{{ destination: {{ host: {HOST} }} }}]",
            self.timeout
        );
        service("crowd", HOST, "HTTP", &endpoints) + rule + &virtual_service("crowd", HOST, &route)
    }

    fn run(&self, detection: &str) -> Sidle {
        Sidle::run(&self.manifests(&self.ports(), &self.rule(detection, "ROUND_ROBIN")))
    }

    /// Has one of them answer with a status from now on.
    fn fail(&self, index: usize, status: u16) {
        self.echoes[index].answer(move |_| Some(Answer::status(status)));
    }

    fn heal(&self, index: usize) {
        self.echoes[index].answer(|_| None);
    }
}

fn destination_rule(spec: &str) -> String {
    subsets("crowd", HOST, &[], spec).replace("  subsets:\n", "")
}

/// What a metric of outlier detection says.
fn figure(sidle: &Sidle, name: &str) -> f64 {
    let cluster = [("envoy_cluster_name", "outbound|80||echo.test")];
    sidle.metrics().sum(&format!("envoy_cluster_outlier_detection_{name}"), &cluster)
}

fn ejected(sidle: &Sidle) -> usize {
    figure(sidle, "ejections_active") as usize
}

/// Sends requests until so many endpoints are out.
async fn until_ejected(sidle: &Sidle, client: &mut Client, count: usize) {
    for _ in 0..200 {
        for _ in 0..10 {
            client.get(HOST, "/").await;
        }
        if ejected(sidle) == count {
            return;
        }
    }
    panic!("{} and not {count} are ejected: {}", ejected(sidle), sidle.admin("/clusters").body);
}

/// Waits for a line of the log with these parts: what reads it is a thread of its own.
fn says(sidle: &Sidle, parts: &[&str]) {
    wait::until(&format!("{parts:?} in the log"), || {
        let log = sidle.output();
        log.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

fn reload(sidle: &Sidle) {
    let answer = sidle.admin_post("/reload");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn one_of_five_that_fails_is_kept_out_and_comes_back() {
    let crowd = Crowd::of(5);
    let sidle = crowd.run(QUICK);
    let mut client = client(&sidle).await;
    let five = ["e0", "e1", "e2", "e3", "e4"].map(str::to_owned);
    assert_eq!(versions(&mut client, "/", 50).await.into_iter().collect::<BTreeSet<_>>(), five.into());
    assert_eq!(
        (ejected(&sidle), figure(&sidle, "ejections_enforced_total")),
        (0, 0.0),
        "shown from the start"
    );

    crowd.fail(2, 500);
    until_ejected(&sidle, &mut client, 1).await;
    let before = crowd.echoes[2].requests();
    let answered = versions(&mut client, "/", 40).await;
    assert_eq!(crowd.echoes[2].requests(), before, "nothing is sent to it");
    for version in ["e0", "e1", "e3", "e4"] {
        assert_eq!(answered.iter().filter(|answered| *answered == version).count(), 10, "{answered:?}");
    }

    let address = crowd.echoes[2].address();
    let flag = format!("outbound|80||echo.test::{address}::health_flags::/failed_outlier_check\n");
    let text = sidle.admin("/clusters").body;
    assert!(text.contains(&flag) && text.matches("health_flags::/failed").count() == 1, "{text}");
    let output = command().args(["endpoints", "--admin", &sidle.ports.admin.to_string()]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let line =
        |address: &str| table.lines().find(|line| line.starts_with(address)).unwrap_or_default().to_owned();
    let words = line(&address.to_string()).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words[1..3], ["HEALTHY", "FAILED"], "{table}");
    for (name, wanted) in [
        ("ejections_enforced_total", 1.0),
        ("ejections_enforced_consecutive_5xx", 1.0),
        ("ejections_detected_consecutive_5xx", 1.0),
        ("ejections_enforced_consecutive_gateway_failure", 0.0),
        ("ejections_overflow", 0.0),
    ] {
        assert_eq!(figure(&sidle, name), wanted, "{name}");
    }
    let parts = ["endpoint ejected", &address.to_string(), "consecutive_5xx", "5s"];
    says(&sidle, &parts);

    crowd.heal(2);
    wait::until("its return", || (ejected(&sidle) == 0).then_some(()));
    assert!(versions(&mut client, "/", 10).await.contains(&"e2".to_owned()));
    says(&sidle, &["endpoint back in use"]);
    assert!(!sidle.admin("/clusters").body.contains("/failed_outlier_check"));
}

#[tokio::test]
async fn who_is_kept_out_stays_so_over_reloads_and_new_endpoints() {
    let crowd = Crowd::of(6);
    let rule = crowd.rule(LONG, "ROUND_ROBIN");
    let five = &crowd.ports()[..5];
    let sidle = Sidle::run(&crowd.manifests(five, &rule));
    let mut client = client(&sidle).await;
    crowd.fail(2, 500);
    until_ejected(&sidle, &mut client, 1).await;
    let before = crowd.echoes[2].requests();

    let others: BTreeSet<_> = ["e0", "e1", "e3", "e4"].map(str::to_owned).into();
    let steps = [
        (crowd.ports(), rule.clone(), true, "another endpoint"),
        (crowd.ports(), crowd.rule(LONG, "RANDOM"), true, "another policy"),
        (
            crowd.ports(),
            crowd.rule(&format!("{LONG}, maxEjectionPercent: 50"), "RANDOM"),
            true,
            "other bounds",
        ),
        (five.to_vec(), rule, false, "an endpoint fewer"),
    ];
    for (ports, rule, with_new, what) in steps {
        sidle.write("test.yaml", &crowd.manifests(&ports, &rule));
        reload(&sidle);
        let seen: BTreeSet<_> = versions(&mut client, "/", 150).await.into_iter().collect();
        let wanted = others.iter().cloned().chain(with_new.then(|| "e5".to_owned())).collect::<BTreeSet<_>>();
        assert_eq!(seen, wanted, "{what}");
        assert_eq!((ejected(&sidle), crowd.echoes[2].requests()), (1, before), "{what}");
    }

    crowd.heal(2);
    let without = destination_rule("  trafficPolicy: { loadBalancer: { simple: RANDOM } }\n");
    sidle.write("test.yaml", &crowd.manifests(five, &without));
    reload(&sidle);
    assert!(versions(&mut client, "/", 100).await.contains(&"e2".to_owned()), "detection is off");
    assert_eq!(ejected(&sidle), 0);
}

#[tokio::test]
async fn the_last_one_is_never_kept_out() {
    for count in [1, 3] {
        let crowd = Crowd::of(count);
        (0..count).for_each(|index| crowd.fail(index, 500));
        let sidle = crowd.run(&format!("{LONG}, maxEjectionPercent: 100"));
        let mut client = client(&sidle).await;
        until_ejected(&sidle, &mut client, count - 1).await;
        for _ in 0..50 {
            assert_eq!(client.get(HOST, "/").await.status, 500, "it is asked, and answers as it does");
        }
        assert_eq!(ejected(&sidle), count - 1);
        assert!(figure(&sidle, "ejections_overflow") >= 1.0);
    }
}

#[tokio::test]
async fn no_more_are_kept_out_than_may_be() {
    let crowd = Crowd::of(5);
    (1..5).for_each(|index| crowd.fail(index, 500));
    let sidle = crowd.run(&format!("{LONG}, maxEjectionPercent: 40"));
    let mut client = client(&sidle).await;
    until_ejected(&sidle, &mut client, 2).await;
    for _ in 0..100 {
        client.get(HOST, "/").await;
    }
    assert_eq!(ejected(&sidle), 2);
}

#[tokio::test]
async fn when_too_few_are_well_all_are_asked() {
    let crowd = Crowd::of(4);
    (0..2).for_each(|index| crowd.fail(index, 500));
    let sidle = crowd.run(&format!("{LONG}, maxEjectionPercent: 100, minHealthPercent: 60"));
    let mut client = client(&sidle).await;
    until_ejected(&sidle, &mut client, 2).await;
    let before = crowd.echoes[0].requests();
    for _ in 0..40 {
        client.get(HOST, "/").await;
    }
    assert_eq!(crowd.echoes[0].requests(), before + 10, "half are well, and three fifths would be enough");
}

#[tokio::test]
async fn whoever_does_not_answer_fails() {
    for what in ["refuses connections", "cuts them", "is too slow"] {
        let mut crowd = Crowd::of(4);
        let mut ports = crowd.ports();
        match what {
            "refuses connections" => ports[3] = ports::free().port(),
            "cuts them" => crowd.echoes[3].answer(|_| Some(Answer { reset: true, ..Answer::default() })),
            _ => {
                crowd.timeout = "1s";
                crowd.echoes[3]
                    .answer(|_| Some(Answer { delay: Duration::from_secs(60), ..Answer::default() }));
            }
        }
        let rule = crowd.rule(&format!("{LONG}, consecutiveGatewayErrors: 2"), "ROUND_ROBIN");
        let sidle = Sidle::run(&crowd.manifests(&ports, &rule));
        let mut client = client(&sidle).await;
        until_ejected(&sidle, &mut client, 1).await;
        versions(&mut client, "/", 20).await;
        assert_eq!(figure(&sidle, "ejections_enforced_consecutive_gateway_failure"), 1.0, "{what}");
    }
}

#[tokio::test]
async fn failures_are_counted_apart_if_the_rule_says_so() {
    let crowd = Crowd::of(4);
    crowd.fail(2, 503);
    crowd.echoes[3].answer(|_| Some(Answer { reset: true, ..Answer::default() }));
    let split = "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2";
    let sidle = crowd.run(&format!("consecutive5xxErrors: 0, baseEjectionTime: 300s, {split}"));
    let mut client = client(&sidle).await;
    until_ejected(&sidle, &mut client, 1).await;
    assert_eq!(figure(&sidle, "ejections_enforced_consecutive_local_origin_failure"), 1.0);
    let text = sidle.admin("/clusters").body;
    assert!(
        text.contains(&format!("{}::health_flags::/failed_outlier_check", crowd.echoes[3].address())),
        "{text}"
    );
}

#[tokio::test]
async fn a_status_of_grpc_counts() {
    let crowd = Crowd::of(3);
    crowd.echoes[1].answer(|_| {
        Some(Answer::status(200).header("content-type", "application/grpc").header("grpc-status", "14"))
    });
    let sidle = crowd.run(LONG);
    let mut client = client(&sidle).await;
    let ask = || {
        request("POST", HOST, "/a.B/C").header("content-type", "application/grpc").header("te", "trailers")
    };
    for _ in 0..30 {
        client.ask(ask()).await;
    }
    wait::until("its ejection", || (ejected(&sidle) == 1).then_some(()));
    let before = crowd.echoes[1].requests();
    for _ in 0..30 {
        assert_eq!(client.ask(ask()).await.status, 200);
    }
    assert_eq!(crowd.echoes[1].requests(), before);
}

#[tokio::test]
async fn whoever_fails_too_often_is_kept_out_if_a_health_policy_says_so() {
    let crowd = Crowd::of(4);
    let turn = AtomicU32::new(0);
    crowd.echoes[1]
        .answer(move |_| turn.fetch_add(1, Relaxed).is_multiple_of(2).then(|| Answer::status(500)));
    let sidle = crowd.run(LONG);
    let mut client = client(&sidle).await;
    for _ in 0..100 {
        client.get(HOST, "/").await;
    }
    assert_eq!(ejected(&sidle), 0, "it never fails thrice in a row");
    sidle.write(
        "health.yaml",
        &health_policy("  failurePercentage: { threshold: 40, minimumHosts: 3, requestVolume: 4 }\n"),
    );
    reload(&sidle);
    until_ejected(&sidle, &mut client, 1).await;
    versions(&mut client, "/", 20).await;
    assert_eq!(figure(&sidle, "ejections_enforced_failure_percentage"), 1.0);
}

/// A HealthPolicy with these lines, each indented by two.
fn health_policy(spec: &str) -> String {
    format!(
        "apiVersion: sidle.dev/v1\nkind: HealthPolicy\nmetadata: {{ name: crowd }}\nspec:\n  host: {HOST}\n{spec}"
    )
}

#[tokio::test]
async fn whoever_is_much_slower_is_kept_out_if_a_health_policy_says_so() {
    let crowd = Crowd::of(4);
    crowd.echoes[1].answer(|_| Some(Answer { delay: Duration::from_millis(150), ..Answer::default() }));
    let rule = crowd.rule(LONG, "ROUND_ROBIN");
    let policy = health_policy("  latency: { minimum: 75ms, minimumHosts: 4, requestVolume: 2 }\n");
    let slower = rule.replace("interval: 100ms", "interval: 1s");
    let sidle = Sidle::run(&(crowd.manifests(&crowd.ports(), &slower) + &policy));
    let mut client = client(&sidle).await;
    until_ejected(&sidle, &mut client, 1).await;
    let before = crowd.echoes[1].requests();
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    assert_eq!(crowd.echoes[1].requests(), before);
    says(&sidle, &["latency"]);
}

#[tokio::test]
async fn whoever_comes_back_has_to_prove_itself_if_a_health_policy_says_so() {
    let crowd = Crowd::of(3);
    crowd.fail(1, 500);
    let rule = crowd.rule(&QUICK.replace("baseEjectionTime: 5s", "baseEjectionTime: 1s"), "ROUND_ROBIN");
    let policy = health_policy("  probing: { requests: 2 }\n");
    let sidle = Sidle::run(&(crowd.manifests(&crowd.ports(), &rule) + &policy));
    let mut client = client(&sidle).await;
    until_ejected(&sidle, &mut client, 1).await;
    let before = crowd.echoes[1].requests();
    wait::until("its return", || (ejected(&sidle) == 0).then_some(()));
    until_ejected(&sidle, &mut client, 1).await;
    assert_eq!(crowd.echoes[1].requests(), before + 1, "one bad answer was enough");
    says(&sidle, &["probe"]);
    crowd.heal(1);
    wait::until("its return", || (ejected(&sidle) == 0).then_some(()));
    let answered = versions(&mut client, "/", 30).await;
    assert_eq!(answered.iter().filter(|version| *version == "e1").count(), 10);
}

#[tokio::test]
async fn connections_of_bytes_keep_away_from_whoever_takes_none() {
    let servers = [TcpServer::echo(), TcpServer::echo()];
    let port = ports::free().port();
    let endpoints = [servers[0].port(), ports::free().port(), servers[1].port()].map(|port| ("any", port));
    let sidle = Sidle::run(&format!(
        "{}{}apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: local }}\nspec:\n  egress:\n    \
         - port: {{ number: {port}, name: main, protocol: TCP }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      \
         hosts: [./{HOST}]\n",
        service_on("crowd", HOST, port, "TCP", &endpoints),
        destination_rule(&format!(
            "  trafficPolicy: {{ loadBalancer: {{ simple: ROUND_ROBIN }}, outlierDetection: {{ {LONG} }} }}\n---\n"
        )),
    ));
    let talk = async || {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"hello, bytes").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello, bytes");
    };
    for _ in 0..12 {
        talk().await;
    }
    let ejections = "envoy_cluster_outlier_detection_ejections_active";
    wait::until("its ejection", || (sidle.metrics().sum(ejections, &[]) == 1.0).then_some(()));
    let failures = || sidle.metrics().sum("sidle_cluster_connect_failures_total", &[]);
    let before = failures();
    for _ in 0..12 {
        talk().await;
    }
    assert_eq!(failures(), before, "it is not tried any more");
}
