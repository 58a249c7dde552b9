//! Small values that cannot be wrong once they exist.

use super::Pattern;
use std::sync::Arc;

/// A share of requests, in parts per million; at most 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// 0 %: never.
    pub const NEVER: Percent = Percent(0);
    /// 100 %: always.
    pub const ALWAYS: Percent = Percent(1_000_000);

    /// From a percentage between 0 and 100, with a resolution of 0.0001; `None` outside that range.
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then(|| Percent((percent * 10_000.0).round() as u32))
    }

    /// Parts per million, 0 to 1,000,000.
    pub fn parts_per_million(self) -> u32 {
        self.0
    }

    /// Whether a coin that fell on `random` (uniform) selects the request.
    pub fn hit(self, random: u64) -> bool {
        (random % 1_000_000) < u64::from(self.0)
    }
}

/// Istio's `StringMatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    /// The whole value, byte for byte.
    Exact(Arc<str>),
    /// A raw string prefix.
    Prefix(Arc<str>),
    /// The whole value matches the expression.
    Regex(Pattern),
    /// Any value, so long as there is one (`{}`, or the regex `*`).
    Present,
}

/// A host pattern of a virtual host or an SNI match, lower-cased. May carry a port (`a.b:8080`, `*.b:8080`), and is then
/// compared with the port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// One name.
    Exact(Arc<str>),
    /// `*.suffix`: holds `.suffix`, dot included. Matches one or more labels before it, never `suffix` itself.
    Suffix(Arc<str>),
    /// `*`.
    Any,
}

impl HostPattern {
    /// Parses `name`, `*.suffix` or `*`; lower-cases. `None` when a `*` stands anywhere else or the text is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some("") => Some(HostPattern::Any),
            Some(rest) if rest.starts_with('.') && rest.len() > 1 && !rest.contains('*') => {
                Some(HostPattern::Suffix(rest.into()))
            }
            Some(_) => None,
            None if text.is_empty() || text.contains('*') => None,
            None => Some(HostPattern::Exact(text.into())),
        }
    }

    /// Whether `host` (already lower-case) is covered.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            HostPattern::Any => true,
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}
