//! `sidle check`: mistakes are found before they run.

use sidle_test_support::{peers::root, sidle::command};
use std::{collections::BTreeSet, process::Output};

const MISTAKES: &str = "tests/integration/fixtures/mistakes";

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
    let output = check(&[MISTAKES]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    // FILE:LINE:COLUMN: SEVERITY[CODE]: MESSAGE
    let heads: Vec<_> = said.lines().filter(|line| line.contains("[SDL")).collect();
    assert_eq!(heads.len(), 20, "{said}");
    let mut files = BTreeSet::new();
    for head in heads {
        let parts: Vec<_> = head.splitn(4, ':').collect();
        assert!(parts[0].starts_with(MISTAKES), "{head}");
        let place: Vec<u32> = parts[1..3].iter().filter_map(|number| number.parse().ok()).collect();
        assert!(place.len() == 2 && place[0] > 0 && place[1] > 0, "{head}");
        let content = std::fs::read_to_string(root().join(parts[0])).unwrap();
        let line = content.lines().nth(place[0] as usize - 1).unwrap();
        assert!(said.contains(line.trim()), "the line of {head} is not shown");
        files.insert(parts[0].to_owned());
    }
    assert_eq!(files.len(), 20, "one for each file");
}

#[test]
fn json_carries_the_same_positions() {
    let output = check(&["-o", "json", MISTAKES]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = json["diagnostics"].as_array().unwrap();
    assert_eq!(all.len(), 20);
    assert!(all.iter().all(|diagnostic| diagnostic["span"]["line"].as_u64().is_some_and(|line| line > 0)));
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
