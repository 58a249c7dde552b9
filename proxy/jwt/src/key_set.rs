//! An issuer's keys.

use crate::{MOST_KEYS, MOST_TRIES, algorithm::Algorithm, json, key::Key};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The keys of an issuer that signatures can be checked with.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    left_out: Vec<String>,
    holds_private: bool,
}

/// Why a text is not a set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or an object with a member twice.
    #[error("Jwks is an invalid JSON")]
    Json,
    /// No `keys`.
    #[error("Jwks does not have [keys] field")]
    NoKeys,
    /// `keys` of another type.
    #[error("[keys] in Jwks is not an array")]
    NotAList,
    /// More than anybody has.
    #[error("Jwks has more than {MOST_KEYS} keys")]
    TooMany,
    /// No key that can be used, and why.
    #[error("Jwks doesn't have any valid public key{}", .0.first().map(|why| format!(": {why}")).unwrap_or_default())]
    NoValidKey(Vec<String>),
}

/// Members of a JWK that only the issuer may have (RFC 7518 sections 6.2.2, 6.3.2, 6.4; RFC 9864 has `priv`).
pub const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
/// Members that everybody may read (RFC 7517 section 4, RFC 7518 section 6).
const PUBLIC: [&str; 14] =
    ["kty", "use", "key_ops", "alg", "kid", "x5u", "x5c", "x5t", "x5t#S256", "crv", "x", "y", "n", "e"];

/// The set `text` without what only the issuer may have: of each key its public members, of a shared secret nothing.
pub fn public_part(text: &str) -> Cow<'_, str> {
    let Some(mut set) = json::object(text.as_bytes()) else { return Cow::Borrowed(r#"{"keys":[]}"#) };
    let Some(keys) = set.remove("keys").and_then(|keys| keys.as_array().cloned()) else {
        return Cow::Borrowed(r#"{"keys":[]}"#);
    };
    let holds_private = |key: &Value| PRIVATE_MEMBERS.iter().any(|name| key.get(*name).is_some());
    if set.is_empty() && !keys.iter().any(holds_private) {
        return Cow::Borrowed(text);
    }
    let public = keys.into_iter().filter_map(|key| match key {
        Value::Object(key) if key.contains_key("k") || key.get("kty") == Some(&"oct".into()) => None,
        Value::Object(mut key) => {
            key.retain(|name, _| PUBLIC.contains(&name.as_str()));
            Some(Value::Object(key))
        }
        _ => None,
    });
    let set = Map::from_iter([("keys".to_owned(), public.collect())]);
    Cow::Owned(Value::Object(set).to_string())
}

impl KeySet {
    /// Reads a JWK set (RFC 7517). Keys that cannot be used here are left out, as section 5 asks.
    ///
    /// # Errors
    /// It is not one, or no key of it can be used.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set = json::object(text).ok_or(KeySetError::Json)?;
        let list = set.get("keys").ok_or(KeySetError::NoKeys)?.as_array().ok_or(KeySetError::NotAList)?;
        if list.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut left_out, mut holds_private) = (Vec::new(), Vec::new(), false);
        for (at, jwk) in list.iter().enumerate() {
            let Value::Object(jwk) = jwk else {
                left_out.push(format!("key {at}: not an object"));
                continue;
            };
            holds_private |= PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name));
            match Key::read(jwk) {
                Ok(key) => keys.push(key),
                Err(why) => left_out.push(format!("key {at}: {why}")),
            }
        }
        match keys.is_empty() {
            true => Err(KeySetError::NoValidKey(left_out)),
            false => Ok(KeySet { keys, left_out, holds_private }),
        }
    }

    /// The keys that a token of this header may be signed by, no more than [`MOST_TRIES`].
    pub(crate) fn fitting<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| key.fits(algorithm, id)).take(MOST_TRIES)
    }

    /// Whether there is a key of this name; always, for a token that names none.
    pub fn has(&self, id: Option<&str>) -> bool {
        id.is_none() || self.keys.iter().any(|key| key.id.as_deref() == id)
    }

    /// Names and algorithms of the keys.
    pub fn describe(&self) -> impl Iterator<Item = (Option<&str>, Vec<&'static str>)> {
        self.keys.iter().map(|key| (key.id.as_deref(), key.algorithms().collect()))
    }

    /// Keys that cannot be used here, and why.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Whether the text holds what only the issuer may have.
    pub fn holds_private(&self) -> bool {
        self.holds_private
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_part_holds_nothing_that_only_the_issuer_may_have() {
        let public = r#"{"keys": [{"kty":"RSA","n":"AAAA","e":"AQAB","kid":"a"}]}"#;
        assert_eq!(public_part(public), public);
        let rsa: Map<String, Value> =
            ["kty", "kid", "n", "e"].iter().map(|name| ((*name).to_owned(), Value::from("PUB"))).collect();
        let mut whole = rsa.clone();
        whole.extend(
            PRIVATE_MEMBERS
                .iter()
                .filter(|name| **name != "k")
                .map(|name| ((*name).to_owned(), "SECRET".into())),
        );
        let shared = serde_json::json!({"kty": "oct", "k": "SECRET", "kid": "s"});
        let text = serde_json::json!({"keys": [whole, shared, 7], "d": "SECRET"}).to_string();
        let shown = public_part(&text);
        assert_eq!(*shown, serde_json::json!({"keys": [rsa]}).to_string());
        assert_eq!(public_part("{\"keys\": 1, \"d\": \"SECRET\"}"), r#"{"keys":[]}"#);
    }
}
