//! Why a run does not count, or does not begin.

use std::{fmt, process::ExitCode};

/// A run that does not count, and why.
#[derive(Debug)]
pub struct Void {
    reason: String,
    /// The command line asks for what there is not.
    usage: bool,
}

impl Void {
    /// For this reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Void { reason: reason.into(), usage: false }
    }

    /// For what the command line asks for.
    pub fn usage(reason: impl Into<String>) -> Self {
        Void { reason: reason.into(), usage: true }
    }

    /// The same, with whose mistake it is.
    pub fn of(self, name: &str) -> Self {
        Void { reason: format!("{name}: {}", self.reason), ..self }
    }

    /// Whether it is this one's mistake.
    pub fn is_of(&self, name: &str) -> bool {
        self.reason.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "))
    }

    /// Says so, as other mistakes of the command line are said.
    pub fn tell(&self) -> ExitCode {
        let (kind, code) = if self.usage { ("error", 2) } else { ("void", 1) };
        eprintln!("{kind}: {self}");
        ExitCode::from(code)
    }
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<serde_json::Error> for Void {
    fn from(error: serde_json::Error) -> Self {
        Void::because(error.to_string())
    }
}

impl From<std::io::Error> for Void {
    fn from(error: std::io::Error) -> Self {
        Void::because(error.to_string())
    }
}
