//! One place that keys are fetched from, as workers see it.

use super::{KEPT, PAUSE};
use arc_swap::ArcSwapOption;
use sidle_jwt::KeySet;
use sidle_model::ir::{JwtKeys, JwtProvider, KeyFetching};
use sidle_telemetry::JwksMetrics;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Notify, watch};

/// Where keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// There.
    Uri(Arc<str>),
    /// Where this issuer says.
    Issuer(Arc<str>),
}

impl Location {
    /// Where the keys of a provider are, and how long a fetch may take; `None`: it has them.
    pub fn of(provider: &JwtProvider) -> Option<(Self, Duration)> {
        match &provider.keys {
            JwtKeys::Inline(_) => None,
            JwtKeys::Remote { uri, timeout } => Some((Location::Uri(uri.clone()), *timeout)),
            JwtKeys::Discovered { timeout } => Some((Location::Issuer(provider.issuer.clone()), *timeout)),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        match self {
            Location::Uri(text) | Location::Issuer(text) => text,
        }
    }
}

/// Keys, with a number that no others have.
#[derive(Debug)]
pub struct Held {
    /// The keys.
    pub keys: KeySet,
    /// Theirs alone in this process.
    pub version: u64,
    /// When they were made or fetched.
    pub since: (Instant, SystemTime),
}

impl Held {
    /// Keys that are new.
    pub fn new(keys: KeySet) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Held { keys, version: NEXT.fetch_add(1, SeqCst), since: (Instant::now(), SystemTime::now()) }
    }
}

/// What is left when keys cannot be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: there never were any, or there are none any more.
    Never,
    /// Nothing: what there was is too old from now on.
    TooOld,
    /// What was fetched before.
    Good,
}

/// Requests that may wait for a fetch at once.
const MOST_WAITING: usize = 1024;

/// One place that keys are fetched from.
pub struct Source {
    /// Where they are.
    pub location: Location,
    pub(super) fetching: KeyFetching,
    /// For one request.
    pub(super) timeout: Duration,
    held: ArcSwapOption<Held>,
    /// Wakes who follows.
    pub(super) wanted: Arc<Notify>,
    under_way: AtomicBool,
    /// When tokens last had it fetched, in milliseconds of `born`, and one more.
    asked: AtomicU64,
    born: Instant,
    /// Fetches that have ended.
    ended: watch::Sender<u64>,
    waiting: AtomicUsize,
    failure: Mutex<Option<String>>,
    metrics: JwksMetrics,
}

/// What admin shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceView {
    /// Where the keys are.
    pub location: String,
    /// Names and algorithms.
    pub keys: Vec<(Option<String>, Vec<&'static str>)>,
    /// When they were fetched.
    pub fetched: Option<SystemTime>,
    /// Why the last fetch failed, if it did.
    pub failure: Option<String>,
}

impl Source {
    /// A place that nobody has asked.
    pub fn new(location: Location, fetching: KeyFetching, timeout: Duration, metrics: JwksMetrics) -> Self {
        Source {
            location,
            fetching,
            timeout,
            held: ArcSwapOption::empty(),
            wanted: Arc::default(),
            under_way: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            born: Instant::now(),
            ended: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            failure: Mutex::default(),
            metrics,
        }
    }

    /// Whether it is asked in this way.
    pub fn is(&self, fetching: &KeyFetching, timeout: Duration) -> bool {
        self.fetching == *fetching && self.timeout == timeout
    }

    /// Has the keys of `before` until there are newer ones.
    pub fn take_over(&self, before: &Source) {
        self.held.store(before.held.load_full());
    }

    /// Its metrics, for who takes over.
    pub fn metrics(&self) -> JwksMetrics {
        self.metrics.clone()
    }

    /// The keys, if there are any.
    pub fn keys(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// Waits for the end of a fetch; `false`: none is due, whoever asks.
    pub async fn newer(&self) -> bool {
        let mut ended = self.ended.subscribe();
        ended.mark_unchanged();
        if !self.ask() {
            return false;
        }
        let Some(_seat) = Seat::take(&self.waiting) else { return false };
        // Discovery takes two requests.
        tokio::time::timeout(2 * self.timeout, ended.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Has it fetched, if that is due. `true`: the end of it is worth waiting for.
    fn ask(&self) -> bool {
        if self.under_way.load(SeqCst) {
            return true;
        }
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.asked.load(SeqCst);
        let pause = PAUSE.as_millis() as u64;
        if last != 0 && now < last.saturating_add(pause) {
            return false;
        }
        if self.asked.compare_exchange(last, now, SeqCst, SeqCst).is_ok() {
            self.under_way.store(true, SeqCst);
            self.wanted.notify_one();
        }
        true
    }

    pub(super) fn begin(&self) {
        self.under_way.store(true, SeqCst);
    }

    pub(crate) fn end(&self, result: Result<KeySet, String>) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.fetched(result.is_ok());
        match result {
            Ok(keys) => {
                self.held.store(Some(Arc::new(Held::new(keys))));
                *failure = None;
            }
            Err(why) => *failure = Some(why),
        }
        drop(failure);
        self.under_way.store(false, SeqCst);
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// What a fetch that failed leaves, as of `now`. Keys that were fetched too long ago are used no more.
    pub(super) fn after_failure(&self, now: Instant) -> Left {
        match self.keys() {
            None => Left::Never,
            Some(held) if now.saturating_duration_since(held.since.0) > KEPT => {
                self.held.store(None);
                Left::TooOld
            }
            Some(_) => Left::Good,
        }
    }

    /// What admin shows.
    pub fn view(&self) -> SourceView {
        let held = self.keys();
        let described = held.iter().flat_map(|held| held.keys.describe());
        SourceView {
            location: self.location.text().to_owned(),
            keys: described.map(|(id, algorithms)| (id.map(str::to_owned), algorithms)).collect(),
            fetched: held.as_ref().map(|held| held.since.1),
            failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.wanted.notify_one(); // who follows sees that there is nothing to follow
    }
}

/// A place among those who wait.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let seat = Seat(waiting);
        (waiting.fetch_add(1, SeqCst) < MOST_WAITING).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_telemetry::Telemetry;

    const KEYS: &[u8] =
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn source() -> Source {
        let location = Location::Uri("https://issuer.test/keys".into());
        let metrics = Telemetry::new().jwks_metrics(location.text());
        Source::new(location, KeyFetching::default(), Duration::from_secs(5), metrics)
    }

    #[test]
    fn keys_are_used_for_a_day_after_the_last_good_fetch_and_no_longer() {
        let source = source();
        let fail = |now| {
            source.end(Err("away".into()));
            source.after_failure(now)
        };
        assert_eq!(fail(Instant::now()), Left::Never);
        source.end(Ok(KeySet::parse(KEYS).unwrap()));
        let first = source.keys().unwrap().since.0;
        for hours in [0, 1, 12, 24] {
            assert_eq!(fail(first + hours * Duration::from_secs(3600)), Left::Good, "{hours} h");
            assert!(source.keys().is_some());
        }
        // A reload takes them over with their age.
        let next = self::source();
        next.take_over(&source);
        let too_late = first + KEPT + Duration::from_secs(1);
        assert_eq!(next.after_failure(too_late), Left::TooOld);
        assert!(next.keys().is_none());
        // A good fetch begins the day anew.
        source.end(Ok(KeySet::parse(KEYS).unwrap()));
        let second = source.keys().unwrap().since.0;
        assert_eq!(fail(second + KEPT), Left::Good);
        assert_eq!(fail(second + KEPT + Duration::from_secs(1)), Left::TooOld);
        assert_eq!((fail(too_late), source.keys().is_none()), (Left::Never, true));
        assert_eq!(source.view().failure.as_deref(), Some("away"));
    }
}
