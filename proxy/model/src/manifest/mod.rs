//! From documents to typed resources.
//!
//! In:  documents (`crate::yaml`).   Out: a [`Config`], and every mistake of every document.
//! Invariants: a resource with a mistake is in the configuration without its wrong parts, which are marked, so that
//! what refers to it is not told to be dangling.
//! Not here: rules between fields and between resources (`crate::check`).
//! Read: [`Manifests::of`] -> `kinds`.

mod kinds;

use crate::{
    Map,
    config::{Config, Metadata, Step},
    diagnostic::{Code, Diagnostic, Severity, codes},
    pause,
    source::Text,
    yaml::{self, Budget, Document, Kind, NodeId, Part, serde::from_node, walk::walk},
};
use kinds::{Handling, Manifest, Reader, handling};
use serde::Deserialize;
use std::{sync::Arc, time::SystemTime};

/// The resources of one text, and its mistakes of form and type.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Resources, with their places in this text.
    pub config: Config,
    /// Manifests of a kind that is read; those that could not be read have a place, too.
    pub places: usize,
    /// Mistakes.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether there is no document at all.
    pub empty: bool,
}

impl Manifests {
    /// Reads `text`; resources without a namespace are in `default_namespace`.
    pub fn of(text: &Text, default_namespace: &str) -> Self {
        let (documents, diagnostics) = yaml::parse(text, Budget::default());
        let empty = documents.is_empty() && diagnostics.is_empty();
        let mut manifests = Manifests { diagnostics, empty, ..Manifests::default() };
        if text.is_empty() {
            let emptied = Diagnostic::new(Severity::Warning, codes::NOTHING_READ, "this file is empty");
            manifests.diagnostics.push(emptied.in_file(text.name.clone()));
        }
        for document in &documents {
            pause::here();
            let Manifests { config, places, diagnostics, .. } = &mut manifests;
            diagnostics.extend(read(document, default_namespace, places, config));
        }
        manifests
    }
}

/// A warning that there is no manifest.
pub(crate) fn nothing_read() -> Diagnostic {
    let message = "no manifest was found; files end in .yaml, .yml or .json";
    Diagnostic::new(Severity::Warning, codes::NOTHING_READ, message)
}

/// Adds the resources of `document` to `config`; those without a namespace are in `namespace`.
fn read(
    document: &Arc<Document>,
    namespace: &str,
    order: &mut usize,
    config: &mut Config,
) -> Vec<Diagnostic> {
    let mut reading = Reading { document, namespace, order, config, diagnostics: Vec::new() };
    reading.manifest(document.root(), None);
    reading.diagnostics
}

struct Reading<'a> {
    document: &'a Arc<Document>,
    namespace: &'a str,
    order: &'a mut usize,
    config: &'a mut Config,
    diagnostics: Vec<Diagnostic>,
}

impl Reading<'_> {
    /// Reads the manifest at `root`. An item of a typed list has the list's `inherited` API version and kind.
    fn manifest(&mut self, root: NodeId, inherited: Option<(&str, &str)>) {
        match self.document.kind(root) {
            Kind::Mapping => {}
            Kind::Null => return,
            _ => {
                let message = "not a manifest: expected an object with `apiVersion`, `kind` and `metadata`";
                return self.report(Severity::Error, codes::NOT_A_MANIFEST, root, &[], message.into(), None);
            }
        }
        let document = self.document.clone();
        let text = |name| {
            let value = document.value(root, name)?;
            (document.kind(value) == Kind::Text).then(|| document.text(value))
        };
        let version = text("apiVersion").or(inherited.map(|(version, _)| version));
        let kind = text("kind").or(inherited.map(|(_, kind)| kind));
        let (Some(version), Some(kind)) = (version, kind) else {
            return self.untyped(root, version.is_none(), kind.is_none());
        };
        if let (Some(item_kind), Some(items)) = (kind.strip_suffix("List"), document.value(root, "items")) {
            let inherited = (!item_kind.is_empty()).then_some((version, item_kind));
            for item in document.items(items) {
                self.manifest(item, inherited);
            }
            return;
        }
        self.typed(root, version, kind);
    }

    /// A document that does not say what it is.
    fn untyped(&mut self, root: NodeId, no_version: bool, no_kind: bool) {
        let name = self.document.file().rsplit('/').next().unwrap_or_default();
        if matches!(name, "kustomization.yaml" | "kustomization.yml" | "Chart.yaml") {
            return;
        }
        let missing = match (no_version, no_kind) {
            (true, true) => "`apiVersion` and `kind`",
            (true, false) => "`apiVersion`",
            _ => "`kind`",
        };
        let help = "each document needs both, as texts: `apiVersion: networking.istio.io/v1`, `kind: VirtualService`";
        let message = format!("not a manifest: it lacks {missing}");
        self.report(Severity::Error, codes::NOT_A_MANIFEST, root, &[], message, Some(help.into()));
    }

    fn typed(&mut self, root: NodeId, version: &str, kind: &str) {
        let at = &[Step::Key("kind")];
        match handling(version, kind) {
            Handling::Read(reader) => self.resource(root, reader),
            Handling::NotApplied => {
                let message = format!("{kind} is accepted and not applied");
                self.report(Severity::Warning, codes::KIND_NOT_APPLIED, root, at, message, None);
            }
            Handling::Ignored => {
                if !version.contains('/') || version.contains(".k8s.io/") || version.starts_with("apps/") {
                    return;
                }
                let message = format!("{kind} of {version} is not for a proxy, and is passed over");
                self.report(Severity::Info, codes::KIND_IGNORED, root, at, message, None);
            }
            Handling::Unknown(help) => {
                let message = format!("there is no kind {kind} in {version}");
                self.report(Severity::Error, codes::UNKNOWN_KIND, root, at, message, help);
            }
        }
    }

    fn resource(&mut self, root: NodeId, reader: &'static Reader) {
        let document = self.document;
        let mut findings = walk(document, root, &reader.shape);
        let explained = findings.diagnostics.iter().any(Diagnostic::is_error);
        self.diagnostics.append(&mut findings.diagnostics);
        let metadata = document.value(root, "metadata").filter(|node| !findings.unusable.contains_key(node));
        let metadata = match metadata.map(|node| from_node::<RawMetadata>(document, node, &findings.unusable))
        {
            Some(Ok(metadata)) => metadata,
            Some(Err(error)) => return self.not_convertible(root, reader, &error),
            None => RawMetadata::default(),
        };
        let body = match reader.in_spec {
            true => document
                .value(root, "spec")
                .filter(|node| document.kind(*node) != Kind::Null && !findings.unusable.contains_key(node)),
            false => Some(root),
        };
        let metadata = self.metadata(root, metadata);
        let mistaken = std::mem::take(&mut findings.mistaken);
        let manifest = Manifest {
            document,
            root,
            body,
            metadata,
            order: *self.order,
            unusable: &findings.unusable,
            mistaken,
        };
        *self.order += 1;
        if let Err(error) = (reader.add)(self.config, manifest)
            && !explained
        {
            self.not_convertible(root, reader, &error);
        }
    }

    fn metadata(&mut self, root: NodeId, raw: RawMetadata) -> Metadata {
        Metadata {
            name: raw.name,
            namespace: raw
                .namespace
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| self.namespace.to_owned()),
            labels: raw.labels,
            annotations: raw.annotations,
            creation_timestamp: self.creation_timestamp(root),
        }
    }

    /// When a cluster made it. `null`, as clients of Kubernetes write it, says nothing.
    fn creation_timestamp(&mut self, root: NodeId) -> Option<SystemTime> {
        let metadata = self.document.value(root, "metadata")?;
        let node = self.document.value(metadata, "creationTimestamp")?;
        if self.document.kind(node) == Kind::Null {
            return None;
        }
        let time = humantime::parse_rfc3339(self.document.text(node)).ok();
        if time.is_none() {
            let path = [Step::Key("metadata"), Step::Key("creationTimestamp")];
            let message =
                format!("`{}` is not a time such as 2026-01-31T12:00:00Z", self.document.text(node));
            self.report(Severity::Error, codes::BAD_VALUE, root, &path, message, None);
        }
        time
    }

    fn not_convertible(&mut self, root: NodeId, reader: &Reader, error: &str) {
        let message = format!("cannot be read as {}: {error}", reader.kind);
        self.report(Severity::Error, codes::NOT_CONVERTIBLE, root, &[Step::Key("kind")], message, None);
    }

    fn report(
        &mut self,
        severity: Severity,
        code: Code,
        root: NodeId,
        path: &[Step<'_>],
        message: String,
        help: Option<String>,
    ) {
        let span = self.document.span_at(root, path, Part::Value);
        let diagnostic = Diagnostic::new(severity, code, message).at(self.document.file().clone(), span);
        self.diagnostics.push(diagnostic.maybe_help(help));
    }
}

/// `ObjectMeta`, as far as it is read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMetadata {
    name: String,
    namespace: Option<String>,
    labels: Map<String>,
    annotations: Map<String>,
}
