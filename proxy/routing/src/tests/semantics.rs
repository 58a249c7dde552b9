//! What each condition means, case by case, and how a host is chosen.

use super::{TestRequest, configuration, route, route_match, virtual_host};
use crate::{Compiled, Difference, RouteTable, Verdict};
use http::HeaderName;
use sidle_model::ir::{ClaimMatch, HeaderMatch, PathMatch, Pattern, QueryMatch, RouteMatch, StringMatch};
use std::convert::Infallible;

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact(value.into())
}

fn regex(value: &str) -> StringMatch {
    StringMatch::Regex(Pattern::new(value).unwrap())
}

fn header(name: &'static str, value: StringMatch, invert: bool) -> RouteMatch {
    let name = HeaderName::from_static(name);
    RouteMatch { headers: vec![HeaderMatch { name, value, invert }], ..route_match(PathMatch::Any) }
}

fn table(matches: RouteMatch) -> RouteTable<()> {
    let config = configuration(true, vec![virtual_host(&["*"], vec![route("only", matches)])]);
    RouteTable::build(&config, |_| Ok::<_, Infallible>(())).unwrap()
}

fn takes(matches: &RouteMatch, request: &TestRequest) -> bool {
    table(matches.clone()).select(request).is_some()
}

fn get(url: &str) -> TestRequest {
    TestRequest::new("GET", url)
}

#[test]
fn claims_are_texts_or_lists_of_them() {
    let claim = |path: &[&str], value: StringMatch, invert: bool| {
        let path = path.iter().map(|name| name.to_string()).collect();
        RouteMatch { claims: vec![ClaimMatch { path, value, invert }], ..route_match(PathMatch::Any) }
    };
    let mut request = get("http://h/");
    request.claims = serde_json::json!({
        "sub": "jason", "groups": ["dev", "ops", 7], "realm": {"role": "admin"}, "age": 7, "flag": true, "none": null,
    })
    .as_object()
    .unwrap()
    .clone();
    for (path, value, holds) in [
        (&["sub"][..], exact("jason"), true),
        (&["sub"], exact("jas"), false),
        (&["sub"], StringMatch::Prefix("jas".into()), true),
        (&["groups"], exact("ops"), true),
        (&["groups"], regex("d.*"), true),
        (&["groups"], exact("7"), false),
        (&["realm", "role"], exact("admin"), true),
        (&["realm"], StringMatch::Present, false),
        (&["Sub"], StringMatch::Present, false),
        (&["age"], exact("7"), false),
        (&["flag"], exact("true"), false),
        (&["none"], StringMatch::Present, false),
        (&["sub", "x"], StringMatch::Present, false),
        (&["groups"], StringMatch::Present, true),
    ] {
        assert_eq!(takes(&claim(path, value.clone(), false), &request), holds, "{path:?} {value:?}");
        assert_eq!(takes(&claim(path, value.clone(), true), &request), !holds, "without {path:?} {value:?}");
    }
    assert!(!takes(&claim(&["sub"], StringMatch::Present, false), &get("http://h/")));
    let table = table(claim(&["sub"], exact("anna"), false));
    let Verdict::Differs(difference) = &table.explain(&request).rules[0].verdict else {
        panic!("it matches")
    };
    let Difference { field, wanted, found } = difference;
    assert_eq!((&**field, &**wanted), ("headers[@request.auth.claims[sub]]", "exact \"anna\""));
    assert_eq!(found.as_deref(), Some("\"jason\""));
}

#[test]
fn each_value_of_a_repeated_header_counts() {
    let twice = get("http://h/").with("x-a", "1").with("x-a", "2");
    for value in ["1", "2"] {
        assert!(takes(&header("x-a", exact(value), false), &twice));
        assert!(!takes(&header("x-a", exact(value), true), &twice), "without: none may match");
    }
    assert!(!takes(&header("x-a", exact("1,2"), false), &twice));
    assert!(takes(&header("x-a", exact("1,2"), true), &twice));
    assert!(!takes(&header("x-a", regex("1,."), false), &twice));
}

#[test]
fn without_headers_takes_a_missing_header_for_an_empty_one() {
    let (missing, empty) = (get("http://h/"), get("http://h/").with("x-a", ""));
    for (value, when_missing, when_empty) in [
        (exact(""), false, false),
        (exact("1"), true, true),
        (regex(".*"), false, false),
        (StringMatch::Present, true, false),
    ] {
        assert_eq!(takes(&header("x-a", value.clone(), true), &missing), when_missing, "{value:?}");
        assert_eq!(takes(&header("x-a", value.clone(), true), &empty), when_empty, "{value:?}");
    }
    assert!(!takes(&header("x-a", exact(""), false), &missing), "a header that is asked for must be there");
    assert!(!takes(&header("x-a", regex(".*"), false), &missing));
}

#[test]
fn the_host_header_is_the_authority() {
    assert!(takes(&header("host", exact("h:80"), false), &get("http://h:80/")));
    assert!(!takes(&header("host", StringMatch::Present, true), &get("http://h/")));
}

#[test]
fn values_that_are_not_utf8_still_match_or_fail() {
    let mut request = get("http://h/");
    request.headers.insert("x-a", http::HeaderValue::from_bytes(b"admin\xff").unwrap());
    assert!(takes(&header("x-a", StringMatch::Prefix("admin".into()), false), &request));
    assert!(takes(&header("x-a", regex("admin(?-u:.)"), false), &request));
    assert!(!takes(&header("x-a", regex("admin"), false), &request));
    assert!(takes(&header("x-a", regex("admin.*"), false), &request), "one byte is no way around it");
    assert!(!takes(&header("x-a", regex("[a-z]*"), false), &request));
}

#[test]
fn query_parameters_count_once_and_raw() {
    let with = |value| RouteMatch {
        query: vec![QueryMatch { name: "q".into(), value }],
        ..route_match(PathMatch::Any)
    };
    for (query, value, wanted) in [
        ("q=1", exact("1"), true),
        ("a=0&q=1&q=2", exact("1"), true),
        ("a=0&q=1&q=2", exact("2"), false),
        ("q", exact(""), true),
        ("q=", StringMatch::Present, true),
        ("q=a=b", exact("a=b"), true),
        ("q=%31", exact("1"), false),
        ("Q=1", exact("1"), false),
        ("", StringMatch::Present, false),
    ] {
        assert_eq!(takes(&with(value), &get(&format!("http://h/?{query}"))), wanted, "{query}");
    }
    assert!(!takes(&with(StringMatch::Present), &get("http://h/")));
}

#[test]
fn ignoring_case_does_not_reach_regexes() {
    let path = |path| RouteMatch { ignore_case: true, ..route_match(path) };
    assert!(takes(&path(PathMatch::Prefix("/Api".into())), &get("http://h/aPI/x")));
    assert!(takes(&path(PathMatch::Exact("/Api".into())), &get("http://h/aPI")));
    assert!(!takes(&path(PathMatch::Regex(Pattern::new("/api").unwrap())), &get("http://h/API")));
}

#[test]
fn connect_takes_connect_and_nothing_else() {
    let tunnel = TestRequest::new("CONNECT", "http://h:443");
    assert!(takes(&route_match(PathMatch::Connect), &tunnel));
    assert!(!takes(&route_match(PathMatch::Any), &tunnel));
    assert!(!takes(&route_match(PathMatch::Prefix("".into())), &tunnel));
    assert!(!takes(&route_match(PathMatch::Connect), &get("http://h/")));
}

#[test]
fn one_host_is_chosen_and_no_other_is_asked() {
    let only_a = |name| vec![route(name, route_match(PathMatch::Exact("/a".into())))];
    let hosts = |ignore_port| {
        let hosts = vec![
            virtual_host(&["reviews.default", "*.io"], only_a("reviews.default")),
            virtual_host(&["web:8080"], only_a("web:8080")),
            virtual_host(&["*"], vec![route("*", route_match(PathMatch::Any))]),
        ];
        RouteTable::build(&configuration(ignore_port, hosts), |route| {
            Ok::<_, Infallible>(route.name.to_string())
        })
        .unwrap()
    };
    let chosen = |ignore_port, url: &str| {
        hosts(ignore_port).select(&get(url)).map(|route| route.action.clone()).unwrap_or("none".into())
    };
    assert_eq!(chosen(true, "http://Reviews.Default.:9080/a"), "reviews.default");
    assert_eq!(chosen(true, "http://x.y.io/a"), "reviews.default");
    assert_eq!(chosen(true, "http://reviews.default/b"), "none", "never the routes of a less specific host");
    assert_eq!(chosen(false, "http://reviews.default:9080/a"), "*");
    assert_eq!(chosen(false, "http://web:8080/a"), "web:8080");
    assert_eq!(chosen(false, "http://web/a"), "*");
    assert_eq!(chosen(true, "http:///a"), "*", "no authority");
}

#[test]
fn an_error_of_the_caller_stops_the_build() {
    let hosts = vec![virtual_host(&["*"], vec![route("any", route_match(PathMatch::Any))])];
    let table = RouteTable::<()>::build(&configuration(true, hosts), |route| Err(route.name.clone()));
    assert_eq!(&*table.unwrap_err(), "any");
}

fn difference(matches: RouteMatch, request: &TestRequest) -> Difference {
    let table = table(matches);
    let Verdict::Differs(difference) = table.explain(request).rules[0].verdict.clone() else { panic!() };
    difference
}

#[test]
fn explain_names_the_first_condition_that_does_not_hold() {
    let request = get("http://h/a?q=2").with("x-a", "1").with("x-a", "2");
    let any = || route_match(PathMatch::Any);
    for (matches, field, wanted, found) in [
        (route_match(PathMatch::Prefix("/b".into())), "uri", "prefix \"/b\"", Some("/a")),
        (RouteMatch { method: Some(exact("PUT").into()), ..any() }, "method", "exact \"PUT\"", Some("GET")),
        (
            RouteMatch { scheme: Some(exact("https").into()), ..any() },
            "scheme",
            "exact \"https\"",
            Some("http"),
        ),
        (RouteMatch { authority: Some(regex("x+").into()), ..any() }, "authority", "regex \"x+\"", Some("h")),
        (header("x-a", exact("3"), false), "headers[x-a]", "exact \"3\"", Some("1,2")),
        (header("x-b", StringMatch::Present, false), "headers[x-b]", "present", None),
        (header("x-a", StringMatch::Present, true), "withoutHeaders[x-a]", "not present", Some("1,2")),
        (route_match(PathMatch::Connect), "method", "exact \"CONNECT\"", Some("GET")),
        (
            RouteMatch { query: vec![QueryMatch { name: "q".into(), value: exact("1") }], ..any() },
            "queryParams[q]",
            "exact \"1\"",
            Some("2"),
        ),
    ] {
        let wanted = Difference { field: field.into(), wanted: wanted.into(), found: found.map(Into::into) };
        assert_eq!(difference(matches, &request), wanted);
    }
}

#[test]
fn explain_lists_the_hosts_that_were_considered() {
    let any = || vec![route("any", route_match(PathMatch::Any))];
    let hosts = vec![
        virtual_host(&["*"], any()),
        virtual_host(&["x", "*.io"], any()),
        virtual_host(&["a.io"], any()),
    ];
    let table = RouteTable::build(&configuration(true, hosts), |_| Ok::<_, Infallible>(())).unwrap();
    let explanation = table.explain(&get("http://A.io:80/"));
    assert_eq!(explanation.host, "a.io");
    let considered: Vec<_> = explanation.candidates.iter().map(|host| host.pattern.to_string()).collect();
    assert_eq!(considered, ["a.io", "*.io", "*"]);
    assert_eq!(&*explanation.candidates[0].virtual_host.name, "a.io");
    assert!(explanation.winner.is_some());
    assert_eq!(table.virtual_hosts().count(), 3);
    assert_eq!(table.routes().count(), 3);
}

#[test]
fn what_is_the_same_is_compiled_once() {
    let [a, b, c] = ["a", "b", "c"].map(|name| route(name, route_match(PathMatch::Any)));
    let kept = virtual_host(&["kept"], vec![a.clone(), b.clone()]);
    let first = configuration(true, vec![kept.clone(), virtual_host(&["changed"], vec![a.clone()])]);
    let second = configuration(true, vec![kept, virtual_host(&["changed"], vec![c, a])]);
    let made = std::cell::RefCell::new(Vec::new());
    let compile = |route: &std::sync::Arc<sidle_model::ir::Route>| {
        made.borrow_mut().push(route.name.to_string());
        Ok::<_, Infallible>(route.name.to_string())
    };
    let mut compiled = Compiled::default();
    let before = RouteTable::build_with(&mut compiled, &first, compile).unwrap();
    assert_eq!(made.take(), ["a", "b"], "one route in two hosts");

    let mut compiled = Compiled::default();
    compiled.keep(&before, |action| action != "b");
    let after = RouteTable::build_with(&mut compiled, &second, compile).unwrap();
    assert_eq!(made.take(), ["b", "c"], "what no longer holds, and what is new");
    let actions: Vec<_> = after.routes().map(|route| &*route.action).collect();
    assert_eq!(actions, ["a", "b", "c", "a"]);
}
