//! What lowering has to say: everything that Istio would drop or ignore without a word.
//!
//! Invariant: a note is told once, however many ports, listeners or gateways lead to it.
//! Not here: what is wrong with single resources (`crate::check`).

use crate::{
    config::{Resource, Step},
    diagnostic::{Code, Diagnostic, Severity},
};
use std::collections::HashSet;

/// Diagnostics, each once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Diagnostic>,
    seen: HashSet<Diagnostic>,
    told: usize,
}

impl Notes {
    /// Something that hardly works as meant.
    pub fn warn<T>(
        &mut self,
        resource: &Resource<T>,
        code: Code,
        path: &[Step<'_>],
        message: impl Into<String>,
    ) {
        self.push(resource.diagnostic(Severity::Warning, code, path, message));
    }

    /// Something that works otherwise than a reader may think.
    pub fn info<T>(
        &mut self,
        resource: &Resource<T>,
        code: Code,
        path: &[Step<'_>],
        message: impl Into<String>,
    ) {
        self.push(resource.diagnostic(Severity::Info, code, path, message));
    }

    /// Any diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.told += 1;
        if self.seen.insert(diagnostic.clone()) {
            self.list.push(diagnostic);
        }
    }

    /// How often anything was told, twice or not.
    pub fn told(&self) -> usize {
        self.told
    }

    /// All of them, in the order in which they were found.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.list
    }
}
