//! The parser's syntax errors, said so that the reader knows what to change.

use crate::diagnostic::{Code, codes};
use saphyr_parser::ScanError;

/// A syntax error in the words of users.
pub(super) struct Explained {
    pub code: Code,
    pub message: String,
    pub help: Option<&'static str>,
    /// From 1, in the document's text.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
}

/// What the parser says, what the user reads, and what to do. The first that is part of the error's text holds.
const WORDS: &[(&str, &str, &str)] = &[
    (
        "mapping values are not allowed",
        "a `:` where no value can begin",
        "check the indentation of this line; put a text that holds `: ` in quotes",
    ),
    (
        "block mapping, did not find expected key",
        "this does not belong to the object above it",
        "indent it as the other keys of its object are",
    ),
    (
        "block collection, did not find expected '-'",
        "this does not belong to the list above it",
        "begin it with `- `, or indent it as the key that it belongs to",
    ),
    (
        "block sequence entries are not allowed",
        "a `- ` where no list can begin",
        "put the list on the next line, or check the indentation",
    ),
    (
        "flow sequence",
        "a list that began with `[` has no `]` before this",
        "close it, or put `,` between its items",
    ),
    (
        "flow mapping",
        "an object that began with `{` has no `}` before this",
        "close it, or put `,` between its entries",
    ),
    (
        "misplaced bracket",
        "a closing bracket without an opening one",
        "put a text that holds brackets in quotes",
    ),
    (
        "illegal placement of ':'",
        "a `:` inside a list that began with `[` and was not closed",
        "close the list; put a text that holds `:` in quotes",
    ),
    ("quoted scalar, found unexpected end", "a text in quotes that does not end", "put the closing quote"),
    (
        "unknown escape character",
        "an escape that YAML does not know, in a text in double quotes",
        "use single quotes, in which `\\` is only itself, or double the `\\`",
    ),
    (
        "trailing content after",
        "something follows the closing quote",
        "a single quote inside single quotes is written twice, a double quote inside double quotes as `\\\"`",
    ),
    (
        "unknown anchor",
        "an alias without an anchor `&` of that name before it",
        "put a text that begins with `*` in quotes",
    ),
    (
        "scanning an anchor or alias",
        "a `*` or `&` without a name",
        "put a text that begins with `*` or `&` in quotes",
    ),
    ("unexpected character", "a character with which no plain text can begin", "put the text in quotes"),
    (
        "simple key expect",
        "a line without `:` where a key belongs",
        "check the indentation; write `key: value`",
    ),
];

/// Explains `error`, which was found in `content`.
pub(super) fn explain(error: &ScanError, content: &str) -> Explained {
    let marker = error.marker();
    let mut explained = Explained {
        code: codes::SYNTAX,
        message: error.info().to_owned(),
        help: None,
        line: marker.line(),
        column: marker.col(),
    };
    if error.info().contains("recursion limit") {
        explained.code = codes::BUDGET;
        explained.message = "too many lists and objects inside one another".into();
    } else if error.info().contains("tab") {
        if let Some((line, column)) = indenting_tab(content, marker.line()) {
            (explained.line, explained.column) = (line, column);
        }
        explained.message = "a tab in the indentation".into();
        explained.help = Some("indent with spaces: YAML allows no tab there");
    } else if let Some((_, message, help)) = WORDS.iter().find(|(part, ..)| error.info().contains(part)) {
        explained.message = (*message).into();
        explained.help = Some(help);
    }
    explained
}

/// The first tab in the indentation of `line` (from 1) or one of the two after it.
fn indenting_tab(content: &str, line: usize) -> Option<(usize, usize)> {
    content.lines().enumerate().skip(line.saturating_sub(1)).take(3).find_map(|(index, text)| {
        let indentation = text.len() - text.trim_start().len();
        text[..indentation].find('\t').map(|column| (index + 1, column))
    })
}
