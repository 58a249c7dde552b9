//! Injected faults: a delay, then an abort, each by its own coin. Those of a route come before the upstream is asked; those of an upstream
//! take its place in a try, or on a connection of bytes, so that all that watches over it sees them.

use crate::{
    error::ProxyError,
    exchange::{Exchange, TcpExchange},
    upstream::Cluster,
};
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

/// Delays a connection of bytes to `cluster`, or refuses it, as the coins fall. After how many bytes it is to be cut.
///
/// # Errors
/// It is to be reset.
pub async fn inject_bytes(exchange: &mut TcpExchange, cluster: &Cluster) -> Result<Option<u64>, ProxyError> {
    let Some(faults) = cluster.config.faults.as_ref().map(|faults| &faults.tcp) else { return Ok(None) };
    if let Some((delay, percent)) = faults.delay
        && percent.hit(exchange.random())
    {
        exchange.record.flags |= ResponseFlags::DI;
        tokio::time::sleep(delay).await;
    }
    if faults.reset.is_some_and(|percent| percent.hit(exchange.random())) {
        return Err(ProxyError::FaultReset);
    }
    let cut = faults.cut.filter(|(_, percent)| percent.hit(exchange.random()));
    Ok(cut.map(|(bytes, _)| bytes))
}
