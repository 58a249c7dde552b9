//! Values as YAML that YAML 1.1 (Kubernetes) and 1.2 read alike.

use super::value::{Data, Value};
use sidle_model::yaml::Kind;
use std::fmt::Write;

/// A document's text, with a line end.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    match &value.data {
        Data::Map(entries) if !entries.is_empty() => object(entries, 0, &mut text),
        Data::List(items) if !items.is_empty() => list(items, 0, &mut text),
        _ => {
            text.push_str(inline(value, 0).trim_start());
            text.push('\n');
        }
    }
    text
}

fn object(entries: &[(String, Value)], indent: usize, out: &mut String) {
    for (key, value) in entries {
        pad(indent, out);
        out.push_str(&scalar(key));
        out.push(':');
        match &value.data {
            Data::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                object(entries, indent + 2, out);
            }
            // As kubectl has it: no deeper than the key.
            Data::List(items) if !items.is_empty() => {
                out.push('\n');
                list(items, indent, out);
            }
            _ => {
                out.push_str(&inline(value, indent));
                out.push('\n');
            }
        }
    }
}

fn list(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        pad(indent, out);
        out.push('-');
        let mut inner = String::new();
        match &item.data {
            Data::Map(entries) if !entries.is_empty() => object(entries, indent + 2, &mut inner),
            Data::List(items) if !items.is_empty() => list(items, indent + 2, &mut inner),
            _ => {
                out.push_str(&inline(item, indent));
                out.push('\n');
                continue;
            }
        }
        // The first line begins behind the dash.
        out.push(' ');
        out.push_str(&inner[indent + 2..]);
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// What stands behind a colon or a dash, the space included.
fn inline(value: &Value, indent: usize) -> String {
    match &value.data {
        Data::List(_) => " []".into(),
        Data::Map(_) => " {}".into(),
        Data::Scalar { text, kind: Kind::Null, .. } if text.is_empty() => " null".into(),
        Data::Scalar { text, plain: true, .. } if !text.contains('\n') => format!(" {text}"),
        Data::Scalar { text, .. } if is_block(text) => block(text, indent + 2),
        Data::Scalar { text, .. } => format!(" {}", scalar(text)),
    }
}

/// A text with or without quotes.
fn scalar(text: &str) -> String {
    if is_safe(text) { text.to_owned() } else { quoted(text) }
}

/// Whether nobody takes a text without quotes for anything but that text.
fn is_safe(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let start = text.strip_prefix("--").unwrap_or(text); // a flag
    let first = start.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:=+,$()@".contains(c));
    first && rest && !text.ends_with(':') && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{2028}' | '\u{2029}' | '\u{feff}' => _ = write!(out, "\\u{:04x}", c as u32),
            c if c.is_control() => _ = write!(out, "\\x{:02x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Whether a text is one of lines, which are best read as such.
fn is_block(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    text.contains('\n')
        && !lines.is_empty()
        && !lines.starts_with([' ', '\n', '\t'])
        && !lines.ends_with('\n')
        && lines.lines().all(|line| line.is_empty() || !line.trim().is_empty())
        && text
            .chars()
            .all(|c| c == '\n' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')))
}

fn block(text: &str, indent: usize) -> String {
    let mut out = String::from(if text.ends_with('\n') { " |" } else { " |-" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent, &mut out);
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::value::map;
    use proptest::prelude::*;
    use sidle_model::{
        source::Text,
        yaml::{Budget, pieces},
    };

    fn read(text: &str) -> Value {
        let text = Text { name: "t".into(), content: text.into() };
        let pieces = pieces(&text, Budget::default());
        assert!(pieces[0].diagnostics.is_empty(), "{}\n{:?}", text.content, pieces[0].diagnostics);
        Value::read(&pieces[0].documents[0], pieces[0].documents[0].root())
    }

    fn round(value: &Value) -> String {
        let text = document(value);
        let again = document(&read(&text));
        assert_eq!(text, again);
        text
    }

    #[test]
    fn what_is_plain_stays_plain_and_what_is_quoted_means_the_same() {
        let source = "mode: 0644\non: yes\nport: 8080\nflag: true\nempty:\ntext: '8080'\nversion: \"1.10\"\nhuge: 1e3\nword: 'no'\ntag: !!str 5\n\
                      a: &a {x: [1, 'b', {c: d}]}\nb: *a\nnone: []\nnil: {}\nlist: [[1, 2], [], ~]\nplain: a b # not this\n";
        let written = round(&read(source));
        let wanted = "mode: 0644\n\"on\": yes\nport: 8080\nflag: true\nempty: null\ntext: \"8080\"\nversion: \"1.10\"\nhuge: 1e3\n\
                      word: \"no\"\ntag: \"5\"\na:\n  x:\n  - 1\n  - b\n  - c: d\nb:\n  x:\n  - 1\n  - b\n  - c: d\nnone: []\nnil: {}\n\
                      list:\n- - 1\n  - 2\n- []\n- ~\nplain: a b\n";
        assert_eq!(written, wanted);
    }

    #[test]
    fn lines_are_written_as_lines() {
        let value =
            map([("args", super::super::value::list(["-c", "set -e\n\n  echo 1\necho 2\n", "a\nb"]))]);
        let text = "args:\n- \"-c\"\n- |\n  set -e\n\n    echo 1\n  echo 2\n- |-\n  a\n  b\n";
        assert_eq!(round(&value), text);
    }

    proptest! {
        /// Whatever a text holds, it is read as it was.
        #[test]
        fn texts_come_back(text in "(?s).{0,12}|[ \\n\\t:#'\"\\\\a|>-]{0,12}") {
            for value in [map([("k", text.as_str().into())]), map([(&text, map([("x", super::super::value::list([text.as_str()]))]))])] {
                let written = document(&value);
                let back = read(&written);
                let (key, inner) = &back.entries()[0];
                let found = inner.text().or_else(|| inner.get("x").and_then(|list| list.items()[0].text()));
                prop_assert_eq!(found, Some(&*text), "{}", written);
                prop_assert!(key == "k" || *key == text);
            }
        }
    }
}
