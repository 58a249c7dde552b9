//! In place of services that count, in a build without gRPC: nobody is asked. Configurations that would ask are refused
//! (`config::lacks`).

use super::Opinion;
use crate::{codec::RequestHead, exchange::Exchange, policy::service::Silence, upstream::Cluster};
use sidle_model::ir::RateLimitService;
use std::sync::Arc;

pub struct Service {
    pub config: RateLimitService,
    pub cluster: Arc<Cluster>,
}

impl Service {
    pub fn build(config: &RateLimitService, cluster: Arc<Cluster>) -> Self {
        Service { config: config.clone(), cluster }
    }

    pub async fn ask(
        &self,
        _: &Exchange,
        _: &RequestHead,
        _: Option<&Arc<Cluster>>,
    ) -> Option<Result<Opinion, Silence>> {
        Some(Err(Silence::Unclear))
    }
}
