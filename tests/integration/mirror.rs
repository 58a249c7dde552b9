//! Mirrored requests.

use crate::stage::{HOST, Stage, client, versions};
use sidle_test_support::{
    client::request,
    echo::{Answer, Echo, Received, full},
    manifest::{service, subsets, virtual_service},
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    wait,
};
use std::{io::Write, time::Duration};

fn mirrored(percent: &str) -> String {
    format!("      mirrors:\n        - destination: {{ host: {HOST}, subset: v2 }}\n{percent}")
}

#[tokio::test]
async fn the_copy_has_the_same_head_and_body_and_its_answer_is_dropped() {
    let stage = Stage::new();
    stage.v2.answer(|_| Some(Answer::status(500)));
    let sidle = stage.route_v1(&mirrored(""));
    let post = request("POST", HOST, "/a?b=c").header("x-d", "e").body(full("the body")).unwrap();
    let answer = client(&sidle).await.exchange(post).await;
    assert_eq!((answer.status.as_u16(), answer.version()), (200, "v1"));
    wait::eventually("the copy", || async { (stage.v2.requests() == 1).then_some(()) }).await;
    let copy = stage.v2.last();
    assert_eq!((copy.method.as_str(), copy.path.as_str(), copy.header("x-d")), ("POST", "/a?b=c", "e"));
    assert_eq!((copy.body.as_slice(), copy.authority.as_str()), (&b"the body"[..], HOST));
}

#[tokio::test]
async fn a_slow_mirror_slows_nobody() {
    let stage = Stage::new();
    stage.v2.answer(|_| Some(Answer { delay: std::time::Duration::from_secs(10), ..Answer::default() }));
    let sidle = stage.route_v1(&mirrored(""));
    let begin = std::time::Instant::now();
    versions(&mut client(&sidle).await, "/", 20).await;
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_percentage_of_the_requests_is_copied() {
    let stage = Stage::new();
    let sidle = stage.route_v1(&mirrored("          percentage: { value: 25 }"));
    versions(&mut client(&sidle).await, "/", 1_000).await;
    // Five and a half sigma: a fair share misses that once in twenty million throws.
    let most = 5.5 * (1_000.0_f64 * 0.25 * 0.75).sqrt();
    let copies = || stage.v2.requests() as f64;
    wait::eventually("the copies", || async { (copies() > 250.0 - most).then_some(()) }).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(copies() < 250.0 + most, "{} of 1000", copies());
}

#[tokio::test]
async fn answers_to_copies_are_compared() {
    let stage = Stage::new();
    let policy = format!(
        "apiVersion: sidle.dev/v1\nkind: UpstreamPolicy\nmetadata: {{ name: m }}\nspec:\n  host: {HOST}\n  mirrorComparison: {{}}\n---\n"
    );
    let route =
        format!("    - route:\n        - destination: {{ host: {HOST}, subset: v1 }}\n{}", mirrored(""));
    let sidle = Sidle::run(&(stage.manifests() + &policy + &virtual_service("echo", HOST, &route)));
    let mut client = client(&sidle).await;
    let text = |status, text: &'static str| {
        move |_: &Received| Some(Answer { body: text.into(), ..Answer::status(status) })
    };
    for (path, status, body) in
        [("/same", 200, "a"), ("/status", 404, "a"), ("/body", 200, "b"), ("/body", 200, "")]
    {
        stage.v1.answer(text(200, "a"));
        stage.v2.answer(text(status, body));
        assert_eq!(client.get(HOST, path).await.text(), "a");
        wait::eventually("the copy", || async {
            stage.v2.received().iter().any(|seen| seen.path == path).then_some(())
        })
        .await;
    }
    let counts =
        |result| sidle.metrics().sum("sidle_cluster_mirror_comparisons_total", &[("result", result)]);
    wait::eventually("what came of it", || async {
        (["same", "status", "body", "broken"].map(counts) == [1.0, 1.0, 2.0, 0.0]).then_some(())
    })
    .await;
}

/// Nobody waits for what does not come: not the request, and not those after it.
#[tokio::test]
async fn an_answer_to_a_copy_that_breaks_off_holds_nobody_up() {
    let v1 = Echo::start("v1");
    let broken = TcpServer::start(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc");
        }
    });
    let policy = format!(
        "apiVersion: sidle.dev/v1\nkind: UpstreamPolicy\nmetadata: {{ name: m }}\nspec:\n  host: {HOST}\n  mirrorComparison: {{}}\n---\n"
    );
    let route =
        format!("    - route:\n        - destination: {{ host: {HOST}, subset: v1 }}\n{}", mirrored(""));
    let manifests = service("echo", HOST, "HTTP", &[("v1", v1.port()), ("v2", broken.port())])
        + &subsets("echo", HOST, &["v1", "v2"], "")
        + &policy
        + &virtual_service("echo", HOST, &route);
    let sidle = Sidle::builder().file("test.yaml", &manifests).settings("  concurrency: 1\n").start();
    let mut client = client(&sidle).await;
    let asked = async {
        for _ in 0..5 {
            let answer = client.get(HOST, "/").await;
            assert_eq!((answer.status.as_u16(), answer.version()), (200, "v1"));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("a copy holds the worker up");
    wait::eventually("what came of it", || async {
        let broken = [("result", "broken")];
        (sidle.metrics().sum("sidle_cluster_mirror_comparisons_total", &broken) == 5.0).then_some(())
    })
    .await;
}
