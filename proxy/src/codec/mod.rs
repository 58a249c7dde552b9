//! Bytes to HTTP and back: the only rooms, with `upstream`, that name an engine.
//!
//! In:  a [`Stream`] from `listener`.   Out: [`RequestHead`] and [`Body`] for `exchange`, whose [`Answer`] goes back as bytes.
//! Invariants: what reaches the corridor has one authority, no hop-by-hop fields, a path; a connection that breaks its
//! protocol is closed; memory per stream is bounded.
//! Not here: routes, policies, upstream connections.
//! Read: `detect` -> `head` -> `body` -> `h1` -> `h2` -> `tunnel`.

mod authority;
pub mod body;
mod buffers;
pub mod detect;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod head;
pub mod hop_by_hop;
pub mod patience;
mod portion;
mod socket;
pub mod stream;
mod target;
pub mod timer;
pub mod tunnel;
pub mod twins;
pub mod underscores;

pub use authority::Authority;
pub use body::{Body, BodyError};
pub use h2::send::SendingBody;
pub use head::{Interim, RequestHead, ResponseHead, Scheme};
pub use stream::Stream;
pub use tunnel::{Duplex, Tunnel};

/// What the corridor gives back for one request.
pub struct Answer {
    /// Status and headers, hop-by-hop fields already gone.
    pub head: ResponseHead,
    /// Body and trailers.
    pub body: Body,
    /// What is still sent of the request: to be polled while no more of `body` can be taken.
    pub upload: Option<h1::Uploading>,
    /// Takes the connection over after the head was sent (101, or 2xx to CONNECT).
    pub tunnel: Option<Box<Tunnel>>,
}
