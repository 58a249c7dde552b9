//! What is known of a request or connection.

use serde_json::{Map, Value};
use sidle_routing::RequestView;
use std::net::IpAddr;

/// What is known of a request or connection when it is decided on. `None` is never met by a value, and always by a negative one.
pub trait Facts {
    /// What the request is seen through.
    type Request: RequestView;

    /// The request; `None` where bytes are served.
    fn request(&self) -> Option<&Self::Request>;

    /// Who the peer proved to be: `td/ns/NAMESPACE/sa/ACCOUNT`.
    fn principal(&self) -> Option<&str>;

    /// The other end of the socket.
    fn source_ip(&self) -> Option<IpAddr>;

    /// The client, as far as those in front are believed.
    fn remote_ip(&self) -> Option<IpAddr>;

    /// Where the connection was meant to go.
    fn destination_ip(&self) -> Option<IpAddr>;

    /// The port of the workload.
    fn port(&self) -> Option<u16>;

    /// SNI.
    fn server_name(&self) -> Option<&str>;

    /// Claims of the token that was verified.
    fn claims(&self) -> Option<&Map<String, Value>>;
}
