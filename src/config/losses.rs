//! What a configuration loses, leaves to the application or never does, in sentences for `tidegate
//! check`.

use super::note::{Note, loud, quiet};
use super::settings::Config;
use super::{cache_losses, connections, event_losses, shadows};
use crate::identity::{IdentitySettings, Need, Part, Selection};
use crate::ingest::settings::Group;
use crate::rollout::Mode;
use crate::template::Source;
use http::header;

/// All of them, loud ones first.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    let mut out = event_losses::notes(config);
    out.extend(cache_losses::notes(config));
    out.extend(shadows::notes(config));
    out.extend(config.groups.iter().filter_map(too_long));
    out.extend(
        config
            .groups
            .iter()
            .filter_map(|group| impatient(config, group)),
    );
    out.extend(unlisted(config));
    out.extend(origins(config));
    out.extend(without_token(config));
    out.extend(connections::notes(config));
    // A rule that stands twice says the same twice.
    let mut told: Vec<Note> = Vec::new();
    for note in out {
        if !told.contains(&note) {
            told.push(note);
        }
    }
    told.sort_by_key(|note| !note.loud);
    told
}

fn too_long(group: &Group) -> Option<Note> {
    (group.window > group.max_age).then(|| {
        loud(format!(
            "batch {}: window {:?} is longer than max_age {:?}: events are older than that when \
             they are sent, and a client's repetition is no longer known as one",
            group.name, group.window, group.max_age
        ))
    })
}

/// Patience counts from an event's receipt, so its window and the pauses after a failure take of it.
fn impatient(config: &Config, group: &Group) -> Option<Note> {
    let (window, patience) = (group.window, config.delivery.give_up_after);
    let pause = config.delivery.retry_network.iter().max().copied();
    let needed = window.saturating_add(pause.unwrap_or_default());
    (patience <= needed).then(|| {
        loud(format!(
            "batch {}: an event waits {window:?} in its window, and delivery.give_up_after is \
             {patience:?}: where its first attempt fails it is a dead letter, with no second one; \
             more than {needed:?} is needed",
            group.name
        ))
    })
}

/// Tokens are verified, and none is asked for.
fn without_token(config: &Config) -> Option<Note> {
    let identity = &config.identity;
    let asks = identity
        .require
        .iter()
        .any(|any| any.as_slice() == [Need::Jwt]);
    (identity.jwt.is_some() && !asks).then(|| {
        quiet(
            "identity.jwt verifies the tokens that calls have; a call without one is answered too. \
             identity.require = [\"jwt\"] forwards it"
                .to_owned(),
        )
    })
}

/// What the application checks first, but doesn't tell callers apart.
fn unlisted(config: &Config) -> Vec<Note> {
    let identity = &config.identity;
    let mut parts: Vec<(&str, Part)> = Vec::new();
    for need in identity.require.iter().flatten() {
        match need {
            Need::Part(part) => parts.push(("identity.require", part.clone())),
            Need::Jwt => parts.extend(
                identity
                    .token
                    .iter()
                    .map(|part| ("identity.token", part.clone())),
            ),
        }
    }
    if let Some((first, second)) = &identity.double_submit {
        parts.extend([
            ("identity.double_submit", first.clone()),
            ("identity.double_submit", second.clone()),
        ]);
    }
    let why = if identity.selection.by_default {
        "identity.ignore takes out"
    } else {
        "identity.credentials lacks"
    };
    let named: Vec<Part> = parts.iter().map(|(_, part)| part.clone()).collect();
    let mut out: Vec<_> = parts
        .into_iter()
        .filter(|(_, part)| !identity.selection.counts(part))
        .map(|(key, part)| {
            loud(format!(
                "{key} names {part}, which {why}: calls that differ in it share batches and stored \
                 answers, and a batch goes with the newest one's"
            ))
        })
        .collect();
    let ignored = ignored_callers(identity).filter(|part| !named.contains(part));
    out.extend(ignored.map(|part| {
        loud(format!(
            "identity.ignore takes out {part}, which says who calls: calls that differ in it share \
             batches and stored answers, and a batch goes with the newest one's"
        ))
    }));
    let claims = identity.user.uses(Source::Jwt) && identity.require.is_empty();
    let authorization = Part::Header(header::AUTHORIZATION);
    if claims
        && identity.token.contains(&authorization)
        && !identity.selection.counts(&authorization)
    {
        out.push(loud(format!(
            "identity.user is a claim of {authorization}, which {why}: whoever calls with another \
             token under the same name shares its batches"
        )));
    } else if !identity.selection.by_default
        && !identity.selection.counts(&authorization)
        && !named.contains(&authorization)
    {
        out.push(quiet(format!(
            "identity.credentials lacks {authorization}: calls that differ in it share batches \
             and stored answers, and a batch goes with the newest one's"
        )));
    }
    out
}

/// Parts that say who calls and are taken out of what tells callers apart.
fn ignored_callers(identity: &IdentitySettings) -> impl Iterator<Item = Part> {
    let (selection, known) = (&identity.selection, Selection::built_in());
    let headers = selection.headers.iter();
    let headers = headers.map(|(name, _)| Part::Header(name.clone()));
    let cookies = selection.cookies.iter();
    let parts = headers.chain(cookies.map(|(name, _)| Part::Cookie(name.clone())));
    parts.filter(move |part| !selection.counts(part) && known.names_caller(part))
}

/// How a call of a browser is told from one of another site.
fn origins(config: &Config) -> Option<Note> {
    let answers = config
        .events
        .iter()
        .any(|route| route.configured.mode == Mode::Coalesce);
    let listed = match &config.identity.cors {
        Some(cors) => format!("beside {}", cors.origins.join(", ")),
        None => "alone (no [cors] origins)".to_owned(),
    };
    // Without a list all that is saved hangs on it.
    let grade = if config.identity.cors.is_none() {
        loud
    } else {
        quiet
    };
    answers.then(|| {
        grade(format!(
            "browsers' calls are answered from the host's own origin {listed}: a front before \
             Tidegate must pass Host on, or say it in X-Forwarded-Host, else every browser's write \
             counts as cross-origin and is forwarded"
        ))
    })
}
