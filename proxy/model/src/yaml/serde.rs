//! Typed values of a tree. This is the only file that names serde_yaml, which is no longer maintained: the parser beside it
//! gives positions, and to replace serde_yaml is to change the functions below.

use super::{Document, Kind, NodeId, scalar, shape::Shape};
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Number, Value};
use std::collections::HashMap;

/// The value at `node` as a `T`, without the parts that [`super::walk`] found unusable.
///
/// # Errors
/// The text of serde's error, without a position; the walk has told all mistakes with theirs before.
pub(crate) fn from_node<T: DeserializeOwned>(
    document: &Document,
    node: NodeId,
    unusable: &HashMap<NodeId, Option<&Shape>>,
) -> Result<T, String> {
    let value = Converter { document, unusable }.value(node);
    serde_yaml::from_value(value).map_err(|error| error.to_string())
}

struct Converter<'a> {
    document: &'a Document,
    unusable: &'a HashMap<NodeId, Option<&'a Shape>>,
}

impl Converter<'_> {
    fn value(&self, node: NodeId) -> Value {
        let text = || self.document.text(node);
        match self.document.kind(node) {
            Kind::Null | Kind::Merge => Value::Null,
            Kind::Boolean => Value::Bool(scalar::boolean(text())),
            Kind::Integer => integer(text()),
            Kind::Float => Value::Number(Number::from(scalar::float(text()))),
            Kind::Text => Value::String(text().to_owned()),
            Kind::Sequence => {
                Value::Sequence(self.document.items(node).map(|item| self.item(item)).collect())
            }
            Kind::Mapping => Value::Mapping(self.mapping(node)),
        }
    }

    fn item(&self, node: NodeId) -> Value {
        match self.unusable.get(&node) {
            Some(shape) => shape.map_or(Value::Null, stand_in),
            None => self.value(node),
        }
    }

    /// A null is an absent field, as the API server has it.
    fn mapping(&self, node: NodeId) -> Mapping {
        let usable = |value| self.document.kind(value) != Kind::Null && !self.unusable.contains_key(&value);
        let present = self.document.entries(node).filter(|(_, value)| usable(*value));
        present
            .map(|(key, value)| (Value::String(self.document.text(key).to_owned()), self.value(value)))
            .collect()
    }
}

/// What keeps the place of an unusable item of a list.
fn stand_in(shape: &Shape) -> Value {
    match shape {
        Shape::Any => Value::Null,
        Shape::Object(_) | Shape::Map(_) => Value::Mapping(Mapping::new()),
        Shape::List(_) => Value::Sequence(Vec::new()),
        Shape::Text | Shape::IntegerOrText => Value::String(String::new()),
        Shape::Duration => Value::String("0".into()),
        Shape::Enum(values) => Value::String(values.first().cloned().unwrap_or_default()),
        Shape::Integer(least, _) => integer(&least.to_string()),
        Shape::Number(least, _) => Value::Number(Number::from(*least)),
        Shape::Boolean => Value::Bool(false),
    }
}

fn integer(text: &str) -> Value {
    let number = scalar::integer(text).unwrap_or(i128::MAX);
    match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => Value::Number(number.into()),
        (_, Ok(number)) => Value::Number(number.into()),
        _ => Value::Number(Number::from(number as f64)),
    }
}
