//! A borrowed, one-level look at JSON: a body is parsed once, values stay as the bytes they came
//! in.
//!
//! One scan goes over a text. What it doesn't take is given to `serde_json`, which says why; a test
//! holds that both take the same texts.

mod scan;

use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// Deepest nesting that is taken; deeper documents make parsers of other systems fail.
pub const MAX_DEPTH: usize = 64;

/// Why a text is no usable JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// A syntax error.
    #[error("{0}")]
    NotJson(String),
    /// JSON, but something else.
    #[error("found {0}, an object is allowed")]
    NotAnObject(&'static str),
    /// Nested too deep.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// The bytes as text.
///
/// # Errors
/// They are not UTF-8.
pub fn text_of(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)
}

/// Without the white space of JSON about it (RFC 8259 §2), which a form feed is none of.
fn trim(text: &str) -> &str {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let bytes = text.as_bytes();
    if bytes.first().is_some_and(is_space) || bytes.last().is_some_and(is_space) {
        text.trim_matches([' ', '\t', '\n', '\r'])
    } else {
        text
    }
}

/// The fields of an object, in order, values raw. With a repeated name the last one counts, as in
/// `JSON.parse`.
#[derive(Debug, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    /// # Errors
    /// The text is no JSON object, or nested deeper than 64 levels.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let text = trim(text);
        scan::object(text).map(Self).ok_or_else(|| refuse(text))
    }

    /// The raw value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .rev()
            .find(|(field, _)| field == name)
            .map(|(_, raw)| *raw)
    }

    /// How many fields there are, repeated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All fields as they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, raw)| (&**name, *raw))
    }

    /// The raw value at a path of names, or of indices into arrays.
    #[must_use]
    pub fn at(&self, path: &[Box<str>]) -> Option<&'a str> {
        let (first, rest) = path.split_first()?;
        at(self.get(first)?, rest)
    }

    /// The number of elements of the array at a path that ends in `length`.
    #[must_use]
    pub fn length(&self, path: &[Box<str>]) -> Option<usize> {
        let (last, list) = path.split_last()?;
        let raw = self
            .at(list)
            .filter(|raw| **last == *"length" && raw.starts_with('['))?;
        elements(raw).ok().map(|all| all.len())
    }
}

/// An object with its text, for what is looked into later.
#[derive(Debug)]
pub struct OwnedObject {
    text: String,
    /// Names with their quotes, and values.
    places: Vec<(Range<u32>, Range<u32>)>,
}

impl OwnedObject {
    /// `None`: the text is no JSON object, or nested deeper than 64 levels.
    #[must_use]
    pub fn parse(text: String) -> Option<Self> {
        let places = scan::places(trim(&text))?;
        let text = if trim(&text).len() == text.len() {
            text
        } else {
            trim(&text).to_owned()
        };
        Some(Self { text, places })
    }

    fn part(&self, place: &Range<u32>) -> &str {
        self.text
            .get(place.start as usize..place.end as usize)
            .unwrap_or_default()
    }

    /// The raw value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let is_it = |quoted: &Range<u32>| scan::is_name(self.part(quoted), name);
        self.places
            .iter()
            .rev()
            .find(|(quoted, _)| is_it(quoted))
            .map(|(_, value)| self.part(value))
    }

    /// The raw value at a path of names, or of indices into arrays.
    #[must_use]
    pub fn at(&self, path: &[Box<str>]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        at(self.get(first)?, rest)
    }
}

/// The raw value at a path below another one; without a step, that one itself.
#[must_use]
pub fn at<'a>(raw: &'a str, path: &[Box<str>]) -> Option<&'a str> {
    path.iter()
        .try_fold(trim(raw), |raw, step| child(raw, step))
}

fn child<'a>(raw: &'a str, step: &str) -> Option<&'a str> {
    if raw.starts_with('[') {
        return elements(raw)
            .ok()?
            .get(step.parse::<usize>().ok()?)
            .copied();
    }
    Object::parse(raw).ok()?.get(step)
}

/// Why a text is no object.
fn refuse(text: &str) -> JsonError {
    if text.is_empty() {
        return JsonError::Empty;
    }
    match serde_json::from_str::<&RawValue>(text) {
        Err(error) => JsonError::NotJson(error.to_string()),
        Ok(_) if scan::is_too_deep(text) => JsonError::TooDeep,
        Ok(raw) if raw.get().starts_with('{') => {
            JsonError::NotJson("a name in it can't be read".to_owned())
        }
        Ok(raw) => JsonError::NotAnObject(kind(raw.get())),
    }
}

fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The raw elements of an array.
///
/// # Errors
/// The text is no JSON array, or nested too deep.
pub fn elements(raw: &str) -> Result<Vec<&str>, JsonError> {
    let raw = trim(raw);
    scan::array(raw).ok_or_else(|| match refuse(raw) {
        JsonError::NotAnObject(_) => JsonError::NotJson("it is no array".to_owned()),
        other => other,
    })
}

/// The text of a JSON string; `None` for anything else.
#[must_use]
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = trim(raw).strip_prefix('"')?.strip_suffix('"')?;
    if scan::plain(inner.as_bytes()) == inner.len() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// `null`.
#[must_use]
pub fn is_null(raw: &str) -> bool {
    raw == "null"
}

/// `""`.
#[must_use]
pub fn is_empty_string(raw: &str) -> bool {
    raw == "\"\""
}

/// Writes text as a JSON string.
pub fn write_string(out: &mut String, text: &str) {
    if scan::plain(text.as_bytes()) == text.len() {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    // Writing to memory can't fail, and a string can always be written.
    if let Ok(quoted) = serde_json::to_string(text) {
        out.push_str(&quoted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Vec<Box<str>> {
        text.split('.').map(Box::from).collect()
    }

    #[test]
    fn values_keep_their_bytes_and_the_last_of_a_repeated_name_counts() {
        let object = Object::parse(
            r#" {"a": 1.50, "b":{"c":[1,{"d":"x\"y"}]}, "a":"last", "k\u0065y":true} "#,
        )
        .unwrap();
        assert_eq!(object.get("a"), Some("\"last\""));
        assert_eq!(object.at(&path("b.c.1.d")), Some(r#""x\"y""#));
        assert_eq!(object.get("key"), Some("true"));
        assert_eq!(object.at(&path("b.c.7")), None);
        assert_eq!(object.at(&path("a.b")), None);
    }

    #[test]
    fn what_is_no_object_is_named() {
        let cases = [
            ("", "it is empty"),
            ("[1]", "found an array"),
            ("3", "found a number"),
            ("null", "found null"),
            ("\"x\"", "found a string"),
        ];
        for (text, wanted) in cases {
            let error = Object::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{text}: {error}");
        }
        for text in ["{", "{\"a\":}", "{} {}", "{'a':1}", "nope", "{\"a\":01}"] {
            assert!(
                matches!(Object::parse(text), Err(JsonError::NotJson(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn sixty_four_levels_are_taken_and_one_more_is_not() {
        let nested = |levels: usize| {
            format!(
                "{{\"a\":{}1{}}}",
                "[".repeat(levels - 1),
                "]".repeat(levels - 1)
            )
        };
        assert!(Object::parse(&nested(64)).is_ok());
        assert_eq!(Object::parse(&nested(65)).unwrap_err(), JsonError::TooDeep);
        assert!(
            Object::parse(&format!("{{\"a\":\"{}\"}}", "[".repeat(500))).is_ok(),
            "brackets in text are no nesting"
        );
    }

    #[test]
    fn strings_are_written_as_json() {
        for text in [
            "plain",
            "quo\"te",
            "back\\slash",
            "line\nbreak",
            "ünïcode",
            "",
        ] {
            let mut out = String::new();
            write_string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            assert_eq!(string(&out).unwrap(), text);
        }
    }

    /// JSON of a few members, up to three levels deep.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(|number| serde_json::json!(number)),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(".{0,5}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn around_an_object_stands_the_white_space_of_json_and_no_other() {
        for space in (0..=0xFF_u8)
            .map(char::from)
            .chain(['\u{feff}', '\u{2028}'])
        {
            for text in [format!("{space}{{}}"), format!("{{}}{space}")] {
                let wanted = serde_json::from_str::<serde_json::Value>(&text).is_ok();
                assert_eq!(Object::parse(&text).is_ok(), wanted, "{text:?}");
                assert_eq!(
                    OwnedObject::parse(text.clone()).is_some(),
                    wanted,
                    "{text:?}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_an_object_here_exactly_when_the_library_says_so(
            members in proptest::collection::btree_map(".{0,5}", value(), 0..5),
            cuts in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let map: serde_json::Map<String, serde_json::Value> = members.into_iter().collect();
            let mut bytes = serde_json::to_vec(&map).unwrap();
            for (place, byte) in cuts {
                let place = place.index(bytes.len());
                if let Some(at) = bytes.get_mut(place) {
                    *at = byte;
                }
            }
            let Ok(text) = text_of(&bytes) else { return Ok(()) };
            let wanted = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
            // A number beyond a double's range travels as it was written: what it means is the
            // application's business.
            if wanted.as_ref().is_err_and(|error| error.to_string().contains("number out of range")) {
                return Ok(());
            }
            let found = Object::parse(text);
            prop_assert_eq!(found.is_ok(), wanted.is_ok(), "{}", text);
            if let (Ok(found), Ok(wanted)) = (found, wanted) {
                prop_assert_eq!(found.iter().count(), wanted.len());
                let owned = OwnedObject::parse(text.to_owned()).unwrap();
                for (name, value) in wanted {
                    prop_assert_eq!(owned.get(&name), found.get(&name));
                    let raw = found.get(&name).map(serde_json::from_str::<serde_json::Value>);
                    prop_assert!(raw.is_some_and(|raw| raw.is_ok_and(|raw| raw == value)), "{}", name);
                }
            }
        }
    }
}
