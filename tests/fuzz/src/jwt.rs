//! Tokens and sets of keys: nothing is believed but what the issuer signed.

use sidle_jwt::{Expected, KeySet, Token};
use std::sync::LazyLock;

/// Whose private keys nobody has.
const KEYS: &str = r#"{"keys":[{"n":"xJkaKaeO6oOjYPJojc440glSBrTbxdk-DrvkRjhowZrQ__wWVO9XQ937BTNsejMzAe5D45lMEKiS5KjEn8vD7-wud_cmuk710Bi5hv0wroRVzv0HbuQNpUL-a5iaa9iKFRxTyOeYA7FcfyHoKeYgbscBECUFjEPm7T5YXsTnRn5XVP20tYgd6SLDzYPscCWdDpoNFl7xagqHufBbs6Eb21bB40BakeQD7y4HvXfzqh3BWR0Rr8IZFNz9Qb3vWSu4e-4MTVeVYCFCJeLPqgtFn2FoPVxjA4IW-zVDkSDmKmnMTxnlaIv6t9CED1tJoteZH257Momf9pADf9yzhP2etQ","e":"AQAB","kid":"r","kty":"RSA"},{"crv":"P-256","x":"fthGFHDdOLRsDIOWYUZoyqklEqkEXXB7c0uBNCmZVUU","y":"zzKfYCBkpLZ7170D_CRnMYP9CGA1HeJVk__c_GWylPo","kid":"e","kty":"EC"},{"crv":"Ed25519","x":"qnJ54rhYuuC61cOyEMYWXRnetTQDwCdWI00Wtq5efC0","kid":"d","kty":"OKP"}]}"#;

/// What they signed before they were thrown away: header and payload.
const SIGNED: [&str; 3] = [
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImQifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0Iiwic3ViIjoiamFzb24iLCJleHAiOjQxMDI0NDQ4MDB9",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0Iiwic3ViIjoiamFzb24iLCJleHAiOjQxMDI0NDQ4MDB9",
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0Iiwic3ViIjoiamFzb24iLCJleHAiOjQxMDI0NDQ4MDB9",
];

/// Reads a token, and keys.
pub fn run(data: &[u8]) {
    static ISSUER: LazyLock<KeySet> =
        LazyLock::new(|| KeySet::parse(KEYS.as_bytes()).expect("these are keys"));
    if let Ok(keys) = KeySet::parse(data) {
        assert!(keys.describe().all(|(_, algorithms)| !algorithms.is_empty()));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let expected = Expected { issuer: "https://issuer.test".into(), ..Expected::default() };
    let Ok(token) = Token::parse(text) else { return };
    if let Ok(verified) = token.verify(&expected, &ISSUER, 1_800_000_000) {
        // A signature of ECDSA has two forms; what is signed has one.
        let signed = text.rsplit_once('.').map(|(signed, _)| signed);
        assert!(signed.is_some_and(|signed| SIGNED.contains(&signed)), "forged: {text}");
        assert_eq!(verified.request_principal(), Some("https://issuer.test/jason"));
    }
}
