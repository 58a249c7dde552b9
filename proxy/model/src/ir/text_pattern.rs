//! Patterns of text and paths, as authorization policies write them.
//!
//! Source: Istio's "Authorization Policy" reference; Envoy's URI templates.

/// Text, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextPattern {
    /// The whole.
    Exact(Box<str>),
    /// `text*`.
    Prefix(Box<str>),
    /// `*text`.
    Suffix(Box<str>),
    /// `*`: there is one.
    Present,
}

impl TextPattern {
    /// Reads `text`, `text*`, `*text` or `*`. Any other `*` would stand for itself.
    pub fn parse(text: &str) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => TextPattern::Present,
            (Some(suffix), _) => TextPattern::Suffix(suffix.into()),
            (None, Some(prefix)) => TextPattern::Prefix(prefix.into()),
            (None, None) => TextPattern::Exact(text.into()),
        }
    }

    /// The text without its `*`.
    pub fn literal(&self) -> &str {
        match self {
            TextPattern::Exact(text) | TextPattern::Prefix(text) | TextPattern::Suffix(text) => text,
            TextPattern::Present => "",
        }
    }
}

impl std::fmt::Display for TextPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TextPattern::Exact(text) => f.write_str(text),
            TextPattern::Prefix(text) => write!(f, "{text}*"),
            TextPattern::Suffix(text) => write!(f, "*{text}"),
            TextPattern::Present => f.write_str("*"),
        }
    }
}

/// Text in which a `*` anywhere stands for any characters, or none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    /// Any text is one.
    pub fn new(text: &str) -> Self {
        Glob(text.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for `text`.
    pub fn matches(&self, text: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(last) = pieces.next_back() else { return text == first };
        let inner = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
        let Some(mut rest) = inner else { return false };
        pieces.all(|piece| match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }
}

/// A path, byte for byte or by segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Byte for byte.
    Text(TextPattern),
    /// By segments.
    Template(PathTemplate),
}

impl PathPattern {
    /// Reads a value of `paths`.
    ///
    /// # Errors
    /// What is wrong with a template.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.contains(['{', '}']) {
            return Ok(PathPattern::Text(TextPattern::parse(text)));
        }
        PathTemplate::parse(text).map(PathPattern::Template)
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathPattern::Text(text) => text.fmt(f),
            PathPattern::Template(template) => f.write_str(&template.text),
        }
    }
}

/// `/tenants/{*}/files/{**}`: `{*}` is one segment, `{**}` any number of them, or an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    text: Box<str>,
    before: Vec<Segment>,
    /// The segments after `{**}`, if there is one.
    after: Option<Vec<Segment>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    One,
}

impl PathTemplate {
    /// Envoy takes no more operators in one template.
    const MOST_OPERATORS: usize = 5;

    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("a template begins with `/`")?;
        let (mut before, mut after) = (Vec::new(), None::<Vec<Segment>>);
        let last = path.split('/').count() - 1;
        let mut operators = 0;
        for (at, segment) in path.split('/').enumerate() {
            let segment = match segment {
                "{*}" | "{**}" if after.is_some() => return Err("nothing but text may follow `{**}`"),
                "{*}" => Segment::One,
                "{**}" => {
                    operators += 1;
                    after = Some(Vec::new());
                    continue;
                }
                "" if at < last => return Err("a template has no empty segments"),
                other if other.contains(['{', '}']) => {
                    return Err("`{*}` and `{**}` are the only operators, and each is a whole segment");
                }
                other if !other.bytes().all(is_literal) => {
                    return Err(
                        "in a template stand only letters, digits, `-._~%!$&'()+,;:@=` and operators",
                    );
                }
                other => Segment::Literal(other.into()),
            };
            operators += usize::from(segment == Segment::One);
            after.as_mut().unwrap_or(&mut before).push(segment);
        }
        if operators > Self::MOST_OPERATORS {
            return Err("a template has at most 5 operators");
        }
        Ok(PathTemplate { text: text.into(), before, after })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text before the first operator.
    pub fn literal_prefix(&self) -> &str {
        self.text.split('{').next().unwrap_or_default()
    }

    /// Whether a path is one of those that it stands for.
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some(path) = path.strip_prefix(b"/") else { return false };
        let segments = || path.split(|byte| *byte == b'/');
        let count = segments().count();
        let all = |pattern: &[Segment], skip: usize| {
            pattern.iter().zip(segments().skip(skip)).all(|(segment, found)| match segment {
                Segment::One => !found.is_empty(),
                Segment::Literal(literal) => literal.as_bytes() == found,
            })
        };
        match &self.after {
            None => count == self.before.len() && all(&self.before, 0),
            Some(after) => {
                count > self.before.len() + after.len()
                    && all(&self.before, 0)
                    && all(after, count - after.len())
            }
        }
    }
}

/// What Envoy takes in a template's text.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        use TextPattern::*;
        for (text, pattern) in
            [("a", Exact("a".into())), ("a*", Prefix("a".into())), ("*a", Suffix("a".into())), ("*", Present)]
        {
            assert_eq!(TextPattern::parse(text), pattern);
            assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn globs() {
        for (glob, text, matches) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("ab*bc", "abc", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*b*c", "a-c-b-c", true),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), matches, "{glob} {text}");
        }
    }

    #[test]
    fn templates() {
        for (template, path, matches) in [
            ("/a/{*}", "/a/b", true),
            ("/a/{*}", "/a/", false),
            ("/a/{*}", "/a/b/c", false),
            ("/a/{*}/", "/a/b/", true),
            ("/a/{*}/", "/a/b", false),
            ("/a/{*}/c", "/a/b*|/c", true),
            ("/a/{**}", "/a/", true),
            ("/a/{**}", "/a/b/c/", true),
            ("/a/{**}", "/a", false),
            ("/a/{**}/z", "/a/b/c/z", true),
            ("/a/{**}/z", "/a//z", true),
            ("/a/{**}/z", "/a/z", false),
            ("/{*}/x/{**}", "/a/x/y", true),
            ("/{**}", "/", true),
        ] {
            assert_eq!(
                PathTemplate::parse(template).unwrap().matches(path.as_bytes()),
                matches,
                "{template} {path}"
            );
        }
        for wrong in [
            "a/{*}",
            "/{a}",
            "/{**}/{*}",
            "/{**}/{**}",
            "/a{*}",
            "/{*}b",
            "/a//{*}",
            "/{*",
            "/{*}/*",
            "/{*}/é",
        ] {
            assert!(PathTemplate::parse(wrong).is_err(), "{wrong}");
        }
        assert!(PathTemplate::parse("/{*}/{*}/{*}/{*}/{*}/{*}").is_err());
        assert_eq!(PathTemplate::parse("/a/b{").map(drop), PathTemplate::parse("/x}").map(drop));
    }
}
