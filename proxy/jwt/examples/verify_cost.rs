//! What a token costs: `cargo run --release -p sidle-jwt --example verify_cost`.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sidle_jwt::{Expected, KeySet, Token, fingerprint};
use std::{error::Error, hint::black_box, time::Instant};

const ROUNDS: u32 = 2000;
const NOW: u64 = 1_700_000_000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn measure(what: &str, mut once: impl FnMut()) {
    once();
    let begun = Instant::now();
    (0..ROUNDS).for_each(|_| once());
    println!("{what:24} {:7.1} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() -> Result<(), Box<dyn Error>> {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let curve = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let edwards = Ed25519KeyPair::generate()?;
    let point = curve.public_key().as_ref();
    let set = json!({"keys": [
        {"kty": "RSA", "n": encode(&rsa.public_key().as_ref()[9..9 + 256]), "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        {"kty": "OKP", "crv": "Ed25519", "x": encode(edwards.public_key())},
    ]});
    let keys = KeySet::parse(set.to_string().as_bytes())?;
    let expected = Expected { issuer: "https://issuer.example".into(), ..Expected::default() };
    let claims = json!({
        "iss": "https://issuer.example", "sub": "jason", "exp": NOW + 60, "aud": ["shop"], "groups": vec!["team"; 20],
    });
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let signed =
            format!("{}.{}", encode(json!({ "alg": algorithm }).to_string()), encode(claims.to_string()));
        let signature = match algorithm {
            "RS256" => {
                let mut signature = vec![0; rsa.public_modulus_len()];
                rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)?;
                signature
            }
            "ES256" => curve.sign(&random, signed.as_bytes())?.as_ref().to_vec(),
            _ => edwards.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        let token = format!("{signed}.{}", encode(signature));
        measure(algorithm, || {
            let verified = Token::parse(&token).and_then(|token| token.verify(&expected, &keys, NOW));
            assert!(black_box(verified).is_ok());
        });
        measure("    without signature", || assert!(black_box(Token::parse(&token)).is_ok()));
        measure("    fingerprint", || {
            black_box(fingerprint(&token));
        });
    }
    Ok(())
}
