//! One issuer.

use super::places;
use crate::codec::RequestHead;
use serde_json::Value;
use sidle_jwt::{Expected, KeySet, Refusal, Token, VerifiedToken, claim_at};
use sidle_model::ir::{JwtKeys, JwtProvider, TokenPlace};
use std::{borrow::Cow, time::SystemTime};

/// One issuer, compiled.
#[derive(Debug)]
pub struct Provider {
    config: JwtProvider,
    expected: Expected,
    keys: Option<KeySet>,
}

/// What a provider says of a request.
pub enum Answer {
    /// There is no token in its places.
    NoToken,
    /// There is one that it vouches for.
    Believed(VerifiedToken),
    /// There is one that it does not vouch for.
    Refused(Refusal),
}

impl Provider {
    /// Compiles.
    pub fn build(config: &JwtProvider) -> Self {
        let keys = match &config.keys {
            JwtKeys::Inline(text) => KeySet::parse(text.as_bytes()).ok(),
            JwtKeys::Remote { .. } | JwtKeys::Discovered { .. } => None,
        };
        let expected = Expected {
            issuer: config.issuer.clone(),
            audiences: config.audiences.clone(),
            space_delimited: config.space_delimited.clone(),
        };
        Provider { config: config.clone(), expected, keys }
    }

    /// Query parameters that a token may stand in.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.config.places.iter().filter_map(|place| match place {
            TokenPlace::Parameter(name) => Some(&**name),
            _ => None,
        })
    }

    /// Looks for a token. One that is believed is taken off, and what it says is told on.
    pub fn ask(&self, head: &mut RequestHead) -> Answer {
        match self.find(head) {
            Ok(None) => Answer::NoToken,
            Err(why) => Answer::Refused(why),
            Ok(Some(token)) => match self.verify(&token) {
                Err(why) => Answer::Refused(why),
                Ok((token, told)) => {
                    self.tell(head, &token, told);
                    Answer::Believed(token)
                }
            },
        }
    }

    /// The token; the same one may stand in several places.
    fn find<'h>(&self, head: &'h RequestHead) -> Result<Option<Cow<'h, str>>, Refusal> {
        let mut found = Vec::new();
        for place in &self.config.places {
            places::find(place, head, &mut found)?;
        }
        let first = found.pop();
        match found.iter().all(|other| Some(other) == first.as_ref()) {
            true => Ok(first),
            false => Err(Refusal::SeveralTokens),
        }
    }

    /// The token, believed, and the values of the claims that are told on.
    fn verify(&self, token: &str) -> Result<(VerifiedToken, Vec<Option<String>>), Refusal> {
        let token = Token::parse(token)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        token.check(&self.expected, now)?;
        let keys = self.keys.as_ref().ok_or(Refusal::KeysNotFetched)?;
        let told = self.config.claim_headers.iter();
        let told = told.map(|(path, _)| claim_at(token.claims(), path).and_then(plain)).collect();
        Ok((token.verify(&self.expected, keys, now)?, told))
    }

    fn tell(&self, head: &mut RequestHead, token: &VerifiedToken, told: Vec<Option<String>>) {
        if !self.config.forward {
            for place in &self.config.places {
                places::take(place, head);
            }
        }
        if let Some(name) = &self.config.payload_header {
            places::set(&mut head.headers, name, &token.payload);
        }
        for ((_, name), value) in self.config.claim_headers.iter().zip(told) {
            if let Some(value) = value {
                places::set(&mut head.headers, name, &value);
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
