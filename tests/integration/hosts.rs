//! Which virtual host takes a request, and what happens to hosts that nobody defines.

use crate::stage::client;
use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, full},
    manifest::{service, service_on, virtual_service},
    sidle::Sidle,
};

#[tokio::test]
async fn an_exact_host_beats_a_wildcard_and_the_longest_wildcard_beats_a_shorter() {
    let (exact, long, short) = (Echo::start("exact"), Echo::start("long"), Echo::start("short"));
    let mut manifests = service("exact", "exact.test", "HTTP", &[("e", exact.port())]);
    manifests += &service("long", "long.test", "HTTP", &[("l", long.port())]);
    manifests += &service("short", "short.test", "HTTP", &[("s", short.port())]);
    let to = |host: &str| format!("    - route: [{{ destination: {{ host: {host} }} }}]");
    manifests += &virtual_service("a", "a.b.example", &to("exact.test"));
    manifests += &virtual_service("b", "'*.b.example'", &to("long.test"));
    manifests += &virtual_service("c", "'*.example'", &to("short.test"));
    let sidle = Sidle::run(&manifests);
    let mut client = client(&sidle).await;
    for (host, wanted) in [
        ("a.b.example", "exact"),
        ("A.B.Example", "exact"),
        ("x.b.example", "long"),
        ("y.x.b.example", "long"),
        ("b.example", "short"),
        ("z.example", "short"),
    ] {
        assert_eq!(client.get(host, "/").await.version(), wanted, "{host}");
    }
}

#[tokio::test]
async fn a_kubernetes_service_answers_to_each_of_its_names() {
    let echo = Echo::start("v1");
    let manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: reviews, namespace: books }}\nspec:\n  \
         clusterIP: 10.96.0.7\n  ports: [{{ name: http, port: 9080, targetPort: {port} }}]\n---\n\
         apiVersion: v1\nkind: Endpoints\nmetadata: {{ name: reviews, namespace: books }}\nsubsets:\n  \
         - addresses: [{{ ip: 127.0.0.1 }}]\n    ports: [{{ name: http, port: {port} }}]\n",
        port = echo.port()
    );
    let sidle = Sidle::builder().file("s.yaml", &manifests).arguments(&["--namespace", "books"]).start();
    let mut client = client(&sidle).await;
    for host in [
        "reviews",
        "reviews:9080",
        "reviews.books",
        "reviews.books:9080",
        "reviews.books.svc",
        "reviews.books.svc.cluster.local",
        "reviews.books.svc.cluster.local:9080",
        "10.96.0.7:9080",
    ] {
        let answer = client.get(host, "/").await;
        assert_eq!(answer.version(), "v1", "{host}: {} {}", answer.status, answer.text());
        assert_eq!(echo.last().authority, host, "the authority stays as it was sent");
    }
}

#[tokio::test]
async fn ports_of_one_host_are_told_apart() {
    let (http, other) = (Echo::start("eighty"), Echo::start("ninety"));
    let mut manifests = service("a", "ports.test", "HTTP", &[("x", http.port())]);
    manifests += &service_on("b", "ports.test", 9090, "HTTP", &[("x", other.port())]);
    let sidle = Sidle::run(&manifests);
    let mut client = client(&sidle).await;
    assert_eq!(client.get("ports.test", "/").await.version(), "eighty");
    assert_eq!(client.get("ports.test:80", "/").await.version(), "eighty");
    assert_eq!(client.get("ports.test:9090", "/").await.version(), "ninety");
}

#[tokio::test]
async fn an_unknown_host_is_passed_through_by_default() {
    let echo = Echo::start("outside");
    let sidle = Sidle::run("");
    let authority = format!("localhost:{}", echo.port());
    let answer = client(&sidle).await.get(&authority, "/").await;
    assert_eq!(answer.version(), "outside", "{} {}", answer.status, answer.text());
}

#[tokio::test]
async fn an_unknown_host_is_a_502_under_registry_only() {
    let echo = Echo::start("outside");
    let sidle = Sidle::builder().settings("  outboundTrafficPolicy: { mode: REGISTRY_ONLY }\n").start();
    let answer = client(&sidle).await.get(&format!("localhost:{}", echo.port()), "/").await;
    assert_eq!(answer.status, 502);
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_lone_virtual_service_resolves_its_destination_by_dns() {
    let echo = Echo::start("v1");
    let to = format!(
        "    - route: [{{ destination: {{ host: localhost, port: {{ number: {} }} }} }}]",
        echo.port()
    );
    let sidle = Sidle::run(&virtual_service("lone", "lone.test", &to));
    let answer = client(&sidle).await.get("lone.test", "/").await;
    assert_eq!(answer.version(), "v1", "{} {}", answer.status, answer.text());
}

#[tokio::test]
async fn the_proxy_serves_as_an_http_proxy() {
    let echo = Echo::start("v1");
    let sidle = Sidle::run(&service("echo", "echo.test", "HTTP", &[("v1", echo.port())]));
    let mut client = Client::http1(sidle.outbound()).await;
    let absolute = request("GET", "echo.test", "/a?b").header("host", "echo.test").body(full("")).unwrap();
    let response = client.send_as_it_is(absolute).await.unwrap();
    assert_eq!(response.headers()["x-version"], "v1");
    assert_eq!((echo.last().path.as_str(), echo.last().authority.as_str()), ("/a?b", "echo.test"));
}
