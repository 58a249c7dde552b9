//! Signature algorithms: those of an issuer's key pair, and no others.
//!
//! An algorithm with a shared secret (`HS256`) beside public keys is how a public key became a secret, and `none` is how no key did.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, EdDSAParameters, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters,
};

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// A signature algorithm of RFC 7518 or RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    pub name: &'static str,
    pub family: Family,
}

const fn row(name: &'static str, family: Family) -> Algorithm {
    Algorithm { name, family }
}

/// All that are known. RFC 9864 calls `EdDSA` with its one curve here `Ed25519`.
const TABLE: [Algorithm; 11] = [
    row("RS256", Family::Rsa),
    row("RS384", Family::Rsa),
    row("RS512", Family::Rsa),
    row("PS256", Family::Rsa),
    row("PS384", Family::Rsa),
    row("PS512", Family::Rsa),
    row("ES256", Family::P256),
    row("ES384", Family::P384),
    row("ES512", Family::P521),
    row("EdDSA", Family::Ed25519),
    row("Ed25519", Family::Ed25519),
];

impl Algorithm {
    /// By its name, letter by letter.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.into_iter().find(|known| known.name == name)
    }

    /// Those that a key of `family` can be for.
    pub fn of(family: Family) -> impl Iterator<Item = Self> {
        TABLE.into_iter().filter(move |known| known.family == family)
    }

    /// How RSA is used; `None`: it is not RSA.
    pub fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self.name {
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &RSA_PKCS1_2048_8192_SHA512,
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "PS384" => &RSA_PSS_2048_8192_SHA384,
            "PS512" => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

impl Family {
    /// How a curve is used; `None`: it is not one of ECDSA's.
    pub fn ecdsa(self) -> Option<&'static EcdsaVerificationAlgorithm> {
        match self {
            Family::P256 => Some(&ECDSA_P256_SHA256_FIXED),
            Family::P384 => Some(&ECDSA_P384_SHA384_FIXED),
            Family::P521 => Some(&ECDSA_P521_SHA512_FIXED),
            Family::Rsa | Family::Ed25519 => None,
        }
    }

    /// Bytes of a coordinate.
    pub fn coordinate(self) -> usize {
        match self {
            Family::P256 | Family::Ed25519 => 32,
            Family::P384 => 48,
            Family::P521 => 66,
            Family::Rsa => 0,
        }
    }
}

/// EdDSA with its one curve.
pub static EDDSA: &EdDSAParameters = &ED25519;
