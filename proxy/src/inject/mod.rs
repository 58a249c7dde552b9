//! `sidle inject`: a sidecar beside the containers of workload manifests.
//!
//! In:  texts with manifests, and [`Options`].   Out: the same texts with sidecars, and what became of each workload.
//! Invariants: a document that holds no workload, or one that is left alone, keeps its bytes; a workload that gets a sidecar is written anew
//! with all its values in their order, and without its comments; injecting what was injected changes nothing.
//! Not here: reading files and printing (`cli/inject.rs`), the rules that capture (`intercept`).
//! Source: the annotations are Istio's and Linkerd's; the containers are those of `deploy/`.
//! Read: here -> `workload` (where Pods stand) -> `annotations` (what they ask for) -> `pod` -> `containers`; `value`, `write` (YAML).

mod annotations;
mod containers;
mod pod;
mod value;
mod workload;
mod write;

use sidle_model::{
    Diagnostic, Severity, Span,
    diagnostic::Code,
    source::Text,
    yaml::{self, Budget},
};
use std::sync::Arc;
use value::Value;

/// What the sidecars have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// The proxy's image.
    pub image: String,
    /// The image that writes the kernel's rules.
    pub intercept_image: String,
    /// Whether traffic is captured, where annotations do not say.
    pub intercept: bool,
    /// The ConfigMap with the configuration.
    pub config_map: String,
    /// The Secret with the workload's identity, if there is one.
    pub identity_secret: Option<String>,
}

/// What became of the texts.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All texts as one stream of documents.
    pub text: String,
    /// What was done to each workload, and why something was not.
    pub done: Vec<Done>,
    /// Mistakes, and what is not applied. With an error among them the text is not to be used.
    pub diagnostics: Vec<Diagnostic>,
}

/// A workload that was seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// `deployment/web`.
    pub workload: String,
    /// Why it has no sidecar now, if it has none.
    pub left_alone: Option<String>,
}

/// Adds sidecars to all workloads of the texts.
pub fn inject(texts: &[Text], options: &Options) -> Outcome {
    let mut outcome = Outcome::default();
    for text in texts {
        one(text, options, &mut outcome);
    }
    outcome
}

fn one(text: &Text, options: &Options, outcome: &mut Outcome) {
    let mut at = 0;
    let content = text.content.strip_prefix('\u{feff}').unwrap_or(&text.content);
    separate(content, &mut outcome.text);
    for piece in yaml::pieces(text, Budget::default()) {
        let start = piece.content.as_ptr() as usize - content.as_ptr() as usize;
        outcome.text.push_str(&content[at..start]);
        at = start + piece.content.len();
        outcome.diagnostics.extend(piece.diagnostics);
        let mut report = Report { file: text.name.clone(), diagnostics: Vec::new() };
        let mut values: Vec<Value> =
            piece.documents.iter().map(|document| Value::read(document, document.root())).collect();
        let mut changed = false;
        for value in &mut values {
            changed |= workload::visit(value, options, &mut report, &mut outcome.done);
        }
        outcome.diagnostics.append(&mut report.diagnostics);
        if !changed {
            outcome.text.push_str(piece.content);
            continue;
        }
        outcome.text.push_str(head(piece.content));
        for (number, value) in values.iter().enumerate() {
            if number > 0 {
                outcome.text.push_str("---\n");
            }
            outcome.text.push_str(&write::document(value));
        }
    }
    outcome.text.push_str(&content[at..]);
}

/// Ends what another file left open.
fn separate(content: &str, text: &mut String) {
    if text.is_empty() {
        return;
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if !content.starts_with("---") {
        text.push_str("---\n");
    }
}

/// The lines before a document's content: its marker, comments.
fn head(content: &str) -> &str {
    let is_head = |line: &&str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---" || line.starts_with("--- #")
    };
    let length: usize = content.split_inclusive('\n').take_while(is_head).map(str::len).sum();
    match &content[..length] {
        // Something stands behind the marker.
        "" if content.starts_with("---") => "---\n",
        head => head,
    }
}

/// Where mistakes are told.
struct Report {
    file: Arc<str>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    fn tell(&mut self, severity: Severity, code: Code, at: Option<Span>, message: impl Into<String>) {
        let diagnostic = Diagnostic::new(severity, code, message);
        self.diagnostics.push(match at {
            Some(span) => diagnostic.at(self.file.clone(), span),
            None => diagnostic.in_file(self.file.clone()),
        });
    }

    fn error(&mut self, code: Code, at: Option<Span>, message: impl Into<String>) {
        self.tell(Severity::Error, code, at, message);
    }

    fn warning(&mut self, code: Code, at: Option<Span>, message: impl Into<String>) {
        self.tell(Severity::Warning, code, at, message);
    }
}

#[cfg(test)]
mod tests;
