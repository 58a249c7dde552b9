//! Times of the log, in UTC.
//!
//! In:  a time and a strftime format.   Out: text.
//! Invariant: a specifier that is not known stays as it is written. Source: strftime(3); Envoy's `%3f`, `%6f`, `%9f`.

use std::{
    cell::RefCell,
    fmt::{Result, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A time of day of a day of the Gregorian calendar.
struct Moment {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// 0 is Thursday, the weekday of the epoch.
    weekday: u64,
    second_of_day: u64,
    epoch: Duration,
}

impl Moment {
    fn new(time: SystemTime) -> Self {
        // A clock before 1970 is broken; its lines show the epoch.
        let epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second_of_day) = (epoch.as_secs() / 86_400, epoch.as_secs() % 86_400);
        let (year, day_of_year) = year_of(days);
        let (month, day) = month_of(year, day_of_year);
        Moment { year, month, day, day_of_year: day_of_year + 1, weekday: days % 7, second_of_day, epoch }
    }

    fn hour(&self) -> u64 {
        self.second_of_day / 3600
    }

    fn minute(&self) -> u64 {
        self.second_of_day / 60 % 60
    }

    fn second(&self) -> u64 {
        self.second_of_day % 60
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970-01-01 to January 1 of `year`.
fn days_before(year: u64) -> u64 {
    let leap_days_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970)
}

/// The year, and the day in it from 0.
fn year_of(days: u64) -> (u64, u64) {
    // Never too high, and too low by one for every few hundred years.
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    (year, days - days_before(year))
}

/// The month and the day in it, both from 1.
fn month_of(year: u64, day_of_year: u64) -> (u64, u64) {
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut day = day_of_year;
    for (month, length) in (1..).zip(lengths) {
        if day < length {
            return (month, day + 1);
        }
        day -= length;
    }
    (12, 31)
}

/// `2026-11-22T17:21:12.345Z`.
pub(super) fn write_default(time: SystemTime, out: &mut impl Write) -> Result {
    thread_local! {
        /// A second and its text: most lines are of the one that the line before was of.
        static SECOND: RefCell<(Option<u64>, String)> = const { RefCell::new((None, String::new())) };
    }
    let epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != Some(epoch.as_secs()) {
            text.clear();
            write(time, "%Y-%m-%dT%H:%M:%S.", text)?;
            *second = Some(epoch.as_secs());
        }
        out.write_str(text)
    })?;
    // Behind a 1, so that there are three digits.
    out.write_str(&itoa::Buffer::new().format(1000 + epoch.subsec_millis())[1..])?;
    out.write_str("Z")
}

/// As `format` says.
pub(super) fn write(time: SystemTime, format: &str, out: &mut impl Write) -> Result {
    let moment = Moment::new(time);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.write_str(&rest[..at])?;
        rest = &rest[at..];
        let length = specifier(&moment, &rest[1..], out)?;
        if length == 0 {
            out.write_char('%')?;
        }
        rest = &rest[1 + length..];
    }
    out.write_str(rest)
}

/// Writes the value of the specifier that `text` begins with; returns the specifier's length, 0 if it is not known.
fn specifier(
    moment: &Moment,
    text: &str,
    out: &mut impl Write,
) -> std::result::Result<usize, std::fmt::Error> {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.get(1), bytes.get(2)) {
        (Some(digits @ b'1'..=b'9'), Some(b'f'), _) => {
            fraction(moment, u32::from(digits - b'0'), out)?;
            Ok(2)
        }
        (Some(b'E'), Some(digits @ b'1'..=b'9'), Some(b'S')) => {
            write!(out, "{:02}.", moment.second())?;
            fraction(moment, u32::from(digits - b'0'), out)?;
            Ok(3)
        }
        (Some(b'E'), Some(b'z'), _) => out.write_str("+00:00").map(|()| 2),
        (Some(letter), _, _) => letter_specifier(moment, *letter, out),
        (None, _, _) => Ok(0),
    }
}

fn letter_specifier(
    moment: &Moment,
    letter: u8,
    out: &mut impl Write,
) -> std::result::Result<usize, std::fmt::Error> {
    let Moment { year, month, day, .. } = *moment;
    let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
    match letter {
        b'Y' => write!(out, "{year:04}")?,
        b'y' => write!(out, "{:02}", year % 100)?,
        b'm' => write!(out, "{month:02}")?,
        b'd' => write!(out, "{day:02}")?,
        b'e' => write!(out, "{day:2}")?,
        b'j' => write!(out, "{:03}", moment.day_of_year)?,
        b'H' => write!(out, "{hour:02}")?,
        b'I' => write!(out, "{:02}", (hour + 11) % 12 + 1)?,
        b'p' => out.write_str(if hour < 12 { "AM" } else { "PM" })?,
        b'M' => write!(out, "{minute:02}")?,
        b'S' => write!(out, "{second:02}")?,
        b'F' => write!(out, "{year:04}-{month:02}-{day:02}")?,
        b'T' => write!(out, "{hour:02}:{minute:02}:{second:02}")?,
        b'R' => write!(out, "{hour:02}:{minute:02}")?,
        b'D' => write!(out, "{month:02}/{day:02}/{:02}", year % 100)?,
        b'b' | b'h' => out.write_str(MONTHS[month as usize - 1])?,
        b'a' => out.write_str(WEEKDAYS[moment.weekday as usize])?,
        b's' => write!(out, "{}", moment.epoch.as_secs())?,
        b'f' => fraction(moment, 9, out)?,
        b'z' => out.write_str("+0000")?,
        b'Z' => out.write_str("UTC")?,
        b'%' => out.write_char('%')?,
        _ => return Ok(0),
    }
    Ok(1)
}

/// So many digits of the fraction of the second, cut, not rounded.
fn fraction(moment: &Moment, digits: u32, out: &mut impl Write) -> Result {
    let value = moment.epoch.subsec_nanos() / 10u32.pow(9 - digits);
    write!(out, "{value:0width$}", width = digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(seconds: u64, nanos: u32, format: &str) -> String {
        let mut text = String::new();
        write(UNIX_EPOCH + Duration::new(seconds, nanos), format, &mut text).unwrap();
        text
    }

    #[test]
    fn known_moments() {
        let mut text = String::new();
        write_default(UNIX_EPOCH + Duration::new(1_795_368_072, 345_678_901), &mut text).unwrap();
        assert_eq!(text, "2026-11-22T17:21:12.345Z");
        for (seconds, nanos) in
            [(0, 0), (0, 7_999_999), (1_795_368_072, 20_000_000), (1_795_368_072, 999_999_999)]
        {
            text.clear();
            write_default(UNIX_EPOCH + Duration::new(seconds, nanos), &mut text).unwrap();
            assert_eq!(text, shown(seconds, nanos, "%Y-%m-%dT%H:%M:%S.%3fZ"));
        }
        assert_eq!(shown(0, 0, "%F %T %a %b %j"), "1970-01-01 00:00:00 Thu Jan 001");
        assert_eq!(shown(951_782_400, 0, "%F %j %a"), "2000-02-29 060 Tue");
        assert_eq!(shown(4_107_542_400, 0, "%F"), "2100-03-01", "2100 is no leap year");
        assert_eq!(
            shown(1_795_368_072, 345_678_901, "%s.%3f %6f %9f %f"),
            "1795368072.345 345678 345678901 345678901"
        );
        assert_eq!(
            shown(1_795_368_072, 345_678_901, "%d/%b/%Y:%H:%M:%S %z %Ez %E3S"),
            "22/Nov/2026:17:21:12 +0000 +00:00 12.345"
        );
    }

    #[test]
    fn what_is_not_known_stays() {
        assert_eq!(shown(0, 0, "100%% %Q %"), "100% %Q %");
        assert_eq!(shown(0, 0, "é%"), "é%");
        assert_eq!(shown(0, 0, "%é"), "%é");
    }

    proptest! {
        #[test]
        fn days_go_on_without_a_gap(days in 0u64..2_000_000) {
            let (year, day) = year_of(days);
            let (month, of_month) = month_of(year, day);
            let (next_year, next_day) = year_of(days + 1);
            let (next_month, next_of_month) = month_of(next_year, next_day);
            let same_month = (year, month, of_month + 1) == (next_year, next_month, next_of_month);
            let new_month = next_of_month == 1 && of_month >= 28
                && (next_year * 12 + next_month) == (year * 12 + month) + 1;
            prop_assert!(same_month || new_month, "{year}-{month}-{of_month} then {next_year}-{next_month}-{next_of_month}");
        }

        #[test]
        fn any_format_is_written(format in "\\PC*") {
            shown(1_795_368_072, 1, &format);
        }
    }
}
