//! A VirtualService that leaves a part of its paths to another.

use crate::stage::client;
use sidle_test_support::{echo::Echo, manifest::service, sidle::Sidle};

#[tokio::test]
async fn a_delegate_serves_its_part() {
    let (a, b) = (Echo::start("a"), Echo::start("b"));
    let manifests = service("a", "a.test", "HTTP", &[("a", a.port())])
        + &service("b", "b.test", "HTTP", &[("b", b.port())])
        + "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: root }\nspec:\n  hosts: [shop.test]\n  \
           http:\n    - match: [{ uri: { prefix: /team } }]\n      delegate: { name: team }\n    \
           - route: [{ destination: { host: a.test } }]\n---\n\
           apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: team }\nspec:\n  http:\n    \
           - match: [{ uri: { prefix: /team/old } }]\n      redirect: { uri: /team/new }\n    \
           - route: [{ destination: { host: b.test } }]\n";
    let sidle = Sidle::run(&manifests);
    let mut client = client(&sidle).await;
    assert_eq!(client.get("shop.test", "/").await.version(), "a");
    assert_eq!(client.get("shop.test", "/team/x").await.version(), "b");
    assert_eq!(client.get("shop.test", "/team/old").await.status, 301);
}
