//! Tokens that attackers send.

use super::stage::{ISSUER, Stage, bearer, claims};
use serde_json::{Value, json};
use sidle_test_support::{
    client::{Client, request},
    issuer::{key_set, seconds_from_now},
    tcp::TcpServer,
};

#[tokio::test]
async fn headers_that_choose_how_they_are_verified() {
    let Some(stage) = Stage::new() else { return };
    let lure = TcpServer::echo();
    let place = format!("http://127.0.0.1:{}/keys", lure.port());
    // Without `alg` and `use`, the key says least of what it is for.
    let mut bare = stage.issuer.key("a", "RSA");
    bare.as_object_mut().unwrap().retain(|name, _| ["kty", "n", "e"].contains(&name.as_str()));
    let attacker = stage.issuer.key("attacker", "RSA");
    let sidle = stage.run(&[json!({"issuer": ISSUER, "jwks": key_set(&[bare])})]);
    let payload = claims().to_string();
    let by_issuer = |header: &Value| stage.issuer.sign("a", &header.to_string(), &payload);
    let by_attacker = |header: &Value| stage.issuer.sign("attacker", &header.to_string(), &payload);
    let unsigned = |header: &str| {
        let signed = by_issuer(&json!({"alg": header}));
        signed.rsplit_once('.').unwrap().0.to_owned()
    };
    assert_eq!(bearer(&sidle, &by_issuer(&json!({"alg": "RS256", "kid": "../../x"}))).await.status, 200);
    let unsupported = "Jwt header [alg] is not supported";
    for (token, words) in [
        // The public key as a secret (CVE-2026-44699).
        (stage.issuer.forge("a", "{\"alg\":\"HS256\"}", &payload), unsupported),
        (by_issuer(&json!({"alg": "none"})), unsupported),
        (by_issuer(&json!({"alg": "nOnE"})), unsupported),
        (format!("{}.", unsigned("none")), "Jwt is not in the form of"),
        (format!("{}.", unsigned("RS256")), "Jwt is not in the form of"),
        (by_issuer(&json!({"alg": "PS256"})), "Jwt verification fails"),
        (by_issuer(&json!({"alg": "ES256"})), "Jwks doesn't have key"),
        (by_issuer(&json!({"alg": ["RS256"]})), "[alg] field is required and must be a string"),
        (by_issuer(&json!({"alg": "RS256", "crit": ["x"], "x": 1})), "[crit] is not supported"),
        (by_issuer(&json!({"alg": "RS256", "b64": false, "crit": ["b64"]})), "[crit] is not supported"),
        (
            stage.issuer.sign("a", "{\"alg\":\"RS256\",\"alg\":\"RS256\"}", &payload),
            "header is an invalid JSON",
        ),
        (format!("{}.x", by_issuer(&json!({"alg": "RS256"}))), "Jwt is not in the form of"),
        (
            format!("{}.x.y", by_issuer(&json!({"alg": "RSA-OAEP", "enc": "A128GCM"}))),
            "Jwt is not in the form of",
        ),
        (by_attacker(&json!({"alg": "RS256", "jwk": attacker})), "Jwt verification fails"),
        (by_attacker(&json!({"alg": "RS256", "jku": place, "x5u": place})), "Jwt verification fails"),
        (by_issuer(&json!({"alg": "RS256", "kid": 5})), "[kid] field is not a string"),
        (by_issuer(&json!({"alg": "RS256", "kid": "k".repeat(20_000)})), "Jwt is too large"),
    ] {
        let answer = bearer(&sidle, &token).await;
        assert_eq!(answer.status, 401, "{words}");
        assert!(answer.text().contains(words), "{words}: {}", answer.text());
    }
    assert_eq!(lure.connections(), 0, "what a token says of its own key is not looked at");
    assert_eq!(stage.application.requests(), 1);
}

#[tokio::test]
async fn claims_that_two_programs_read_in_two_ways() {
    let Some(stage) = Stage::new() else { return };
    let keys = key_set(&[stage.issuer.key("a", "Ed25519")]);
    let sidle = stage.run(&[json!({"issuer": ISSUER, "jwks": keys, "audiences": ["shop"]})]);
    let later = seconds_from_now(600);
    let start = format!("{{\"iss\":\"{ISSUER}\",\"aud\":\"shop\"");
    let of = |rest: &str| stage.issuer.sign("a", "{\"alg\":\"EdDSA\"}", &format!("{start}{rest}}}"));
    assert_eq!(bearer(&sidle, &of(&format!(",\"exp\":{later}"))).await.status, 200);
    let deep = |depth: usize| format!(",\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    for rest in [
        format!(",\"exp\":\"{later}\""),
        format!(",\"exp\":{later}.5"),
        ",\"exp\":-1".to_owned(),
        ",\"exp\":9223372036854775808".to_owned(),
        ",\"exp\":1e400".to_owned(),
        format!(",\"exp\":{}", seconds_from_now(-61)),
        format!(",\"nbf\":{}", seconds_from_now(90)),
        format!(",\"exp\":{later},\"exp\":1"),
        ",\"iss\":\"https://other.test\"".to_owned(),
        ",\"sub\":[\"jason\"]".to_owned(),
        deep(100),
        deep(5000),
    ] {
        let answer = bearer(&sidle, &of(&rest)).await;
        assert_eq!(answer.status, 401, "{}: {}", &rest[..rest.len().min(80)], answer.text());
    }
    let of_issuer = |text: &str| stage.issuer.sign("a", "{\"alg\":\"EdDSA\"}", text);
    for issuer in [format!("{ISSUER}/"), ISSUER.to_uppercase(), String::new()] {
        let token = of_issuer(&json!({"iss": issuer, "aud": "shop"}).to_string());
        assert_eq!(bearer(&sidle, &token).await.text(), "Jwt issuer is not configured", "{issuer}");
    }
    for audience in [json!(["other"]), json!([]), json!("Shop"), json!(null), json!(["shop", 1]), json!({})] {
        let answer = bearer(&sidle, &of_issuer(&json!({"iss": ISSUER, "aud": audience}).to_string())).await;
        assert!(matches!(answer.status.as_u16(), 401 | 403), "{audience}: {}", answer.status);
    }
    let missing = bearer(&sidle, &of_issuer(&json!({"iss": ISSUER}).to_string())).await;
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (403, "Audiences in Jwt are not allowed"));
    assert_eq!(stage.application.requests(), 1);
    let still = Client::http1(sidle.ports.inbound).await.ask(request("GET", "shop", "/")).await;
    assert_eq!(still.status, 200);
}
