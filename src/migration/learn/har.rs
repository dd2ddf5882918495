//! Reads HAR 1.2 files, one entry at a time: what is kept of an entry is what a proposal rests on,
//! and no body over [`LARGEST`].
//!
//! Tools differ in what they write. Taken as they come are: bodies in base64, forms as `params`,
//! missing bodies, cookies only in `cookies`, the pseudo headers of HTTP/2, names in any case.

use super::exchange::{Content, Exchange, parse_query};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::cell::Cell;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

/// Bytes of the largest body that is kept.
const LARGEST: usize = 64 * 1024;

/// A file that is no HAR.
#[derive(Debug, thiserror::Error)]
pub enum HarError {
    /// It can't be read.
    #[error("can't be read: {0}")]
    Read(#[from] std::io::Error),
    /// It begins like something else.
    #[error("found {0}; a HAR file is JSON and begins with {{\"log\": …")]
    Other(&'static str),
    /// JSON breaks off, or says something else than a HAR file.
    #[error("{place}{error}")]
    Json {
        /// The entry, if it stands in one.
        place: String,
        /// With its line and column.
        error: serde_json::Error,
    },
}

/// Reads the exchanges of a HAR file; entries that are no http are left out.
///
/// # Errors
/// The file can't be read, or is no HAR: with what was found, and where.
pub fn read_har(file: impl Read) -> Result<Vec<Exchange>, HarError> {
    let mut file = BufReader::with_capacity(256 * 1024, file);
    // A byte order mark is no JSON, but some tools write it.
    if file.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        file.consume(3);
    }
    if let Some(other) = recognise(file.fill_buf()?) {
        return Err(HarError::Other(other));
    }
    let entry = Cell::new(None);
    let mut json = serde_json::Deserializer::from_reader(file);
    let read = Har(&entry)
        .deserialize(&mut json)
        .and_then(|exchanges| json.end().map(|()| exchanges));
    read.map(in_order).map_err(|error| HarError::Json {
        place: entry.get().map_or_else(String::new, |index: usize| {
            format!("log.entries[{index}]: ")
        }),
        error,
    })
}

fn recognise(beginning: &[u8]) -> Option<&'static str> {
    let first = beginning.iter().find(|byte| !byte.is_ascii_whitespace());
    match (beginning, first) {
        (_, None) => Some("an empty file"),
        ([0x1f, 0x8b, ..], _) => Some("a gzip file: unpack it first"),
        ([b'P', b'K', ..], _) => Some("a zip file: unpack it first"),
        ([0xff, 0xfe, ..] | [0xfe, 0xff, ..], _) => Some("UTF-16: write it as UTF-8 first"),
        (_, Some(b'<')) => Some("a page, or XML"),
        _ => None,
    }
}

/// `{"log": {"entries": […]}}`: the outer object, then the inner one, then the list. The cell says
/// which entry is being read.
struct Har<'c>(&'c Cell<Option<usize>>);
struct Log<'c>(&'c Cell<Option<usize>>);
struct Entries<'c>(&'c Cell<Option<usize>>);

impl<'de> DeserializeSeed<'de> for Har<'_> {
    type Value = Vec<Exchange>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Har<'_> {
    type Value = Vec<Exchange>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of a HAR file, {\"log\": …}")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        read_member(map, "log", Log(self.0))
    }
}

impl<'de> DeserializeSeed<'de> for Log<'_> {
    type Value = Vec<Exchange>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Log<'_> {
    type Value = Vec<Exchange>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object log, {\"entries\": […]}")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        read_member(map, "entries", Entries(self.0))
    }
}

/// The one member of an object that is looked at, which must be there.
fn read_member<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
    mut map: A,
    wanted: &'static str,
    seed: S,
) -> Result<S::Value, A::Error> {
    let (mut seed, mut found) = (Some(seed), None);
    while let Some(name) = map.next_key::<String>()? {
        match seed.take() {
            Some(seed) if name == wanted => found = Some(map.next_value_seed(seed)?),
            other => {
                seed = other;
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    found.ok_or_else(|| A::Error::missing_field(wanted))
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Vec<Exchange>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

/// In the order in which the calls began, where all say when (HAR 1.2: entries may stand in any
/// order): some tools write a table as it is sorted on the screen.
fn in_order(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    if exchanges.iter().all(|exchange| exchange.started.is_some()) {
        exchanges.sort_by_key(|exchange| exchange.started);
    }
    exchanges
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<Exchange>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the list log.entries")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut out = Vec::new();
        for index in 0.. {
            self.0.set(Some(index));
            let Some(entry) = entries.next_element::<Entry>()? else {
                break;
            };
            out.extend(entry.into_exchange());
        }
        self.0.set(None);
        Ok(out)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: Option<String>,
    request: Request,
    response: Option<Response>,
    /// Chrome's: what the call was made for.
    #[serde(rename = "_resourceType")]
    resource_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Pair>,
    #[serde(default)]
    cookies: Vec<Pair>,
    post_data: Option<PostData>,
    body_size: Option<f64>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: f64,
    #[serde(default)]
    headers: Vec<Pair>,
    content: Option<Text>,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostData {
    mime_type: Option<String>,
    text: Option<String>,
    encoding: Option<String>,
    params: Option<Vec<Param>>,
}

#[derive(Deserialize)]
struct Param {
    #[serde(default)]
    name: String,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    size: Option<f64>,
    text: Option<String>,
    encoding: Option<String>,
}

impl Entry {
    /// `None`: no http.
    fn into_exchange(self) -> Option<Exchange> {
        let uri: Uri = self.request.url.split('#').next()?.parse().ok()?;
        let scheme = uri
            .scheme_str()
            .filter(|it| matches!(*it, "http" | "https"))?;
        let response = self.response;
        let what_for = self.resource_type.as_deref().unwrap_or_default();
        let shown = matches!(
            what_for,
            "image" | "font" | "stylesheet" | "script" | "media"
        );
        let status = response.as_ref().map_or(0.0, |response| response.status);
        let mut headers = lower(self.request.headers);
        if !headers.iter().any(|(name, _)| name == "cookie") && !self.request.cookies.is_empty() {
            let pairs = self.request.cookies.iter();
            let pairs: Vec<_> = pairs
                .map(|it| format!("{}={}", it.name, it.value))
                .collect();
            headers.push(("cookie".to_owned(), pairs.join("; ")));
        }
        let post = self.request.post_data;
        if let Some(kind) = post.as_ref().and_then(|post| post.mime_type.as_ref())
            && !headers.iter().any(|(name, _)| name == "content-type")
        {
            headers.push(("content-type".to_owned(), kind.clone()));
        }
        let (answer_headers, answer) = response.map_or_else(Default::default, |response| {
            // What can't hold anything is there, whatever the file keeps of it.
            let content = if matches!(response.status, 204.0 | 205.0 | 304.0) {
                Content::Empty
            } else if shown {
                Content::Missing
            } else {
                answered(response.content)
            };
            (lower(response.headers), content)
        });
        Some(Exchange {
            method: self.request.method.to_ascii_uppercase(),
            scheme: scheme.to_owned(),
            host: uri
                .authority()?
                .as_str()
                .rsplit('@')
                .next()?
                .to_ascii_lowercase(),
            client: String::new(),
            path: uri.path().to_owned(),
            query: uri.query().map(parse_query).unwrap_or_default(),
            headers,
            body: sent(post, self.request.body_size.unwrap_or(0.0) > 0.0),
            // A call without an answer has the status 0, in some tools a negative one.
            status: if (100.0..1000.0).contains(&status) {
                status as u16
            } else {
                0
            },
            answer_headers,
            answer,
            started: self
                .started_date_time
                .and_then(|text| text.parse::<jiff::Timestamp>().ok())
                .map(jiff::Timestamp::as_millisecond),
        })
    }
}

/// Names in lower case, without the pseudo headers of HTTP/2.
fn lower(pairs: Vec<Pair>) -> Vec<(String, String)> {
    pairs
        .into_iter()
        .filter(|pair| !pair.name.starts_with(':'))
        .map(|pair| (pair.name.to_ascii_lowercase(), pair.value))
        .collect()
}

/// What was sent. `some`: there was a body, whether the file has it or not.
fn sent(post: Option<PostData>, some: bool) -> Content {
    match post {
        None if some => Content::Missing,
        None => Content::Empty,
        Some(PostData {
            text: Some(text),
            encoding,
            ..
        }) if !text.is_empty() => decoded(text, encoding.as_deref()),
        Some(PostData {
            params: Some(params),
            ..
        }) if !params.is_empty() => {
            let pairs = params.into_iter();
            let pairs = pairs.map(|it| format!("{}={}", it.name, it.value.unwrap_or_default()));
            decoded(pairs.collect::<Vec<_>>().join("&"), None)
        }
        Some(_) if some => Content::Missing,
        Some(_) => Content::Empty,
    }
}

fn answered(content: Option<Text>) -> Content {
    match content {
        Some(Text {
            text: Some(text),
            encoding,
            ..
        }) if !text.is_empty() => decoded(text, encoding.as_deref()),
        // Below zero: it isn't known.
        Some(Text { size, .. }) if size.is_some_and(|size| size != 0.0) => Content::Missing,
        Some(_) => Content::Empty,
        None => Content::Missing,
    }
}

fn decoded(text: String, encoding: Option<&str>) -> Content {
    if text.len() > LARGEST * 4 / 3 {
        return Content::Large;
    }
    let text = match encoding {
        Some("base64") => match BASE64_STANDARD.decode(text.trim()).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            _ => return Content::Binary,
        },
        _ => text,
    };
    if text.len() > LARGEST {
        Content::Large
    } else {
        Content::Text(text)
    }
}
