//! Connections that live long, when there are more to share the load: those of clients end at an age, and an upstream's new host gets its
//! share on the connections that stand.

use crate::stage::{HOST, Stage, versions};
use sidle_test_support::{client::Client, load::Load, manifest::service, sidle::Sidle, wait};
use std::{sync::atomic::Ordering, time::Duration};

async fn lives(http2: bool) {
    let stage = Stage::new();
    let sidle = Sidle::builder()
        .file("test.yaml", &stage.service("HTTP"))
        .settings("  limits: { maxConnectionDuration: 500ms }\n")
        .start();
    let mut load = Load::new(sidle.outbound(), HOST, "/");
    (load.connections, load.rate, load.http2) = (4, 100, http2);
    let running = load.start();
    let connects = || running.report().connects.load(Ordering::Relaxed);
    wait::eventually("each client to come three times", || async { (connects() >= 12).then_some(()) }).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let report = running.stop().await;
    report.assert_no_failure();
    let connects = report.connects.load(Ordering::Relaxed);
    let answered = report.succeeded.load(Ordering::Relaxed);
    assert!(connects * 5 < answered, "{connects} connections for {answered} requests");
}

#[tokio::test]
async fn a_connection_of_a_client_ends_at_its_age_and_nothing_fails() {
    lives(false).await;
    lives(true).await;
}

/// One connection to the proxy, and one to each host: requests are balanced, not connections.
#[tokio::test]
async fn a_host_that_joins_gets_its_share_of_a_connection_that_stands() {
    let stage = Stage::new();
    let one = service("echo", HOST, "HTTP2", &[("v1", stage.v1.port())]);
    let sidle = Sidle::builder().file("test.yaml", &one).arguments(&["--workers", "1"]).start();
    let mut client = Client::http2(sidle.outbound()).await;
    assert_eq!(versions(&mut client, "/", 20).await, vec!["v1"; 20]);
    sidle.replace("test.yaml", &stage.service("HTTP2"));
    wait::eventually("the host that joins", || async {
        sidle.admin("/clusters").body.contains(&format!(":{}::", stage.v2.port())).then_some(())
    })
    .await;
    let joined = versions(&mut client, "/", 200).await.iter().filter(|version| *version == "v2").count();
    assert!((60..=140).contains(&joined), "{joined} of 200");
    assert_eq!(stage.v1.connections(), 1, "the connection that stood goes on");
}
