//! HTTP dates in their three formats (RFC 9110 §5.6.7): IMF-fixdate, RFC 850, asctime.
//!
//! Names are read in any letter case, since servers send them so, and a weekday only has to be one:
//! a wrong weekday beside a right date changes nothing. A day of the month may have one digit.
//! Everything else is as the grammar has it: another zone, other separators, two spaces, an hour of
//! one digit are no date. A leap second counts as the next second.

use http::{HeaderMap, HeaderName};
use std::time::{Duration, SystemTime};

/// What a field that should hold one date holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// The field is not there.
    Absent,
    /// It can't be read, or is there more than once with different dates.
    Invalid,
    /// A date.
    At(SystemTime),
}

/// The date in a field.
#[must_use]
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Dated {
    let mut lines = headers
        .get_all(name)
        .iter()
        .map(|value| parse(value.as_bytes()));
    let Some(first) = lines.next() else {
        return Dated::Absent;
    };
    match first.filter(|first| lines.all(|other| other == Some(*first))) {
        Some(at) => Dated::At(at),
        None => Dated::Invalid,
    }
}

/// One date, from 1970 to 9999; `None` if it is none.
#[must_use]
pub fn parse(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    let read = match text.split_once(", ") {
        Some((weekday, rest)) if is_named(&LONG_WEEKDAYS, weekday) => read_rfc850(rest),
        Some((weekday, rest)) if is_named(&WEEKDAYS, weekday) => read_fixdate(rest),
        Some(_) => None,
        None => {
            let (weekday, rest) = text.split_once(' ')?;
            is_named(&WEEKDAYS, weekday)
                .then(|| read_asctime(rest))
                .flatten()
        }
    };
    read?.time()
}

/// From one time to a later one, in whole seconds; nothing if it is no later.
#[must_use]
pub fn between(earlier: SystemTime, later: SystemTime) -> Duration {
    Duration::from_secs(later.duration_since(earlier).unwrap_or_default().as_secs())
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A date as it is written; not yet known to be one.
struct Written {
    year: u64,
    /// 1 to 12.
    month: u64,
    day: u64,
    /// Since midnight.
    seconds: u64,
}

fn is_named(names: &[&str], text: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(text))
}

/// `06 Nov 1994 08:49:37 GMT`.
fn read_fixdate(text: &str) -> Option<Written> {
    let [day, month, year, clock, zone] = words(text, ' ')?;
    if !zone.eq_ignore_ascii_case("GMT") {
        return None;
    }
    Some(Written {
        year: number(year, 4)?,
        month: month_of(month)?,
        day: day_of(day)?,
        seconds: seconds_of(clock)?,
    })
}

/// `06-Nov-94 08:49:37 GMT`. Years 70 to 99 are of the last century: a date that is too early makes
/// nothing fresh.
fn read_rfc850(text: &str) -> Option<Written> {
    let [date, clock, zone] = words(text, ' ')?;
    let [day, month, year] = words(date, '-')?;
    if !zone.eq_ignore_ascii_case("GMT") {
        return None;
    }
    let year = number(year, 2)?;
    let year = if year < 70 {
        2_000 + year
    } else {
        1_900 + year
    };
    Some(Written {
        year,
        month: month_of(month)?,
        day: day_of(day)?,
        seconds: seconds_of(clock)?,
    })
}

/// `Nov  6 08:49:37 1994`; a day of one digit stands after two spaces, or after one.
fn read_asctime(text: &str) -> Option<Written> {
    let (month, rest) = text.split_once(' ')?;
    let [day, clock, year] = words(rest.strip_prefix(' ').unwrap_or(rest), ' ')?;
    Some(Written {
        year: number(year, 4)?,
        month: month_of(month)?,
        day: day_of(day)?,
        seconds: seconds_of(clock)?,
    })
}

/// Exactly so many words.
fn words<const COUNT: usize>(text: &str, gap: char) -> Option<[&str; COUNT]> {
    text.split(gap).collect::<Vec<_>>().try_into().ok()
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn month_of(text: &str) -> Option<u64> {
    let index = MONTHS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))?;
    u64::try_from(index + 1).ok()
}

fn day_of(text: &str) -> Option<u64> {
    number(text, 2).or_else(|| number(text, 1))
}

fn seconds_of(text: &str) -> Option<u64> {
    let [hour, minute, second] = words(text, ':')?;
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

impl Written {
    /// `None` for a day that its month doesn't have, and for years before 1970.
    fn time(&self) -> Option<SystemTime> {
        let is_leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let last = match self.month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if self.year < 1_970 || self.day == 0 || self.day > last {
            return None;
        }
        // Days since 1970-01-01, counted in years that begin in March, so that a leap day is the
        // last of its year.
        let (year, month) = if self.month > 2 {
            (self.year, self.month - 3)
        } else {
            (self.year - 1, self.month + 9)
        };
        let of_years = year * 365 + year / 4 - year / 100 + year / 400;
        let of_months = (month * 153 + 2) / 5;
        let days = (of_years + of_months + self.day - 1).checked_sub(719_468)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_what_the_formatter_writes_on_any_day() {
        // Every 11th hour and some of two and a half centuries.
        for seconds in (0..8_000_000_000_u64).step_by(39_999_983) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(
                parse(httpdate::fmt_http_date(at).as_bytes()),
                Some(at),
                "{}",
                httpdate::fmt_http_date(at)
            );
        }
        for day in 0..1_500_u64 {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + day * 86_400);
            assert_eq!(parse(httpdate::fmt_http_date(at).as_bytes()), Some(at));
        }
    }
}
