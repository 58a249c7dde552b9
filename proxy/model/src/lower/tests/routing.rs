//! R1, R2, R3, R4, R8, R9, R18, R19: which rules hold, and what they become.

use super::{super::matches, *};

fn reviews() -> String {
    service("default", "reviews", &[("http", 9080)])
}

fn rules(name: &str, spec: &str) -> String {
    istio("VirtualService", "default", name, spec)
}

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

#[test]
fn r1_every_match_is_a_route_in_order_and_nothing_follows_everything() {
    let yaml = reviews()
        + &rules(
            "reviews",
            "
  hosts: [reviews]
  http:
  - match:
    - {uri: {exact: /a}, method: {exact: GET}}
    - {uri: {prefix: /b}, ignoreUriCase: true, headers: {X-User: {regex: 'j.*'}, x-any: {}}}
    - {uri: {regex: '/c.*'}, withoutHeaders: {x-no: {exact: ''}}, queryParams: {q: {prefix: p}}}
    - {scheme: {exact: https}, authority: {exact: 'a:80'}}
    directResponse: {status: 418, body: {string: tea}}
  - match: [{uri: {prefix: /d}}]
    redirect: {uri: /e, authority: x.com, derivePort: FROM_REQUEST_PORT}
  - route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /late}}]
    route: [{destination: {host: reviews}}]",
        );
    let ir = lowered(&yaml).ir;
    assert_eq!(
        http_routes(&ir, "http_proxy", "reviews"),
        [
            "exact /a method=GET -> direct 418 \"tea\"",
            "prefix /b (any case) x-user~j.* x-any? -> direct 418 \"tea\"",
            "regex /c.* !x-no= ?q=p* -> direct 418 \"tea\"",
            "any scheme=https authority=a:80 -> direct 418 \"tea\"",
            "prefix /d -> redirect 301 None Some(\"x.com\") Number(9080) path-> /e",
            &format!("any -> {REVIEWS}"),
        ]
    );
    let host = host(&ir, "http_proxy", "reviews").unwrap();
    let lines: Vec<_> = host.routes.iter().map(|route| route.origin.line).collect();
    assert_eq!(lines, [17, 18, 19, 20, 22, 24, 6]);
}

#[test]
fn r1_rewrites_fit_what_was_matched() {
    let yaml = reviews()
        + &rules(
            "reviews",
            "
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /a}}, {uri: {exact: /b}}, {uri: {regex: /c.*}}]
    rewrite: {uri: /n, authority: n.com}
    route: [{destination: {host: reviews}}]
  - match: [{headers: {x: {exact: r}}}]
    rewrite: {uri: /ignored, uriRegexRewrite: {match: '^/(.)', rewrite: '/\\1\\1'}}
    route: [{destination: {host: reviews}}]
  - rewrite: {uri: /n}
    route: [{destination: {host: reviews}}]",
        );
    assert_eq!(
        http_routes(&lowered(&yaml).ir, "http_proxy", "reviews"),
        [
            format!("prefix /a -> {REVIEWS} prefix-> /n authority n.com"),
            format!("exact /b -> {REVIEWS} path-> /n authority n.com"),
            format!("regex /c.* -> {REVIEWS} path-> /n authority n.com"),
            format!("any x=r -> {REVIEWS} s/^/(.)//\\1\\1/"),
            format!("prefix / -> {REVIEWS} prefix-> /n"),
        ]
    );
}

#[test]
fn r2_names_of_a_service_are_relative_to_the_client() {
    let yaml = reviews() + &service("blue", "reviews", &[("http", 80), ("admin", 81)]);
    let ir = lowered(&yaml).ir;
    let full = "reviews.default.svc.cluster.local";
    let names = |host: &str, port: &str| {
        [host, &format!("{host}."), "reviews", "reviews.default", "reviews.default.svc"]
            .map(|n| format!("{n}{port}"))
    };
    let mut expected: Vec<_> = names(full, "").into_iter().chain(names(full, ":9080")).collect();
    let mut found = domains(host(&ir, "http_proxy", "reviews").unwrap());
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(domains(host(&ir, "9080", "reviews").unwrap()), names(full, ""));
    let blue = domains(host(&ir, "http_proxy", "reviews.blue").unwrap());
    assert!(blue.contains(&"reviews.blue:80".into()) && !blue.contains(&"reviews:80".into()), "{blue:?}");
    let admin = domains(host(&ir, "http_proxy", "reviews.blue:81").unwrap());
    assert!(admin.iter().all(|name| name.ends_with(":81")), "{admin:?}");
    assert!(table(&ir, "9080").ignore_port_in_host && !table(&ir, "http_proxy").ignore_port_in_host);
}

#[test]
fn r2_a_full_name_beats_a_short_one_and_virtual_addresses_are_names() {
    let yaml = reviews()
        + &istio(
            "ServiceEntry",
            "default",
            "e",
            "
  hosts: [reviews.default, '*.Example.com']
  addresses: [10.1.2.3, fd00::1, 10.0.0.0/8]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: DNS",
        );
    let ir = lowered(&yaml).ir;
    assert_eq!(host(&ir, "9080", "reviews.default").unwrap().name.as_ref(), "reviews.default:9080");
    assert_eq!(
        domains(host(&ir, "9080", "10.1.2.3").unwrap()),
        ["reviews.default", "reviews.default.", "10.1.2.3", "[fd00::1]"]
    );
    assert_eq!(host(&ir, "http_proxy", "[fd00::1]:9080").unwrap().name.as_ref(), "reviews.default:9080");
    assert_eq!(host(&ir, "http_proxy", "*.example.com:9080").unwrap().name.as_ref(), "*.example.com:9080");
}

#[test]
fn r2_a_bare_name_is_port_80_or_the_only_http_port() {
    for (ports, expected) in [
        (&[("http", 8080), ("http-b", 80)][..], Some(80)),
        (&[("http", 8080), ("tcp", 90)], Some(8080)),
        (&[("http", 8080), ("http-b", 8081)], None),
        (&[("tcp", 80), ("http", 8081)], Some(8081)),
        (&[("tcp", 80)], None),
        (&[("other", 8080)], Some(8080)),
    ] {
        let ir = lowered(&service("default", "a", ports)).ir;
        let found = host(&ir, "http_proxy", "a").map(|host| host.name.to_string());
        assert_eq!(found, expected.map(|port| format!("a.default.svc.cluster.local:{port}")), "{ports:?}");
    }
}

fn one_route(name: &str, namespace: &str, hosts: &str, path: &str) -> String {
    let spec = format!(
        "
  hosts: {hosts}
  http:
  - match: [{{uri: {{prefix: {path}}}}}]
    route: [{{destination: {{host: reviews.default.svc.cluster.local}}}}]"
    );
    istio("VirtualService", namespace, name, &spec)
}

#[test]
fn r3_sidecars_do_not_merge_the_oldest_wins() {
    let younger = one_route("b", "default", "[reviews]", "/b")
        .replace("name: b,", "name: b, creationTimestamp: '2020-01-02T00:00:00Z',");
    let older = one_route("a", "other", "[reviews.default.svc.cluster.local]", "/a")
        .replace("name: a,", "name: a, creationTimestamp: '2020-01-01T00:00:00Z',");
    let none = one_route("c", "default", "[reviews]", "/c");
    let lowered = lowered(&(reviews() + &none + &younger + &older));
    assert_eq!(http_routes(&lowered.ir, "http_proxy", "reviews"), [format!("prefix /a -> {REVIEWS}")]);
    let told = notes(&lowered).into_iter().filter(|note| note.contains("SDL0402")).collect::<Vec<_>>();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().all(|note| note.contains("VirtualService other/a (a.yaml:34)")), "{told:#?}");
}

#[test]
fn r3_a_rule_without_routes_for_the_port_does_not_take_the_place_of_one_that_has() {
    let tcp_only = rules("a", "\n  hosts: [reviews]\n  tcp: [{route: [{destination: {host: reviews}}]}]");
    let lowered = lowered(&(reviews() + &tcp_only + &one_route("b", "default", "[reviews]", "/b")));
    assert_eq!(http_routes(&lowered.ir, "http_proxy", "reviews"), [format!("prefix /b -> {REVIEWS}")]);
}

#[test]
fn r4_the_more_specific_host_wins_and_wildcards_are_for_services() {
    let yaml = reviews()
        + &service("default", "ratings", &[("http", 9080)])
        + &one_route("wide", "default", "['*.default.svc.cluster.local']", "/wide")
        + &one_route("narrow", "default", "[reviews]", "/narrow")
        + &one_route("any", "default", "['*.nowhere.org']", "/nowhere");
    let ir = lowered(&yaml).ir;
    assert_eq!(http_routes(&ir, "http_proxy", "reviews"), [format!("prefix /narrow -> {REVIEWS}")]);
    assert_eq!(http_routes(&ir, "http_proxy", "ratings"), [format!("prefix /wide -> {REVIEWS}")]);
    assert!(host(&ir, "http_proxy", "*.default.svc.cluster.local").is_none());
    assert_eq!(http_routes(&ir, "80", "*.nowhere.org"), [format!("prefix /nowhere -> {REVIEWS}")]);
}

#[test]
fn r4_a_host_that_no_service_has_is_served_on_port_80() {
    let yaml = rules(
        "lone",
        "
  hosts: [shop, Shop.example.com]
  http:
  - match: [{port: 9080, uri: {prefix: /9080}}, {port: 80, uri: {prefix: /80}}]
    route: [{destination: {host: shop, port: {number: 9080}}}]
  - route: [{destination: {host: other}}]",
    );
    let ir = lowered(&yaml).ir;
    let shop = "outbound|9080||shop.default.svc.cluster.local";
    let other = |port: u16| format!("any -> outbound|{port}||other.default.svc.cluster.local");
    for name in ["shop", "shop.default", "shop.default.svc.cluster.local:80", "shop.example.com"] {
        assert_eq!(
            http_routes(&ir, "http_proxy", name),
            [format!("prefix /80 -> {shop}"), other(80)],
            "{name}"
        );
    }
    assert_eq!(http_routes(&ir, "http_proxy", "shop:9080"), [format!("prefix /9080 -> {shop}"), other(9080)]);
    assert!(host(&ir, "http_proxy", "shop.example.com:9080").is_none());
    assert_eq!(http_routes(&ir, "80", "shop"), [format!("prefix /80 -> {shop}"), other(80)]);
    assert_eq!(endpoints(&ir, shop), "dns shop:9080");
    assert_eq!(endpoints(&ir, "outbound|80||other.default.svc.cluster.local"), "dns other:80");
    assert!(!table_names(&ir).contains(&"9080"));
}

#[test]
fn r8_retries_of_a_route() {
    let yaml = reviews()
        + &rules(
            "reviews",
            "
  hosts: [reviews]
  http:
  - match: [{uri: {exact: /default}}]
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /none}}]
    retries: {attempts: 0}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /own}}]
    timeout: 3s
    retries: {attempts: 5, perTryTimeout: 1s, retryOn: '5xx,409', backoff: 50ms, retryRemoteLocalities: true}
    route: [{destination: {host: reviews}}]",
        );
    let ir = lowered(&yaml).ir;
    let host = host(&ir, "http_proxy", "reviews").unwrap();
    let forward = |at: usize| match &host.routes[at].action {
        RouteAction::Forward(forward) => forward,
        other => panic!("{other:?}"),
    };
    assert_eq!(forward(0).retry, Some(super::super::retries::built_in().into()));
    assert_eq!(forward(0).timeout, None);
    assert_eq!(forward(1).retry, None);
    let own = forward(2).retry.as_ref().unwrap();
    assert_eq!((own.attempts, own.back_off.as_millis(), own.remote_localities), (5, 50, true));
    assert_eq!(own.per_try_timeout.unwrap().as_secs(), 1);
    assert!(own.on.server_error && !own.on.connect_failure && own.on.status_codes == [409]);
    assert_eq!(forward(2).timeout.unwrap().as_secs(), 3);
}

#[test]
fn r8_the_mesh_default_replaces_the_built_in_one() {
    let proxy = "---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {defaultHttpRetryPolicy: {attempts: 0}}\n";
    let ir = lowered(&(reviews() + proxy)).ir;
    let RouteAction::Forward(forward) = &host(&ir, "9080", "reviews").unwrap().routes[0].action else {
        panic!()
    };
    assert_eq!(forward.retry, None);
}

#[test]
fn r9_weights() {
    for (splits, expected) in [
        ("[{destination: {host: reviews}}]", format!("any -> {REVIEWS}")),
        ("[{destination: {host: reviews}, weight: 0}]", format!("any -> {REVIEWS}")),
        (
            "[{destination: {host: reviews}, weight: 3}, {destination: {host: b}, weight: 1}, {destination: {host: c}}]",
            format!("any -> 3 {REVIEWS}, 1 outbound|9080||b.default.svc.cluster.local"),
        ),
    ] {
        let spec = format!("\n  hosts: [reviews]\n  http: [{{route: {splits}}}]");
        let ir = lowered(&(reviews() + &rules("reviews", &spec))).ir;
        assert_eq!(http_routes(&ir, "9080", "reviews"), [expected]);
    }
}

#[test]
fn r9_headers_of_destinations_add_to_the_routes_and_host_sets_the_authority() {
    let yaml = reviews()
        + &rules(
            "reviews",
            "
  hosts: [reviews]
  http:
  - headers: {request: {set: {X-A: a, Host: route.com}, remove: [x-gone]}, response: {add: {x-b: '%PROTOCOL%'}}}
    route:
    - destination: {host: reviews}
      headers: {request: {add: {x-c: c}, set: {':authority': split.com}}}
    mirror: {host: reviews}
    mirrors: [{destination: {host: reviews}, percentage: {value: 12.5}}, {destination: {host: reviews}, percentage: {value: 0}}]
    fault: {delay: {fixedDelay: 2s, percentage: {value: 50}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
    corsPolicy: {allowOrigins: [{exact: '*'}], allowMethods: [GET, PUT], maxAge: 24h}",
        );
    let ir = lowered(&yaml).ir;
    let route = &host(&ir, "9080", "reviews").unwrap().routes[0];
    let set: Vec<_> = route.request_headers.set.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(set, ["x-a"]);
    assert_eq!(route.request_headers.remove, ["x-gone"]);
    assert_eq!(route.response_headers.add[0].0, "x-b");
    let RouteAction::Forward(forward) = &route.action else { panic!() };
    assert_eq!(forward.authority_rewrite.as_deref(), Some("route.com"));
    assert_eq!(forward.clusters[0].authority.as_deref(), Some("split.com"));
    assert_eq!(route.request_headers.add[0].0, "x-c", "a lone destination's are the route's");
    assert!(forward.clusters[0].request_headers.is_empty());
    let shares: Vec<_> = forward.mirrors.iter().map(|mirror| mirror.percent.parts_per_million()).collect();
    assert_eq!(shares, [1_000_000, 125_000]);
    let fault = route.fault.as_ref().unwrap();
    assert_eq!(
        fault.delay.map(|(wait, share)| (wait.as_secs(), share.parts_per_million())),
        Some((2, 500_000))
    );
    assert_eq!(fault.abort.map(|(abort, _)| abort), Some(crate::ir::FaultAbort::Grpc(14)));
    let cors = route.cors.as_ref().unwrap();
    assert_eq!((&cors.allow_origins[..], &*cors.allow_methods), (&[StringMatch::Present][..], "GET,PUT"));
    assert!(cors.forward_unmatched_preflights);
}

#[test]
fn r18_a_delegate_stays_within_its_root_and_inherits_from_it() {
    let root = rules(
        "root",
        "
  hosts: [reviews]
  http:
  - name: r
    match: [{uri: {prefix: /api}, headers: {x: {exact: '1'}}}, {uri: {exact: /one}}]
    timeout: 7s
    delegate: {name: d, namespace: team}
  - route: [{destination: {host: reviews}}]",
    );
    let delegate = istio(
        "VirtualService",
        "team",
        "d",
        "
  http:
  - name: in
    match: [{uri: {prefix: /api/v1}, method: {exact: GET}}]
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /other}}]
    route: [{destination: {host: web}}]
  - match: [{uri: {regex: /api.*}}]
    route: [{destination: {host: web}}]
  - timeout: 1s
    route: [{destination: {host: web}}]",
    );
    let lowered = lowered(&(reviews() + &root + &delegate));
    let web = "outbound|9080||web.team.svc.cluster.local";
    assert_eq!(
        http_routes(&lowered.ir, "9080", "reviews"),
        [
            format!("prefix /api/v1 method=GET x=1 -> {web}"),
            format!("prefix /api x=1 -> {web}"),
            format!("exact /one -> {web}"),
            format!("any -> {REVIEWS}"),
        ]
    );
    let routes = &host(&lowered.ir, "9080", "reviews").unwrap().routes;
    let timeout = |at: usize| match &routes[at].action {
        RouteAction::Forward(forward) => forward.timeout.map(|timeout| timeout.as_secs()),
        _ => None,
    };
    assert_eq!([timeout(0), timeout(1), timeout(2), timeout(3)], [Some(7), Some(1), Some(1), None]);
    assert_eq!([&*routes[0].name, &*routes[1].name], ["r-in", "r"]);
    assert_eq!(&*routes[0].origin.resource, "VirtualService team/d");
    let dropped = lowered.diagnostics.iter().filter(|d| d.code == "SDL0601").count();
    assert_eq!(dropped, 2, "{:#?}", notes(&lowered));
}

#[test]
fn r18_a_delegate_must_be_exported_to_its_root() {
    let root = rules("root", "\n  hosts: [reviews]\n  http: [{delegate: {name: d, namespace: team}}]");
    let delegate = istio(
        "VirtualService",
        "team",
        "d",
        "\n  exportTo: ['.']\n  http: [{route: [{destination: {host: web}}]}]",
    );
    let lowered = lowered(&(reviews() + &root + &delegate));
    assert_eq!(http_routes(&lowered.ir, "9080", "reviews"), [format!("any -> {REVIEWS}")]);
    assert_note(&lowered, "SDL0606", "VirtualService team/d");
}

#[test]
fn r19_labels_namespaces_ports_and_gateways_decide_where_a_match_holds() {
    let yaml = reviews()
        + &rules(
            "reviews",
            "
  hosts: [reviews]
  gateways: [mesh, edge]
  http:
  - match:
    - {uri: {exact: /label}, sourceLabels: {app: web}}
    - {uri: {exact: /other-label}, sourceLabels: {app: db}}
    - {uri: {exact: /ns}, sourceNamespace: default}
    - {uri: {exact: /other-ns}, sourceNamespace: blue}
    - {uri: {exact: /edge}, gateways: [edge]}
    - {uri: {exact: /mesh}, gateways: [mesh], sourceLabels: {app: db}}
    - {uri: {exact: /port}, port: 9080}
    - {uri: {exact: /other-port}, port: 80}
    directResponse: {status: 200}",
        );
    let lowered = lowered_for(&node("default", "app=web,version=v1"), &yaml);
    let paths: Vec<_> = http_routes(&lowered.ir, "9080", "reviews");
    let paths: Vec<_> = paths.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/label", "/ns", "/mesh", "/port"]);
    assert_note(&lowered, "SDL0601", "sourceLabels");
}

#[test]
fn rules_for_gateways_only_are_not_for_sidecars() {
    let spec = "\n  hosts: [reviews]\n  gateways: [edge]\n  http: [{directResponse: {status: 200}}]";
    let ir = lowered(&(reviews() + &rules("reviews", spec))).ir;
    assert_eq!(http_routes(&ir, "9080", "reviews"), [format!("any -> {REVIEWS}")]);
}

#[test]
fn rules_that_are_not_exported_are_not_there() {
    let spec = "\n  hosts: [reviews.default.svc.cluster.local]\n  exportTo: ['.']\n  http: [{directResponse: {status: 200}}]";
    let ir = lowered(&(reviews() + &istio("VirtualService", "other", "reviews", spec))).ir;
    assert_eq!(http_routes(&ir, "9080", "reviews"), [format!("any -> {REVIEWS}")]);
}

#[test]
fn conditions_that_cannot_be_met_and_header_names_that_mean_fields() {
    let spec = "
  hosts: [reviews]
  http:
  - match:
    - {headers: {'@request.auth.claims': {exact: a}}}
    - {authority: {exact: a}, headers: {host: {exact: b}}}
    - {headers: {uri: {exact: /a}, ':method': {exact: PUT}, host: {exact: h}}}
    directResponse: {status: 200}";
    let lowered = lowered(&(reviews() + &rules("reviews", spec)));
    assert_eq!(
        http_routes(&lowered.ir, "9080", "reviews"),
        ["any method=PUT authority=h -> direct 200 \"\""]
    );
    assert_note(&lowered, "SDL0403", "no request can meet");
}

#[test]
fn names_of_claims() {
    let of = |name: &str| matches::claim_path(name).map(|path| path.unwrap_or_default().join("/"));
    assert_eq!(of("x-request.auth.claims.a"), None);
    for (name, path) in [
        ("@request.auth.claims.sub", "sub"),
        ("@Request.Auth.claims.Sub.x", "Sub/x"),
        ("@request.auth.claims[https://a.b/c][d.e]", "https://a.b/c/d.e"),
        ("@request.auth.claims", ""),
        ("@request.auth.claimsx", ""),
        ("@request.auth.claims.", ""),
        ("@request.auth.claims.a..b", ""),
        ("@request.auth.claims[]", ""),
        ("@request.auth.claims[a][]", ""),
        ("@request.auth.claims[a", ""),
        ("@request.auth.claims[a]b]", ""),
    ] {
        assert_eq!(of(name).as_deref(), Some(path), "{name}");
    }
}

#[test]
fn what_takes_everything() {
    let path = |path: PathMatch| crate::ir::RouteMatch { path, ..matches::everything() };
    assert!(matches::is_catch_all(&path(PathMatch::Any)));
    assert!(matches::is_catch_all(&path(PathMatch::Prefix("/".into()))));
    assert!(!matches::is_catch_all(&path(PathMatch::Prefix("/a".into()))));
    assert!(!matches::is_catch_all(&path(PathMatch::Connect)));
    let method =
        crate::ir::RouteMatch { method: Some(Box::new(StringMatch::Present)), ..matches::everything() };
    assert!(!matches::is_catch_all(&method));
}
