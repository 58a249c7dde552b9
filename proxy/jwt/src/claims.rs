//! What a token says: the claims of RFC 7519 with their types, and all the others.

use crate::Refusal;
use serde_json::{Map, Value};

/// The payload, typed.
#[derive(Debug)]
pub struct Claims {
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub audiences: Vec<String>,
    pub presenter: Option<String>,
    /// Seconds since 1970.
    pub expires: Option<u64>,
    pub not_before: Option<u64>,
    pub all: Map<String, Value>,
}

impl Claims {
    /// Reads the payload.
    pub fn read(all: Map<String, Value>) -> Result<Self, Refusal> {
        text(&all, "jti", Refusal::IdType)?;
        time(&all, "iat")?;
        Ok(Claims {
            issuer: text(&all, "iss", Refusal::IssuerType)?,
            subject: text(&all, "sub", Refusal::SubjectType)?,
            audiences: audiences(&all)?,
            presenter: all.get("azp").and_then(Value::as_str).map(str::to_owned),
            expires: time(&all, "exp")?,
            not_before: time(&all, "nbf")?,
            all,
        })
    }
}

fn text(all: &Map<String, Value>, name: &str, wrong: Refusal) -> Result<Option<String>, Refusal> {
    match all.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong),
    }
}

/// A whole number of seconds. RFC 7519 allows fractions; libraries do not agree on what these are, nor on numbers in texts.
fn time(all: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = all.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(Refusal::TimeType(name)) };
    match number.as_u64() {
        Some(seconds) if i64::try_from(seconds).is_ok() => Ok(Some(seconds)),
        _ if number.is_f64() => Err(Refusal::TimeType(name)),
        _ => Err(Refusal::TimeRange(name)),
    }
}

fn audiences(all: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    match all.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) => {
            list.iter().map(|item| item.as_str().map(str::to_owned).ok_or(Refusal::AudienceType)).collect()
        }
        Some(_) => Err(Refusal::AudienceType),
    }
}

/// The claim at `path`: names of members, each below the one before.
pub fn claim_at<'a>(claims: &'a Map<String, Value>, path: &[impl AsRef<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(first.as_ref())?, |value, name| value.get(name.as_ref()))
}
