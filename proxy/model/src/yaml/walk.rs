//! Compares a tree with a [`Shape`] and tells every mistake, each with its place.
//!
//! After a walk, the tree can be read as the type that the shape was made from, with the [`Findings::unusable`] parts left
//! out, so that the rest can be checked too.

use super::{
    Document, Kind, NodeId, Part, scalar,
    shape::{ObjectShape, Shape},
    suggest::nearest,
};
use crate::{
    Duration,
    diagnostic::{Code, Diagnostic, Severity, Span, codes},
};
use std::{collections::HashMap, fmt::Write as _};

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Findings<'a> {
    /// Every mistake.
    pub diagnostics: Vec<Diagnostic>,
    /// Values that are not of their type. A list's item comes with its shape: something must keep its place.
    pub unusable: HashMap<NodeId, Option<&'a Shape>>,
    /// Where the mistakes are: a value, a key, or an object that lacks a field.
    pub mistaken: Vec<NodeId>,
}

/// More mistakes than this in one document are not told: nobody reads them, and they must not fill the memory.
pub(crate) const MOST_MISTAKES: usize = 1000;

/// Every way in which `node` differs from `shape`.
pub(crate) fn walk<'a>(document: &'a Document, node: NodeId, shape: &'a Shape) -> Findings<'a> {
    let mut walker =
        Walker { document, path: String::new(), parents: Vec::new(), findings: Findings::default() };
    walker.value(None, node, shape);
    walker.findings
}

struct Walker<'a> {
    document: &'a Document,
    path: String,
    /// Objects around the value, outermost first, each with the length of its path.
    parents: Vec<(&'a ObjectShape, usize)>,
    findings: Findings<'a>,
}

impl<'a> Walker<'a> {
    fn value(&mut self, key: Option<NodeId>, node: NodeId, shape: &'a Shape) {
        let told = self.findings.diagnostics.len();
        self.compare(key, node, shape);
        let is_leaf = !matches!(self.document.kind(node), Kind::Mapping | Kind::Sequence);
        if self.findings.diagnostics.len() > told && (is_leaf || self.mismatched(node, shape)) {
            self.findings.unusable.insert(node, key.is_none().then_some(shape));
        }
    }

    /// Whether a list or an object stands where the other belongs, or a scalar.
    fn mismatched(&self, node: NodeId, shape: &Shape) -> bool {
        match self.document.kind(node) {
            Kind::Mapping => !matches!(shape, Shape::Object(_) | Shape::Map(_)),
            Kind::Sequence => !matches!(shape, Shape::List(_)),
            _ => false,
        }
    }

    fn compare(&mut self, key: Option<NodeId>, node: NodeId, shape: &'a Shape) {
        let kind = self.document.kind(node);
        match (shape, kind) {
            (Shape::Any, _) => {}
            (Shape::Object(object), Kind::Mapping) => self.object(key, node, object),
            (Shape::Map(values), Kind::Mapping) => self.map(node, values),
            (Shape::List(items), Kind::Sequence) => self.list(node, items),
            (Shape::Text, Kind::Text) | (Shape::Boolean, Kind::Boolean) => {}
            (Shape::Duration, Kind::Text) => self.duration(key, node),
            (Shape::Enum(values), Kind::Text) => self.one_of(key, node, values),
            (Shape::Integer(least, most), Kind::Integer) => self.integer(key, node, *least, *most),
            (Shape::Number(least, most), Kind::Integer | Kind::Float) => {
                self.number(key, node, *least, *most)
            }
            (Shape::IntegerOrText, Kind::Text) => {}
            (Shape::IntegerOrText, Kind::Integer) => self.integer(key, node, 1, 65535),
            _ => self.wrong_type(key, node, shape),
        }
    }

    fn object(&mut self, key: Option<NodeId>, node: NodeId, object: &'a ObjectShape) {
        let document = self.document;
        self.parents.push((object, self.path.len()));
        for (name, value) in document.entries(node) {
            let text = document.text(name);
            let known = object.aliases.get(text).map_or(text, String::as_str);
            match object.fields.get(known) {
                // In kinds of Kubernetes, null is an absent field.
                Some(_) if object.open && document.kind(value) == Kind::Null => {}
                Some(shape) => self.below(text, |walker| walker.value(Some(name), value, shape)),
                None if object.open => self.near_field(name, object),
                None => {
                    self.unknown_field(node, name, object);
                    self.findings.unusable.insert(value, None);
                }
            }
        }
        self.parents.pop();
        for missing in object.required.iter().filter(|name| document.value(node, name).is_none()) {
            let message = format!("{} lacks the field `{missing}`", self.here());
            self.report(codes::MISSING_FIELD, key, node, Part::Key, message, None);
        }
        for group in &object.exclusive {
            self.exclusive(node, group);
        }
    }

    fn map(&mut self, node: NodeId, values: &'a Shape) {
        let document = self.document;
        for (name, value) in document.entries(node) {
            self.below(document.text(name), |walker| walker.value(Some(name), value, values));
        }
    }

    fn list(&mut self, node: NodeId, items: &'a Shape) {
        for (index, item) in self.document.items(node).enumerate() {
            let length = self.path.len();
            // A `String` takes every write.
            let _ = write!(self.path, "[{index}]");
            self.value(None, item, items);
            self.path.truncate(length);
        }
    }

    fn below(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        visit(self);
        self.path.truncate(length);
    }

    fn exclusive(&mut self, node: NodeId, group: &[String]) {
        let document = self.document;
        let set: Vec<_> = document
            .entries(node)
            .filter(|(key, _)| group.iter().any(|name| name == document.text(*key)))
            .collect();
        let [(first, _), others @ ..] = set.as_slice() else { return };
        for (key, value) in others {
            let message = format!(
                "{} sets both `{}` and `{}`",
                self.here(),
                document.text(*first),
                document.text(*key)
            );
            let list: Vec<_> = group.iter().map(|name| format!("`{name}`")).collect();
            let help = format!("at most one of {} may be set", list.join(", "));
            self.report(codes::EXCLUSIVE_FIELDS, Some(*key), *value, Part::Key, message, Some(help));
        }
    }

    fn duration(&mut self, key: Option<NodeId>, node: NodeId) {
        if let Err(reason) = Duration::parse(self.document.text(node)) {
            let message = format!("{} expects a duration: {reason}", self.here());
            self.report(codes::BAD_DURATION, key, node, Part::Value, message, Some(DURATION_HELP.into()));
        }
    }

    fn one_of(&mut self, key: Option<NodeId>, node: NodeId, values: &[String]) {
        let text = self.document.text(node);
        if values.iter().any(|value| value == text) {
            return;
        }
        let message = format!("{} has no value `{}`", self.here(), shorten(text));
        let help = match nearest(text, values.iter().map(String::as_str)) {
            Some(value) => format!("did you mean `{value}`? Known values: {}", values.join(", ")),
            None => format!("known values: {}", values.join(", ")),
        };
        self.report(codes::UNKNOWN_VALUE, key, node, Part::Value, message, Some(help));
    }

    fn integer(&mut self, key: Option<NodeId>, node: NodeId, least: i128, most: i128) {
        let text = self.document.text(node);
        let number = scalar::integer(text).unwrap_or(i128::MAX);
        if !(least..=most).contains(&number) {
            let message = format!(
                "{} expects a whole number from {least} to {most}, found {}",
                self.here(),
                shorten(text)
            );
            self.report(codes::OUT_OF_RANGE, key, node, Part::Value, message, None);
        }
    }

    fn number(&mut self, key: Option<NodeId>, node: NodeId, least: f64, most: f64) {
        let text = self.document.text(node);
        let number = match self.document.kind(node) {
            Kind::Integer => scalar::integer(text).unwrap_or(i128::MAX) as f64,
            _ => scalar::float(text),
        };
        if !(least..=most).contains(&number) {
            let range = match (least == f64::MIN, most == f64::MAX) {
                (true, true) => "a finite number".to_owned(),
                (_, true) => format!("a number from {least}"),
                _ => format!("a number from {least} to {most}"),
            };
            let message = format!("{} expects {range}, found {}", self.here(), shorten(text));
            self.report(codes::OUT_OF_RANGE, key, node, Part::Value, message, None);
        }
    }

    fn wrong_type(&mut self, key: Option<NodeId>, node: NodeId, shape: &Shape) {
        let text = self.document.text(node);
        let kind = self.document.kind(node);
        let found = match kind {
            Kind::Null | Kind::Merge => "nothing".to_owned(),
            Kind::Boolean => format!("the boolean {text}"),
            Kind::Integer | Kind::Float => format!("the number {}", shorten(text)),
            Kind::Text => format!("the text `{}`", shorten(text)),
            Kind::Sequence => "a list".to_owned(),
            Kind::Mapping => "an object".to_owned(),
        };
        let help = match (shape, kind) {
            (Shape::Text | Shape::Enum(_), Kind::Boolean | Kind::Integer | Kind::Float) => {
                Some(format!("put it in quotes: \"{text}\""))
            }
            (Shape::Duration, Kind::Integer | Kind::Float) => {
                Some(format!("say the unit: {text}s, {text}ms"))
            }
            (Shape::Duration, _) => Some(DURATION_HELP.into()),
            (Shape::Integer(..) | Shape::Number(..), Kind::Text)
                if scalar::plain_kind(text) == Kind::Integer =>
            {
                Some(format!("leave out the quotes: {text}"))
            }
            (Shape::Boolean, Kind::Text) => Some("write true or false, without quotes".into()),
            (Shape::List(_), Kind::Null) => {
                Some("leave the field out, or check the indentation below it".into())
            }
            (Shape::List(_), _) => Some("put `- ` before it, or `[` and `]` around it".into()),
            (Shape::Object(_) | Shape::Map(_), Kind::Null) => {
                Some("check the indentation of what follows; write `{}` for an empty object".into())
            }
            (Shape::Object(_) | Shape::Map(_), Kind::Sequence) => Some("leave out the `- `".into()),
            (Shape::Object(object), _) => Some(format!("its fields are: {}", fields_of(object))),
            _ => None,
        };
        let message = format!("{} expects {}, found {found}", self.here(), expected(shape));
        self.report(codes::WRONG_TYPE, key, node, Part::Value, message, help);
    }

    fn unknown_field(&mut self, node: NodeId, key: NodeId, object: &'a ObjectShape) {
        if self.findings.diagnostics.len() >= MOST_MISTAKES {
            return;
        }
        let document = self.document;
        let text = document.text(key);
        let holds =
            |name: &str| object.fields.get(name)?.object().filter(|inner| has_field(inner, text)).map(|_| ());
        // Most likely it was meant for the field before it.
        let written = document.entries(node).map(|(name, _)| name).take_while(|name| *name != key);
        let before = written.map(|name| document.text(name)).filter(|name| holds(name).is_some()).last();
        let inside =
            before.or_else(|| object.fields.keys().map(String::as_str).find(|name| holds(name).is_some()));
        let around = self.parents[..self.parents.len() - 1].iter().rev().find(|(o, _)| has_field(o, text));
        let help = match (nearest(text, object.fields.keys().map(String::as_str)), inside, around) {
            (_, Some(field), _) => {
                format!("`{text}` is a field of `{field}`: write it below that, indented more")
            }
            (_, None, Some((_, length))) => {
                let path = if *length == 0 { "the manifest itself" } else { &self.path[..*length] };
                format!("`{text}` is a field of {path}: indent it less")
            }
            (Some(name), ..) => format!("did you mean `{name}`?"),
            _ => format!("known fields: {}", fields_of(object)),
        };
        let message = format!("unknown field `{}` in {}", shorten(text), self.here());
        self.report(codes::UNKNOWN_FIELD, Some(key), key, Part::Key, message, Some(help));
    }

    /// In kinds of Kubernetes other fields are tolerated; one that looks like a field that is read is told.
    fn near_field(&mut self, key: NodeId, object: &ObjectShape) {
        let text = self.document.text(key);
        if object.unread.iter().any(|name| name == text) {
            return;
        }
        let Some(name) = nearest(text, object.fields.keys().map(String::as_str)) else { return };
        let message = format!("unknown field `{}` in {}: it is passed over", shorten(text), self.here());
        let help = Some(format!("did you mean `{name}`?"));
        let span = self.document.span(key);
        self.tell(Severity::Warning, codes::UNKNOWN_FIELD, key, span, message, help);
    }

    /// The value's path for a message.
    fn here(&self) -> String {
        if self.path.is_empty() { "the manifest".into() } else { format!("`{}`", shorten_path(&self.path)) }
    }

    fn report(
        &mut self,
        code: Code,
        key: Option<NodeId>,
        node: NodeId,
        part: Part,
        message: String,
        help: Option<String>,
    ) {
        let span = self.document.entry_span(key, node, part);
        self.tell(Severity::Error, code, node, span, message, help);
    }

    fn tell(
        &mut self,
        severity: Severity,
        code: Code,
        node: NodeId,
        mut span: Span,
        message: String,
        help: Option<String>,
    ) {
        span.length = span.length.max(1);
        let (code, message, help) = match self.findings.diagnostics.len() {
            MOST_MISTAKES.. => return,
            count if count + 1 == MOST_MISTAKES => (
                codes::BUDGET,
                "too many mistakes in this document; the others are not shown".to_owned(),
                None,
            ),
            _ => (code, message, help),
        };
        let diagnostic = Diagnostic::new(severity, code, message).at(self.document.file().clone(), span);
        self.findings.diagnostics.push(diagnostic.maybe_help(help));
        self.findings.mistaken.push(node);
    }
}

const DURATION_HELP: &str = "a number with a unit (h, m, s, ms, us, ns): 5s, 1.5s, 100ms, 1h30m";

fn has_field(object: &ObjectShape, name: &str) -> bool {
    object.fields.contains_key(name) || object.aliases.contains_key(name)
}

fn fields_of(object: &ObjectShape) -> String {
    object.fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Any => "a value".into(),
        Shape::Object(_) => "an object".into(),
        Shape::Map(_) => "an object of names and values".into(),
        Shape::List(_) => "a list".into(),
        Shape::Text => "a text".into(),
        Shape::Duration => "a duration".into(),
        Shape::Enum(values) => format!("one of {}", values.join(", ")),
        Shape::Integer(..) => "a whole number".into(),
        Shape::Number(..) => "a number".into(),
        Shape::Boolean => "true or false".into(),
        Shape::IntegerOrText => "a number or a name".into(),
    }
}

/// The start of a long text.
fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn shorten_path(path: &str) -> String {
    path.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
