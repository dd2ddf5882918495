//! `[limits]`: how much is kept, of one caller and of all.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;
use crate::ingest::settings::{Limits, Rate};
use crate::memory;

keys! {
    /// events
    RATE = Key::with("rate", Number(1, 1_000_000), "8");
    /// in this time
    PER = Key::text("per", Duration, "1s");
    /// events at once
    BURST = Key::without("burst", Number(1, 1_000_000), "four times `rate`");
}

keys! {
    "[limits]";
    /// a bucket for each user whose name is a claim of its token, once the caller is known to be
    /// good in the group, on all devices; for each name of another good caller, an eighth of all
    /// at most; for each caller that nothing speaks for, by its token alone where that names its
    /// user
    EVENTS_PER_USER = Key::without("events_per_user", Table(&[&RATE, &PER, &BURST]), "none");
    /// principals and users that are remembered
    MAX_USERS = Key::with("max_users", Number(1, 100_000_000), "1_000_000");
    /// users with pending events, by group and fingerprint; the oldest window is sealed
    MAX_LANES = Key::with("max_lanes", Number(1, 100_000_000), "100_000");
    /// pending events of one user of one caller in one group
    MAX_LANE_EVENTS = Key::with("max_lane_events", Number(1, 1_000_000_000), "10_000");
    /// ids that are remembered after delivery; the oldest go first
    MAX_SEEN = Key::with("max_seen", Number(1, 1_000_000_000), "1_000_000");
    /// beyond it, or beyond a quarter of `journal.max_bytes`, the oldest are dropped, and counted;
    /// of callers that nothing speaks for first, where these have more than half
    MAX_DEAD_LETTERS = Key::with("max_dead_letters", Number(1, 10_000_000), "10_000");
    /// older ones are dropped, and counted
    DEAD_LETTER_AGE = Key::text("dead_letter_age", Duration, "30d");
    /// the body of an event call, unpacked; a larger one streams through
    MAX_BODY = Key::text("max_body", Size, "1MiB");
    /// heads that one principal's pending calls share
    MAX_CONTEXT_BYTES = Key::text("max_context_bytes", Size, "256KiB");
    /// bodies in memory, of all calls and stored answers on their way; one principal has a quarter
    MAX_BODY_MEMORY = Key::text("max_body_memory", Said("size, 1 MiB at least"), "128MiB");
}

pub(super) fn read(section: Section<'_>) -> Limits {
    let settings = Limits {
        events_per_user: read_rate(&section),
        max_users: section.number(&MAX_USERS),
        max_lanes: section.number(&MAX_LANES),
        max_lane_events: section.number(&MAX_LANE_EVENTS),
        max_seen: section.number(&MAX_SEEN),
        max_dead_letters: section.number(&MAX_DEAD_LETTERS),
        dead_letter_age: section.duration(&DEAD_LETTER_AGE),
        max_body: section.memory_size(&MAX_BODY),
        max_context_bytes: section.memory_size(&MAX_CONTEXT_BYTES),
        max_body_memory: section.size(&MAX_BODY_MEMORY),
    };
    if settings.max_body_memory < memory::LEAST {
        let text = "1MiB at least is allowed: a caller's share of less would hold no body";
        section.wrong_key(&MAX_BODY_MEMORY, text);
    }
    section.finish();
    settings
}

fn read_rate(section: &Section<'_>) -> Option<Rate> {
    section.get(&EVENTS_PER_USER)?;
    let table = section.section(&EVENTS_PER_USER);
    let rate: u32 = table.number(&RATE);
    let burst = table
        .maybe_number(&BURST)
        .and_then(|burst| burst.try_into().ok())
        .unwrap_or(rate * 4);
    let value = Rate {
        rate,
        per: table.duration(&PER),
        burst,
    };
    if value.per.as_nanos() < u128::from(rate) {
        let text = format!(
            "found {:?} for {rate} events; a nanosecond for each is the least",
            value.per
        );
        table.wrong_key(&PER, text);
    }
    table.finish();
    Some(value)
}
