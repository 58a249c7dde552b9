//! Mistakes of RequestAuthentications.

use super::Mistake;

const RA: &str = "RequestAuthentication";

pub(super) const MISTAKES: &[Mistake] = &[
    (
        RA,
        "  jwtRules: [{issuer: a, jwks: '{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"c5FsHXjuRLiJdc3m-aaDTvvMU16Tuoh_4dgyP4rMNkE\"}]}'}]",
        &[],
    ),
    (RA, "  selector: {matchLabels: {app: a}}", &["5:3 w0212"]),
    (RA, "  jwtRules: [{jwksUri: 'https://a.io/keys'}]", &["5:14 e0104"]),
    (RA, "  jwtRules: [{issuer: '', jwksUri: 'https://a.io/keys'}]", &["5:23 e0226"]),
    (RA, "  jwtRules: [{issuer: a, jwksUri: 'http://a.io/keys'}]", &["5:35 w0226"]),
    (RA, "  jwtRules: [{issuer: a, jwks_uri: 'http://a.io/keys'}]", &["5:36 w0226"]),
    (
        RA,
        "  jwtRules: [{issuer: a, jwksUri: 'ftp://a.io/keys'}, {issuer: b, jwksUri: /keys}]",
        &["5:35 e0226", "5:76 e0226"],
    ),
    (RA, "  jwtRules: [{issuer: a, jwksUri: 'https://me:word@a.io/keys'}]", &["5:35 e0226"]),
    (RA, "  jwtRules: [{issuer: a}]", &["5:14 e0226"]),
    (RA, "  jwtRules: [{issuer: 'https://a.io'}]", &[]),
    (
        RA,
        "  jwtRules: [{issuer: a, jwks: '{}', jwksUri: 'https://a.io/keys'}]",
        &["5:32 e0226", "5:47 e0107"],
    ),
    (RA, "  jwtRules: [{issuer: a, jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}'}]", &["5:32 e0226"]),
    (
        RA,
        "  jwtRules: [{issuer: a, jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"c5FsHXjuRLiJdc3m-aaDTvvMU16Tuoh_4dgyP4rMNkE\"}]}'}]",
        &["5:32 w0226", "5:32 w0226"],
    ),
    (
        RA,
        "  jwtRules: [{issuer: 'https://a.io', fromHeaders: [{name: 'a b', prefix: x}, {name: authorization}, {name: x, prefix: Bearer}], fromParams: [''], fromCookies: ['a;b']}]",
        &["5:60 e0208", "5:79 w0226", "5:120 w0226", "5:143 e0226", "5:162 e0226"],
    ),
    (
        RA,
        "  jwtRules: [{issuer: 'https://a.io', outputPayloadToHeader: host, outputClaimToHeaders: [{header: x-a, claim: a..b}, {header: X-A, claim: c}], audiences: ['']}]",
        &["5:62 e0208", "5:112 e0226", "5:128 e0226", "5:157 e0226"],
    ),
    (
        RA,
        "  selector: {matchLabels: {app: a}}\n  targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: a}\n  targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}]\n  jwtRules: [{issuer: 'https://a.io'}]",
        &["7:3 e0107"],
    ),
    (
        RA,
        "  targetRefs: [{group: apps, kind: Deployment, name: x}, {kind: Service, name: '', namespace: y}]\n  jwtRules: [{issuer: 'https://a.io'}]",
        &["5:36 e0103", "5:58 e0104", "5:95 e0222"],
    ),
    (RA, "  selector: {}\n  jwtRules: [{issuer: 'https://a.io'}]", &["5:3 w0203"]),
    ("Proxy", "  jwks: {allowAddresses: [10.0.0.0/8, ::1, a.io]}", &["5:44 e0207"]),
];
