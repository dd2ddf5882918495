//! `[delivery]`: how batches are brought to the application.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;
use crate::ingest::settings::{Backoff, Delivery, Limited};

mod server {
    use crate::config::key::{Key, Kind::Duration, keys};
    keys! {
        /// the first pause is this long at most
        BASE = Key::text("base", Duration, "2s");
        /// no pause is longer
        CAP = Key::text("cap", Duration, "30s");
    }
}

mod limited {
    use crate::config::key::{Key, Kind::Duration, keys};
    keys! {
        /// at least this
        BASE = Key::text("base", Duration, "5s");
        /// up to this more
        JITTER = Key::text("jitter", Duration, "2s");
    }
}

keys! {
    "[delivery]";
    /// one attempt, until the whole reply is there
    TIMEOUT = Key::text("timeout", Duration, "10s");
    /// batches at once, over all groups; at most a quarter of `upstream.max_connections`
    MAX_IN_FLIGHT = Key::with("max_in_flight", Number(1, 65_536), "64");
    /// the last one repeats
    RETRY_NETWORK = Key::with("retry_network", Said("list of durations"), r#"["2s", "5s", "10s", "20s"]"#);
    /// 5xx and failed events: exponential, full jitter
    RETRY_SERVER = Key::without("retry_server", Table(&[&server::BASE, &server::CAP]), "");
    /// 429; a longer `Retry-After` wins
    RETRY_LIMITED = Key::without("retry_limited", Table(&[&limited::BASE, &limited::JITTER]), "");
    /// 5xx in a row, of two good callers at least: one request of the group at a time
    ESCALATE_AFTER = Key::with("escalate_after", Number(1, 10_000), "3");
    /// then a dead letter
    GIVE_UP_AFTER = Key::text("give_up_after", Duration, "24h");
    /// a window is sealed this long before its token expires; a token that ends sooner makes its
    /// call forwarded
    TOKEN_MARGIN = Key::without("token_margin", Duration, "`timeout`");
    /// how long a read waits for its user's events
    BARRIER = Key::text("barrier", Duration, "500ms");
}

/// The shortest pause before another attempt: with less an application that is away costs a processor.
const SHORTEST_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

pub(super) fn read(section: Section<'_>) -> Delivery {
    let timeout = section.duration(&TIMEOUT);
    let settings = Delivery {
        timeout,
        max_in_flight: section.number(&MAX_IN_FLIGHT),
        retry_network: section.durations(&RETRY_NETWORK),
        retry_server: read_backoff(&section),
        retry_limited: read_limited(&section),
        escalate_after: section.number(&ESCALATE_AFTER),
        give_up_after: section.duration(&GIVE_UP_AFTER),
        token_margin: section.maybe_duration(&TOKEN_MARGIN).unwrap_or(timeout),
        barrier: section.duration(&BARRIER),
    };
    if let Some(shortest) = settings.retry_network.iter().min()
        && *shortest < SHORTEST_PAUSE
    {
        let text = format!("found {shortest:?}; at least {SHORTEST_PAUSE:?} is allowed");
        section.wrong_key(&RETRY_NETWORK, text);
    }
    let void = "is void: what the calls of a batch share travels with it, and each single call is \
        repeated as it came";
    section.refuse_gone("forward_headers", void);
    section.finish();
    settings
}

fn read_backoff(section: &Section<'_>) -> Backoff {
    let table = section.section(&RETRY_SERVER);
    let backoff = Backoff {
        base: table.duration(&server::BASE),
        cap: table.duration(&server::CAP),
    };
    if backoff.base > backoff.cap {
        section.wrong_key(&RETRY_SERVER, "base is longer than cap");
    }
    table.finish();
    backoff
}

fn read_limited(section: &Section<'_>) -> Limited {
    let table = section.section(&RETRY_LIMITED);
    let limited = Limited {
        base: table.duration(&limited::BASE),
        jitter: table.duration(&limited::JITTER),
    };
    table.finish();
    limited
}
