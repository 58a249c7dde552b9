//! Header operations.
//!
//! Envoy runs a destination's operations before its route's, for requests and responses alike. The IR runs a request
//! through the route's first, so a destination can take back what its route set: [`compose`] writes both as one list.

use crate::{format, value::Object};
use serde_json::{Value, json};
use sidle_model::ir::{HeaderFormat, HeaderOperations};
use std::borrow::Cow;

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

/// One set of operations that does what `first` and then `second` do.
///
/// Envoy removes, then sets and adds in the order written. So what `second` removes or sets must not be set or added by
/// `first` at all; the rest can stand one after the other.
pub(crate) fn compose<'a>(
    first: &'a HeaderOperations,
    second: &'a HeaderOperations,
) -> Cow<'a, HeaderOperations> {
    if second.is_empty() {
        return Cow::Borrowed(first);
    }
    if first.is_empty() {
        return Cow::Borrowed(second);
    }
    let undone = |name: &_| second.remove.contains(name) || second.set.iter().any(|(set, _)| set == name);
    let kept = |operations: &[(_, HeaderFormat)]| -> Vec<_> {
        operations.iter().filter(|(name, _)| !undone(name)).cloned().collect()
    };
    let mut both =
        HeaderOperations { set: kept(&first.set), add: kept(&first.add), remove: first.remove.clone() };
    both.set.extend(second.set.iter().cloned());
    both.add.extend(second.add.iter().cloned());
    both.remove.extend(second.remove.iter().filter(|name| !first.remove.contains(name)).cloned());
    Cow::Owned(both)
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

    #[test]
    fn the_second_takes_back_what_the_first_did() {
        let first =
            HeaderOperations { set: pairs(&[("a", "1"), ("b", "1"), ("c", "1")]), ..Default::default() };
        let second = HeaderOperations {
            set: pairs(&[("a", "2")]),
            add: pairs(&[("c", "2")]),
            remove: vec![HeaderName::from_static("b")],
        };
        let both = compose(&first, &second);
        assert_eq!(both.set, pairs(&[("c", "1"), ("a", "2")]));
        assert_eq!(both.add, pairs(&[("c", "2")]));
        assert_eq!(both.remove, second.remove);
    }
}
