//! `[shadow]`: where batches go of routes in mode `shadow`, and how what they do is compared.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::problem::Position;
use crate::config::readers::application_url;
use crate::config::section::Section;
use crate::migration::shadow::{ShadowSettings, StateSettings};
use crate::template::{Path, Source, Template};

keys! {
    "[shadow]";
    /// where batches are sent, without a path: a copy of the application, such as its staging. It
    /// gets events of real users under their own credentials. Without it nobody is asked (dry run):
    /// batches are made and checked, acknowledgements are compared, and what the batch endpoint
    /// would say isn't known
    URL = Key::without("url", Said(r#"address: `"http://HOST:PORT"`, `"https://HOST"`"#), "none: dry run");
    /// `url` is the application of `[upstream]` itself, and to take an event twice, once by its
    /// single call and once in a batch, changes nothing there, since it goes by the event's id.
    /// Without it such a `url` is refused: every event would count twice
    WRITES_ARE_IDEMPOTENT = Key::with("writes_are_idempotent", Flag, "false");
    /// `true`: `url` is sent the client's `Host`. Where one front serves staging and production by name,
    /// that would reach production
    PRESERVE_HOST = Key::with("preserve_host", Flag, "false");
    /// `true`: `url` may have the address of the application under another name, since a front there
    /// tells the two apart by it. Without it that is an error in the log when the first call is copied,
    /// and all copies are shed: names are resolved then, not by `check`
    SHARES_ADDRESS = Key::with("shares_address", Flag, "false");
    /// what copies of calls and the events of batches may take in memory, half of it each; calls
    /// beyond it are shed from the comparison, and told
    MAX_BYTES = Key::text("max_bytes", Size, "32MiB");
    /// places in answers that are not compared, as JSON Pointers or names
    IGNORE = Key::with("ignore", Said("list of places"), "[]");
    /// fewest compared events for a verdict
    MIN_EVENTS = Key::with("min_events", Number(1, 1_000_000_000), "1_000");
    /// largest rate of disagreement that is a go; the upper end of a 95 % confidence interval must be
    /// below it, so that `0.001` needs 3,000 events without any
    MAX_RATE = Key::with("max_rate", Said("number above 0, 1 at most"), "0.001");
    /// paths of GETs by which the states of a user are compared, at the application and at `url`,
    /// over `{user}`; needs a `url` that isn't the application. Each look asks the application twice
    STATE = Key::with("state", Said("list of paths"), "[]");
    /// places in states that are not compared
    STATE_IGNORE = Key::with("state_ignore", Said("list of places"), "[]");
    /// users whose states are looked at at a time
    STATE_USERS = Key::with("state_users", Number(1, 1_000), "20");
    /// how long nothing of a user may have come before its states are compared
    STATE_QUIET = Key::text("state_quiet", Duration, "10s");
}

/// What the section says, and where it says what another one may speak against.
pub(in crate::config) struct Shadow {
    pub(in crate::config) settings: ShadowSettings,
    pub(in crate::config) may_be_application: bool,
    pub(in crate::config) url: Position,
    pub(in crate::config) idempotent: Position,
    pub(in crate::config) shares_address: Position,
    pub(in crate::config) state: Position,
}

pub(super) fn read(section: Section<'_>) -> Shadow {
    let shadow = Shadow {
        settings: ShadowSettings {
            url: section.compiled(&URL, application_url),
            is_application: false,
            shares_address: section.flag(&SHARES_ADDRESS),
            preserve_host: section.flag(&PRESERVE_HOST),
            max_bytes: section.memory_size(&MAX_BYTES),
            ignore: section.compiled_list(&IGNORE, place_of).unwrap_or_default(),
            min_events: section.maybe_number(&MIN_EVENTS).unwrap_or_default(),
            max_rate: read_rate(&section),
            states: StateSettings {
                paths: section.compiled_list(&STATE, path_of).unwrap_or_default(),
                ignore: section
                    .compiled_list(&STATE_IGNORE, place_of)
                    .unwrap_or_default(),
                users: section.number(&STATE_USERS),
                quiet: section.duration(&STATE_QUIET),
            },
        },
        may_be_application: section.flag(&WRITES_ARE_IDEMPOTENT),
        url: section.position(&URL),
        idempotent: section.position(&WRITES_ARE_IDEMPOTENT),
        shares_address: section.position(&SHARES_ADDRESS),
        state: section.position(&STATE),
    };
    section.finish();
    shadow
}

fn place_of(text: &str) -> Result<Path, String> {
    if text.is_empty() {
        Err("found an empty text; allowed is a name, or a JSON Pointer such as \"/data/at\"".into())
    } else {
        Ok(Path::parse(text))
    }
}

fn path_of(text: &str) -> Result<Template, String> {
    if !text.starts_with('/') {
        return Err("a path starts with \"/\"".into());
    }
    Template::parse(text, &[Source::User]).map_err(|error| error.to_string())
}

fn read_rate(section: &Section<'_>) -> f64 {
    let Some(rate) = section.float(&MAX_RATE) else {
        return 0.0;
    };
    if !(rate > 0.0 && rate <= 1.0) {
        section.wrong_key(
            &MAX_RATE,
            format!("found {rate}; allowed are numbers above 0, up to 1"),
        );
    }
    rate
}
