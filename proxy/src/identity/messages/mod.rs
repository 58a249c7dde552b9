//! The messages of those who issue identities, as far as they are used here: field numbers are those of the published `.proto` files.
//! What is not named is skipped, as protobuf wants it.
//!
//! Invariant: a message that holds a key has no `Debug`.

pub mod istio;
pub mod sds;
pub mod spiffe;
