//! What a plain scalar is: the core schema of YAML 1.2, which is what Kubernetes users mean.

use super::Kind;

/// The kind of an unquoted scalar.
pub(super) fn plain_kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Boolean,
        _ if integer(text).is_some() => Kind::Integer,
        _ if is_float(text) => Kind::Float,
        _ => Kind::Text,
    }
}

/// Whether a scalar of [`Kind::Boolean`] is true.
pub(super) fn boolean(text: &str) -> bool {
    text.starts_with(['t', 'T'])
}

/// The number of a scalar of [`Kind::Integer`]. One beyond 128 bits is held at the end of that range: no field has it.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    Some(if negative { -number } else { number })
}

/// The number of a scalar of [`Kind::Float`]; infinite and `NaN` ones included.
pub(super) fn float(text: &str) -> f64 {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match rest {
        ".inf" | ".Inf" | ".INF" => sign * f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        _ => rest.parse().map_or(f64::NAN, |number: f64| sign * number),
    }
}

fn is_float(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(rest, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let starts = rest.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
    starts
        && rest.contains(|c: char| c.is_ascii_digit())
        && rest.chars().all(allowed)
        && rest.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        for (text, kind) in [
            ("", Kind::Null),
            ("~", Kind::Null),
            ("null", Kind::Null),
            ("true", Kind::Boolean),
            ("FALSE", Kind::Boolean),
            ("yes", Kind::Text),
            ("on", Kind::Text),
            ("80", Kind::Integer),
            ("-5", Kind::Integer),
            ("+5", Kind::Integer),
            ("0x1f", Kind::Integer),
            ("0o17", Kind::Integer),
            ("0xzz", Kind::Text),
            ("1.5", Kind::Float),
            ("1e3", Kind::Float),
            (".5", Kind::Float),
            (".", Kind::Text),
            ("1.2.3.4", Kind::Text),
            ("10.0.0.0/8", Kind::Text),
            (".nan", Kind::Float),
            ("-.inf", Kind::Float),
            ("nan", Kind::Text),
            ("inf", Kind::Text),
            ("5s", Kind::Text),
            ("-", Kind::Text),
            ("e", Kind::Text),
            ("1-2", Kind::Text),
        ] {
            assert_eq!(plain_kind(text), kind, "{text}");
        }
        assert_eq!(integer("0x1f"), Some(31));
        assert_eq!(integer(&"9".repeat(99)), Some(i128::MAX));
        assert!(float(".nan").is_nan());
        assert_eq!(float("-.inf"), f64::NEG_INFINITY);
    }
}
