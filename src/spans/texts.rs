//! Texts of calls, as spans and lines of the access log hold them.

use std::borrow::Cow;

/// Longest text of a call's own that a line of the access log or a span holds, bytes: both wait in queues.
const LONGEST: usize = 1 << 10;

/// A text of a call as its line and its span have it: a longer one is cut, and ends with `…`.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(LONGEST);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}
