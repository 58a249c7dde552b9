//! Injected faults: a delay, then an abort, each by its own coin.

use crate::{error::ProxyError, exchange::Exchange};
use sidle_model::ir::{Fault, FaultAbort};
use sidle_telemetry::ResponseFlags;

/// Delays or aborts the request as the coins fall.
///
/// # Errors
/// The abort.
pub async fn inject(fault: &Fault, exchange: &mut Exchange) -> Result<(), ProxyError> {
    if let Some((delay, percent)) = fault.delay
        && percent.hit(exchange.random())
    {
        exchange.record.flags |= ResponseFlags::DI;
        tokio::time::sleep(delay).await;
    }
    match fault.abort {
        Some((abort, percent)) if percent.hit(exchange.random()) => Err(match abort {
            FaultAbort::Http(status) => ProxyError::FaultAbort(status),
            FaultAbort::Grpc(status) => ProxyError::FaultGrpc(status),
        }),
        _ => Ok(()),
    }
}
