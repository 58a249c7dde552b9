//! `grpc-timeout`: up to eight digits and a unit.

use http::HeaderValue;
use std::time::Duration;

/// A time as a value: in milliseconds, or in seconds where those are too many.
pub fn write(time: Duration) -> HeaderValue {
    let millis = (time.as_micros() + 500) / 1000;
    let text = match millis {
        0..=MOST => format!("{millis}m"),
        _ => format!("{}S", u128::from(time.as_secs()).min(MOST)),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0m"))
}

/// More digits than these are no timeout.
const MAX_DIGITS: usize = 8;
const MOST: u128 = 99_999_999;

/// The time that a value stands for; `None` if it is not one, and is to be ignored as Envoy does.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_the_protocol_writes_them() {
        assert_eq!(parse(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse(b"1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse(b"0S"), Some(Duration::ZERO));
        for bad in ["", "m", "1", "-1S", "+1S", "123456789S", "1s", "1.5S", " 1S", "1S ", "1 S", "\u{e9}"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(micros: u64) {
            let time = Duration::from_micros(micros);
            let read = parse(write(time).as_bytes()).expect("a time");
            let most = Duration::from_secs(99_999_999);
            prop_assert!(read.abs_diff(time.min(most)) < Duration::from_secs(1), "{read:?} for {time:?}");
            if micros < 99_999_999_000 {
                prop_assert!(read.abs_diff(time) <= Duration::from_micros(500));
            }
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let parsed = parse(&bytes);
            prop_assert!(parsed.is_none() || (2..=9).contains(&bytes.len()));
        }
    }
}
