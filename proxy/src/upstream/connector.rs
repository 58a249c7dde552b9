//! Connections to endpoints: TCP, then TLS if the cluster says so, within the cluster's connect timeout.
//!
//! A `tower` stack, because composition per connection is the point here: [`Tcp`] does the socket, [`Tls`] the handshake,
//! tower's `Timeout` the time. Not here: pooling.

use crate::{codec::Stream, error::ProxyError, intercept};
use rustls::pki_types::ServerName;
use sidle_balance::{Endpoint, EndpointAddr};
use sidle_identity::{Live, Peer, TlsError, Workload};
use sidle_model::ir;
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tower::{Service, ServiceBuilder, ServiceExt};

/// How a cluster's connections are made. Two clusters share one only if it is the same cluster before and after a reload.
pub struct Connector {
    /// Unique in this process; pools are keyed by it.
    pub id: u64,
    /// What is spoken.
    pub protocol: ir::UpstreamProtocol,
    /// Idle HTTP connections close after this.
    pub idle_timeout: Option<Duration>,
    /// Connections close at this age.
    pub max_age: Option<Duration>,
    /// Requests on one connection; 0: no bound.
    pub max_requests: u32,
    /// Streams on one HTTP/2 connection.
    pub max_streams: u32,
    tls: Option<TlsPlan>,
    auto_mtls: Option<TlsPlan>,
    tls_config: [Option<ir::ClientTls>; 2],
    keepalive: Option<ir::TcpKeepalive>,
    timeout: Duration,
}

/// What the cluster offers in TLS, by what is to be spoken inside.
struct TlsPlan {
    http1: Arc<Live<rustls::ClientConfig>>,
    http2: Arc<Live<rustls::ClientConfig>>,
    bytes: Arc<Live<rustls::ClientConfig>>,
    sni: Option<Arc<str>>,
    /// Whether the certificate is the workload's own.
    of_mesh: bool,
    /// Whether the server has to prove who it is.
    verifies: bool,
}

/// Where a connection to the application comes from, if not from wherever the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// 127.0.0.6, or ::6: so that rules of the kernel, and the application, know it for the proxy's.
    Proxy {
        /// Of IPv6.
        v6: bool,
    },
    /// The client itself. Needs CAP_NET_ADMIN.
    Client {
        /// The client.
        address: IpAddr,
        /// Where it meant to connect to.
        to: IpAddr,
    },
}

/// Ports of connections in a client's name, and how many are tried.
const CLIENT_PORTS: std::ops::Range<u16> = 10_000..32_768;
const MAX_PORTS_TRIED: usize = 32;

/// What will be spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Bytes: no ALPN.
    Bytes,
}

impl Connector {
    /// Reads TLS files.
    ///
    /// # Errors
    /// Files that are missing or hold no usable PEM.
    pub fn build(config: &ir::Cluster, workload: &Workload) -> Result<Self, TlsError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let plan = |tls: Option<&ir::ClientTls>| tls.map(|tls| TlsPlan::build(tls, workload)).transpose();
        Ok(Connector {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            protocol: config.protocol,
            idle_timeout: config.idle_timeout,
            max_age: config.max_connection_duration,
            max_requests: config.limits.max_requests_per_connection,
            max_streams: config.limits.max_concurrent_streams,
            tls: plan(config.tls.as_ref())?,
            auto_mtls: plan(config.auto_mtls.as_ref())?,
            tls_config: [config.tls.clone(), config.auto_mtls.clone()],
            keepalive: config.tcp_keepalive.clone(),
            timeout: config.connect_timeout,
        })
    }

    /// Whether it makes connections as `config` wants them.
    pub fn fits(&self, config: &ir::Cluster) -> bool {
        self.protocol == config.protocol
            && self.idle_timeout == config.idle_timeout
            && self.max_age == config.max_connection_duration
            && self.max_requests == config.limits.max_requests_per_connection
            && self.max_streams == config.limits.max_concurrent_streams
            && self.tls_config[0] == config.tls
            && self.tls_config[1] == config.auto_mtls
            && self.keepalive == config.tcp_keepalive
            && self.timeout == config.connect_timeout
    }

    /// Whether connections to an endpoint are over TLS.
    pub fn is_tls(&self, endpoint: &Endpoint) -> bool {
        self.plan(endpoint).is_some()
    }

    /// Whether what is spoken to an endpoint is HTTPS. mTLS of the mesh is not: neither application knows of it.
    pub fn is_https(&self, endpoint: &Endpoint) -> bool {
        self.plan(endpoint).is_some_and(|plan| !plan.of_mesh)
    }

    /// Whether the server's name is the host that a request names.
    pub fn takes_name_of_request(&self) -> bool {
        self.tls.as_ref().is_some_and(|plan| plan.sni.is_none())
    }

    /// Who the endpoint at the other end of `stream` proved to be.
    pub fn identity(&self, endpoint: &Endpoint, stream: &Stream) -> Option<Arc<Peer>> {
        self.plan(endpoint).filter(|plan| plan.verifies)?;
        stream.server_certificate().and_then(Peer::of).map(Arc::new)
    }

    fn plan(&self, endpoint: &Endpoint) -> Option<&TlsPlan> {
        self.tls.as_ref().or(self.auto_mtls.as_ref().filter(|_| endpoint.mtls))
    }

    /// Connects to `endpoint`. `host` is the request's, for SNI where the cluster names none.
    ///
    /// # Errors
    /// [`ProxyError::ConnectTimeout`] or [`ProxyError::ConnectFailure`].
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        host: &str,
        target: Target,
        via: Option<Via>,
    ) -> Result<Stream, ProxyError> {
        let connect = Connect { address: endpoint.address.clone(), keepalive: self.keepalive.clone(), via };
        let made = match self.plan(endpoint) {
            None => ServiceBuilder::new().timeout(self.timeout).service(Tcp).oneshot(connect).await,
            Some(plan) => {
                let tls = Tls { inner: Tcp, config: plan.config(target)?, name: plan.name(host)? };
                ServiceBuilder::new().timeout(self.timeout).service(tls).oneshot(connect).await
            }
        };
        made.map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => ProxyError::ConnectFailure(reason(&error).into()),
            Err(_) => ProxyError::ConnectTimeout,
        })
    }
}

/// Short and without addresses, which the log has anyway.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::InvalidData => format!("TLS: {error}"),
        _ => error.to_string(),
    }
}

impl TlsPlan {
    fn build(tls: &ir::ClientTls, workload: &Workload) -> Result<Self, TlsError> {
        use ir::ApplicationProtocol::{Http1, Http2, Istio, IstioHttp2, IstioHttp11};
        let offering = |protocols: &[ir::ApplicationProtocol]| {
            let alpn: Vec<_> = protocols.iter().map(|protocol| protocol.alpn().as_bytes()).collect();
            sidle_identity::client_config(tls, &alpn, workload)
        };
        // What the filter `istio.alpn` of Istio's Envoys offers, so that the other side knows mTLS of the mesh.
        let of_mesh = tls.certificate == Some(ir::Certificates::Workload);
        let (http1, http2, bytes): (&[_], &[_], &[_]) = match of_mesh {
            true => (&[IstioHttp11, Istio, Http1], &[IstioHttp2, Istio, Http2], &[Istio]),
            false => (&[Http1], &[Http2], &[]),
        };
        Ok(TlsPlan {
            http1: offering(http1)?,
            http2: offering(http2)?,
            bytes: offering(bytes)?,
            sni: tls.sni.clone(),
            of_mesh,
            verifies: !tls.insecure_skip_verify,
        })
    }

    /// For the handshake that begins now.
    fn config(&self, target: Target) -> Result<Arc<rustls::ClientConfig>, ProxyError> {
        let offering = match target {
            Target::Http1 => &self.http1,
            Target::Http2 => &self.http2,
            Target::Bytes => &self.bytes,
        };
        offering.current().map_err(|error| ProxyError::ConnectFailure(format!("TLS: {error}").into()))
    }

    fn name(&self, host: &str) -> Result<ServerName<'static>, ProxyError> {
        let name = self.sni.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| ProxyError::ConnectFailure(format!("TLS: `{name}` is not a server name").into()))
    }
}

/// What to connect to.
struct Connect {
    address: EndpointAddr,
    keepalive: Option<ir::TcpKeepalive>,
    via: Option<Via>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>>>>;

/// The socket.
#[derive(Clone)]
struct Tcp;

impl Service<Connect> for Tcp {
    type Response = Stream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connect: Connect) -> Connecting {
        Box::pin(async move {
            match &connect.address {
                EndpointAddr::Socket(address) => {
                    let stream = match connect.via {
                        Some(via) => via.connect(*address).await?,
                        None => TcpStream::connect(address).await?,
                    };
                    stream.set_nodelay(true)?;
                    if let Some(keepalive) = &connect.keepalive {
                        set_keepalive(&stream, keepalive)?;
                    }
                    Ok(stream.into())
                }
                EndpointAddr::Unix(path) => Ok(UnixStream::connect(path).await?.into()),
            }
        })
    }
}

impl Via {
    async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let (address, source) = match self {
            Via::Proxy { v6: false } => (address, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6))),
            // Who was called by IPv6 listens there.
            Via::Proxy { v6: true } => (
                at_loopback(address, Ipv6Addr::LOCALHOST.into()),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
            ),
            // Nothing from elsewhere may be answered by 127.0.0.1: the kernel does not route it.
            Via::Client { address: client, to } => (at_loopback(address, to), client),
        };
        if source.is_ipv4() != address.is_ipv4() {
            return TcpStream::connect(address).await; // a Sidecar names another one
        }
        if matches!(self, Via::Client { .. }) {
            return connect_as(source, address).await;
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        match socket.bind(SocketAddr::new(source, 0)) {
            // Only what captures IPv6 adds ::6. On loopback the proxy is known by its account, too.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && address.ip().is_loopback() => {
                TcpStream::connect(address).await
            }
            Err(error) => Err(error),
            Ok(()) => socket.connect(address).await,
        }
    }
}

/// `ip` in place of 127.0.0.1.
fn at_loopback(address: SocketAddr, ip: IpAddr) -> SocketAddr {
    if address.ip() == Ipv4Addr::LOCALHOST { SocketAddr::new(ip, address.port()) } else { address }
}

/// Connects with a client's address. Its port is not one that the client itself would choose (Linux begins at 32768): its own
/// connection to the same address is here too, and the two must not be the same for the kernel.
async fn connect_as(client: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..MAX_PORTS_TRIED {
        let socket = if client.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let options = socket2::SockRef::from(&socket);
        match client {
            IpAddr::V4(_) => options.set_ip_transparent_v4(true)?,
            IpAddr::V6(_) => options.set_ip_transparent_v6(true)?,
        }
        options.set_mark(intercept::CLIENT_MARK)?;
        match socket.bind(SocketAddr::new(client, fastrand::u16(CLIENT_PORTS))) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
            Ok(()) => return socket.connect(address).await,
        }
    }
    Err(last)
}

fn set_keepalive(stream: &TcpStream, keepalive: &ir::TcpKeepalive) -> io::Result<()> {
    let mut options = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        options = options.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        options = options.with_retries(probes);
    }
    socket2::SockRef::from(stream).set_tcp_keepalive(&options)
}

/// TLS over what `inner` connects.
struct Tls<S> {
    inner: S,
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
}

impl<S> Service<Connect> for Tls<S>
where
    S: Service<Connect, Response = Stream, Error = io::Error, Future = Connecting>,
{
    type Response = Stream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, connect: Connect) -> Connecting {
        let (connecting, name) = (self.inner.call(connect), self.name.clone());
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        Box::pin(async move { Ok(connector.connect(name, connecting.await?).await?.into()) })
    }
}
