//! `sidle check`: mistakes are found before they run.

use sidle_test_support::{peers::root, sidle::command};
use std::process::Output;

fn check(arguments: &[&str]) -> Output {
    command().current_dir(root()).arg("check").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_examples_are_clean() {
    let output = check(&["config-examples"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("error[") && !said.contains("warning["), "{said}");
}

#[test]
fn twenty_mistakes_are_twenty_positioned_diagnostics() {
    let folder = "tests/integration/fixtures/mistakes";
    let output = check(&[folder]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let positions: Vec<_> = said.lines().filter(|line| line.contains(": error[")).collect();
    assert_eq!(positions.len(), 20, "{said}");
    for line in positions {
        let mut parts = line.trim_start_matches("--> ").splitn(4, ':');
        let file = parts.next().unwrap();
        assert!(file.contains(folder), "{line}");
        for _ in 0..2 {
            assert!(
                parts.next().is_some_and(|number| number.parse::<u32>().is_ok_and(|number| number > 0)),
                "{line}"
            );
        }
    }
}

#[test]
fn json_carries_the_same_positions() {
    let output = check(&["-o", "json", "tests/integration/fixtures/mistakes"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = json["diagnostics"].as_array().unwrap();
    let errors: Vec<_> = all.iter().filter(|diagnostic| diagnostic["severity"] == "error").collect();
    assert_eq!(errors.len(), 20);
    assert!(errors.iter().all(|error| error["span"]["line"].as_u64().is_some_and(|line| line > 0)));
}

#[test]
fn standard_input_is_read_and_usage_errors_are_2() {
    use std::{io::Write, process::Stdio};
    let mut child = command()
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hots: [a]}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!((text(&output.stdout) + &text(&output.stderr)).contains("hosts"), "did you mean");
    assert_eq!(check(&["--no-such-flag"]).status.code(), Some(2));
}
