//! The laws of the house that a machine can check: who may depend on whom, what is named where.

use serde_json::Value;
use sidle_test_support::peers::root;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

/// Which crates of the house each crate may depend on.
const DIRECTION: &[(&str, &[&str])] = &[
    ("sidle-jwt", &[]),
    ("sidle-fields", &[]),
    ("sidle-heap", &[]),
    ("sidle-http2", &["sidle-fields"]),
    ("sidle-model", &["sidle-jwt"]),
    ("sidle-routing", &["sidle-model"]),
    ("sidle-authz", &["sidle-model", "sidle-routing"]),
    ("sidle-balance", &["sidle-model"]),
    ("sidle-identity", &["sidle-model"]),
    ("sidle-xds", &["sidle-model"]),
    ("sidle-telemetry", &["sidle-model"]),
    (
        "sidle",
        &[
            "sidle-jwt",
            "sidle-fields",
            "sidle-heap",
            "sidle-http2",
            "sidle-model",
            "sidle-routing",
            "sidle-authz",
            "sidle-balance",
            "sidle-identity",
            "sidle-xds",
            "sidle-telemetry",
        ],
    ),
    ("sidle-test-support", &[]),
    ("sidle-bench", &["sidle-test-support"]),
    (
        "sidle-fuzz",
        &[
            "sidle",
            "sidle-balance",
            "sidle-fields",
            "sidle-http2",
            "sidle-jwt",
            "sidle-model",
            "sidle-routing",
            "sidle-telemetry",
        ],
    ),
];

/// Crates without a runtime, a wire, a clock or a registry.
const PURE: &[&str] = &[
    "sidle-authz",
    "sidle-jwt",
    "sidle-fields",
    "sidle-http2",
    "sidle-model",
    "sidle-routing",
    "sidle-balance",
    "sidle-xds",
];
const IMPURE: &[&str] =
    &["tokio", "hyper", "hyper-util", "h2", "rustls", "tokio-rustls", "prometheus", "fastrand", "rand"];

const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "config-examples",
    "control-api",
    "deploy",
    "proxy",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "target",
    "tests",
];

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of the workspace.
fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Each manifest of the workspace: its path and its text.
fn manifests() -> Vec<(String, String)> {
    packages()
        .iter()
        .map(|package| {
            let path = package["manifest_path"].as_str().unwrap();
            (path.to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// Crate -> what it depends on, development dependencies apart.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    packages()
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let normal = all.filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Source files of the proxy and its crates whose code holds `word`; tests and comments are no such code.
fn files_that_name(word: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    sources(&root().join("proxy"), &mut all);
    all.retain(|path| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy();
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        name.contains("/src/")
            && !name.ends_with("tests.rs")
            && !name.contains("/tests/")
            && code.lines().any(|line| line.split("//").next().unwrap_or_default().contains(word))
    });
    all
}

#[test]
fn crates_depend_in_one_direction() {
    let dependencies = dependencies();
    for (name, wanted) in &dependencies {
        let Some((_, allowed)) = DIRECTION.iter().find(|(rule, _)| rule == name) else {
            assert_eq!(name, "sidle-tests", "{name} has no place in the house: give it one here");
            continue;
        };
        for dependency in wanted.iter().filter(|dependency| dependency.starts_with("sidle")) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
    for (name, _) in DIRECTION {
        assert!(dependencies.contains_key(*name), "{name} has gone");
    }
}

#[test]
fn pure_crates_are_pure() {
    let dependencies = dependencies();
    for name in PURE {
        for impure in IMPURE {
            assert!(!dependencies[*name].contains(*impure), "{name} must not depend on {impure}");
        }
    }
    for name in PURE.iter().map(|name| name.trim_start_matches("sidle-")) {
        for clock in ["Instant::now", "SystemTime::now"] {
            let offenders: Vec<_> = files_that_name(clock)
                .into_iter()
                .filter(|path| path.starts_with(root().join("proxy").join(name)))
                .collect();
            assert!(offenders.is_empty(), "{clock} in {offenders:?}");
        }
    }
}

#[test]
fn there_is_one_cryptography_in_the_tree() {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("aws-lc-rs"), "{names:?}");
    for other in ["ring", "openssl", "native-tls"] {
        assert!(!names.contains(other), "{other} came in");
    }
}

#[test]
fn the_unmaintained_parser_is_named_in_one_file() {
    let files = files_that_name("serde_yaml");
    assert_eq!(files.len(), 1, "{files:?}");
}

/// Packages with lints of their own: libFuzzer's entry point is an exported symbol, which counts as unsafe code; and there is one call of the
/// C library for which nobody has made a safe function.
const OWN_LINTS: [&str; 2] = ["tests/fuzz/Cargo.toml", "proxy/heap/Cargo.toml"];

#[test]
fn every_crate_keeps_the_lints_of_the_house() {
    for (path, text) in manifests() {
        let own = OWN_LINTS.iter().any(|own| path.ends_with(own));
        assert_eq!(text.contains("[lints]\nworkspace = true"), !own, "{path}");
    }
}

#[test]
fn the_only_unsafe_code_is_one_call() {
    let files = files_that_name("unsafe");
    assert_eq!(files, [root().join("proxy/heap/src/lib.rs")]);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(text.matches("unsafe {").count(), 1);
    assert_eq!(text.matches("libc::").count(), 1);
}

#[test]
fn the_top_level_is_as_given() {
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || TOP_LEVEL.contains(&name.as_str()),
            "{name} does not belong at the top"
        );
    }
}

#[test]
fn versions_stand_in_one_place() {
    for (path, text) in manifests() {
        let mut in_dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
                assert!(line.contains("workspace = true"), "{path}: {line}");
            }
        }
    }
}
