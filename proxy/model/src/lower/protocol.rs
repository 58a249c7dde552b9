//! Which protocol a port speaks (R21).
//!
//! In:  what a Service, ServiceEntry, Gateway or Sidecar says of a port.   Out: a [`Protocol`].
//! Not here: telling the protocol from bytes (`codec/detect` of the proxy).

use crate::ir::UpstreamProtocol;

/// What a port is declared to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    /// TLS that is not opened here, HTTP inside.
    Https,
    /// TLS that is not opened here.
    Tls,
    Tcp,
    /// Not proxied.
    Udp,
    /// An HTTP proxy: `Sidecar` egress ports only.
    HttpProxy,
    /// Found out from the first bytes.
    Undeclared,
}

/// How connections to a port are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Http,
    Tls,
    Tcp,
    /// HTTP if the bytes are, else TCP.
    Detected,
    /// Not at all.
    Ignored,
}

impl Protocol {
    /// From its name, in any case. An unknown name is undeclared, as in Istio.
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" => Protocol::Http,
            "http2" | "kubernetes.io/h2c" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "grpc-web" => Protocol::GrpcWeb,
            "https" | "kubernetes.io/wss" => Protocol::Https,
            "kubernetes.io/ws" => Protocol::Http,
            "tls" => Protocol::Tls,
            "tcp" | "mongo" | "mysql" | "redis" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "http_proxy" => Protocol::HttpProxy,
            _ => Protocol::Undeclared,
        }
    }

    /// Of a Kubernetes Service's port: `appProtocol`, else the prefix of its name, else a well-known number.
    pub fn of_service_port(port: &crate::kubernetes::ServicePort) -> Self {
        if matches!(port.protocol.as_deref(), Some("UDP" | "SCTP")) {
            return Protocol::Udp;
        }
        let declared = match (&port.app_protocol, &port.name) {
            (Some(protocol), _) => Protocol::parse(protocol),
            (None, Some(name)) => Protocol::of_port_name(name),
            (None, None) => Protocol::Undeclared,
        };
        match (declared, port.port) {
            (Protocol::Undeclared, 25 | 53 | 3306 | 27017) => Protocol::Tcp,
            (declared, _) => declared,
        }
    }

    fn of_port_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Protocol::GrpcWeb;
        }
        match Protocol::parse(name.split('-').next().unwrap_or_default()) {
            // Names that are no port names.
            Protocol::HttpProxy => Protocol::Undeclared,
            protocol => protocol,
        }
    }

    /// How connections to it are served.
    pub fn class(self) -> Class {
        match self {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb | Protocol::HttpProxy => {
                Class::Http
            }
            Protocol::Https | Protocol::Tls => Class::Tls,
            Protocol::Tcp => Class::Tcp,
            Protocol::Udp => Class::Ignored,
            Protocol::Undeclared => Class::Detected,
        }
    }

    /// What is spoken to endpoints of such a port, before any DestinationRule.
    pub fn upstream(self) -> UpstreamProtocol {
        match self {
            Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => UpstreamProtocol::Http2,
            Protocol::Undeclared => UpstreamProtocol::AsDownstream,
            _ => UpstreamProtocol::Http1,
        }
    }
}

impl Class {
    /// Whether HTTP routes apply.
    pub fn has_http(self) -> bool {
        matches!(self, Class::Http | Class::Detected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::ServicePort;

    #[test]
    fn r21_app_protocol_then_name_then_number() {
        use Protocol::*;
        for (app_protocol, name, number, transport, expected) in [
            (Some("grpc"), Some("http-web"), 80, None, Grpc),
            (Some("kubernetes.io/h2c"), None, 80, None, Http2),
            (Some("kubernetes.io/ws"), None, 80, None, Http),
            (Some("kubernetes.io/wss"), None, 80, None, Https),
            (Some("acme.com/x"), Some("http"), 80, None, Undeclared),
            (None, Some("http"), 80, None, Http),
            (None, Some("HTTP2-x"), 80, None, Http2),
            (None, Some("grpc-web"), 80, None, GrpcWeb),
            (None, Some("grpc-web-x"), 80, None, GrpcWeb),
            (None, Some("grpc-x"), 80, None, Grpc),
            (None, Some("mongo-x"), 80, None, Tcp),
            (None, Some("httpx"), 80, None, Undeclared),
            (None, Some("web"), 3306, None, Tcp),
            (None, None, 27017, None, Tcp),
            (None, Some("http"), 3306, None, Http),
            (None, None, 8080, None, Undeclared),
            (None, Some("http"), 53, Some("UDP"), Udp),
        ] {
            let port = ServicePort {
                app_protocol: app_protocol.map(Into::into),
                name: name.map(Into::into),
                port: number,
                protocol: transport.map(Into::into),
                target_port: None,
            };
            assert_eq!(Protocol::of_service_port(&port), expected, "{port:?}");
        }
    }
}
