//! Where tokens stand in requests, and what becomes of them and of what they say.

use super::stage::{ISSUER, Stage, authentication, bearer, claims, with};
use serde_json::{Value, json};
use sidle_test_support::{
    client::{Answer, Client, request},
    issuer::key_set,
    sidle::Sidle,
    wait,
};

async fn ask(sidle: &Sidle, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut ask = request("GET", "shop", path);
    for (name, value) in headers {
        ask = ask.header(*name, *value);
    }
    Client::http1(sidle.ports.inbound).await.ask(ask).await
}

#[tokio::test]
async fn by_default_a_token_stands_where_rfc_6750_puts_it_and_goes_no_further() {
    let Some(stage) = Stage::new() else { return };
    let keys = key_set(&[stage.issuer.key("a", "Ed25519")]);
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("log");
    let settings = format!("  accessLogFile: {}\n", log.display());
    let sidle = stage.run_with(&[json!({"issuer": ISSUER, "jwks": keys})], &settings);
    let token = stage.issuer.token("pyjwt", "a", "EdDSA", &claims());
    let (bearer, other_case) = (format!("Bearer {token}"), format!("bearer  {token}"));
    for value in [&bearer, &other_case] {
        let answer = ask(&sidle, "/a?b=1", &[("authorization", value), ("x-kept", "1")]).await.json();
        assert!(
            answer["headers"]["authorization"].is_null() && answer["headers"]["x-kept"] == "1",
            "{answer}"
        );
    }
    for (query, rest) in [
        (format!("?access_token={token}"), ""),
        (format!("?a=1&access_token={token}&b=%20"), "?a=1&b=%20"),
        (format!("?a&access%5Ftoken={token}"), "?a"),
    ] {
        let answer = ask(&sidle, &format!("/a{query}"), &[]).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["path"]),
            (200, &json!(format!("/a{rest}"))),
            "{query}"
        );
    }
    // Of other schemes there is no token; of two tokens, or two headers, neither is taken.
    assert_eq!(ask(&sidle, "/", &[("authorization", "Basic Zm9vOmJhcg==")]).await.status, 200);
    let stranger = stage.issuer.token("pyjwt", "a", "EdDSA", &with(&claims(), json!({"sub": "anna"})));
    for (path, headers) in [
        ("/".to_owned(), vec![("authorization", bearer.as_str()), ("authorization", &bearer)]),
        ("/".to_owned(), vec![("authorization", "Basic Zm9vOmJhcg=="), ("authorization", &bearer)]),
        (format!("/?access_token={stranger}"), vec![("authorization", bearer.as_str())]),
        (format!("/?access_token={token}&access_token={stranger}"), vec![]),
    ] {
        let answer = ask(&sidle, &path, &headers).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (401, "Found multiple Jwt tokens"),
            "{path}"
        );
        assert!(!answer.header("www-authenticate").contains("access_token"));
    }
    // A password beside a token in the query is the application's.
    let basic = [("authorization", "Basic Zm9vOmJhcg==")];
    let beside = ask(&sidle, &format!("/?access_token={token}"), &basic).await.json();
    assert_eq!(
        (&beside["headers"]["authorization"], &beside["path"]),
        (&json!("Basic Zm9vOmJhcg=="), &json!("/"))
    );
    let same = ask(&sidle, &format!("/?access_token={token}"), &[("authorization", &bearer)]).await;
    let arrived = same.json();
    assert_eq!((same.status.as_u16(), &arrived["path"]), (200, &json!("/")), "the same one, twice");
    assert!(arrived["headers"]["authorization"].is_null(), "{arrived}");
    let lines = wait::eventually("the log", || async {
        std::fs::read_to_string(&log).ok().filter(|lines| lines.lines().count() >= 12)
    })
    .await;
    assert!(lines.contains("access_token=-"), "{lines}");
    assert!(!lines.contains(&token) && !lines.contains(&stranger) && !lines.contains("eyJ"), "{lines}");
}

#[tokio::test]
async fn headers_parameters_and_cookies_of_the_users_choice() {
    let Some(stage) = Stage::new() else { return };
    let keys = key_set(&[stage.issuer.key("a", "Ed25519")]);
    let rule = json!({
        "issuer": ISSUER,
        "jwks": keys,
        "fromHeaders": [{"name": "X-Token", "prefix": "Token "}, {"name": "x-bare"}],
        "fromParams": ["t"],
        "fromCookies": ["session"],
    });
    let sidle = stage.run(&[rule]);
    let token = stage.issuer.token("pyjwt", "a", "EdDSA", &claims());
    let (prefixed, cookies) = (format!("Token {token}"), format!("a=1; session={token}; b=\"2\""));
    for (path, header) in [
        ("/".to_owned(), Some(("x-token", prefixed.as_str()))),
        ("/".to_owned(), Some(("x-bare", token.as_str()))),
        (format!("/?t={token}"), None),
        ("/".to_owned(), Some(("cookie", cookies.as_str()))),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let answer = ask(&sidle, &path, &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        assert!(!text.contains(&token), "{text}");
        let broken: Vec<_> =
            headers.iter().map(|(name, value)| (*name, value.replace("eyJ", "eyK"))).collect();
        let broken: Vec<_> = broken.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = ask(&sidle, &path.replace("eyJ", "eyK"), &broken).await;
        assert_eq!(answer.status, 401, "{path} {headers:?}");
    }
    let kept = ask(&sidle, "/", &[("cookie", &cookies)]).await;
    assert_eq!(kept.json()["headers"]["cookie"], "a=1; b=\"2\"");
    // Not the places of the default any more.
    assert_eq!(ask(&sidle, "/", &[("authorization", "Bearer x")]).await.status, 200);
}

#[tokio::test]
async fn what_a_token_says_is_told_on_and_nobody_else_may_say_it() {
    let Some(stage) = Stage::new() else { return };
    let keys = key_set(&[stage.issuer.key("a", "Ed25519")]);
    let rule = json!({
        "issuer": ISSUER,
        "jwks": keys,
        "forwardOriginalToken": true,
        "outputPayloadToHeader": "x-payload",
        "outputClaimToHeaders": [
            {"header": "X-Sub", "claim": "sub"},
            {"header": "x-role", "claim": "realm.role"},
            {"header": "x-age", "claim": "age"},
            {"header": "x-ok", "claim": "ok"},
            {"header": "x-list", "claim": "list"},
            {"header": "x-odd", "claim": "odd"},
        ],
    });
    let sidle = stage.run(&[rule]);
    let more =
        json!({"realm": {"role": "admin"}, "age": 42, "ok": true, "list": ["a"], "odd": "a\r\nx-evil: 1"});
    let token = stage.issuer.token("joserfc", "a", "EdDSA", &with(&claims(), more));
    let forged = [
        ("x-payload", "forged"),
        ("x-sub", "root"),
        ("x-role", "root"),
        ("x-list", "root"),
        ("x-odd", "1"),
        // To a program that gets headers as CGI's variables, this is `x-sub`.
        ("x_sub", "root"),
    ];
    let bearer = format!("Bearer {token}");
    let headers = [&forged[..], &[("authorization", &bearer)]].concat();
    // The second time it is known.
    for _ in 0..2 {
        let seen = ask(&sidle, "/", &headers).await.json()["headers"].clone();
        let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("authorization"), bearer, "the user asked for it to be forwarded");
        assert_eq!(text("x-payload"), token.split('.').nth(1).unwrap());
        assert_eq!(["x-sub", "x-role", "x-age", "x-ok"].map(text), ["jason", "admin", "42", "true"]);
        assert!(
            seen["x_sub"].is_null()
                && seen["x-list"].is_null()
                && seen["x-odd"].is_null()
                && seen["x-evil"].is_null(),
            "{seen}"
        );
    }
    let seen = ask(&sidle, "/", &forged).await.json()["headers"].clone();
    assert!(forged.iter().all(|(name, _)| seen[name].is_null()), "without a token neither: {seen}");
    let preflight = request("OPTIONS", "shop", "/")
        .header("origin", "https://a.test")
        .header("access-control-request-method", "GET")
        .header("authorization", "Bearer broken")
        .header("x-sub", "root");
    let answer = Client::http1(sidle.ports.inbound).await.ask(preflight).await;
    assert_eq!((answer.status.as_u16(), answer.json()["headers"]["x-sub"].is_null()), (200, true));
}

#[tokio::test]
async fn of_several_providers_one_has_to_believe() {
    let Some(stage) = Stage::new() else { return };
    let (a, b) = (stage.issuer.key("a", "Ed25519"), stage.issuer.key("b", "Ed25519"));
    let rule = |issuer: &str, key: &Value, header: &str| {
        json!({
            "issuer": issuer, "jwks": key_set(std::slice::from_ref(key)), "outputClaimToHeaders": [{"header": header, "claim": "sub"}],
        })
    };
    let own = [
        authentication("a", &[rule("https://a.test", &a, "x-a")]),
        authentication("b", &[rule("https://b.test", &b, "x-b")]),
    ];
    let sidle = stage.builder(&stage.files(&own)).start();
    let token = |key: &str, issuer: &str, sub: &str| {
        stage.issuer.token("pyjwt", key, "EdDSA", &with(&claims(), json!({"iss": issuer, "sub": sub})))
    };
    let of_b = bearer(&sidle, &token("b", "https://b.test", "anna")).await;
    assert_eq!(
        (&of_b.json()["headers"]["x-b"], of_b.json()["headers"]["x-a"].is_null()),
        (&json!("anna"), true)
    );
    for (token, words) in [
        (token("a", "https://b.test", "x"), "Jwks doesn't have key to match kid or alg from Jwt"),
        (token("a", "https://c.test", "x"), "Jwt issuer is not configured"),
    ] {
        assert_eq!(bearer(&sidle, &token).await.text(), words);
    }
    assert_eq!(ask(&sidle, "/", &[]).await.status, 200);
}
