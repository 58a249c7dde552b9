//! JSON web tokens, and the keys that they are verified by.
//!
//! In:  a token's text, the issuer's [`KeySet`], what is [`Expected`], the time.   Out: a [`VerifiedToken`], or a [`Refusal`].
//! Invariants: what a token says of its own key (`jku`, `x5u`, `jwk`, `x5c`) is never looked at; the algorithm has to be one that the
//! key is for, and none of those with a shared secret is known; JSON with a member twice is no JSON; work is bounded before
//! anything is verified: [`MOST_BYTES`], [`MOST_DEPTH`], [`MOST_TRIES`]; no clock of its own.
//! Not here: where in a request a token stands, fetching keys (`proxy/src`).
//! Source: RFC 7515, 7517, 7518, 7519, 8037, 8725; the words of refusals are Envoy's.
//! Read: `token` (three parts) -> `claims` (what they say) -> `key_set` and `key` -> `verify` (the line).

mod algorithm;
mod claims;
mod fingerprint;
mod json;
mod key;
mod key_set;
mod refusal;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use claims::claim_at;
pub use fingerprint::{Fingerprint, fingerprint};
pub use key_set::{KeySet, KeySetError, PRIVATE_MEMBERS, public_part};
pub use refusal::Refusal;
pub use token::Token;
pub use verify::{Expected, VerifiedToken, believe_claims};

/// Bytes of a token.
pub const MOST_BYTES: usize = 16 * 1024;
/// Objects and lists in one another.
pub const MOST_DEPTH: usize = 32;
/// Keys that one token is tried with.
pub const MOST_TRIES: usize = 8;
/// Keys of a set.
pub const MOST_KEYS: usize = 256;
