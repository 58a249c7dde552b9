//! Diagnostics as text for people: the place, the offending line with carets, and help.
//!
//! Invariant: no line of a document that holds a secret is shown: of a Secret, of a private key as PEM, of key sets with private members.

use super::{Diagnostic, Severity, Span};
use crate::source::Text;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::{collections::HashMap, fmt::Write as _, ops::Range};

/// All `diagnostics`, one after the other, with the offending lines of `texts`.
pub fn render_all(diagnostics: &[Diagnostic], texts: &[Text], color: bool) -> String {
    let contents: HashMap<&str, Lines<'_>> =
        texts.iter().map(|text| (&*text.name, Lines::new(&text.content))).collect();
    let mut out = String::new();
    for diagnostic in diagnostics {
        let line = diagnostic.span.and_then(|span| contents.get(&*diagnostic.file)?.line(span.line));
        write_one(&mut out, diagnostic, line, color);
    }
    out
}

/// One diagnostic, with its line of `content`, the text of its file.
pub fn render(diagnostic: &Diagnostic, content: Option<&str>, color: bool) -> String {
    let mut out = String::new();
    let line = diagnostic.span.and_then(|span| Lines::new(content?).line(span.line));
    write_one(&mut out, diagnostic, line, color);
    out
}

/// The lines of a text that may be shown, found without reading it again for each.
struct Lines<'a> {
    /// `None` for each line of a document with a secret.
    shown: Vec<Option<&'a str>>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let mut shown: Vec<_> = text.lines().map(Some).collect();
        for document in shown.chunk_by_mut(|_, next| next.is_none_or(|line| !line.starts_with("---"))) {
            let lines = || document.iter().flatten();
            let of_keys = lines().any(|line| line.contains("jwks"));
            if lines().any(|line| tells_of_secret(line) || of_keys && names_private_member(line)) {
                document.fill(None);
            }
        }
        Lines { shown }
    }

    fn line(&self, number: u32) -> Option<&'a str> {
        *self.shown.get(number.checked_sub(1)? as usize)?
    }
}

/// Whether a line says that its document is a Secret, or holds a private key.
fn tells_of_secret(line: &str) -> bool {
    (line.contains("kind") && line.contains("Secret")) || line.contains("PRIVATE KEY")
}

/// Whether a line names a member of a JWK that only the issuer may have, also within text in quotes.
fn names_private_member(line: &str) -> bool {
    let line: String = line.chars().filter(|c| !matches!(c, '\\' | ' ' | '\t')).collect();
    sidle_jwt::PRIVATE_MEMBERS.iter().any(|name| line.contains(&format!("\"{name}\":")))
}

fn write_one(out: &mut String, diagnostic: &Diagnostic, line: Option<&str>, color: bool) {
    let (on, off) = match (color, diagnostic.severity) {
        (false, _) => ("", ""),
        (true, Severity::Error) => ("\x1b[1;91m", "\x1b[0m"),
        (true, Severity::Warning) => ("\x1b[1;33m", "\x1b[0m"),
        (true, Severity::Info) => ("\x1b[1;94m", "\x1b[0m"),
    };
    // A `String` takes every write.
    let _ = writeln!(out, "{on}{diagnostic}{off}");
    if let (Some(span), Some(line)) = (diagnostic.span, line) {
        let (shown, range) = excerpt(line, span);
        let snippet = Snippet::source(shown)
            .line_start(span.line as usize)
            .annotation(AnnotationKind::Primary.span(range));
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Info => Level::INFO,
        };
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let _ = writeln!(out, "{}", renderer.render(&[Group::with_level(level).element(snippet)]));
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "  help: {help}");
    }
}

/// The part of `line` to show, at most some 200 characters around the span, and the span in its bytes. Control characters
/// are shown as `�`, so that a file cannot write to the terminal.
fn excerpt(line: &str, span: Span) -> (String, Range<usize>) {
    const AROUND: usize = 100;
    let start = span.column.saturating_sub(1) as usize;
    let skipped = start.saturating_sub(AROUND);
    let length = (span.length.max(1) as usize).min(AROUND);
    let mut shown = String::new();
    let (mut from, mut to) = (None, None);
    for (at, character) in line.chars().enumerate().skip(skipped).take(start - skipped + 2 * AROUND) {
        if at == start {
            from = Some(shown.len());
        }
        if at == start + length {
            to = Some(shown.len());
        }
        shown.push(if character == '\t' || !character.is_control() { character } else { '\u{fffd}' });
    }
    let end = shown.len();
    let from = from.unwrap_or(end);
    (shown, from..to.unwrap_or(end).max(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::codes;

    fn diagnostic(line: u32, column: u32, length: u32) -> Diagnostic {
        Diagnostic::error(codes::UNKNOWN_FIELD, "unknown field `hots`")
            .at("a.yaml".into(), Span { line, column, length })
            .help("did you mean `hosts`?")
    }

    #[test]
    fn shows_the_line_and_the_help() {
        let text = render(&diagnostic(2, 3, 4), Some("spec:\n  hots: [a]\n"), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "a.yaml:2:3: error[SDL0101]: unknown field `hots`");
        assert!(lines.contains(&"2 |   hots: [a]"), "{text}");
        assert!(lines.contains(&"  |   ^^^^"), "{text}");
        assert_eq!(lines.last(), Some(&"  help: did you mean `hosts`?"));
    }

    #[test]
    fn no_line_of_a_secret_is_shown() {
        let text = "kind: Secret\nstringData:\n  tls.key: [LS0tLS1]\n---\nspec:\n  hots: [a]\n";
        let shown = render(&diagnostic(3, 3, 7), Some(text), false);
        assert!(!shown.contains("LS0t") && shown.contains("a.yaml:3:3"), "{shown}");
        assert!(render(&diagnostic(6, 3, 4), Some(text), false).contains("hots: [a]"), "another document");
        let shown = render(&diagnostic(2, 1, 3), Some("- |\n  -----BEGIN PRIVATE KEY-----\n  MII\n"), false);
        assert!(!shown.contains("BEGIN"), "{shown}");
    }

    #[test]
    fn nor_one_of_a_key_set_with_private_members() {
        for keys in [
            r#"    - jwks: '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'"#,
            r#"    - jwks: "{\"keys\": [{\"kty\": \"RSA\", \"d\" : \"c2VjcmV0\"}]}""#,
            "    - jwks: |\n        {\"keys\": [{\"kty\": \"RSA\", \"qi\": \"c2VjcmV0\"",
        ] {
            let text = format!("spec:\n  jwtRules:\n{keys}\n---\nspec:\n  hots: [a]\n");
            for line in 3..=4 {
                let shown = render(&diagnostic(line, 13, 7), Some(&text), false);
                assert!(!shown.contains("c2Vj"), "{shown}");
            }
            let line = keys.lines().count() as u32 + 5;
            assert!(
                render(&diagnostic(line, 3, 4), Some(&text), false).contains("hots: [a]"),
                "another document"
            );
        }
        let public = r#"jwks: '{"keys": [{"kty": "OKP", "x": "AAAA"}]}'"#;
        assert!(render(&diagnostic(1, 7, 3), Some(public), false).contains("AAAA"));
    }

    #[test]
    fn a_place_outside_the_text_is_no_panic() {
        for (line, column, length) in [(9, 1, 1), (1, 99, 5), (1, 5, 99), (0, 0, 0), (1, 6, 0)] {
            render(&diagnostic(line, column, length), Some("spec:"), true);
        }
    }

    #[test]
    fn control_characters_and_long_lines_are_tamed() {
        let line = format!("{}\x1b[31m{}", "é".repeat(5000), "x".repeat(5000));
        let text = render(&diagnostic(1, 5003, 3), Some(&line), false);
        assert!(!text.contains('\x1b') && text.len() < 2000, "{}", text.len());
    }

    #[test]
    fn all_of_several_files() {
        let texts = [
            Text { name: "a.yaml".into(), content: "a: 1\nb: 2\n".into() },
            Text { name: "b.yaml".into(), content: "c: 3\n".into() },
        ];
        let text = render_all(&[diagnostic(2, 1, 1), diagnostic(1, 1, 1)], &texts, false);
        assert!(text.contains("2 | b: 2") && text.contains("1 | a: 1"), "{text}");
    }
}
