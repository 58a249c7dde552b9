//! Cross-origin policy.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::client::request;

const POLICY: &str = "      corsPolicy:\n        allowOrigins: [{ exact: 'https://good.test' }, { regex: 'https://.*[.]good[.]test' }]\n        \
    allowMethods: [GET, PUT]\n        allowHeaders: [x-a, x-b]\n        exposeHeaders: [x-c]\n        allowCredentials: true\n        \
    maxAge: 1h";

#[tokio::test]
async fn the_proxy_answers_preflights_of_allowed_origins() {
    let stage = Stage::new();
    let sidle = stage.route_v1(POLICY);
    let mut client = client(&sidle).await;
    for origin in ["https://good.test", "https://sub.good.test"] {
        let ask = request("OPTIONS", HOST, "/")
            .header("origin", origin)
            .header("access-control-request-method", "PUT");
        let answer = client.ask(ask).await;
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-a,x-b"),
            ("access-control-max-age", "3600"),
            ("access-control-allow-credentials", "true"),
        ] {
            assert_eq!(answer.header(name), value, "{name} for {origin}");
        }
    }
    assert_eq!(stage.v1.requests(), 0, "the upstream is not asked");
}

#[tokio::test]
async fn a_request_of_an_allowed_origin_is_marked_and_of_another_is_not() {
    let stage = Stage::new();
    let sidle = stage.route_v1(POLICY);
    let mut client = client(&sidle).await;
    let good = client.ask(request("GET", HOST, "/").header("origin", "https://good.test")).await;
    assert_eq!(good.header("access-control-allow-origin"), "https://good.test");
    assert_eq!(good.header("access-control-expose-headers"), "x-c");
    let bad = client.ask(request("GET", HOST, "/").header("origin", "https://bad.test")).await;
    assert_eq!((bad.status.as_u16(), bad.header("access-control-allow-origin")), (200, ""));
    assert_eq!(stage.v1.requests(), 2);
}
