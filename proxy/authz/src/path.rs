//! Paths, which others may read in another way.
//!
//! The path that is decided on is the one that routes, logs and upstreams see. Some applications read it once more: they decode `%2f`,
//! take off `;parameters`, drop empty segments. So a path has a second, plain reading with all of that done. Where paths are not
//! normalised, some resolve dot segments and do nothing else: that is a reading too, and has a plain one of its own.
//!
//! Invariants: a path without `%`, `;`, `\`, `//` and dot segments has one reading. A pattern that holds any of the first four is about
//! how a path is written, and compared with no plain reading; patterns hold no dot segments (`sidle-model` refuses them).

use crate::text::TextSet;
use sidle_model::ir::{PathPattern, PathTemplate, TextPattern};
use std::{borrow::Cow, iter};

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

    /// Whether any reading of a path meets a pattern.
    pub fn matches_any(&self, path: &ReadPath<'_>) -> bool {
        path.each_written().any(|written| self.all.matches(written.as_sent()))
            || path.each_plain().any(|plain| self.plain().matches(plain))
    }

    /// Whether all readings do.
    pub fn matches_all(&self, path: &ReadPath<'_>) -> bool {
        path.each_written().all(|reading| {
            let as_sent = reading.as_sent();
            self.all.matches(as_sent)
                && reading.plain().is_none_or(|plain| {
                    self.written.as_ref().is_some_and(|written| written.matches(as_sent))
                        || self.plain().matches(plain)
                })
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

/// A path and its other readings.
#[derive(Debug)]
pub(crate) struct ReadPath<'p> {
    written: Reading<'p>,
    /// With dot segments resolved, if there are any.
    resolved: Option<Reading<'p>>,
}

/// A path, and how it reads once all is decoded and taken off.
#[derive(Debug)]
struct Reading<'p> {
    as_sent: Cow<'p, [u8]>,
    /// If it is another.
    plain: Option<Vec<u8>>,
}

impl<'p> ReadPath<'p> {
    /// Reads a path.
    pub fn new(path: &'p str) -> Self {
        let written = path.as_bytes();
        let resolved = resolved(written).map(|resolved| Reading::new(resolved.into()));
        ReadPath { written: Reading::new(written.into()), resolved }
    }

    /// As routes see it.
    pub fn written(&self) -> &[u8] {
        self.written.as_sent()
    }

    /// The other readings; one may come twice.
    pub fn others(&self) -> impl Iterator<Item = &[u8]> {
        self.resolved.iter().map(Reading::as_sent).chain(self.each_plain())
    }

    fn each_written(&self) -> impl Iterator<Item = &Reading<'p>> {
        iter::once(&self.written).chain(&self.resolved)
    }

    fn each_plain(&self) -> impl Iterator<Item = &[u8]> {
        self.each_written().filter_map(Reading::plain)
    }
}

impl<'p> Reading<'p> {
    fn new(as_sent: Cow<'p, [u8]>) -> Self {
        let plain = (has_two_readings(&as_sent) || resolved(&as_sent).is_some()).then(|| plain(&as_sent));
        Reading { plain: plain.filter(|plain| *plain != *as_sent), as_sent }
    }

    fn as_sent(&self) -> &[u8] {
        &self.as_sent
    }

    fn plain(&self) -> Option<&[u8]> {
        self.plain.as_deref()
    }
}

/// The path with its dot segments resolved, and nothing else changed; `None`: it has none. An escaped dot is a dot, and parameters
/// of a dot segment go with it, as where paths are normalised.
fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let dots = |segment: &[u8]| -> usize {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        match &*Cow::from(percent_encoding::percent_decode(name)) {
            b"." => 1,
            b".." => 2,
            _ => 0,
        }
    };
    let rest = path.strip_prefix(b"/")?;
    // The first byte of a dot segment.
    memchr::memmem::find(path, b"/.").or_else(|| memchr::memmem::find(path, b"/%2"))?;
    if !rest.split(|byte| *byte == b'/').any(|segment| dots(segment) > 0) {
        return None;
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_open = false;
    for segment in rest.split(|byte| *byte == b'/') {
        let dots = dots(segment);
        ends_open = dots > 0;
        match dots {
            0 => segments.push(segment),
            1 => {}
            _ => _ = segments.pop(),
        }
    }
    if ends_open {
        segments.push(b"");
    }
    Some(segments.iter().flat_map(|segment| iter::once(b'/').chain(segment.iter().copied())).collect())
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
            assert_eq!(others(path), expected.into_iter().collect::<Vec<_>>(), "{path}");
        }
    }

    fn others(path: &str) -> Vec<String> {
        let path = ReadPath::new(path);
        let mut others: Vec<_> =
            path.others().map(|other| String::from_utf8_lossy(other).into_owned()).collect();
        others.dedup();
        others
    }

    #[test]
    fn dot_segments_are_read_as_they_are_resolved() {
        for (path, expected) in [
            ("/x/../admin", &["/admin"][..]),
            ("/./admin", &["/admin"]),
            ("/a/b/../../admin/", &["/admin/"]),
            ("/admin/x/..", &["/admin/"]),
            ("/../..", &["/"]),
            ("/x/%2e%2E/admin", &["/admin"]),
            ("/x/..;y/admin", &["/admin"]),
            ("/x/../admin;y", &["/admin;y", "/admin"]),
            ("/x//../admin", &["/x/admin", "/admin"]),
            ("/x/../%41dmin", &["/%41dmin", "/Admin"]),
            ("/.well-known/...", &[]),
            ("/x%2f..%2fadmin/.", &["/x%2f..%2fadmin/", "/admin/"]),
        ] {
            assert_eq!(others(path), expected, "{path}");
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
            (&["/admin"], "/x/../admin", (true, false)),
            (&["/admin/*"], "/a/./../admin/y", (true, false)),
            (&["/public/*"], "/public/../admin", (true, false)),
            (&["/a%2fb*"], "/a%2fb/../secret", (true, false)),
            (&["/x/admin"], "/x//../admin", (true, false)),
            (&["/public/*"], "/public/a/../b", (true, true)),
            (&["/.*"], "/.git", (true, true)),
        ] {
            assert_eq!(ask(patterns, path), expected, "{patterns:?} {path}");
        }
    }
}
