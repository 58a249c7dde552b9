//! A token's three parts, read and not yet believed.

use crate::{MOST_BYTES, Refusal, algorithm::Algorithm, claims::Claims, json};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// A token that is well formed. Nothing that it says is believed.
#[derive(Debug)]
pub struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Claims,
    /// Header and payload as they were signed.
    pub(crate) signed: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads the compact form.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MOST_BYTES {
            return Err(Refusal::TooLarge);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Form)?;
        if header.is_empty() || payload.is_empty() || signature.is_empty() || payload.contains('.') {
            return Err(Refusal::Form);
        }
        let header = decode(header).ok_or(Refusal::HeaderBase64)?;
        let header = json::object(&header).ok_or(Refusal::HeaderJson)?;
        let (algorithm, key_id) = read_header(&header)?;
        let claims = decode(payload).ok_or(Refusal::PayloadBase64)?;
        let claims = Claims::read(json::object(&claims).ok_or(Refusal::PayloadJson)?)?;
        let signature = decode(signature).ok_or(Refusal::SignatureBase64)?;
        Ok(Token { algorithm, key_id, claims, signed, payload, signature })
    }

    /// Who says to have made it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.issuer.as_deref()
    }

    /// All that it says.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims.all
    }

    /// The name of the key that it says to be signed by.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), Refusal> {
    let name = header.get("alg").and_then(Value::as_str).ok_or(Refusal::AlgorithmMissing)?;
    let algorithm = Algorithm::named(name).ok_or(Refusal::Algorithm)?;
    // What has to be understood is not (RFC 7515 section 4.1.11); `b64` changes what is signed (RFC 7797).
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Refusal::Critical);
    }
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()).filter(|id| !id.is_empty()),
        Some(_) => return Err(Refusal::KeyId),
    };
    Ok((algorithm, key_id))
}

/// Base64url without padding: one text for each value.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
