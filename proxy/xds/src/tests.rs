//! Whole exports, judged by a real Envoy where there is one.

use crate::{ExportOptions, bootstrap, config_dump, fixture::*};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use sidle_model::ir::*;
use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

/// The Envoy that `tests/run` installs; where it is not, what needs it is skipped.
fn envoy() -> Option<PathBuf> {
    let peers = std::env::var_os("SIDLE_PEERS").map(PathBuf::from);
    let peers = peers.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers").into());
    let found = Some(peers.join("bin/envoy")).filter(|program| program.is_file());
    if found.is_none() {
        println!("skipped: needs envoy");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "`tests/run peers` installs envoy");
    }
    found
}

/// Asks Envoy whether it would run `bootstrap`; no word of complaint is taken but about the one deprecated field that has
/// no heir.
fn assert_valid(bootstrap: &Value) {
    let Some(envoy) = envoy() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    std::fs::write(&file, serde_json::to_string_pretty(bootstrap).unwrap()).unwrap();
    let output =
        Command::new(envoy).args(["--mode", "validate", "-l", "warning", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{bootstrap:#}\n{said}");
    let known = |line: &str| line.contains("RouteAction.max_grpc_timeout");
    let complaints: Vec<&str> =
        said.lines().filter(|line| line.contains("eprecated") && !known(line)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

pub(crate) fn export(ir: &Ir) -> Value {
    let bootstrap = bootstrap(ir, &ExportOptions::default());
    assert_valid(&bootstrap);
    bootstrap
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

/// The routes of the only virtual host of the only listener.
fn routes(bootstrap: &Value) -> &Value {
    &bootstrap["static_resources"]["listeners"][0]["default_filter_chain"]["filters"][0]["typed_config"]["route_config"]
        ["virtual_hosts"][0]["routes"]
}

#[test]
fn nothing_but_the_built_in_clusters() {
    let exported = export(&empty());
    assert_eq!(exported["static_resources"]["clusters"].as_array().unwrap().len(), 2);
}

#[test]
fn a_listener_without_chains_closes() {
    let mut ir = empty();
    ir.listeners.push(Arc::new(listener("virtualInbound", 15006, Direction::Inbound)));
    let exported = export(&ir);
    let filter = &exported["static_resources"]["listeners"][0]["default_filter_chain"]["filters"][0];
    assert_eq!(filter["typed_config"]["cluster"], BLACK_HOLE_CLUSTER);
}

#[test]
fn every_match() {
    let regex = |text: &str| StringMatch::Regex(Pattern::new(text).unwrap());
    let header = |name, value, invert| HeaderMatch { name: HeaderName::from_static(name), value, invert };
    let paths = [
        PathMatch::Any,
        PathMatch::Exact("/a".into()),
        PathMatch::Prefix("/a".into()),
        PathMatch::Regex(Pattern::new("/a/[0-9]+").unwrap()),
        PathMatch::Connect,
    ];
    let routes = paths.into_iter().map(|path| {
        let mut route =
            route(RouteAction::Forward(Box::new(forward(vec![weighted(PASSTHROUGH_CLUSTER, 1)]))));
        route.matches = RouteMatch {
            path,
            ignore_case: true,
            scheme: Some(Box::new(StringMatch::Exact("http".into()))),
            method: Some(Box::new(regex("GET|PUT"))),
            authority: Some(Box::new(StringMatch::Prefix("a.".into()))),
            headers: vec![
                header("x-a", StringMatch::Present, false),
                header("x-b", StringMatch::Present, true),
                header("x-c", regex("a+"), true),
            ],
            query: vec![
                QueryMatch { name: "q".into(), value: StringMatch::Exact("1".into()) },
                QueryMatch { name: "r".into(), value: StringMatch::Present },
            ],
            claims: vec![
                ClaimMatch { path: ["sub".to_owned()].into(), value: StringMatch::Present, invert: true },
                ClaimMatch {
                    path: ["a".to_owned(), "b".to_owned()].into(),
                    value: regex("x.*"),
                    invert: false,
                },
            ],
        };
        route
    });
    export(&outbound(routes.collect(), Vec::new()));
}

#[test]
fn every_action() {
    let to = |forward| RouteAction::Forward(Box::new(forward));
    let mut rich = forward(vec![weighted("a", 90), weighted("b", 10)]);
    rich.clusters[0].request_headers = operations("destination").into();
    rich.clusters[0].response_headers = operations("destination").into();
    rich.clusters[0].authority = Some("a.example".into());
    rich.timeout = Some(Duration::from_millis(1500));
    let retry = RetryPolicy {
        attempts: 3,
        per_try_timeout: Some(Duration::from_millis(500)),
        on: RetryOn {
            server_error: true,
            gateway_error: true,
            reset: true,
            reset_before_request: true,
            connect_failure: true,
            retriable_4xx: true,
            refused_stream: true,
            envoy_ratelimited: true,
            status_codes: vec![StatusCode::CONFLICT],
            grpc_statuses: vec![1, 4, 8, 13, 14],
        },
        back_off: Duration::from_millis(25),
        avoid_previous_hosts: true,
        remote_localities: true,
    };
    rich.retry = Some(retry.into());
    rich.hash_policies = vec![
        HashPolicy::Header(HeaderName::from_static("x-user")),
        HashPolicy::Cookie {
            name: "c".into(),
            path: Some("/".into()),
            ttl: Some(Duration::from_secs(60)),
            attributes: vec![("SameSite".into(), "Lax".into())],
        },
        HashPolicy::SourceIp,
        HashPolicy::QueryParameter("u".into()),
    ];
    rich.mirrors = vec![Mirror { cluster: "b".into(), percent: Percent::new(12.5).unwrap() }];
    let mut routes = vec![route(to(rich))];
    for rewrite in [
        PathRewrite::Prefix("/b".into()),
        PathRewrite::Full("/c".into()),
        PathRewrite::Regex { pattern: Pattern::new("a(.*)").unwrap(), substitution: r"\1".into() },
    ] {
        let mut one = forward(vec![weighted("a", 0)]);
        one.path_rewrite = Some(rewrite);
        one.authority_rewrite = Some("x.example".into());
        routes.push(route(to(one)));
    }
    for path in [None, Some(PathRewrite::Full("/n".into())), Some(PathRewrite::Prefix("/n".into()))] {
        routes.push(route(RouteAction::Redirect(Box::new(Redirect {
            status: StatusCode::SEE_OTHER,
            scheme: Some("https".into()),
            authority: Some("y.example".into()),
            port: RedirectPort::Number(8443),
            path,
        }))));
    }
    routes.push(route(direct(204, b"")));
    routes.push(route(direct(200, &[b'x'; 5000])));
    routes.push(route(direct(200, &[0xff])));
    for route in &mut routes {
        route.request_headers = operations("route").into();
        route.response_headers = operations("route").into();
        route.fault = Some(Box::new(Fault {
            delay: Some((Duration::from_millis(5), Percent::ALWAYS)),
            abort: Some((FaultAbort::Grpc(14), Percent::new(0.01).unwrap())),
        }));
        route.cors = Some(Box::new(Cors {
            allow_origins: vec![StringMatch::Exact("https://a".into()), StringMatch::Present],
            allow_methods: "GET,POST".into(),
            allow_headers: "x-a".into(),
            expose_headers: "x-b".into(),
            max_age: Some(Duration::from_secs(86400)),
            allow_credentials: true,
            forward_unmatched_preflights: false,
        }));
    }
    let place = |port| Discovery::Static(vec![endpoint("127.0.0.1", port, "")]);
    let exported = export(&outbound(routes, vec![cluster("a", place(1)), cluster("b", place(2))]));
    let first = &self::routes(&exported)[0];
    let weighted = &first["route"]["weighted_clusters"]["clusters"];
    assert_eq!(first["request_headers_to_add"][0]["header"]["value"], "route %REQ(:PATH)% 100%%");
    assert_eq!(weighted[0]["request_headers_to_add"][0]["header"]["value"], "destination %REQ(:PATH)% 100%%");
    assert!(weighted[1].get("request_headers_to_add").is_none());
    assert_eq!(weighted[0]["host_rewrite_literal"], "a.example");
    let answer = &self::routes(&exported)[7];
    assert!(answer["typed_per_filter_config"].get("envoy.filters.http.fault").is_none(), "{answer:#}");
}

#[test]
fn every_cluster() {
    let tls = |sni: Option<&str>, insecure| ClientTls {
        sni: sni.map(Into::into),
        ca: Trust::System,
        crl: None,
        subject_alt_names: vec!["spiffe://td/ns/a/sa/b".into()],
        certificate: None,
        insecure_skip_verify: insecure,
        min_version: TlsVersion::V1_3,
    };
    let name = || endpoint("a.example", 443, "eu/a/1");
    let discoveries = [
        Discovery::Static(vec![
            endpoint("127.0.0.1", 1, "eu/a"),
            endpoint("::1", 1, ""),
            endpoint("unix:///a", 0, ""),
        ]),
        Discovery::StrictDns(vec![name(), endpoint("127.0.0.1", 2, "")]),
        Discovery::LogicalDns(name()),
        Discovery::OriginalDestination,
        Discovery::DynamicForwardProxy,
        Discovery::None,
    ];
    let balancers = [
        LoadBalancer::RoundRobin,
        LoadBalancer::Random,
        LoadBalancer::RingHash { minimum_ring_size: 2048 },
        LoadBalancer::Maglev { table_size: 65537 },
    ];
    let asks = [
        HealthAsk::Http { path: "/up".into(), host: "a.example".into(), expected_statuses: vec![(200, 299)] },
        HealthAsk::Grpc { service: "s".into(), authority: "a.example".into() },
        HealthAsk::Tcp,
    ];
    let mut clusters = Vec::new();
    for (at, discovery) in discoveries.into_iter().enumerate() {
        clusters.push(Cluster {
            load_balancer: balancers[at % balancers.len()].clone(),
            protocol: [UpstreamProtocol::Http1, UpstreamProtocol::Http2, UpstreamProtocol::AsDownstream]
                [at % 3],
            tls: [Some(tls(Some("a.example"), false)), Some(tls(None, false)), Some(tls(None, true))][at % 3]
                .clone(),
            slow_start: Some(SlowStart {
                window: Duration::from_secs(30),
                minimum_percent: 5.0,
                aggression: 1.5,
            }),
            locality_weights: [("eu/a".into(), 70_000), ("eu/b".into(), 30_000)].into(),
            health_check: Some(HealthCheck {
                ask: asks[at % asks.len()].clone(),
                port: Some(8081),
                interval: Duration::from_secs(5),
                interval_jitter: Duration::from_secs(1),
                timeout: Duration::from_millis(500),
                unhealthy_threshold: 3,
                healthy_threshold: 2,
            }),
            outlier_detection: Some(OutlierDetection {
                consecutive_5xx: None,
                consecutive_gateway_errors: Some(3),
                consecutive_local_origin_failures: Some(4),
                split_external_local_origin_errors: true,
                interval: Duration::from_secs(1),
                base_ejection_time: Duration::from_secs(30),
                max_ejection_percent: 100,
                min_health_percent: 50,
                error_codes: vec![500, 503],
                success_rate: Some(SuccessRate { minimum_hosts: 3, request_volume: 10, stdev_factor: 1500 }),
                latency: None,
                probes: 0,
                failure_percentage: Some(FailurePercentage {
                    threshold: 50,
                    minimum_hosts: 3,
                    request_volume: 10,
                }),
            }),
            tcp_keepalive: Some(TcpKeepalive {
                probes: Some(9),
                time: Some(Duration::from_secs(7200)),
                interval: Some(Duration::from_secs(75)),
            }),
            max_connection_duration: Some(Duration::from_secs(60)),
            limits: ClusterLimits { max_requests_per_connection: 1, ..ClusterLimits::default() },
            service: ServiceIdentity {
                host: "a.example".into(),
                name: "a".into(),
                namespace: "default".into(),
            },
            subset: "v1".into(),
            ..cluster(&format!("c{at}"), discovery)
        });
    }
    let all = |clusters: &[Cluster]| {
        let forward = forward(clusters.iter().map(|cluster| weighted(&cluster.name, 1)).collect());
        vec![route(RouteAction::Forward(Box::new(forward)))]
    };
    let exported = export(&outbound(all(&clusters), clusters));
    let clusters = &exported["static_resources"]["clusters"];
    assert_eq!(named(clusters, "c0")["load_assignment"]["endpoints"].as_array().unwrap().len(), 2);
    assert_eq!(named(clusters, "c3;by-authority")["alt_stat_name"], "c3");
    assert!(named(clusters, "c1")["outlier_detection"]["enforcing_consecutive_5xx"] == 0);
    let checks = &named(clusters, "c0")["health_checks"][0];
    assert_eq!(checks["http_health_check"]["expected_statuses"], json!([{"start": 200, "end": 300}]));
    assert_eq!((checks["interval"].as_str(), checks["unhealthy_threshold"].as_u64()), (Some("5s"), Some(3)));
    assert!(clusters.as_array().unwrap().iter().any(|cluster| !cluster["round_robin_lb_config"].is_null()));
}

#[test]
fn near_endpoints_have_priorities() {
    let at = |port, locality, priority| sidle_model::ir::Endpoint {
        priority,
        ..endpoint("10.0.0.1", port, locality)
    };
    let given = vec![at(1, "eu/a", 0), at(2, "us/a", 1), at(3, "eu/a", 0), at(4, "us/b", 1)];
    let near = cluster("near", Discovery::Static(given));
    let forward = forward(vec![weighted("near", 1)]);
    let exported = export(&outbound(vec![route(RouteAction::Forward(Box::new(forward)))], vec![near]));
    let groups = &named(&exported["static_resources"]["clusters"], "near")["load_assignment"]["endpoints"];
    let told: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            let zone = group["locality"]["zone"].as_str().unwrap_or_default();
            (group["priority"].as_u64(), zone, group["lb_endpoints"].as_array().unwrap().len())
        })
        .collect();
    assert_eq!(told, [(None, "a", 2), (Some(1), "a", 1), (Some(1), "b", 1)]);
}

#[test]
fn every_filter_chain() {
    let mut ir = outbound(vec![route(direct(200, b""))], Vec::new());
    let to_listener = Redirect {
        status: StatusCode::MOVED_PERMANENTLY,
        scheme: None,
        authority: None,
        port: RedirectPort::Listener,
        path: None,
    };
    ir.route_configurations
        .push(Arc::new(table("80", vec![route(RouteAction::Redirect(Box::new(to_listener)))])));
    let mut listener = listener("captured", 15099, Direction::Inbound);
    let on = |port| FilterChainMatch { destination_port: Some(port), ..Default::default() };
    let both = [ApplicationProtocol::Http1, ApplicationProtocol::Http2];
    listener.filter_chains = vec![
        chain("http", FilterChainMatch { application_protocols: both.into(), ..on(80) }, http("80")),
        chain("tcp", on(80), tcp(vec![weighted(PASSTHROUGH_CLUSTER, 1)])),
        chain(
            "names",
            FilterChainMatch {
                destinations: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
                server_names: vec![
                    HostPattern::new("*.a.example").unwrap(),
                    HostPattern::new("b.example").unwrap(),
                ],
                transport: Some(Transport::Tls),
                ..on(443)
            },
            tcp(vec![weighted(PASSTHROUGH_CLUSTER, 1), weighted(BLACK_HOLE_CLUSTER, 3)]),
        ),
        chain(
            "plain",
            FilterChainMatch {
                server_names: vec![HostPattern::Any],
                transport: Some(Transport::RawBuffer),
                ..on(443)
            },
            tcp(vec![weighted(BLACK_HOLE_CLUSTER, 1)]),
        ),
    ];
    ir.listeners.push(Arc::new(listener));
    let exported = export(&ir);
    let captured = named(&exported["static_resources"]["listeners"], "captured");
    let filters: Vec<&Value> =
        captured["listener_filters"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    assert_eq!(
        filters,
        [
            "envoy.filters.listener.original_dst",
            "envoy.filters.listener.tls_inspector",
            "envoy.filters.listener.http_inspector"
        ]
    );
    let manager = &named(&captured["filter_chains"], "http")["filters"][0]["typed_config"];
    let redirect = &manager["route_config"]["virtual_hosts"][0]["routes"][0]["redirect"];
    assert_eq!(redirect["port_redirect"], 15099);
    assert!(named(&captured["filter_chains"], "plain")["filter_chain_match"].get("server_names").is_none());
}

#[test]
fn gateways_logs_limits_and_header_case() {
    let mut ir = outbound(vec![route(direct(200, b""))], vec![cluster("a", Discovery::None)]);
    Arc::make_mut(&mut ir.settings.limits).max_connections = Some(1000);
    ir.settings.access_log = Some(AccessLog {
        path: "/dev/stdout".into(),
        format: AccessLogFormat::Text(Format::parse(Format::ISTIO_TEXT).unwrap()),
    });
    let mut gateway = listener("0.0.0.0_8443", 8443, Direction::Gateway);
    gateway.default_filter_chain = Some(FilterChain {
        tls: None,
        ..chain(
            "default",
            FilterChainMatch::default(),
            NetworkFilter::Http(HttpConnectionManager {
                route_configuration: "http_proxy".into(),
                edge: true,
                server_name: None,
                preserve_header_case: true,
                options: Default::default(),
                admission: Default::default(),
            }),
        )
    });
    ir.listeners.push(Arc::new(gateway));
    let exported = export(&ir);
    let gateway = named(&exported["static_resources"]["listeners"], "0.0.0.0_8443");
    let manager = &gateway["default_filter_chain"]["filters"][0]["typed_config"];
    assert_eq!(manager["use_remote_address"], true);
    assert_eq!(manager["server_header_transformation"], "PASS_THROUGH");
    let options = &named(&exported["static_resources"]["clusters"], "a")["typed_extension_protocol_options"]
        ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert!(options["explicit_http_config"]["http_protocol_options"].get("header_key_format").is_some());
    ir.settings.access_log = Some(AccessLog {
        path: "/dev/stdout".into(),
        format: AccessLogFormat::Json(vec![(
            "cluster".into(),
            Format::parse("%UPSTREAM_CLUSTER_RAW%").unwrap(),
        )]),
    });
    export(&ir);
}

/// The manager of the only listener, a gateway whose HTTP has these options.
fn manager_with(options: HttpOptions) -> Value {
    let mut ir = outbound(vec![route(direct(200, b""))], vec![]);
    let mut gateway = listener("0.0.0.0_8080", 8080, Direction::Gateway);
    gateway.proxy_protocol = true;
    let NetworkFilter::Http(manager) = http("http_proxy") else { panic!() };
    let filter = NetworkFilter::Http(HttpConnectionManager { options, edge: true, ..manager });
    gateway.default_filter_chain = Some(chain("default", FilterChainMatch::default(), filter));
    ir.listeners = vec![Arc::new(gateway)];
    let exported = export(&ir);
    let listener = &exported["static_resources"]["listeners"][0];
    assert_eq!(listener["listener_filters"][0]["name"], "envoy.filters.listener.proxy_protocol");
    assert!(listener.get("continue_on_listener_filters_timeout").is_none());
    listener["default_filter_chain"]["filters"][0]["typed_config"].clone()
}

#[test]
fn what_is_taken_from_clients_and_how() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
    for (normalization, wanted) in [
        (None, [Value::Null, Value::Null, Value::Null]),
        (Base, [true.into(), Value::Null, Value::Null]),
        (MergeSlashes, [true.into(), true.into(), Value::Null]),
        (DecodeAndMergeSlashes, [true.into(), true.into(), "UNESCAPE_AND_FORWARD".into()]),
    ] {
        let manager = manager_with(HttpOptions { normalization, ..HttpOptions::default() });
        let fields = ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"];
        assert_eq!(fields.map(|field| manager[field].clone()), wanted, "{normalization:?}");
    }
    let manager = manager_with(HttpOptions {
        underscores: UnderscoresAction::Reject,
        accept_http_10: true,
        via: Some(HeaderValue::from_static("sidle")),
        trusted_hops: 2,
        ..HttpOptions::default()
    });
    assert_eq!(manager["common_http_protocol_options"]["headers_with_underscores_action"], "REJECT_REQUEST");
    assert_eq!(manager["http_protocol_options"]["accept_http_10"], true);
    assert_eq!((&manager["via"], &manager["xff_num_trusted_hops"]), (&"sidle".into(), &2.into()));
}

/// Certificates must be real for Envoy; here only the shape is looked at.
#[test]
fn tls_contexts() {
    let mut ir = outbound(vec![route(direct(200, b""))], Vec::new());
    let mut gateway = listener("0.0.0.0_8443", 8443, Direction::Gateway);
    let mut chain = chain("default", FilterChainMatch::default(), http("http_proxy"));
    chain.tls = Some(ServerTls {
        certificates: Certificates::Files(vec![CertificateFiles {
            certificate: "/c.pem".into(),
            key: "/k.pem".into(),
        }]),
        client_ca: Some(Trust::File("/ca.pem".into())),
        crl: None,
        client_certificate_optional: true,
        subject_alt_names: vec!["a.example".into()],
        pins: vec![],
        cipher_suites: vec![],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: vec![ApplicationProtocol::Http2, ApplicationProtocol::Http1],
    });
    gateway.filter_chains = vec![chain];
    ir.listeners = vec![Arc::new(gateway)];
    let exported = bootstrap(&ir, &ExportOptions::default());
    let chain = &exported["static_resources"]["listeners"][0]["filter_chains"][0];
    assert_eq!(chain["transport_socket_connect_timeout"], "5s");
    assert_eq!(
        chain["transport_socket"]["typed_config"],
        json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": false,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [
                    {"certificate_chain": {"filename": "/c.pem"}, "private_key": {"filename": "/k.pem"}},
                ],
                "validation_context": {
                    "trusted_ca": {"filename": "/ca.pem"},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a.example"}}],
                },
            },
        })
    );
}

#[test]
fn unknown_hosts_go_by_authority_or_nowhere() {
    let to = |cluster: &str| route(RouteAction::Forward(Box::new(forward(vec![weighted(cluster, 1)]))));
    let exported = export(&outbound(vec![to(PASSTHROUGH_CLUSTER), to(BLACK_HOLE_CLUSTER)], Vec::new()));
    assert_eq!(routes(&exported)[0]["route"]["cluster"], "PassthroughCluster;by-authority");
    assert_eq!(routes(&exported)[1]["direct_response"], json!({"status": 502}));
    let clusters = &exported["static_resources"]["clusters"];
    assert_eq!(named(clusters, PASSTHROUGH_CLUSTER)["type"], "ORIGINAL_DST");
    assert_eq!(named(clusters, "PassthroughCluster;by-authority")["alt_stat_name"], PASSTHROUGH_CLUSTER);
}

#[test]
fn options_move_listeners() {
    let ir = outbound(vec![route(direct(200, b""))], Vec::new());
    let relocate = |_: &Listener| Some(ListenAddress::Unix("/tmp/a.sock".into()));
    let options = ExportOptions {
        admin: Some(([127, 0, 0, 1], 9901).into()),
        node_id: "n",
        system_ca: None,
        relocate: Some(&relocate),
    };
    let exported = bootstrap(&ir, &options);
    assert_eq!(exported["node"]["id"], "n");
    assert_eq!(exported["admin"]["address"]["socket_address"]["port_value"], 9901);
    assert_eq!(exported["static_resources"]["listeners"][0]["address"]["pipe"]["path"], "/tmp/a.sock");
}

/// What `istioctl proxy-config` looks for.
#[test]
fn a_dump_has_every_section_and_type() {
    let place = Discovery::Static(vec![endpoint("127.0.0.1", 1, "")]);
    let to = RouteAction::Forward(Box::new(forward(vec![weighted("a", 1)])));
    let ir = outbound(
        vec![route(to)],
        vec![cluster("a", place), cluster("d", Discovery::LogicalDns(endpoint("x", 1, "")))],
    );
    let dump = config_dump(&ir, "7");
    let types: Vec<&str> =
        dump["configs"].as_array().unwrap().iter().filter_map(|c| c["@type"].as_str()).collect();
    let names = ["Bootstrap", "Clusters", "Endpoints", "Listeners", "Routes"];
    let expected = names.map(|name| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump"));
    assert_eq!(types, expected);
    let [_, clusters, endpoints, listeners, routes] = [0, 1, 2, 3, 4].map(|at| &dump["configs"][at]);
    assert_eq!(clusters["dynamic_active_clusters"][0]["version_info"], "7");
    assert_eq!(
        clusters["dynamic_active_clusters"][0]["cluster"]["@type"],
        "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    );
    assert_eq!(clusters["dynamic_active_clusters"][3]["cluster"]["type"], "LOGICAL_DNS");
    assert_eq!(endpoints["dynamic_endpoint_configs"][0]["endpoint_config"]["cluster_name"], "a");
    let listener = &listeners["dynamic_listeners"][0]["active_state"]["listener"];
    let manager = &listener["default_filter_chain"]["filters"][0]["typed_config"];
    assert_eq!(manager["rds"]["route_config_name"], "http_proxy");
    let table = &routes["dynamic_route_configs"][0]["route_config"];
    assert_eq!(table["name"], "http_proxy");
    assert_eq!(table["virtual_hosts"][0]["routes"][0]["route"]["cluster"], "a");
}

const POLICIES: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: shop }
spec: { selector: { app: shop }, ports: [{ name: http, port: 80, targetPort: 8080 }, { name: tcp, port: 90, targetPort: 9090 }] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: allow }
spec:
  rules:
    - from:
        - source: { principals: ["*", "td/ns/a/*", "*/sa/b", "td/ns/a/sa/b"], notNamespaces: ["a*", b], trustDomains: ["t*"] }
        - source: { serviceAccounts: [a.b, ns/c], ipBlocks: [10.0.0.0/8, "::1"], notRemoteIpBlocks: [1.2.3.4], requestPrincipals: ["i/*"] }
      to:
        - operation: { hosts: ["*.A.com", a.com, "*"], ports: ["8080"], methods: [GET, "P*"], paths: ["/a/{*}/{**}", "/b*", "*.js", "*"] }
      when:
        - { key: "request.headers[x-a]", values: ["*", a, "b*"], notValues: [c] }
        - { key: "request.auth.claims[a][b]", values: [x] }
        - { key: connection.sni, notValues: ["*.a.com"] }
        - { key: destination.ip, values: [10.0.0.1] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: istio-system }
spec: { action: DENY, rules: [{ to: [{ operation: { notPorts: ["8080"] } }] }] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: tried, annotations: { istio.io/dry-run: "true" } }
spec: { action: DENY, rules: [{}] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: told }
spec: { action: AUDIT, rules: [{}] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: asked }
spec: { action: CUSTOM, provider: { name: opa }, rules: [{}] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: nothing }
spec: {}
"#;

#[test]
fn authorization_policies_are_filters_in_istios_order() {
    let text = sidle_model::source::Text { name: "p.yaml".into(), content: POLICIES.into() };
    let node = Node { labels: [("app".to_owned(), "shop".to_owned())].into(), ..Node::default() };
    let exported = export(&sidle_model::load_texts(vec![text], &node).ir.unwrap());
    let inbound = named(&exported["static_resources"]["listeners"], "virtualInbound");
    let chains = inbound["filter_chains"].as_array().unwrap();
    let filters_of = |chain: &Value| chain["filters"][0]["typed_config"]["http_filters"].as_array().cloned();
    let http = chains.iter().find_map(filters_of).unwrap();
    let rules = |filter: &Value, list: &str| {
        let rules = &filter["typed_config"][list];
        let names =
            rules["policies"].as_object().map(|policies| policies.keys().cloned().collect::<Vec<_>>());
        names.map(|names| format!("{} {}", rules["action"].as_str().unwrap(), names.join(" ")))
    };
    let told: Vec<_> = http.iter().filter_map(|filter| rules(filter, "rules")).collect();
    assert_eq!(
        told,
        [
            "DENY istio-ext-authz-opa-ns[default]-policy[asked]-rule[0]-deny-due-to-bad-CUSTOM-action",
            "LOG ns[default]-policy[told]-rule[0]",
            "DENY ns[istio-system]-policy[deny]-rule[0]",
            "ALLOW ns[default]-policy[allow]-rule[0] ns[default]-policy[nothing]-rule[0]",
        ]
    );
    let tried: Vec<_> = http.iter().filter_map(|filter| rules(filter, "shadow_rules")).collect();
    assert_eq!(tried, ["DENY ns[default]-policy[tried]-rule[0]"]);
    let is_tcp = |chain: &&Value| chain["filters"][0]["name"] == "envoy.filters.network.rbac";
    let tcp = chains.iter().find(is_tcp).unwrap()["filters"].as_array().unwrap();
    assert_eq!(tcp.len(), 6, "{tcp:#?}"); // five actions, and the proxy
}
