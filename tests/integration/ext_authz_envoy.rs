//! A real Envoy on the exported configuration asks the same authoriser, and does with the answer what Sidle does.

use crate::{
    envoy_oracle::{envoy::Envoy, export},
    ext_authz::{Authoriser, Guarded},
    ext_authz_bytes::{guarded, hello_to},
};
use serde_json::{Value, json};
use sidle_test_support::{
    client::{Client, request},
    echo::{self, Echo, full},
    peers,
    sidle::{Sidle, http_get},
    tcp::TcpServer,
};
use std::net::SocketAddr;
use tempfile::TempDir;

/// An Envoy on what is exported of `sidle`'s configuration.
fn envoy(sidle: &Sidle) -> Option<(Envoy, TempDir)> {
    let program = peers::find("envoy")?;
    let folder = tempfile::tempdir().unwrap();
    let export = export(sidle.folder(), &["--labels", "app=shop"]);
    let envoy = Envoy::start(&program, export, folder.path(), &folder.path().join("log"));
    assert_eq!(envoy.complaints(), Vec::<String>::new());
    Some((envoy, folder))
}

/// Where the two take what is for the workload.
fn both(sidle: &Sidle, envoy: &Envoy) -> [SocketAddr; 2] {
    [sidle.ports.inbound, envoy.listeners[&sidle.ports.inbound.port()]]
}

/// What came of a request: for the client, and for the application.
async fn outcome(address: SocketAddr, application: &Echo, path: &str, decision: &str, body: &str) -> Value {
    let before = application.requests();
    let ask = request("POST", "shop", path).header("x-decision", decision).header("x-secret", "s");
    let answer = Client::http1(address).await.exchange(ask.body(full(body.to_owned())).unwrap()).await;
    let cookies = answer.headers.get_all("set-cookie").iter();
    let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap().to_owned()).collect();
    let reached = application.requests() - before;
    let received = (reached > 0).then(|| {
        let last = application.last();
        let headers = ["x-user", "x-secret", "x-envoy-auth-failure-mode-allowed"]
            .map(|name| last.header(name).to_owned());
        json!([last.path, String::from_utf8_lossy(&last.body), headers])
    });
    let text = if answer.status == 200 { String::new() } else { answer.text() };
    json!({
        "status": answer.status.as_u16(),
        "text": text,
        "headers": (["www-authenticate", "location"].map(|name| answer.header(name).to_owned())),
        "cookies": cookies,
        "received": [reached, received],
    })
}

#[tokio::test]
async fn by_grpc_it_does_the_same_with_requests() {
    let Some(authoriser) = Authoriser::start("") else { return };
    let body = "        includeRequestBodyInCheck: { maxRequestBytes: 16, allowPartialMessage: true }\n";
    let guarded = Guarded::new("GRPC", authoriser.port, "envoyExtAuthzGrpc", body);
    let Some((envoy, _folder)) = envoy(&guarded.sidle) else { return };
    let addresses = both(&guarded.sidle, &envoy);
    for (path, decision, status) in
        [("/buy?token=t", "pass", 200), ("/buy", "deny", 401), ("/buy", "fail", 403), ("/free", "deny", 200)]
    {
        let [sidle, envoy] =
            addresses.map(|address| outcome(address, &guarded.application, path, decision, "hello"));
        let (sidle, envoy) = (sidle.await, envoy.await);
        assert_eq!(sidle, envoy, "{path} {decision}");
        assert_eq!(sidle["status"], status, "{path} {decision}");
    }
    let [sidle, envoy_asks] = [0, 1].map(|at| authoriser.question(at)["attributes"].clone());
    for field in ["method", "path", "host", "scheme", "protocol", "body"] {
        let of = |asks: &Value| asks["request"]["http"][field].clone();
        assert_eq!(of(&sidle), of(&envoy_asks), "{field}");
    }
    let names = |asks: &Value| {
        let headers = asks["request"]["http"]["headers"].as_object().unwrap().clone();
        headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let mut expected = names(&envoy_asks);
    expected.retain(|name| name != "x-envoy-auth-partial-body");
    let mut found = names(&sidle);
    found.retain(|name| name != "x-envoy-auth-partial-body");
    assert_eq!(found, expected);
    let metrics = http_get(envoy.admin, "/stats/prometheus").unwrap().body;
    for (name, count) in [("ok", 1), ("denied", 1), ("error", 1), ("disabled", 1)] {
        let line = metrics.lines().find(|line| line.starts_with(&format!("envoy_http_ext_authz_{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        assert!(
            line.contains("envoy_ext_authz_prefix=\"judge\"") && line.ends_with(&format!(" {count}")),
            "{line}"
        );
        assert_eq!(
            guarded.sidle.metrics().sum(&format!("envoy_http_ext_authz_{name}"), &[]),
            f64::from(count)
        );
    }
}

#[tokio::test]
async fn by_http_it_does_the_same_with_requests() {
    for (provider, statuses) in [
        (
            "        headersToDownstreamOnDeny: [set-cookie]\n        statusOnError: \"503\"\n",
            [200, 302, 503, 200],
        ),
        ("        failOpen: true\n", [200, 302, 200, 200]),
    ] {
        let authoriser = Echo::start("authoriser");
        authoriser.answer(|asked| {
            let mut answer = match asked.header("x-decision") {
                "pass" => echo::Answer::status(200),
                "deny" => echo::Answer::status(302),
                _ => echo::Answer::status(500),
            };
            answer.body = "log in first".into();
            let answer =
                answer.header("x-user", "alice").header("x-envoy-auth-headers-to-remove", "x-secret");
            Some(answer.header("set-cookie", "a=1").header("location", "https://login.test/"))
        });
        let common = "        pathPrefix: /check\n        includeRequestHeadersInCheck: [\"x-dec*\"]\n        \
                      headersToUpstreamOnAllow: [x-user]\n        headersToDownstreamOnAllow: [set-cookie]\n        \
                      includeAdditionalHeadersInCheck: { x-from: mesh }\n";
        let guarded =
            Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", &format!("{common}{provider}"));
        let Some((envoy, _folder)) = envoy(&guarded.sidle) else { return };
        let addresses = both(&guarded.sidle, &envoy);
        for ((path, decision), status) in
            [("/buy?x=1", "pass"), ("/buy", "deny"), ("/buy", "fail"), ("/free", "deny")]
                .into_iter()
                .zip(statuses)
        {
            let mut outcomes = Vec::new();
            for address in addresses {
                let asked = authoriser.requests();
                let outcome = outcome(address, &guarded.application, path, decision, "hello").await;
                let asked = (authoriser.requests() > asked).then(|| {
                    let last = authoriser.last();
                    let headers = ["x-from", "x-decision", "x-secret", "cookie"]
                        .map(|name| last.header(name).to_owned());
                    json!([last.method.as_str(), last.path, last.authority, headers, last.body.len()])
                });
                outcomes.push((outcome, asked));
            }
            assert_eq!(outcomes[0], outcomes[1], "{path} {decision}");
            assert_eq!(outcomes[0].0["status"], status, "{path} {decision} {provider}");
        }
    }
}

#[test]
fn it_does_the_same_with_connections_of_bytes() {
    let Some(authoriser) = Authoriser::start("allow") else { return };
    for (provider, failed) in [("", ""), ("        failOpen: true\n", "hello")] {
        let application = TcpServer::echo();
        let sidle = guarded(&application, &authoriser, provider);
        let Some((envoy, _folder)) = envoy(&sidle) else { return };
        for (decision, answer) in [("allow", "hello"), ("deny", ""), ("fail", failed)] {
            authoriser.decide(decision);
            for address in both(&sidle, &envoy) {
                assert_eq!(hello_to(address), answer, "{decision} {address}");
            }
        }
    }
    let [sidle, envoy] = [0, 1].map(|at| authoriser.question(at)["attributes"].clone());
    for end in ["source", "destination"] {
        assert_eq!(
            sidle[end]["address"]["socketAddress"]["address"],
            envoy[end]["address"]["socketAddress"]["address"]
        );
    }
    assert_eq!((envoy.get("request"), sidle.get("request")), (None, None), "{envoy}");
}
