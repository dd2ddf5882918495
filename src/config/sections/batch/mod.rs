//! `[batch.NAME]`: how a group gathers, packs and delivers its events.

mod flush;
mod keys;
mod pack;
mod replies;
mod shape;

pub(super) use keys::SCHEMA;
pub(in crate::config) use pack::Carried;

use crate::config::key::Key;
use crate::config::readers::{read_lists, sources};
use crate::config::section::{Reference, Section};
use crate::ingest::accept::refusal::REFUSABLE;
use crate::ingest::settings::{
    ClientBatches, Envelope, Fallback, Group, Keep, KeyPart, MissingId, Pack,
};
use crate::template::{Path, Source, Template};
use keys::*;

use std::sync::Arc;

/// What a section says.
pub(in crate::config) struct Batch {
    /// The group, without what it has to do with other groups; `None` where it is wrong.
    pub(in crate::config) group: Option<Group>,
    /// Groups whose priority events seal this one's windows.
    pub(in crate::config) flush_with: Vec<Reference>,
    /// What its batches carry beside events.
    pub(in crate::config) carried: Carried,
}

pub(super) fn read(name: &str, section: Section<'_>) -> Batch {
    let pack = pack::read_pack(&section);
    let carried = pack::read_carried(&section, matches!(pack, Some(Pack::Shared { .. })));
    let flush_with = section.references(&FLUSH_WITH);
    let group = read_group(name, &section, pack, &carried);
    section.finish();
    Batch {
        group,
        flush_with,
        carried,
    }
}

fn read_group(
    name: &str,
    section: &Section<'_>,
    pack: Option<Pack>,
    carried: &Carried,
) -> Option<Group> {
    let max_events = section.number(&MAX_EVENTS);
    let keyed = sources(&[Source::Body, Source::Event, Source::Path, Source::User]);
    let tagged = sources(&[Source::User, Source::Event]);
    let plain = matches!(carried.envelope, Some(Envelope::Plain));
    let taken_apart = if plain {
        ClientBatches::TakeApart
    } else {
        ClientBatches::Forward
    };
    let shape = shape::read_shape(section);
    let reply = replies::read_reply(section);
    let id_field = section.text(&ID_FIELD).unwrap_or_default();
    // What may be missing comes last, so that every key is read before that ends this.
    let group = || {
        Some(Group {
            name: name.into(),
            window: section.duration(&WINDOW),
            flush_at: read_flush_at(section, max_events),
            max_events,
            max_bytes: read_max_bytes(section),
            max_age: section.duration(&MAX_AGE),
            id_field: id_field.as_str().into(),
            time_field: section.text(&TIME_FIELD).unwrap_or_default().into(),
            flush_on: flush::read_conditions(section),
            flush_on_change: flush::read_changes(section),
            flush_with: Vec::new(),
            order_with: Vec::new(),
            key: section
                .compiled_list(&KEY, |text| KeyPart::parse(text, &keyed))
                .unwrap_or_default(),
            keep: section.choice(
                &KEEP,
                &[("all", Keep::All), ("newest", Keep::Newest)],
                Keep::All,
            ),
            shown: false,
            headers: carried.headers.clone(),
            results: replies::read_results(section, &id_field),
            success: replies::read_success(section),
            require: section
                .names::<String>(&REQUIRE)
                .iter()
                .map(|text| alternatives_of(text))
                .collect(),
            lowercase: section.names(&LOWERCASE),
            percent: section.names(&PERCENT),
            same_user: section.names(&SAME_USER),
            invalidates: section
                .compiled_list(&INVALIDATES, |text| Template::parse(text, &tagged))
                .unwrap_or_default(),
            distinct: section
                .names::<String>(&DISTINCT)
                .iter()
                .map(|text| Path::parse(text))
                .collect(),
            fallback: section.choice(&FALLBACK, &FALLBACKS, Fallback::Single),
            missing_id: section.choice(&MISSING_ID, &MISSING_IDS, MissingId::Generate),
            refuse: section
                .compiled_list(&REFUSE, refusable)
                .unwrap_or_default(),
            volatile: section.names(&VOLATILE),
            aliases: read_aliases(section),
            client_batches: section.choice(&CLIENT_BATCHES, &CLIENT_BATCH_WAYS, taken_apart),
            permanent: section.names(&PERMANENT),
            max_attempts: section.number(&MAX_ATTEMPTS),
            shape: shape?,
            reply: reply?,
            pack: pack?,
            envelope: carried.envelope.clone()?,
        })
    };
    let group = group();
    if let Some(group) = &group {
        check_fit(section, group, plain);
    }
    group
}

const FALLBACKS: [(&str, Fallback); 2] = [
    ("single", Fallback::Single),
    ("dead-letter", Fallback::DeadLetter),
];
const MISSING_IDS: [(&str, MissingId); 2] =
    [("generate", MissingId::Generate), ("hash", MissingId::Hash)];
const CLIENT_BATCH_WAYS: [(&str, ClientBatches); 2] = [
    ("take-apart", ClientBatches::TakeApart),
    ("forward", ClientBatches::Forward),
];

fn read_flush_at(section: &Section<'_>, max_events: usize) -> usize {
    let flush_at: usize = section.number(&FLUSH_AT);
    if !section.has(&FLUSH_AT) {
        return flush_at.min(max_events);
    }
    if flush_at > max_events {
        let text = format!("found {flush_at}; at most max_events = {max_events} is allowed");
        section.wrong_key(&FLUSH_AT, text);
    }
    flush_at
}

fn read_max_bytes(section: &Section<'_>) -> usize {
    let max_bytes = section.memory_size(&MAX_BYTES);
    if max_bytes < 256 {
        section.wrong_key(
            &MAX_BYTES,
            "at least 256 bytes are needed for a batch of one event",
        );
    }
    max_bytes
}

/// `a|b`: names of which one must be there.
fn alternatives_of(text: &str) -> Vec<Arc<str>> {
    text.split('|').map(|one| Arc::from(one.trim())).collect()
}

/// A reason for which a group refuses calls.
fn refusable(text: &str) -> Result<Box<str>, String> {
    if REFUSABLE.contains(&text) {
        Ok(text.into())
    } else {
        Err(format!("allowed are {}", REFUSABLE.join(", ")))
    }
}

/// Other names of fields: (found, canonical).
fn read_aliases(section: &Section<'_>) -> Vec<(Arc<str>, Arc<str>)> {
    let mut out = Vec::new();
    for (canonical, found) in read_lists(section, &ALIASES) {
        for name in found {
            match name.as_str() {
                Some(name) => out.push((name.into(), canonical.as_str().into())),
                None => {
                    let text = format!("{canonical}: found {name}; a list of names is allowed");
                    section.wrong_key(&ALIASES, text);
                }
            }
        }
    }
    out
}

/// Reports what doesn't go together.
fn check_fit(section: &Section<'_>, group: &Group, plain: bool) {
    section.refuse_gone(
        "supersede",
        "is key and keep now: key = [\"type\", \"lessonId\"], keep = \"newest\"",
    );
    section.refuse_gone(
        "order_with",
        "is gone: a group with form = \"single\" keeps one order with those whose tags it shares",
    );
    let refuse_if = |there: bool, key: &Key, why: &str| {
        if there {
            section.wrong_key(key, why);
        }
    };
    let (single, for_batches) = (
        group.is_single(),
        "form = \"single\" sends single calls; this is for batches",
    );
    refuse_if(single && !group.distinct.is_empty(), &DISTINCT, for_batches);
    refuse_if(single && !plain, &ENVELOPE, for_batches);
    refuse_if(single && !group.headers.is_empty(), &HEADERS, for_batches);
    refuse_if(single && group.pack != Pack::User, &PACK, for_batches);
    let newest = group.keep == Keep::Newest;
    let is_used = newest || !group.flush_on_change.is_empty();
    let unused = "is for keep = \"newest\" and flush_on_change; there is neither";
    refuse_if(!is_used && !group.key.is_empty(), &KEY, unused);
    let keyless =
        "needs a key, such as key = [\"type\", \"lessonId\"]: what an event tells the state of";
    refuse_if(newest && !single && group.key.is_empty(), &KEEP, keyless);
    let enveloped =
        "a client's own batch is taken apart in the plain envelope only; \"forward\" is allowed";
    let apart = group.client_batches == ClientBatches::TakeApart;
    refuse_if(!plain && apart, &CLIENT_BATCHES, enveloped);
}
