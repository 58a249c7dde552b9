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
