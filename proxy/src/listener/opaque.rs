//! Connections that are only bytes: a cluster, an endpoint, a relay.
//!
//! Invariant: nothing is read from the client before it may go on: its bytes wait, and none is lost.

use super::Connection;
use crate::{
    codec::Stream,
    config::TcpPlan,
    error::ProxyError,
    exchange::{self, TcpExchange},
    policy::{
        authorization::{Guard, Known},
        fault,
    },
};
use std::{rc::Rc, sync::Arc};

/// Carries one connection until it ends.
pub async fn serve(mut stream: Stream, connection: Rc<Connection>, plan: Arc<TcpPlan>) {
    let cluster = plan.clusters[plan.index.pick(connection.worker.random())].clone();
    let mut exchange = TcpExchange::begin(&connection, &plan);
    if let Some(guard) = &plan.guard {
        let admitted = tokio::select! {
            biased;
            admitted = admit(guard, &connection, &exchange) => admitted,
            () = stream.reset() => Err(ProxyError::ClientGone),
        };
        if let Err(error) = admitted {
            super::admission::turn_away(&mut stream);
            return exchange.finish(Err(error));
        }
    }
    let cut = match fault::inject_bytes(&mut exchange, &cluster).await {
        Ok(cut) => cut,
        Err(error) => {
            stream.end_by_reset();
            return exchange.finish(Err(error));
        }
    };
    match exchange::tcp::connect(&mut exchange, &cluster).await {
        Ok(upstream) => exchange.carry(stream, upstream, plan.idle_timeout, cut).await,
        Err(error) => {
            stream.take_leave();
            exchange.finish(Err(error));
        }
    }
}

async fn admit(guard: &Guard, connection: &Connection, exchange: &TcpExchange) -> Result<(), ProxyError> {
    let downstream = &connection.downstream;
    let client = downstream.peer.map(|peer| peer.ip());
    let known = Known { downstream, client, request: None, token: None, port: &guard.port };
    guard.ask_of_bytes(exchange, &known).await?;
    guard.decide(&known)
}
