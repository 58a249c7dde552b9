//! A workload that takes tokens, and an issuer.

use serde_json::{Value, json};
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::Echo,
    issuer::{Issuer, seconds_from_now},
    sidle::{Builder, Sidle},
};

/// `iss` of most tokens.
pub const ISSUER: &str = "https://issuer.test";

/// A workload whose requests may bring tokens.
pub struct Stage {
    pub issuer: Issuer,
    pub application: Echo,
}

impl Stage {
    pub fn new() -> Option<Self> {
        Some(Stage { issuer: Issuer::start()?, application: Echo::start("shop") })
    }

    /// Runs a proxy in front of it; `rules` are the items of `jwtRules`.
    pub fn run(&self, rules: &[Value]) -> Sidle {
        self.run_with(rules, "")
    }

    pub fn run_with(&self, rules: &[Value], settings: &str) -> Sidle {
        let files = self.files(&[authentication("tokens", rules)]);
        self.builder(&files).settings(settings).start()
    }

    /// The workload's service, and policies.
    pub fn files(&self, policies: &[String]) -> String {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
             ports: [{{ name: http, port: 80, targetPort: {} }}]\n",
            self.application.port()
        );
        [&[service], policies].concat().join("\n---\n")
    }

    pub fn builder(&self, files: &str) -> Builder {
        Sidle::builder().file("shop.yaml", files).arguments(&["--labels", "app=shop"])
    }
}

/// Keys may be fetched from this machine.
pub const LOOPBACK: &str = "  jwks: { allowPrivate: true }\n";

/// A RequestAuthentication for the workload.
pub fn authentication(name: &str, rules: &[Value]) -> String {
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "shop"}}, "jwtRules": rules},
    });
    policy.to_string()
}

pub fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "jason", "exp": seconds_from_now(300)})
}

pub fn with(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

pub async fn bearer(sidle: &Sidle, token: &str) -> Answer {
    let ask = request("GET", "shop", "/").header("authorization", format!("Bearer {token}"));
    Client::http1(sidle.ports.inbound).await.ask(ask).await
}
