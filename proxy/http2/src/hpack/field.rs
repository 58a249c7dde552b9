//! What a field is.

use super::known::known;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

/// A pseudo-header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pseudo {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:scheme`
    Scheme,
    /// `:status`
    Status,
    /// `:protocol` (RFC 8441)
    Protocol,
}

impl Pseudo {
    /// From its name.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            b":status" => Self::Status,
            b":protocol" => Self::Protocol,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Status => ":status",
            Self::Protocol => ":protocol",
        }
    }
}

/// A field as a block has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A pseudo-header field. Its value has the bytes that a value may have; whether it is a method, a path … is for others to say.
    Pseudo(Pseudo, Bytes),
    /// A field. Its value is sensitive if it is never to be put into a table.
    Regular(HeaderName, HeaderValue),
}

/// Why a message is malformed: its stream ends with PROTOCOL_ERROR (RFC 9113 section 8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A name that is empty, not in lower case, or has other bytes than those of a token.
    #[error("invalid name of a field")]
    Name,
    /// A value with control characters.
    #[error("invalid value of a field")]
    Value,
    /// A pseudo-header field that is not known.
    #[error("unknown pseudo-header field")]
    UnknownPseudo,
    /// A pseudo-header field that comes twice.
    #[error("a pseudo-header field twice")]
    RepeatedPseudo,
    /// A pseudo-header field after a regular one, or in trailers.
    #[error("a pseudo-header field out of its place")]
    LatePseudo,
    /// A field that is about an HTTP/1.1 connection (RFC 9113 section 8.2.2).
    #[error("a field about the connection")]
    ConnectionSpecific,
}

/// A name, or what is wrong with it.
#[derive(Clone, Debug)]
pub enum Name {
    /// Of a pseudo-header field.
    Pseudo(Pseudo),
    /// Of a field.
    Regular(HeaderName),
    /// Not to be used; with its length, which counts for the table.
    Wrong(Fault, usize),
}

impl Name {
    /// From a literal.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [b':', ..] => match Pseudo::of(bytes) {
                Some(pseudo) => Self::Pseudo(pseudo),
                None => Self::Wrong(Fault::UnknownPseudo, bytes.len()),
            },
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                Self::Wrong(Fault::ConnectionSpecific, bytes.len())
            }
            _ => match known(bytes).map_or_else(|| HeaderName::from_lowercase(bytes), Ok) {
                Ok(name) => Self::Regular(name),
                Err(_) => Self::Wrong(Fault::Name, bytes.len()),
            },
        }
    }

    /// Bytes of the name.
    pub fn len(&self) -> usize {
        match self {
            Self::Pseudo(pseudo) => pseudo.name().len(),
            Self::Regular(name) => name.as_str().len(),
            Self::Wrong(_, length) => *length,
        }
    }
}

/// A field, or what is wrong with it.
#[derive(Clone, Debug)]
pub enum Content {
    /// To be used.
    Field(Field),
    /// The message that has it is malformed; its name may be all right.
    Wrong(Fault, Name),
}

impl Content {
    /// From a name and a value. Spaces around a field's value are no part of it: whoever is told the same by HTTP/1.1 would not
    /// see them, and a rule must not judge something else. (RFC 9113 section 8.2.1 calls the message malformed; there are senders
    /// of such, and what is served through Envoy is served here.)
    pub fn of(name: Name, value: Bytes) -> Self {
        let value = match name {
            Name::Regular(_) => trimmed(value),
            _ => value,
        };
        match name {
            Name::Wrong(fault, _) => Self::Wrong(fault, name),
            Name::Regular(name) if name == header::TE && value != "trailers" => {
                Self::Wrong(Fault::ConnectionSpecific, Name::Regular(name))
            }
            Name::Regular(name) => match HeaderValue::from_maybe_shared(value) {
                Ok(value) => Self::Field(Field::Regular(name, value)),
                Err(_) => Self::Wrong(Fault::Value, Name::Regular(name)),
            },
            // To the end, whatever is found, so that it is done by many bytes at once.
            Name::Pseudo(pseudo) if value.iter().fold(true, |all, byte| all & is_of_a_value(*byte)) => {
                Self::Field(Field::Pseudo(pseudo, value))
            }
            Name::Pseudo(_) => Self::Wrong(Fault::Value, name),
        }
    }

    /// The name, for a field that refers to it.
    pub fn name(&self) -> Name {
        match self {
            Self::Field(Field::Pseudo(pseudo, _)) => Name::Pseudo(*pseudo),
            Self::Field(Field::Regular(name, _)) => Name::Regular(name.clone()),
            Self::Wrong(_, name) => name.clone(),
        }
    }
}

/// Without spaces and tabs at its ends.
#[inline]
fn trimmed(value: Bytes) -> Bytes {
    match (value.first(), value.last()) {
        (Some(b' ' | b'\t'), _) | (_, Some(b' ' | b'\t')) => cut(&value),
        _ => value,
    }
}

#[cold]
fn cut(value: &Bytes) -> Bytes {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    value.slice(start..end)
}

/// The bytes that `HeaderValue` takes: no control characters but the tab.
fn is_of_a_value(byte: u8) -> bool {
    (byte >= 0x20) & (byte != 0x7f) | (byte == b'\t')
}
