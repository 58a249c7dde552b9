//! Where a check stands, and where it reports to.

use crate::{
    config::{Resource, Step},
    diagnostic::{Code, Diagnostic, Severity, Span, codes},
    pause,
    yaml::{Document, MOST_MISTAKES, NodeId, Part},
};
use std::sync::Arc;

/// A path from a resource's `spec` to one of its parts; each step points to the one before it, so that a path costs nothing
/// until something is wrong there.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Option<Step<'a>>,
}

impl<'a> At<'a> {
    /// The `spec` itself.
    pub const SPEC: At<'static> = At { parent: None, step: None };

    /// The part that `step` leads to.
    pub fn to(&'a self, step: impl Into<Step<'a>>) -> At<'a> {
        At { parent: Some(self), step: Some(step.into()) }
    }

    fn steps(&self) -> Vec<Step<'a>> {
        let chain = std::iter::successors(Some(*self), |at| at.parent.copied());
        let mut steps: Vec<_> = chain.filter_map(|at| at.step).collect();
        steps.reverse();
        steps
    }
}

/// The diagnostics of one resource.
pub(super) struct Report<'a> {
    document: &'a Arc<Document>,
    root: NodeId,
    body: NodeId,
    mistaken: &'a [NodeId],
    out: &'a mut Vec<Diagnostic>,
    told: usize,
}

/// Codes about what is missing: where a wrong part was left out, that part would be told twice.
const ABOUT_ABSENCE: &[Code] = &[
    codes::EMPTY_LIST,
    codes::NO_ACTION,
    codes::BAD_FAULT,
    codes::BAD_WEIGHT,
    codes::BAD_TLS,
    codes::BAD_ENDPOINTS,
    codes::DEFAULTED,
];

impl<'a> Report<'a> {
    pub fn new<T>(resource: &'a Resource<T>, out: &'a mut Vec<Diagnostic>) -> Self {
        pause::here();
        let Resource { document, root, body, mistaken, .. } = resource;
        Report { document, root: *root, body: *body, mistaken, out, told: 0 }
    }

    /// An error at `at`.
    pub fn error(&mut self, at: At<'_>, code: Code, message: impl Into<String>) {
        self.push(Severity::Error, at, code, message.into(), None);
    }

    /// An error at `at`, and what to do.
    pub fn error_help(
        &mut self,
        at: At<'_>,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Error, at, code, message.into(), Some(help.into()));
    }

    /// A warning at `at`.
    pub fn warn(&mut self, at: At<'_>, code: Code, message: impl Into<String>) {
        self.push(Severity::Warning, at, code, message.into(), None);
    }

    /// A warning at `at`, and what to do.
    pub fn warn_help(&mut self, at: At<'_>, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, at, code, message.into(), Some(help.into()));
    }

    /// Something good to know about `at`.
    pub fn info(&mut self, at: At<'_>, code: Code, message: impl Into<String>) {
        self.push(Severity::Info, at, code, message.into(), None);
    }

    /// An error at `path` from the manifest (`metadata`, `name`).
    pub fn manifest_error(&mut self, path: &[Step<'_>], code: Code, message: impl Into<String>) {
        if self.told < MOST_MISTAKES {
            let span = self.document.span_at(self.root, path, Part::Value);
            self.add(Diagnostic::error(code, message), span);
        }
    }

    /// A finding at the entry `key`: `value`.
    pub fn at_entry(&mut self, severity: Severity, code: Code, key: NodeId, value: NodeId, message: String) {
        let span = self.document.entry_span(Some(key), value, Part::Key);
        self.add(Diagnostic::new(severity, code, message), span);
    }

    /// The error of a value, if it has one.
    pub fn judge(&mut self, at: At<'_>, code: Code, judgement: Result<(), String>) {
        if let Err(message) = judgement {
            self.error(at, code, message);
        }
    }

    /// Whether something was written at `at`.
    pub fn is_written(&self, at: At<'_>) -> bool {
        let steps = at.steps();
        let Some((last, path)) = steps.split_last() else { return true };
        let parent = self.document.follow(self.body, path).1;
        match last {
            Step::Key(key) => self.document.value(parent, key).is_some(),
            Step::Index(index) => self.document.item(parent, *index).is_some(),
        }
    }

    /// Where `at` was written.
    pub fn span(&self, at: At<'_>) -> Span {
        self.document.span_at(self.body, &at.steps(), Part::Value)
    }

    /// Where `at` was written, and in which file.
    pub fn place(&self, at: At<'_>) -> (Arc<str>, Span) {
        let mut span = self.span(at);
        span.length = span.length.max(1);
        (self.document.file().clone(), span)
    }

    fn push(&mut self, severity: Severity, at: At<'_>, code: Code, message: String, help: Option<String>) {
        if self.told < MOST_MISTAKES && !self.was_told(at, code) {
            let span = self.span(at);
            self.add(Diagnostic::new(severity, code, message).maybe_help(help), span);
        }
    }

    /// Whether a mistake of form or type, which was told before, is what is found wrong at `at`.
    fn was_told(&self, at: At<'_>, code: Code) -> bool {
        if self.mistaken.is_empty() {
            return false;
        }
        let node = self.document.follow(self.body, &at.steps()).1;
        match code {
            // A condition that was left out makes a rule look as if it took everything.
            codes::UNREACHABLE_ROUTE => true,
            _ if ABOUT_ABSENCE.contains(&code) => {
                self.mistaken.iter().any(|told| self.document.contains(node, *told))
            }
            _ => self.mistaken.contains(&node),
        }
    }

    fn add(&mut self, diagnostic: Diagnostic, mut span: Span) {
        span.length = span.length.max(1);
        self.told += 1;
        self.out.push(diagnostic.at(self.document.file().clone(), span));
    }
}
