//! A second proxy, beside a service that takes nothing but mTLS.
//!
//! In:  where the service listens.   Out: certificates for both proxies, the second proxy's files, what it says to a stranger.
//! Invariants: keys are readable by their owner only, and go with the folder.
//! Not here: certificates for other uses (`cli::certs`).

use super::super::{CliError, admin};
use sidle_identity::{DevelopmentAuthority, SpiffeId};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The name of the service.
pub const HOST: &str = "vault.demo";
/// Who the demo's first proxy is.
pub const CALLER: &str = "spiffe://cluster.local/ns/default/sa/shop";
const OWNER: &str = "spiffe://cluster.local/ns/default/sa/vault";
/// The longest that a question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The second proxy's folder and addresses.
#[derive(Debug)]
pub struct Vault {
    folder: PathBuf,
    /// Where it takes what comes from the mesh.
    pub inbound: SocketAddr,
    /// Its admin server.
    pub admin: SocketAddr,
}

impl Vault {
    /// Writes identities for both proxies below `folder`, in which the first has its files, and the second's files beside it.
    pub fn write(folder: &Path, application: u16, free: [SocketAddr; 5]) -> Result<Vault, CliError> {
        let failed = |error: io::Error| CliError::Failed(format!("the demo's files: {error}"));
        let own = folder.with_extension("vault");
        DirBuilder::new().mode(0o700).create(&own).map_err(failed)?;
        let [outbound, admin, metrics, health, inbound] = free;
        let vault = Vault { folder: own, inbound, admin };
        let authority = DevelopmentAuthority::new("cluster.local").map_err(no_certificates)?;
        issue(&authority, CALLER, &folder.join("identity"))?;
        issue(&authority, OWNER, &vault.folder.join("identity"))?;
        let directory = vault.folder.join("identity");
        let files = format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{ name: vault }}\nspec:\n  \
             identity: {{ directory: {directory} }}\n  admin: {admin}\n  metrics: {metrics}\n  health: {health}\n  \
             outbound: {outbound}\n  inbound: {inbound}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{ name: vault }}\nspec:\n  selector: {{ app: vault }}\n  \
             ports: [{{ name: http, port: 80, targetPort: {application} }}]\n---\n\
             apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: vault }}\nspec:\n  \
             mtls: {{ mode: STRICT }}\n",
            directory = directory.display()
        );
        fs::write(vault.folder.join("vault.yaml"), files).map_err(failed)?;
        let entry = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: vault }}\nspec:\n  hosts: [{HOST}]\n  \
             location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {} }}]\n  \
             endpoints: [{{ address: {}, serviceAccount: vault, labels: {{ security.istio.io/tlsMode: istio }} }}]\n",
            inbound.port(),
            inbound.ip()
        );
        fs::write(folder.join("vault.yaml"), entry).map_err(failed)?;
        Ok(vault)
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it counted a request of the first proxy's, by the name in its certificate.
    pub async fn knows_its_caller(&self) -> Result<bool, CliError> {
        let metrics = admin::ask(self.admin, "/stats/prometheus").await?;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let caller = format!("source_principal=\"{CALLER}\"");
        Ok(text.lines().any(|line| {
            line.starts_with("istio_requests_total{")
                && line.contains(&caller)
                && line.contains("connection_security_policy=\"mutual_tls\"")
        }))
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The status of `GET /` of [`HOST`] at `address`; `None`: there was no answer at all.
pub async fn ask(address: SocketAddr) -> Option<u16> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
    };
    tokio::time::timeout(TIMEOUT, asking).await.ok()?
}

fn issue(authority: &DevelopmentAuthority, id: &str, folder: &Path) -> Result<(), CliError> {
    let id = SpiffeId::parse(id)
        .ok_or_else(|| CliError::Failed("the demo's certificates: not a SPIFFE id".into()))?;
    let issued = authority.issue(&id, &[]).map_err(no_certificates)?;
    let write = |name: &str, mode: u32, text: &str| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(folder.join(name))?;
        file.write_all(text.as_bytes())
    };
    fs::create_dir(folder)
        .and_then(|()| write("ca.crt", 0o644, &authority.certificate))
        .and_then(|()| write("tls.crt", 0o644, &issued.certificate))
        .and_then(|()| write("tls.key", 0o600, &issued.key))
        .map_err(|error| CliError::Failed(format!("{}: {error}", folder.display())))
}

fn no_certificates(error: sidle_identity::TlsError) -> CliError {
    CliError::Failed(format!("the demo's certificates: {error}"))
}
