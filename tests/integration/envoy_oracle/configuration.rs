//! Configurations by chance: two services in two versions, a VirtualService that uses every field of an HTTP route now
//! and then.
//!
//! Values come from small vocabularies that [`super::request`] draws from too, so that routes are really hit.

use super::random::Random;
use serde_json::{Map, Value, json};

/// Paths that matches, rewrites and requests are made of.
pub const PATHS: [&str; 12] = [
    "/",
    "/api",
    "/api/",
    "/api/v1",
    "/api/v1/items/42",
    "/API/v1",
    "/static/app.js",
    "/foo",
    "/foobar",
    "/foo/bar",
    "/a%20b",
    "/foo//bar",
];
/// Header values that matches and requests are made of.
pub const USERS: [&str; 5] = ["alice", "bob", "al", "Alice", ""];
/// Expressions, each with a text that it matches.
pub const EXPRESSIONS: [(&str, &str); 9] = [
    ("/api/v[0-9]+/.*", "/api/v2/x"),
    ("/(foo|bar)(/.*)?", "/bar/x"),
    (r".*\.js", "/static/app.js"),
    (r"/api/v1/items/\d+", "/api/v1/items/7"),
    ("a.*e|bob", "alice"),
    ("[0-9]{1,3}", "12"),
    ("GET|HEAD", "HEAD"),
    (".+", "x"),
    ("^(.*?;)?(user=jason)(;.*)?$", "a=b;user=jason"),
];

/// The hosts of configuration `seed`.
pub fn hosts(seed: u64) -> [String; 2] {
    [format!("a{seed}.test"), format!("b{seed}.test")]
}

/// The manifests of configuration `seed`; `upstreams` are the ports of the two versions of the two services.
pub fn manifests(seed: u64, upstreams: [u16; 4]) -> String {
    let mut random = Random::new(seed);
    let hosts = hosts(seed);
    let mut documents = vec![
        service_entry(&mut random, &hosts[0], [upstreams[0], upstreams[1]]),
        service_entry(&mut random, &hosts[1], [upstreams[2], upstreams[3]]),
        destination_rule(&mut random, &hosts[0]),
        destination_rule(&mut random, &hosts[1]),
        virtual_service(&mut random, &hosts[0], &hosts),
    ];
    if random.percent(50) {
        documents.push(virtual_service(&mut random, &hosts[1], &hosts));
    }
    if random.percent(40) {
        documents.push(registry_only());
    }
    let texts: Vec<String> = documents.iter().map(|one| serde_json::to_string_pretty(one).unwrap()).collect();
    texts.join("\n---\n")
}

fn document(kind: &str, host: &str, spec: Value) -> Value {
    let name = host.replace('.', "-");
    json!({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn service_entry(random: &mut Random, host: &str, ports: [u16; 2]) -> Value {
    let endpoint = |version: &str, port: u16| json!({"address": "127.0.0.1", "ports": {"http": port, "alt": port}, "labels": {"version": version}});
    let spec = json!({
        "hosts": [host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [
            {"number": 80, "name": "http", "protocol": "HTTP"},
            {"number": 9080, "name": "alt", "protocol": random.pick(&["HTTP", "HTTP", "HTTP2"])},
        ],
        "endpoints": [endpoint("v1", ports[0]), endpoint("v2", ports[1])],
    });
    document("ServiceEntry", host, spec)
}

fn destination_rule(random: &mut Random, host: &str) -> Value {
    let subset = |version: &str| json!({"name": version, "labels": {"version": version}});
    let balancers = ["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM"];
    let spec = json!({
        "host": host,
        "trafficPolicy": {"loadBalancer": {"simple": random.pick(&balancers)}},
        "subsets": [subset("v1"), subset("v2")],
    });
    document("DestinationRule", host, spec)
}

fn registry_only() -> Value {
    let spec = json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "egress": [{"hosts": ["./*"]}]});
    document("Sidecar", "default", spec)
}

fn virtual_service(random: &mut Random, host: &str, hosts: &[String; 2]) -> Value {
    let count = 2 + random.below(5);
    let mut routes: Vec<Value> = (0..count)
        .map(|at| {
            let matches: Vec<Value> = (0..1 + random.below(2)).map(|_| request_match(random, host)).collect();
            let mut route = route(random, hosts);
            route.insert("name".into(), format!("r{at}").into());
            route.insert("match".into(), matches.into());
            route.into()
        })
        .collect();
    if random.percent(70) {
        let mut last = route(random, hosts);
        last.insert("name".into(), "last".into());
        routes.push(last.into());
    }
    document("VirtualService", host, json!({"hosts": [host], "http": routes}))
}

fn request_match(random: &mut Random, host: &str) -> Value {
    let mut fields = Map::new();
    if random.percent(75) {
        fields.insert("uri".into(), uri_match(random));
        if random.percent(25) {
            fields.insert("ignoreUriCase".into(), true.into());
        }
    }
    if random.percent(30) {
        let value = text_match(random);
        fields.insert("headers".into(), json!({random.pick(&["x-user", "x-other"]): value}));
    }
    if random.percent(10) {
        fields.insert("headers".into(), json!({"cookie": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}));
    }
    if random.percent(15) {
        let value = text_match(random);
        fields.insert("withoutHeaders".into(), json!({random.pick(&["x-user", "x-other"]): value}));
    }
    if random.percent(20) {
        let choices = [
            json!({"exact": "1"}),
            json!({"regex": "[0-9]{1,3}"}),
            json!({"exact": ""}),
            json!({"prefix": "1"}),
        ];
        fields.insert("queryParams".into(), json!({"v": random.pick(&choices)}));
    }
    if random.percent(20) {
        let choices = [json!({"exact": "GET"}), json!({"exact": "POST"}), json!({"regex": "GET|HEAD"})];
        fields.insert("method".into(), random.pick(&choices));
    }
    if random.percent(8) {
        fields.insert("authority".into(), json!({"prefix": &host[..2]}));
    }
    if random.percent(8) {
        fields.insert("scheme".into(), json!({"exact": "http"}));
    }
    if random.percent(8) {
        fields.insert("port".into(), random.pick(&[80, 9080]).into());
    }
    // An entry without any condition would make the routes after it unreachable.
    if fields.is_empty() {
        fields.insert("uri".into(), uri_match(random));
    }
    fields.into()
}

fn uri_match(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({"exact": random.pick(&PATHS)}),
        1 => json!({"prefix": random.pick(&["/api", "/foo", "/static/", "/API", "/api/v1/"])}),
        _ => json!({"regex": EXPRESSIONS[random.below(4)].0}),
    }
}

fn text_match(random: &mut Random) -> Value {
    match random.below(5) {
        0 | 1 => json!({"exact": random.pick(&USERS[..4])}),
        2 => json!({"prefix": "al"}),
        3 => json!({"regex": "a.*e|bob"}),
        _ => json!({}),
    }
}

fn route(random: &mut Random, hosts: &[String; 2]) -> Map<String, Value> {
    let mut fields = match random.below(100) {
        0..12 => redirect(random),
        12..22 => direct_response(random),
        _ => forward(random, hosts),
    };
    if random.percent(40) {
        fields.insert("headers".into(), headers(random, "route"));
    }
    if random.percent(15) {
        fields.insert("corsPolicy".into(), cors(random));
    }
    fields
}

fn redirect(random: &mut Random) -> Map<String, Value> {
    let mut to = Map::new();
    if random.percent(60) {
        to.insert("uri".into(), random.pick(&["/new", "/new?x=1", "/"]).into());
    }
    if random.percent(60) || to.is_empty() {
        to.insert("authority".into(), random.pick(&["other.test", "other.test:8443"]).into());
    }
    match random.below(6) {
        0 => drop(to.insert("scheme".into(), "https".into())),
        1 => drop(to.insert("port".into(), random.pick(&[80, 8443]).into())),
        2 => drop(to.insert("derivePort".into(), "FROM_PROTOCOL_DEFAULT".into())),
        _ => {}
    }
    if random.percent(50) {
        to.insert("redirectCode".into(), random.pick(&[301, 302, 303, 307, 308]).into());
    }
    Map::from_iter([("redirect".to_owned(), to.into())])
}

fn direct_response(random: &mut Random) -> Map<String, Value> {
    let bodies = [json!({"string": "hello"}), json!({"bytes": "aGVsbG8="})];
    let mut answer = Map::from_iter([("status".to_owned(), random.pick(&[200, 204, 404, 503]).into())]);
    if answer["status"] != 204 && random.percent(70) {
        answer.insert("body".into(), random.pick(&bodies));
    }
    Map::from_iter([("directResponse".to_owned(), answer.into())])
}

fn forward(random: &mut Random, hosts: &[String; 2]) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut destinations = vec![destination(random, hosts)];
    if random.percent(30) {
        destinations[0]["weight"] = 100.into();
        let mut none = destination(random, hosts);
        none["weight"] = 0.into();
        destinations.insert(random.below(2), none);
    }
    fields.insert("route".into(), destinations.into());
    if random.percent(30) {
        fields.insert("rewrite".into(), rewrite(random));
    }
    if random.percent(10) {
        fields.insert("mirrors".into(), json!([destination(random, hosts)]));
        fields["mirrors"][0].as_object_mut().unwrap().remove("headers");
    }
    if random.percent(15) {
        // More than an answer takes on a busy machine, and less than the delays that requests ask for.
        fields.insert("timeout".into(), "0.8s".into());
    }
    match random.below(10) {
        0 => drop(fields.insert("retries".into(), json!({"attempts": 0}))),
        1 => drop(fields.insert("retries".into(), json!({"attempts": 2, "retryOn": "5xx"}))),
        2 => drop(fields.insert("retries".into(), json!({"attempts": 1, "retryOn": "gateway-error,418"}))),
        _ => {}
    }
    if random.percent(12) {
        let faults = [
            json!({"abort": {"httpStatus": 418, "percentage": {"value": 100}}}),
            json!({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}}),
            json!({"abort": {"httpStatus": 503, "percentage": {"value": 0}}}),
            json!({"delay": {"fixedDelay": "0.02s", "percentage": {"value": 100}}}),
            json!({"delay": {"fixedDelay": "0.02s"}, "abort": {"httpStatus": 500}}),
        ];
        fields.insert("fault".into(), random.pick(&faults));
    }
    fields
}

fn destination(random: &mut Random, hosts: &[String; 2]) -> Value {
    let mut to = Map::from_iter([("host".to_owned(), random.pick(hosts).as_str().into())]);
    if random.percent(70) {
        to.insert("subset".into(), random.pick(&["v1", "v2"]).into());
    }
    // Two ports and a request to either: Istio asks for the port too.
    to.insert("port".into(), json!({"number": random.pick(&[80, 9080])}));
    let mut destination = json!({"destination": to});
    if random.percent(25) {
        destination["headers"] = headers(random, "destination");
    }
    destination
}

fn rewrite(random: &mut Random) -> Value {
    let choices = [
        json!({"uri": "/rewritten"}),
        json!({"uri": "/"}),
        json!({"authority": "rewritten.test"}),
        json!({"uri": "/both/", "authority": "rewritten.test:99"}),
        json!({"uriRegexRewrite": {"match": "^/api/v([0-9]+)/(.*)$", "rewrite": r"/v\1/\2"}}),
        json!({"uriRegexRewrite": {"match": "o", "rewrite": "0"}}),
    ];
    random.pick(&choices)
}

/// Operations; those of route and destination never touch the same header, except by adding.
fn headers(random: &mut Random, level: &str) -> Value {
    let mut operations = |side: &str| {
        let mut fields = Map::new();
        if random.percent(50) {
            let values = ["plain", "%REQ(x-user)%", "100%%", "%PROTOCOL%"];
            fields.insert("set".into(), json!({format!("x-{level}-{side}"): random.pick(&values)}));
        }
        if random.percent(50) {
            fields.insert("add".into(), json!({"x-added": level}));
        }
        if random.percent(30) {
            let name = if side == "request" { "x-other" } else { "x-version" };
            fields.insert("remove".into(), json!([name]));
        }
        Value::from(fields)
    };
    let (request, response) = (operations("request"), operations("response"));
    json!({"request": request, "response": response})
}

fn cors(random: &mut Random) -> Value {
    let origins = [
        json!([{"exact": "https://good.test"}]),
        json!([{"prefix": "https://good"}, {"exact": "null"}]),
        json!([{"regex": r"https://[a-z]+\.test"}]),
    ];
    let mut policy = json!({"allowOrigins": random.pick(&origins), "allowMethods": ["GET", "POST"]});
    if random.percent(50) {
        policy["allowHeaders"] = json!(["x-a", "x-b"]);
        policy["exposeHeaders"] = json!(["x-version"]);
        policy["maxAge"] = "24h".into();
    }
    if random.percent(50) {
        policy["allowCredentials"] = random.percent(50).into();
    }
    match random.below(3) {
        0 => policy["unmatchedPreflights"] = "IGNORE".into(),
        1 => policy["unmatchedPreflights"] = "FORWARD".into(),
        _ => {}
    }
    policy
}
