//! One issuer.

use super::{
    cache::{self, Known},
    places,
};
use crate::{
    codec::RequestHead,
    jwks::{self, Held, Location},
};
use serde_json::Value;
use sidle_jwt::{Expected, KeySet, Refusal, Token, VerifiedToken, claim_at};
use sidle_model::ir::{JwtKeys, JwtProvider, TokenPlace};
use smallvec::SmallVec;
use std::{borrow::Cow, rc::Rc, sync::Arc, time::SystemTime};

/// One issuer, compiled.
pub struct Provider {
    config: JwtProvider,
    expected: Expected,
    keys: Keys,
    /// Its own.
    number: u64,
}

/// A token, and the places that hold it.
type Found<'h, 'p> = (Cow<'h, str>, SmallVec<[&'p TokenPlace; 2]>);

enum Keys {
    Given(Option<Arc<Held>>),
    Fetched(Option<Arc<jwks::Source>>),
}

/// What a provider says of a request.
pub enum Answer {
    /// There is no token in its places.
    NoToken,
    /// There is one that it vouches for.
    Believed(Rc<VerifiedToken>),
    /// There is one that it does not vouch for.
    Refused(Refusal),
}

impl Keys {
    fn load(&self) -> Result<Arc<Held>, Refusal> {
        match self {
            Keys::Given(held) => held.clone().ok_or(Refusal::NoValidKey),
            Keys::Fetched(source) => {
                source.as_ref().and_then(|source| source.keys()).ok_or(Refusal::KeysNotFetched)
            }
        }
    }

    /// Waits for keys that are newer, if there may be any.
    async fn newer(&self) -> bool {
        match self {
            Keys::Fetched(Some(source)) => source.newer().await,
            _ => false,
        }
    }
}

impl Provider {
    /// Compiles.
    pub fn build(config: &JwtProvider, sources: &jwks::Sources) -> Self {
        let keys = match (&config.keys, Location::of(config)) {
            (JwtKeys::Inline(text), _) => {
                Keys::Given(KeySet::parse(text.as_bytes()).ok().map(|keys| Arc::new(Held::new(keys))))
            }
            (_, location) => {
                Keys::Fetched(location.and_then(|(location, _)| sources.get(&location).cloned()))
            }
        };
        let expected = Expected {
            issuer: config.issuer.clone(),
            audiences: config.audiences.clone(),
            space_delimited: config.space_delimited.clone(),
        };
        Provider { config: config.clone(), expected, keys, number: cache::number() }
    }

    /// Query parameters that a token may stand in.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.config.places.iter().filter_map(|place| match place {
            TokenPlace::Parameter(name) => Some(&**name),
            _ => None,
        })
    }

    /// Looks for a token. One that is believed is taken off, and what it says is told on.
    pub async fn ask(&self, head: &mut RequestHead) -> Answer {
        match self.find(head) {
            Ok(None) => Answer::NoToken,
            Err(why) => Answer::Refused(why),
            Ok(Some((token, held))) => match self.believe(&token).await {
                Err(why) => Answer::Refused(why),
                Ok(known) => {
                    self.tell(head, &known, &held);
                    Answer::Believed(known.token.clone())
                }
            },
        }
    }

    /// The token, and where it stands; the same one may stand in several places.
    fn find<'h>(&self, head: &'h RequestHead) -> Result<Option<Found<'h, '_>>, Refusal> {
        let (mut found, mut held) = (Vec::new(), SmallVec::new());
        for place in &self.config.places {
            let before = found.len();
            places::find(place, head, &mut found)?;
            if found.len() > before {
                held.push(place);
            }
        }
        let first = found.pop();
        match found.iter().all(|other| Some(other) == first.as_ref()) {
            true => Ok(first.map(|first| (first, held))),
            false => Err(Refusal::SeveralTokens),
        }
    }

    /// What the token says, if it is believed.
    async fn believe(&self, text: &str) -> Result<Rc<Known>, Refusal> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let fingerprint = sidle_jwt::fingerprint(text);
        let key = |held: &Held| (self.number, held.version, fingerprint);
        if let Some(known) = self.keys.load().ok().and_then(|held| cache::find(&key(&held))) {
            known.token.check_time(now)?;
            return Ok(known);
        }
        let token = Token::parse(text)?;
        token.check(&self.expected, now)?;
        let held = self.check_signature(&token).await?;
        let told = self.config.claim_headers.iter();
        let told = told.map(|(path, _)| claim_at(token.claims(), path).and_then(plain)).collect();
        let known = Rc::new(Known { token: Rc::new(token.believed(&self.expected)), told });
        cache::remember(key(&held), known.clone());
        Ok(known)
    }

    /// The keys that one of which signed the token. A key that is not known may be a new one.
    async fn check_signature(&self, token: &Token<'_>) -> Result<Arc<Held>, Refusal> {
        let held = self.keys.load()?;
        let result = token.check_signature(&held.keys);
        let known = token.key_id().is_some() && held.keys.has(token.key_id());
        if result.is_ok() || known || !self.keys.newer().await {
            return result.map(|()| held);
        }
        let held = self.keys.load()?;
        token.check_signature(&held.keys).map(|()| held)
    }

    /// Other places keep what they hold: a password of the application's own, say.
    fn tell(&self, head: &mut RequestHead, known: &Known, held: &[&TokenPlace]) {
        if !self.config.forward {
            held.iter().for_each(|place| places::take(place, head));
        }
        if let Some(name) = &self.config.payload_header {
            places::set(&mut head.headers, name, &known.token.payload);
        }
        for ((_, name), value) in self.config.claim_headers.iter().zip(&known.told) {
            if let Some(value) = value {
                places::set(&mut head.headers, name, value);
            }
        }
    }
}

/// A claim in a header: texts, numbers and truth values, as in Envoy.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
