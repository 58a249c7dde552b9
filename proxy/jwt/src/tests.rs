//! The whole line: tokens as they come, and what is believed of them.

use crate::{Expected, KeySet, KeySetError, Refusal, Token, VerifiedToken, claim_at};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RsaEncoding,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://issuer.example/realm";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What signs.
enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

impl Pair {
    fn rsa() -> Self {
        Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str) -> Self {
        Pair::Ec(EcdsaKeyPair::generate(algorithm).unwrap(), curve)
    }

    fn ed() -> Self {
        Pair::Ed(Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self) -> Value {
        match self {
            Pair::Rsa(pair) => {
                // PKCS#1 of a key of 2048 bits: two headers, the sign's byte, the modulus, and 65537.
                let modulus = &pair.public_key().as_ref()[9..9 + 256];
                json!({"kty": "RSA", "n": encode(modulus), "e": "AQAB"})
            }
            Pair::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())}),
        }
    }

    fn jwk_with(&self, more: Value) -> Value {
        let mut jwk = self.jwk();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of these texts, as they are.
    fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let algorithm = serde_json::from_str::<Value>(header).unwrap_or_default();
        let signature = self.sign(algorithm["alg"].as_str().unwrap_or(""), signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    fn token(&self, header: Value, claims: Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }
}

fn keys(list: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": list }).to_string().as_bytes()).unwrap()
}

fn expected() -> Expected {
    Expected { issuer: ISSUER.into(), ..Default::default() }
}

fn verify_as(expected: &Expected, token: &str, keys: &KeySet) -> Result<VerifiedToken, Refusal> {
    Token::parse(token)?.verify(expected, keys, NOW)
}

fn verify(token: &str, keys: &KeySet) -> Result<VerifiedToken, Refusal> {
    verify_as(&expected(), token, keys)
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "users/jason", "exp": NOW + 60})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[test]
fn each_algorithm_with_a_key_of_its_kind() {
    let pairs = [
        ("RS256", Pair::rsa()),
        ("RS512", Pair::rsa()),
        ("PS256", Pair::rsa()),
        ("ES256", Pair::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")),
        ("ES384", Pair::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        ("EdDSA", Pair::ed()),
    ];
    for (algorithm, pair) in &pairs {
        let keys = keys(&[pair.jwk_with(json!({"kid": "k", "use": "sig", "alg": algorithm}))]);
        let token = pair.token(json!({"alg": algorithm, "kid": "k", "typ": "JWT"}), claims());
        let verified = verify(&token, &keys).unwrap();
        assert_eq!(verified.request_principal(), Some("https://issuer.example/realm/users/jason"));
        assert_eq!(verified.payload, token.split('.').nth(1).unwrap());
        // One bit of the signature, and one of what is signed.
        let mut broken = token.clone().into_bytes();
        let last = broken.len() - 4;
        broken[last] ^= if broken[last] == b'A' { 3 } else { broken[last] ^ b'A' };
        assert_eq!(verify(std::str::from_utf8(&broken).unwrap(), &keys), Err(Refusal::Signature));
        let (head, rest) = token.split_once('.').unwrap();
        let signature = rest.split_once('.').unwrap().1;
        let other = format!("{head}.{}.{signature}", encode(with("sub", json!("admin")).to_string()));
        assert_eq!(verify(&other, &keys), Err(Refusal::Signature));
    }
}

#[test]
fn the_algorithm_has_to_be_one_that_the_key_is_for() {
    let (rsa, ec) = (Pair::rsa(), Pair::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"));
    let open = keys(&[rsa.jwk()]);
    for algorithm in ["HS256", "HS384", "HS512", "none", "nOnE", "None", "", "rs256", "RS256 "] {
        let token = rsa.token(json!({"alg": algorithm}), claims());
        assert_eq!(verify(&token, &open), Err(Refusal::Algorithm), "{algorithm}");
    }
    for header in [json!({}), json!({"alg": 1}), json!({"alg": null}), json!({"alg": ["RS256"]})] {
        assert_eq!(verify(&rsa.token(header, claims()), &open), Err(Refusal::AlgorithmMissing));
    }
    assert_eq!(verify(&rsa.token(json!({"alg": "ES256"}), claims()), &open), Err(Refusal::NoKey));
    let only_ps = keys(&[rsa.jwk_with(json!({"alg": "PS256"}))]);
    assert_eq!(verify(&rsa.token(json!({"alg": "RS256"}), claims()), &only_ps), Err(Refusal::NoKey));
    assert!(verify(&rsa.token(json!({"alg": "PS256"}), claims()), &only_ps).is_ok());
    let curve = keys(&[ec.jwk()]);
    assert_eq!(verify(&ec.token(json!({"alg": "ES384"}), claims()), &curve), Err(Refusal::NoKey));
}

#[test]
fn what_is_not_a_signature_key_is_left_out() {
    let rsa = Pair::rsa();
    for (more, why) in [
        (json!({"use": "enc"}), "`use`"),
        (json!({"key_ops": ["encrypt"]}), "`key_ops`"),
        (json!({"alg": "HS256"}), "`HS256`"),
        (json!({"alg": "ES256"}), "`alg: ES256`"),
        (json!({"alg": 5}), "`alg`"),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), "shared secret"),
        (json!({"kty": "EC"}), "`crv`"),
        (json!({"kty": "EC", "crv": "secp256k1"}), "secp256k1"),
        (json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), "`x` has 1 bytes"),
        (json!({"n": "AQAB"}), "17 bits"),
        (json!({"n": "!"}), "base64url"),
        (json!({"e": "AA"}), "`e` is zero"),
        (json!({"kid": 7}), "`kid`"),
    ] {
        let set = json!({"keys": [rsa.jwk_with(more.clone())]}).to_string();
        let Err(KeySetError::NoValidKey(reasons)) = KeySet::parse(set.as_bytes()) else { panic!("{more}") };
        assert!(reasons[0].contains(why), "{more}: {reasons:?}");
    }
    let off_curve = encode([7; 32]);
    let bad = json!({"kty": "EC", "crv": "P-256", "x": off_curve, "y": off_curve});
    let set = keys(&[bad, rsa.jwk_with(json!({"d": "AQAB"}))]);
    assert!(set.left_out()[0].contains("not those of a key"));
    assert!(set.holds_private());
}

#[test]
fn sets_that_are_none() {
    for (text, error) in [
        ("", KeySetError::Json),
        ("[]", KeySetError::Json),
        (r#"{"keys":[],"keys":[]}"#, KeySetError::Json),
        ("{}", KeySetError::NoKeys),
        (r#"{"keys":{}}"#, KeySetError::NotAList),
        (r#"{"keys":[]}"#, KeySetError::NoValidKey(Vec::new())),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()).unwrap_err(), error, "{text}");
    }
    let many = json!({"keys": vec![json!({}); crate::MOST_KEYS + 1]}).to_string();
    assert_eq!(KeySet::parse(many.as_bytes()).unwrap_err(), KeySetError::TooMany);
}

#[test]
fn the_key_is_found_by_name_and_else_tried_for() {
    let (first, second) = (Pair::ed(), Pair::ed());
    let set = keys(&[first.jwk_with(json!({"kid": "a"})), second.jwk_with(json!({"kid": "b"}))]);
    let of = |pair: &Pair, header: Value| verify(&pair.token(header, claims()), &set);
    assert!(of(&second, json!({"alg": "EdDSA", "kid": "b"})).is_ok());
    assert_eq!(of(&second, json!({"alg": "EdDSA", "kid": "a"})), Err(Refusal::Signature));
    assert!(of(&second, json!({"alg": "EdDSA"})).is_ok());
    for kid in ["../../etc/passwd", "' OR 1=1 --", "c"] {
        assert_eq!(of(&second, json!({"alg": "EdDSA", "kid": kid})), Err(Refusal::NoKey));
    }
    assert_eq!(of(&second, json!({"alg": "EdDSA", "kid": 1})), Err(Refusal::KeyId));
    assert!(set.has(Some("a")) && set.has(None) && !set.has(Some("c")));
    // Two keys of one name: each is tried.
    let twice = keys(&[first.jwk_with(json!({"kid": "a"})), second.jwk_with(json!({"kid": "a"}))]);
    assert!(verify(&second.token(json!({"alg": "EdDSA", "kid": "a"}), claims()), &twice).is_ok());
    // The ninth is not tried.
    let others: Vec<Value> = (0..8).map(|_| Pair::ed().jwk()).chain([second.jwk()]).collect();
    assert_eq!(
        verify(&second.token(json!({"alg": "EdDSA"}), claims()), &keys(&others)),
        Err(Refusal::Signature)
    );
}

#[test]
fn a_token_does_not_bring_its_own_key() {
    let (issuer, attacker) = (Pair::rsa(), Pair::rsa());
    let keys = keys(&[issuer.jwk()]);
    let header = json!({
        "alg": "RS256",
        "jwk": attacker.jwk(),
        "jku": "http://127.0.0.9:1/keys",
        "x5u": "http://127.0.0.9:1/chain",
        "x5c": ["AAAA"],
    });
    assert_eq!(verify(&attacker.token(header.clone(), claims()), &keys), Err(Refusal::Signature));
    assert!(verify(&issuer.token(header, claims()), &keys).is_ok());
    for header in [
        json!({"alg": "RS256", "crit": ["exp"]}),
        json!({"alg": "RS256", "crit": []}),
        json!({"alg": "RS256", "b64": false}),
    ] {
        assert_eq!(verify(&issuer.token(header, claims()), &keys), Err(Refusal::Critical));
    }
}

#[test]
fn forms_that_are_none() {
    let pair = Pair::ed();
    let keys = keys(&[pair.jwk()]);
    let token = pair.token(json!({"alg": "EdDSA"}), claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for text in ["", ".", "..", "...", "a.b", "a.b.", ".b.c", "a..c"] {
        assert_eq!(verify(text, &keys), Err(Refusal::Form), "{text}");
    }
    assert_eq!(verify(&format!("{signed}."), &keys), Err(Refusal::Form));
    assert_eq!(verify(&format!("{token}.x"), &keys), Err(Refusal::Form));
    assert_eq!(verify(&format!("{token}.x.y"), &keys), Err(Refusal::Form)); // the form of an encrypted one
    assert_eq!(verify(&format!("{token}="), &keys), Err(Refusal::SignatureBase64));
    assert_eq!(verify(&format!(" {token}"), &keys), Err(Refusal::HeaderBase64));
    assert_eq!(verify(&format!("{signed}.+{}", &signature[1..]), &keys), Err(Refusal::SignatureBase64));
    assert_eq!(verify(&"a".repeat(crate::MOST_BYTES + 1), &keys), Err(Refusal::TooLarge));
    assert_eq!(verify(&pair.token_of("[]", "{}"), &keys), Err(Refusal::HeaderJson));
    assert_eq!(
        verify(&pair.token_of(r#"{"alg":"EdDSA","alg":"EdDSA"}"#, "{}"), &keys),
        Err(Refusal::HeaderJson)
    );
    let payload = |text: &str| verify(&pair.token_of(r#"{"alg":"EdDSA"}"#, text), &keys);
    assert_eq!(payload("7"), Err(Refusal::PayloadJson));
    assert_eq!(payload(r#"{"iss":"a","iss":"b"}"#), Err(Refusal::PayloadJson));
    assert_eq!(
        payload(&format!(r#"{{"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000))),
        Err(Refusal::PayloadJson)
    );
}

#[test]
fn times() {
    let pair = Pair::ed();
    let keys = keys(&[pair.jwk()]);
    let at =
        |name: &str, value: Value| verify(&pair.token(json!({"alg": "EdDSA"}), with(name, value)), &keys);
    assert!(at("exp", json!(NOW - 60)).is_ok());
    assert_eq!(at("exp", json!(NOW - 61)), Err(Refusal::Expired));
    assert!(at("nbf", json!(NOW + 60)).is_ok());
    assert_eq!(at("nbf", json!(NOW + 61)), Err(Refusal::NotYetValid));
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("1800000000"), json!(1.5), json!(1.8e9), json!(true), json!(null), json!([1])] {
            assert_eq!(at(name, value.clone()), Err(Refusal::TimeType(name)), "{name} {value}");
        }
        for value in [json!(-1), json!(1_u64 << 63), json!(u64::MAX)] {
            assert_eq!(at(name, value.clone()), Err(Refusal::TimeRange(name)), "{name} {value}");
        }
    }
    assert_eq!(at("exp", json!(0)), Err(Refusal::Expired));
    assert!(at("exp", json!(i64::MAX)).is_ok());
    let mut forever = claims();
    forever.as_object_mut().unwrap().remove("exp");
    let verified = verify(&pair.token(json!({"alg": "EdDSA"}), forever), &keys).unwrap();
    assert_eq!((verified.expires, verified.check_time(u64::MAX)), (None, Ok(())));
    let soon = at("exp", json!(NOW)).unwrap();
    assert_eq!((soon.check_time(NOW + 60), soon.check_time(NOW + 61)), (Ok(()), Err(Refusal::Expired)));
}

#[test]
fn issuers_subjects_and_audiences() {
    let pair = Pair::ed();
    let keys = keys(&[pair.jwk()]);
    let wanted = Expected { audiences: vec!["shop".into(), "bank".into()], ..expected() };
    let of = |name: &str, value: Value| {
        verify_as(&wanted, &pair.token(json!({"alg": "EdDSA"}), with(name, value)), &keys)
    };
    assert_eq!(of("aud", json!("bank")).unwrap().audiences, ["bank"]);
    assert!(of("aud", json!(["x", "shop"])).is_ok());
    assert_eq!(of("aud", json!("Shop")), Err(Refusal::Audience));
    assert_eq!(of("aud", json!([])), Err(Refusal::Audience));
    assert_eq!(of("none", json!(1)), Err(Refusal::Audience));
    assert_eq!(of("aud", json!(["shop", 1])), Err(Refusal::AudienceType));
    assert_eq!(of("aud", json!({"shop": 1})), Err(Refusal::AudienceType));
    assert_eq!(of("iss", json!(format!("{ISSUER}/"))), Err(Refusal::UnknownIssuer));
    assert_eq!(of("iss", json!(ISSUER.to_uppercase())), Err(Refusal::UnknownIssuer));
    assert_eq!(of("iss", json!([ISSUER])), Err(Refusal::IssuerType));
    assert_eq!(of("sub", json!(5)), Err(Refusal::SubjectType));
    assert_eq!(of("jti", json!(5)), Err(Refusal::IdType));
    let mut nobody = claims();
    nobody.as_object_mut().unwrap().remove("sub");
    assert_eq!(
        verify(&pair.token(json!({"alg": "EdDSA"}), nobody), &keys).unwrap().request_principal(),
        None
    );
    let mut stranger = claims();
    stranger.as_object_mut().unwrap().remove("iss");
    assert_eq!(verify(&pair.token(json!({"alg": "EdDSA"}), stranger), &keys), Err(Refusal::UnknownIssuer));
}

#[test]
fn words_become_lists_and_nested_claims_are_found() {
    let pair = Pair::ed();
    let keys = keys(&[pair.jwk()]);
    let wanted = Expected { space_delimited: vec!["scope".into(), "level".into()], ..expected() };
    let mut said = with("scope", json!("read  write"));
    said["level"] = json!(5);
    said["azp"] = json!("web");
    said["realm"] = json!({"access": {"roles": ["admin"]}});
    let verified = verify_as(&wanted, &pair.token(json!({"alg": "EdDSA"}), said), &keys).unwrap();
    assert_eq!(verified.claims["scope"], json!(["read", "write"]));
    assert_eq!(verified.claims["level"], json!(5));
    assert_eq!(verified.presenter.as_deref(), Some("web"));
    assert_eq!(claim_at(&verified.claims, &["realm", "access", "roles"]), Some(&json!(["admin"])));
    assert_eq!(claim_at(&verified.claims, &["realm", "nobody", "roles"]), None);
    assert_eq!(claim_at(&verified.claims, &[] as &[&str]), None);
}
