//! Gateways: ports, hosts, TLS.

use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::service,
    ports,
    sidle::{Builder, Sidle},
    tls::Authority,
    wait,
};

fn gateway(servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n{servers}---\n"
    )
}

fn routes(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['{host}']\n  \
         gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: shop.internal }} }}]\n---\n"
    )
}

fn with_service(manifests: &str, echo: &Echo) -> Builder {
    let all = manifests.to_owned() + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())]);
    Sidle::builder().file("test.yaml", &all)
}

#[tokio::test]
async fn a_plain_server_takes_its_hosts_and_says_who_the_client_is() {
    let echo = Echo::start("v1");
    let port = ports::free();
    let servers = format!(
        "    - port: {{ number: {}, name: http, protocol: HTTP }}\n      hosts: ['*.shop.example']\n",
        port.port()
    );
    let _sidle = with_service(&(gateway(&servers) + &routes("www.shop.example")), &echo).start();
    let mut client = Client::http1(port).await;
    let answer = client.get("www.shop.example", "/").await;
    assert_eq!((answer.version(), answer.header("server")), ("v1", "istio-envoy"));
    assert_eq!(echo.last().header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(client.get(&format!("www.shop.example:{}", port.port()), "/").await.status, 200);
    assert_eq!(client.get("other.example", "/").await.status, 404);
}

#[tokio::test]
async fn tls_is_terminated_and_alpn_chooses_the_protocol() {
    let echo = Echo::start("v1");
    let authority = Authority::new();
    let port = ports::free();
    let builder = Sidle::builder();
    let folder = builder.folder().to_owned();
    authority.issue(&["www.shop.example"]).write(&folder, "www");
    authority.issue(&["api.shop.example"]).write(&folder, "api");
    let server = |name: &str| {
        format!(
            "    - port: {{ number: {port}, name: https-{name}, protocol: HTTPS }}\n      hosts: [{name}.shop.example]\n      \
             tls: {{ mode: SIMPLE, serverCertificate: {folder}/{name}.pem, privateKey: {folder}/{name}.key }}\n",
            port = port.port(),
            folder = folder.display(),
        )
    };
    let manifests = gateway(&(server("www") + &server("api")))
        + &routes("*.shop.example")
        + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())]);
    let _sidle = builder.file("test.yaml", &manifests).start();
    for name in ["www.shop.example", "api.shop.example"] {
        let tls = authority.connect(port, name, &[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(Client::http2_over(tls).await.get(name, "/").await.version(), "v1");
        let tls = authority.connect(port, name, &[b"http/1.1"]).await.unwrap();
        assert_eq!(Client::http1_over(tls).await.get(name, "/").await.version(), "v1");
        assert_eq!(echo.last().header("x-forwarded-proto"), "https");
    }
}

#[tokio::test]
async fn https_redirect_sends_clients_to_tls() {
    let echo = Echo::start("v1");
    let port = ports::free();
    let servers = format!(
        "    - port: {{ number: {}, name: http, protocol: HTTP }}\n      hosts: ['*']\n      tls: {{ httpsRedirect: true }}\n",
        port.port()
    );
    let _sidle = with_service(&(gateway(&servers) + &routes("www.shop.example")), &echo).start();
    let answer = Client::http1(port).await.get("www.shop.example", "/a?b").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (301, "https://www.shop.example/a?b"));
}

#[tokio::test]
async fn a_new_gateway_port_opens_without_a_restart() {
    let echo = Echo::start("v1");
    let sidle = with_service("", &echo).start();
    let port = ports::free();
    let servers = format!(
        "    - port: {{ number: {}, name: http, protocol: HTTP }}\n      hosts: ['*']\n",
        port.port()
    );
    sidle.write("door.yaml", &(gateway(&servers) + &routes("*")));
    wait::eventually("the new port", || async { tokio::net::TcpStream::connect(port).await.ok() }).await;
    assert_eq!(Client::http1(port).await.get("any.example", "/").await.version(), "v1");
}

/// Two servers of a port may differ in certificates and in who may come: a connection to one is not a way to the other.
#[tokio::test]
async fn a_request_for_another_server_of_the_port_is_misdirected() {
    let echo = Echo::start("v1");
    let authority = Authority::new();
    let port = ports::free();
    let builder = Sidle::builder();
    let folder = builder.folder().to_owned();
    authority.issue(&["*.shop.example", "*.bank.example"]).write(&folder, "all");
    let server = |name: &str, host: &str| {
        format!(
            "    - port: {{ number: {port}, name: https-{name}, protocol: HTTPS }}\n      hosts: ['{host}']\n      \
             tls: {{ mode: SIMPLE, serverCertificate: {folder}/all.pem, privateKey: {folder}/all.key }}\n",
            port = port.port(),
            folder = folder.display(),
        )
    };
    let servers = [("all", "*.shop.example"), ("api", "api.shop.example"), ("bank", "*.bank.example")];
    let servers: String = servers.into_iter().map(|(name, host)| server(name, host)).collect();
    let manifests =
        gateway(&servers) + &routes("*") + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())]);
    let _sidle = builder.file("test.yaml", &manifests).start();
    for (server_name, host, status) in [
        ("www.shop.example", "www.shop.example", 200),
        ("www.shop.example", "WWW.shop.example.:443", 200),
        ("www.shop.example", "other.shop.example", 200),
        ("www.shop.example", "api.shop.example", 421),
        ("www.shop.example", "elsewhere.example", 421),
        ("api.shop.example", "api.shop.example", 200),
        ("api.shop.example", "www.shop.example", 421),
        // Neighbours behind wildcards.
        ("www.bank.example", "www.bank.example", 200),
        ("www.bank.example", "www.shop.example", 421),
        ("www.shop.example", "www.bank.example", 421),
        ("www.shop.example", "www.bank.example.:443", 421),
        ("www.shop.example", "shop.example", 421),
        ("www.shop.example", "www.shop.example.bank.example", 421),
    ] {
        let tls = authority.connect(port, server_name, &[b"h2"]).await.unwrap();
        assert_eq!(Client::http2_over(tls).await.get(host, "/").await.status, status, "{server_name} {host}");
        let tls = authority.connect(port, server_name, &[b"http/1.1"]).await.unwrap();
        assert_eq!(Client::http1_over(tls).await.get(host, "/").await.status, status, "{server_name} {host}");
    }
}
