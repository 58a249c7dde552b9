//! Paths, which others may read in another way.
//!
//! The path that is decided on is the one that routes, logs and upstreams see. Some applications read it once more: they decode `%2f`,
//! take off `;parameters`, drop empty segments. So a path has a second, plain reading with all of that done.
//!
//! Invariants: a path without `%`, `;`, `\` and `//` has one reading. A pattern that holds any of these is about how a path is written,
//! and compared with the first reading alone.

use crate::text::TextSet;
use sidle_model::ir::{PathPattern, PathTemplate, TextPattern};
use std::borrow::Cow;

/// Patterns of paths, any of which may be met.
#[derive(Debug)]
pub(crate) struct PathSet {
    all: Patterns,
    /// Those that are about how a path is written, if there are any beside others.
    written: Option<Patterns>,
    /// The others.
    plain: Option<Patterns>,
}

#[derive(Debug)]
struct Patterns {
    texts: TextSet,
    templates: Box<[PathTemplate]>,
}

impl PathSet {
    /// Compiles.
    pub fn new(patterns: &[PathPattern]) -> Self {
        let (written, plain): (Vec<_>, Vec<_>) =
            patterns.iter().partition(|pattern| is_about_writing(pattern));
        let both = !written.is_empty();
        PathSet {
            all: Patterns::new(patterns.iter()),
            plain: both.then(|| Patterns::new(plain.into_iter())),
            written: both.then(|| Patterns::new(written.into_iter())),
        }
    }

    /// Whether either reading of a path meets a pattern.
    pub fn matches_any(&self, path: &ReadPath<'_>) -> bool {
        self.all.matches(path.written) || path.plain().is_some_and(|plain| self.plain().matches(plain))
    }

    /// Whether both readings do.
    pub fn matches_all(&self, path: &ReadPath<'_>) -> bool {
        self.all.matches(path.written)
            && path.plain().is_none_or(|plain| {
                self.written.as_ref().is_some_and(|written| written.matches(path.written))
                    || self.plain().matches(plain)
            })
    }

    fn plain(&self) -> &Patterns {
        self.plain.as_ref().unwrap_or(&self.all)
    }
}

impl Patterns {
    fn new<'p>(patterns: impl Iterator<Item = &'p PathPattern> + Clone) -> Self {
        let texts = patterns.clone().filter_map(|pattern| match pattern {
            PathPattern::Text(text) => Some(text),
            PathPattern::Template(_) => None,
        });
        let templates = patterns.clone().filter_map(|pattern| match pattern {
            PathPattern::Text(_) => None,
            PathPattern::Template(template) => Some(template.clone()),
        });
        Patterns { texts: TextSet::new(texts), templates: templates.collect() }
    }

    fn matches(&self, path: &[u8]) -> bool {
        self.texts.matches(path) || self.templates.iter().any(|template| template.matches(path))
    }
}

/// The text that a path must have to meet `pattern`; the index finds the pattern by it.
pub(crate) fn key(pattern: &PathPattern) -> TextPattern {
    match pattern {
        PathPattern::Text(text) => text.clone(),
        PathPattern::Template(template) => TextPattern::Prefix(template.literal_prefix().into()),
    }
}

fn is_about_writing(pattern: &PathPattern) -> bool {
    let text = match pattern {
        PathPattern::Text(text) => text.literal(),
        PathPattern::Template(template) => template.as_str(),
    };
    has_two_readings(text.as_bytes())
}

fn has_two_readings(path: &[u8]) -> bool {
    memchr::memchr3(b'%', b';', b'\\', path).is_some() || memchr::memmem::find(path, b"//").is_some()
}

/// A path and its plain reading.
#[derive(Debug)]
pub(crate) struct ReadPath<'p> {
    written: &'p [u8],
    plain: Option<Vec<u8>>,
}

impl<'p> ReadPath<'p> {
    /// Reads a path.
    pub fn new(path: &'p str) -> Self {
        let written = path.as_bytes();
        let plain = has_two_readings(written).then(|| plain(written)).filter(|plain| plain != written);
        ReadPath { written, plain }
    }

    /// As routes see it.
    pub fn written(&self) -> &[u8] {
        self.written
    }

    /// The second reading, if it is another.
    pub fn plain(&self) -> Option<&[u8]> {
        self.plain.as_deref()
    }
}

/// Decoded once, without parameters, empty segments and dot segments.
fn plain(path: &[u8]) -> Vec<u8> {
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode(path).into();
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_open = false;
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        ends_open = true;
        match name {
            b"" | b"." => {}
            b".." => _ = segments.pop(),
            name => {
                segments.push(name);
                ends_open = false;
            }
        }
    }
    let mut plain = Vec::with_capacity(path.len());
    for segment in &segments {
        plain.push(b'/');
        plain.extend_from_slice(segment);
    }
    if ends_open || segments.is_empty() {
        plain.push(b'/');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(patterns: &[&str]) -> PathSet {
        let patterns: Vec<_> = patterns.iter().map(|text| PathPattern::parse(text).unwrap()).collect();
        PathSet::new(&patterns)
    }

    #[test]
    fn plain_readings() {
        for (path, expected) in [
            ("/", None),
            ("/admin", None),
            ("/admin/", None),
            ("/admin;x=y", Some("/admin")),
            ("/admin;/x", Some("/admin/x")),
            ("/admin;/..;/", Some("/")),
            ("/;x/admin", Some("/admin")),
            ("/admin%3bx", Some("/admin")),
            ("/x%2f..%2fadmin", Some("/admin")),
            ("/x%5c..%5Cadmin/", Some("/admin/")),
            ("//admin", Some("/admin")),
            ("/a//b//", Some("/a/b/")),
            ("/%252fadmin", Some("/%2fadmin")),
            ("/%41dmin", Some("/Admin")),
            ("/admin%20", Some("/admin ")),
            ("/%zz%4", None),
            ("/a\\..\\b", Some("/b")),
            ("/..%2f", Some("/")),
        ] {
            let read = ReadPath::new(path);
            assert_eq!(read.plain(), expected.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn a_rule_that_refuses_meets_either_reading_and_one_that_lets_through_needs_both() {
        let ask = |patterns: &[&str], path: &str| {
            let (set, path) = (set(patterns), ReadPath::new(path));
            (set.matches_any(&path), set.matches_all(&path))
        };
        for (patterns, path, expected) in [
            (&["/admin"][..], "/admin", (true, true)),
            (&["/admin"], "/admin;x", (true, false)),
            (&["/admin"], "//admin", (true, false)),
            (&["/admin"], "/ADMIN", (false, false)),
            (&["/public/*"], "/public/..%2fadmin", (true, false)),
            (&["/public/*"], "/public/a%20b;c", (true, true)),
            (&["/public/{**}"], "/public/a%20b;c", (true, true)),
            (&["/a/{*}/c"], "/a/b%2fb/c", (true, false)),
            (&["/a/{*}/{*}/c"], "/a/b%2fb/c", (true, false)),
            (&["/a%2fb"], "/a%2fb", (true, true)),
            (&["/a%2fb"], "/a/b", (false, false)),
            (&["/a%2fb", "/x"], "/a%2fb", (true, true)),
            (&["/a%2fb", "/x"], "/x;1", (true, false)),
            (&["/a;v=1*"], "/a;v=12", (true, true)),
            (&["*.php"], "/x.php;y", (true, false)),
            (&["*"], "/x;y", (true, true)),
        ] {
            assert_eq!(ask(patterns, path), expected, "{patterns:?} {path}");
        }
    }
}
