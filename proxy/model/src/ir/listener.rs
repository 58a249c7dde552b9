//! Listeners: sockets, and what happens to the connections that arrive on them.

use super::{Admission, Authorization, HostPattern, Origin, ServerTls, WeightedCluster};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// A socket to bind.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique; `virtualOutbound`, `virtualInbound`, `0.0.0.0_8080`.
    pub name: Arc<str>,
    /// Where it binds.
    pub address: ListenAddress,
    /// Which way its connections go.
    pub direction: Direction,
    /// How long to wait for the bytes that tell the protocol, where it is not declared. On expiry the connection is TCP.
    pub detection_timeout: Duration,
    /// Chosen by the most specific match, as in Envoy: destination port, destination address, server name, transport,
    /// application protocol. Order does not matter, and no two have an equal match.
    pub filter_chains: Vec<FilterChain>,
    /// For connections that no filter chain takes. `None`: close.
    pub default_filter_chain: Option<FilterChain>,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// What made it.
    pub origin: Origin,
}

impl Listener {
    /// Whether it is one of the two that a sidecar has anyway. To these `0.0.0.0` and `[::]` stand for both families; others listen where they say.
    pub fn is_built_in(name: &str) -> bool {
        matches!(name, "virtualOutbound" | "virtualInbound")
    }
}

/// Where a listener binds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Socket(SocketAddr),
    /// A Unix domain stream socket.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Socket(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Which way connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the application beside the proxy to the mesh.
    Outbound,
    /// From the mesh to the application beside the proxy.
    Inbound,
    /// From outside the mesh: a Gateway server.
    Gateway,
}

/// What happens to the connections of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterChain {
    /// For logs and dumps.
    pub name: Arc<str>,
    /// Which connections.
    pub matches: FilterChainMatch,
    /// TLS is terminated with this before anything else.
    pub tls: Option<ServerTls>,
    /// HTTP or TCP.
    pub filter: NetworkFilter,
}

/// All that is given must hold; what is empty holds for every connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterChainMatch {
    /// Whether only connections that the kernel brought here, to whatever port, are taken: those that no chain of their port takes.
    /// Envoy has no word for it.
    pub captured: bool,
    /// Original destination port. Only redirected connections have one that differs from the listener's.
    pub destination_port: Option<u16>,
    /// Original destination address.
    pub destinations: Vec<ipnet::IpNet>,
    /// TLS server names.
    pub server_names: Vec<HostPattern>,
    /// What the first bytes are.
    pub transport: Option<Transport>,
    /// What the first bytes inside are, or what TLS offers to speak; empty: any. Without TLS only
    /// [`ApplicationProtocol::Http1`] and [`ApplicationProtocol::Http2`] are ever detected.
    pub application_protocols: Vec<ApplicationProtocol>,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A TLS ClientHello.
    Tls,
    /// Anything else.
    RawBuffer,
}

/// What a connection speaks above its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApplicationProtocol {
    /// An HTTP/1 request line, or ALPN `http/1.1`.
    Http1,
    /// The HTTP/2 preface, or ALPN `h2`.
    Http2,
    /// ALPN `istio`: mTLS of a mesh, whatever is inside.
    Istio,
    /// ALPN `istio-peer-exchange`: bytes between two Envoys of a mesh, which would like to tell each other who they are.
    IstioPeerExchange,
    /// ALPN `istio-http/1.0`.
    IstioHttp10,
    /// ALPN `istio-http/1.1`.
    IstioHttp11,
    /// ALPN `istio-h2`.
    IstioHttp2,
}

impl ApplicationProtocol {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Http1,
        Self::Http2,
        Self::Istio,
        Self::IstioPeerExchange,
        Self::IstioHttp10,
        Self::IstioHttp11,
        Self::IstioHttp2,
    ];
    /// What proxies of a mesh offer to each other, and nobody else.
    pub const MESH: [Self; 5] =
        [Self::Istio, Self::IstioPeerExchange, Self::IstioHttp10, Self::IstioHttp11, Self::IstioHttp2];
    /// What proxies of a mesh offer to each other where they know that HTTP is inside.
    pub const MESH_HTTP: [Self; 3] = [Self::IstioHttp10, Self::IstioHttp11, Self::IstioHttp2];
    /// What proxies of a mesh offer to each other where they do not know what is inside.
    pub const MESH_BYTES: [Self; 2] = [Self::IstioPeerExchange, Self::Istio];

    /// The id in ALPN.
    pub fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Istio => "istio",
            Self::IstioPeerExchange => "istio-peer-exchange",
            Self::IstioHttp10 => "istio-http/1.0",
            Self::IstioHttp11 => "istio-http/1.1",
            Self::IstioHttp2 => "istio-h2",
        }
    }
}

/// What reads the bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkFilter {
    /// HTTP/1 or HTTP/2, told apart by ALPN or the preface.
    Http(HttpConnectionManager),
    /// Bytes.
    Tcp(TcpProxy),
}

/// How HTTP connections are served.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConnectionManager {
    /// Name of the [`super::RouteConfiguration`].
    pub route_configuration: Arc<str>,
    /// Whether `x-forwarded-for` gets the peer appended and `x-envoy-*` from outside is stripped (gateways).
    pub edge: bool,
    /// `server` header of responses: `envoy` outbound, `istio-envoy` inbound and at gateways; `None`: pass through.
    pub server_name: Option<http::HeaderValue>,
    /// Whether HTTP/1 header names keep their case on both sides.
    pub preserve_header_case: bool,
    /// What is taken from clients, and how.
    pub options: HttpOptions,
    /// Who may ask at all.
    pub admission: Admission,
}

/// What is taken from clients, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpOptions {
    /// How far paths are normalised.
    pub normalization: PathNormalization,
    /// What becomes of a request header with `_` in its name.
    pub underscores: UnderscoresAction,
    /// Whether HTTP/1.0 is spoken.
    pub accept_http_10: bool,
    /// This proxy's name in `via`; `None`: no `via`.
    pub via: Option<http::HeaderValue>,
    /// Proxies in front whose `x-forwarded-for` is believed.
    pub trusted_hops: u32,
    /// What becomes of `x-forwarded-client-cert`.
    pub client_cert: ForwardClientCert,
    /// Whether a refusal by authorization says in a header which rule refused.
    pub authorization_header: bool,
}

/// What becomes of `x-forwarded-client-cert`. Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardClientCert {
    /// It goes.
    #[default]
    Sanitize,
    /// From a client with a certificate it passes as it is; from others it goes.
    ForwardOnly,
    /// A client's certificate is added to what it sends; from others it goes.
    AppendForward,
    /// A client's certificate stands in place of what it sends; from others it goes.
    SanitizeSet,
    /// It passes as it is, from anybody.
    AlwaysForwardOnly,
}

/// How far a path is normalised; each does what the one before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathNormalization {
    /// Not at all.
    None,
    /// RFC 3986, and `\` as `/`.
    #[default]
    Base,
    /// Also `//` as `/`.
    MergeSlashes,
    /// Also `%2f` and `%5c` as `/`.
    DecodeAndMergeSlashes,
}

/// What becomes of a request header with `_` in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnderscoresAction {
    /// It passes.
    #[default]
    Allow,
    /// 400.
    Reject,
    /// The request passes without it.
    Drop,
}

/// Bytes to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpProxy {
    /// Chosen per connection; never empty.
    pub clusters: Vec<WeightedCluster>,
    /// Closes after this long without a byte either way; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Who may connect; `None`: everybody.
    pub authorization: Option<Authorization>,
    /// For logs, metrics and `explain`.
    pub route_name: Arc<str>,
    /// The rule that chose.
    pub origin: Origin,
}
