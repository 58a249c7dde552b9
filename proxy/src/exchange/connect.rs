//! CONNECT: bytes to an endpoint, with the limits of its cluster and the headers of its route.

use super::{
    Exchange,
    attempt::{CountedRequest, Hold, Response},
    destination::Wish,
    send::Lease,
    tcp,
};
use crate::{
    codec::{Authority, Body, Duplex, RequestHead, ResponseHead},
    config::{RoutePlan, WeightedPlan},
    error::ProxyError,
};
use http::StatusCode;
use sidle_balance::ActiveRequest;
use sidle_routing::CompiledRoute;

impl Exchange {
    /// Opens a tunnel. Only the headers of its answer are changed: those of the request go nowhere.
    pub(super) async fn connect(
        &mut self,
        route: &CompiledRoute<RoutePlan>,
        weighted: &WeightedPlan,
        head: &RequestHead,
        client: Body,
    ) -> Result<Box<Response>, ProxyError> {
        let cluster = &weighted.cluster;
        let held = self.hold(cluster);
        let counted = CountedRequest::begin(held.clone());
        self.record.attempts = 1;
        let endpoint = self.pick(cluster, &Wish::of(head, None, &[])).await?;
        self.record.upstream = Some(endpoint.address.clone());
        self.destination = Some((held, Some(endpoint.clone())));
        let host = head.authority.as_ref().map(Authority::as_str);
        let (stream, connection) = tcp::open(cluster, endpoint.shared(), host, self.connection.via()).await?;
        self.record.upstream_local = stream.local_addr();
        let mut response = Box::new(Response {
            head: ResponseHead::new(StatusCode::OK),
            body: Body::Empty,
            lease: Lease::None,
            upgraded: Some((Box::new(Duplex::Stream(stream)), cluster.config.tunnel_idle_timeout)),
            client,
            timeout: None,
            hold: Hold {
                _counted: Some(counted),
                _request: None,
                _active: Some(ActiveRequest::start(endpoint)),
                _retry: None,
                _connection: Some(connection),
            },
        });
        self.amend(route, weighted, head, &mut response.head);
        Ok(response)
    }
}
