//! Who may ask at all: what every request of a listener passes before its route is chosen.
//!
//! In:  a request's head.   Out: the head, or an early answer.
//! Invariants: the order is Istio's (R13): external authorisation, tokens, then rules; it goes before CORS and faults, so a preflight
//! is refused like any other request.
//! Not here: what the policies mean (`sidle-model`), TLS (`listener`).

use super::{Verdict, authorization::Guard, jwt::TokenGate};
use crate::{
    codec::{Body, RequestHead},
    error::ProxyError,
    exchange::Exchange,
};
use http::uri::PathAndQuery;
use std::sync::Arc;

/// The admission of one listener, compiled.
#[derive(Default)]
pub struct Gate {
    tokens: Arc<TokenGate>,
    guard: Option<Guard>,
}

impl Gate {
    /// Of parts that are compiled.
    pub fn build(tokens: Arc<TokenGate>, guard: Option<Guard>) -> Self {
        Gate { tokens, guard }
    }

    /// A target as it may be logged; `None`: as it is.
    pub fn masked(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        self.tokens.masked(target)
    }

    /// Whether the request goes on.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn admit(
        &self,
        exchange: &mut Exchange,
        head: &mut RequestHead,
        body: &mut Body,
    ) -> Result<Verdict, ProxyError> {
        if let Some(guard) = &self.guard
            && let answered @ Verdict::Respond(..) = guard.ask(exchange, head, body).await?
        {
            return Ok(answered);
        }
        if !self.tokens.is_empty() {
            Box::pin(self.tokens.admit(exchange, head)).await?; // boxed: most requests need no room for it
        }
        if let Some(guard) = &self.guard {
            guard.decide(&exchange.known(head, &guard.port))?;
        }
        Ok(Verdict::Continue)
    }
}
