//! How a client's connection is received: what PeerAuthentications make of who asks.
//!
//! In:  what the workload's ports take, a client.   Out: whether the connection is taken, and whether the client's name is known.
//! Invariants: `sidle explain` and `sidle authz simulate` ask this one function. A client with a principal is a proxy of the mesh: it
//! speaks mTLS where a port takes it. One without comes in the clear, or with TLS that shows no certificate.
//! Not here: what a port takes (`sidle_model::lower`), filter chains (`explain::place`).

use super::client::Client;
use sidle_model::ir::{InboundMtls, MtlsMode};

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is closed, for this reason.
    Closed(String),
    /// By mTLS: the principal is known.
    Proven,
    /// Otherwise: the client is nobody.
    Unproven,
    /// The principal is taken as told, although the proxy has no identity to speak mTLS with.
    Assumed,
}

/// Said where [`Received::Assumed`].
pub const ASSUMED: &str =
    "this proxy has no `identity`, and would know nobody's principal; it is taken as told";
/// Said where a principal is told, and [`Received::Unproven`].
pub const UNPROVEN: &str =
    "the port takes no mTLS (DISABLE): the client comes in the clear, and his principal is not known";

/// How `client` is received at one of `ports`, whichever it is.
pub fn received(ports: &[InboundMtls], has_identity: bool, client: &Client) -> Received {
    let all = |mode| !ports.is_empty() && ports.iter().all(|port| port.mode == mode);
    match (client.has_principal(), ports.first()) {
        (true, _) if !has_identity => Received::Assumed,
        (true, _) if all(MtlsMode::Disable) => Received::Unproven,
        (true, _) => Received::Proven,
        (false, Some(port)) if has_identity && all(MtlsMode::Strict) => {
            let origin = &port.origin;
            Received::Closed(format!("mTLS is demanded (STRICT, {origin}), and the client has no principal"))
        }
        (false, _) => Received::Unproven,
    }
}

/// Those of `ports` that have this number; all of them, if none has.
pub fn at(ports: &[InboundMtls], number: Option<u16>) -> Vec<InboundMtls> {
    let own: Vec<_> = ports.iter().filter(|port| Some(port.port) == number).cloned().collect();
    if own.is_empty() { ports.to_vec() } else { own }
}
