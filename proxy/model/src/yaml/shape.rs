//! What a value must look like, compiled from the JSON Schema of its type.
//!
//! In:  a type that derives `JsonSchema`.   Out: a [`Shape`] for `walk`.
//! Three extensions stand in the schemas: `x-oneof`, groups of fields of which at most one may be set, `x-aliases`, other
//! names of a field, and `x-unread`, fields that are not read although their names are near to those that are.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a value must look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Anything.
    Any,
    /// Known fields.
    Object(ObjectShape),
    /// Any keys, like values.
    Map(Box<Shape>),
    /// Like items.
    List(Box<Shape>),
    /// Text.
    Text,
    /// Text that is a duration.
    Duration,
    /// One of these texts.
    Enum(Vec<String>),
    /// A whole number in this range.
    Integer(i128, i128),
    /// A number in this range.
    Number(f64, f64),
    /// `true` or `false`.
    Boolean,
    /// A port by number or name.
    IntegerOrText,
}

/// An object with known fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ObjectShape {
    /// By name.
    pub fields: BTreeMap<String, Shape>,
    /// Other name to name.
    pub aliases: BTreeMap<String, String>,
    /// That must be there.
    pub required: Vec<String>,
    /// Groups of which at most one may be there.
    pub exclusive: Vec<Vec<String>>,
    /// Whether other fields are tolerated.
    pub open: bool,
    /// Other fields that are no typing errors.
    pub unread: Vec<String>,
}

impl Shape {
    /// The shape of `T`.
    pub(crate) fn of<T: JsonSchema>() -> Shape {
        let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<T>();
        compile(schema.as_value())
    }

    /// The object that stands here, through lists and maps.
    pub(crate) fn object(&self) -> Option<&ObjectShape> {
        match self {
            Shape::Object(object) => Some(object),
            Shape::List(item) | Shape::Map(item) => item.object(),
            _ => None,
        }
    }
}

fn compile(schema: &Value) -> Shape {
    let Value::Object(schema) = schema else { return Shape::Any };
    if let Some(variants) = alternatives(schema) {
        return compile_alternatives(&variants);
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return Shape::Enum(values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect());
    }
    if let Some(Value::String(value)) = schema.get("const") {
        return Shape::Enum(vec![value.clone()]);
    }
    match type_of(schema) {
        Some("object") => compile_object(schema),
        Some("array") => Shape::List(Box::new(schema.get("items").map_or(Shape::Any, compile))),
        Some("string") if schema.get("format").is_some_and(|format| format == "duration") => Shape::Duration,
        Some("string") => Shape::Text,
        Some("integer") => {
            let (least, most) = range_of_format(schema);
            Shape::Integer(
                bound(schema, "minimum").unwrap_or(least),
                bound(schema, "maximum").unwrap_or(most),
            )
        }
        Some("number") => {
            let bound = |name| schema.get(name).and_then(Value::as_f64);
            Shape::Number(bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX))
        }
        Some("boolean") => Shape::Boolean,
        _ => Shape::Any,
    }
}

/// The members of `oneOf` or `anyOf`, without `null`: an absent field is no value.
fn alternatives(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    let members = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(members.iter().filter(|member| member.get("type").is_none_or(|kind| kind != "null")).collect())
}

fn compile_alternatives(members: &[&Value]) -> Shape {
    if let [only] = members {
        return compile(only);
    }
    let shapes: Vec<Shape> = members.iter().map(|member| compile(member)).collect();
    let mut values = Vec::new();
    for shape in &shapes {
        match shape {
            Shape::Enum(more) => values.extend(more.iter().cloned()),
            _ if shapes.contains(&Shape::Text) && shapes.iter().any(|s| matches!(s, Shape::Integer(..))) => {
                return Shape::IntegerOrText;
            }
            _ => return Shape::Any,
        }
    }
    Shape::Enum(values)
}

/// The type, `null` left out.
fn type_of(schema: &Map<String, Value>) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn compile_object(schema: &Map<String, Value>) -> Shape {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => Shape::Object(ObjectShape::default()),
            Some(values) => Shape::Map(Box::new(compile(values))),
            None => Shape::Any,
        };
    };
    let mut object = ObjectShape {
        required: texts(schema.get("required")),
        unread: texts(schema.get("x-unread")),
        exclusive: schema
            .get("x-oneof")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |groups| groups.iter().map(|group| texts(Some(group))).collect()),
        open: schema.get("additionalProperties") != Some(&Value::Bool(false)),
        ..ObjectShape::default()
    };
    for (name, field) in properties {
        for alias in texts(field.get("x-aliases")) {
            object.aliases.insert(alias, name.clone());
        }
        object.fields.insert(name.clone(), compile(field));
    }
    Shape::Object(object)
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn bound(schema: &Map<String, Value>, name: &str) -> Option<i128> {
    let value = schema.get(name)?;
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
        .or_else(|| value.as_f64().map(|v| v as i128))
}

fn range_of_format(schema: &Map<String, Value>) -> (i128, i128) {
    match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{istio, kubernetes};

    fn field<'a>(shape: &'a Shape, path: &[&str]) -> &'a Shape {
        path.iter().fold(shape, |shape, name| &shape.object().unwrap().fields[*name])
    }

    #[test]
    fn virtual_service() {
        let shape = Shape::of::<istio::VirtualService>();
        let http = shape.object().unwrap().fields["http"].object().unwrap();
        assert!(!http.open);
        assert_eq!(http.aliases["mirror_percent"], "mirrorPercent");
        assert_eq!(*field(&shape, &["http", "timeout"]), Shape::Duration);
        assert_eq!(*field(&shape, &["http", "match", "port"]), Shape::Integer(1, 65535));
        assert_eq!(*field(&shape, &["http", "route", "weight"]), Shape::Integer(0, 2147483647));
        assert_eq!(*field(&shape, &["http", "mirrorPercentage", "value"]), Shape::Number(0.0, 100.0));
        assert_eq!(field(&shape, &["http", "route"]).object().unwrap().required, ["destination"]);
        assert!(matches!(field(&shape, &["http", "match", "headers"]), Shape::Map(_)));
        assert_eq!(
            field(&shape, &["http", "match", "uri"]).object().unwrap().exclusive,
            [["exact", "prefix", "regex"]]
        );
        let Shape::Enum(values) = field(&shape, &["http", "redirect", "derivePort"]) else { panic!() };
        assert_eq!(*values, ["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]);
    }

    #[test]
    fn numbers_in_lists_and_maps_have_ranges() {
        let rule = Shape::of::<istio::DestinationRule>();
        let codes = field(&rule, &["trafficPolicy", "outlierDetection", "outlierDetectionHttpErrorCodes"]);
        assert_eq!(*codes, Shape::List(Box::new(Shape::Integer(100, 599))));
        let entry = Shape::of::<istio::WorkloadEntry>();
        assert_eq!(*field(&entry, &["ports"]), Shape::Map(Box::new(Shape::Integer(0, 65535))));
    }

    #[test]
    fn kubernetes_is_open() {
        let shape = Shape::of::<kubernetes::Service>();
        assert!(shape.object().unwrap().open);
        assert_eq!(*field(&shape, &["ports", "targetPort"]), Shape::IntegerOrText);
    }
}
