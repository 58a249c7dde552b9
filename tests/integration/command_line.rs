//! The rest of the command line: explain, export, completions.

use sidle_test_support::{peers::root, sidle::command};
use std::process::Output;

fn sidle(arguments: &[&str]) -> Output {
    command().current_dir(root()).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    text
}

#[test]
fn explain_shows_each_rule_and_why_it_did_not_match() {
    let arguments = ["explain", "-c", "config-examples/canary-header", "GET", "http://catalog.shop/"];
    let text = stdout(&sidle(&arguments));
    for part in ["x-canary", "everybody", "canary-header.yaml:", "outbound|80|v1|catalog.shop"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = stdout(&sidle(&[&arguments[..], &["-H", "x-canary: always"]].concat()));
    assert!(text.contains("outbound|80|v2|catalog.shop"), "{text}");
    let json = stdout(&sidle(&[&arguments[..], &["-o", "json"]].concat()));
    let _: serde_json::Value = serde_json::from_str(&json).unwrap();
}

#[test]
fn export_writes_an_envoy_bootstrap() {
    let text = stdout(&sidle(&["export", "envoy", "-c", "config-examples/quickstart"]));
    let bootstrap: serde_json::Value = serde_json::from_str(&text).unwrap();
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    assert!(clusters.iter().any(|cluster| cluster["name"] == "outbound|80|v1|echo.demo"));
}

#[test]
fn explain_tells_of_connections_of_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let manifests = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: db }\nspec:\n  hosts: [db.shop]\n  \
        addresses: [10.9.0.1]\n  resolution: STATIC\n  ports: [{ number: 3306, name: tcp, protocol: TCP }]\n  endpoints: [{ address: 127.0.0.1 }]\n---\n\
        apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: db }\nspec:\n  hosts: [db.shop]\n  tcp:\n  \
        - match: [{ destinationSubnets: [10.7.0.0/16] }]\n    route: [{ destination: { host: db.shop } }]\n  \
        - route: [{ destination: { host: db.shop } }]\n";
    std::fs::write(&path, manifests).unwrap();
    let path = path.to_str().unwrap();
    let told = stdout(&sidle(&["explain", "-c", path, "tcp://10.9.0.1:3306"]));
    let other = format!("no   {path}:17  destination: wanted 10.7.0.0/16, found \"10.9.0.1\"");
    for part in [&*other, &format!("yes  {path}:19"), "bytes to", "outbound|3306||db.shop"] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let wrong = sidle(&["explain", "-c", path, "tcp://10.9.0.1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("expected tcp://ADDRESS:PORT"));
}

#[test]
fn completions_are_for_the_shell_that_was_asked() {
    for (shell, part) in [("bash", "complete -F"), ("zsh", "#compdef sidle"), ("fish", "complete -c sidle")] {
        assert!(stdout(&sidle(&["completions", shell])).contains(part), "{shell}");
    }
}

#[test]
fn exit_codes_are_1_for_failures_and_2_for_usage() {
    assert_eq!(sidle(&["run", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(sidle(&["run", "-c", "/no/such/folder"]).status.code(), Some(1));
    let nobody = sidle_test_support::ports::free().to_string();
    let output = sidle(&["clusters", "--admin", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(&nobody),
        "errors are on stderr and name the address"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn what_a_value_should_be_is_said() {
    let number = "expected a whole number from";
    let (port, ip, address) =
        ("expected a port", "expected one IP address", "expected an IP address and a port");
    for (arguments, expected) in [
        (&["run", "--workers", "many"][..], number),
        (&["run", "--workers", "70000"], number),
        (&["run", "--admin", "localhost:15000"], address),
        (&["clusters", "--admin", "15000"], address),
        (&["demo", "--seconds", "1m"], number),
        (&["explain", "--source-ip", "10.0.0.0/8", "GET", "http://a/"], ip),
        (&["explain", "--remote-ip", "10.0.0", "GET", "http://a/"], ip),
        (&["explain", "--port", "http", "GET", "http://a/"], port),
        (&["explain", "GET", "http://a b/"], "not a URL such as"),
        (&["intercept", "print", "-p", "70000"], port),
        (&["intercept", "print", "-z", "0"], port),
        (&["intercept", "print", "--dns-port", "dns"], port),
        (&["intercept", "print", "-b", "80,8000-8010"], "`8000-8010`: expected a port"),
        (&["intercept", "print", "-d", "99999"], "`99999`: expected a port"),
        (&["intercept", "print", "-i", "10.0.0.0/33"], "`10.0.0.0/33`: expected an address or a range"),
        (&["intercept", "print", "-u", "sidle"], "expected a number; `id -u NAME`"),
        (&["intercept", "print", "-r", "main"], number),
    ] {
        let output = sidle(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn the_environment_configures_and_flags_win() {
    let explain = |namespace: Option<&str>, flag: &[&str]| {
        let mut command = command();
        command.current_dir(root()).env("SIDLE_CONFIG", "config-examples/gateway-virtual-service");
        if let Some(namespace) = namespace {
            command.env("POD_NAMESPACE", namespace);
        }
        let output =
            command.arg("explain").args(flag).args(["GET", "http://service-name/"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mine = explain(Some("mine"), &[]);
    assert!(mine.contains("service-name.mine.svc.cluster.local"), "{mine}");
    let flag = explain(Some("mine"), &["--namespace", "yours"]);
    assert!(flag.contains("service-name.yours.svc.cluster.local"), "{flag}");
}

#[test]
fn no_private_key_is_exported_or_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "SECRETSECRET"}, {"kty": "oct", "k": "SECRETSECRET"}]}"#;
    let pem = "-----BEGIN PRIVATE KEY-----\\nSECRETSECRET\\n-----END PRIVATE KEY-----\\n";
    let manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: own }}\nspec:\n  selector: {{ app: own }}\n  \
         ports: [{{ name: http, port: 80, targetPort: 8080 }}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{ name: r }}\nspec:\n  jwtRules:\n  \
         - issuer: me\n    jwks: '{jwks}'\n---\n\
         apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: g }}\nspec:\n  servers:\n  \
         - {{ port: {{ number: 8443, name: https, protocol: HTTPS }}, hosts: ['*'], tls: {{ mode: SIMPLE, credentialName: sec }} }}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{ name: sec }}\nstringData: {{ tls.crt: \"{pem}\", tls.key: \"{pem}\" }}\n"
    );
    let path = folder.path().join("m.yaml");
    std::fs::write(&path, manifests).unwrap();
    for (arguments, shown) in [
        (&["check"][..], "holds a private key"),
        (&["check", "-o", "json"], "holds a private key"),
        (&["export", "envoy", "-c"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
    ] {
        let output = command().args(arguments).arg(&path).args(["--labels", "app=own"]).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains("SECRETSECRET"), "{arguments:?}: {text}");
        assert!(text.contains(shown), "{arguments:?}: {text}");
    }
}
