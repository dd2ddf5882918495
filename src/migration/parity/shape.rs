//! What a value looks like, and how it is told without being shown.

use serde_json::Value;

/// What kind of thing a value may be, by its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A date with a time, as text or as Unix time.
    Time,
    /// A text that identifies: a UUID, digits, hexadecimal digits, or letters mixed with digits.
    Id,
    /// Another number.
    Number,
    /// Anything else.
    Other,
}

impl Shape {
    /// The shape of a scalar.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::String(text) if is_time(text) => Self::Time,
            Value::String(text) if is_id(text) => Self::Id,
            Value::Number(number) => match number.as_f64() {
                Some(number) if is_unix_time(number) => Self::Time,
                _ => Self::Number,
            },
            _ => Self::Other,
        }
    }
}

/// Seconds or milliseconds since 1970, from 2001 to 2100.
fn is_unix_time(number: f64) -> bool {
    (1e9..4_102_444_800.0).contains(&number) || (1e12..4_102_444_800_000.0).contains(&number)
}

/// ISO 8601 with a `T` or, as SQL writes it, a space, with or without a zone; or an HTTP date.
fn is_time(text: &str) -> bool {
    let is_iso = || {
        let bytes = text.as_bytes();
        let digits_at = |places: &[usize]| {
            let is_digit = |place: &usize| bytes.get(*place).is_some_and(u8::is_ascii_digit);
            places.iter().all(is_digit)
        };
        (16..=40).contains(&bytes.len())
            && digits_at(&[0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15])
            && bytes.get(4) == Some(&b'-')
            && bytes.get(7) == Some(&b'-')
            && matches!(bytes.get(10), Some(b'T' | b't' | b' '))
            && bytes.get(13) == Some(&b':')
    };
    is_iso() || (text.len() < 40 && httpdate::parse_http_date(text).is_ok())
}

/// Shortest text of hexadecimal digits that is taken for an id.
const SHORTEST_HEX: usize = 8;
/// Shortest part of letters mixed with digits that is.
const SHORTEST_MIXED: usize = 12;

fn is_id(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if text.is_empty() || text.len() > 128 || digits == 0 {
        return false;
    }
    let is_hexadecimal =
        text.len() >= SHORTEST_HEX && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_mixed = |part: &str| {
        part.len() >= SHORTEST_MIXED
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && part.bytes().any(|byte| byte.is_ascii_digit())
    };
    digits == text.len()
        || is_hexadecimal
        || uuid::Uuid::try_parse(text).is_ok()
        || !text.contains(char::is_whitespace) && text.split(['-', '_', '.', ':']).any(is_mixed)
}

/// Its JSON type and length; booleans and null as they are.
pub(super) fn describe(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::Null) => "null".to_owned(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(_)) => "a number".to_owned(),
        Some(Value::String(text)) => format!("a string of {}", text.chars().count()),
        Some(Value::Array(elements)) => format!("an array of {}", elements.len()),
        Some(Value::Object(members)) => format!("an object of {}", members.len()),
    }
}

/// Whether two values have one JSON type.
pub(super) const fn have_one_type(left: &Value, right: &Value) -> bool {
    matches!(
        (left, right),
        (Value::Null, Value::Null)
            | (Value::Bool(_), Value::Bool(_))
            | (Value::Number(_), Value::Number(_))
            | (Value::String(_), Value::String(_))
            | (Value::Array(_), Value::Array(_))
            | (Value::Object(_), Value::Object(_))
    )
}

/// Whether two values are equal, numbers as numbers: 1.0 is 1.
pub(super) fn are_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left_number), Value::Number(right_number)) => {
            left == right || left_number.as_f64() == right_number.as_f64()
        }
        _ => left == right,
    }
}
