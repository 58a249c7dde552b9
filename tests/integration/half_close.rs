//! A client that closes its sending side has no more requests, and waits for the answers to those that it sent; one that is
//! gone waits for nothing.

use crate::{
    raw::{Raw, get},
    stage::{HOST, Stage},
};
use sidle_test_support::{
    manifest::{service, virtual_service},
    ports,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    tls::Authority,
    wait,
};
use std::{
    io::Write,
    sync::{
        Mutex,
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An upstream that answers once it is told to, for each request.
fn held() -> (TcpServer, Sender<()>) {
    let (go, told) = channel();
    let told = Mutex::new(told);
    let server = TcpServer::start(move |mut stream, _| {
        while let Some(head) = read_request(&mut stream) {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            if told.lock().unwrap().recv().is_err() {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (server, go)
}

fn in_front_of(server: &TcpServer, settings: &str) -> Sidle {
    let manifests = service("echo", HOST, "HTTP", &[("v1", server.port())]);
    Sidle::builder().file("test.yaml", &manifests).settings(settings).start()
}

#[test]
fn all_that_was_sent_whole_is_answered_in_order() {
    let (server, go) = held();
    let sidle = in_front_of(&server, "");
    for count in [1, 3] {
        let mut client = Raw::connect(&sidle);
        for number in 0..count {
            client.send(&get(&format!("/{number}"), ""));
        }
        client.finish();
        let asked = count == 1; // of several, the last one is
        let mut answers = client.read(|text| !asked || text.ends_with("100 Continue\r\n\r\n"));
        (0..count).for_each(|_| go.send(()).unwrap());
        answers += &client.rest();
        let answers: Vec<&str> = answers.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
        assert_eq!(answers.len(), count, "{answers:?}");
        for (number, answer) in answers.iter().enumerate() {
            let (body, last) = (format!("\r\n\r\n/{number}"), number + 1 == count);
            assert!(answer.contains(&body), "{answers:?}");
            assert_eq!(answer.contains("connection: close\r\n"), last, "{answers:?}");
        }
    }
}

#[test]
fn an_answer_that_is_quick_comes_alone() {
    let sidle = Stage::new().route("    - directResponse: { status: 200, body: { string: hello } }\n");
    let answer = Raw::connect(&sidle).send(&get("/", "")).finish().rest();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[test]
fn a_client_of_http_1_0_gets_no_interim_answer() {
    let (server, go) = held();
    let sidle = in_front_of(&server, "  acceptHttp10: true\n");
    let mut client = Raw::connect(&sidle);
    client.send(&format!("GET /a HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).finish();
    // A client of HTTP/1.1 that came later has been asked.
    let mut other = Raw::connect(&sidle);
    other.send(&get("/b", "")).finish().read(|text| text.ends_with("100 Continue\r\n\r\n"));
    go.send(()).unwrap();
    go.send(()).unwrap();
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("/a"), "{answer}");
}

#[test]
fn half_a_request_is_none() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let head = get("/", "");
    let body = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhel");
    let answer = Raw::connect(&sidle).send(&head[..head.len() - 2]).finish().rest();
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(stage.v1.requests(), 0);
    let answer = Raw::connect(&sidle).send(&body).finish().rest();
    assert!(!answer.contains(" 200 "), "{answer}");
    let answer = Raw::connect(&sidle).send(&(head + &body)).finish().rest();
    assert_eq!(answer.matches(" 200 OK").count(), 1, "{answer}");
}

/// Starts a request that the upstream never answers, and has the client go away.
fn abandoned(stage: &Stage, sidle: &Sidle, before: &str, leave: impl FnOnce(Raw)) -> Duration {
    let cancelled = stage.v1.cancelled();
    let requests = stage.v1.requests();
    let mut client = Raw::connect(sidle);
    client.send(&(get("/?delay=60s", "") + before));
    wait::until("the request at the upstream", || (stage.v1.requests() > requests).then_some(()));
    let left = Instant::now();
    leave(client);
    wait::until("the upstream to hear of it", || (stage.v1.cancelled() > cancelled).then_some(()));
    left.elapsed()
}

#[test]
fn a_client_that_is_gone_costs_its_request_nothing_more() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let route = format!("    - route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]\n");
    let sidle = Sidle::builder()
        .file("test.yaml", &(stage.manifests() + &virtual_service("echo", HOST, &route)))
        .settings(&format!(
            "  accessLogFile: {}\n  accessLogFormat: \"%RESPONSE_FLAGS%\\n\"\n",
            log.display()
        ))
        .start();
    let next = get("/", "");
    for (before, how) in [("", "idle"), (&next[..], "pipelined"), (&next[..9], "half a request")] {
        let took = abandoned(&stage, &sidle, before, Raw::reset);
        assert!(took < Duration::from_secs(2), "reset, {how}: {took:?}");
    }
    let took = abandoned(&stage, &sidle, "", drop);
    assert!(took < Duration::from_secs(3), "closed: {took:?}");
    let took = abandoned(&stage, &sidle, "", |mut client| {
        client.finish().read(|text| text.ends_with("100 Continue\r\n\r\n"));
        client.reset();
    });
    assert!(took < Duration::from_secs(3), "reset after it had closed its sending side: {took:?}");
    wait::until("five lines", || {
        (std::fs::read_to_string(&log).unwrap_or_default() == "DC\n".repeat(5)).then_some(())
    });
}

#[test]
fn an_answer_under_way_ends_with_its_client() {
    let (gone, told) = channel();
    let gone = Mutex::new(gone);
    let server = TcpServer::start(move |mut stream, _| {
        if read_request(&mut stream).is_none() {
            return;
        }
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(b"5\r\nhello\r\n");
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = gone.lock().unwrap().send(());
    });
    let sidle = in_front_of(&server, "");
    let mut client = Raw::connect(&sidle);
    client.send(&get("/", "")).finish().read(|text| text.matches("hello").count() > 3);
    drop(client);
    told.recv_timeout(wait::PATIENCE).expect("the upstream to hear of it");
}

#[tokio::test]
async fn close_notify_is_the_same_to_tls() {
    let (server, go) = held();
    let authority = Authority::new();
    let port = ports::free();
    let builder = Sidle::builder();
    authority.issue(&["shop.test"]).write(builder.folder(), "shop");
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {}, name: https, protocol: HTTPS }}\n      hosts: ['*']\n      \
         tls: {{ mode: SIMPLE, serverCertificate: {folder}/shop.pem, privateKey: {folder}/shop.key }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: shop }}\nspec:\n  \
         hosts: ['*']\n  gateways: [door]\n  http: [{{ route: [{{ destination: {{ host: {HOST} }} }}] }}]\n---\n{}",
        port.port(),
        service("echo", HOST, "HTTP", &[("v1", server.port())]),
        folder = builder.folder().display(),
    );
    let _sidle = builder.file("test.yaml", &manifests).start();
    let mut tls = authority.connect(port, "shop.test", &[b"http/1.1"]).await.unwrap();
    tls.write_all(b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.unwrap();
    tls.shutdown().await.unwrap();
    let mut answer = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    wait::within("to be asked", tls.read_exact(&mut answer)).await.unwrap();
    go.send(()).unwrap();
    wait::within("the answer", tls.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\n\r\nHTTP/1.1 200 OK\r\n") && answer.ends_with("/a"), "{answer}");
}
