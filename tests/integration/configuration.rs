//! Hot reload: what is written is applied, what is wrong is refused, what is the same changes nothing.

use crate::stage::{HOST, Stage, client, versions};
use sidle_test_support::{
    client::Client,
    manifest::split,
    sidle::{Answered, Sidle},
    wait,
    websocket::WebSocket,
};
use std::os::unix::fs::symlink;

fn to(version: &str) -> String {
    split("echo", HOST, &[(version, 100)])
}

/// A proxy whose `route.yaml` sends all to v1.
fn start(stage: &Stage) -> Sidle {
    Sidle::builder().file("service.yaml", &stage.manifests()).file("route.yaml", &to("v1")).start()
}

async fn answered_by(client: &mut Client, version: &str) {
    for _ in 0..500 {
        if client.get(HOST, "/").await.version() == version {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{version} never answered");
}

/// Waits for the outcome of an attempt after the one that `before` tells of.
fn attempt_after(sidle: &Sidle, before: &serde_json::Value) -> serde_json::Value {
    wait::until("another attempt", || {
        let status = sidle.admin("/config/status").json();
        (status["lastAttempt"]["at"] != before["lastAttempt"]["at"]).then_some(status)
    })
}

#[tokio::test]
async fn a_file_that_is_written_renamed_or_added_is_applied() {
    let stage = Stage::new();
    let sidle = start(&stage);
    let mut client = client(&sidle).await;
    answered_by(&mut client, "v1").await;
    sidle.write("route.yaml", &to("v2"));
    answered_by(&mut client, "v2").await;
    sidle.replace("route.yaml", &to("v1"));
    answered_by(&mut client, "v1").await;
    std::fs::remove_file(sidle.folder().join("route.yaml")).unwrap();
    sidle.write("another.yaml", &to("v2"));
    answered_by(&mut client, "v2").await;
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_symlinks() {
    let stage = Stage::new();
    let mount = tempfile::tempdir().unwrap();
    let generation = |name: &str, version: &str| {
        std::fs::create_dir(mount.path().join(name)).unwrap();
        std::fs::write(mount.path().join(name).join("route.yaml"), to(version)).unwrap();
    };
    generation("..1", "v1");
    symlink("..1", mount.path().join("..data")).unwrap();
    symlink("..data/route.yaml", mount.path().join("route.yaml")).unwrap();
    let sidle = Sidle::builder().file("service.yaml", &stage.manifests()).path(mount.path()).start();
    let mut client = client(&sidle).await;
    answered_by(&mut client, "v1").await;
    for (name, version) in [("..2", "v2"), ("..3", "v1")] {
        generation(name, version);
        symlink(name, mount.path().join("..data_tmp")).unwrap();
        std::fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
        answered_by(&mut client, version).await;
    }
}

#[tokio::test]
async fn a_bad_configuration_is_refused_and_the_old_one_goes_on() {
    let stage = Stage::new();
    let sidle = start(&stage);
    let mut client = client(&sidle).await;
    let before = sidle.admin("/config/status").json();
    assert_eq!(sidle.metrics().sum("sidle_config_last_reload_successful", &[]), 1.0);

    // In one step: an attempt while it is being written would be another one.
    sidle.replace("route.yaml", &to("v2").replace("weight:", "wieght:"));
    let refused = attempt_after(&sidle, &before);
    assert_eq!(refused["lastAttempt"]["result"], "rejected", "{refused:#}");
    assert_eq!(refused["version"], before["version"]);
    let diagnostic = refused["lastAttempt"]["diagnostics"].to_string();
    assert!(diagnostic.contains("wieght") && diagnostic.contains("route.yaml"), "{diagnostic}");
    assert_eq!(sidle.metrics().sum("sidle_config_last_reload_successful", &[]), 0.0);
    wait::until("the position in the log", || sidle.output().contains("route.yaml:").then_some(()));
    answered_by(&mut client, "v1").await;

    sidle.write("route.yaml", &to("v2"));
    answered_by(&mut client, "v2").await;
    assert_eq!(sidle.metrics().sum("sidle_config_last_reload_successful", &[]), 1.0);
    assert_ne!(sidle.admin("/config/status").json()["version"], before["version"]);
}

#[tokio::test]
async fn an_emptied_file_takes_no_route_away_and_a_removed_one_does() {
    let stage = Stage::new();
    let sidle = start(&stage);
    let before = sidle.admin("/config/status").json();
    sidle.write("route.yaml", "");
    let refused = attempt_after(&sidle, &before);
    assert_eq!(refused["lastAttempt"]["result"], "rejected", "{refused:#}");
    let told = refused["lastAttempt"]["diagnostics"].to_string();
    for word in ["route.yaml", "SDL0014", "this file is empty", "leave a comment in it"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(sidle.metrics().sum("sidle_config_last_reload_successful", &[]), 0.0);
    assert_eq!(sidle.admin_post("/reload").status, 422);
    let mut client = client(&sidle).await;
    assert_eq!(versions(&mut client, "/", 20).await, ["v1"; 20]);

    std::fs::remove_file(sidle.folder().join("route.yaml")).unwrap();
    assert_eq!(sidle.admin_post("/reload").status, 200);
    let versions = versions(&mut client, "/", 40).await;
    assert!(versions.iter().any(|version| version == "v2"), "{versions:?}");
    assert_eq!(sidle.metrics().sum("sidle_config_last_reload_successful", &[]), 1.0);
}

#[tokio::test]
async fn sighup_and_post_reload_read_the_files_again() {
    let stage = Stage::new();
    let sidle = start(&stage);
    let before = sidle.admin("/config/status").json();
    sidle.signal("HUP");
    let after = attempt_after(&sidle, &before);
    assert_eq!(after["lastAttempt"]["result"], "unchanged");
    assert_eq!(after["version"], before["version"], "equal configuration is a no-op");

    sidle.replace("route.yaml", &to("v2"));
    let Answered { status, body, .. } = sidle.admin_post("/reload");
    assert_eq!(status, 200, "{body}");
    let mut client = client(&sidle).await;
    assert_eq!(client.get(HOST, "/").await.version(), "v2", "the answer comes after the change");

    sidle.replace("route.yaml", "kind: Nonsense\n  bad");
    let refused = sidle.admin_post("/reload");
    assert!((400..600).contains(&refused.status), "{} {}", refused.status, refused.body);
    assert_eq!(client.get(HOST, "/").await.version(), "v2");
}

#[tokio::test]
async fn live_connections_are_not_touched_and_new_requests_see_the_change() {
    let stage = Stage::new();
    let sidle = start(&stage);
    let mut socket = WebSocket::open(sidle.outbound(), HOST, "/chat").await.unwrap();
    let mut client = client(&sidle).await;
    answered_by(&mut client, "v1").await;
    for version in ["v2", "v1", "v2"] {
        sidle.replace("route.yaml", &to(version));
        assert_eq!(sidle.admin_post("/reload").status, 200);
        assert_eq!(client.get(HOST, "/").await.version(), version, "on the same connection");
        assert_eq!(socket.exchange(version).await.unwrap(), version);
    }
}

#[test]
fn a_process_does_not_start_on_a_bad_configuration() {
    let mut sidle = Sidle::builder().file("bad.yaml", "kind: VirtualService\nspec: [").spawn();
    let status = sidle.wait();
    assert_eq!(status.code(), Some(1), "{}", sidle.output());
    assert!(sidle.output().contains("bad.yaml:"), "{}", sidle.output());
}
