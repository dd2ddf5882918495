//! Paths with named segments, and the segments of a path that matches.

use percent_encoding::percent_decode_str;

/// Named segments of a path, without their percent-encoding (RFC 3986 §2.1), as the application's own
/// router has them: a name in a path is the one that a body or a token has. One that can't be decoded
/// is as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(Box<str>, Box<str>)>);

impl Params {
    /// The pattern names no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The segment of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| **found == *name)
            .map(|(_, value)| &**value)
    }
}

/// A path that can't be a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}; a path starts with \"/\", may have whole segments {{name}}, and may end with \
     {{*rest}}"
)]
pub struct PatternError(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    Name(Box<str>),
    Rest(Box<str>),
}

/// A path with named segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    source: Box<str>,
    segments: Vec<Segment>,
}

impl Pattern {
    /// # Errors
    /// The text is no path, or a name is not a whole segment.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = || PatternError(text.to_owned());
        let rest = text
            .strip_prefix('/')
            .filter(|rest| !rest.contains(['?', '#']))
            .ok_or_else(wrong)?;
        let count = rest.split('/').count();
        let segment = |(index, segment): (usize, &str)| match segment
            .strip_prefix('{')
            .map(|name| name.strip_suffix('}'))
        {
            None if segment.contains(['{', '}']) => Err(wrong()),
            None => Ok(Segment::Text(segment.into())),
            Some(Some(name)) => match name.strip_prefix('*') {
                Some(name) if index + 1 == count && is_name(name) => Ok(Segment::Rest(name.into())),
                None if is_name(name) => Ok(Segment::Name(name.into())),
                _ => Err(wrong()),
            },
            Some(None) => Err(wrong()),
        };
        let segments = rest
            .split('/')
            .enumerate()
            .map(segment)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            source: text.into(),
            segments,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// It has no named segment.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| matches!(segment, Segment::Text(_)))
    }

    /// Names of its segments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Name(name) | Segment::Rest(name) => Some(&**name),
        })
    }

    /// Its segments; `relaxed`: without what a slash at the end makes.
    fn known_segments(&self, relaxed: bool) -> &[Segment] {
        match self.segments.split_last() {
            Some((Segment::Text(last), before))
                if relaxed && last.is_empty() && !before.is_empty() =>
            {
                before
            }
            _ => &self.segments,
        }
    }

    /// Whether it matches every path that the other one matches.
    #[must_use]
    pub fn covers(&self, other: &Self, relaxed: bool) -> bool {
        let mut others = other.known_segments(relaxed).iter();
        for segment in self.known_segments(relaxed) {
            let same = match (segment, others.next()) {
                (Segment::Rest(_), _) => return true,
                (Segment::Text(text), Some(Segment::Text(found))) => {
                    text == found || relaxed && text.eq_ignore_ascii_case(found)
                }
                (Segment::Name(_), Some(Segment::Text(found))) => !found.is_empty(),
                (Segment::Name(_), Some(Segment::Name(_))) => true,
                _ => false,
            };
            if !same {
                return false;
            }
        }
        others.next().is_none()
    }

    /// The named segments if the path matches. `relaxed`: letters in any case, and one slash at the
    /// end ignored.
    #[must_use]
    pub fn matches(&self, path: &str, relaxed: bool) -> Option<Params> {
        let path = if relaxed {
            path.strip_suffix('/').unwrap_or(path)
        } else {
            path
        };
        let mut rest = path
            .strip_prefix('/')
            .or_else(|| path.is_empty().then_some(""))?;
        let mut params = Params::default();
        let mut over = false;
        for segment in self.known_segments(relaxed) {
            if over {
                return None;
            }
            if let Segment::Rest(name) = segment {
                params.0.push((name.clone(), decode(rest)));
                return Some(params);
            }
            let (head, tail) = rest.split_once('/').unwrap_or_else(|| {
                over = true;
                (rest, "")
            });
            match segment {
                Segment::Text(text)
                    if **text == *head || relaxed && text.eq_ignore_ascii_case(head) => {}
                Segment::Name(name) if !head.is_empty() => {
                    params.0.push((name.clone(), decode(head)));
                }
                _ => return None,
            }
            rest = tail;
        }
        over.then_some(params)
    }
}

/// As it is, where an escape isn't whole or the bytes are no UTF-8.
fn decode(text: &str) -> Box<str> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return text.into();
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map_or_else(|_| text.into(), Into::into)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        let cases = [
            ("/a/{id}/b", "/a/7/b", Some("7")),
            ("/a/{id}/b", "/a//b", None),
            ("/a/{id}/b", "/a/7/b/c", None),
            ("/a/{id}/b", "/a/7", None),
            ("/x/{*id}", "/x/1/2", Some("1/2")),
            ("/{*id}", "/", Some("")),
            // As it is meant, and not as it is written.
            ("/a/{id}/b", "/a/ada%40x.org/b", Some("ada@x.org")),
            ("/a/{id}/b", "/a/%C3%A9+%2f/b", Some("é+/")),
            ("/x/{*id}", "/x/1%20/2", Some("1 /2")),
            ("/a/{id}/b", "/a/100%/b", Some("100%")),
            ("/a/{id}/b", "/a/%40%4/b", Some("%40%4")),
            ("/a/{id}/b", "/a/%+1/b", Some("%+1")),
            ("/x/{*id}", "/x/caf%E9", Some("caf%E9")),
        ];
        for (pattern, path, wanted) in cases {
            let found = Pattern::parse(pattern).unwrap().matches(path, false);
            assert_eq!(
                found.as_ref().and_then(|params| params.get("id")),
                wanted,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn relaxed_a_slash_at_the_end_counts_neither_in_a_path_nor_in_a_pattern() {
        for pattern in ["/a/{id}/b", "/a/{id}/b/", "/A/{id}/B/"] {
            let pattern = Pattern::parse(pattern).unwrap();
            for path in ["/a/7/b", "/a/7/b/", "/a/7/B"] {
                let found = pattern.matches(path, true);
                assert_eq!(found.as_ref().and_then(|found| found.get("id")), Some("7"));
            }
            assert!(pattern.matches("/a/7/b/c", true).is_none());
            assert!(pattern.matches("/a/7/b//", true).is_none());
            let other = Pattern::parse("/a/{id}/b").unwrap();
            assert!(pattern.covers(&other, true) && other.covers(&pattern, true));
        }
        let root = Pattern::parse("/").unwrap();
        assert!(root.matches("/", true).is_some() && root.matches("/a", true).is_none());
        assert!(
            Pattern::parse("/a/{id}/b/")
                .unwrap()
                .matches("/a/7/b", false)
                .is_none()
        );
    }

    #[test]
    fn a_wrong_pattern_says_what_is_allowed() {
        for text in ["", "a", "/a?b", "/a{b}", "/{}", "/{*r}/x", "/{a"] {
            assert!(
                Pattern::parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("{*rest}"),
                "{text}"
            );
        }
    }
}
