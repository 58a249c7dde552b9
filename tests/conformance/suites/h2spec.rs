//! h2spec: every case of RFC 7540 and 7541 and its generic ones, the strict ones too, in clear and with TLS.

use crate::{
    door::{Door, run},
    table::{self, Case},
};
use sidle_test_support::{echo::Echo, peers};
use std::{net::SocketAddr, path::Path, process::Command};

#[test]
fn in_clear() {
    let Some(program) = peers::find("h2spec") else { return };
    let echo = Echo::start("v1");
    let door = Door::with("HTTP2", "HTTP2", echo.port());
    table::enter("h2spec in clear", 140, cases(&program, door.clear, &[]));
}

#[test]
fn with_tls() {
    let Some(program) = peers::find("h2spec") else { return };
    let echo = Echo::start("v1");
    let door = Door::with("HTTP2", "HTTP2", echo.port());
    table::enter("h2spec with TLS", 140, cases(&program, door.tls, &["--tls", "--insecure"]));
}

/// Runs all cases. A case that found nobody to talk to is a failure like any other.
fn cases(program: &Path, address: SocketAddr, arguments: &[&str]) -> Vec<Case> {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let mut command = Command::new(program);
    command
        .args(["--strict", "--timeout", "3", "--host", "127.0.0.1", "--port"])
        .arg(address.port().to_string());
    command.arg("--junit-report").arg(&report).args(arguments);
    let (_, text) = run(&mut command, b"");
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {text}"));
    report.split("<testcase ").skip(1).map(case).collect()
}

/// One case of a JUnit report, the text after `<testcase `.
fn case(text: &str) -> Case {
    let attribute = |name: &str| {
        let rest = text.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let name = format!("{} {}", attribute("package"), attribute("classname"));
    let own = text.split("</testcase>").next().unwrap_or_default();
    let failed = ["<failure", "<error", "<skipped"].iter().find_map(|kind| own.split_once(kind));
    let outcome = match failed {
        Some((_, why)) => Err(why.split_once('>').map_or(why, |(_, text)| text).replace("&#xA;", " ")),
        None => Ok(()),
    };
    Case::new(&name, outcome)
}

#[test]
fn reports_are_read() {
    let good =
        case(r#"package="http2/4.1" classname="Sends a frame" time="0.1"></testcase><testcase package="x">"#);
    assert_eq!((&*good.name, good.passed), ("http2/4.1 Sends a frame", true));
    let bad = case(
        r#"package="a" classname="b" time="1"><failure>Expect: GOAWAY&#xA;Actual: none</failure></testcase>"#,
    );
    assert!(!bad.passed && bad.through.contains("GOAWAY Actual"), "{bad:?}");
}
