//! Cache-Control (RFC 9111 §5.2) and CDN-Cache-Control (RFC 9213), parsed on bytes.
//!
//! Names in any case, values as tokens or quoted strings, every line counts. A line with an open
//! quote counts as `no-store`; bytes beyond ASCII spoil only their own directive.

use http::{HeaderMap, HeaderName, header};

/// Targets caches such as this one, and wins over Cache-Control and Expires (RFC 9213 §2.2).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// Longest delta that is told apart from for ever, seconds (§1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Directive {
    /// Lower case.
    name: Box<[u8]>,
    argument: Option<Box<[u8]>>,
}

/// The directives of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl(Vec<Directive>);

impl CacheControl {
    /// All Cache-Control lines of a message.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Vec::new();
        for line in headers.get_all(header::CACHE_CONTROL) {
            if parse_line(line.as_bytes(), &mut directives).is_none() {
                directives.push(Directive {
                    name: (*b"no-store").into(),
                    argument: None,
                });
            }
        }
        Self(directives)
    }

    /// CDN-Cache-Control, if it is a valid Structured Field with something in it; else it is
    /// ignored (RFC 9213 §2.1).
    #[must_use]
    pub fn targeted(headers: &HeaderMap) -> Option<Self> {
        let lines: Vec<_> = headers
            .get_all(CDN_CACHE_CONTROL)
            .iter()
            .map(|line| line.as_bytes())
            .collect();
        if lines.is_empty() {
            return None;
        }
        let joined = lines.join(&b", "[..]);
        let dictionary = sfv::Parser::new(&joined).parse::<sfv::Dictionary>().ok()?;
        let read = dictionary
            .iter()
            .map(|(name, member)| directive(name.as_str(), member));
        let directives: Vec<_> = read
            .collect::<Result<Vec<_>, WrongType>>()
            .ok()?
            .into_iter()
            .flatten()
            .collect();
        (!directives.is_empty()).then_some(Self(directives))
    }

    /// The directive is there, with or without an argument.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// The directive is there and covers the whole message: without an argument, or with one that
    /// names no fields.
    #[must_use]
    pub fn covers_all(&self, name: &str) -> bool {
        self.named(name)
            .any(|one| one.argument.as_deref().and_then(field_names).is_none())
    }

    /// The fields that `no-cache` or `private` is limited to (§5.2.2.4, §5.2.2.7).
    #[must_use]
    pub fn fields(&self, name: &str) -> Vec<HeaderName> {
        self.named(name)
            .filter_map(|one| field_names(one.argument.as_deref()?))
            .flatten()
            .collect()
    }

    /// The directive's seconds. Several that differ, or one that can't be read: zero (§4.2.1: fail
    /// closed).
    #[must_use]
    pub fn seconds(&self, name: &str) -> Option<u64> {
        let mut found = self
            .named(name)
            .map(|one| one.argument.as_deref().and_then(seconds));
        let first = found.next()?;
        Some(if found.all(|other| other == first) {
            first.unwrap_or(0)
        } else {
            0
        })
    }

    /// `max-stale`, which without an argument accepts any staleness (§5.2.1.2).
    #[must_use]
    pub fn max_stale(&self) -> Option<u64> {
        if self.named("max-stale").any(|one| one.argument.is_none()) {
            return Some(MAX_SECONDS);
        }
        self.seconds("max-stale")
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.0
            .iter()
            .filter(move |one| *one.name == *name.as_bytes())
    }
}

/// A type that its directive can't have: makes the whole field invalid.
struct WrongType;

/// A member of the dictionary; `None`: false, which is as good as absent.
fn directive(name: &str, member: &sfv::ListEntry) -> Result<Option<Directive>, WrongType> {
    let sfv::ListEntry::Item(item) = member else {
        return Err(WrongType);
    };
    let timed = matches!(
        name,
        "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error"
    );
    let argument = match (item.bare_item.as_integer(), item.bare_item.as_boolean()) {
        (Some(number), _) => Some(i64::from(number).to_string().into_bytes().into()),
        (_, Some(true)) => None,
        (_, Some(false)) => return Ok(None),
        _ if timed => return Err(WrongType),
        _ => item
            .bare_item
            .as_string()
            .map(|text| text.as_str().as_bytes().into()),
    };
    Ok(Some(Directive {
        name: name.as_bytes().into(),
        argument,
    }))
}

/// delta-seconds (§1.2.2): too large a number is as good as infinite.
#[must_use]
pub fn seconds(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits)?;
    Some(number.parse().unwrap_or(u64::MAX).min(MAX_SECONDS))
}

/// A list of field names; `None` if it is empty or holds anything else.
fn field_names(text: &[u8]) -> Option<Vec<HeaderName>> {
    let names = text
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty());
    let names: Option<Vec<_>> = names
        .map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    names.filter(|names| !names.is_empty())
}

fn is_gap(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

/// `None`: a quote is open at the end of the line.
fn parse_line(line: &[u8], out: &mut Vec<Directive>) -> Option<()> {
    let mut rest = line;
    loop {
        let start = rest
            .iter()
            .position(|byte| !is_gap(*byte))
            .unwrap_or(rest.len());
        rest = rest.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Some(());
        }
        let (name, after) = split_before(rest, |byte| byte == b'=' || is_gap(byte));
        let name = name.to_ascii_lowercase().into();
        let Some(value) = after.strip_prefix(b"=") else {
            out.push(Directive {
                name,
                argument: None,
            });
            rest = after;
            continue;
        };
        let (argument, tail) = match value.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (token, tail) = split_before(value, is_gap);
                (token.into(), tail)
            }
        };
        out.push(Directive {
            name,
            argument: Some(argument),
        });
        rest = tail;
    }
}

fn split_before(text: &[u8], ends: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| ends(*byte))
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &[u8]) -> Option<(Box<[u8]>, &[u8])> {
    let mut out = Vec::new();
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => {
                out.push(*byte);
                escaped = false;
            }
            b'\\' => escaped = true,
            b'"' => return Some((out.into(), text.get(index + 1..).unwrap_or_default())),
            other => out.push(*other),
        }
    }
    None
}
