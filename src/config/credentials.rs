//! A batch goes with the credential of its events and with no other (P3): what its envelope and its
//! headers look at must be the same for all events of one credential, and no header of its own may
//! stand for a caller.

use super::problem::{Position, Sink};
use super::sections::batch::Carried;
use crate::identity::{IdentitySettings, Kind, Part, lists};
use crate::ingest::settings::{Envelope, HeaderText};
use crate::template::{Path, Source};
use http::{HeaderName, header};
use std::cell::RefCell;

const DIFFERS: &str = "what it looks at must count as the caller's, so that it is the same for all \
                       events of a batch: list it in identity.credentials or identity.principal; of \
                       batch there is batch.id";

/// Reports what a batch may not carry.
pub(super) fn check(carried: &Carried, identity: &IdentitySettings, problems: &Sink) {
    let report = |position: &Position, text: String| problems.add(position.clone(), text);
    if let Some(Envelope::Document(document)) = &carried.envelope
        && let Some(found) = differing(identity, |test| document.looks(test))
    {
        report(
            &carried.envelope_at,
            format!("found {{{found}}}; {DIFFERS}"),
        );
    }
    for (name, text) in &carried.headers {
        if stands_for_caller(name, identity) {
            report(
                &carried.headers_at,
                format!(
                    "{name} is part of the credential that events come with, and they leave with no \
                     other; a service's own is for pack = \"shared\""
                ),
            );
        } else if let HeaderText::Rendered(template) = text
            && let Some(found) = differing(identity, |test| template.looks(test))
        {
            report(
                &carried.headers_at,
                format!("{name}: found {{{found}}}; {DIFFERS}"),
            );
        }
    }
}

/// Whether a header is a part of what callers are told apart by.
fn stands_for_caller(name: &HeaderName, identity: &IdentitySettings) -> bool {
    let selection = &identity.selection;
    // In the built-in lists whatever is unknown counts: only what is known to say who calls is
    // denied there.
    let counts = if selection.by_default {
        selection.header(name) == Kind::Principal
    } else {
        selection.counts(&Part::Header(name.clone()))
            && lists::header(name.as_str()) != Kind::Condition
    };
    counts || *name == header::COOKIE
}

/// Of what a template looks at, something that may differ from event to event of one batch; `looks`
/// is the template's own.
fn differing(
    identity: &IdentitySettings,
    looks: impl Fn(&dyn Fn(Source, &[Box<str>]) -> bool) -> bool,
) -> Option<String> {
    let found = RefCell::new(None);
    looks(&|source, path| {
        let differs = may_differ(identity, source, path);
        if differs {
            let steps = std::iter::once(source.name()).chain(path.iter().map(|step| &**step));
            found.replace(Some(steps.collect::<Vec<_>>().join(".")));
        }
        differs
    });
    found.into_inner()
}

/// What is no part of the credential may differ from event to event of one batch.
fn may_differ(identity: &IdentitySettings, source: Source, path: &[Box<str>]) -> bool {
    let selection = &identity.selection;
    let part = |kind: &str, name: &str| Part::parse_any(&format!("{kind}:{name}"));
    let counts =
        |kind: &str, name: &str| part(kind, name).is_ok_and(|part| selection.counts(&part));
    match (source, path.first()) {
        (Source::Header, Some(name)) => !counts("header", name),
        (Source::Cookie, Some(name)) => !counts("cookie", name),
        (Source::Query, Some(name)) => !counts("query", name),
        (Source::Body, _) => !selection.counts(&Part::Body(Path(path.to_vec()))),
        (Source::Jwt, _) => !identity.token.iter().all(|part| selection.counts(part)),
        (Source::Batch, Some(name)) => **name != *"id",
        _ => false,
    }
}
