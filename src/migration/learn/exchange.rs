//! A call and its answer, whether a file or a recording has them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// A call and its answer.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// In capitals.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// With its port, if the address names one.
    pub host: String,
    /// The client's address; empty where all calls are one browser's.
    pub client: String,
    /// Without the query, as it was sent.
    pub path: String,
    /// Parameters in their order, decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What was sent.
    pub body: Content,
    /// 0: there was no answer.
    pub status: u16,
    /// Names in lower case.
    pub answer_headers: Vec<(String, String)>,
    /// What was answered.
    pub answer: Content,
    /// Unix milliseconds.
    pub started: Option<i64>,
}

/// A body, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Content {
    /// There was none.
    #[default]
    Empty,
    /// There was one, but the record doesn't have it.
    Missing,
    /// It was too large to be kept, or has too many members.
    Large,
    /// It is no text.
    Binary,
    /// Text.
    Text(String),
}

impl Content {
    /// The JSON that it is; `None` if it is anything else.
    pub(super) fn json(&self) -> Option<Value> {
        match self {
            Self::Text(text) => serde_json::from_str(text).ok(),
            Self::Empty | Self::Missing | Self::Large | Self::Binary => None,
        }
    }
}

impl Exchange {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(super) fn answer_header(&self, name: &str) -> Option<&str> {
        find(&self.answer_headers, name)
    }

    /// The media type of the call's body, in lower case and without parameters.
    pub(super) fn media_type(&self) -> String {
        let line = self.header("content-type").unwrap_or_default();
        let plain = line.split(';').next().unwrap_or_default();
        plain.trim().to_ascii_lowercase()
    }

    /// The cookies that were sent.
    pub(super) fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.headers.iter().filter(|(name, _)| name == "cookie");
        let pairs = lines.flat_map(|(_, line)| line.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('='))
    }

    /// Names of the cookies that the answer sets.
    pub(super) fn cookies_set(&self) -> impl Iterator<Item = &str> {
        let lines = self
            .answer_headers
            .iter()
            .filter(|(name, _)| name == "set-cookie");
        // Some browsers put several cookies into one value, a line for each.
        let cookies = lines.flat_map(|(_, value)| value.lines());
        cookies.filter_map(|cookie| Some(cookie.split_once('=')?.0.trim()))
    }

    /// The claims of its token: of a bearer's, else of a cookie's that is one.
    pub(super) fn claims(&self) -> Map<String, Value> {
        let bearer = self
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .and_then(|(_, token)| claims_of(token.trim()));
        bearer
            .or_else(|| {
                self.cookies()
                    .find(|(name, _)| *name == "access_token")
                    .and_then(|(_, value)| claims_of(value))
            })
            .unwrap_or_default()
    }

    pub(super) const fn succeeded(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(known, _)| known == name)?;
    Some(value)
}

/// The parameters of a query, in their order, decoded.
pub(super) fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The claims of a JSON Web Token (RFC 7519), unverified.
pub(super) fn claims_of(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&bytes).ok()
}
