//! Mistakes of AuthorizationPolicies: what Istio would pass over is refused.

use super::Mistake;

const AP: &str = "AuthorizationPolicy";

pub(super) const MISTAKES: &[Mistake] = &[
    (AP, "  rules: [{}]", &[]),
    (
        AP,
        "  action: DENY\n  rules: [{from: [{source: {notPrincipals: ['*']}}], to: [{operation: {paths: ['/a/{*}']}}]}]",
        &[],
    ),
    (AP, "  rules: []", &["5:3 w0203"]),
    // A slash at the end makes another path.
    (
        AP,
        "  action: DENY\n  rules: [{to: [{operation: {paths: [/a, /b/, '/c*', '/d/{*}', '*/e', /f.html, /]}}]}]",
        &["6:38 w0404"],
    ),
    (
        AP,
        "  action: DENY\n  rules: [{to: [{operation: {paths: [/a, '/a/{**}', /b, /b/, /c, '/c/*', /d, '*/', /e/f]}}]}]",
        &[],
    ),
    (
        AP,
        "  action: CUSTOM\n  provider: {name: x}\n  rules: [{to: [{operation: {paths: [/a]}}]}]",
        &["7:38 w0404"],
    ),
    (AP, "  rules: [{to: [{operation: {paths: [/a]}}, {operation: {notPaths: [/a]}}]}]", &["5:69 w0404"]),
    (AP, "  action: AUDIT\n  rules: [{to: [{operation: {paths: [/a]}}]}]", &[]),
    (AP, "  action: DENY", &["5:3 e0203"]),
    (AP, "  action: AUDIT\n  rules: []", &["6:3 e0203"]),
    (AP, "  action: CUSTOM\n  rules: [{}]", &["5:3 e0104"]),
    (AP, "  action: CUSTOM\n  provider: {name: ''}\n  rules: [{}]", &["6:3 e0104"]),
    (
        AP,
        "  action: CUSTOM\n  provider: {name: x}\n  rules: [{from: [{source: {principals: [a]}}], when: [{key: source.principal, values: [a]}]}]",
        &["7:29 e0222", "7:62 e0222"],
    ),
    (AP, "  action: CUSTOM\n  provider: {name: juge}\n  rules: [{}]", &["6:20 w0313"]),
    (
        AP,
        "  action: CUSTOM\n  selector: {matchLabels: {app: other}}\n  provider: {name: juge}\n  rules: [{}]",
        &["7:20 w0313"],
    ),
    (AP, "  action: DENI\n  rules: [{}]", &["5:11 e0103"]),
    (AP, "  provider: {name: x}\n  rules: [{}]", &["5:3 e0107"]),
    (
        AP,
        "  selector: {matchLabels: {a: b}}\n  targetRefs: [{kind: Service, name: x}]\n  rules: [{}]",
        &["6:3 e0107"],
    ),
    (
        AP,
        "  targetRefs: [{group: apps, kind: Deployment, name: x}, {kind: Service, name: x, namespace: y}]\n  rules: [{}]",
        &["5:36 e0103", "5:94 e0222"],
    ),
    (AP, "  selector: {}\n  rules: [{}]", &["5:3 w0203"]),
    (AP, "  rules: [{from: [], to: [], when: []}]", &["5:12 e0203", "5:22 e0203", "5:30 e0203"]),
    (AP, "  rules: [{from: [{}], to: [{}]}]", &["5:19 e0104", "5:29 e0104"]),
    (AP, "  rules: [{from: [{source: {}}], to: [{operation: {}}]}]", &["5:20 e0203", "5:40 e0203"]),
    (AP, "  rules: [{from: [{source: {principals: [], ipBlocks: [10.0.0.0/8]}}]}]", &["5:29 e0203"]),
    (AP, "  rules: [{from: [{source: {principal: [a]}}]}]", &["5:29 e0101"]),
    (AP, "  rules: [{from: [{source: {serviceAccounts: [a], principals: [b]}}]}]", &["5:29 e0107"]),
    (
        AP,
        "  rules: [{from: [{source: {ipBlocks: [10.0.0.0/33, 10.0.0.0/8, x]}}]}]",
        &["5:40 e0222", "5:65 e0222"],
    ),
    (
        AP,
        "  rules: [{to: [{operation: {ports: ['80', http, '0'], methods: [get]}}]}]",
        &["5:44 e0222", "5:50 e0222", "5:66 e0222"],
    ),
    (
        AP,
        "  rules: [{to: [{operation: {paths: [admin, /a*b, '/a?x', '/a/{x}', '/a;b', /%61]}}]}]",
        &["5:38 e0222", "5:45 e0222", "5:51 e0222", "5:59 e0222", "5:69 w0222", "5:77 e0222"],
    ),
    (
        AP,
        "  rules: [{when: [{key: source.IP, values: [x]}, {key: 'request.headers[a]'}, {values: [a]}, {key: source.ip, values: [], notValues: ['1']}]}]",
        &["5:25 e0103", "5:50 e0203", "5:79 e0104", "5:111 e0203", "5:135 e0222"],
    ),
];

#[test]
fn the_providers_that_there_are_are_named() {
    let policy = |name: &str| {
        super::manifest(AP, &format!("  action: CUSTOM\n  provider: {{name: {name}}}\n  rules: [{{}}]"))
    };
    let said = |text: &str| -> Vec<(String, String)> {
        let found = super::judge(text).1.into_iter().filter(|told| told.code == "SDL0313");
        found.map(|told| (told.message, told.help.unwrap())).collect()
    };
    let refused =
        |name: &str| format!("no Proxy defines the provider `{name}`: what the rules match is refused");
    assert_eq!(said(&policy("juge")), [(refused("juge"), "did you mean `judge`?".into())]);
    assert_eq!(said(&policy("opa")), [(refused("opa"), "the providers are: judge, x".into())]);
    assert_eq!(said(&policy("judge")), []);
    let alone = policy("opa").split_once("---").unwrap().0.to_owned();
    let define = "define it in `extensionProviders` of a `kind: Proxy`";
    assert_eq!(said(&alone), [(refused("opa"), define.into())]);
}
