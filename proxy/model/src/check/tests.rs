//! Mistakes and what is said of them: kind, `spec`, and `line:column code` of each diagnostic. A `spec` begins at line 5.

use crate::{
    config::Config,
    diagnostic::{self, Diagnostic},
    ir::Node,
    manifest,
    source::Text,
};

fn judge(content: &str) -> (Config, Vec<Diagnostic>) {
    let texts = [Text { name: "f.yaml".into(), content: content.into() }];
    let (config, mut diagnostics) = manifest::parse(&texts, "default");
    diagnostics.extend(super::check(&config, &Node::default()));
    diagnostic::sort(&mut diagnostics);
    (config, diagnostics)
}

fn told(content: &str) -> Vec<String> {
    let place = |d: &Diagnostic| {
        let span = d.span.unwrap();
        format!(
            "{}:{} {}{}",
            span.line,
            span.column,
            &d.severity.to_string()[..1],
            d.code.trim_start_matches("SDL")
        )
    };
    judge(content).1.iter().map(place).collect()
}

fn manifest(kind: &str, spec: &str) -> String {
    let api = match kind {
        "Service" => "v1",
        "Proxy" => "sidle.dev/v1",
        _ => "networking.istio.io/v1",
    };
    format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n{spec}\n{DEFINED}")
}

/// What references may name.
const DEFINED: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: defined}
spec: {hosts: [d.io], resolution: DNS, ports: [{name: http, number: 80, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: defined}
spec: {host: d.io, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: delegate}
spec: {http: [{route: [{destination: {host: d.io}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec: {hosts: [root.io], http: [{delegate: {name: delegate}}]}
";

const VS: &str = "VirtualService";
const DR: &str = "DestinationRule";
const SE: &str = "ServiceEntry";

/// Mistakes of one manifest.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    (VS, "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}}]}]", &[]),
    (VS, "  hosts: [a.io, A.io]\n  http: [{route: [{destination: {host: d.io}}]}]", &["5:17 e0202"]),
    (VS, "  hosts: ['*']\n  http: [{route: [{destination: {host: d.io}}]}]", &["5:11 e0201"]),
    (VS, "  hosts: ['*']\n  gateways: [public]\n  http: [{route: [{destination: {host: d.io}}]}]", &[]),
    (
        VS,
        "  hosts: [http://a.io, 'a*.io', 'a b']\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["5:11 e0201", "5:24 e0201", "5:33 e0201"],
    ),
    (VS, "  hosts: [a.io]", &["5:3 e0212"]),
    (
        VS,
        "  hosts: []\n  gateways: [public]\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["6:3 e0203"],
    ),
    (VS, "  http: [{route: [{destination: {host: d.io}}]}]", &["5:3 w0203"]),
    (
        VS,
        "  hosts: [a.io]\n  gateways: [a/b/c, 'A B']\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["6:14 e0224", "6:21 e0224"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  exportTo: ['*', x, x, 'y z']\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["6:14 e0225", "6:22 e0225", "6:25 e0225"],
    ),
    (VS, "  hosts: a.io\n  http: {}", &["5:10 e0102", "6:3 e0102"]),
    (
        VS,
        "  hosts: [80, true, ~]\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["5:11 e0102", "5:15 e0102", "5:21 e0102"],
    ),
    (VS, "  hosts: [a.io]\n  htpp: []\n  http: [{name: x}]", &["6:3 e0101", "7:10 e0212"]),
    (
        VS,
        "  hosts: [a.io]\n  http:\n  - match:\n    uri: {prefix: /}\n    route: [{destination: {host: d.io}}]",
        &["7:5 e0102", "8:5 e0101"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http:\n  - match: [{uri: {prefix: /, hosts: [b]}}]\n    route: [{destination: {host: d.io}}]",
        &["7:31 e0101"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{headers: {cookie: }}], route: [{destination: {host: d.io}}]}]",
        &["6:30 e0102"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{headers: {cookie: {}, exact: {}, uri: {exact: a}, X-A: {exact: a}, 'a b': {}}}], route: [{destination: {host: d.io}}]}]",
        &["6:42 w0208", "6:53 w0208", "6:70 i0208", "6:87 e0208"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{uri: {}}], route: [{destination: {host: d.io}}]}]",
        &["6:20 w0222"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{uri: {prefix: ''}}, {uri: {exact: api}}, {uri: {prefix: '/a?b'}}, {uri: {prefix: '/a/*'}}], route: [{destination: {host: d.io}}]}]",
        &["6:34 e0222", "6:54 w0403", "6:76 w0403", "6:101 w0403"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{uri: {regex: '('}, method: {regex: '*'}, headers: {a: {regex: '*'}, b: {regex: '['}}, queryParams: {c: {regex: '*a'}}}], route: [{destination: {host: d.io}}]}]",
        &["6:33 e0204", "6:55 e0204", "6:99 e0204", "6:131 e0204"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{port: 0}, {port: 65536}, {port: -1}, {port: 99999999999999999999999999999999999999999}, {port: 8.5}, {port: '80'}], route: [{destination: {host: d.io}}]}]",
        &["6:26 e0105", "6:37 e0105", "6:52 e0105", "6:64 e0105", "6:115 e0102", "6:128 e0102"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{sourceLabels: {'a b': x, app: 'y z', v: 1}}], route: [{destination: {host: d.io}}]}]",
        &["6:42 e0218", "6:50 e0218", "6:60 e0102"],
    ),
    (VS, "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}, weight: 0}]}]", &["6:55 w0603"]),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}, weight: 0}, {destination: {host: d.io}, weight: 3}]}]",
        &["6:19 i0205"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}}, {destination: {host: d.io}}]}]",
        &["6:11 e0205"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}, weight: 2147483647}, {destination: {host: d.io}, weight: 2147483647}, {destination: {host: d.io}, weight: 2147483647}]}]",
        &["6:11 e0205"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io, port: {number: 81}}}, {destination: {host: nowhere}, weight: 1}, {destination: {host: d.io, subset: v2}}]}]",
        &["6:19 i0205", "6:61 w0307", "6:89 w0303", "6:111 i0205", "6:146 e0304"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: '*.d.io'}}]}, {route: [{destination: {host: 'd.io:80'}}]}]",
        &["6:40 e0201", "6:54 w0401", "6:84 e0201"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{weight: 1}, {destination: {}}]}]",
        &["6:19 e0104", "6:33 e0104"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{redirect: {uri: /a}, route: [{destination: {host: d.io}}], fault: {abort: {httpStatus: 500, percentage: {value: 100}}}}]",
        &["6:11 e0107", "6:70 e0107"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{redirect: {}}, {redirect: {redirectCode: 200, uri: /a}}]",
        &["6:11 e0212", "6:26 w0401", "6:52 e0206"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{redirect: {uri: /a, prefixRewrite: /b, port: 80, derivePort: FROM_REQUEST_PORT, scheme: ftp}}]",
        &["6:31 e0107", "6:60 e0107", "6:99 e0222"],
    ),
    (VS, "  hosts: [a.io]\n  http: [{redirect: {derivePort: FROM_REQUEST}}]", &["6:34 e0103"]),
    (VS, "  hosts: [a.io]\n  http: [{directResponse: {}}]", &["6:11 e0104"]),
    (
        VS,
        "  hosts: [a.io]\n  http: [{directResponse: {status: 100, body: {string: a, bytes: '??'}}}]",
        &["6:36 e0206", "6:59 e0107"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{delegate: {name: delegat}}, {delegate: {name: root}}, {delegate: {}}]",
        &["6:28 e0302", "6:39 w0401", "6:57 w0302", "6:65 w0401", "6:66 e0104"],
    ),
    (VS, "  hosts: [a.io]\n  http: [{rewrite: {}, route: [{destination: {host: d.io}}]}]", &["6:11 e0212"]),
    (
        VS,
        "  hosts: [a.io]\n  http: [{rewrite: {uri: /a, uriRegexRewrite: {match: '(', rewrite: x}}, route: [{destination: {host: d.io}}]}]",
        &["6:30 e0107", "6:55 e0204"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{uri: {prefix: /api}}], rewrite: {uri: /}, route: [{destination: {host: d.io}}]}]",
        &["6:58 w0222"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{timeout: 5, route: [{destination: {host: d.io}}]}, {timeout: 100us, route: [{destination: {host: d.io}}]}, {timeout: 0s, route: [{destination: {host: d.io}}]}]",
        &["6:20 e0102", "6:72 e0209"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{retries: {retryOn: 5xx}, route: [{destination: {host: d.io}}]}]",
        &["6:11 e0210"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{timeout: 1s, retries: {attempts: 2, perTryTimeout: 2s, retryOn: 'gateway-eror, 503,999,5xx', backoff: 1us}, route: [{destination: {host: d.io}}]}]",
        &["6:62 w0210", "6:75 e0210", "6:75 e0210", "6:113 e0209"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{retries: {attempts: -1}, route: [{destination: {host: d.io}}]}]",
        &["6:31 e0105"],
    ),
    (VS, "  hosts: [a.io]\n  http: [{fault: {}, route: [{destination: {host: d.io}}]}]", &["6:11 e0211"]),
    (
        VS,
        "  hosts: [a.io]\n  http: [{fault: {delay: {percentage: {value: 101}}, abort: {percentage: {value: .nan}}}, route: [{destination: {host: d.io}}]}]",
        &["6:47 e0105", "6:82 e0105"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{fault: {delay: {fixedDelay: 0s}, abort: {grpcStatus: UNAVAILBLE}}, route: [{destination: {host: d.io}}]}]",
        &["6:19 w0211", "6:39 e0209", "6:44 w0211", "6:64 e0206"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{fault: {delay: {fixedDelay: 1s, exponentialDelay: 1s, percent: 50}, abort: {http2Error: x, percentage: {value: 1}}}, route: [{destination: {host: d.io}}]}]",
        &["6:43 e0107", "6:43 w0501", "6:65 i0504", "6:87 w0501"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{mirror: {host: d.io}, mirrors: [{destination: {host: nowhere.io}}], mirrorPercent: 200, route: [{destination: {host: d.io}}]}]",
        &["6:33 e0107", "6:64 w0303", "6:79 i0504", "6:94 e0105"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{mirror_percent: 50, route: [{destination: {host: d.io}}]}]",
        &["6:11 i0504", "6:27 w0212"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{corsPolicy: {allowOrigins: [{}, {regex: '('}], allowMethods: [get], allowHeaders: ['a b'], maxAge: 1500ms, unmatchedPreflights: DROP}, route: [{destination: {host: d.io}}]}]",
        &["6:39 e0222", "6:51 e0204", "6:73 e0222", "6:94 e0208", "6:110 e0209", "6:139 e0103"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{headers: {request: {set: {'a b': x, y: '%NOPE%'}, add: {z: '50%'}, remove: ['c d']}}, route: [{destination: {host: d.io}}]}]",
        &["6:44 e0208", "6:50 e0208", "6:70 e0208", "6:87 e0208"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}}]}, {match: [{uri: {prefix: /x}}], route: [{destination: {host: d.io}}]}]",
        &["6:50 w0401"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: d.io}}]}, {match: [{uri: {prefix: /a/b}}, {uri: {prefix: /b}}], route: [{destination: {host: d.io}}]}]",
        &["6:89 w0401"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  tls: [{match: [{sniHosts: [b.io]}], route: [{destination: {host: d.io}}]}]",
        &["6:30 e0201"],
    ),
    (
        VS,
        "  hosts: ['*.io']\n  tls: [{match: [{sniHosts: [b.io, '*.c.io'], destinationSubnets: [10.0.0.0/40]}], route: []}, {match: [], route: [{destination: {host: d.io}}]}, {route: [{destination: {host: d.io}}]}]",
        &["6:9 e0212", "6:68 e0207", "6:97 e0203", "6:147 e0104"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  tcp: [{route: [{destination: {host: d.io}}]}, {match: [{port: 80, sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: d.io}}]}]",
        &["6:49 w0401", "6:69 w0501"],
    ),
    (DR, "  subsets: [{name: v1, labels: {v: a}}]", &["4:1 e0104"]),
    (
        DR,
        "  host: nowhere.io\n  subsets: [{name: V1, labels: {v: a}}, {name: a, labels: {'v v': x}}, {name: a, labels: {v: b}}, {name: b}, {labels: {v: a}}]",
        &["5:9 w0305", "6:20 e0219", "6:67 e0218", "6:79 e0213", "6:99 i0603", "6:110 e0104"],
    ),
    (DR, "  host: d.io\n  trafficPolicy: {}", &["6:3 w0212"]),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {httpHeaderName: a, useSourceIp: true}}}",
        &["6:50 e0107", "6:86 e0107"],
    ),
    (DR, "  host: d.io\n  trafficPolicy: {loadBalancer: {consistentHash: {}}}", &["6:34 e0212"]),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: 'a b', maglev: {tableSize: 10}}}}",
        &["6:67 e0208", "6:94 e0105"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {loadBalancer: {simple: LEAST_CONN, localityLbSetting: {distribute: [{from: a, to: {b: 50}}], failover: [{from: a, to: a}]}}}",
        &["6:34 i0504", "6:54 e0107", "6:54 w0501", "6:97 e0205", "6:123 e0222"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s, maxConnections: -1}, http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE, idleTimeout: 1us}}}",
        &["6:58 e0209", "6:78 e0105", "6:109 e0107", "6:154 e0209"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {outlierDetection: {interval: 0s, maxEjectionPercent: 101, consecutiveErrors: 5}}",
        &["6:19 w0501", "6:48 e0209", "6:72 e0105"],
    ),
    (DR, "  host: d.io\n  trafficPolicy: {tls: {mode: MUTUAL}}", &["6:19 e0216", "6:19 e0216"]),
    (DR, "  host: d.io\n  trafficPolicy: {tls: {sni: a.io}}", &["6:19 w0216"]),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: /a}}",
        &["6:19 e0216", "6:25 w0501"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {tls: {mode: SIMPLE, clientCertificate: /a, credentialName: x}}",
        &["6:19 e0216", "6:62 w0501", "6:78 e0107"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {portLevelSettings: [{}, {port: {number: 80}}, {port: {number: 80}, tunnel: {}}], tunnel: {targetHost: a, protocol: GET}}",
        &["6:39 e0104", "6:66 e0214", "6:86 e0101", "6:100 e0104", "6:100 w0501", "6:134 e0103"],
    ),
    (
        SE,
        "  hosts: ['*', a.io, a.io]\n  ports: [{name: a, number: 80, protocol: HTPT}, {name: a, number: 80}]",
        &["5:11 e0201", "5:22 e0202", "6:43 e0215", "6:57 e0214", "6:68 e0214"],
    ),
    (SE, "  hosts: []\n  ports: [{number: 80}]", &["5:3 e0203", "6:11 e0104"]),
    (
        SE,
        "  hosts: ['*.a.io']\n  resolution: DNS\n  ports: [{name: a, number: 443, protocol: TLS}]",
        &["5:11 e0220"],
    ),
    (
        SE,
        "  hosts: [b.io]\n  resolution: STATIC\n  addresses: [x, 10.0.0.0/8]\n  ports: [{name: a, number: 443}]\n  endpoints: [{address: b.io}, {address: 10.0.0.1, ports: {b: 1}}, {}, {address: 'unix://x', ports: {a: 1}}]",
        &["7:15 e0207", "9:25 e0220", "9:63 e0307", "9:68 e0220", "9:82 e0217", "9:94 e0220"],
    ),
    (
        SE,
        "  hosts: [b.io]\n  resolution: DNS_ROUND_ROBIN\n  addresses: [10.0.0.0/8]\n  ports: [{name: a, number: 443}]\n  endpoints: [{address: a.io}, {address: 'a_b:1'}]\n  workloadSelector: {labels: {app: x}}",
        &["7:15 e0220", "9:3 e0220", "9:42 e0217", "10:3 e0107"],
    ),
    (
        SE,
        "  hosts: [b.io]\n  ports: [{name: a, number: 443}]\n  endpoints: [{address: 10.0.0.1}]",
        &["7:3 e0220"],
    ),
    (
        SE,
        "  hosts: [b.io]\n  resolution: DYNAMIC_DNS\n  location: MESH_OUTSIDE",
        &["5:11 e0220", "7:13 e0103"],
    ),
    ("Gateway", "  servers: []", &["5:3 e0203"]),
    (
        "Gateway",
        "  selector: {app: x}\n  servers: [{port: {number: 443, protocol: HTTPS}, hosts: []}, {port: {number: 80, protocol: HTTP}, hosts: [a/b/c, './x.io'], tls: {mode: SIMPLE}}, {hosts: ['*']}]",
        &["6:13 e0216", "6:52 e0203", "6:109 e0201", "6:127 e0216", "6:149 e0104"],
    ),
    (
        "Gateway",
        "  servers: [{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'], tls: {mode: MUTUAL, serverCertificate: /a, privateKey: /b, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}, {port: {number: 443, protocol: TCP, name: a}, hosts: ['*'], bind: nowhere}]",
        &["5:75 e0216", "5:154 e0216", "5:236 e0214", "5:260 e0217"],
    ),
    (
        "Gateway",
        "  servers: [{port: {number: 443, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x, cipherSuites: [a], minProtocolVersion: TLSV1_0}}]",
        &["5:86 w0501", "5:105 w0501", "5:144 w0501"],
    ),
    (
        "Sidecar",
        "  egress: [{hosts: [a.io]}, {hosts: ['*/*']}, {hosts: []}]",
        &["5:21 e0225", "5:29 e0214", "5:47 e0214", "5:48 e0203"],
    ),
    (
        "Sidecar",
        "  egress: [{captureMode: NONE, hosts: ['./*']}]\n  ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '10.0.0.1:80'}, {port: {number: 80, protocol: HTTP}, bind: x}, {}]\n  outboundTrafficPolicy: {}",
        &["5:12 e0104", "6:67 e0217", "6:84 e0214", "6:126 e0217", "6:130 e0104", "7:3 w0603"],
    ),
    (
        "Service",
        "  ports: [{port: 80}, {port: 80, name: a}, {name: a, port: 90, targetPort: 0}, {name: c, port: 91, targetPort: web}]\n  type: ClusterIp",
        &["5:11 e0104", "5:30 e0214", "5:51 e0214", "5:76 e0105", "6:9 e0103"],
    ),
    ("Service", "  type: ExternalName\n  whatever: {x: 1}", &["5:3 e0220"]),
    (
        "Proxy",
        "  admin: 0.0.0.0:15000\n  metrics: localhost:15090\n  health: 0.0.0.0:15000\n  drain: {deadline: 1s, minimum: 2s}\n  limits: {maxRequestHeadersCount: 0, tlsHandshakeTimeout: 0s}\n  accessLogFormat: '%NOPE%'\n  concurency: 2",
        &[
            "5:10 w0217",
            "6:12 e0217",
            "7:11 e0217",
            "8:34 e0222",
            "9:36 e0105",
            "9:60 e0209",
            "10:20 e0221",
            "10:20 w0212",
            "11:3 e0101",
        ],
    ),
    (
        "Proxy",
        "  accessLogFile: /dev/stdout\n  accessLogEncoding: JSON\n  accessLogFormat: '[%NOPE%]'\n  defaultHttpRetryPolicy: {attempts: 2, retryOn: x-y}\n  rootNamespace: A",
        &["7:20 e0221", "8:50 e0210", "9:18 e0219"],
    ),
];

#[test]
fn every_mistake_has_its_place() {
    let mut wrong = String::new();
    for (kind, spec, expected) in MISTAKES {
        let found = told(&manifest(kind, spec));
        if found != *expected {
            wrong.push_str(&format!("{kind}\n{spec}\n   expected {expected:?}\n   found    {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Mistakes between manifests, and around their `spec`.
#[test]
fn manifests_and_metadata() {
    let vs = |metadata: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {metadata}\nspec: {{hosts: [a.io], http: [{{directResponse: {{status: 200}}}}]}}\n"
        )
    };
    let policy =
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {}\n";
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", vs("{name: x}").replace('\n', "\n  "));
    let cases: &[(String, &[&str])] = &[
        (vs("{name: x}"), &[]),
        (list.trim_end().to_owned(), &[]),
        (vs("{name: x, uid: 5, managedFields: [], creationTimestamp: null}"), &[]),
        (vs("{}"), &["3:1 e0104"]),
        (vs("{name: X, namespace: a.b}"), &["3:18 e0219", "3:32 e0219"]),
        (vs("{name: x, lables: {a: b}}"), &["3:21 e0101"]),
        (vs("{name: x, labels: {a b: c, d: 5}}"), &["3:35 e0218", "3:41 e0102"]),
        (vs("{name: x, creationTimestamp: yesterday}"), &["3:40 e0222"]),
        (vs("{name: x}") + "---\n" + &vs("{name: x}"), &["8:18 e0013"]),
        (vs("{name: x}") + "extra: 1\n", &["5:1 e0101"]),
        (vs("{name: x}") + "hosts: [a]\n", &["5:1 e0101"]),
        ("just text\n".into(), &["1:1 e0010"]),
        ("a: 1\n".into(), &["1:1 e0010"]),
        ("apiVersion: v1\n".into(), &["1:1 e0010"]),
        (policy.into(), &["2:7 w0502"]),
        (
            policy.replace("security", "extensions").replace("AuthorizationPolicy", "WasmPlugin"),
            &["2:7 w0503"],
        ),
        ("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n".into(), &["2:7 w0503"]),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {x: 1}\n".into(), &[]),
        ("apiVersion: cert-manager.io/v1\nkind: Certificate\n".into(), &["2:7 i0505"]),
        (vs("{name: x}").replace("io/v1\n", "io/v2\n"), &["2:7 e0011"]),
        (vs("{name: x}").replace("networking.istio.io/v1\n", "v1\n"), &["2:7 e0011"]),
        (vs("{name: x}").replace("networking", "networkin"), &["2:7 e0011"]),
        ("apiVersion: sidle.dev/v1\nkind: Proxies\nmetadata: {name: x}\n".into(), &["2:7 e0011"]),
    ];
    for (text, expected) in cases {
        assert_eq!(told(text), *expected, "\n{text}{:?}", judge(text).1);
    }
}

#[test]
fn resources_are_typed_and_in_order() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: n, labels: {app: a}, creationTimestamp: 2026-01-31T12:00:00Z}\n\
        spec: {containers: [{name: c, ports: [{containerPort: 80, name: web}], image: x}], serviceAccountName: sa}\n\
        status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'False'}]}\n---\n\
        apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j}\n\
        spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: b}}}}}}\n---\n\
        apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\n\
        endpoints: [{addresses: [10.0.0.2]}]\nports: [{port: 80}]\n";
    let (config, diagnostics) = judge(text);
    assert_eq!(diagnostics, []);
    let pod = &config.pods[0];
    assert_eq!(pod.title(), "Pod n/p");
    assert_eq!((pod.spec.address(), pod.spec.is_ready()), (Some("10.0.0.1"), false));
    assert_eq!(pod.spec.spec.containers[0].ports[0].container_port, 80);
    assert!(pod.metadata.creation_timestamp.is_some());
    let job = &config.workloads[0];
    assert_eq!((job.kind, job.metadata.namespace.as_str()), ("CronJob", "default"));
    assert_eq!(job.spec.pod_template().metadata.labels["app"], "b");
    assert_eq!(config.endpoint_slices[0].spec.endpoints[0].addresses, ["10.0.0.2"]);
    assert_eq!((pod.order, job.order, config.endpoint_slices[0].order), (0, 1, 2));
    let origin = pod.origin(&["spec".into(), "containers".into(), 0.into(), "ports".into()]);
    assert_eq!((origin.line, origin.column), (4, 31));
}

#[test]
fn age_decides_ties() {
    let service = |name: &str, time: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}{time}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let (old, new) =
        (", creationTimestamp: 2025-01-01T00:00:00Z", ", creationTimestamp: 2026-01-01T00:00:00Z");
    let text = [service("a", ""), service("b", new), service("c", old), service("d", "")].concat();
    let (mut config, _) = judge(&text);
    config.services.sort_by(crate::age_order);
    let names: Vec<_> = config.services.iter().map(|service| service.metadata.name.as_str()).collect();
    assert_eq!(names, ["c", "b", "a", "d"]);
}

/// What a release of Istio's samples writes passes without a word.
#[test]
fn all_fields_are_known() {
    let text = manifest(
        VS,
        "  hosts: [reviews.io]\n  gateways: [mesh, public]\n  exportTo: ['.']\n  http:\n  - name: a\n    match:\n    - name: m\n      \
         uri: {prefix: /a}\n      scheme: {exact: https}\n      method: {regex: GET|POST}\n      authority: {prefix: rev}\n      \
         headers: {end-user: {exact: jason}}\n      withoutHeaders: {x: {}}\n      queryParams: {q: {regex: '*'}}\n      port: 80\n      \
         sourceLabels: {app: x}\n      sourceNamespace: n\n      ignoreUriCase: true\n    \
         route: [{destination: {host: d.io, subset: v1, port: {number: 80}}, weight: 100, headers: {response: {add: {a: b}}}}]\n    \
         rewrite: {uri: /b, authority: c}\n    timeout: 1m30s\n    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: '5xx,503', backoff: 50ms, retryIgnorePreviousHosts: false}\n    \
         fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 418, percentage: {value: 1}}}\n    \
         mirror: {host: d.io}\n    mirrorPercentage: {value: 5}\n    corsPolicy: {allowOrigins: [{exact: '*'}], allowMethods: [GET], maxAge: 24h, allowCredentials: true}\n    \
         headers: {request: {set: {x-a: '%REQ(x-b)%'}, remove: [y]}}\n  - directResponse: {status: 503, body: {string: sorry}}",
    );
    assert_eq!(told(&text), Vec::<String>::new(), "{:?}", judge(&text).1);
}

/// A document with a great many mistakes is told of in bounded time, and not to the last.
#[test]
fn mistakes_without_end_are_cut_off() {
    let unknown = (0..5_000).fold(String::new(), |text, n| text + &format!("  zzz{n}: {{}}\n"));
    let weights = "    - {destination: {host: '*'}, weight: -1}\n".repeat(4_000);
    let rules = "  - match: [{uri: {exact: /}}]\n    directResponse: {status: 1}\n".repeat(2_000);
    for spec in [
        unknown,
        format!("  hosts: [a.io]\n  http:\n  - route:\n{weights}"),
        format!("  hosts: [a.io]\n  http:\n{rules}"),
    ] {
        let begin = std::time::Instant::now();
        let found = judge(&manifest(VS, &spec)).1;
        assert!((1000..5000).contains(&found.len()), "{}", found.len());
        // Unoptimised and on a busy machine.
        assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    }
}
