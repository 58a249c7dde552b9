//! Two proxies on the same configuration, asked the same.

use super::{
    envoy::Envoy,
    observation::{Deviation, Observation, arrivals, compare, observe, read_log},
    request::Ask,
};
use futures_util::stream::{self, StreamExt};
use sidle_test_support::{echo::Echo, wait};
use std::{net::SocketAddr, path::Path, time::Duration};

/// How many requests are under way at the same time: no more than a retry budget always allows.
const AT_ONCE: usize = 3;
/// How often, 10 ms apart, upstreams are asked for copies that are still under way.
const PATIENCE: usize = 150;

/// Sidle, on the ports of the configuration, and Envoy.
pub struct Pair<'a> {
    pub envoy: &'a Envoy,
    pub upstreams: &'a [Echo],
    pub log: &'a Path,
    pub envoy_log: &'a Path,
}

/// What each proxy was sent, and what it made of it.
struct Answers {
    sidle: (Ask, Observation),
    envoy: (Ask, Observation),
}

impl Pair<'_> {
    /// How the two differ on each of `asks`; where chance has a word, the least that was seen in so many throws.
    pub async fn ask_all(&self, asks: &[Ask], throws: usize) -> Vec<Vec<Deviation>> {
        let mut least: Vec<Option<Vec<Deviation>>> = vec![None; asks.len()];
        for throw in 0..throws {
            let differs = |at: &usize| least[*at].as_ref().is_none_or(|seen| !seen.is_empty());
            let open: Vec<usize> = (0..asks.len()).filter(differs).collect();
            let sent = open.into_iter().map(|at| async move { (at, self.send(&asks[at], throw).await) });
            // All are sent before the first log line is waited for: logs are written now and then.
            let answers: Vec<_> = stream::iter(sent).buffered(AT_ONCE).collect().await;
            for (at, answers) in answers {
                let deviations = self.judge(&asks[at], answers).await;
                if least[at].as_ref().is_none_or(|least| deviations.len() < least.len()) {
                    least[at] = Some(deviations);
                }
            }
        }
        least.into_iter().map(Option::unwrap_or_default).collect()
    }

    async fn send(&self, ask: &Ask, throw: usize) -> Answers {
        let [to_sidle, to_envoy] =
            ["sidle", "envoy"].map(|who| Ask { id: format!("{who}-{}-{throw}", ask.id), ..ask.clone() });
        let local = SocketAddr::from(([127, 0, 0, 1], ask.port));
        let (sidle, envoy) =
            tokio::join!(to_sidle.send(local), to_envoy.send(self.envoy.listeners[&ask.port]));
        Answers { sidle: (to_sidle, observe(&sidle)), envoy: (to_envoy, observe(&envoy)) }
    }

    async fn judge(&self, ask: &Ask, answers: Answers) -> Vec<Deviation> {
        let Answers { sidle: (to_sidle, mut sidle), envoy: (to_envoy, mut envoy) } = answers;
        add_log(&to_sidle, &mut sidle, self.log).await;
        add_log(&to_envoy, &mut envoy, self.envoy_log).await;
        let (at_sidle, at_envoy) = self.arrivals(&to_sidle.id, &to_envoy.id).await;
        sidle.insert("upstream requests".into(), at_sidle);
        envoy.insert("upstream requests".into(), at_envoy);
        compare(ask, &sidle, &envoy)
    }

    /// What reached the upstreams on behalf of each. Copies come late, so unequal ones get a moment to become equal.
    async fn arrivals(&self, sidle: &str, envoy: &str) -> (String, String) {
        let mut both = (String::new(), String::new());
        for _ in 0..PATIENCE {
            both = (arrivals(sidle, self.upstreams), arrivals(envoy, self.upstreams));
            if both.0 == both.1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        both
    }
}

/// Adds the request's line of the access log, which may come a moment later.
async fn add_log(ask: &Ask, seen: &mut Observation, log: &Path) {
    if !ask.tcp {
        let what = format!("the log line of {ask} in {}", log.display());
        seen.extend(wait::eventually(&what, || async { read_log(log).remove(&ask.id) }).await);
    }
}
