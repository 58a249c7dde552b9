//! `sidle-bench compare` works: what it says of Sidle alone is whole and possible. How fast Sidle is says nobody here.

use serde_json::Value;
use sidle_test_support::sidle;
use std::{process::Command, time::Duration};

/// What two scenarios may take, the build of the benchmark left out.
const PATIENCE: Duration = Duration::from_secs(60);

/// A figure of `object`, which is in this range.
fn figure(object: &Value, name: &str, possible: std::ops::Range<f64>) -> f64 {
    let figure = object[name].as_f64().unwrap_or_else(|| panic!("no {name} in {object}"));
    assert!(possible.contains(&figure), "{name} is {figure}: {object}");
    figure
}

#[tokio::test]
async fn figures_are_whole_and_possible() {
    if cfg!(debug_assertions) {
        return println!("skipped: an unoptimised build measures nothing");
    }
    let _machine = crate::MACHINE.lock().await;
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        return println!("skipped: needs two cores");
    }
    let program = sidle::build("sidle-bench");
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("compare.json");
    let mut compare = Command::new(program);
    compare.args(["compare", "--peers", "none", "--scenarios", "h1,h2", "--rounds", "1", "--seconds", "1"]);
    compare.arg("--keep").arg(folder.path().join("kept"));
    compare.arg("--json").arg(&json).env("SIDLE_BIN", sidle::path());
    let mut compare = tokio::process::Command::from(compare);
    let ended = tokio::time::timeout(PATIENCE, compare.kill_on_drop(true).output()).await;
    let output = ended.expect("it ends in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["| h1 |", "| h2 |"] {
        assert!(said.contains(expected), "no {expected} in {said}");
    }

    let kept = |file: &str| std::fs::read_to_string(folder.path().join("kept/h2/sidle").join(file)).unwrap();
    assert!(kept("service.yaml").contains("VirtualService") && kept("proxy.yaml").contains("concurrency: 1"));
    assert!(kept("command").contains(" run -c "), "{}", kept("command"));

    let results: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let runs = results["runs"].as_array().unwrap();
    let of = |name: &str| runs.iter().filter(move |run| run["scenario"] == name).count();
    assert_eq!((of("h1"), of("h2"), runs.len()), (2, 2, 4), "each at saturation and at a fixed rate");
    for run in runs {
        let load = &run["outcome"]["Counts"]["Load"];
        assert!(load.is_object(), "all answers were right: {run}");
        let answers = figure(load, "answers", 100.0..1e7);
        // A second, but for what comes late where the machine stands still.
        let seconds = figure(load, "seconds", 0.5..10.0);
        // Of one core, over a microsecond for each request.
        figure(load, "cpu_nanoseconds", answers * 1e3..seconds * 1.1e9);
        let clusters = load["clusters"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap());
        assert_eq!(clusters.sum::<f64>(), answers, "{load}");
        let latency = &load["latency"];
        if run["work"] == "Saturation" {
            assert!(latency.is_null(), "{latency}");
        } else {
            let p50 = figure(latency, "p50", 1.0..10e6);
            let p99 = figure(latency, "p99", p50..10.1e6);
            figure(latency, "max", p99..10.2e6);
        }
    }
}
