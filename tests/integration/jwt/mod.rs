//! Tokens: verified, refused, taken off, told on.
//!
//! Read: `stage` -> this file -> `places` (where they stand, where they go) -> `keys` (fetched) -> `attacks`.

mod attacks;
mod keys;
mod places;
mod routing;
mod stage;

use serde_json::{Value, json};
use sidle_test_support::{
    client::{Client, request},
    issuer::{LIBRARIES, key_set, seconds_from_now},
    wait,
};
use stage::{ISSUER, Stage, bearer, claims, with};

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
