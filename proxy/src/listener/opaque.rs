//! Connections that are only bytes: a cluster, an endpoint, a relay.

use super::Connection;
use crate::{
    codec::Stream,
    config::TcpPlan,
    exchange::{self, TcpExchange},
};
use std::{rc::Rc, sync::Arc};

/// Carries one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>, plan: Arc<TcpPlan>) {
    let cluster = plan.clusters[plan.index.pick(connection.worker.random())].clone();
    let mut exchange = TcpExchange::begin(&connection, &plan);
    match exchange::tcp::connect(&mut exchange, &cluster).await {
        Ok(upstream) => exchange.carry(stream, upstream, plan.idle_timeout).await,
        Err(error) => exchange.finish(Err(error)),
    }
}
