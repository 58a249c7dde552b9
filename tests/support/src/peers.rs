//! Real programs to test against, installed by `tests/run` under `target/peers`.

use std::path::{Path, PathBuf};

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The program `name`: `python`, `envoy`, `prometheus`, `promtool`, `nghttp`, `h2load`, or one of the system's such as
/// `curl`. `None`, after a line that says so, when it is not installed.
///
/// # Panics
/// When it is not installed and `CI=true`: there a test that does not run has failed.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = look(name);
    if found.is_none() {
        skip(name);
    }
    found
}

/// Like [`find`], for those who can do without it.
pub fn look(name: &str) -> Option<PathBuf> {
    let private = match std::env::var_os("SIDLE_PEERS") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("target/peers"),
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(private.join("bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Says that a test does not run for want of `what`.
///
/// # Panics
/// When `CI=true`.
pub fn skip(what: &str) {
    println!("skipped: needs {what}");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} is not installed; `tests/run peers` installs it"
    );
}
