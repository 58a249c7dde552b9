//! Who may ask at all: what every request of a listener passes before its route is chosen.
//!
//! In:  a request's head.   Out: the head, or an early answer.
//! Invariants: the order is Istio's (R13): external authorisation, tokens, then rules; it goes before CORS and faults, so a preflight
//! is refused like any other request.
//! Not here: what the policies mean (`sidle-model`), TLS (`listener`).

use super::{
    Verdict,
    authorization::{Guard, Guards},
    jwt::TokenGate,
};
use crate::{codec::RequestHead, error::ProxyError, exchange::Exchange};
use sidle_model::ir;
use std::sync::Arc;

/// The admission of one listener, compiled.
#[derive(Default)]
pub struct Gate {
    tokens: TokenGate,
    guard: Option<Guard>,
}

impl Gate {
    /// Compiles.
    pub fn build(admission: &ir::Admission, guards: &mut Guards<'_>, listener: &Arc<str>) -> Self {
        Gate {
            tokens: TokenGate::build(&admission.authentication),
            guard: admission.authorization.as_ref().map(|authorization| guards.of(authorization, listener)),
        }
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
        if let Some(guard) = &self.guard {
            guard.ask(&exchange.known(head, &guard.port))?;
        }
        self.tokens.admit(exchange, head)?;
        if let Some(guard) = &self.guard {
            guard.decide(&exchange.known(head, &guard.port))?;
        }
        Ok(Verdict::Continue)
    }
}
