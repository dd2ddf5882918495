//! A call that is being recorded: copies of its head, its body and its answer, in room that is
//! counted; and the exchange that they make.

use super::exchange::{Content, Exchange, parse_query};
use crate::body::Body;
use crate::clock::millis;
use crate::copies::{copy_headers, copy_uri, size_of};
use crate::memory::{Lease, NoRoom};
use crate::peer::Peer;
use crate::recorder::Ending;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// What a record takes beside heads and bodies, bytes.
const BESIDE: usize = 1 << 10;
/// A copy grows by so many bytes.
const STEP: usize = 1 << 10;
/// Most bytes of a body that are looked into, without its coding.
pub const LARGEST_PLAIN: usize = 64 << 10;
/// JSON with more commas and brackets than this is no event's, and would take many times its size.
const MOST_MEMBERS: usize = 1_024;

/// Takes a body's coding off: at most [`LARGEST_PLAIN`] bytes.
pub type Unpack = fn(&HeaderMap, &Bytes) -> Unpacked;

/// A body without its coding.
#[derive(Debug, PartialEq, Eq)]
pub enum Unpacked {
    /// All of it.
    Plain(Bytes),
    /// It is more than may be looked at.
    TooLarge,
    /// Its coding is unknown or broken.
    Unreadable,
}

/// A call, and its answer as far as it has come.
#[derive(Debug)]
pub(super) struct Record {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    client: IpAddr,
    https: bool,
    /// When the call came, Unix milliseconds.
    started: i64,
    host: Option<Arc<str>>,
    body: Copied,
    answer: Option<(StatusCode, HeaderMap)>,
    answer_body: Copied,
    room: Lease,
    /// There was no room for all of it.
    lost: bool,
}

/// Which body of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Call,
    Answer,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Made {
    /// With the room that it takes.
    Exchange(Box<Exchange>, Lease),
    /// There was no room for all of it.
    Lost,
    /// The answer, or its end, hasn't come.
    Unfinished,
}

#[derive(Debug, Default)]
struct Copied {
    bytes: Vec<u8>,
    ending: Option<Ending>,
}

impl Record {
    /// A record of a call's head.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn new(call: &Request<Body>, peer: &Peer, mut room: Lease) -> Result<Self, NoRoom> {
        let target = call
            .uri()
            .path_and_query()
            .map_or(0, |it| it.as_str().len());
        room.stretch(BESIDE + size_of(call.headers()) + target)?;
        Ok(Self {
            method: call.method().clone(),
            uri: copy_uri(call.uri()),
            headers: copy_headers(call.headers()),
            client: peer.client,
            https: peer.https,
            started: i64::try_from(millis(SystemTime::now())).unwrap_or(0),
            host: peer.host.clone(),
            body: Copied::default(),
            answer: None,
            answer_body: Copied::default(),
            room,
            lost: false,
        })
    }

    /// More of a body. `false`: there is no room for it, and what was copied is given up.
    pub(super) fn push(&mut self, side: Side, data: &[u8]) -> bool {
        if self.lost {
            return false;
        }
        let copied = match side {
            Side::Call => &mut self.body,
            Side::Answer => &mut self.answer_body,
        };
        let needed = copied.bytes.len() + data.len();
        let grown = needed
            .next_multiple_of(STEP)
            .saturating_sub(copied.bytes.capacity());
        if grow(&mut self.room, grown).is_err() {
            self.lose();
            return false;
        }
        copied
            .bytes
            .reserve_exact(grown + copied.bytes.capacity() - copied.bytes.len());
        copied.bytes.extend_from_slice(data);
        true
    }

    /// How a body ended.
    pub(super) fn end(&mut self, side: Side, ending: Ending) {
        let copied = match side {
            Side::Call => &mut self.body,
            Side::Answer => &mut self.answer_body,
        };
        copied.ending = Some(ending);
        if ending != Ending::Whole {
            copied.bytes = Vec::new();
        }
    }

    /// The answer's head.
    pub(super) fn take_answer(&mut self, status: StatusCode, headers: &HeaderMap) {
        if !self.lost && grow(&mut self.room, size_of(headers)).is_err() {
            self.lose();
        }
        if !self.lost {
            self.answer = Some((status, copy_headers(headers)));
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        (self.body, self.answer_body, self.answer) = <_>::default();
        self.headers.clear();
    }

    /// The exchange that it makes.
    pub(super) fn into_exchange(mut self, unpack: Unpack) -> Made {
        if self.lost {
            return Made::Lost;
        }
        let Some((status, answer_headers)) = self.answer.take() else {
            return Made::Unfinished;
        };
        let answer = match self.answer_body.ending {
            None | Some(Ending::BrokenOff) => return Made::Unfinished,
            Some(_) => content(&answer_headers, self.answer_body, unpack, &mut self.room),
        };
        // The application may answer without having read all of a call.
        let body = content(&self.headers, self.body, unpack, &mut self.room);
        let exchange = Exchange {
            method: self.method.as_str().to_ascii_uppercase(),
            scheme: if self.https { "https" } else { "http" }.to_owned(),
            host: self.host.as_deref().unwrap_or_default().to_owned(),
            client: self.client.to_string(),
            path: self.uri.path().to_owned(),
            query: self.uri.query().map(parse_query).unwrap_or_default(),
            headers: lines(&self.headers),
            body,
            status: status.as_u16(),
            answer_headers: lines(&answer_headers),
            answer,
            started: Some(self.started),
        };
        Made::Exchange(Box::new(exchange), self.room)
    }
}

/// What a copied body says.
fn content(headers: &HeaderMap, copied: Copied, unpack: Unpack, room: &mut Lease) -> Content {
    match copied.ending {
        Some(Ending::Whole) => {}
        Some(Ending::TooLong) => return Content::Large,
        None | Some(Ending::BrokenOff) => return Content::Missing,
    }
    if copied.bytes.is_empty() {
        return Content::Empty;
    }
    let bytes = Bytes::from(copied.bytes);
    let plain = match unpack(headers, &bytes) {
        Unpacked::Plain(plain) if plain.is_empty() => return Content::Empty,
        Unpacked::Plain(plain) => plain,
        Unpacked::TooLarge => return Content::Large,
        Unpacked::Unreadable => return Content::Missing,
    };
    let signs = plain.iter().filter(|byte| b",[{".contains(byte)).count();
    let is_coded = headers.contains_key(header::CONTENT_ENCODING);
    let has_room = !is_coded || grow(room, plain.len()).is_ok();
    if signs > MOST_MEMBERS || !has_room {
        return Content::Large;
    }
    String::from_utf8(plain.into()).map_or(Content::Binary, Content::Text)
}

fn grow(room: &mut Lease, by: usize) -> Result<(), NoRoom> {
    let taken = usize::try_from(room.bytes()).unwrap_or(usize::MAX);
    room.stretch(taken.saturating_add(by))
}

/// The lines of a head, names in lower case.
fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}
