//! Who may ask at all.

use super::{Authorization, JwtProvider, RateLimit};
use std::sync::Arc;

/// What every request of a listener passes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Admission {
    /// Whose tokens are looked for; empty: tokens are not looked at.
    pub authentication: Arc<[JwtProvider]>,
    /// Rules; `None`: everybody may.
    pub authorization: Option<Authorization>,
    /// How many may, once their route is chosen.
    pub rate_limits: Arc<[RateLimit]>,
}
