//! Which stored variant is a request's (RFC 9111 §4.1).

use super::languages;
use http::{HeaderMap, HeaderName, header};

/// The request's fields that an answer was chosen by, as they are compared.
pub type Selecting = Vec<(HeaderName, Option<Box<[u8]>>)>;

/// The names in all Vary lines, lower case, sorted; `None` for `*` in any place or what can't be
/// read.
#[must_use]
pub fn names(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in response.get_all(header::VARY) {
        let members = line
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii);
        for name in members.filter(|name| !name.is_empty()) {
            if name == b"*" {
                return None;
            }
            names.push(HeaderName::from_bytes(name).ok()?);
        }
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

/// A request's field as it is compared: `None` if it isn't there.
///
/// Lines are joined and spaces around commas outside quotes dropped, which changes no list;
/// languages are compared as [`languages`] says. Cookies and credentials are compared byte by byte,
/// line by line.
#[must_use]
pub fn value(request: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut lines = request
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .peekable();
    lines.peek()?;
    if *name == header::ACCEPT_LANGUAGE {
        let lines: Vec<_> = request
            .get_all(name)
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect();
        if let Some(normal) = languages::normal(&lines) {
            return Some(normal.into());
        }
    }
    let exact = [header::COOKIE, header::AUTHORIZATION].contains(name);
    let mut out = Vec::new();
    for line in lines {
        if exact {
            // A length before each line: no two lists of lines look alike.
            out.extend_from_slice(&line.len().to_le_bytes());
            out.extend_from_slice(line);
        } else {
            if !out.is_empty() {
                out.push(b',');
            }
            tidy(line, &mut out);
        }
    }
    Some(out.into())
}

fn tidy(line: &[u8], out: &mut Vec<u8>) {
    let (mut quoted, mut escaped, mut first) = (false, false, true);
    let members = line.split(|byte| {
        let was_escaped = escaped;
        escaped = quoted && !was_escaped && *byte == b'\\';
        quoted ^= *byte == b'"' && !was_escaped;
        *byte == b',' && !quoted
    });
    for member in members {
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(member.trim_ascii());
    }
}

/// How well a stored variant fits a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It is for other requests.
    Not,
    /// The request means the same in other words.
    Equivalent,
    /// The request says the same.
    Same,
}

/// Whether a request is one that a variant is for. `asked`: the request's fields as the application
/// would be sent them; `stored`: the variant's own head, whose Content-Language counts where
/// languages are asked for in another order.
pub fn fit(
    selecting: &Selecting,
    stored: &HeaderMap,
    asked: &mut dyn FnMut(&HeaderName) -> Option<Box<[u8]>>,
) -> Fit {
    let mut fit = Fit::Same;
    for (name, then) in selecting {
        let now = asked(name);
        if now == *then {
            continue;
        }
        let language = stored
            .get(header::CONTENT_LANGUAGE)
            .map(http::HeaderValue::as_bytes);
        let agree = *name == header::ACCEPT_LANGUAGE
            && matches!((then, &now), (Some(then), Some(now)) if languages::agree(then, now, language));
        if !agree {
            return Fit::Not;
        }
        fit = Fit::Equivalent;
    }
    fit
}
