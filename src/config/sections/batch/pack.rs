//! `pack`, `envelope` and `headers`: what a batch carries beside its events. Whether what its
//! templates look at is the caller's own is checked by `credentials.rs`, which knows `[identity]`.

use super::keys::{ENVELOPE, HEADERS, PACK, PACK_WAIT, SERVICE_CREDENTIAL, service};
use crate::config::problem::Position;
use crate::config::readers::read_document;
use crate::config::section::Section;
use crate::config::tree::{Node, Spot};
use crate::ingest::settings::{Envelope, HeaderText, Pack};
use crate::template::{Source, Template};
use crate::upstream::headers;
use http::{HeaderName, HeaderValue, header};

/// What batches carry beside their events.
pub(in crate::config) struct Carried {
    /// What a batch's body has around them; `None` where it is wrong.
    pub(in crate::config) envelope: Option<Envelope>,
    /// Where that stands.
    pub(in crate::config) envelope_at: Position,
    /// Headers, beside the credential.
    pub(in crate::config) headers: Vec<(HeaderName, HeaderText)>,
    /// Where those stand.
    pub(in crate::config) headers_at: Position,
}

/// `envelope` and `headers`. `shared`: batches hold events of several users.
pub(super) fn read_carried(section: &Section<'_>, shared: bool) -> Carried {
    let allowed = batch_sources(shared);
    Carried {
        envelope: read_envelope(section, &allowed),
        envelope_at: section.position(&ENVELOPE),
        headers: read_headers(section.section(&HEADERS), &allowed),
        headers_at: section.position(&HEADERS),
    }
}

/// `pack` and what it needs.
pub(super) fn read_pack(section: &Section<'_>) -> Option<Pack> {
    let shared = section.choice(&PACK, &[("user", false), ("shared", true)], false);
    let wait = section.duration(&PACK_WAIT);
    let is_given = section.has(&SERVICE_CREDENTIAL);
    let credential = if is_given {
        read_credential(section)
    } else {
        None
    };
    if !shared {
        return check_unshared(section, is_given).then_some(Pack::User);
    }
    if !is_given {
        section.wrong_key(
            &PACK,
            "\"shared\" puts events of different users into one batch. Their own credentials are \
             then not sent: service_credential = { header = \"authorization\", env = \"…\" } is \
             needed, and the application must trust the user id in each event",
        );
    }
    Some(Pack::Shared {
        wait,
        credential: credential?,
    })
}

/// Whether what is for shared batches is left out.
fn check_unshared(section: &Section<'_>, has_credential: bool) -> bool {
    if has_credential {
        section.wrong_key(
            &SERVICE_CREDENTIAL,
            "is for pack = \"shared\" only; with pack = \"user\" events go with the credential they \
             came with",
        );
    } else if section.has(&PACK_WAIT) {
        section.wrong_key(&PACK_WAIT, "is for pack = \"shared\" only");
    }
    !has_credential
}

/// `service_credential`.
fn read_credential(section: &Section<'_>) -> Option<(HeaderName, HeaderValue)> {
    let table = section.section(&SERVICE_CREDENTIAL);
    let name = table.compiled(&service::HEADER, parse_header);
    let value = read_secret(&table);
    if !table.has(&service::HEADER) {
        table.wrong_key(
            &service::HEADER,
            "is missing; a header's name such as \"authorization\" is needed",
        );
    }
    table.finish();
    name.zip(value)
}

fn parse_header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text
        .parse()
        .map_err(|_| format!("found {text:?}; a header's name is allowed"))?;
    if headers::is_hop_by_hop(&name) || OWN.contains(&name) {
        Err(format!("{name} is Tidegate's own in a batch"))
    } else {
        Ok(name)
    }
}

/// Headers of a batch that nothing else may set.
const OWN: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::EXPECT,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
];

/// A secret that is a header's value.
fn read_secret(section: &Section<'_>) -> Option<HeaderValue> {
    let text = section.secret()?;
    match HeaderValue::try_from(&text) {
        Ok(mut value) if !text.is_empty() => {
            value.set_sensitive(true);
            Some(value)
        }
        // What it holds is not shown.
        _ => {
            section.wrong("the secret is empty or holds what no header may carry");
            None
        }
    }
}

/// What the templates of a batch may look at, beside the events. A batch of several users has no
/// caller.
fn batch_sources(shared: bool) -> Vec<Source> {
    let own = [Source::NowMs, Source::NowIso, Source::Uuid, Source::Batch];
    let caller = [
        Source::Header,
        Source::Cookie,
        Source::Jwt,
        Source::User,
        Source::Body,
        Source::Query,
    ];
    if shared {
        own.to_vec()
    } else {
        [own.as_slice(), &caller].concat()
    }
}

fn read_envelope(section: &Section<'_>, allowed: &[Source]) -> Option<Envelope> {
    let allowed = [allowed, &[Source::Events]].concat();
    let Some(document) = read_document(section, &ENVELOPE, &allowed) else {
        return Some(Envelope::Plain);
    };
    let document = document.ok()?;
    if (
        document.wholes(Source::Events),
        document.count(Source::Events),
    ) != (1, 1)
    {
        let text =
            "\"{events}\" must be in it once, as a whole value, such as { events = \"{events}\" }";
        section.wrong_key(&ENVELOPE, text);
        return None;
    }
    Some(Envelope::Document(document))
}

/// Headers of every batch: text, a template, or `{ env = "…" }`.
fn read_headers(table: Section<'_>, allowed: &[Source]) -> Vec<(HeaderName, HeaderText)> {
    let mut out = Vec::new();
    for (name, spot) in table.members() {
        match parse_header(name) {
            Ok(header) => {
                out.extend(read_header(&table, (name, spot), allowed).map(|text| (header, text)))
            }
            Err(error) => table.wrong(error),
        }
    }
    out
}

fn read_header(
    table: &Section<'_>,
    (name, spot): (&str, &Spot),
    allowed: &[Source],
) -> Option<HeaderText> {
    match &spot.node {
        Node::Table(_) => {
            let inner = table.member(name, spot);
            let value = read_secret(&inner);
            inner.finish();
            value.map(HeaderText::Fixed)
        }
        Node::Text(text) => header_text(text, allowed)
            .map_err(|error| table.wrong(format!("{name}: {error}")))
            .ok(),
        _ => {
            table.wrong(format!("{name}: a text or {{ env = \"…\" }} is allowed"));
            None
        }
    }
}

fn header_text(text: &str, allowed: &[Source]) -> Result<HeaderText, String> {
    let template = Template::parse(text, allowed).map_err(|error| error.to_string())?;
    if template.looks(&|_, _| true) {
        return Ok(HeaderText::Rendered(template));
    }
    let value = HeaderValue::try_from(text)
        .map_err(|_| format!("found {text:?}, which no header may carry"))?;
    Ok(HeaderText::Fixed(value))
}
