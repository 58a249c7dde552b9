//! What most tests begin with: two versions of one service, and a proxy in front of them.

use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::{service, subsets, virtual_service},
    sidle::Sidle,
};

/// The host of the service on the stage.
pub const HOST: &str = "echo.test";

/// Two upstreams of one service, `v1` and `v2`.
pub struct Stage {
    pub v1: Echo,
    pub v2: Echo,
}

impl Stage {
    pub fn new() -> Self {
        Stage { v1: Echo::start("v1"), v2: Echo::start("v2") }
    }

    /// The service on port 80 with both as endpoints.
    pub fn service(&self, protocol: &str) -> String {
        service("echo", HOST, protocol, &[("v1", self.v1.port()), ("v2", self.v2.port())])
    }

    /// The service over HTTP/1.1, and a subset for each version.
    pub fn manifests(&self) -> String {
        self.service("HTTP") + &subsets("echo", HOST, &["v1", "v2"], "")
    }

    /// A proxy with a VirtualService for the host; `http` holds the items of its list, each line indented by four.
    pub fn route(&self, http: &str) -> Sidle {
        Sidle::run(&(self.manifests() + &virtual_service("echo", HOST, http)))
    }

    /// A proxy where `v1` answers all, with further lines of the route, each indented by six.
    pub fn route_v1(&self, lines: &str) -> Sidle {
        self.route(&format!("    - route:\n        - destination: {{ host: {HOST}, subset: v1 }}\n{lines}"))
    }
}

/// A client of the proxy's outbound listener.
pub async fn client(sidle: &Sidle) -> Client {
    Client::http1(sidle.outbound()).await
}

/// Which version answered each of `count` requests.
pub async fn versions(client: &mut Client, path: &str, count: usize) -> Vec<String> {
    let mut versions = Vec::with_capacity(count);
    for _ in 0..count {
        let answer = client.get(HOST, path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        versions.push(answer.version().to_owned());
    }
    versions
}
