//! A document as it can be changed and written again: scalars as they were written, keys in their order.

use sidle_model::{
    Span,
    yaml::{Document, Kind, NodeId},
};

/// A value, with its place if it was read.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is.
    pub data: Data,
    /// Where it was written.
    pub at: Option<Span>,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Data {
    /// Anything but a list and an object.
    Scalar {
        /// As written but for quotes and escapes.
        text: String,
        /// What it is.
        kind: Kind,
        /// Whether it had no quotes; such a text means to others what it means as it stands, and is written as it stands.
        plain: bool,
    },
    /// A list.
    List(Vec<Value>),
    /// An object.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value at `node`, aliases and merges resolved.
    pub fn read(document: &Document, node: NodeId) -> Value {
        let data = match document.kind(node) {
            Kind::Sequence => {
                Data::List(document.items(node).map(|item| Value::read(document, item)).collect())
            }
            Kind::Mapping => {
                let entry = |(key, value)| (document.text(key).to_owned(), Value::read(document, value));
                Data::Map(document.entries(node).map(entry).collect())
            }
            kind => {
                Data::Scalar { text: document.text(node).to_owned(), kind, plain: document.is_plain(node) }
            }
        };
        Value { data, at: Some(document.span(node)) }
    }

    /// The value of an object's entry, unless it is null, which is as good as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Data::Map(entries) = &self.data else { return None };
        entries.iter().find(|(name, value)| name == key && !value.is_null()).map(|(_, value)| value)
    }

    /// The value of an object's entry, which is made where it is missing: `empty`, before the entry `before` or at the end. `None` of what is no
    /// object.
    pub fn entry(&mut self, key: &str, before: &str, empty: Value) -> Option<&mut Value> {
        let Data::Map(entries) = &mut self.data else { return None };
        let at = match entries.iter().position(|(name, _)| name == key) {
            Some(at) => at,
            None => {
                let at = entries.iter().position(|(name, _)| name == before).unwrap_or(entries.len());
                entries.insert(at, (key.to_owned(), empty.clone()));
                at
            }
        };
        let value = &mut entries[at].1;
        if value.is_null() {
            value.data = empty.data;
        }
        Some(value)
    }

    /// The value behind a path of keys.
    pub fn at_path(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, key| {
            let Data::Map(entries) = &mut value.data else { return None };
            entries.iter_mut().find(|(name, value)| name == key && !value.is_null()).map(|(_, value)| value)
        })
    }

    /// The items of a list; nothing of anything else.
    pub fn items(&self) -> &[Value] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of an object; nothing of anything else.
    pub fn entries(&self) -> &[(String, Value)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a text.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, kind: Kind::Text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text of any scalar, as written.
    pub fn scalar(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self.data, Data::Scalar { kind: Kind::Null, .. })
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Value { data, at: None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Data::Scalar { text: text.to_owned(), kind: Kind::Text, plain: false }.into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Data::Scalar { text: number.to_string(), kind: Kind::Integer, plain: true }.into()
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Data::Scalar { text: value.to_string(), kind: Kind::Boolean, plain: true }.into()
    }
}

/// A list.
pub fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
    Data::List(items.into_iter().map(Into::into).collect()).into()
}

/// An object.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Data::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).into()
}
