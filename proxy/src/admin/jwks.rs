//! `/jwks`: keys of issuers that are fetched.

use super::{
    answer::{Answer, json},
    table::Ask,
};
use http::StatusCode;
use serde_json::{Value, json as value};
use std::time::SystemTime;

pub(super) fn jwks(ask: &Ask) -> Answer {
    let mut sources = ask.source.jwks();
    sources.sort_by(|a, b| a.location.cmp(&b.location));
    let now = SystemTime::now();
    let shown = sources.into_iter().map(|source| {
        let age = source.fetched.and_then(|fetched| now.duration_since(fetched).ok()).map(|age| age.as_secs());
        let keys: Vec<Value> =
            source.keys.iter().map(|(id, algorithms)| value!({ "kid": id, "algorithms": algorithms })).collect();
        value!({ "location": source.location, "keys": keys, "age_seconds": age, "last_failure": source.failure })
    });
    json(StatusCode::OK, &value!({ "jwks": shown.collect::<Vec<_>>() }))
}
