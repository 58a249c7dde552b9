//! Why a token is refused: Envoy's words where Envoy has the case.

/// Why a token is refused. The text is what the client is told, so it holds nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum Refusal {
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    #[error("Jwt is too large")]
    TooLarge,
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    #[error("Jwt header [alg] field is required and must be a string")]
    AlgorithmMissing,
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    #[error("Jwt header [kid] field is not a string")]
    KeyId,
    #[error("Jwt header [crit] is not supported")]
    Critical,
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    #[error("Jwt payload [iss] field is not a string")]
    IssuerType,
    #[error("Jwt payload [sub] field is not a string")]
    SubjectType,
    #[error("Jwt payload [jti] field is not a string")]
    IdType,
    #[error("Jwt payload [{0}] field is not an integer")]
    TimeType(&'static str),
    #[error("Jwt payload [{0}] field is not a positive 64 bit integer")]
    TimeRange(&'static str),
    #[error("Jwt payload [aud] field is not a string or string list")]
    AudienceType,
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    #[error("Found multiple Jwt tokens")]
    SeveralTokens,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    #[error("Jwks doesn't have any valid public key")]
    NoValidKey,
    #[error("Jwks remote fetch is failed")]
    KeysNotFetched,
    #[error("Jwt verification fails")]
    Signature,
}
