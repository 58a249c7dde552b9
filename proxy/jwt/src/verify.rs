//! From a token that is well formed to one that is believed.

use crate::{KeySet, Refusal, Token, claims::Claims};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a token has to say to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// `iss`, letter by letter.
    pub issuer: Arc<str>,
    /// Of which `aud` has to hold one; empty: `aud` is not looked at.
    pub audiences: Vec<Arc<str>>,
    /// Claims whose texts are lists of words.
    pub space_delimited: Vec<Arc<str>>,
}

/// Seconds that the issuer's clock may differ.
const SKEW: u64 = 60;

/// A token that is believed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VerifiedToken {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: Option<String>,
    /// `aud`, as a list.
    pub audiences: Vec<String>,
    /// `azp`: who it was given to.
    pub presenter: Option<String>,
    /// All of the payload; texts that are lists of words ([`Expected::space_delimited`]) are lists.
    pub claims: Map<String, Value>,
    /// The payload as it came: base64url.
    pub payload: String,
    /// `exp`, in seconds since 1970.
    pub expires: Option<u64>,
    /// `nbf`, in seconds since 1970.
    pub not_before: Option<u64>,
    principal: Option<String>,
}

impl VerifiedToken {
    /// `iss/sub`, where there are both.
    pub fn request_principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// Whether it still holds at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// It is too late, or too early.
    pub fn check_time(&self, now: u64) -> Result<(), Refusal> {
        in_time(self.not_before, self.expires, now)
    }
}

fn in_time(not_before: Option<u64>, expires: Option<u64>, now: u64) -> Result<(), Refusal> {
    if not_before.is_some_and(|from| from > now.saturating_add(SKEW)) {
        return Err(Refusal::NotYetValid);
    }
    if expires.is_some_and(|until| now > until.saturating_add(SKEW)) {
        return Err(Refusal::Expired);
    }
    Ok(())
}

impl Token<'_> {
    /// Whether it says what is expected, at `now` in seconds since 1970: cheap, and without any key.
    ///
    /// # Errors
    /// The first thing that is not as expected.
    pub fn check(&self, expected: &Expected, now: u64) -> Result<(), Refusal> {
        self.claims.check(expected, now)
    }

    /// Whether a key of the issuer signed it.
    ///
    /// # Errors
    /// No key fits, or none that fits signed it.
    pub fn check_signature(&self, keys: &KeySet) -> Result<(), Refusal> {
        let mut fitting = keys.fitting(self.algorithm, self.key_id()).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::NoKey);
        }
        match fitting.any(|key| key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature)) {
            true => Ok(()),
            false => Err(Refusal::Signature),
        }
    }

    /// Believes it if it says what is expected and a key of the issuer signed it.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(self, expected: &Expected, keys: &KeySet, now: u64) -> Result<VerifiedToken, Refusal> {
        self.check(expected, now)?;
        self.check_signature(keys)?;
        Ok(self.believed(expected))
    }

    /// What it says, for one who has checked it and its signature.
    pub fn believed(self, expected: &Expected) -> VerifiedToken {
        self.claims.believed(expected, self.payload.to_owned())
    }
}

/// What a verifier would make of a token that says `claims` and has a good signature, at `now` in seconds since 1970.
///
/// # Errors
/// The first thing that is not as expected.
pub fn believe_claims(
    claims: Map<String, Value>,
    expected: &Expected,
    now: u64,
) -> Result<VerifiedToken, Refusal> {
    let claims = Claims::read(claims)?;
    claims.check(expected, now)?;
    Ok(claims.believed(expected, String::new()))
}

impl Claims {
    fn check(&self, expected: &Expected, now: u64) -> Result<(), Refusal> {
        if self.issuer.as_deref() != Some(&*expected.issuer) {
            return Err(Refusal::UnknownIssuer);
        }
        in_time(self.not_before, self.expires, now)?;
        let listed = |own: &String| expected.audiences.iter().any(|wanted| **wanted == **own);
        if !expected.audiences.is_empty() && !self.audiences.iter().any(listed) {
            return Err(Refusal::Audience);
        }
        Ok(())
    }

    fn believed(self, expected: &Expected, payload: String) -> VerifiedToken {
        let mut claims = self.all;
        for name in &expected.space_delimited {
            if let Some(value) = claims.get_mut(&**name)
                && let Value::String(words) = value
            {
                *value = words.split(' ').filter(|word| !word.is_empty()).collect();
            }
        }
        let issuer = self.issuer.unwrap_or_default();
        let subject = self.subject;
        let filled = subject.as_ref().filter(|subject| !subject.is_empty() && !issuer.is_empty());
        VerifiedToken {
            principal: filled.map(|subject| format!("{issuer}/{subject}")),
            audiences: self.audiences,
            presenter: self.presenter,
            payload,
            expires: self.expires,
            not_before: self.not_before,
            issuer,
            subject,
            claims,
        }
    }
}
