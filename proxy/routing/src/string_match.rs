//! A compiled [`ir::StringMatch`].
//!
//! Invariant: works on bytes, so that a value that is not UTF-8 can match or not, but never fails. An expression takes a byte that is
//! no text for a character that it does not know, as Go's do: `.*admin.*` would else be got round with one such byte (as in Envoy).
//! Not here: presence. Whoever asks has a value already; a missing one is theirs to judge.

use regex::bytes::Regex;
use sidle_model::ir;
use std::{borrow::Cow, sync::Arc};

/// A compiled [`ir::StringMatch`].
#[derive(Debug, Clone)]
pub struct StringMatcher(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    /// In a box: it is twice as large as the others.
    Regex(Box<Regex>),
    Present,
}

impl StringMatcher {
    /// Compiles.
    pub fn new(source: &ir::StringMatch) -> Self {
        StringMatcher(match source {
            ir::StringMatch::Exact(value) => Kind::Exact(value.clone()),
            ir::StringMatch::Prefix(value) => Kind::Prefix(value.clone()),
            ir::StringMatch::Regex(pattern) => Kind::Regex(Box::new(pattern.full_match())),
            ir::StringMatch::Present => Kind::Present,
        })
    }

    /// Whether `value` is covered.
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.0 {
            Kind::Exact(wanted) => wanted.as_bytes() == value,
            Kind::Prefix(wanted) => value.starts_with(wanted.as_bytes()),
            Kind::Regex(regex) => regex.is_match(value) || !value.is_ascii() && as_text(regex, value),
            Kind::Present => true,
        }
    }

    /// Whether any value is covered, so that only a missing one is not.
    pub(crate) fn is_presence(&self) -> bool {
        matches!(self.0, Kind::Present)
    }
}

/// Whether a value that is not UTF-8 is covered with U+FFFD in the place of what is no text.
fn as_text(regex: &Regex, value: &[u8]) -> bool {
    matches!(String::from_utf8_lossy(value), Cow::Owned(text) if regex.is_match(text.as_bytes()))
}

impl From<&ir::StringMatch> for StringMatcher {
    fn from(source: &ir::StringMatch) -> Self {
        StringMatcher::new(source)
    }
}
