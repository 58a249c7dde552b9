//! `sidle authz simulate` and `sidle explain`: who gets through is told as the proxy would have it, mTLS included.

use sidle_test_support::sidle::command;
use std::{path::Path, process::Output};

const WEB: &str = "cluster.local/ns/shop/sa/web";

/// A workload with ports 8080 and 9090, an identity, one rule that lets the shop's web in and one about a path.
fn manifests(peer_authentication: &str) -> String {
    format!(
        "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{ name: p }}\nspec: {{ identity: {{ directory: /nowhere }} }}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{ name: own }}\nspec:\n  selector: {{ app: own }}\n  \
         ports: [{{ name: http, port: 80, targetPort: 8080 }}, {{ name: http-b, port: 90, targetPort: 9090 }}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: a }}\nspec:\n  \
         rules: [{{ from: [{{ source: {{ principals: ['{WEB}'] }} }}] }}, {{ to: [{{ operation: {{ paths: [/open] }} }}] }}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: own }}\nspec:\n  \
         selector: {{ matchLabels: {{ app: own }} }}\n  {peer_authentication}\n"
    )
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output: Output = command()
        .current_dir(folder)
        .args(arguments)
        .args(["--labels", "app=own", "-c", "m.yaml"])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// What comes of each row: `allow rule` or `deny rule`.
fn simulate(manifests: &str, rows: &[String]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.yaml"), manifests).unwrap();
    std::fs::write(folder.path().join("table"), rows.concat()).unwrap();
    let (_, text) = run(folder.path(), &["authz", "simulate", "-o", "json", "-f", "table"]);
    // Notes follow.
    let found = serde_json::Deserializer::from_str(&text).into_iter().next();
    let found: serde_json::Value = found.and_then(Result::ok).unwrap_or_else(|| panic!("{text}"));
    let told = |one: &serde_json::Value| {
        format!("{} {}", one["found"].as_str().unwrap(), one["rule"].as_str().unwrap())
    };
    found.as_array().unwrap().iter().map(told).collect()
}

#[test]
fn a_port_that_demands_mtls_takes_nobody_in_the_clear() {
    let row = |port: &str, path: &str, principal: &str| {
        format!("- {{ url: 'http://own{path}'{port}{principal} }}\n")
    };
    let web = format!(", principal: {WEB}");
    let rows = |port: &str| {
        [
            row(port, "/", &web),
            row(port, "/open", &web),
            row(port, "/open", ""),
            row(port, "/", ""),
            format!("- {{ name: bytes{port} }}\n"),
        ]
    };
    let (allow, open) = ("allow ns[default]-policy[a]-rule[0]", "allow ns[default]-policy[a]-rule[1]");
    let (none, rule) = ("deny none", "ns[default]-policy[a]-rule[0]");
    for (mode, port, expected) in [
        ("mtls: { mode: STRICT }", ", port: 8080", [allow, allow, "closed", "closed", "closed"]),
        ("mtls: { mode: STRICT }", "", [allow, allow, "closed", "closed", "closed"]),
        ("mtls: { mode: PERMISSIVE }", ", port: 8080", [allow, allow, open, none, none]),
        // Nobody has a name where no certificate is asked for.
        ("mtls: { mode: DISABLE }", ", port: 8080", [none, open, open, none, none]),
        (
            "mtls: { mode: STRICT }\n  portLevelMtls: { 9090: { mode: PERMISSIVE } }",
            ", port: 9090",
            [allow, allow, open, none, none],
        ),
        (
            "mtls: { mode: STRICT }\n  portLevelMtls: { 9090: { mode: PERMISSIVE } }",
            ", port: 8080",
            [allow, allow, "closed", "closed", "closed"],
        ),
        // A port that no Service names.
        ("mtls: { mode: STRICT }", ", port: 7070", [allow, allow, "closed", "closed", "closed"]),
    ] {
        let told = simulate(&manifests(mode), &rows(port));
        for (told, expected) in told.iter().zip(expected) {
            match expected {
                "closed" => assert!(
                    told.starts_with("deny closed: mTLS is demanded (STRICT, m.yaml:"),
                    "{mode} {port}: {told}"
                ),
                expected => assert_eq!(told, expected, "{mode} {port} {rule}"),
            }
        }
    }
}

#[test]
fn explain_and_simulate_agree() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, principal, wanted) in [
        ("STRICT", None, "no filter chain takes the connection"),
        ("STRICT", Some(WEB), "127.0.0.1:8080"),
        ("PERMISSIVE", None, "no ALLOW rule holds"),
        ("PERMISSIVE", Some(WEB), "127.0.0.1:8080"),
        ("DISABLE", None, "no ALLOW rule holds"),
        ("DISABLE", Some(WEB), "no ALLOW rule holds"),
    ] {
        std::fs::write(folder.path().join("m.yaml"), manifests(&format!("mtls: {{ mode: {mode} }}")))
            .unwrap();
        let principal: Vec<_> = principal.iter().flat_map(|principal| ["--principal", *principal]).collect();
        let arguments =
            [&["explain", "--listener", "inbound"][..], &principal, &["GET", "http://own/"]].concat();
        let (_, told) = run(folder.path(), &arguments);
        assert!(told.contains(wanted), "{mode} {principal:?}: {told}");
    }
}

#[test]
fn what_no_client_can_be_or_send_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.yaml"), manifests("mtls: { mode: STRICT }")).unwrap();
    for (flags, method, wanted) in [
        (&["--principal", "spiffe://"][..], "GET", "`spiffe://` is not a principal"),
        (&["--principal", "cluster.local/ns//sa/b"], "GET", "is not a principal"),
        (&["--claim", "groups=[staff"], "GET", "the value is no JSON"),
        (&[], "get", "letter case counts"),
    ] {
        let (code, told) = run(folder.path(), &[&["explain", method, "http://own/"], flags].concat());
        assert!(code == Some(2) && told.contains(wanted), "{flags:?} {method}: {told}");
    }
    for (row, wanted) in [
        ("principal: 'spiffe://'", "line 1: `spiffe://` is not a principal"),
        ("method: get", "line 1: `get`: letter case counts"),
    ] {
        std::fs::write(folder.path().join("table"), format!("- {{ url: 'http://own/', {row} }}\n")).unwrap();
        let (code, told) = run(folder.path(), &["authz", "simulate", "-f", "table"]);
        assert!(code == Some(2) && told.contains(wanted), "{row}: {told}");
    }
}

/// Who has a token is let in.
const OF_TOKENS: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: own }\nspec:\n  selector: { app: own }\n  \
     ports: [{ name: http, port: 80, targetPort: 8080 }]\n---\n\
     apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: t }\nspec:\n  \
     rules: [{ from: [{ source: { requestPrincipals: ['*'] } }] }]\n---\n";

fn authentication(more: &str) -> String {
    format!(
        "{OF_TOKENS}apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{ name: r }}\nspec:\n  jwtRules:\n  \
         - issuer: me\n    jwks: '{{\"keys\": [{{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"x\": \
         \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}}]}}'\n{more}"
    )
}

#[test]
fn claims_count_where_a_proxy_would_believe_the_token() {
    let (any, of_shop) = (authentication(""), authentication("    audiences: [shop]\n"));
    let folder = tempfile::tempdir().unwrap();
    for (manifests, claims, simulated, explained) in [
        (OF_TOKENS, r#""sub": "b", "iss": "me""#, "deny none", "the claims are not known"),
        (&any, r#""sub": "b", "iss": "me""#, "allow ns[default]-policy[t]-rule[0]", "127.0.0.1:8080"),
        (&any, r#""sub": "b", "iss": "you""#, "deny 401: Jwt issuer is not configured", "401, Jwt issuer"),
        (&any, r#""sub": "b""#, "deny 401: Jwt issuer is not configured", "401, Jwt issuer"),
        (&any, r#""sub": "b", "iss": "me", "exp": 1000"#, "deny 401: Jwt is expired", "401, Jwt is expired"),
        (
            &any,
            r#""sub": "b", "iss": "me", "nbf": 99999999999"#,
            "deny 401: Jwt not yet valid",
            "401, Jwt not",
        ),
        (
            &of_shop,
            r#""sub": "b", "iss": "me""#,
            "deny 403: Audiences in Jwt are not allowed",
            "403, Audiences",
        ),
        (
            &of_shop,
            r#""sub": "b", "iss": "me", "aud": "x""#,
            "deny 403: Audiences in Jwt are not allowed",
            "403, Aud",
        ),
        (
            &of_shop,
            r#""sub": "b", "iss": "me", "aud": ["shop"]"#,
            "allow ns[default]-policy[t]-rule[0]",
            "127.0.0.1",
        ),
    ] {
        let row = format!("- {{ url: 'http://own/', claims: {{ {claims} }} }}\n");
        assert_eq!(simulate(manifests, &[row]), [simulated], "{claims}");
        std::fs::write(folder.path().join("m.yaml"), manifests).unwrap();
        let claims: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&format!("{{{claims}}}")).unwrap();
        let flags: Vec<_> = claims.iter().map(|(name, value)| format!("--claim={name}={value}")).collect();
        let mut arguments = vec!["explain", "--listener", "inbound", "GET", "http://own/"];
        arguments.extend(flags.iter().map(String::as_str));
        let (code, told) = run(folder.path(), &arguments);
        assert!(told.contains(explained), "{claims:?}: {told}");
        assert_eq!(code == Some(0), simulated.starts_with("allow"), "{claims:?}: {told}");
    }
}

#[test]
fn nobody_of_a_foreign_trust_domain_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let open = manifests("mtls: { mode: PERMISSIVE }");
    let alias = open.replace("/nowhere } }", "/nowhere }, trustDomainAliases: [other.example] }");
    let bundle = open.replace(
        "/nowhere }",
        "/nowhere, trustBundles: [{ trustDomain: other.example, rootCertificates: /nowhere/ca.crt }] }",
    );
    let strange = "other.example/ns/shop/sa/web";
    let row = format!("- {{ url: 'http://own/open', port: 8080, principal: {strange} }}\n");
    for (manifests, admitted) in [(&open, false), (&alias, true), (&bundle, true)] {
        let told = simulate(manifests, std::slice::from_ref(&row));
        assert_eq!(told[0].starts_with("allow"), admitted, "{told:?}");
        std::fs::write(folder.path().join("m.yaml"), manifests).unwrap();
        let flags = ["explain", "--listener", "inbound", "--principal", strange, "GET", "http://own/open"];
        let (code, told) = run(folder.path(), &flags);
        assert_eq!(code == Some(0), admitted, "{told}");
        assert_eq!(told.contains("nobody of trust domain `other.example` is believed"), !admitted, "{told}");
    }
}

#[test]
fn explain_is_told_the_server_name_too() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: sni }\nspec:\n  action: DENY\n  \
                rules: [{ when: [{ key: connection.sni, values: [a.own] }] }]\n";
    std::fs::write(
        folder.path().join("m.yaml"),
        format!("{}---\n{rule}", manifests("mtls: { mode: STRICT }")),
    )
    .unwrap();
    for (name, refused) in [("A.own", true), ("b.own", false)] {
        let flags =
            ["explain", "--listener", "inbound", "--principal", WEB, "--sni", name, "GET", "http://own/open"];
        let (_, told) = run(folder.path(), &flags);
        assert_eq!(told.contains("policy[sni]-rule[0]"), refused, "{name}: {told}");
        let row = format!("- {{ url: 'http://own/open', port: 8080, principal: {WEB}, sni: {name} }}\n");
        std::fs::write(folder.path().join("table"), row).unwrap();
        let (_, told) = run(folder.path(), &["authz", "simulate", "-f", "table"]);
        assert_eq!(told.contains("deny"), refused, "{name}: {told}");
    }
}
