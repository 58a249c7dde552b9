//! Where Sidle and Envoy differ, and why that is meant.
//!
//! Every entry must explain something in each run of the test, and everything must be explained by an entry.

use super::{observation::Deviation, request::Ask};

/// A difference that is meant.
pub struct Difference {
    /// Why.
    pub reason: &'static str,
    /// Whether it is the reason for a deviation, which is one of all that the request had.
    pub explains: fn(&Ask, &Deviation, &[Deviation]) -> bool,
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[];
