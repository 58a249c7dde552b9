//! The text of the configuration.
//!
//! In:  the paths of the command line.   Out: texts, their hash.
//! Invariants: standard input is read once, and its text is kept for every later look; texts stand in the order of the paths.
//! Not here: what the text says (`sidle-model`).

use sidle_model::{
    diagnostic::Diagnostic,
    pause,
    source::{self, SizeLimit, Text},
};
use std::{path::PathBuf, sync::OnceLock};
use xxhash_rust::xxh64::Xxh64;

/// Files, folders, globs, and `-` for standard input.
#[derive(Debug)]
pub(super) struct Input {
    paths: Vec<PathBuf>,
    standard_input: OnceLock<(Vec<Text>, Vec<Diagnostic>)>,
}

impl Input {
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Input { paths, standard_input: OnceLock::new() }
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads everything, and says what could not be read.
    pub fn read(&self) -> (Vec<Text>, Vec<Diagnostic>) {
        let (mut texts, mut diagnostics) = (Vec::new(), Vec::new());
        let limit = SizeLimit::default();
        let is_standard_input = |path: &PathBuf| path.as_os_str() == "-";
        for paths in self.paths.chunk_by(|a, b| !is_standard_input(a) && !is_standard_input(b)) {
            let (more_texts, more_diagnostics) = match paths {
                [path] if is_standard_input(path) => {
                    self.standard_input.get_or_init(|| source::read(paths, limit)).clone()
                }
                paths => source::read(paths, limit),
            };
            texts.extend(more_texts);
            diagnostics.extend(more_diagnostics);
        }
        (texts, diagnostics)
    }
}

/// The same for the same files with the same content, on every machine.
pub(super) fn hash(texts: &[Text]) -> u64 {
    let mut hash = Xxh64::new(0);
    for text in texts {
        pause::here();
        for part in [&text.name, &text.content] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, content: &str) -> Text {
        Text { name: name.into(), content: content.into() }
    }

    #[test]
    fn names_and_contents_do_not_run_together() {
        let hashes = [
            hash(&[]),
            hash(&[text("a", "bc")]),
            hash(&[text("ab", "c")]),
            hash(&[text("a", "b"), text("c", "")]),
            hash(&[text("c", ""), text("a", "b")]),
        ];
        assert!(hashes.iter().enumerate().all(|(at, one)| !hashes[..at].contains(one)));
    }

    #[test]
    fn the_order_is_that_of_the_paths() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = ["b.yaml", "a.yaml"].iter().map(|name| dir.path().join(name)).collect();
        for path in &paths {
            std::fs::write(path, "a: 1").unwrap();
        }
        let (texts, diagnostics) = Input::new(paths.clone()).read();
        assert!(diagnostics.is_empty());
        let names: Vec<_> = texts.iter().map(|text| PathBuf::from(&*text.name)).collect();
        assert_eq!(names, paths);
    }
}
