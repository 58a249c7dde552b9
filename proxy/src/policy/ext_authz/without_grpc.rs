//! In place of questions by gRPC, in a build without: nobody is asked, and nothing passes. Configurations that would ask are refused
//! (`config::lacks`).

use super::{ExtAuthz, Opinion, Seen, Silence};
use crate::{
    codec::RequestHead,
    exchange::{Asker, Record},
};
use tokio::time::Instant;

pub(super) async fn ask(
    _: &ExtAuthz,
    _: Asker<'_>,
    _: &Record,
    _: &RequestHead,
    _: Seen,
    _: Instant,
) -> Result<Opinion, Silence> {
    Err(Silence::Unclear)
}

pub(super) async fn ask_of_bytes(
    _: &ExtAuthz,
    _: Asker<'_>,
    _: &Record,
    _: Instant,
) -> Result<bool, Silence> {
    Err(Silence::Unclear)
}
