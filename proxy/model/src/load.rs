//! From paths to an IR: the whole line of this crate.

use crate::{
    check,
    config::Config,
    diagnostic::{self, Diagnostic},
    ir::{Ir, Node},
    lower, manifest,
    source::{self, SizeLimit, Text},
};
use std::path::PathBuf;

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// Every file that was read, for rendering diagnostics.
    pub texts: Vec<Text>,
    /// All resources; those with mistakes without their wrong parts.
    pub config: Config,
    /// `None` if any diagnostic is an error.
    pub ir: Option<Ir>,
    /// Sorted by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads, checks and lowers `paths` for the proxy `node`, in whose namespace are resources that name none.
pub fn load(paths: &[PathBuf], node: &Node) -> Loaded {
    let (texts, diagnostics) = source::read(paths, SizeLimit::default());
    let unreadable = !diagnostics.is_empty();
    let mut loaded = load_texts(texts, node);
    check::files::check(&loaded.config, &mut loaded.diagnostics);
    loaded.diagnostics.extend(diagnostics);
    if unreadable {
        loaded.ir = None;
    }
    diagnostic::sort(&mut loaded.diagnostics);
    loaded
}

/// As [`load`], from texts that were read already.
pub fn load_texts(texts: Vec<Text>, node: &Node) -> Loaded {
    let (config, mut diagnostics) = manifest::parse(&texts, &node.namespace);
    diagnostics.extend(check::check(&config, node));
    let mut ir = None;
    if !diagnostics.iter().any(Diagnostic::is_error) {
        let lowered = lower::lower(&config, node);
        diagnostics.extend(lowered.diagnostics);
        ir = Some(lowered.ir).filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    }
    diagnostic::sort(&mut diagnostics);
    Loaded { texts, config, ir, diagnostics }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, path::Path, sync::LazyLock};

    fn fixtures(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/integration/fixtures").join(name)
    }

    #[test]
    fn each_of_twenty_mistakes_is_told_once() {
        let loaded = load(&[fixtures("mistakes")], &Node::default());
        let told: Vec<&str> =
            loaded.diagnostics.iter().map(|d| d.file.rsplit('/').next().unwrap_or_default()).collect();
        assert_eq!(told.len(), 20, "{}", diagnostic::render_all(&loaded.diagnostics, &loaded.texts, false));
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(loaded.diagnostics.iter().all(|d| d.span.is_some()));
        assert!(loaded.ir.is_none());
    }

    #[test]
    fn good_text_becomes_an_ir() {
        let good = std::fs::read_to_string(fixtures("mistakes/defined.yaml")).unwrap();
        let text = Text { name: "defined.yaml".into(), content: good.into() };
        let loaded = load_texts(vec![text], &Node::default());
        assert!(loaded.ir.is_some(), "{:?}", loaded.diagnostics);
    }

    #[test]
    fn an_unreadable_file_leaves_no_ir() {
        let loaded = load(&[fixtures("mistakes/defined.yaml"), "nowhere.yaml".into()], &Node::default());
        assert!(loaded.ir.is_none());
        assert_eq!(loaded.config.gateways.len(), 1);
    }

    /// Every fixture, line by line.
    static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let (texts, _) = source::read(&[fixtures("mistakes")], SizeLimit::default());
        texts
            .iter()
            .flat_map(|text| text.content.lines().map(str::to_owned).chain(["---".to_owned()]))
            .collect()
    });

    proptest! {
        /// Manifests with lines dropped, repeated, indented otherwise and with values exchanged: whatever is read is
        /// checked and lowered without a panic, and every diagnostic can be shown.
        #[test]
        fn broken_manifests_never_panic(
            start in 0..LINES.len(),
            edits in prop::collection::vec((0..60usize, 0..7usize, "[ -~]{0,6}"), 0..12),
        ) {
            let mut lines: Vec<String> = LINES[start..].iter().take(60).cloned().collect();
            for (at, edit, text) in edits {
                let at = at % lines.len();
                match edit {
                    0 => drop(lines.remove(at)),
                    1 => lines.insert(at, LINES[(start * 7 + at) % LINES.len()].clone()),
                    2 => lines[at].insert_str(0, "  "),
                    3 => lines[at] = lines[at].trim_start().to_owned(),
                    4 => if let Some(colon) = lines[at].find(':') { lines[at].replace_range(colon + 1.., &text) },
                    5 => lines[at] = lines[at].replace(char::is_numeric, &text),
                    _ => lines[at].push_str(&text),
                }
                if lines.is_empty() {
                    break;
                }
            }
            let text = Text { name: "f.yaml".into(), content: lines.join("\n").into() };
            let loaded = load_texts(vec![text], &Node::default());
            diagnostic::render_all(&loaded.diagnostics, &loaded.texts, true);
        }
    }
}
