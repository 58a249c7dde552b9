//! Which `sidle` is tested: `SIDLE_BIN`, or the one of this checkout, built now in the profile of the tests.

use crate::peers::root;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The program.
///
/// # Panics
/// When it cannot be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("SIDLE_BIN") {
        Some(path) => PathBuf::from(path),
        None => build("sidle"),
    })
}

/// A command that runs it, without the environment variables that configure it.
pub fn command() -> Command {
    clean(Command::new(path()))
}

/// Like [`command`], with a limit of the shell's `ulimit`: `n` for open files, `c` for core files, `f` for
/// the size of files.
pub fn command_with_limit(which: char, limit: u32) -> Command {
    command_started_by("sh", &["-c".to_owned(), format!("ulimit -{which} {limit}; exec \"$0\" \"$@\"")])
}

/// Like [`command`], behind another command and its arguments.
pub fn command_started_by(starter: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(starter);
    command.args(arguments).arg(path());
    clean(command)
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SIDLE_") || text.starts_with("ISTIO_") || text == "POD_NAMESPACE" {
            command.env_remove(&name);
        }
    }
    command
}

/// A program of this checkout, built now in the profile of the tests; its package has its name.
///
/// # Panics
/// When it cannot be built.
pub fn build(name: &str) -> PathBuf {
    let (profile, folder) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--quiet", "--package", name, "--bin", name, "--profile", profile])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "cannot build {name}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(folder).join(name)
}
