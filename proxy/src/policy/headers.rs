//! Header operations: remove, then set, then add.

use crate::{codec::hop_by_hop, exchange::Moment};
use http::{HeaderName, HeaderValue};
use sidle_fields::Fields;
use sidle_model::ir::{HeaderFormat, HeaderOperations, Piece};
use sidle_telemetry::log::write_header_value;

/// Compiled [`HeaderOperations`]: values without operators are ready. `None`: there is nothing to do, as on most routes.
#[derive(Default)]
pub struct HeaderRules(Option<Box<Rules>>);

struct Rules {
    set: Box<[(HeaderName, Value)]>,
    add: Box<[(HeaderName, Value)]>,
    remove: Box<[HeaderName]>,
}

enum Value {
    Ready(HeaderValue),
    Formatted(HeaderFormat),
}

/// Values of a request or response, worked out while its head may still be read.
pub struct Changes<'a> {
    rules: Option<&'a Rules>,
    values: smallvec::SmallVec<[Option<HeaderValue>; 4]>,
}

impl HeaderRules {
    /// Compiles. Fields that frame messages are the codecs' alone: operations on them are left out.
    pub fn build(operations: &HeaderOperations) -> Self {
        let compile = |list: &[(HeaderName, HeaderFormat)]| {
            let allowed = list.iter().filter(|(name, _)| !hop_by_hop::is_framing(name));
            allowed.map(|(name, format)| (name.clone(), Value::build(format))).collect()
        };
        let rules = Rules {
            set: compile(&operations.set),
            add: compile(&operations.add),
            remove: operations.remove.iter().filter(|name| !hop_by_hop::is_framing(name)).cloned().collect(),
        };
        let is_any = !(rules.set.is_empty() && rules.add.is_empty() && rules.remove.is_empty());
        HeaderRules(is_any.then(|| Box::new(rules)))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Works the values out.
    pub fn evaluate(&self, moment: &Moment<'_>) -> Changes<'_> {
        let rules = self.0.as_deref();
        let given = rules.into_iter().flat_map(|rules| rules.set.iter().chain(&rules.add));
        let values = given.map(|(_, value)| value.evaluate(moment)).collect();
        Changes { rules, values }
    }
}

impl Changes<'_> {
    /// Makes the changes. An operator without a value sets nothing, as in Envoy.
    pub fn apply(self, headers: &mut Fields) {
        let Some(rules) = self.rules else { return };
        for name in &rules.remove {
            headers.remove(name);
        }
        let mut values = self.values.into_iter();
        for ((name, _), value) in rules.set.iter().zip(&mut values) {
            if let Some(value) = value {
                headers.insert(name.clone(), value);
            }
        }
        for ((name, _), value) in rules.add.iter().zip(values) {
            if let Some(value) = value {
                headers.append(name.clone(), value);
            }
        }
    }
}

impl Value {
    fn build(format: &HeaderFormat) -> Self {
        let ready = match format.0.pieces() {
            [] => Some(HeaderValue::from_static("")),
            [Piece::Literal(text)] => HeaderValue::from_str(text).ok(),
            _ => None,
        };
        ready.map_or_else(|| Value::Formatted(format.clone()), Value::Ready)
    }

    fn evaluate(&self, moment: &Moment<'_>) -> Option<HeaderValue> {
        match self {
            Value::Ready(value) => Some(value.clone()),
            Value::Formatted(format) => {
                let mut value = Vec::new();
                write_header_value(format, moment, &mut value);
                HeaderValue::from_bytes(&value).ok().filter(|value| !value.is_empty())
            }
        }
    }
}
