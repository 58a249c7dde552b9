//! Conditions on requests.

use crate::{
    authentication,
    value::{Object, regex, string_matcher},
};
use serde_json::{Value, json};
use sidle_model::ir::{ClaimMatch, HeaderMatch, PathMatch, QueryMatch, RouteMatch, StringMatch};

/// A `RouteMatch`.
pub(crate) fn route_match(matches: &RouteMatch) -> Value {
    let case_sensitive = || matches.ignore_case.then_some(false);
    let path = match &matches.path {
        // As Istio writes it. `OPTIONS *` has no such prefix; see the README.
        PathMatch::Any => Object::new().with("prefix", "/"),
        PathMatch::Exact(path) => {
            Object::new().with("path", &**path).with_some("case_sensitive", case_sensitive())
        }
        PathMatch::Prefix(prefix) => {
            Object::new().with("prefix", &**prefix).with_some("case_sensitive", case_sensitive())
        }
        PathMatch::Regex(pattern) => Object::new().with("safe_regex", regex(pattern.as_str())),
        PathMatch::Connect => Object::new().with("connect_matcher", json!({})),
    };
    let pseudo_headers =
        [(":scheme", &matches.scheme), (":method", &matches.method), (":authority", &matches.authority)];
    let mut headers: Vec<Value> = pseudo_headers
        .into_iter()
        .filter_map(|(name, value)| Some(header_matcher(name, value.as_ref()?).into()))
        .collect();
    headers.extend(matches.headers.iter().map(header));
    path.with_list("headers", headers)
        .with_list("query_parameters", matches.query.iter().map(query).collect())
        .with_list("dynamic_metadata", matches.claims.iter().map(claim).collect())
        .into()
}

fn header(matches: &HeaderMatch) -> Value {
    let matcher = header_matcher(matches.name.as_str(), &matches.value);
    if !matches.invert {
        return matcher.into();
    }
    matcher
        .with("invert_match", true)
        .with_true("treat_missing_header_as_empty", matches.value != StringMatch::Present)
        .into()
}

fn header_matcher(name: &str, value: &StringMatch) -> Object {
    present_or_string(name, value)
}

fn query(matches: &QueryMatch) -> Value {
    present_or_string(&matches.name, &matches.value).into()
}

/// As Istio writes it: a text, or one of a list of texts.
fn claim(matches: &ClaimMatch) -> Value {
    let text = match &matches.value {
        StringMatch::Present => json!({"safe_regex": {"regex": ".*"}}),
        value => string_matcher(value),
    };
    let text = json!({ "string_match": text });
    let path: Vec<_> = ["payload"].into_iter().chain(matches.path.iter().map(|name| &**name)).collect();
    Object::new()
        .with("filter", authentication::FILTER)
        .with("path", path.into_iter().map(|key| json!({ "key": key })).collect::<Vec<_>>())
        .with(
            "value",
            json!({"or_match": {"value_matchers": [text.clone(), {"list_match": {"one_of": text}}]}}),
        )
        .with_true("invert", matches.invert)
        .into()
}

/// What header and query parameter matchers have in common.
fn present_or_string(name: &str, value: &StringMatch) -> Object {
    let matcher = Object::new().with("name", name);
    match value {
        StringMatch::Present => matcher.with("present_match", true),
        value => matcher.with("string_match", string_matcher(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use sidle_model::ir::Pattern;

    fn any() -> RouteMatch {
        RouteMatch {
            path: PathMatch::Any,
            ignore_case: false,
            scheme: None,
            method: None,
            authority: None,
            headers: Vec::new(),
            query: Vec::new(),
            claims: Vec::new(),
        }
    }

    #[test]
    fn paths() {
        let path = |path, ignore_case| route_match(&RouteMatch { path, ignore_case, ..any() });
        assert_eq!(path(PathMatch::Any, true), json!({"prefix": "/"}));
        assert_eq!(path(PathMatch::Exact("/a".into()), true), json!({"path": "/a", "case_sensitive": false}));
        assert_eq!(path(PathMatch::Prefix("/a".into()), false), json!({"prefix": "/a"}));
        let pattern = Pattern::new("/a.*").unwrap();
        assert_eq!(path(PathMatch::Regex(pattern), true), json!({"safe_regex": {"regex": "/a.*"}}));
        assert_eq!(path(PathMatch::Connect, false), json!({"connect_matcher": {}}));
    }

    #[test]
    fn pseudo_headers_are_headers() {
        let exact = |text: &str| Some(Box::new(StringMatch::Exact(text.into())));
        let given = RouteMatch {
            scheme: exact("https"),
            method: exact("GET"),
            authority: Some(Box::new(StringMatch::Prefix("a.".into()))),
            ..any()
        };
        assert_eq!(
            route_match(&given)["headers"],
            json!([
                {"name": ":scheme", "string_match": {"exact": "https"}},
                {"name": ":method", "string_match": {"exact": "GET"}},
                {"name": ":authority", "string_match": {"prefix": "a."}},
            ])
        );
    }

    #[test]
    fn an_inverted_match_counts_a_missing_header_as_empty() {
        let header = |value, invert| {
            super::header(&HeaderMatch { name: HeaderName::from_static("x-a"), value, invert })
        };
        assert_eq!(header(StringMatch::Present, false), json!({"name": "x-a", "present_match": true}));
        assert_eq!(
            header(StringMatch::Present, true),
            json!({"name": "x-a", "present_match": true, "invert_match": true})
        );
        assert_eq!(
            header(StringMatch::Exact("1".into()), true),
            json!({
                "name": "x-a",
                "string_match": {"exact": "1"},
                "invert_match": true,
                "treat_missing_header_as_empty": true,
            })
        );
    }

    #[test]
    fn query_parameters() {
        let given =
            RouteMatch { query: vec![QueryMatch { name: "v".into(), value: StringMatch::Present }], ..any() };
        assert_eq!(route_match(&given)["query_parameters"], json!([{"name": "v", "present_match": true}]));
    }
}
