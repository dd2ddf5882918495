//! `[identity]`: which parts of a call say something of its caller, and when Tidegate may answer it.

use super::check::{HEAD, seconds, values};
use super::raw::Section;
use crate::identity::{Admit, Cors, Forbid, IdentitySettings, Kind, Need, Part, PartError, Selection};
use crate::template::{Source, Template};

/// Reads the section.
pub fn read(section: Section<'_>, cors: Option<Cors>) -> IdentitySettings {
    let parts = |texts: &[&str]| texts.iter().filter_map(|text| Part::parse(text).ok()).collect::<Vec<_>>();
    let double = section.compiled_list("double_submit", Part::parse);
    let double_submit = match double.as_deref() {
        None | Some([]) => None,
        Some([first, second]) => Some((first.clone(), second.clone())),
        Some(_) => {
            section.wrong_key("double_submit", "two parts are allowed, such as [\"cookie:csrf\", \"header:x-csrf\"]");
            None
        }
    };
    let settings = IdentitySettings {
        selection: selection(&section),
        claims: values(&section, "claims").into_iter().map(|(name, values)| (name.into(), values)).collect(),
        refresh: section.maybe_duration("refresh"),
        user: user(&section),
        // Groups are not read yet.
        lowercase_user: false,
        require: section.compiled_list("require", need).unwrap_or_default(),
        forbid: section.compiled_list("forbid", Forbid::parse).unwrap_or_default(),
        double_submit,
        token: section
            .compiled_list("token", Part::parse)
            .unwrap_or_else(|| parts(&["header:authorization", "cookie:access_token"])),
        admit: section.choice(
            "admit",
            &[("optimistic", Admit::Optimistic), ("proven", Admit::Proven)],
            Admit::Optimistic,
        ),
        proof_ttl: section.duration("proof_ttl", seconds(600)),
        cors,
    };
    section.finish();
    settings
}

fn need(text: &str) -> Result<Vec<Need>, PartError> {
    text.split('|').map(|one| if one == "jwt" { Ok(Need::Jwt) } else { Part::parse(one).map(Need::Part) }).collect()
}

fn user(section: &Section<'_>) -> Template {
    let allowed = [HEAD.as_slice(), &[Source::Event, Source::Path]].concat();
    let given = section.compiled("user", |text| Template::parse(text, &allowed));
    let default = || Template::parse("{jwt.userId|jwt.sub|event.userId|query.userId|query.user_id}", &allowed);
    match given.map_or_else(default, Ok) {
        Ok(user) => user,
        Err(error) => {
            section.wrong_key("user", error.to_string());
            Template::default()
        }
    }
}

/// The built-in lists, or `credentials` in their place; and what the operator says of single parts.
fn selection(section: &Section<'_>) -> Selection {
    let credentials = section.compiled_list("credentials", Part::parse_any);
    if credentials.as_ref().is_some_and(Vec::is_empty) {
        section.wrong_key("credentials", "found nothing; at least one part must tell callers apart");
    }
    let listed = credentials.is_some();
    let mut selection = credentials.map_or_else(Selection::built_in, |parts| Selection::listed(&parts));
    let mut set = |key: &'static str, kind: Kind, any: bool| {
        let parse = |text: &str| if any { Part::parse_any(text) } else { Part::parse(text) };
        for part in section.compiled_list(key, parse).unwrap_or_default() {
            if listed && !any && kind != Kind::Rolling && !selection.counts(&part) {
                let text = format!("found {part}, which credentials doesn't list; only what counts has a kind");
                section.wrong_key(key, text);
            } else {
                selection.set(&part, kind);
            }
        }
    };
    set("principal", Kind::Principal, true);
    set("scopes", Kind::Scope, false);
    set("conditions", Kind::Condition, false);
    let ignored = section.compiled_list("ignore", Part::parse).unwrap_or_default();
    let rolling = section.compiled_list("rolling", cookie).unwrap_or_default();
    ignored.iter().for_each(|part| selection.set(part, Kind::Passing));
    rolling.iter().for_each(|part| selection.set(part, Kind::Rolling));
    selection
}

fn cookie(text: &str) -> Result<Part, String> {
    match Part::parse(text) {
        Ok(part @ Part::Cookie(_)) => Ok(part),
        _ => Err("only a cookie rolls, such as \"cookie:laravel_session\"".to_owned()),
    }
}
