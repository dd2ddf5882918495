//! One pass over a JSON text (RFC 8259): where the members of an object or the elements of an array
//! lie, and whether all of it is JSON of at most [`MAX_DEPTH`] levels. Nothing is built but the
//! list.

use super::MAX_DEPTH;
use std::borrow::Cow;
use std::ops::Range;

/// The members of the object that a whole text is, values without the space around them; `None`: it
/// is none.
pub(super) fn object(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut members = Vec::with_capacity(8);
    each_member(text, |name, value| {
        members.push((name.read(text)?, text.get(value)?));
        Some(())
    })?;
    Some(members)
}

/// Where the members of the object lie that a whole text is: names with their quotes, values;
/// `None`: it is none.
pub(super) fn places(text: &str) -> Option<Vec<(Range<u32>, Range<u32>)>> {
    let short = |place: Range<usize>| {
        Some(u32::try_from(place.start).ok()?..u32::try_from(place.end).ok()?)
    };
    let mut places = Vec::with_capacity(8);
    each_member(text, |name, value| {
        name.read(text)?;
        places.push((short(name.place)?, short(value)?));
        Some(())
    })?;
    Some(places)
}

/// A member's name: where it lies with its quotes, and whether it has escapes.
struct Name {
    place: Range<usize>,
    has_escapes: bool,
}

impl Name {
    /// Without quotes and escapes.
    fn read<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        let quoted = text.get(self.place.clone())?;
        if self.has_escapes {
            return unescaped(quoted).map(Cow::Owned);
        }
        quoted
            .get(1..quoted.len().checked_sub(1)?)
            .map(Cow::Borrowed)
    }
}

fn unescaped(quoted: &str) -> Option<String> {
    serde_json::from_str(quoted).ok()
}

/// Whether a name with its quotes is this one.
pub(super) fn is_name(quoted: &str, name: &str) -> bool {
    let inner = quoted.get(1..quoted.len().saturating_sub(1));
    let inner = inner.unwrap_or_default();
    if inner.contains('\\') {
        unescaped(quoted).is_some_and(|found| found == name)
    } else {
        inner == name
    }
}

/// Shows where each member lies, until `see` has seen enough.
fn each_member(text: &str, mut see: impl FnMut(Name, Range<usize>) -> Option<()>) -> Option<()> {
    let mut scan = Scan::new(text);
    scan.take(b'{')?;
    scan.skip_space();
    if scan.take(b'}').is_none() {
        loop {
            scan.has_escapes = false;
            let name = Name {
                place: scan.place_of(Scan::skip_string)?,
                has_escapes: scan.has_escapes,
            };
            scan.skip_space();
            scan.take(b':')?;
            scan.skip_space();
            let value = scan.place_of(|scan| scan.skip_value(1))?;
            see(name, value)?;
            if scan.ends(b'}')? {
                break;
            }
            scan.skip_space();
        }
    }
    scan.is_over().then_some(())
}

/// The elements of the array that a whole text is; `None`: it is none.
pub(super) fn array(text: &str) -> Option<Vec<&str>> {
    let mut scan = Scan::new(text);
    scan.take(b'[')?;
    let mut elements = Vec::new();
    scan.skip_space();
    if scan.take(b']').is_none() {
        loop {
            scan.skip_space();
            let place = scan.place_of(|scan| scan.skip_value(1))?;
            elements.push(text.get(place)?);
            if scan.ends(b']')? {
                break;
            }
        }
    }
    scan.is_over().then_some(elements)
}

/// How many bytes from the first one on stand for themselves in a JSON string: up to a quote, a
/// backslash or a control character. Eight bytes at a time.
pub(super) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut place = 0;
    while let Some(eight) = bytes.get(place..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let quotes = zeros(word ^ (ONES * b'"' as u64));
        let backslashes = zeros(word ^ (ONES * b'\\' as u64));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        // The lowest mark of each is exact; those above it may not be.
        let marks = (quotes | backslashes | controls) & HIGH;
        if marks != 0 {
            return place + marks.trailing_zeros() as usize / 8;
        }
        place += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    let rest = bytes.get(place..).unwrap_or_default();
    place + rest.iter().position(special).unwrap_or(rest.len())
}

/// Whether brackets outside of strings are nested too deep.
pub(super) fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

struct Scan<'a> {
    text: &'a str,
    place: usize,
    /// A string that was skipped has some.
    has_escapes: bool,
}

impl<'a> Scan<'a> {
    const fn new(text: &'a str) -> Self {
        Self {
            text,
            place: 0,
            has_escapes: false,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.place..).unwrap_or_default()
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.place += 1)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.next() {
            self.place += 1;
        }
    }

    fn is_over(&mut self) -> bool {
        self.skip_space();
        self.place == self.text.len()
    }

    /// After an element: whether this bracket follows; else a comma must.
    fn ends(&mut self, bracket: u8) -> Option<bool> {
        self.skip_space();
        let found = self.next()?;
        self.place += 1;
        match found {
            _ if found == bracket => Some(true),
            b',' => Some(false),
            _ => None,
        }
    }

    /// Where what is skipped lies.
    fn place_of(&mut self, skip: impl FnOnce(&mut Self) -> Option<()>) -> Option<Range<usize>> {
        let begin = self.place;
        skip(self)?;
        Some(begin..self.place)
    }

    /// A value inside `depth` levels.
    fn skip_value(&mut self, depth: usize) -> Option<()> {
        match self.next()? {
            b'"' => self.skip_string(),
            b'{' => self.skip_members(depth + 1),
            b'[' => self.skip_elements(depth + 1),
            b't' => self.skip_word(b"true"),
            b'f' => self.skip_word(b"false"),
            b'n' => self.skip_word(b"null"),
            _ => self.skip_number(),
        }
    }

    fn skip_members(&mut self, depth: usize) -> Option<()> {
        self.place += 1;
        self.skip_space();
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.skip_space();
            self.skip_string()?;
            self.skip_space();
            self.take(b':')?;
            self.skip_space();
            self.skip_value(depth)?;
            if self.ends(b'}')? {
                return Some(());
            }
        }
    }

    fn skip_elements(&mut self, depth: usize) -> Option<()> {
        self.place += 1;
        self.skip_space();
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.skip_space();
            self.skip_value(depth)?;
            if self.ends(b']')? {
                return Some(());
            }
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            self.place += plain(self.rest());
            let found = self.next()?;
            self.place += 1;
            match found {
                b'"' => return Some(()),
                b'\\' => self.skip_escape()?,
                _ => return None,
            }
        }
    }

    fn skip_escape(&mut self) -> Option<()> {
        self.has_escapes = true;
        let found = self.next()?;
        self.place += 1;
        match found {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.rest().first_chunk::<4>()?;
                self.place += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn skip_word(&mut self, word: &[u8]) -> Option<()> {
        self.rest()
            .starts_with(word)
            .then(|| self.place += word.len())
    }

    /// RFC 8259 §6.
    fn skip_number(&mut self) -> Option<()> {
        let _sign = self.take(b'-');
        if self.take(b'0').is_none() {
            self.skip_digits()?;
        }
        if self.take(b'.').is_some() {
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.next() {
            self.place += 1;
            if let Some(b'+' | b'-') = self.next() {
                self.place += 1;
            }
            self.skip_digits()?;
        }
        Some(())
    }

    /// At least one.
    fn skip_digits(&mut self) -> Option<()> {
        let digits = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.place += digits;
        (digits > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_stands_for_itself_in_a_string_ends_at_the_first_byte_that_does_not(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(0x1f), 0x80u8..], 0..40)
        ) {
            let one_by_one = bytes.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(plain(&bytes), one_by_one.unwrap_or(bytes.len()));
        }
    }
}
