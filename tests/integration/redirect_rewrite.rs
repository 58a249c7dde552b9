//! Redirects, direct responses, rewrites.

use crate::stage::{HOST, Stage, client};

fn to_v1() -> String {
    format!("      route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]")
}

#[tokio::test]
async fn a_redirect_names_the_new_place() {
    let stage = Stage::new();
    let sidle = stage.route(
        "    - match: [{ uri: { prefix: /old } }]\n      redirect: { uri: /new, authority: other.test, redirectCode: 308 }\n    \
         - match: [{ uri: { prefix: /secure } }]\n      redirect: { scheme: https }\n    \
         - redirect: { port: 8443 }",
    );
    let mut client = client(&sidle).await;
    for (path, status, location) in [
        ("/old/page?x=1", 308, "http://other.test/new?x=1"),
        ("/secure/a?b=c", 301, "https://echo.test/secure/a?b=c"),
        ("/rest", 301, "http://echo.test:8443/rest"),
    ] {
        let answer = client.get(HOST, path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, location), "{path}");
    }
    assert_eq!(stage.v1.requests() + stage.v2.requests(), 0);
}

#[tokio::test]
async fn a_direct_response_needs_no_upstream() {
    let stage = Stage::new();
    let sidle = stage.route(
        "    - match: [{ uri: { exact: /teapot } }]\n      directResponse: { status: 418, body: { string: short and stout } }\n    \
         - directResponse: { status: 503 }",
    );
    let mut client = client(&sidle).await;
    let answer = client.get(HOST, "/teapot").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (418, "short and stout"));
    let answer = client.get(HOST, "/").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, ""));
}

#[tokio::test]
async fn rewrites_change_path_and_authority_and_keep_the_query() {
    let stage = Stage::new();
    let http = [
        "    - match: [{ uri: { prefix: /api/ } }]\n      rewrite: { uri: / }",
        "    - match: [{ uri: { exact: /one } }]\n      rewrite: { uri: /uno, authority: new.test }",
        "    - match: [{ uri: { regex: '/user/[0-9]+' } }]\n      \
         rewrite: { uriRegexRewrite: { match: '^/user/([0-9]+)$', rewrite: '/u-\\1' } }",
        "    - name: rest",
    ]
    .map(|rule| format!("{rule}\n{}", to_v1()));
    let sidle = stage.route(&http.join("\n"));
    let mut client = client(&sidle).await;
    for (path, seen, authority) in [
        ("/api/v1/x?q=1", "/v1/x?q=1", HOST),
        ("/one?two", "/uno?two", "new.test"),
        ("/user/42?x", "/u-42?x", HOST),
        ("/rest?x=%20y", "/rest?x=%20y", HOST),
    ] {
        let answer = client.get(HOST, path).await.json();
        assert_eq!(
            (answer["path"].as_str(), answer["authority"].as_str()),
            (Some(seen), Some(authority)),
            "{path}"
        );
    }
    assert_eq!(client.get(HOST, "/api/v1").await.json()["headers"]["x-envoy-original-path"], "/api/v1");
}
