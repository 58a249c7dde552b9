//! Header operations, and the headers that a proxy adds, keeps and drops.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    client::{Client, request},
    manifest::service,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

#[tokio::test]
async fn operations_of_route_and_destination_both_apply() {
    let stage = Stage::new();
    let sidle = stage.route(&format!(
        "    - headers:\n        request:\n          set: {{ x-set: route, x-via: '%PROTOCOL%' }}\n          \
         add: {{ x-add: route }}\n          remove: [x-gone]\n        response:\n          set: {{ x-back: route }}\n      \
         route:\n        - destination: {{ host: {HOST}, subset: v1 }}\n          headers:\n            \
         request: {{ add: {{ x-add: destination }} }}\n            response: {{ remove: [x-version] }}"
    ));
    let ask =
        request("GET", HOST, "/").header("x-set", "client").header("x-gone", "1").header("x-add", "client");
    let answer = client(&sidle).await.ask(ask).await;
    assert_eq!((answer.header("x-back"), answer.version()), ("route", ""));
    let headers = &answer.json()["headers"];
    assert_eq!(headers["x-set"], "route");
    assert_eq!(headers["x-via"], "HTTP/1.1");
    assert_eq!(headers["x-add"], "client,route,destination", "Istio puts both on the route, in this order");
    assert!(headers["x-gone"].is_null());
}

#[tokio::test]
async fn a_lone_destination_has_the_last_word_and_one_of_several_the_first() {
    let stage = Stage::new();
    let ask = async |also: &str| {
        let sidle = stage.route(&format!(
            "    - headers: {{ request: {{ set: {{ x-who: route }} }} }}\n      route:\n        \
             - destination: {{ host: {HOST}, subset: v1 }}\n          weight: 100\n          \
             headers: {{ request: {{ set: {{ x-who: destination }} }} }}\n{also}"
        ));
        client(&sidle).await.get(HOST, "/").await.json()["headers"]["x-who"].clone()
    };
    assert_eq!(ask("").await, "destination");
    let second = format!("        - destination: {{ host: {HOST}, subset: v2 }}\n          weight: 0\n");
    assert_eq!(ask(&second).await, "route");
}

#[tokio::test]
async fn a_set_host_header_changes_the_authority() {
    let stage = Stage::new();
    let sidle = stage.route(&format!(
        "    - headers: {{ request: {{ set: {{ Host: other.test }} }} }}\n      \
         route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]"
    ));
    assert_eq!(client(&sidle).await.get(HOST, "/").await.json()["authority"], "other.test");
}

#[tokio::test]
async fn the_proxy_adds_what_istio_adds() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let mut client = client(&sidle).await;
    let answer = client.get(HOST, "/").await;
    assert_eq!(answer.header("server"), "envoy");
    assert!(answer.header("x-envoy-upstream-service-time").parse::<u64>().is_ok());
    let headers = &answer.json()["headers"];
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-request-id"].as_str().unwrap().len(), 36);
    assert_eq!(headers["x-envoy-attempt-count"], "1");
    assert!(headers["x-forwarded-for"].is_null(), "sidecars do not append it");

    let kept = request("GET", HOST, "/").header("x-request-id", "mine").header("x-forwarded-proto", "https");
    let headers = &client.ask(kept).await.json()["headers"];
    assert_eq!((&headers["x-request-id"], &headers["x-forwarded-proto"]), (&"mine".into(), &"https".into()));
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let ask = request("GET", HOST, "/")
        .header("connection", "keep-alive, x-private")
        .header("x-private", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("proxy-connection", "keep-alive")
        .header("x-public", "1");
    let headers = &client(&sidle).await.ask(ask).await.json()["headers"];
    for name in ["x-private", "keep-alive", "proxy-connection"] {
        assert!(headers[name].is_null(), "{name}: {headers}");
    }
    assert_eq!(headers["x-public"], "1");
}

#[tokio::test]
async fn repeated_headers_and_cookies_arrive_whole() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let ask = || {
        request("GET", HOST, "/")
            .header("x-many", "a")
            .header("x-many", "b")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
    };
    for mut client in [Client::http1(sidle.outbound()).await, Client::http2(sidle.outbound()).await] {
        let headers = &client.ask(ask()).await.json()["headers"];
        assert_eq!(headers["x-many"], "a,b");
        let cookie = headers["cookie"].as_str().unwrap().replace(';', ",").replace(' ', "");
        assert_eq!(cookie, "a=1,b=2");
    }
}

/// What reaches an upstream, and what comes back, as raw heads.
fn raw_exchange(settings: &str) -> (String, String) {
    let (tell, told) = std::sync::mpsc::channel();
    let upstream = TcpServer::start(move |mut stream, _| {
        if let Some(request) = read_request(&mut stream) {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-BaCk: 1\r\nServer: own\r\nContent-Length: 0\r\n\r\n");
            tell.send(request).unwrap();
        }
    });
    let manifests = service("echo", HOST, "HTTP", &[("v1", upstream.port())]);
    let sidle = Sidle::builder().settings(settings).file("a.yaml", &manifests).start();
    let mut stream = TcpStream::connect(sidle.outbound()).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-MiXed: 1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (told.recv().unwrap(), answer)
}

#[test]
fn header_names_keep_their_case_when_asked_to() {
    let settings = "  proxyHeaders: { preserveHttp1HeaderCase: true, server: { disabled: true } }\n";
    let (request, answer) = raw_exchange(settings);
    assert!(request.contains("\r\nX-MiXed: 1\r\n"), "{request}");
    assert!(answer.contains("\r\nX-BaCk: 1\r\n") && answer.contains("\r\nServer: own\r\n"), "{answer}");
}

#[test]
fn header_names_are_lower_case_otherwise() {
    let (request, answer) = raw_exchange("");
    assert!(request.contains("\r\nx-mixed: 1\r\n"), "{request}");
    assert!(answer.contains("\r\nx-back: 1\r\n") && answer.contains("\r\nserver: envoy\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_can_name_away_its_own_fields_only_and_never_brings_a_certificate() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let ask = request("GET", HOST, "/")
        .header("connection", "close, x-forwarded-proto, X-Request-Id, x-own, authorization")
        .header("x-own", "1")
        .header("authorization", "x")
        .header("x-request-id", "mine")
        .header("te", "gzip, trailers")
        .header("x-forwarded-client-cert", "URI=spiffe://forged");
    let headers = client(&sidle).await.ask(ask).await.json()["headers"].clone();
    for gone in ["x-own", "authorization", "x-forwarded-client-cert"] {
        assert!(headers[gone].is_null(), "{gone}: {headers}");
    }
    assert_eq!(headers["x-forwarded-proto"], "http", "the proxy's own, added behind");
    assert_eq!(headers["x-request-id"].as_str().unwrap().len(), 36);
    assert_eq!(headers["te"], "trailers");
}

/// RFC 9110 section 6.6.1.
#[tokio::test]
async fn an_answer_has_one_date() {
    const OWN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let upstream = TcpServer::start(|mut stream, _| {
        while let Some(request) = read_request(&mut stream) {
            let date = if request.contains("/dated") { format!("date: {OWN}\r\n") } else { String::new() };
            let answer = format!("HTTP/1.1 200 OK\r\n{date}content-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let sidle = Sidle::run(&service("echo", HOST, "HTTP", &[("v1", upstream.port())]));
    for mut client in [Client::http1(sidle.outbound()).await, Client::http2(sidle.outbound()).await] {
        let mut dates = Vec::new();
        for path in ["/", "/dated"] {
            let answer = client.get(HOST, path).await;
            assert_eq!(answer.headers.get_all("date").iter().count(), 1, "{path}: {:?}", answer.headers);
            dates.push(answer.header("date").to_owned());
        }
        assert!(dates[0].ends_with(" GMT") && dates[0].len() == OWN.len() && dates[0] != OWN, "{dates:?}");
        assert_eq!(dates[1], OWN, "the upstream's own");
    }
}
