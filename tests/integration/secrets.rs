//! Certificates from Secrets in the files: `credentialName`.

use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::service,
    ports,
    sidle::Sidle,
    tls::{Authority, Identity},
    wait,
};
use std::{fmt::Write, net::SocketAddr};

const NAME: &str = "www.shop.example";

/// A Secret of certificate, key and roots.
fn secret(name: &str, identity: &Identity, roots: &Authority) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name} }}\ntype: kubernetes.io/tls\nstringData:\n"
    );
    let key = identity.key_pem();
    for (field, pem) in [("tls.crt", &identity.certificate_pem), ("tls.key", &key), ("ca.crt", &roots.pem())]
    {
        write!(text, "  {field}: |\n    {}\n", pem.trim_end().replace('\n', "\n    ")).unwrap();
    }
    text
}

fn gateway(port: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {}, name: https, protocol: HTTPS }}\n      hosts: ['{NAME}']\n      tls: {{ mode: SIMPLE, \
         credentialName: www }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['{NAME}']\n  \
         gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: shop.internal }} }}]\n---\n",
        port.port()
    )
}

#[tokio::test]
async fn a_gateway_shows_the_certificate_of_a_secret_and_the_next_one_after_an_edit() {
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let first = authority.issue(&[NAME]);
    let manifests = gateway(port) + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())]);
    let sidle = Sidle::builder()
        .file("test.yaml", &manifests)
        .file("secret.yaml", &secret("www", &first, &authority))
        .start();
    let shown = async || {
        let tls = authority.connect(port, NAME, &[b"http/1.1"]).await.ok()?;
        tls.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec())
    };
    let before = shown().await.unwrap();
    let tls = authority.connect(port, NAME, &[b"http/1.1"]).await.unwrap();
    let mut client = Client::http1_over(tls).await;
    assert_eq!(client.get(NAME, "/").await.version(), "v1");
    sidle.replace("secret.yaml", &secret("www", &authority.issue(&[NAME]), &authority));
    wait::eventually("the new certificate", || async {
        shown().await.filter(|now| *now != before).map(|_| ())
    })
    .await;
    assert_eq!(client.get(NAME, "/").await.status, 200, "a connection of before");
    let key = first.key_pem();
    let line = key.lines().nth(1).unwrap();
    for path in ["/config_dump", "/certs", "/listeners"] {
        assert!(!sidle.admin(path).body.contains(&line[..24]), "{path}");
    }
    assert!(!sidle.output().contains(&line[..24]));
}

#[tokio::test]
async fn a_rule_takes_roots_and_certificate_from_a_secret_and_sends_nothing_without_it() {
    let authority = Authority::new();
    let echo = Echo::start_tls("secure", authority.issue(&["secure.test"]));
    let rule = |name: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: d }}\nspec:\n  host: shop.internal\n  \
             trafficPolicy: {{ tls: {{ mode: MUTUAL, credentialName: {name}, subjectAltNames: [secure.test] }} }}\n"
        )
    };
    let entry = service("shop", "shop.internal", "HTTP", &[("v1", echo.port())]);
    let identity = authority.issue(&["client.test"]);
    for (name, status) in [("own", 200), ("other", 503)] {
        let sidle = Sidle::run(&(entry.clone() + &rule(name) + &secret("own", &identity, &authority)));
        let mut client = Client::http1(sidle.outbound()).await;
        assert_eq!(client.get("shop.internal", "/").await.status, status, "{name}");
    }
    assert_eq!(echo.requests(), 1);
}
