//! Tokens: verified, refused, taken off, told on.

use serde_json::{Value, json};
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{self, Echo},
    issuer::{Issuer, LIBRARIES, key_set, seconds_from_now},
    sidle::Sidle,
    wait,
};

/// `iss` of most tokens.
const ISSUER: &str = "https://issuer.test";

/// A workload whose requests may bring tokens.
struct Stage {
    issuer: Issuer,
    application: Echo,
}

impl Stage {
    fn new() -> Option<Self> {
        Some(Stage { issuer: Issuer::start()?, application: Echo::start("shop") })
    }

    /// Runs a proxy in front of it; `rules` are the items of `jwtRules`, as YAML flow or JSON.
    fn run(&self, rules: &[Value]) -> Sidle {
        self.run_with(rules, "")
    }

    fn run_with(&self, rules: &[Value], settings: &str) -> Sidle {
        let files = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
             ports: [{{ name: http, port: 80, targetPort: {} }}]\n---\n{}",
            self.application.port(),
            authentication(rules)
        );
        Sidle::builder()
            .file("shop.yaml", &files)
            .settings(settings)
            .arguments(&["--labels", "app=shop"])
            .start()
    }
}

fn authentication(rules: &[Value]) -> String {
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens"},
        "spec": {"selector": {"matchLabels": {"app": "shop"}}, "jwtRules": rules},
    });
    policy.to_string()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "jason", "exp": seconds_from_now(300)})
}

fn with(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

async fn bearer(sidle: &Sidle, token: &str) -> Answer {
    let ask = request("GET", "shop", "/").header("authorization", format!("Bearer {token}"));
    Client::http1(sidle.ports.inbound).await.ask(ask).await
}

#[tokio::test]
async fn tokens_of_every_library_and_algorithm_are_believed() {
    let Some(stage) = Stage::new() else { return };
    let kinds = [
        ("r", "RSA", "RS256"),
        ("p", "RSA", "PS256"),
        ("e", "P-256", "ES256"),
        ("s", "P-384", "ES384"),
        ("d", "Ed25519", "EdDSA"),
    ];
    let keys: Vec<Value> = kinds.iter().map(|(name, kind, _)| stage.issuer.key(name, kind)).collect();
    let sidle =
        stage.run(&[json!({"issuer": ISSUER, "jwks": key_set(&keys), "outputPayloadToHeader": "x-payload"})]);
    for library in LIBRARIES {
        for (name, _, algorithm) in kinds {
            let token = stage.issuer.token(library, name, algorithm, &claims());
            let answer = bearer(&sidle, &token).await;
            assert_eq!(answer.status, 200, "{library} {algorithm}: {}", answer.text());
            let headers = &answer.json()["headers"];
            assert_eq!(headers["x-payload"], *token.split('.').nth(1).unwrap());
            assert!(headers["authorization"].is_null(), "the application does not get the token");
        }
    }
}

#[tokio::test]
async fn no_token_passes_and_a_bad_one_is_refused_in_envoys_words() {
    let Some(stage) = Stage::new() else { return };
    let keys = [stage.issuer.key("a", "P-256")];
    stage.issuer.key("stranger", "P-256");
    let rule = json!({"issuer": ISSUER, "jwks": key_set(&keys), "audiences": ["shop"]});
    let log = tempfile::NamedTempFile::new().unwrap();
    let settings = format!(
        "  accessLogFile: {}\n  accessLogFormat: \"%RESPONSE_CODE_DETAILS%\\n\"\n",
        log.path().display()
    );
    let sidle = stage.run_with(&[rule], &settings);
    let plain = Client::http1(sidle.ports.inbound).await.get("shop", "/").await;
    assert_eq!(plain.status, 200, "a request without a token passes");

    let good = with(&claims(), json!({"aud": ["shop", "bank"]}));
    let make = |more: Value| stage.issuer.token("pyjwt", "a", "ES256", &with(&good, more));
    let unnamed = |key: &str| stage.issuer.token_with("joserfc", key, &json!({"alg": "ES256"}), &good);
    assert_eq!(bearer(&sidle, &make(json!({}))).await.status, 200);
    let mut logged = Vec::new();
    for (token, status, words) in [
        (
            "x".to_owned(),
            401,
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (make(json!({"exp": seconds_from_now(-120)})), 401, "Jwt is expired"),
        (make(json!({"nbf": seconds_from_now(120)})), 401, "Jwt not yet valid"),
        (make(json!({"iss": "https://other.test"})), 401, "Jwt issuer is not configured"),
        (make(json!({"aud": "bank"})), 403, "Audiences in Jwt are not allowed"),
        (unnamed("stranger"), 401, "Jwt verification fails"),
    ] {
        let answer = bearer(&sidle, &token).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (status, words));
        let challenge = match status {
            401 => "Bearer realm=\"http://shop/\", error=\"invalid_token\"",
            _ => "",
        };
        assert_eq!(answer.header("www-authenticate"), challenge);
        logged.push(format!("jwt_authn_access_denied{{{}}}", words.replace(' ', "_")));
    }
    // Workers' lines are written in any order.
    wait::eventually("the log", || async {
        let text = std::fs::read_to_string(log.path()).unwrap();
        logged.iter().all(|details| text.lines().any(|line| line == details)).then_some(())
    })
    .await;
    assert_eq!(stage.application.requests(), 2, "what is refused does not reach the application");

    let expired = make(json!({"exp": 1}));
    let grpc = request("POST", "shop", "/a.B/C")
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {expired}"));
    let answer = Client::http2(sidle.ports.inbound).await.ask(grpc).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "16"));
    assert_eq!(answer.header("grpc-message"), "Jwt is expired");
}

/// An issuer's web server; its keys may be changed.
struct KeyServer {
    server: Echo,
    keys: std::sync::Arc<std::sync::Mutex<String>>,
}

impl KeyServer {
    fn start(keys: &[Value]) -> Self {
        let keys = std::sync::Arc::new(std::sync::Mutex::new(key_set(keys)));
        let server = Echo::start("issuer");
        let shown = keys.clone();
        server.answer(move |_| {
            let body = shown.lock().unwrap().clone().into();
            Some(echo::Answer { body, ..echo::Answer::default() })
        });
        KeyServer { server, keys }
    }

    fn uri(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.server.port())
    }

    fn change(&self, keys: &[Value]) {
        *self.keys.lock().unwrap() = key_set(keys);
    }
}

const LOOPBACK: &str = "  jwks: { allowPrivate: true }\n";

/// Until the first keys are there.
async fn status_of(sidle: &Sidle, token: &str, wanted: u16) {
    wait::eventually("the status of a token", || async {
        (bearer(sidle, token).await.status == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_fetched_and_a_new_one_is_found_by_the_first_token_that_names_it() {
    let Some(stage) = Stage::new() else { return };
    let old = stage.issuer.key("old", "Ed25519");
    let server = KeyServer::start(std::slice::from_ref(&old));
    let sidle = stage.run_with(&[json!({"issuer": ISSUER, "jwksUri": server.uri()})], LOOPBACK);
    let token = |key: &str, algorithm: &str| stage.issuer.token("joserfc", key, algorithm, &claims());
    status_of(&sidle, &token("old", "EdDSA"), 200).await;
    assert_eq!(server.server.requests(), 1);

    let new = stage.issuer.key("new", "P-256");
    server.change(&[old, new.clone()]);
    assert_eq!(
        bearer(&sidle, &token("new", "ES256")).await.status,
        200,
        "the first that names it is believed"
    );
    assert_eq!(server.server.requests(), 2);

    // Names that nobody has cost no further fetch for a while.
    stage.issuer.key("nobody", "P-256");
    for _ in 0..20 {
        let answer = bearer(&sidle, &token("nobody", "ES256")).await;
        assert_eq!(answer.text(), "Jwks doesn't have key to match kid or alg from Jwt");
    }
    assert_eq!(server.server.requests(), 2);
    let metrics = sidle.metrics();
    assert_eq!(metrics.sum("sidle_jwks_fetches_total", &[("result", "success")]), 2.0, "{}", metrics.text);
    assert_eq!(metrics.sum("sidle_jwt_tokens_total", &[("result", "refused")]), 20.0, "{}", metrics.text);
}
