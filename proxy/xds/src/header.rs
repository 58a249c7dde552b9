//! Header operations: what is set overwrites, what is added is appended, what is removed goes first.
//!
//! Envoy runs those of a destination before those of its route, and so does the IR.

use crate::{format, value::Object};
use serde_json::{Value, json};
use sidle_model::ir::{HeaderFormat, HeaderOperations};

/// `request_headers_to_add` and `…_to_remove`, or the same for responses: `direction` is `request` or `response`.
pub(crate) fn operations(direction: &str, operations: &HeaderOperations) -> Object {
    let set =
        operations.set.iter().map(|(name, value)| option(name.as_str(), value, "OVERWRITE_IF_EXISTS_OR_ADD"));
    let add =
        operations.add.iter().map(|(name, value)| option(name.as_str(), value, "APPEND_IF_EXISTS_OR_ADD"));
    Object::new().with_list(&format!("{direction}_headers_to_add"), set.chain(add).collect()).with_list(
        &format!("{direction}_headers_to_remove"),
        operations.remove.iter().map(|name| name.as_str().into()).collect(),
    )
}

fn option(name: &str, value: &HeaderFormat, action: &str) -> Value {
    json!({"header": {"key": name, "value": format::text(&value.0)}, "append_action": action})
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use sidle_model::ir::Format;

    fn pairs(given: &[(&'static str, &str)]) -> Vec<(HeaderName, HeaderFormat)> {
        given.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderFormat(Format::literal(v)))).collect()
    }

    #[test]
    fn set_comes_before_add_and_percent_signs_are_escaped() {
        let given = HeaderOperations {
            set: pairs(&[("a", "100%")]),
            add: pairs(&[("b", "2")]),
            remove: vec![HeaderName::from_static("c")],
        };
        assert_eq!(
            Value::from(operations("request", &given)),
            json!({
                "request_headers_to_add": [
                    {"header": {"key": "a", "value": "100%%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
                    {"header": {"key": "b", "value": "2"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
                ],
                "request_headers_to_remove": ["c"],
            })
        );
        assert!(operations("response", &HeaderOperations::default()).is_empty());
    }
}
