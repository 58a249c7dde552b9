//! What the proxy runs and how it came to it: `/config/status`, `sidle config` and the `sidle_config_*` metrics.
//!
//! In:  the outcome of each attempt (`reload`).   Out: a [`ConfigStatus`], read by anyone at any time.
//! Invariants: the version is that of the running configuration; a rejected attempt changes only [`ConfigStatus::last_attempt`].
//! Not here: the configuration itself.

use arc_swap::ArcSwap;
use serde::{Serialize, Serializer};
use sidle_model::diagnostic::Diagnostic;
use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The name of an applied configuration: `3f9a61c204d7.12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    /// Of the text: equal on every proxy that read the same files.
    pub hash: u64,
    /// How many configurations this process has applied, this one included.
    pub generation: u64,
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}.{}", self.hash >> 16, self.generation)
    }
}

impl Serialize for ConfigVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the proxy runs and how it came to it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// Of the running configuration; `None` until the first one is in.
    pub version: Option<ConfigVersion>,
    /// When it was applied.
    #[serde(serialize_with = "timestamp")]
    pub applied_at: Option<SystemTime>,
    /// Where it is read from.
    pub paths: Vec<PathBuf>,
    /// The files of the last attempt.
    pub files: Arc<[FileStatus]>,
    /// Resources in all of them.
    pub resources: usize,
    /// Attempts that were applied or changed nothing.
    pub accepted: u64,
    /// Attempts that were refused.
    pub rejected: u64,
    /// The last attempt, good or bad; `None` before the first.
    pub last_attempt: Option<Attempt>,
}

impl ConfigStatus {
    /// Whether the last attempt left the proxy with what its files say.
    pub fn is_current(&self) -> bool {
        self.last_attempt.as_ref().is_some_and(|attempt| attempt.result != AttemptResult::Rejected)
    }
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// As the user named it.
    pub name: Arc<str>,
    /// Its length.
    pub bytes: usize,
    /// Manifests in it that a proxy reads.
    pub resources: usize,
}

/// One attempt to apply what the files say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When it ended.
    #[serde(serialize_with = "moment")]
    pub at: SystemTime,
    /// From the look at the files to the swap.
    #[serde(serialize_with = "milliseconds", rename = "durationMs")]
    pub duration: Duration,
    /// Why it was made.
    pub cause: Cause,
    /// How it ended.
    pub result: AttemptResult,
    /// Errors, warnings and notes, in file order.
    pub diagnostics: Vec<Diagnostic>,
    /// Why a configuration without errors could not be built; empty otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The process started.
    Start,
    /// The files changed.
    Files,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Request,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AttemptResult {
    /// It is what runs now.
    Applied,
    /// It says what runs already.
    Unchanged,
    /// It has errors; what ran before goes on.
    Rejected,
}

/// The status, shared: written by the reload loop, read by admin.
#[derive(Debug, Clone, Default)]
pub struct StatusCell(Arc<ArcSwap<ConfigStatus>>);

impl StatusCell {
    /// The status now.
    pub fn load(&self) -> Arc<ConfigStatus> {
        self.0.load_full()
    }

    /// Replaces it.
    pub(super) fn store(&self, status: ConfigStatus) {
        self.0.store(Arc::new(status));
    }
}

fn moment<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

fn timestamp<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => moment(at, serializer),
        None => serializer.serialize_none(),
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_short_and_sorts_by_eye() {
        let version = ConfigVersion { hash: 0x3f9a_61c2_04d7_ffff, generation: 12 };
        assert_eq!(version.to_string(), "3f9a61c204d7.12");
        assert_eq!(ConfigVersion { hash: 1 << 16, generation: 1 }.to_string(), "000000000001.1");
    }

    #[test]
    fn the_json_names_what_scripts_read() {
        let status = ConfigStatus {
            version: Some(ConfigVersion { hash: u64::MAX, generation: 1 }),
            applied_at: Some(SystemTime::UNIX_EPOCH),
            last_attempt: Some(Attempt {
                at: SystemTime::UNIX_EPOCH,
                duration: Duration::from_micros(1500),
                cause: Cause::Files,
                result: AttemptResult::Rejected,
                diagnostics: Vec::new(),
                failure: None,
            }),
            ..ConfigStatus::default()
        };
        assert!(!status.is_current());
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["version"], "ffffffffffff.1");
        assert_eq!(json["appliedAt"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["lastAttempt"]["result"], "rejected");
        assert_eq!(json["lastAttempt"]["durationMs"], 1.5);
    }
}
