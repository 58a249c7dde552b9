//! Who may ask at all: what every request of a listener passes before its route is chosen.
//!
//! In:  a request's head.   Out: the head, or an early answer.
//! Invariants: the order is Istio's (R13): external authorisation, tokens, then rules; it goes before CORS and faults, so a preflight
//! is refused like any other request.
//! Not here: what the policies mean (`sidle-model`), TLS (`listener`).

use super::{Verdict, jwt::TokenGate};
use crate::{codec::RequestHead, error::ProxyError, exchange::Exchange};
use sidle_model::ir;

/// The admission of one listener, compiled.
#[derive(Debug, Default)]
pub struct Gate {
    tokens: TokenGate,
}

impl Gate {
    /// Compiles.
    pub fn build(admission: &ir::Admission) -> Self {
        Gate { tokens: TokenGate::build(&admission.authentication) }
    }

    /// Whether the request goes on.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn admit(
        &self,
        exchange: &mut Exchange,
        head: &mut RequestHead,
    ) -> Result<Verdict, ProxyError> {
        self.tokens.admit(exchange, head)?;
        Ok(Verdict::Continue)
    }
}
