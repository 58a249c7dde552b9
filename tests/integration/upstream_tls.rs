//! TLS that the proxy adds on the way out.

use crate::stage::{HOST, client};
use sidle_test_support::{
    echo::Echo,
    manifest::{service, subsets},
    sidle::Sidle,
    tls::Authority,
};

/// A proxy that speaks TLS to `echo`, with further fields of the `tls` block.
fn run(authority: &Authority, echo: &Echo, tls: &str) -> Sidle {
    let builder = Sidle::builder();
    let ca = builder.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let policy =
        format!("  trafficPolicy:\n    tls: {{ mode: SIMPLE, caCertificates: {}, {tls} }}\n", ca.display());
    let manifests =
        service("echo", HOST, "HTTP", &[("v1", echo.port())]) + &subsets("echo", HOST, &["v1"], &policy);
    builder.file("test.yaml", &manifests).start()
}

#[tokio::test]
async fn a_server_with_a_good_certificate_is_spoken_to() {
    let authority = Authority::new();
    let echo = Echo::start_tls("secure", authority.issue(&["secure.test"]));
    let sidle = run(&authority, &echo, "sni: secure.test");
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(answer.version(), "secure", "{} {}", answer.status, answer.text());
}

#[tokio::test]
async fn a_server_with_another_name_or_authority_is_not() {
    let authority = Authority::new();
    for (issuer, names) in
        [(&authority, "subjectAltNames: [other.test]"), (&Authority::new(), "sni: secure.test")]
    {
        let echo = Echo::start_tls("secure", issuer.issue(&["secure.test"]));
        let sidle = run(&authority, &echo, names);
        let answer = client(&sidle).await.get(HOST, "/").await;
        assert_eq!(answer.status, 503, "{names}");
        assert_eq!(echo.requests(), 0);
    }
}
