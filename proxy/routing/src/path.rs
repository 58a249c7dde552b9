//! One form of a path, for routes, policies, logs and upstreams.
//!
//! In:  a request target in origin form, `/path?query`.   Out: the same in normal form, or why it has none.
//! Invariants: normalising twice changes nothing more; the result begins with `/` and, but for [`Normalization::None`], holds no
//! dot segment; the query stays byte for byte; escapes are decoded once. A target that is normal already is borrowed, after one
//! scan.
//! Not here: `OPTIONS *` and CONNECT, which have no path (`proxy/src/codec`); the paths that rewrites make ([`crate::rewrite`]).
//! Source: RFC 3986 sections 5.2.4 and 6.2.2; Envoy's `normalize_path`, `merge_slashes` and
//! `path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD`; Istio's `pathNormalization`.
//!
//! What happens to a path, from [`Normalization::Base`] on:
//!
//! | in the path | becomes | |
//! |---|---|---|
//! | `%41`, `%7E` (letters, digits, `-._~`) | `A`, `~` | decoded, once: `%2541` stays |
//! | any other escape, `%20`, `%2f`, `%c3%a9` | the same | also the case of its digits |
//! | `\` | `/` | as Istio documents `BASE`: one form for all, and nobody whose clients send it is turned away; in front it is refused |
//! | a bare `"`, `<`, `>`, `^`, `` ` ``, `{`, `\|`, `}` | `%22`, … | |
//! | a segment `.` or `..`, also with parameters (`..;x`) | resolved | never above `/` |
//! | `//` | the same; `/` from [`Normalization::MergeSlashes`] on | after dot segments were resolved |
//! | `%2f`, `%5c` | the same; `/` with [`Normalization::DecodeAndMergeSlashes`] | before dot segments are |
//! | `;x=y`, `%3b`, letter case | the same | |
//!
//! What is refused, because two programs may read it as two paths:
//!
//! | in the target | where |
//! |---|---|
//! | no `/` at the front, a bare `#`, control bytes, spaces, bytes beyond ASCII | anywhere, always |
//! | `%00` | the path, unless nothing is normalised |
//! | escapes that are not UTF-8, as the overlong `%c0%af` | the path, unless nothing is normalised |
//! | a `%` that begins no escape, as in `/50%`, `%zz`, `%%32f` | the path, unless nothing is normalised |
//!
//! Where this differs from Envoy 1.40, asked side by side:
//!
//! | path | Envoy | here | why |
//! |---|---|---|---|
//! | `/%c0%af`, `/%ff`, `/%c3` | the same | refused | a lenient decoder reads a slash, or nothing |
//! | `/50%`, `/%zz`, `/%4` | the same | refused | RFC 3986 has no such path; a lenient decoder drops it, or reads past it |
//! | `/%%32f`, `/%2%66`, `/%%41` | `/%252f`, `/%252f`, `/%A` | refused | an escape would come of an escape |
//! | `/a/%2e%2e;x/b` | `/a/..;x/b` | `/b` | as `/a/..;x/b` itself; else a second pass would change it again |
//! | `/a/b/..;\c` | `/a/` | `/a/c` | a `\` is a slash wherever it stands |
//! | `/a/..;%00/b` | `/b` | refused | what is refused is so wherever it stands |
//! | `//` with slashes merged | `//` | `/` | merged means merged |

pub use sidle_model::ir::PathNormalization as Normalization;
use std::borrow::Cow;

fn merges(normalization: Normalization) -> bool {
    matches!(normalization, Normalization::MergeSlashes | Normalization::DecodeAndMergeSlashes)
}

/// Why a target has no one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousPath {
    /// It does not begin with `/`.
    #[error("a path begins with a slash")]
    NotAbsolute,
    /// A control byte, a space, or a byte beyond ASCII.
    #[error("byte {0:#04x} must be percent-encoded")]
    RawByte(u8),
    /// A bare `#`.
    #[error("a request has no fragment")]
    Fragment,
    /// `%00`.
    #[error("%00 in the path")]
    Nul,
    /// Escapes that are not UTF-8.
    #[error("the path is not UTF-8 once decoded")]
    NotUtf8,
    /// A `%` without two hexadecimal digits behind it.
    #[error("a % that begins no escape")]
    NoEscape,
}

/// What the scan does with a byte.
#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    Percent,
    /// Another byte, or three, in the normal form.
    Changes,
    Query,
    Fragment,
    Raw,
}

const CLASS: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Changes,
            b'?' => Class::Query,
            b'#' => Class::Fragment,
            0..=b' ' | 0x7F.. => Class::Raw,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

/// The normal form of `target`, a path with or without a query.
///
/// # Errors
/// When `target` means different things to different readers; see the tables above.
pub fn normalise(target: &str, how: Normalization) -> Result<Cow<'_, str>, AmbiguousPath> {
    let bytes = target.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(AmbiguousPath::NotAbsolute);
    }
    let mut normal = true;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match CLASS[usize::from(byte)] {
            Class::Plain => 1,
            Class::Slash => {
                normal &= !is_special(&bytes[at + 1..], how);
                1
            }
            Class::Changes => {
                normal = false;
                1
            }
            Class::Percent if how == Normalization::None => 1,
            Class::Percent => {
                let (length, stays) = check_escape(bytes, at, how)?;
                normal &= stays;
                length
            }
            Class::Query => break,
            Class::Fragment => return Err(AmbiguousPath::Fragment),
            Class::Raw => return Err(AmbiguousPath::RawByte(byte)),
        };
    }
    let (path, query) = target.split_at(at);
    check_query(query)?;
    if normal || how == Normalization::None {
        return Ok(Cow::Borrowed(target));
    }
    let mut new = resolve(&decode(path, how), query.len());
    if merges(how) {
        merge(&mut new);
    }
    new.push_str(query);
    Ok(Cow::Owned(new))
}

/// Whether what follows a slash is a dot segment, or a slash to be merged. Escapes tell for themselves.
fn is_special(rest: &[u8], how: Normalization) -> bool {
    match rest {
        [b'/', ..] => merges(how),
        [b'.', b'.', rest @ ..] | [b'.', rest @ ..] => matches!(rest, [] | [b'/' | b'?' | b';', ..]),
        _ => false,
    }
}

fn check_query(query: &str) -> Result<(), AmbiguousPath> {
    for byte in query.bytes() {
        match CLASS[usize::from(byte)] {
            Class::Fragment => return Err(AmbiguousPath::Fragment),
            Class::Raw => return Err(AmbiguousPath::RawByte(byte)),
            _ => {}
        }
    }
    Ok(())
}

/// How long the escape at `at` is, with those that make up one character with it, and whether it stays.
fn check_escape(bytes: &[u8], at: usize, how: Normalization) -> Result<(usize, bool), AmbiguousPath> {
    match escape(bytes, at) {
        Some(0) => Err(AmbiguousPath::Nul),
        Some(byte @ 0x80..) => Ok((check_character(byte, bytes, at)?, true)),
        Some(byte) => Ok((3, decoded(byte, how).is_none())),
        None => Err(AmbiguousPath::NoEscape),
    }
}

/// The length of the escapes of the character that begins with `first` at `at`.
fn check_character(first: u8, bytes: &[u8], at: usize) -> Result<usize, AmbiguousPath> {
    let length = match first {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Err(AmbiguousPath::NotUtf8),
    };
    let mut character = [0; 4];
    for (index, byte) in character[..length].iter_mut().enumerate() {
        *byte = escape(bytes, at + 3 * index).ok_or(AmbiguousPath::NotUtf8)?;
    }
    std::str::from_utf8(&character[..length]).map_err(|_| AmbiguousPath::NotUtf8)?;
    Ok(3 * length)
}

/// The byte that the escape at `at` stands for, if there is an escape.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = bytes.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// What an escaped `byte` is written as, if not as an escape.
fn decoded(byte: u8, how: Normalization) -> Option<u8> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Some(byte),
        b'/' | b'\\' if how == Normalization::DecodeAndMergeSlashes => Some(b'/'),
        _ => None,
    }
}

/// Decodes what is to be decoded, once, and escapes what is to be escaped.
fn decode(path: &str, how: Normalization) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = path.as_bytes();
    let mut new = String::with_capacity(path.len() + 8);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match CLASS[usize::from(byte)] {
            Class::Percent => {
                let character = escape(bytes, at - 1).and_then(|escaped| decoded(escaped, how));
                at += if character.is_some() { 2 } else { 0 };
                new.push(character.unwrap_or(byte).into());
            }
            Class::Changes if byte == b'\\' => new.push('/'),
            Class::Changes => {
                let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
                new.extend(['%', digit(byte >> 4), digit(byte & 0xF)]);
            }
            _ => new.push(byte.into()),
        }
    }
    new
}

/// Resolves dot segments (RFC 3986 section 5.2.4); leaves room for `more` bytes.
fn resolve(path: &str, more: usize) -> String {
    let mut new = String::with_capacity(path.len() + more);
    new.push('/');
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        // Servers that know path parameters take them away before they look for dots.
        match segment.split(';').next() {
            Some(".") => {}
            Some("..") => {
                new.pop();
                let parent = new.rfind('/').map_or(0, |slash| slash + 1);
                new.truncate(parent);
                if new.is_empty() {
                    new.push('/');
                }
            }
            _ => {
                new.push_str(segment);
                if segments.peek().is_some() {
                    new.push('/');
                }
            }
        }
    }
    new
}

/// Leaves one slash of several.
fn merge(path: &mut String) {
    let mut after_slash = false;
    path.retain(|character| {
        let keep = !(after_slash && character == '/');
        after_slash = character == '/';
        keep
    });
}

#[cfg(test)]
mod tests;
