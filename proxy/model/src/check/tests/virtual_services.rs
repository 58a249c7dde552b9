//! Mistakes of VirtualServices.

use super::Mistake;

const VS: &str = "VirtualService";

pub(super) const MISTAKES: &[Mistake] = &[
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
    (
        VS,
        "  hosts: [a.io]\n  http: [{rewrite: {authority: 'a b', uri: '/a b'}, route: [{destination: {host: d.io}}]}]",
        &["6:32 e0201", "6:44 e0222"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{rewrite: {uri: '/a?b', authority: 'http://a'}, route: [{destination: {host: d.io}}]}]",
        &["6:26 w0222", "6:45 e0201"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{rewrite: {uriRegexRewrite: {match: a, rewrite: \"a\\tb\"}}, route: [{destination: {host: d.io}}]}]",
        &["6:58 e0222"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{redirect: {authority: 'a/b', uri: \"/a\\nb\"}}, {match: [{uri: {exact: /}}], redirect: {uri: 'https://b.io/x'}}]",
        &["6:33 e0201", "6:45 e0222", "6:56 w0401", "6:101 w0222"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{headers: {request: {set: {Host: 'a b', ':path': /x, Content-Length: '3', x: y}, add: {host: b.io, te: a}, remove: [Host, ':authority', upgrade]}}, route: [{destination: {host: d.io}}]}]",
        &[
            "6:43 e0201",
            "6:59 w0601",
            "6:79 w0501",
            "6:103 w0601",
            "6:113 w0501",
            "6:126 w0601",
            "6:132 w0601",
            "6:146 w0501",
        ],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{route: [{destination: {host: d.io}, headers: {request: {set: {Host: b.io}}, response: {set: {host: a, ':status': '200'}, remove: [connection]}}}]}]",
        &["6:110 w0601", "6:124 w0601", "6:141 w0501"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{method: {exact: get}}, {method: {exact: POTS}}, {method: {regex: 'GET|post'}}, {method: {exact: 'G T'}}, {method: {exact: PURGE}}, {method: {regex: '[a-z]+'}}], route: [{destination: {host: d.io}}]}]",
        &["6:36 w0403", "6:60 w0103", "6:85 w0403", "6:116 w0403"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{scheme: {exact: HTTP}}, {scheme: {prefix: ws}}, {scheme: {prefix: http}}, {authority: {exact: 'a.io/b'}}, {authority: {exact: '*.a.io'}}, {headers: {upgrade: {exact: websocket}}}], route: [{destination: {host: d.io}}]}]",
        &["6:36 w0403", "6:62 w0403", "6:114 w0403", "6:146 w0403", "6:169 w0403"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{uri: {regex: 'api/.*'}}, {uri: {regex: '/a\\?b=.*'}}, {uri: {regex: '/a(\\?.*)?'}}, {uri: {regex: 'a?/b'}}, {uri: {regex: 'x|/y'}}], route: [{destination: {host: d.io}}]}]",
        &["6:33 w0403", "6:59 w0403"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  http: [{match: [{headers: {'@request.auth.claims.group': {exact: x}}}], route: [{destination: {host: d.io}}]}]",
        &["6:30 w0403"],
    ),
    (VS, "  hosts: [a.io]\n  http: [{route: [{destination: {host: ''}}]}]", &["6:40 e0201"]),
    (
        VS,
        "  hosts: [a.io, b.shop.io, c.shop.io, d.io]\n  gateways: [shop]\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["5:11 w0601", "5:28 w0601"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  gateways: [shop, public]\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["6:14 w0601"],
    ),
    (
        VS,
        "  hosts: [a.io]\n  gateways: [shop, mesh]\n  http: [{route: [{destination: {host: d.io}}]}]",
        &["6:14 w0601"],
    ),
];
