//! The configuration: `/config/status`, `/config_dump`, `/reload`.

use super::{
    answer::{Answer, TEXT, answer, json},
    table::Ask,
};
use futures_util::{FutureExt, future::BoxFuture};
use http::StatusCode;

/// What runs, and how the last attempt went.
pub(super) fn status(ask: &Ask) -> Answer {
    json(StatusCode::OK, &*ask.source.config_status())
}

/// In Envoy's words, for `istioctl` and its like.
pub(super) fn dump(ask: &Ask) -> Answer {
    let version = ask.source.config_status().version.as_ref().map(ToString::to_string).unwrap_or_default();
    match ask.source.ir() {
        Some(ir) => json(StatusCode::OK, &sidle_xds::config_dump(&ir, &version)),
        None => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "no configuration yet\n"),
    }
}

/// Answers when the attempt has ended, with what `/config/status` then says; 422 if the files have errors.
pub(super) fn reload(ask: Ask) -> BoxFuture<'static, Answer> {
    async move {
        match ask.source.reload().await {
            Some(status) if status.is_current() => json(StatusCode::OK, &*status),
            Some(status) => json(StatusCode::UNPROCESSABLE_ENTITY, &*status),
            None => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the process is on its way out\n"),
        }
    }
    .boxed()
}
