//! Keys that are fetched: found, kept, and never waited for by others.

use super::stage::{ISSUER, LOOPBACK, Stage, authentication, bearer, claims, with};
use crate::envoy_oracle::{envoy::Envoy, export};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sidle_test_support::{
    client::{Client, request},
    echo::{self, Echo},
    issuer::key_set,
    peers, ports,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    tls::Authority,
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
        Self::on(Echo::start("issuer"), keys)
    }

    fn on(server: Echo, keys: &[Value]) -> Self {
        let server = KeyServer { server, keys: Arc::new(Mutex::new(key_set(keys))) };
        server.come_back();
        server
    }

    fn go(&self) {
        self.server.answer(|_| Some(echo::Answer::status(500)));
    }

    fn come_back(&self) {
        let shown = self.keys.clone();
        self.server.answer(move |_| {
            let body = shown.lock().unwrap().clone().into();
            Some(echo::Answer { body, ..echo::Answer::default() })
        });
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
    server.go();
    for change in [json!({"outputPayloadToHeader": "x-payload"}), json!({"timeout": "1s"})] {
        sidle.replace("shop.yaml", &rule(change.clone()));
        assert_eq!(sidle.admin_post("/reload").status, 200);
        assert_eq!(bearer(&sidle, &token).await.status, 200, "{change}");
    }
    assert_eq!(server.server.requests(), 1, "keys that are fresh are not fetched again");
}

/// A token of a new key has the keys fetched, and the issuer has nothing but errors: of the old key they are still believed.
#[tokio::test]
async fn keys_that_were_good_are_used_while_the_issuer_fails() {
    let Some(stage) = Stage::new() else { return };
    let server = KeyServer::start(&[stage.issuer.key("old", "Ed25519")]);
    let sidle = stage.run_with(&[json!({"issuer": ISSUER, "jwksUri": server.uri()})], LOOPBACK);
    let token = |key: &str| stage.issuer.token("pyjwt", key, "EdDSA", &claims());
    let old = token("old");
    status_of(&sidle, &old, 200).await;
    server.go();
    stage.issuer.key("new", "Ed25519");
    let begun = Instant::now();
    assert_eq!(bearer(&sidle, &token("new")).await.status, 401);
    assert_eq!(failure(&sidle).await, "answered 500 Internal Server Error");
    // A token that no worker has verified before.
    let another = stage.issuer.token("joserfc", "old", "EdDSA", &with(&claims(), json!({"sub": "anna"})));
    for token in [&old, &another] {
        assert_eq!(bearer(&sidle, token).await.status, 200);
    }
    // One for the token; the proxy itself tries again after a second, or nine tenths of it.
    let most = 1.0 + begun.elapsed().as_secs_f64() / 0.9;
    let failed = sidle.metrics().sum("sidle_jwks_fetches_total", &[("result", "failure")]);
    assert!((1.0..=most).contains(&failed), "{failed} fetches");
}

/// Ten thousand names that nobody has: whoever makes them up cannot make the proxy ask for them.
#[tokio::test]
async fn names_of_keys_cost_one_fetch_in_half_a_minute() {
    let names = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    let Some(stage) = Stage::new() else { return };
    let server = KeyServer::start(&[stage.issuer.key("a", "Ed25519")]);
    let sidle = stage.run_with(&[json!({"issuer": ISSUER, "jwksUri": server.uri()})], LOOPBACK);
    let token = stage.issuer.token("pyjwt", "a", "EdDSA", &claims());
    status_of(&sidle, &token, 200).await;
    let rest = token.split_once('.').unwrap().1;
    let begun = Instant::now();
    let mut client = Client::http1(sidle.ports.inbound).await;
    for number in 0..names {
        let header = json!({"alg": "EdDSA", "kid": format!("../{number}' OR 1")}).to_string();
        let token = format!("Bearer {}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header));
        let answer = client.ask(request("GET", "shop", "/").header("authorization", token)).await;
        assert_eq!(answer.status, 401);
    }
    let most = 2 + begun.elapsed().as_secs() / 30;
    assert!(server.server.requests() <= most, "{} fetches for {names} names", server.server.requests());
    println!("{names} names of keys in {:.1?}: {} fetches", begun.elapsed(), server.server.requests());
    assert_eq!(stage.application.requests(), 1);
    status_of(&sidle, &token, 200).await;
}

#[tokio::test]
async fn keys_come_over_tls_from_who_can_prove_to_be_the_issuer() {
    let Some(stage) = Stage::new() else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    let key = stage.issuer.key("a", "Ed25519");
    let token = stage.issuer.token("authlib", "a", "EdDSA", &claims());
    for (issuer, name, words) in [
        (&authority, "localhost", None),
        (&authority, "elsewhere.test", Some("not valid for name")),
        (&stranger, "localhost", Some("BadSignature")),
    ] {
        let server = Echo::start_tls("issuer", issuer.issue(&[name]));
        let server = KeyServer::on(server, std::slice::from_ref(&key));
        let uri = server.uri().replace("http://127.0.0.1", "https://localhost");
        let files = stage.files(&[authentication("tokens", &[json!({"issuer": ISSUER, "jwksUri": uri})])]);
        let builder = stage.builder(&files);
        let ca = builder.folder().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let settings = format!("  jwks: {{ allowPrivate: true, caCertificates: {} }}\n", ca.display());
        let sidle = builder.settings(&settings).start();
        let Some(words) = words else {
            status_of(&sidle, &token, 200).await;
            assert_eq!(server.server.last().authority, uri.split('/').nth(2).unwrap());
            continue;
        };
        let failure = failure(&sidle).await;
        assert!(failure.contains(words), "{failure}");
        assert_eq!((bearer(&sidle, &token).await.status.as_u16(), server.server.requests()), (401, 0));
    }
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
        // Who answers before it was asked is refused for that, whatever it says.
        if read_request(&mut stream).is_none() {
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"x: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let elsewhere = Echo::start("elsewhere");
    let target = format!("http://127.0.0.1:{}/", elsewhere.port());
    let failing = Echo::start("issuer");
    failing.answer(|_| Some(echo::Answer::status(500)));
    let redirecting = Echo::start("issuer");
    redirecting.answer(move |_| Some(echo::Answer::status(302).header("location", &target)));
    for (port, timeout, words) in [
        (endless.port(), "10s", "more than 1048576 bytes"),
        (slow.port(), "300ms", "no whole answer within 300ms"),
        (redirecting.port(), "10s", "answered 302"),
        (failing.port(), "10s", "answered 500"),
    ] {
        let uri = format!("http://127.0.0.1:{port}/keys");
        let sidle =
            stage.run_with(&[json!({"issuer": ISSUER, "jwksUri": uri, "timeout": timeout})], LOOPBACK);
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

/// What a token gets at this address.
async fn status_at(address: std::net::SocketAddr, token: &str) -> u16 {
    let ask = request("GET", "shop", "/").header("authorization", format!("Bearer {token}"));
    Client::http1(address).await.ask(ask).await.status.as_u16()
}

#[tokio::test]
async fn an_exported_envoy_fetches_the_same_keys() {
    let (Some(stage), Some(program)) = (Stage::new(), peers::find("envoy")) else { return };
    let authority = Authority::new();
    for secure in [false, true] {
        let key = stage.issuer.key("k", "Ed25519");
        let shown = key_set(std::slice::from_ref(&key));
        let server = match secure {
            true => Echo::start_tls("issuer", authority.issue(&["localhost"])),
            false => Echo::start("issuer"),
        };
        server.answer(move |_| Some(echo::Answer { body: shown.clone().into(), ..echo::Answer::default() }));
        let uri = match secure {
            true => format!("https://localhost:{}/keys", server.port()),
            false => format!("http://127.0.0.1:{}/keys", server.port()),
        };
        let builder = stage
            .builder(&stage.files(&[authentication("tokens", &[json!({"issuer": ISSUER, "jwksUri": uri})])]));
        let roots = builder.folder().join("roots");
        std::fs::write(&roots, authority.pem()).unwrap();
        let settings = format!("  jwks: {{ allowPrivate: true, caCertificates: {} }}\n", roots.display());
        let sidle = builder.settings(&settings).start();
        let folder = tempfile::tempdir().unwrap();
        let exported = export(sidle.folder(), &["--labels", "app=shop"]);
        let envoy = Envoy::start(&program, exported, folder.path(), &folder.path().join("log"));
        let good = stage.issuer.token("pyjwt", "k", "EdDSA", &claims());
        let forged = good[..good.len() - 8].to_owned() + "AAAAAAAA";
        for address in [sidle.ports.inbound, envoy.listeners[&sidle.ports.inbound.port()]] {
            wait::eventually("the keys", || async { (status_at(address, &good).await == 200).then_some(()) })
                .await;
            assert_eq!(status_at(address, &forged).await, 401);
        }
    }
}
