//! Keys of issuers: fetched in the background, kept while an issuer is away.
//!
//! In:  where keys are.   Out: a [`Source`] for each place, which workers read without waiting.
//! Invariants: nothing waits for keys at the start, and no request for an issuer that is away; keys that were good stay so for
//! [`KEPT`]; whatever tokens say, a place is asked at most once in [`PAUSE`] on their behalf; nothing is asked at an address that the
//! configuration does not permit, whoever named it.
//! Not here: tokens (`policy::jwt`), what a key is (`sidle-jwt`).
//! Read: `source` (what workers see) -> `follow` (when) -> `fetch` (how).

mod fetch;
mod follow;
mod source;

pub use follow::follow;
pub use source::{Held, Location, Source, SourceView};

use foldhash::HashMap;
use sidle_model::ir;
use sidle_telemetry::Telemetry;
use std::{sync::Arc, time::Duration};

/// How long keys are used before they are fetched again.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// How long keys are used that cannot be fetched again.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two fetches because of tokens whose key is not known.
pub const PAUSE: Duration = Duration::from_secs(30);

/// Places that keys are fetched from.
pub type Sources = HashMap<Location, Arc<Source>>;

/// Places that nobody follows yet, each beside the one whose keys it is to take over, if there was one.
type Unfollowed = Vec<(Arc<Source>, Option<Arc<Source>>)>;

/// The places that `ir` names, those of `previous` among them; and those that nobody follows yet.
pub fn sources(ir: &ir::Ir, previous: Option<&Sources>, telemetry: &Telemetry) -> (Sources, Unfollowed) {
    let mut wanted: HashMap<Location, Duration> = HashMap::default();
    for provider in ir.listeners.iter().flat_map(|listener| providers(listener)) {
        if let Some((location, timeout)) = Location::of(provider) {
            let longest = wanted.entry(location).or_default();
            *longest = timeout.max(*longest);
        }
    }
    let mut new = Vec::new();
    let sources = wanted.into_iter().map(|(location, timeout)| {
        let before = previous.and_then(|previous| previous.get(&location));
        let fetching = &ir.settings.key_fetching;
        let source = match before.filter(|before| before.is(fetching, timeout)) {
            Some(same) => same.clone(),
            None => {
                let metrics =
                    before.map_or_else(|| telemetry.jwks_metrics(location.text()), |before| before.metrics());
                let source = Arc::new(Source::new(location.clone(), fetching.clone(), timeout, metrics));
                new.push((source.clone(), before.cloned()));
                source
            }
        };
        (location, source)
    });
    (sources.collect(), new)
}

fn providers(listener: &ir::Listener) -> impl Iterator<Item = &ir::JwtProvider> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    chains.flat_map(|chain| match &chain.filter {
        ir::NetworkFilter::Http(http) => &http.admission.authentication[..],
        ir::NetworkFilter::Tcp(_) => &[],
    })
}
