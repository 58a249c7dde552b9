//! Certificates and roots of the mesh are replaced under load, and run out: what stands goes on, what begins follows the newest.

use sidle_test_support::{
    client::Client,
    echo::Echo,
    load::Load,
    sidle::{Builder, Sidle},
    tls::Authority,
    wait,
};
use std::{
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

/// An unoptimised build proves the same with less of it.
const SCALE: u32 = if cfg!(debug_assertions) { 10 } else { 1 };
const RATE: u32 = 1_000 / SCALE;
/// Handshakes that each step has to see.
const HANDSHAKES: f64 = 300.0 / SCALE as f64;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A folder as Kubernetes mounts a secret: all files change in one step.
struct Secret {
    folder: PathBuf,
    version: u32,
}

impl Secret {
    fn new(folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        for name in ["ca.crt", "tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        Secret { folder, version: 0 }
    }

    /// Another certificate, by `issuer`, beside these roots.
    fn replace(&mut self, issuer: &Authority, id: &str, life: Duration, roots: &str) {
        self.version += 1;
        let identity = issuer.issue_workload_for(id, life);
        let next = self.folder.join(format!("..{}", self.version));
        std::fs::create_dir(&next).unwrap();
        for (name, text) in
            [("ca.crt", roots), ("tls.crt", &identity.certificate_pem), ("tls.key", &identity.key_pem())]
        {
            std::fs::write(next.join(name), text).unwrap();
        }
        let link = self.folder.join("..data_tmp");
        symlink(next.file_name().unwrap(), &link).unwrap();
        std::fs::rename(link, self.folder.join("..data")).unwrap();
    }
}

/// A proxy with an identity of its own.
struct Side {
    sidle: Sidle,
    secret: Secret,
    id: String,
}

impl Side {
    fn start(
        name: &str,
        authority: &Authority,
        life: Duration,
        manifests: impl Fn(&Builder) -> String,
    ) -> Self {
        let builder = Sidle::builder();
        let mut secret = Secret::new(builder.folder().join("identity"));
        let id = format!("spiffe://cluster.local/ns/default/sa/{name}");
        secret.replace(authority, &id, life, &authority.pem());
        let settings = format!("  identity: {{ directory: {} }}\n", secret.folder.display());
        let manifests = manifests(&builder);
        let labels = format!("app={name}");
        let sidle = builder
            .file("test.yaml", &manifests)
            .settings(&settings)
            .arguments(&["--labels", &labels])
            .start();
        Side { sidle, secret, id }
    }

    /// Another identity, once it is in use.
    async fn replace(&mut self, issuer: &Authority, life: Duration, roots: &str) {
        let rotations = |sidle: &Sidle| sidle.metrics().sum("sidle_identity_rotations_total", &[]);
        let before = rotations(&self.sidle);
        self.secret.replace(issuer, &self.id, life, roots);
        wait::eventually("the new identity", || async { (rotations(&self.sidle) > before).then_some(()) })
            .await;
    }
}

/// The application `shop` behind a proxy that takes mTLS only.
fn shop(authority: &Authority, application: &Echo) -> Side {
    Side::start("shop", authority, YEAR, |_| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
             ports: [{{ name: http, port: 80, targetPort: {} }}]\n---\n\
             apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: default }}\nspec: {{ mtls: {{ mode: STRICT }} }}\n",
            application.port()
        )
    })
}

/// A client of `shop`, whose connections serve only so many requests.
fn web(authority: &Authority, life: Duration, shop: SocketAddr, requests: u32) -> Side {
    Side::start("web", authority, life, |_| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: shop }}\nspec:\n  hosts: [shop.test]\n  \
             location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {} }}]\n  \
             endpoints: [{{ address: {} }}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: shop }}\nspec:\n  host: shop.test\n  \
             trafficPolicy:\n    tls: {{ mode: ISTIO_MUTUAL }}\n    connectionPool: {{ http: {{ maxRequestsPerConnection: {requests} }} }}\n",
            shop.port(),
            shop.ip(),
        )
    })
}

#[tokio::test]
async fn roots_are_replaced_under_load_and_no_request_and_no_handshake_fails() {
    let _machine = crate::MACHINE.lock().await;
    let (old, new, application) = (Authority::new(), Authority::new(), Echo::start("v1"));
    let mut shop = shop(&old, &application);
    let mut web = web(&old, YEAR, shop.sidle.ports.inbound, 5);
    let load = Load { rate: RATE, ..Load::new(web.sidle.outbound(), "shop.test", "/") }.start();
    let handshakes = |web: &Side| {
        let cluster = [("cluster", "outbound|80||shop.test")];
        web.sidle.metrics().sum("sidle_cluster_connections_total", &cluster)
    };
    let both = old.pem() + &new.pem();
    for (issuer, roots) in [(&old, both.clone()), (&new, both), (&new, new.pem())] {
        // Whoever is first meets one who is not there yet.
        for first in [true, false] {
            let side = if first { &mut shop } else { &mut web };
            side.replace(issuer, YEAR, &roots).await;
            let before = handshakes(&web);
            wait::eventually("handshakes", || async {
                (handshakes(&web) >= before + HANDSHAKES).then_some(())
            })
            .await;
        }
    }
    load.reached(RATE, 0.98).await;
    let report = load.stop().await;
    report.assert_no_failure();
    let (succeeded, rate) = (report.succeeded.load(Ordering::Relaxed), report.rate());
    let (elapsed, handshakes) = (report.elapsed.get().unwrap().as_secs_f64(), handshakes(&web));
    println!(
        "rotation: {succeeded} requests in {elapsed:.1} s, {rate:.0}/s of {RATE}/s, {handshakes} handshakes, 0 failures"
    );
    let none = |side: &Side, name: &str| assert_eq!(side.sidle.metrics().sum(name, &[]), 0.0, "{name}");
    // Nor was one hidden by a retry.
    none(&web, "sidle_cluster_connect_failures_total");
    none(&web, "sidle_cluster_retries_total");
    none(&shop, "sidle_listener_tls_handshake_failures_total");
}

/// Real seconds: the certificate of the client lives for five of them.
#[tokio::test]
async fn after_its_end_a_certificate_makes_no_connection_until_a_new_one_comes() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, application) = (Authority::new(), Echo::start("v1"));
    let shop = shop(&authority, &application);
    let mut web = web(&authority, Duration::from_secs(5), shop.sidle.ports.inbound, 1);
    let mut client = Client::http1(web.sidle.outbound()).await;
    assert_eq!(client.get("shop.test", "/").await.status, 200);
    wait::eventually("the end", || async { (web.sidle.admin("/ready").status == 503).then_some(()) }).await;
    let answer = client.get("shop.test", "/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(application.requests(), 1, "nothing went in the clear");
    wait::until("the log", || web.sidle.output().contains("new mTLS connections fail").then_some(()));
    web.replace(&authority, YEAR, &authority.pem()).await;
    assert_eq!(client.get("shop.test", "/").await.status, 200, "without a restart");
    assert_eq!(web.sidle.admin("/ready").status, 200);
}
