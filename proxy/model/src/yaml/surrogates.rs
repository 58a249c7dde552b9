//! Characters that JSON writes as two escapes, `\ud83d\ude00` for 😀, where YAML knows only escapes of whole characters.
//!
//! In:  a document's text.   Out: the same text with other escapes, of the same length, so that every position stays; and the text
//! that was meant, of a scalar that was read of it.
//! Invariants: only what is valid JSON is changed; what YAML could read is never changed.

use serde::de::IgnoredAny;
use std::borrow::Cow;

/// What stands in for the two escapes: characters of private use that the document has nowhere else.
const STAND_INS: std::ops::Range<u32> = 0xe000..0xe800;
/// From a surrogate to its stand-in.
const SHIFT: u32 = STAND_INS.start - 0xd800;

/// `content` as YAML can read it; `None`: as it is, or not at all.
pub(super) fn disguised(content: &str) -> Option<String> {
    if !content.contains("\\ud") && !content.contains("\\uD") {
        return None;
    }
    let body = content.trim_start();
    let body = body.strip_prefix("---").unwrap_or(body);
    serde_json::from_str::<IgnoredAny>(body).ok()?;
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    // JSON has a `\` in its texts alone.
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(first @ 0xd800..0xdc00), Some(second @ 0xdc00..0xe000)) => {
                text.push_str(&format!("\\u{:04x}\\u{:04x}", first + SHIFT, second + SHIFT));
                12
            }
            (Some(0xd800..0xe000), _) => return None, // half of a character
            (Some(own), _) if STAND_INS.contains(&own) => return None,
            _ => {
                text.push_str(&escape[..2]); // an escape is of one byte at least, in ASCII
                2
            }
        };
        rest = &escape[length..];
    }
    text.push_str(rest);
    (!content.chars().any(is_stand_in)).then_some(text)
}

/// The number of an escape `\uXXXX`.
fn unit(escape: &str) -> Option<u32> {
    u32::from_str_radix(escape.get(..6)?.strip_prefix("\\u")?, 16).ok()
}

/// What a scalar of a disguised document says.
pub(super) fn revealed(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.chars().any(is_stand_in) {
        return text;
    }
    let unit = |character: char| match u32::from(character) {
        unit if is_stand_in(character) => u16::try_from(unit - SHIFT).ok(),
        _ => None,
    };
    let mut units = Vec::with_capacity(text.len());
    for character in text.chars() {
        match unit(character) {
            Some(unit) => units.push(unit),
            None => units.extend_from_slice(character.encode_utf16(&mut [0; 2])),
        }
    }
    String::from_utf16_lossy(&units).into()
}

fn is_stand_in(character: char) -> bool {
    STAND_INS.contains(&u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_everything_else_stays() {
        for (json, meant) in [
            (r#"{"a": "\ud83d\ude00!"}"#, "😀!"),
            (r#"--- {"a": "x\uD83D\uDE00\ud83d\ude01"}"#, "x😀😁"),
            (r#"{"a": "\\ud83d\\ude00 \ud83d\ude00\n"}"#, "\\ud83d\\ude00 😀\n"),
        ] {
            let text = disguised(json).unwrap();
            assert_eq!(text.len(), json.len());
            let body = text.strip_prefix("---").unwrap_or(&text);
            let read: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(revealed(read["a"].as_str().unwrap().into()), meant);
        }
        for other in [
            r#"{"a": "\u00e4"}"#,
            r#"{"a": "\ud83d"}"#,
            r#"{"a": "\ude00\ud83d"}"#,
            r#"{"a": "\ud83d\ude00", "b": "\ue001"}"#,
            "{\"a\": \"\\ud83d\\ude00\u{e001}\"}",
            r"a: '\ud83d\ude00'",
            r#"{a: "\ud83d\ude00"}"#,
        ] {
            assert_eq!(disguised(other), None, "{other}");
        }
    }
}
