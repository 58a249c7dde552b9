//! What is wrong, where, and what to do about it.
//!
//! In:  findings of every stage.   Out: text with the offending line, or JSON.
//! Invariants: lines and columns count from 1, columns in characters; a code is one of [`codes::TABLE`].
//! Not here: what is wrong with what (`crate::yaml`, `crate::check`, `crate::lower`).
//! Read: [`Diagnostic`] -> `codes` -> `render`.

pub mod codes;
mod render;

pub use codes::Code;
pub use render::{render, render_all};

use std::{cmp::Ordering, fmt, sync::Arc};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, one of [`codes::TABLE`].
    pub code: Code,
    /// What is wrong, in one sentence.
    pub message: String,
    /// File as the user named it; empty if there is none.
    pub file: Arc<str>,
    /// Place in the file.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, but hardly as meant.
    Warning,
    /// Good to know.
    Info,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Span {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// In characters, on this line.
    pub length: u32,
}

impl Diagnostic {
    /// A finding without a place.
    pub fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Diagnostic { severity, code, message: message.into(), file: "".into(), span: None, help: None }
    }

    /// An error without a place.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// Sets its place.
    pub fn at(mut self, file: Arc<str>, span: Span) -> Self {
        self.file = file;
        self.span = Some(span);
        self
    }

    /// Sets its file, for a finding about a whole file.
    pub fn in_file(mut self, file: Arc<str>) -> Self {
        self.file = file;
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do, if that is known.
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Whether it refuses the configuration.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// By file, place and severity; those without a file first.
fn report_order(a: &Diagnostic, b: &Diagnostic) -> Ordering {
    (&a.file, a.span, a.severity, a.code, &a.message).cmp(&(&b.file, b.span, b.severity, b.code, &b.message))
}

/// Sorts by file and place, and drops findings that are told twice.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(report_order);
    diagnostics.dedup();
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        })
    }
}

/// `file:line:col: error[SDL0101]: message`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if let Some(span) = self.span {
                write!(f, "{}:{}:", span.line, span.column)?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)
    }
}
