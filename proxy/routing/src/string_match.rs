//! A compiled [`ir::StringMatch`].
//!
//! Invariant: works on bytes, so that a value that is not UTF-8 can match or not, but never fails.
//! Not here: presence. Whoever asks has a value already; a missing one is theirs to judge.

use regex::bytes::Regex;
use sidle_model::ir;
use std::sync::Arc;

/// A compiled [`ir::StringMatch`].
#[derive(Debug, Clone)]
pub struct StringMatcher(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Regex(Regex),
    Present,
}

impl StringMatcher {
    /// Compiles.
    pub fn new(source: &ir::StringMatch) -> Self {
        StringMatcher(match source {
            ir::StringMatch::Exact(value) => Kind::Exact(value.clone()),
            ir::StringMatch::Prefix(value) => Kind::Prefix(value.clone()),
            ir::StringMatch::Regex(pattern) => Kind::Regex(pattern.full_match()),
            ir::StringMatch::Present => Kind::Present,
        })
    }

    /// Whether `value` is covered.
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.0 {
            Kind::Exact(wanted) => wanted.as_bytes() == value,
            Kind::Prefix(wanted) => value.starts_with(wanted.as_bytes()),
            Kind::Regex(regex) => regex.is_match(value),
            Kind::Present => true,
        }
    }

    /// Whether any value is covered, so that only a missing one is not.
    pub(crate) fn is_presence(&self) -> bool {
        matches!(self.0, Kind::Present)
    }
}

impl From<&ir::StringMatch> for StringMatcher {
    fn from(source: &ir::StringMatch) -> Self {
        StringMatcher::new(source)
    }
}
