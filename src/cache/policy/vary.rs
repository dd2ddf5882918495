//! Which stored variant is a request's (RFC 9111 §4.1).

use http::{HeaderMap, HeaderName, header};

/// The names in all Vary lines, lower case, sorted; `None` for `*` in any place or what can't be read.
#[must_use]
pub fn names(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in response.get_all(header::VARY) {
        let members = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
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
/// Lines are joined and spaces around commas outside quotes dropped, which changes no list; languages are compared in
/// lower case (RFC 4647 §2). Cookies and credentials are compared byte by byte, line by line.
#[must_use]
pub fn value(request: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut lines = request.get_all(name).iter().map(http::HeaderValue::as_bytes).peekable();
    lines.peek()?;
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
    if *name == header::ACCEPT_LANGUAGE {
        out.make_ascii_lowercase();
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

/// Whether a request is one that a variant stored under these fields is for.
#[must_use]
pub fn matches(stored: &[(HeaderName, Option<Box<[u8]>>)], request: &HeaderMap) -> bool {
    stored.iter().all(|(name, wanted)| value(request, name) == *wanted)
}
