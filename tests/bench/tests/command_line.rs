//! What the program says of a wrong command line, at once, and how it ends.

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

/// Held by who writes a program or starts one: what is open for writing while a process is made cannot be run by another.
static PROGRAMS: Mutex<()> = Mutex::new(());

/// The exit code, and what is said.
fn bench(arguments: &[&str], sidle: &str) -> (Option<i32>, String) {
    let _one = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_sidle-bench"))
        .args(arguments)
        .env("SIDLE_BIN", sidle)
        .output()
        .expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A program that says that it is Sidle, and is not asked for more.
fn named_sidle(folder: &std::path::Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let _one = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let path = folder.join("sidle");
    std::fs::write(&path, "#!/bin/sh\necho sidle 0.0.0\n").expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made a program");
    path.display().to_string()
}

#[test]
fn what_there_is_not_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let sidle = named_sidle(folder.path());
    for (arguments, expected) in [
        (&["compare", "--scenarios", "h1,h9"][..], "no scenario \"h9\"; there are: h1, h2"),
        (&["compare", "--peers", "squid"], "no peer \"squid\"; there are: envoy, haproxy"),
        (
            &["compare", "--peers", "linkerd2-proxy"],
            "(or: all, none); --own 'name=command' brings another proxy",
        ),
        (&["compare", "--json", "/no/such/x.json"], "/no/such/x.json: No such file"),
        (&["compare", "--markdown", "/no/such/x.md"], "/no/such/x.md: No such file"),
        (&["compare", "--keep", "/dev/null/x"], "--keep /dev/null/x: Not a directory"),
        (&["compare", "--from", "/no/such.json"], "--from /no/such.json: No such file"),
        (&["compare", "--from", "/dev/null"], "--from /dev/null: not what `compare --json` writes: EOF"),
        (&["compare", "--from", "/dev/null", "--rounds", "2"], "cannot be used with"),
        (&["compare", "--reference", "squid"], "no subject \"squid\" to refer to"),
        (&["compare", "--own", "squid"], "--own wants 'name=command'"),
        (&["compare", "--rounds", "0"], "0 is not in 1..=100"),
        (&["squid"], "unrecognized subcommand 'squid'"),
    ] {
        let (code, said) = bench(arguments, &sidle);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn what_is_not_sidle_is_told_at_once() {
    for (named, expected) in [
        ("/bin/true", "it is not Sidle"),
        ("/etc/passwd", "Permission denied"),
        ("/nope", "there is no such file"),
    ] {
        for measurement in ["compare", "scale", "workers", "mtls", "count", "start", "ejection"] {
            let (code, said) = bench(&[measurement], named);
            assert_eq!(code, Some(2), "{measurement} {named}: {said}");
            assert!(
                said.starts_with(&format!("error: SIDLE_BIN={named}: ")) && said.contains(expected),
                "{said}"
            );
        }
    }
}

#[test]
fn earlier_measurements_are_shown_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let sidle = named_sidle(folder.path());
    let figures = |nanoseconds: u64| {
        serde_json::json!({"Counts": {"Load": {
            "answers": 1000, "clusters": [900, 100], "seconds": 1.0, "cpu_nanoseconds": nanoseconds,
            "disturbance": [0.0, 0.0], "latency": null,
        }}})
    };
    let file = |name: &str, scenario: &str, costs: [u64; 2]| {
        let run = |subject: &str, cost| {
            serde_json::json!({
                "round": 0, "scenario": scenario, "subject": subject, "work": "Saturation", "outcome": figures(cost),
            })
        };
        let path = folder.path().join(name).display().to_string();
        let measured = serde_json::json!({
            "date": name, "kernel": "6.18", "processor": "some", "load_average": 0.5, "cores": [0, 1], "rounds": 1,
            "seconds": 1, "reference": "nginx", "subjects": ["sidle", "nginx"], "versions": {},
            "runs": [run("sidle", costs[0]), run("nginx", costs[1])], "ended_early_by": null,
        });
        std::fs::write(&path, measured.to_string()).expect("written");
        path
    };
    let files = [
        file("first", "h1", [8_000_000, 1_000_000]),
        file("second", "h2", [3_000_000, 4_000_000]),
        file("third", "h1", [5_000_000, 4_000_000]),
    ];
    let together = folder.path().join("together.json").display().to_string();
    for from in [files.join(","), together.clone()] {
        let one = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Command::new(env!("CARGO_BIN_EXE_sidle-bench"))
            .args(["compare", "--from", &from, "--json", &together])
            .env("SIDLE_BIN", &sidle)
            .output()
            .expect("it runs");
        drop(one);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{from}: {said}{}", String::from_utf8_lossy(&output.stderr));
        for expected in [
            "| h1 | 5.0 | 4.0 | 1.25 (1.25–1.25) |",
            "| h2 | 3.0 | 4.0 | 0.75 (0.75–0.75) |",
            "* second, load average before: 0.50; 1 round: 1 s at saturation (`h2`)",
        ] {
            assert!(said.lines().any(|line| line == expected), "{from}: no {expected} in {said}");
        }
    }
}
