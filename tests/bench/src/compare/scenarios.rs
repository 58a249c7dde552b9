//! What is compared: each scenario is a kind of traffic, and the work that is done with it.
//!
//! Invariants: in every scenario the prefix `/svc/` of the host [`HOST`] leads to two clusters by 90 to 10, connections to them are
//! kept, and whoever proxies has one worker.

use serde::{Deserialize, Serialize};

/// The host of every request, and the name in the certificates; [`hosts`] has those of a scenario with many.
pub const HOST: &str = "bench.test";

/// How a connection is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A GET is answered with so many bytes.
    Bytes(usize),
    /// A gRPC call brings so many bytes, and takes as many back.
    Message(usize),
}

/// The clients of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// What they speak.
    pub protocol: Protocol,
    /// Whether in TLS 1.3.
    pub tls: bool,
    /// How many connections they have.
    pub connections: usize,
    /// How many requests each connection has under way.
    pub streams: usize,
    /// Whether each request has a connection of its own.
    pub churn: bool,
    /// How many hosts are asked, in turn.
    pub hosts: usize,
    /// What they ask for.
    pub content: Content,
}

/// What is done with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Clients ask the next question when they have an answer: processor time of a request, requests a second.
    Saturation,
    /// So many requests a second are sent, whatever comes back: latency, processor time of a request.
    Rate(u32),
    /// So many connections ask once and stay: memory, processor time of doing nothing.
    Idle(usize),
}

impl Work {
    /// Which of the three.
    pub fn kind(self) -> Kind {
        match self {
            Work::Saturation => Kind::Saturation,
            Work::Rate(_) => Kind::Rate,
            Work::Idle(_) => Kind::Idle,
        }
    }
}

/// A kind of [`Work`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// What a request costs when clients ask as fast as they are answered
    Saturation,
    /// Latency, and what a request costs, at a fixed rate
    Rate,
    /// Memory, and what doing nothing costs
    Idle,
}

/// A kind of traffic.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// On the command line and in tables.
    pub name: &'static str,
    /// In a line.
    pub about: &'static str,
    /// The clients.
    pub clients: Clients,
    /// What the upstreams speak.
    pub upstream: Protocol,
    /// Whether they speak it in mutual TLS.
    pub upstream_tls: bool,
    /// Whether each request is logged to a file.
    pub logs: bool,
    /// What is done.
    pub work: &'static [Work],
}

const HTTP1: Clients = Clients {
    protocol: Protocol::Http1,
    tls: false,
    connections: 64,
    streams: 1,
    churn: false,
    hosts: 1,
    content: Content::Bytes(1 << 10),
};

const HTTP2: Clients = Clients { protocol: Protocol::Http2, connections: 8, streams: 32, ..HTTP1 };

const H1: Scenario = Scenario {
    name: "h1",
    about: "HTTP/1.1 kept alive, 64 connections, answers of 1 KiB",
    clients: HTTP1,
    upstream: Protocol::Http1,
    upstream_tls: false,
    logs: false,
    work: &[Work::Saturation, Work::Rate(5000)],
};

const H2: Scenario = Scenario {
    name: "h2",
    about: "HTTP/2 in the clear both ways, 8 connections of 32 streams, answers of 1 KiB",
    clients: HTTP2,
    upstream: Protocol::Http2,
    work: &[Work::Saturation, Work::Rate(3000)],
    ..H1
};

/// All of them, in the order of tables.
pub const SCENARIOS: [Scenario; 16] = [
    H1,
    H2,
    Scenario {
        name: "grpc",
        about: "gRPC calls of 128 bytes, 8 connections of 32 streams",
        clients: Clients { content: Content::Message(128), ..HTTP2 },
        ..H2
    },
    Scenario {
        name: "tls",
        about: "h2 in TLS 1.3 from clients, in the clear to upstreams",
        clients: Clients { tls: true, ..HTTP2 },
        ..H2
    },
    Scenario {
        name: "mtls",
        about: "h2 in TLS 1.3 from clients, in mutual TLS to upstreams",
        clients: Clients { tls: true, ..HTTP2 },
        upstream_tls: true,
        ..H2
    },
    Scenario {
        name: "churn",
        about: "h1, but each request has a connection of its own; 32 at once",
        clients: Clients { connections: 32, churn: true, ..HTTP1 },
        work: &[Work::Saturation, Work::Rate(2000)],
        ..H1
    },
    Scenario {
        name: "h1-64k",
        about: "h1, answers of 64 KiB on 32 connections",
        clients: Clients { connections: 32, content: Content::Bytes(64 << 10), ..HTTP1 },
        work: &[Work::Saturation, Work::Rate(2000)],
        ..H1
    },
    Scenario {
        name: "h1-1m",
        about: "h1, answers of 1 MiB on 8 connections",
        clients: Clients { connections: 8, content: Content::Bytes(1 << 20), ..HTTP1 },
        work: &[Work::Saturation, Work::Rate(100)],
        ..H1
    },
    Scenario {
        name: "h2-64k",
        about: "h2, answers of 64 KiB on 8 connections of 4 streams",
        clients: Clients { streams: 4, content: Content::Bytes(64 << 10), ..HTTP2 },
        work: &[Work::Saturation, Work::Rate(2000)],
        ..H2
    },
    Scenario {
        name: "h1-h2",
        about: "h1 from clients, HTTP/2 to upstreams, as from an application through its sidecar",
        upstream: Protocol::Http2,
        work: &[Work::Saturation, Work::Rate(3000)],
        ..H1
    },
    Scenario {
        name: "routes",
        about: "h1 with 10,000 hosts, asked in turn, each with a route of its own",
        clients: Clients { hosts: 10_000, ..HTTP1 },
        work: &[Work::Saturation, Work::Rate(3000)],
        ..H1
    },
    Scenario {
        name: "logs",
        about: "h1 with a text access log in a file",
        logs: true,
        work: &[Work::Saturation, Work::Rate(3000)],
        ..H1
    },
    Scenario { name: "open", about: "h1, at a fixed rate only", work: &[Work::Rate(3000)], ..H1 },
    Scenario {
        name: "idle",
        about: "1,000 connections of HTTP/1.1 that asked once",
        work: &[Work::Idle(1000)],
        ..H1
    },
    Scenario {
        name: "idle-h2",
        about: "1,000 connections of HTTP/2 in the clear that asked once",
        clients: HTTP2,
        work: &[Work::Idle(1000)],
        ..H1
    },
    Scenario {
        name: "idle-tls",
        about: "1,000 connections of HTTP/2 in TLS 1.3 that asked once",
        clients: Clients { tls: true, ..HTTP2 },
        work: &[Work::Idle(1000)],
        ..H1
    },
];

/// The hosts that a scenario asks.
pub fn hosts(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| if count == 1 { HOST.to_owned() } else { format!("shop-{number}.{HOST}") })
}

impl Scenario {
    /// Whether the calls are gRPC's.
    pub fn grpc(&self) -> bool {
        matches!(self.clients.content, Content::Message(_))
    }
}

impl Content {
    /// The target that asks for it.
    pub fn path(self) -> String {
        match self {
            Content::Bytes(size) => format!("/svc/{size}"),
            Content::Message(_) => "/svc/echo.Echo/Unary".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_something_is_done_in_each() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..at].iter().all(|other| other.name != scenario.name), "{}", scenario.name);
            assert!(!scenario.work.is_empty());
            assert!(!scenario.grpc() || scenario.upstream == Protocol::Http2, "gRPC is HTTP/2");
        }
    }

    #[test]
    fn one_host_is_the_host_and_many_are_many() {
        assert_eq!(hosts(1).collect::<Vec<_>>(), [HOST]);
        assert_eq!(hosts(10_000).last().unwrap(), "shop-9999.bench.test");
    }
}
