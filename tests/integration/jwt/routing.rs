//! Rules by what a verified token says.

use super::stage::{ISSUER, Stage, authentication, claims, with};
use serde_json::json;
use sidle_test_support::{
    client::{Client, request},
    echo::Echo,
    issuer::key_set,
    ports,
};

#[tokio::test]
async fn a_gateway_routes_by_claims() {
    let Some(stage) = Stage::new() else { return };
    let keys = key_set(&[stage.issuer.key("a", "Ed25519")]);
    let (staff, public) = (Echo::start("staff"), Echo::start("public"));
    let port = ports::free();
    let entry = |name: &str, echo: &Echo| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name} }}\nspec:\n  \
             hosts: [{name}.test]\n  resolution: STATIC\n  location: MESH_INTERNAL\n  \
             ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  \
             endpoints: [{{ address: 127.0.0.1, ports: {{ http: {} }} }}]\n",
            echo.port()
        )
    };
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: front }}\nspec:\n  selector: {{ app: shop }}\n  \
         servers: [{{ port: {{ number: {}, name: http, protocol: HTTP }}, bind: 127.0.0.1, hosts: ['*'] }}]\n",
        port.port()
    );
    let rules = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "shop"},
        "spec": {
            "hosts": ["*"],
            "gateways": ["front"],
            "http": [
                {
                    "match": [
                        {"headers": {"@request.auth.claims.groups": {"exact": "staff"}}},
                        {
                            "headers": {"@request.auth.claims[realm][role]": {"prefix": "adm"}},
                            "withoutHeaders": {"@request.auth.claims.locked": {}},
                        },
                    ],
                    "route": [{"destination": {"host": "staff.test"}}],
                },
                {"route": [{"destination": {"host": "public.test"}}]},
            ],
        },
    })
    .to_string();
    let policy = authentication("tokens", &[json!({"issuer": ISSUER, "jwks": keys})]);
    let files = [gateway, rules, entry("staff", &staff), entry("public", &public), policy].join("\n---\n");
    let sidle = stage.builder(&files).start();
    let ask = async |more: serde_json::Value| {
        let token = stage.issuer.token("pyjwt", "a", "EdDSA", &with(&claims(), more));
        let ask = request("GET", "shop.test", "/").header("authorization", format!("Bearer {token}"));
        Client::http1(port).await.ask(ask).await.version().to_owned()
    };
    assert_eq!(ask(json!({"groups": ["dev", "staff"]})).await, "staff");
    assert_eq!(ask(json!({"groups": "staff"})).await, "staff");
    assert_eq!(ask(json!({"groups": ["Staff"]})).await, "public");
    assert_eq!(ask(json!({"realm": {"role": "admin"}})).await, "staff");
    assert_eq!(ask(json!({"realm": {"role": "admin"}, "locked": "yes"})).await, "public");
    let forged = request("GET", "shop.test", "/").header("x-request.auth.claims.groups", "staff");
    assert_eq!(Client::http1(port).await.ask(forged).await.version(), "public");
    drop(sidle);
}
