//! The load: clients with certificates.

use super::subject::{HOST, Subject};
use crate::{
    load::{Connection, Question},
    void::Void,
};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What asks a proxy.
pub struct Client {
    secure: SocketAddr,
    clear: SocketAddr,
    connector: TlsConnector,
    question: Arc<Question>,
    connections: usize,
}

impl Client {
    /// So many `connections` at once, with the certificate of the subject's client.
    pub fn new(subject: &Subject, question: Arc<Question>, connections: usize) -> Self {
        Client {
            secure: subject.secure,
            clear: subject.clear,
            connector: TlsConnector::from(Arc::new(config(subject))),
            question,
            connections,
        }
    }

    /// Asks one question on each of `count` new connections.
    pub async fn handshakes(&self, count: u32) -> Result<(), Void> {
        self.share(count, async |client: Client, next: &dyn Fn() -> bool| {
            while next() {
                Connection::over(client.connect().await?).ask(&client.question).await?;
            }
            Ok(())
        })
        .await
    }

    /// Asks `count` questions on connections with mutual TLS.
    pub async fn requests(&self, count: u32) -> Result<(), Void> {
        self.share(count, async |client: Client, next: &dyn Fn() -> bool| {
            let mut connection = Connection::over(client.connect().await?);
            while next() {
                connection.ask(&client.question).await?;
            }
            Ok(())
        })
        .await
    }

    /// Asks `count` questions in the clear.
    pub async fn clear(&self, count: u32) -> Result<(), Void> {
        self.share(count, async |client: Client, next: &dyn Fn() -> bool| {
            let mut connection = Connection::open(client.clear).await?;
            while next() {
                connection.ask(&client.question).await?;
            }
            Ok(())
        })
        .await
    }

    /// What both ends agree on.
    pub async fn agreed(&self) -> Result<String, Void> {
        let stream = self.connect().await?;
        let session = stream.get_ref().1;
        let suite = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let group = session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        Ok(format!("{}, {}", suite.unwrap_or_default(), group.unwrap_or_default()))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Void> {
        let stream = TcpStream::connect(self.secure).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).map_err(|error| Void::because(error.to_string()))?;
        Ok(self.connector.connect(name, stream).await?)
    }

    /// Shares `count` turns among the clients.
    async fn share(
        &self,
        count: u32,
        work: impl AsyncFn(Client, &dyn Fn() -> bool) -> Result<(), Void> + Copy + 'static,
    ) -> Result<(), Void> {
        let taken = Arc::new(AtomicU32::new(0));
        let local = tokio::task::LocalSet::new();
        let mut clients = JoinSet::new();
        for _ in 0..self.connections {
            let (client, taken) = (self.clone(), taken.clone());
            clients.spawn_local_on(
                async move { work(client, &|| taken.fetch_add(1, Ordering::Relaxed) < count).await },
                &local,
            );
        }
        local
            .run_until(async {
                while let Some(ended) = clients.join_next().await {
                    ended.map_err(|error| Void::because(error.to_string()))??;
                }
                Ok(())
            })
            .await
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Client { connector: self.connector.clone(), question: self.question.clone(), ..*self }
    }
}

/// TLS as a mesh speaks it; every handshake is a full one.
fn config(subject: &Subject) -> ClientConfig {
    let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(pem(&subject.authority.pem())).expect("a root");
    let key = PrivateKeyDer::from_pem_slice(subject.client.key_pem().as_bytes()).expect("a key");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![pem(&subject.client.certificate_pem)], key)
        .expect("a certificate and its key");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}
