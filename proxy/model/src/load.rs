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
