//! One public key of a JWK set.

use crate::{
    algorithm::{Algorithm, EDDSA, Family},
    token::decode,
};
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use serde_json::{Map, Value};

/// A public key that signatures can be checked with.
pub struct Key {
    /// Its name in its set.
    pub id: Option<String>,
    /// Ready for each algorithm that it may be used with.
    ready: Vec<(Algorithm, ParsedPublicKey)>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let algorithms: Vec<_> = self.ready.iter().map(|(algorithm, _)| algorithm.name).collect();
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &algorithms).finish()
    }
}

impl Key {
    /// Reads a JWK. Errors say why no signature can be checked with it.
    pub fn read(jwk: &Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("`{name}` is not a text")),
        };
        if text("use")?.is_some_and(|wanted| wanted != "sig") {
            return Err("`use` is not `sig`".into());
        }
        if jwk.get("key_ops").is_some_and(|operations| !holds(operations, "verify")) {
            return Err("`key_ops` is without `verify`".into());
        }
        let family = family(text("kty")?, text("crv")?)?;
        let algorithms: Vec<Algorithm> = match text("alg")? {
            None => Algorithm::of(family).collect(),
            Some(name) => vec![only(name, family)?],
        };
        let bytes = |name: &str| {
            let text = text(name)?.ok_or_else(|| format!("`{name}` is missing"))?;
            decode(text).ok_or_else(|| format!("`{name}` is not base64url without padding"))
        };
        let ready = match family {
            Family::Rsa => rsa(&algorithms, &bytes("n")?, &bytes("e")?)?,
            Family::Ed25519 => {
                let key = parsed(ParsedPublicKey::new(EDDSA, sized("x", bytes("x")?, family)?))?;
                algorithms.into_iter().map(|algorithm| (algorithm, key.clone())).collect()
            }
            curve => {
                let point =
                    [vec![4], sized("x", bytes("x")?, curve)?, sized("y", bytes("y")?, curve)?].concat();
                let ecdsa = curve.ecdsa().ok_or("`crv` is not known")?;
                let key = parsed(ParsedPublicKey::new(ecdsa, point))?;
                algorithms.into_iter().map(|algorithm| (algorithm, key.clone())).collect()
            }
        };
        let id = text("kid")?.filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Key { id, ready })
    }

    /// Whether a token that is signed with `algorithm`, by the key `id`, may be signed with this one.
    pub fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        let same_id = match (&self.id, id) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        same_id && self.ready.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether `signature` of `message` is this key's.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let key = self.ready.iter().find(|(own, _)| *own == algorithm);
        key.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }

    /// Names of the algorithms that it may be used with.
    pub fn algorithms(&self) -> impl Iterator<Item = &'static str> {
        self.ready.iter().map(|(algorithm, _)| algorithm.name)
    }
}

fn holds(list: &Value, wanted: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == wanted))
}

fn family(kind: Option<&str>, curve: Option<&str>) -> Result<Family, String> {
    match (kind, curve) {
        (Some("RSA"), _) => Ok(Family::Rsa),
        (Some("EC"), Some("P-256")) => Ok(Family::P256),
        (Some("EC"), Some("P-384")) => Ok(Family::P384),
        (Some("EC"), Some("P-521")) => Ok(Family::P521),
        (Some("OKP"), Some("Ed25519")) => Ok(Family::Ed25519),
        (None, _) => Err("`kty` is missing".into()),
        (Some("EC" | "OKP"), None) => Err("`crv` is missing".into()),
        (Some("EC" | "OKP"), Some(curve)) => Err(format!("the curve `{curve}` is not used here")),
        (Some("oct"), _) => Err("a shared secret is no public key".into()),
        (Some(kind), _) => Err(format!("`kty: {kind}` is not used here")),
    }
}

fn only(name: &str, family: Family) -> Result<Algorithm, String> {
    let algorithm =
        Algorithm::named(name).ok_or_else(|| format!("the algorithm `{name}` is not used here"))?;
    if algorithm.family != family {
        return Err(format!("`alg: {name}` is not for a key of this kind"));
    }
    Ok(algorithm)
}

fn rsa(
    algorithms: &[Algorithm],
    modulus: &[u8],
    exponent: &[u8],
) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
    // Some issuers write the sign's zero byte, which is not part of the number.
    let trim = |number: &[u8]| number.iter().position(|byte| *byte != 0).map(|at| number[at..].to_vec());
    let components = RsaPublicKeyComponents {
        n: trim(modulus).ok_or("`n` is zero")?,
        e: trim(exponent).ok_or("`e` is zero")?,
    };
    let bits = components.n.len() * 8 - components.n[0].leading_zeros() as usize;
    if !(2048..=8192).contains(&bits) {
        return Err(format!("an RSA key of {bits} bits: 2048 to 8192 are used here"));
    }
    let ready = algorithms.iter().filter_map(|algorithm| Some((*algorithm, algorithm.rsa()?)));
    ready.map(|(algorithm, rsa)| Ok((algorithm, parsed(components.to_parsed_public_key(rsa))?))).collect()
}

fn sized(name: &str, bytes: Vec<u8>, family: Family) -> Result<Vec<u8>, String> {
    if bytes.len() == family.coordinate() {
        return Ok(bytes);
    }
    Err(format!("`{name}` has {} bytes, not {}", bytes.len(), family.coordinate()))
}

fn parsed<E>(key: Result<ParsedPublicKey, E>) -> Result<ParsedPublicKey, String> {
    key.map_err(|_| "its numbers are not those of a key".into())
}
