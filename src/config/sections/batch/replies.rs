//! `results`, `success` and `reply`: how the application's replies are read, and what a client's
//! own batch hears.

use super::keys::{REPLY, RESULTS, SUCCESS, reply, results, success};
use crate::config::key::Key;
use crate::config::readers::{read_document, read_status, sources, values_of};
use crate::config::section::Section;
use crate::ingest::settings::{InOrder, Missing, Places, Reply, Results, Success};
use crate::template::{JsonTemplate, Path, Source};
use serde_json::Value;
use std::sync::Arc;

/// A name at the top of a body, or a JSON Pointer (`""`: the whole).
fn read_place(section: &Section<'_>, key: &'static Key) -> Option<Path> {
    section.compiled(key, |text| {
        // `data.accepted` is meant as a path by whoever writes it; a member of that name can be
        // told by a pointer.
        let is_name = !text.contains(['/', '.']);
        (is_name || text.starts_with('/')).then(|| Path::parse(text)).ok_or_else(|| {
            format!(
                "found {text:?}; the name of a member or a JSON Pointer such as \"/data/accepted\" \
                 is allowed, \"\" for the whole reply"
            )
        })
    })
}

/// Texts, numbers, booleans or null; one, or a list of them.
fn read_scalars(section: &Section<'_>, key: &'static Key) -> Option<Vec<Value>> {
    let spot = section.get_or_default(key)?;
    let values = values_of(&spot);
    if values.is_empty() {
        section.wrong_key(key, "found an empty list; at least one value is needed");
    }
    for value in values
        .iter()
        .filter(|value| value.is_object() || value.is_array())
    {
        section.wrong_key(
            key,
            format!("found {value}; texts, numbers and booleans are allowed"),
        );
    }
    Some(values)
}

/// `success = { pointer = "/status", equals = [1, "ok"] }`: what makes a 2xx a success.
pub(super) fn read_success(group: &Section<'_>) -> Option<Success> {
    group.get(&SUCCESS)?;
    let table = group.section(&SUCCESS);
    let (place, values) = (
        read_place(&table, &success::POINTER),
        read_scalars(&table, &success::EQUALS),
    );
    if !table.has(&success::POINTER) {
        let text = "is missing; a name or a JSON Pointer such as \"/status\" is needed, \"\" for \
            the whole reply";
        table.wrong_key(&success::POINTER, text);
    }
    if values.is_none() {
        let text = "is missing; a value or a list of values such as [1, \"ok\"] is needed";
        table.wrong_key(&success::EQUALS, text);
    }
    table.finish();
    Some(Success {
        place: place?,
        values: values?,
    })
}

/// Where a reply speaks of single events; names or JSON Pointers. `id_field`: what the events' own
/// ids are named.
pub(super) fn read_results(group: &Section<'_>, id_field: &str) -> Results {
    let table = group.section(&RESULTS);
    let places = Places {
        accepted: read_place(&table, &results::ACCEPTED),
        duplicates: read_place(&table, &results::DUPLICATES),
        failed: read_place(&table, &results::FAILED),
    };
    let in_order = read_in_order(&table, &places);
    let plain = Results::default();
    let needed = places != Places::default();
    let own = std::iter::once(Arc::from(id_field));
    let ids = own.chain(plain.id.into_iter().filter(|name| **name != *id_field));
    let ids = ids.collect();
    let results = Results {
        places: if needed { vec![places] } else { plain.places },
        id: read_names(&table, &results::ID, ids),
        reason: read_names(&table, &results::REASON, plain.reason),
        missing: table.choice(&results::MISSING, &MISSINGS, Missing::Retry),
        needed: needed || in_order.is_some(),
        in_order,
    };
    table.finish();
    results
}

const MISSINGS: [(&str, Missing); 3] = [
    ("retry", Missing::Retry),
    ("duplicate", Missing::Duplicate),
    ("accepted", Missing::Accepted),
];

/// Names, at least one; else the default ones.
fn read_names(table: &Section<'_>, key: &'static Key, default: Vec<Arc<str>>) -> Vec<Arc<str>> {
    let given = table.names(key);
    if given.is_empty() { default } else { given }
}

/// `results = { in_order = "/items", status = "code" }`: one entry per event, in the order of the
/// batch.
fn read_in_order(table: &Section<'_>, places: &Places) -> Option<InOrder> {
    let list = read_place(table, &results::IN_ORDER);
    let status = read_place(table, &results::STATUS);
    let accepted = read_scalars(table, &results::ACCEPTED_VALUES);
    let duplicate = read_scalars(table, &results::DUPLICATE_VALUES);
    let Some(list) = list else {
        for key in [
            &results::STATUS,
            &results::ACCEPTED_VALUES,
            &results::DUPLICATE_VALUES,
        ] {
            if table.has(key) {
                table.wrong_key(
                    key,
                    "is for results.in_order, which is missing: where the list of entries stands",
                );
            }
        }
        return None;
    };
    if *places != Places::default() {
        let text = "can't be had together with accepted, duplicates or failed, which go by id";
        table.wrong_key(&results::IN_ORDER, text);
    }
    for key in [&results::ID, &results::MISSING] {
        if table.has(key) {
            table.wrong_key(
                key,
                "is for lists of ids; with in_order an entry's place says which event is meant",
            );
        }
    }
    Some(InOrder {
        list,
        status: status?,
        accepted: accepted?,
        duplicate: duplicate?,
    })
}

/// The answer to a client's own batch.
pub(super) fn read_reply(group: &Section<'_>) -> Option<Reply> {
    let table = group.section(&REPLY);
    let allowed = sources(&[Source::Batch]);
    let body = read_document(&table, &reply::BODY, &allowed).transpose();
    let status = read_status(&table, &reply::STATUS).unwrap_or_default();
    table.finish();
    let body = match body.ok()? {
        Some(body) => body,
        None => JsonTemplate::from_json(&plain_reply(), &allowed).ok()?,
    };
    Some(Reply { status, body })
}

fn plain_reply() -> Value {
    serde_json::json!({
        "accepted": "{batch.accepted}",
        "duplicates": "{batch.duplicates}",
        "failed": "{batch.failed}"
    })
}
