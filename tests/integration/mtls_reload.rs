//! A configuration that admits less than the one before: what was let in by that one is not served on.

use crate::mtls::{SHOP, WEB, with_identity};
use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, full},
    sidle::Sidle,
    tls::{Authority, Name},
    wait,
};
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MESH: &[&[u8]] = &[b"istio", b"http/1.1"];

fn manifests(name: &str, port: u16, mode: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: {name}, port: 80, targetPort: {port} }}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: shop }}\nspec: {{ mtls: {{ mode: {mode} }} }}\n"
    )
}

fn start(authority: &Authority, manifests: &str) -> Sidle {
    with_identity(authority, SHOP).file("test.yaml", manifests).arguments(&["--labels", "app=shop"]).start()
}

/// Another configuration, once it is in force.
fn apply(sidle: &Sidle, name: &str, content: &str) {
    let applied = |sidle: &Sidle| sidle.admin("/config/status").json()["version"].clone();
    let before = applied(sidle);
    sidle.replace(name, content);
    wait::until("the new configuration", || (applied(sidle) != before).then_some(()));
}

/// The next request is turned away, or the connection is over by then; then it is over.
async fn is_sent_away(client: &mut Client, application: &Echo) {
    let before = application.requests();
    let asked = request("GET", "shop", "/").body(full("")).unwrap();
    if let Ok(answer) = client.try_exchange(asked).await {
        assert_eq!(answer.status, 421, "{}", answer.text());
    }
    assert_eq!(application.requests(), before, "nothing reached the application");
    wait::eventually("the end of the connection", || async { client.is_closed().then_some(()) }).await;
}

#[tokio::test]
async fn plain_text_is_not_served_on_once_mtls_is_demanded() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = start(&authority, &manifests("http", application.port(), "PERMISSIVE"));
    let address: SocketAddr = shop.ports.inbound;
    let mut plain =
        [Client::http1(address).await, Client::http2(address).await, Client::http1(address).await];
    let web = authority.issue_workload(WEB);
    let mut known = Client::http1_over(authority.connect_as(Some(&web), address, MESH).await.unwrap()).await;
    for client in plain.iter_mut().chain([&mut known]) {
        assert_eq!(client.get("shop", "/").await.status, 200);
    }
    let mut slow = [Client::http1(address).await, Client::http2(address).await];
    let before = application.requests();
    let under_way = async {
        let [one, two] = &mut slow;
        tokio::join!(one.get("shop", "/?delay=3s"), two.get("shop", "/?delay=3s"))
    };
    let meanwhile = async {
        wait::eventually("both requests", || async { (application.requests() >= before + 2).then_some(()) })
            .await;
        apply(&shop, "test.yaml", &manifests("http", application.port(), "STRICT"));
        let [one, two, idle] = &mut plain;
        is_sent_away(one, &application).await;
        is_sent_away(two, &application).await;
        wait::eventually("the end of an idle one", || async { idle.is_closed().then_some(()) }).await;
        assert_eq!(known.get("shop", "/").await.status, 200, "mTLS is what is demanded");
    };
    let ((one, two), ()) = tokio::join!(under_way, meanwhile);
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200), "what is under way is finished");
    assert_eq!(one.header("connection"), "close");
    for client in &slow {
        wait::eventually("the end after the answer", || async { client.is_closed().then_some(()) }).await;
    }
}

#[tokio::test]
async fn a_peer_of_a_domain_that_is_believed_no_more_is_not_served_on() {
    let (authority, other, application) = (Authority::new(), Authority::new(), Echo::start("shop"));
    let builder = with_identity(&authority, SHOP);
    let (folder, ports) = (builder.folder().to_path_buf(), builder.ports());
    let roots = folder.join("other.pem");
    std::fs::write(&roots, other.pem()).unwrap();
    let settings = |bundles: &str| {
        format!("  identity: {{ directory: {}{bundles} }}\n", folder.join("identity").display())
    };
    let bundles =
        format!(", trustBundles: [{{ trustDomain: other.test, rootCertificates: {} }}]", roots.display());
    let shop = builder
        .file("test.yaml", &manifests("http", application.port(), "STRICT"))
        .arguments(&["--labels", "app=shop"])
        .start();
    apply(&shop, "00-proxy.yaml", &ports.document(&settings(&bundles)));
    let stranger = other.issue_workload("spiffe://other.test/ns/default/sa/web");
    let web = authority.issue_workload(WEB);
    let mut clients = Vec::new();
    for who in [&stranger, &web] {
        // With TLS 1.3 a client hears after its handshake of a certificate that is refused.
        let client = wait::eventually("a client that is believed", || async {
            let tls = authority.connect_as(Some(who), shop.ports.inbound, MESH).await.ok()?;
            let mut client = Client::http1_over(tls).await;
            let asked = request("GET", "shop", "/").body(full("")).unwrap();
            let answer = client.try_exchange(asked).await.ok()?;
            (answer.status == 200).then_some(client)
        })
        .await;
        clients.push(client);
    }
    apply(&shop, "00-proxy.yaml", &ports.document(&settings("")));
    is_sent_away(&mut clients[0], &application).await;
    assert_eq!(clients[1].get("shop", "/").await.status, 200);
}

/// The promise that a reload cuts nothing.
#[tokio::test]
async fn bytes_under_way_go_on() {
    let authority = Authority::new();
    let application = sidle_test_support::tcp::TcpServer::echo();
    let shop = start(&authority, &manifests("tcp", application.address().port(), "PERMISSIVE"));
    let mut stream = tokio::net::TcpStream::connect(shop.ports.inbound).await.unwrap();
    let mut back = async |text: &[u8]| {
        stream.write_all(text).await.unwrap();
        let mut read = vec![0; text.len()];
        stream.read_exact(&mut read).await.unwrap();
        read
    };
    assert_eq!(back(b"one").await, b"one");
    apply(&shop, "test.yaml", &manifests("tcp", application.address().port(), "STRICT"));
    assert_eq!(back(b"two").await, b"two");
}

/// What is for later does not take the place of what is valid.
#[tokio::test]
async fn an_identity_for_tomorrow_waits() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = start(&authority, &manifests("http", application.port(), "STRICT"));
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    let later = authority.issue_between(&[Name::Uri(SHOP)], now + day, now + 2 * day);
    let folder = shop.folder().join("identity");
    std::fs::write(folder.join("tls.crt"), &later.certificate_pem).unwrap();
    std::fs::write(folder.join("tls.key"), later.key_pem()).unwrap();
    wait::until("the log", || shop.output().contains("the one before stays in use until then").then_some(()));
    assert_eq!(shop.admin("/ready").status, 200);
    let web = authority.issue_workload(WEB);
    let tls = authority.connect_as(Some(&web), shop.ports.inbound, MESH).await.unwrap();
    assert_eq!(Client::http1_over(tls).await.get("shop", "/").await.status, 200);
}
