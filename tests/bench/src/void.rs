//! Why a run does not count.

use std::fmt;

/// A run that does not count, and why.
#[derive(Debug)]
pub struct Void(String);

impl Void {
    /// For this reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Void(reason.into())
    }
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<serde_json::Error> for Void {
    fn from(error: serde_json::Error) -> Self {
        Void(error.to_string())
    }
}

impl From<std::io::Error> for Void {
    fn from(error: std::io::Error) -> Self {
        Void(error.to_string())
    }
}
