//! One part of a stored body (RFC 9110 §14). Several parts at once are answered with the whole, as
//! they may be.

use http::{HeaderMap, header};
use std::ops::Range;

/// What of the body a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<usize>),
    /// Bytes that it doesn't have.
    Unsatisfiable,
}

/// Reads Range for a body of this length.
#[must_use]
pub fn wanted(request: &HeaderMap, length: usize) -> Wanted {
    let mut lines = request.get_all(header::RANGE).iter();
    let Some(line) = lines.next().filter(|_| lines.next().is_none()) else {
        return Wanted::Whole;
    };
    // §14.2: what can't be read is ignored.
    line.to_str()
        .ok()
        .and_then(|line| single(line, length))
        .unwrap_or(Wanted::Whole)
}

fn single(line: &str, length: usize) -> Option<Wanted> {
    let (unit, range) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    match (first, last) {
        (None, None) => None,
        (None, Some(0)) => Some(Wanted::Unsatisfiable),
        (None, Some(_)) if length == 0 => Some(Wanted::Unsatisfiable),
        (None, Some(count)) => Some(Wanted::Part(length.saturating_sub(count)..length)),
        (Some(first), Some(last)) if last < first => None,
        (Some(first), _) if first >= length => Some(Wanted::Unsatisfiable),
        (Some(first), last) => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            Some(Wanted::Part(first..end))
        }
    }
}

/// `Some(None)`: nothing there. `None`: no number. Too large a number saturates.
fn number(text: &str) -> Option<Option<usize>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| Some(text.parse().unwrap_or(usize::MAX)))
}
