//! Keys that are fetched: found, kept, and never waited for by others.

use super::stage::{ISSUER, LOOPBACK, Stage, authentication, bearer, claims};
use serde_json::{Value, json};
use sidle_test_support::{
    client::Client,
    echo::{self, Echo},
    issuer::key_set,
    ports,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    wait,
};
use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// An issuer's web server; its keys may be changed.
struct KeyServer {
    server: Echo,
    keys: Arc<Mutex<String>>,
}

impl KeyServer {
    fn start(keys: &[Value]) -> Self {
        let keys = Arc::new(Mutex::new(key_set(keys)));
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
    assert!(metrics.sum("sidle_jwt_tokens_total", &[("result", "refused")]) >= 20.0, "{}", metrics.text);
}

#[tokio::test]
async fn an_issuer_that_is_away_at_the_start_is_waited_for_by_nobody() {
    let Some(stage) = Stage::new() else { return };
    let (away, here) = (stage.issuer.key("away", "P-256"), stage.issuer.key("here", "Ed25519"));
    let address = ports::free();
    let rules = [
        json!({"issuer": "https://away.test", "jwksUri": format!("http://{address}/keys")}),
        json!({"issuer": ISSUER, "jwks": key_set(&[here])}),
    ];
    let sidle = stage.run_with(&rules, LOOPBACK);
    let mut client = Client::http1(sidle.ports.inbound).await;
    assert_eq!(client.get("shop", "/").await.status, 200, "no token, no key");
    let of_other = stage.issuer.token("pyjwt", "here", "EdDSA", &claims());
    assert_eq!(bearer(&sidle, &of_other).await.status, 200, "another issuer");
    let mut of_away = claims();
    of_away["iss"] = json!("https://away.test");
    let of_away = stage.issuer.token("pyjwt", "away", "ES256", &of_away);
    let answer = bearer(&sidle, &of_away).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, "Jwks remote fetch is failed"));
    let shown = sidle.admin("/jwks").json()["jwks"][0].clone();
    assert_eq!(shown["location"], format!("http://{address}/keys"));
    wait::eventually("a failure", || async {
        sidle.admin("/jwks").json()["jwks"][0]["last_failure"].is_string().then_some(())
    })
    .await;

    let server = Echo::at("issuer", address);
    let body = key_set(&[away]);
    server.answer(move |_| Some(echo::Answer { body: body.clone().into(), ..echo::Answer::default() }));
    status_of(&sidle, &of_away, 200).await;
    let shown = sidle.admin("/jwks").json()["jwks"][0].clone();
    assert_eq!(shown["keys"], json!([{"kid": "away", "algorithms": ["ES256"]}]));
    assert!(shown["last_failure"].is_null() && shown["age_seconds"].is_u64(), "{shown}");
}

#[tokio::test]
async fn keys_outlive_a_reload_and_an_issuer_that_goes() {
    let Some(stage) = Stage::new() else { return };
    let server = KeyServer::start(&[stage.issuer.key("a", "Ed25519")]);
    let rule = |more: Value| {
        let mut rule = json!({"issuer": ISSUER, "jwksUri": server.uri()});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.files(&[authentication("tokens", &[rule])])
    };
    let sidle = stage.builder(&rule(json!({}))).settings(LOOPBACK).start();
    let token = stage.issuer.token("authlib", "a", "EdDSA", &claims());
    status_of(&sidle, &token, 200).await;
    server.server.answer(|_| Some(echo::Answer::status(500)));
    for change in [json!({"outputPayloadToHeader": "x-payload"}), json!({"timeout": "1s"})] {
        sidle.replace("shop.yaml", &rule(change.clone()));
        assert_eq!(sidle.admin_post("/reload").status, 200);
        assert_eq!(bearer(&sidle, &token).await.status, 200, "{change}");
    }
    assert_eq!(server.server.requests(), 1, "keys that are fresh are not fetched again");
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    let Some(stage) = Stage::new() else { return };
    let key = stage.issuer.key("a", "RSA");
    let server = Echo::start("issuer");
    let issuer = format!("http://127.0.0.1:{}/realm/", server.port());
    let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}keys")}).to_string();
    let keys = key_set(&[key]);
    server.answer(move |request| {
        let body = match request.path.as_str() {
            "/realm/.well-known/openid-configuration" => document.clone(),
            "/realm/keys" => keys.clone(),
            _ => return Some(echo::Answer::status(404)),
        };
        Some(echo::Answer { body: body.into(), ..echo::Answer::default() })
    });
    let sidle = stage.run_with(&[json!({"issuer": issuer})], LOOPBACK);
    let mut claims = claims();
    claims["iss"] = json!(issuer);
    status_of(&sidle, &stage.issuer.token("joserfc", "a", "RS256", &claims), 200).await;
}

/// What `/jwks` says of the one place, once it says why it failed.
async fn failure(sidle: &Sidle) -> String {
    wait::eventually("a failure", || async {
        sidle.admin("/jwks").json()["jwks"][0]["last_failure"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn what_an_issuer_may_cost_has_a_bound() {
    let Some(stage) = Stage::new() else { return };
    // A gigabyte, if anybody reads it; a head that never ends; another place to ask.
    let endless = TcpServer::start(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        }
    });
    let slow = TcpServer::start(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"x: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let elsewhere = Echo::start("elsewhere");
    let target = format!("http://127.0.0.1:{}/", elsewhere.port());
    let redirecting = Echo::start("issuer");
    redirecting.answer(move |_| Some(echo::Answer::status(302).header("location", &target)));
    for (port, words) in [
        (endless.port(), "more than 1048576 bytes"),
        (slow.port(), "no whole answer within 300ms"),
        (redirecting.port(), "answered 302"),
    ] {
        let uri = format!("http://127.0.0.1:{port}/keys");
        let sidle =
            stage.run_with(&[json!({"issuer": ISSUER, "jwksUri": uri, "timeout": "300ms"})], LOOPBACK);
        let begun = Instant::now();
        let failure = failure(&sidle).await;
        assert!(failure.contains(words), "{failure}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(sidle.peak_resident_bytes() < 100 << 20, "{}", sidle.peak_resident_bytes());
        assert_eq!(Client::http1(sidle.ports.inbound).await.get("shop", "/").await.status, 200);
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn what_only_the_proxy_can_reach_is_not_asked_for_others() {
    let Some(stage) = Stage::new() else { return };
    let secret = Echo::start("secret");
    for (host, settings) in [
        ("127.0.0.1", ""),
        ("127.0.0.9", ""),
        ("localhost", ""),
        ("[::1]", ""),
        ("[::ffff:127.0.0.1]", ""),
        ("169.254.169.254", LOOPBACK),
        ("127.0.0.1", "  jwks: { allowAddresses: [127.0.0.9] }\n"),
    ] {
        let uri = format!("http://{host}:{}/keys", secret.port());
        let sidle = stage.run_with(&[json!({"issuer": ISSUER, "jwksUri": uri})], settings);
        let failure = failure(&sidle).await;
        assert!(failure.contains("is not asked"), "{host}: {failure}");
    }
    assert_eq!(secret.connections(), 0);
    let sidle = stage.run_with(
        &[json!({"issuer": ISSUER, "jwksUri": format!("http://127.0.0.1:{}/keys", secret.port())})],
        "  jwks: { allowAddresses: [127.0.0.0/30] }\n",
    );
    assert!(failure(&sidle).await.contains("Jwks"), "it is asked, and is no issuer");
}
