//! Mistakes of DestinationRules, ServiceEntries, Gateways, Sidecars, Services and Proxies.

use super::Mistake;

const DR: &str = "DestinationRule";
const SE: &str = "ServiceEntry";

pub(super) const MISTAKES: &[Mistake] = &[
    (DR, "  host: ''", &["5:9 e0201"]),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {portLevelSettings: [{port: {number: 81}}, {port: {number: 80}}]}\n  subsets: [{name: a, labels: {a: b}, trafficPolicy: {portLevelSettings: [{port: {number: 82}}]}}]",
        &["6:55 w0307", "7:91 w0307"],
    ),
    (
        "Gateway",
        "  servers: [{name: x, port: {number: 443, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /a}]}}]",
        &["5:14 i0501", "5:113 e0216"],
    ),
    (
        "Sidecar",
        "  ingress: [{port: {number: 80, protocol: HTTP}, tls: {mode: SIMPLE, credentialName: x, httpsRedirect: true}}, {port: {number: 81, protocol: HTTPS}, tls: {mode: MUTUAL, credentialName: x}}]",
        &["5:43 e0216", "5:104 e0216"],
    ),
    (
        "Sidecar",
        "  ingress: [{port: {number: 80, protocol: tls}, tls: {mode: ISTIO_MUTUAL}}, {port: {number: 81, protocol: TLS}, tls: {}}, {port: {number: 82, protocol: TLS}, tls: {mode: SIMPLE}}]",
        &["5:61 e0103", "5:113 e0216", "5:159 e0216"],
    ),
    (
        "Service",
        "  port: [{port: 80}]\n  selectors: {a: b}\n  ipFamilies: [IPv4]\n  type: ClusterIP",
        &["5:3 w0101", "6:3 w0101"],
    ),
    (
        "Service",
        "  ports: [{prot: 80, targetport: 8080, nodePort: 30000}]",
        &["5:11 e0104", "5:12 w0101", "5:22 w0101"],
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
        &["6:34 i0504", "6:54 e0107", "6:97 e0205", "6:123 e0222"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 0s, aggression: 0.5}}}",
        &["6:50 w0212", "6:69 e0209", "6:85 e0105"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s, maxConnections: -1}, http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE, idleTimeout: 1us}}}",
        &["6:58 e0209", "6:78 e0105", "6:109 e0107", "6:154 e0209"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {outlierDetection: {interval: 0s, maxEjectionPercent: 101, consecutiveErrors: 5}}",
        &["6:48 e0209", "6:72 e0105", "6:77 i0504"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0}, portLevelSettings: [{port: {number: 80}, outlierDetection: {consecutiveGatewayErrors: 6, consecutiveLocalOriginFailures: 1}}]}",
        &["6:19 w0212", "6:150 w0212", "6:185 w0212"],
    ),
    (DR, "  host: d.io\n  trafficPolicy: {tls: {mode: MUTUAL}}", &["6:19 e0216", "6:19 e0216"]),
    (DR, "  host: d.io\n  trafficPolicy: {tls: {sni: a.io}}", &["6:19 w0216"]),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: /a}}",
        &["6:19 e0216", "6:31 w0309"],
    ),
    (
        DR,
        "  host: d.io\n  trafficPolicy: {tls: {mode: SIMPLE, clientCertificate: /a, credentialName: x}}",
        &["6:19 e0216", "6:78 e0107", "6:78 w0310"],
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
        &["5:105 e0216", "5:144 w0501"],
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
        "  extensionProviders:\n  - {name: a, envoyExtAuthzGrpc: {service: e.io, port: 80}}\n  - {name: b, envoyExtAuthzHttp: {service: default/d.io, port: 81}}\n  - {name: c, envoyExtAuthzHttp: {service: other/e, port: 80, failOpen: true}}\n  - {name: d, envoyExtAuthzGrpc: {service: d.io, port: 80}}",
        &["6:44 w0303", "7:64 w0307", "8:44 w0303"],
    ),
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
    (
        "Proxy",
        "  limits: {streamIdleTimeout: 0s, connectionIdleTimeout: 0s, requestTimeout: 0s}\n  protocolDetectionTimeout: 0s",
        &[],
    ),
    (
        "Proxy",
        "  limits: {streamIdleTimeout: 1us, connectionIdleTimeout: 1us, requestTimeout: 1us}\n  protocolDetectionTimeout: 1us",
        &["5:31 e0209", "5:59 e0209", "5:80 e0209", "6:29 e0209"],
    ),
    (
        "Proxy",
        "  limits: {maxRequestHeadersBytes: 8388609, maxRequestHeadersCount: 10001}",
        &["5:36 e0105", "5:69 e0105"],
    ),
    ("Proxy", "  limits: {maxRequestHeadersBytes: 8388608, maxRequestHeadersCount: 10000}", &[]),
    ("HealthPolicy", "  successRate: {}", &["5:3 e0104"]),
    ("HealthPolicy", "  host: nobody.io", &["5:3 w0212", "5:9 w0305"]),
    (
        "HealthPolicy",
        "  host: '*.d*.io'\n  successRate: {stdevFactor: -1}\n  failurePercentage: {threshold: 101}",
        &["5:9 e0201", "6:30 e0105", "7:34 e0105"],
    ),
    ("HealthPolicy", "  host: d.io\n  failurePercentage: {threshold: 50}", &[]),
    ("HealthPolicy", "  host: d.io\n  healthCheck: {tcp: {}, interval: 5s}", &[]),
    ("HealthPolicy", "  host: d.io\n  healthCheck: {interval: 5s}", &["6:3 e0104"]),
    (
        "HealthPolicy",
        "  host: d.io\n  healthCheck: {http: {path: health, host: 'a b', expectedStatuses: [99]}, timeout: 0s, healthyThreshold: 0}",
        &["6:30 e0222", "6:44 e0201", "6:70 e0105", "6:85 e0209", "6:107 e0105"],
    ),
    ("HealthPolicy", "  host: d.io\n  healthCheck: {http: {}, tcp: {}}", &["6:27 e0107"]),
    ("UpstreamPolicy", "  peakEwma: {}", &["5:3 e0104"]),
    ("UpstreamPolicy", "  host: nobody.io", &["5:3 w0212", "5:9 w0305"]),
    (
        "UpstreamPolicy",
        "  host: d.io\n  peakEwma: {decay: 5s}\n  hedging: {percentile: 95, after: 20ms}",
        &[],
    ),
    (
        "UpstreamPolicy",
        "  host: '*.d*.io'\n  peakEwma: {decay: 0s}\n  hedging: {percentile: 100, after: 1us}",
        &["5:9 e0201", "6:21 e0209", "7:25 e0105", "7:37 e0209"],
    ),
    (
        "HealthPolicy",
        "  host: d.io\n  latency: {factor: 0.5, minimum: 10}\n  probing: {requests: 0}",
        &["6:21 e0105", "6:35 e0102", "7:23 e0105"],
    ),
    (
        "FaultPolicy",
        "  host: d.io\n  tcp: {reset: {percentage: {value: 5}}}\n  http: {abort: {httpStatus: 503, percentage: {value: 5}}}",
        &[],
    ),
    ("FaultPolicy", "  http: {}\n  tcp: {cut: {afterBytes: 5}}", &["5:3 e0104", "5:3 e0211", "6:9 w0211"]),
    ("RateLimitPolicy", "  tokenBucket: {maxTokens: 1, fillInterval: 50ms}\n  key: {header: x-user}", &[]),
    ("RateLimitPolicy", "  hosts: ['a*']\n  key: {}", &["5:3 e0104", "5:11 e0201", "6:3 e0104"]),
    (
        "RateLimitPolicy",
        "  tokenBucket: {maxTokens: 0, fillInterval: 49ms}\n  key: {header: 'x y', source: ADDRESS}",
        &["5:28 e0105", "5:45 e0209", "6:3 e0222", "6:17 e0208"],
    ),
    (
        "RateLimitPolicy",
        "  rateLimitService: {service: d.io, port: 80, domain: shop, rateLimits: [{actions: [{remoteAddress: {}}]}]}",
        &[],
    ),
    (
        "RateLimitPolicy",
        "  rateLimitService: {service: limits, port: 8081, domain: shop, rateLimits: [{actions: [{remoteAddress: {}}]}]}",
        &["5:31 w0303"],
    ),
    (
        "RateLimitPolicy",
        "  rateLimitService: {service: d.io, port: 81, domain: shop, rateLimits: [{actions: [{remoteAddress: {}}]}]}",
        &["5:43 w0307"],
    ),
    (
        "RateLimitPolicy",
        "  rateLimitService:\n    service: limits\n    rateLimits:\n    - actions: [{}, {remoteAddress: {}, genericKey: {}}]\n    - actions: [{requestHeaders: {headerName: 'a b', descriptorKey: k}}]\n  key: {header: x}",
        &[
            "5:3 e0104",
            "5:3 e0105",
            "6:14 w0303",
            "8:17 e0107",
            "8:21 e0107",
            "8:41 e0104",
            "9:47 e0208",
            "10:3 e0107",
        ],
    ),
    (
        "RateLimitPolicy",
        "  rateLimitService: {service: limits, port: 1, domain: d, rateLimits: [{actions: [{headerValueMatch: {descriptorValue: v, headers: {x: {regex: '('}}}}]}]}",
        &["5:31 w0303", "5:144 e0204"],
    ),
    (
        "RateLimitPolicy",
        "  tokenBucket: {maxTokens: 1, fillInterval: 1s}\n  rateLimitService: {service: limits, port: 1, domain: d}",
        &["6:3 e0107", "6:31 w0303"],
    ),
    ("ConcurrencyPolicy", "  ports: [8080]\n  minRtt: {interval: 30s}\n  healthCheckPaths: [/healthz]", &[]),
    (
        "ConcurrencyPolicy",
        "  maxConcurrencyLimit: 2\n  concurrencyUpdateInterval: 0s\n  minRtt: {jitter: 101}\n  healthCheckPaths: [healthz]",
        &["5:24 e0222", "6:30 e0209", "7:20 e0105", "8:22 e0222"],
    ),
    (
        "Service",
        "  ports: [{port: 53, name: dns, protocol: UDP}]\n  internalTrafficPolicy: Local",
        &["5:33 i0501", "6:3 w0501"],
    ),
];
