//! Copies of requests: sent beside the request, their answers thrown away. Nothing that happens to a copy touches the
//! request; a mirror is not retried, and gives up after a while.

use super::{
    Exchange,
    compare::{Side, sides},
    copy::Copy,
    destination::Wish,
    seen, send,
};
use crate::{
    codec::{Body, RequestHead},
    config::{ForwardPlan, Snapshot},
    error::ProxyError,
    listener::Connection,
    upstream::Cluster,
    worker::Held,
};
use http_body::Body as _;
use std::{future::poll_fn, pin::Pin, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A copy's whole life, where the route has no timeout.
const PATIENCE: Duration = Duration::from_secs(15);

impl Exchange {
    /// Starts the copies that the coins select; gives the body that feeds them too.
    pub(super) fn mirror(&mut self, forward: &ForwardPlan, head: &RequestHead, body: Body) -> Body {
        if forward.mirrors.is_empty() {
            return body;
        }
        let mut copies = Vec::new();
        for (cluster, percent) in &forward.mirrors {
            if !percent.hit(self.random()) {
                continue;
            }
            let copied = if body.is_end_stream() {
                Body::Empty
            } else {
                let copy = Copy::default();
                copies.push(copy.clone());
                copy.reader()
            };
            let side = cluster.config.compares_mirrored.then(|| {
                let (own, of_copy) = sides(cluster);
                self.compared.push(own);
                of_copy
            });
            let (connection, snapshot) = (self.connection.clone(), self.record.snapshot.clone());
            let sending = mirror(connection, snapshot, cluster.clone(), head.clone(), copied, side);
            let patience = forward.timeout.unwrap_or(PATIENCE);
            tokio::task::spawn_local(async move {
                if tokio::time::timeout(patience, sending).await.is_err() {
                    tracing::debug!("a mirrored request took too long");
                }
            });
        }
        if copies.is_empty() { body } else { Copy::tee(body, copies) }
    }
}

async fn mirror(
    connection: Rc<Connection>,
    snapshot: Held<Snapshot>,
    cluster: Arc<Cluster>,
    mut head: RequestHead,
    body: Body,
    mut side: Option<Side>,
) {
    head.interim = None;
    let wish = Wish::of(&head, None, &[]);
    let sent = async {
        let endpoint = super::destination::pick(&connection, &snapshot, &cluster, &wish).await?;
        let limits = &cluster.config.limits;
        let _permit = cluster.usage.try_acquire_request(limits).ok_or(ProxyError::Overflow)?;
        let to = send::To {
            connection: &connection,
            cluster: &cluster,
            endpoint: endpoint.shared(),
            fresh: false,
        };
        let sent = send::send(to, &head, body).await;
        if let Some(seen) = seen::of_try(&sent, head.is_grpc()) {
            cluster.report(&endpoint, seen);
        }
        let mut sent = sent.map_err(|failure| failure.error)?;
        // Read to its end, so that the connection can be used again.
        side.iter_mut().for_each(|side| side.begin(sent.head.status));
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut sent.body).poll_frame(cx)).await {
            match frame {
                Ok(frame) => side.iter_mut().for_each(|side| side.see(&frame)),
                // It broke off, as its side says by never ending; asked again, it would say so for ever.
                Err(_) => return Err(ProxyError::ConnectionTermination(true)),
            }
        }
        side.take().into_iter().for_each(Side::end);
        sent.lease.give_back(Instant::now());
        Ok::<_, ProxyError>(())
    };
    if let Err(error) = sent.await {
        tracing::debug!(cluster = %cluster.config.name, %error, "a mirrored request failed");
    }
}
