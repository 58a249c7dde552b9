//! curl, nghttp, h2load and the websockets package as clients.

use crate::stage::{HOST, Stage};
use sidle_test_support::peers;
use std::process::Command;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn curl(arguments: &[&str]) -> Option<String> {
    let curl = peers::find("curl")?;
    Some(output(Command::new(curl).args(["-sS", "--max-time", "20"]).args(arguments)))
}

#[test]
fn curl_in_its_three_ways() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let proxy = format!("http://{}", sidle.outbound());
    let url = format!("http://{HOST}/path?query");
    let host = format!("host: {HOST}");
    for arguments in [
        vec!["-H", &host, &proxy],
        vec!["-x", &proxy, &url],
        vec!["-p", "-x", &proxy, &url],
        vec!["--http2-prior-knowledge", "-H", &host, &proxy],
        vec!["--http2", "-H", &host, &proxy],
    ] {
        let Some(text) = curl(&arguments) else { return };
        // A tunnel to a port is TCP: the HTTP rules that choose v1 do not apply inside it.
        let version = if arguments.contains(&"-p") { r#""version":"v"# } else { r#""version":"v1""# };
        assert!(text.contains(version), "{arguments:?}: {text}");
    }
}

#[test]
fn curl_uploads_what_it_waits_to_be_allowed_to() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let body = "x".repeat(100_000);
    let url = format!("http://{}/", sidle.outbound());
    let host = format!("host: {HOST}");
    let Some(text) = curl(&["-H", &host, "-H", "expect: 100-continue", "-d", &body, &url]) else { return };
    assert!(text.contains(r#""body_length":100000"#), "{text}");
}

#[test]
fn nghttp_sees_a_good_http_2_server() {
    let (Some(nghttp), Some(h2load)) = (peers::find("nghttp"), peers::find("h2load")) else { return };
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let url = format!("http://{}/", sidle.outbound());
    let authority = format!(":authority: {HOST}");
    let text = output(Command::new(nghttp).args(["--no-dep", "-H", &authority, &url]));
    assert!(text.contains(r#""version":"v1""#), "{text}");
    let text =
        output(Command::new(h2load).args(["-n", "2000", "-c", "4", "-m", "20", "-H", &authority, &url]));
    assert!(text.contains("2000 succeeded, 0 failed, 0 errored"), "{text}");
}

#[test]
fn the_websockets_package_talks_through() {
    let Some(python) = peers::find("python") else { return };
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let text = output(Command::new(python).arg(peers::root().join("tests/peers/websocket_peer.py")).args([
        &sidle.outbound().to_string(),
        HOST,
        "/chat",
        "hello",
        "w\u{f6}rld",
    ]));
    assert_eq!(text, "hello\nw\u{f6}rld\n");
}
