//! Durations as Istio and Go write them: `1h30m`, `1.5s`, `100ms`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::{borrow::Cow, fmt, time::Duration as StdDuration};

/// A duration that was written as text; never negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub StdDuration);

impl Duration {
    /// Parses one or more numbers, each with a unit of `h`, `m`, `s`, `ms`, `us` (or `µs`) or `ns`; or `0`.
    ///
    /// # Errors
    /// Says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Duration::default());
        }
        if text.is_empty() {
            return Err("an empty text is not a duration".into());
        }
        if text.starts_with('-') {
            return Err(format!("`{text}` is negative"));
        }
        let mut rest = text;
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (nanoseconds, after) = component(text, rest)?;
            total = total.saturating_add(nanoseconds);
            rest = after;
        }
        let nanoseconds = u64::try_from(total).map_err(|_| format!("`{text}` is longer than 500 years"))?;
        Ok(Duration(StdDuration::from_nanos(nanoseconds)))
    }
}

/// One number and its unit from the start of `rest`, in nanoseconds; and what follows.
fn component<'a>(text: &str, rest: &'a str) -> Result<(u128, &'a str), String> {
    let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, after) = rest.split_at(number_end);
    let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
    let (unit, after) = after.split_at(unit_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 18 {
        return Err(format!("`{text}` is not a duration"));
    }
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(format!("`{text}` lacks a unit")),
        _ => return Err(format!("`{unit}` in `{text}` is not a unit")),
    };
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| format!("`{text}` is not a duration"))?
    };
    // Digits below a nanosecond of an hour cannot be seen.
    let fraction = &fraction[..fraction.len().min(15)];
    let part = match fraction {
        "" => 0,
        digits => {
            let value: u128 = digits.parse().map_err(|_| format!("`{text}` is not a duration"))?;
            value * scale / 10u128.pow(digits.len() as u32)
        }
    };
    Ok((whole * scale + part, after))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Duration::parse(&text).map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("0s", 0),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("100ms", 100_000_000),
            ("1m0.5s", 60_500_000_000),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("7ns", 7),
        ] {
            assert_eq!(Duration::parse(text).map(|d| d.0.as_nanos()), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_go_refuses() {
        for (text, part) in [
            ("", "empty"),
            ("5", "lacks a unit"),
            ("5 s", "not a unit"),
            ("5d", "not a unit"),
            ("-1s", "negative"),
            ("s", "not a duration"),
            ("1..5s", "not a duration"),
            (".s", "not a duration"),
            ("9999999999h", "500 years"),
            ("٣s", "not a duration"),
        ] {
            assert!(Duration::parse(text).unwrap_err().contains(part), "{text}");
        }
    }
}
