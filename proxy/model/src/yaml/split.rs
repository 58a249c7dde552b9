//! Cuts a text into its documents, so that a mistake in one leaves the others to be checked.
//!
//! A line that starts with `---` is a document marker wherever it stands: YAML allows it inside no scalar. Directives
//! (`%YAML`) before a marker are dropped, since no tag handle is known here.

/// A document's text and the number of its first line, from 0.
pub(super) fn documents(text: &str) -> Vec<(&str, usize)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if at > start && is_marker(line) {
            push(&mut documents, &text[start..at], first_line);
            (start, first_line) = (at, number);
        }
        at += line.len();
    }
    push(&mut documents, &text[start..], first_line);
    documents
}

fn push<'a>(documents: &mut Vec<(&'a str, usize)>, text: &'a str, first_line: usize) {
    if !text.lines().all(is_void) {
        documents.push((text, first_line));
    }
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line has no content: blank, a comment, a directive or a bare marker.
fn is_void(line: &str) -> bool {
    let content = line.trim();
    content.is_empty() || content.starts_with('#') || line.starts_with('%') || line.trim_end() == "---"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_cut_and_lines_count() {
        let text =
            "\u{feff}# head\n---\na: 1\n--- # next\nb: 2\n---x: 3\n---\n# nothing\n---\r\nc: |\n  ---\n";
        assert_eq!(
            documents(text),
            [("---\na: 1\n", 1), ("--- # next\nb: 2\n---x: 3\n", 3), ("---\r\nc: |\n  ---\n", 8)]
        );
    }

    #[test]
    fn directives_belong_to_nothing() {
        assert_eq!(documents("%YAML 1.2\n---\na: 1\n"), [("---\na: 1\n", 1)]);
        assert!(documents("").is_empty());
        assert!(documents("---\n---\n").is_empty());
    }
}
