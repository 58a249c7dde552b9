#!/usr/bin/env python3
"""Identity libraries that make keys and tokens: PyJWT, joserfc, Authlib.

    jwt_peer.py    reads commands, one JSON object a line, and prints one JSON value a line

    {"do": "key", "name": NAME, "kind": "RSA" | "P-256" | "P-384" | "Ed25519"}      the public JWK, whose kid is NAME
    {"do": "token", "library": "pyjwt" | "joserfc" | "authlib", "key": NAME, "header": {"alg": ...}, "claims": {...}}
                                                                                    a token
    {"do": "sign", "key": NAME, "header": TEXT, "payload": TEXT}                    a token of these texts, as they are
    {"do": "forge", "key": NAME, "header": TEXT, "payload": TEXT}                   the same, as HS256, with the public key's PEM as secret
"""

import base64
import hashlib
import hmac
import json
import sys
import warnings

import jwt as pyjwt
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

warnings.showwarning = lambda *_, **__: None  # this half of Authlib goes, but many still make their tokens with it
from authlib.jose import JsonWebKey, JsonWebToken  # noqa: E402

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
KEYS = {}


def make(name, kind):
    parameters = {"kid": name, "use": "sig"}
    if kind == "RSA":
        key = RSAKey.generate_key(2048, parameters)
    elif kind == "Ed25519":
        key = OKPKey.generate_key("Ed25519", parameters)
    else:
        key = ECKey.generate_key(kind, parameters)
    KEYS[name] = key
    return key.as_dict(private=False)


def token(library, name, header, claims):
    key = KEYS[name]
    if library == "joserfc":
        return jwt.encode(header, claims, key, algorithms=ALGORITHMS)
    pem = key.as_pem(private=True)
    if library == "authlib":
        private = JsonWebKey.import_key(pem, {"kty": key.key_type})
        return JsonWebToken(ALGORITHMS).encode(header, claims, private).decode()
    return pyjwt.encode(claims, pem, algorithm=header["alg"], headers=header)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header, payload, sign):
    text = f"{base64url(header.encode())}.{base64url(payload.encode())}"
    return f"{text}.{base64url(sign(text.encode()))}"


def by_key(name):
    """A signature over any bytes: what the library signs is cut off again."""
    key = KEYS[name]
    algorithm = {"RSA": "RS256", "OKP": "EdDSA"}.get(key.key_type, "ES256")
    return lambda text: jws.JWSRegistry.algorithms[algorithm].sign(text, key)


def obey(command):
    do = command["do"]
    if do == "key":
        return make(command["name"], command["kind"])
    if do == "token":
        return token(command["library"], command["key"], command["header"], command["claims"])
    if do == "sign":
        return signed(command["header"], command["payload"], by_key(command["key"]))
    secret = KEYS[command["key"]].as_pem(private=False)
    return signed(command["header"], command["payload"], lambda text: hmac.new(secret, text, hashlib.sha256).digest())


def main():
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


main()
