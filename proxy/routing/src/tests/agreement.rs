//! `select` and `explain` agree with a scan that knows nothing of indexes and compiled matchers.

use super::{TestRequest, configuration, route, virtual_host};
use crate::{RouteTable, Verdict};
use http::HeaderName;
use proptest::{collection::vec, option, prelude::*, sample::select};
use sidle_model::ir::{HeaderMatch, PathMatch, Pattern, QueryMatch, RouteMatch, StringMatch};
use std::convert::Infallible;

/// The reference: each condition as its documentation says, straight from the IR.
fn matches(wanted: &RouteMatch, request: &TestRequest) -> bool {
    let tunnel = request.method == "CONNECT";
    let fold = |text: &str| if wanted.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let path = match &wanted.path {
        PathMatch::Connect => tunnel,
        _ if tunnel => false,
        PathMatch::Any => true,
        PathMatch::Exact(path) => fold(path) == fold(&request.path),
        PathMatch::Prefix(prefix) => fold(&request.path).starts_with(&fold(prefix)),
        PathMatch::Regex(pattern) => whole(pattern, &request.path),
    };
    let holds =
        |wanted: &Option<Box<StringMatch>>, value: &str| wanted.as_deref().is_none_or(|m| string(m, value));
    path && holds(&wanted.method, &request.method)
        && holds(&wanted.scheme, &request.scheme)
        && holds(&wanted.authority, &request.authority)
        && wanted.headers.iter().all(|wanted| header(wanted, request))
        && wanted.query.iter().all(|wanted| query(wanted, request))
}

fn whole(pattern: &Pattern, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{})$", pattern.as_str())).unwrap().is_match(text)
}

fn string(wanted: &StringMatch, value: &str) -> bool {
    match wanted {
        StringMatch::Exact(wanted) => value == &**wanted,
        StringMatch::Prefix(wanted) => value.starts_with(&**wanted),
        StringMatch::Regex(pattern) => whole(pattern, value),
        StringMatch::Present => true,
    }
}

fn header(wanted: &HeaderMatch, request: &TestRequest) -> bool {
    let lines: Vec<_> =
        request.headers.get_all(&wanted.name).iter().map(|line| line.to_str().unwrap()).collect();
    let any = lines.iter().any(|line| string(&wanted.value, line));
    match (wanted.invert, lines.is_empty(), &wanted.value) {
        (false, ..) => any,
        (true, missing, StringMatch::Present) => missing,
        (true, true, value) => !string(value, ""),
        (true, false, _) => !any,
    }
}

fn query(wanted: &QueryMatch, request: &TestRequest) -> bool {
    let Some(query) = &request.query else { return false };
    let parameters = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
    let mut values = parameters.filter(|(name, _)| *name == &*wanted.name).map(|(_, value)| value);
    values.next().is_some_and(|value| string(&wanted.value, value))
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

const REGEXES: [&str; 12] = [
    "/a.*",
    "/(a|b)/?",
    "(?i)/A(/b)?",
    "^/a/b$",
    ".*",
    "[^/]*/b",
    "/a?b",
    "/a|/b.*",
    "/[ab]+(/a)?",
    "",
    "/(aa|ab|b)/.+",
    "(/a){1,2}",
];

fn paths() -> impl Strategy<Value = String> {
    "(/[abA]{0,2}){1,4}"
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => Just(PathMatch::Any),
        4 => paths().prop_map(|path| PathMatch::Exact(path.into())),
        6 => paths().prop_map(|path| PathMatch::Prefix(path.into())),
        3 => select(&REGEXES[..]).prop_map(|text| PathMatch::Regex(pattern(text))),
        1 => Just(PathMatch::Connect),
    ]
}

fn string_match(values: &'static [&'static str]) -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        select(values).prop_map(|value| StringMatch::Exact(value.into())),
        select(values).prop_map(|value| StringMatch::Prefix(value.into())),
        select(&["a.*", "b?", ".+", "", "[ab](,[ab])*"][..])
            .prop_map(|text| StringMatch::Regex(pattern(text))),
        Just(StringMatch::Present),
    ]
}

const VALUES: [&str; 5] = ["", "a", "b", "ab", "a,b"];
const METHODS: [&str; 3] = ["GET", "POST", "CONNECT"];

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    (select(&["x-a", "x-b"][..]), string_match(&VALUES), any::<bool>())
        .prop_map(|(name, value, invert)| HeaderMatch { name: HeaderName::from_static(name), value, invert })
}

prop_compose! {
    fn route_matches()(
        path in path_match(),
        ignore_case: bool,
        method in option::weighted(0.2, string_match(&METHODS)),
        scheme in option::weighted(0.1, string_match(&["http", "https"])),
        authority in option::weighted(0.1, string_match(&["h.io", "h.io:80", "H.io"])),
        headers in vec(header_match(), 0..=1),
        query in vec((select(&["q", "r"][..]), string_match(&VALUES)), 0..=1),
    ) -> RouteMatch {
        let query = query.into_iter().map(|(name, value)| QueryMatch { name: name.into(), value }).collect();
        let [scheme, method, authority] = [scheme, method, authority].map(|one| one.map(Box::new));
        RouteMatch { path, ignore_case, scheme, method, authority, headers, query, claims: Vec::new() }
    }
}

prop_compose! {
    fn requests()(
        method in prop_oneof![8 => Just("GET"), 2 => Just("POST"), 1 => Just("CONNECT")],
        scheme in select(&["http", "https"][..]),
        authority in select(&["h.io", "h.io:80", "H.io", "h.io."][..]),
        path in paths(),
        query in option::of("[qr](=[ab]{0,2})?(&[qr]?(=[ab])?){0,2}"),
        headers in vec((select(&["x-a", "x-b"][..]), select(&VALUES[..])), 0..4),
    ) -> TestRequest {
        let path = if method == "CONNECT" { String::new() } else { path };
        let request = TestRequest::new(method, &format!("{scheme}://{authority}{path}"));
        let request = TestRequest { query, ..request };
        headers.iter().fold(request, |request, (name, value)| request.with(name, value))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_first_match_wins_with_and_without_an_index(
        rules in vec(route_matches(), 0..40),
        requests in vec(requests(), 1..8),
    ) {
        let routes: Vec<_> =
            (0..).zip(&rules).map(|(at, rule)| route(&format!("{at}"), rule.clone())).collect();
        let config = configuration(true, vec![virtual_host(&["h.io"], routes)]);
        let mut compiled = 0..;
        let table = RouteTable::build(&config, |_| Ok::<_, Infallible>(compiled.next())).unwrap();
        for request in &requests {
            let wanted = rules.iter().position(|rule| matches(rule, request));
            let selected = table.select(request).map(|route| route.action.unwrap());
            prop_assert_eq!(selected, wanted, "{:?}", request);

            let explanation = table.explain(request);
            prop_assert_eq!(explanation.winner.map(|route| route.action.unwrap()), wanted);
            for (at, rule) in explanation.rules.iter().enumerate() {
                let expected = match wanted {
                    Some(winner) if at == winner => matches!(rule.verdict, Verdict::Wins),
                    Some(winner) if at > winner => matches!(rule.verdict, Verdict::NotReached),
                    _ => matches!(rule.verdict, Verdict::Differs(_)),
                };
                prop_assert!(expected, "rule {} of {:?}: {:?}", at, wanted, rule.verdict);
            }
        }
    }
}
