//! Process settings: what `kind: Proxy` and the command line decide. Changes to sockets and workers need a restart; the
//! rest is applied with the next snapshot.

use super::{Format, Identity, KeyFetching};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Process settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Admin; `127.0.0.1:15000`.
    pub admin: SocketAddr,
    /// `/stats/prometheus`; `[::]:15090`.
    pub metrics: SocketAddr,
    /// `/healthz/ready`; `[::]:15021`.
    pub health: SocketAddr,
    /// Whether the application is shown the address of its client: what connects to the workload arrives by TPROXY.
    pub transparent: bool,
    /// Worker threads; `None`: one for each core.
    pub workers: Option<u16>,
    /// How the process ends.
    pub drain: Drain,
    /// What one client may take. Connections keep those that they began with.
    pub limits: Arc<Limits>,
    /// Access log; `None`: off.
    pub access_log: Option<AccessLog>,
    /// Where the workload's identity comes from; `None`: it has none.
    pub identity: Option<Identity>,
    /// How keys of issuers are fetched.
    pub key_fetching: KeyFetching,
    /// DNS for the application; `None`: it asks others.
    pub name_server: Option<NameServer>,
}

/// Names, in lower case and without the dot at the end, and `*.suffix`.
pub type Names = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// DNS for the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// By UDP and TCP; `127.0.0.1:15053`.
    pub address: SocketAddr,
    /// Whose addresses it knows.
    pub names: Arc<Names>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            admin: SocketAddr::from(([127, 0, 0, 1], 15000)),
            metrics: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15090)),
            health: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15021)),
            transparent: false,
            workers: None,
            drain: Drain::default(),
            limits: Arc::default(),
            access_log: None,
            identity: None,
            key_fetching: KeyFetching::default(),
            name_server: None,
        }
    }
}

/// One deadline, as users ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// From SIGTERM to exit at the latest; 30 s.
    pub deadline: Duration,
    /// From SIGTERM to the earliest exit, for load balancers to notice; 0.
    pub minimum: Duration,
    /// From a takeover to exit at the latest, for streams that live on in the old process; 10 min.
    pub takeover_deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            deadline: Duration::from_secs(30),
            minimum: Duration::ZERO,
            takeover_deadline: Duration::from_secs(600),
        }
    }
}

/// What one client may take; defaults as in the limits table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request head in bytes; 32 KiB, then 431.
    pub max_request_headers_bytes: u32,
    /// Header fields; 100, then 431.
    pub max_request_headers_count: u32,
    /// From the first byte of a head to its last; 10 s, then 408.
    pub request_headers_timeout: Duration,
    /// Without a byte of a body either way; 60 s; zero: no bound; not for upgraded and gRPC streams.
    pub stream_idle_timeout: Duration,
    /// A downstream connection without a request; 5 min; zero: no bound.
    pub connection_idle_timeout: Duration,
    /// A downstream HTTP connection, a tenth more or less, before its client is to come again; `None`: no bound.
    pub max_connection_duration: Option<Duration>,
    /// Streams of one downstream HTTP/2 connection; 100.
    pub http2_max_concurrent_streams: u32,
    /// HTTP/2 window of a stream; 256 KiB.
    pub http2_initial_stream_window: u32,
    /// HTTP/2 window of a connection; 1 MiB.
    pub http2_initial_connection_window: u32,
    /// Bytes kept for a retry or a mirror; 64 KiB. A longer body is not retried once it was sent.
    pub replay_buffer_bytes: u32,
    /// Downstream connections; `None`: 0.8 of the file descriptor limit.
    pub max_connections: Option<u32>,
    /// A TLS handshake; 5 s.
    pub tls_handshake_timeout: Duration,
    /// Downstream connections of one client address, loopback excepted; 1,000.
    pub max_connections_per_source: u32,
    /// From the first byte of a request's head to the last of its body; `None`: no bound.
    pub request_timeout: Option<Duration>,
    /// Streams of a downstream HTTP/2 connection that end by reset in one second; 100, then GOAWAY.
    pub http2_max_resets_per_second: u32,
    /// Frames of an HTTP/2 connection, from either peer, that carry nothing, in one second; 1,000, then GOAWAY.
    pub http2_max_control_frames_per_second: u32,
    /// Resident memory at which requests are shed; `None`: the control group's limit, if there is one.
    pub max_memory_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_request_headers_bytes: 32 << 10,
            max_request_headers_count: 100,
            request_headers_timeout: Duration::from_secs(10),
            stream_idle_timeout: Duration::from_secs(60),
            connection_idle_timeout: Duration::from_secs(300),
            max_connection_duration: None,
            http2_max_concurrent_streams: 100,
            http2_initial_stream_window: 256 << 10,
            http2_initial_connection_window: 1 << 20,
            replay_buffer_bytes: 64 << 10,
            max_connections: None,
            tls_handshake_timeout: Duration::from_secs(5),
            max_connections_per_source: 1_000,
            request_timeout: None,
            http2_max_resets_per_second: 100,
            http2_max_control_frames_per_second: 1_000,
            max_memory_bytes: None,
        }
    }
}

/// Access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// A file, or `/dev/stdout`, `/dev/stderr`.
    pub path: PathBuf,
    /// What a line holds.
    pub format: AccessLogFormat,
}

/// What an access log line holds.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessLogFormat {
    /// Text with operators, newline included.
    Text(Format),
    /// One JSON object, keys in order.
    Json(Vec<(String, Format)>),
}
