//! The keys of `[batch.NAME]`.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::{ENV, FILE};

/// Of a condition in `flush_on`.
pub(super) mod condition {
    use crate::config::key::{Key, Kind::Said, keys};
    keys! {
        /// seals where the number is at least this
        AT_LEAST = Key::without("at_least", Said("number"), "this or `set`");
        /// seals where there is something that is neither `null` nor `""`
        SET = Key::without("set", Said("true"), "this or `at_least`");
    }
}

/// Of `reply`.
pub(super) mod reply {
    use crate::config::key::{
        Key,
        Kind::{Number, Said},
        keys,
    };
    keys! {
        STATUS = Key::with("status", Number(200, 299), "200");
        /// a document of templates over `batch`, `request_id` and the head
        BODY = Key::without("body", Said("document"), "`accepted`, `duplicates`, `failed`");
    }
}

/// Of `success`.
pub(super) mod success {
    use crate::config::key::{Key, Kind::Said, keys};
    keys! {
        /// where in the reply
        POINTER = Key::without("pointer", Said("place"), "needed");
        /// what must stand there: one of these
        EQUALS = Key::without("equals", Said("value, list of values"), "needed");
    }
}

/// Of `service_credential`.
pub(super) mod service {
    use crate::config::key::{Key, Kind::Said, keys};
    keys! {
        /// the header that it goes in
        HEADER = Key::without("header", Said("name of a header"), "needed");
    }
}

/// Of `results`.
pub(super) mod results {
    use crate::config::key::{
        Key,
        Kind::{OneOf, Said},
        keys,
    };
    keys! {
        /// the list of ids that were taken
        ACCEPTED = Key::without("accepted", Said("place"), "at the top, or under `data`");
        /// the list of ids that were there already
        DUPLICATES = Key::without("duplicates", Said("place"), "at the top, or under `data`");
        /// the list of what was refused
        FAILED = Key::without("failed", Said("place"), "at the top, or under `data`");
        /// the id in an entry of a list: the first that is an event's
        ID = Key::without("id", Said("list of names"), "`id_field`, then `id`, `clientEventId`");
        /// the reason in an entry of `failed`
        REASON = Key::with("reason", Said("list of names"), r#"["reason"]"#);
        /// what an id in no list is
        MISSING = Key::text("missing", OneOf(&["retry", "duplicate", "accepted"]), "retry");
        /// a list with an entry for each event, in the order of the batch
        IN_ORDER = Key::without("in_order", Said("place"), "none");
        /// the status in such an entry; `""` is the entry itself
        STATUS = Key::with_if("status", Said("place"), "with `in_order`", r#""status""#);
        /// statuses that say: taken
        ACCEPTED_VALUES = Key::with_if("accepted_values", Said("list of values"), "with `in_order`",
            r#"["accepted", "created", "ok", "success", "updated"]"#);
        /// statuses that say: there already
        DUPLICATE_VALUES = Key::with_if("duplicate_values", Said("list of values"), "with `in_order`",
            r#"["duplicate", "exists"]"#);
    }
}

keys! {
    "[batch.NAME]";
    /// the batch endpoint; a client's own batch comes here too
    PATH = Key::without("path", Said("path without segments, with a query if need be"), "this or `url`");
    /// a batch endpoint elsewhere
    URL = Key::without("url", Said(r#"`"http://…"`"#), "this or `path`");
    /// `"single"`: each event goes out as the single call that it is, on its own route; no `path`
    FORM = Key::text("form", OneOf(&["batch", "single"]), "batch");
    /// from a window's first event to its seal
    WINDOW = Key::text("window", Duration, "5s");
    /// events that seal a window; at most `max_events`
    FLUSH_AT = Key::with("flush_at", Number(1, 10_000), "10");
    /// of a batch
    MAX_EVENTS = Key::with("max_events", Number(1, 10_000), "25");
    /// of a batch as it is sent
    MAX_BYTES = Key::text("max_bytes", Said("size, 256 at least"), "64KiB");
    /// an event that is older, by its `time_field`, is forwarded; a delivered id is known that long
    MAX_AGE = Key::text("max_age", Duration, "24h");
    /// the event's id
    ID_FIELD = Key::text("id_field", Said("name"), "clientEventId");
    /// the event's time: Unix milliseconds, or ISO 8601
    TIME_FIELD = Key::text("time_field", Said("name"), "timestamp");
    /// `"hash"` of the whole call: method, target, principal, user and body
    MISSING_ID = Key::text("missing_id", OneOf(&["generate", "hash"]), "generate");
    /// an event that lacks one is forwarded
    REQUIRE = Key::with("require", Said("list of names, alternatives with `|`"), "[]");
    /// fields that must name the call's user; else it is forwarded
    SAME_USER = Key::with("same_user", Said("list of names"), "[]");
    /// fields put in lower case. If `identity.user` reads one of them as `event.NAME`, users are in
    /// lower case everywhere, in reads and tokens too
    LOWERCASE = Key::with("lowercase", Said("list of names"), "[]");
    /// numbers rounded and clamped to 0 to 100; what is no number is forwarded
    PERCENT = Key::with("percent", Said("list of names"), "[]");
    /// fields that differ from try to try of one event: the same id with other content is forwarded
    VOLATILE = Key::with("volatile", Said("list of names"), "[]");
    /// what Tidegate refuses itself, [see below](#forwarded-or-refused)
    REFUSE = Key::with("refuse", Said("list of reasons"), "[]");
    /// values that seal at once: a list, `{ at_least = 100 }`, `{ set = true }`
    FLUSH_ON = Key::with(
        "flush_on",
        Members("PLACE", "table of places", &[&condition::AT_LEAST, &condition::SET]),
        "{}",
    );
    /// a step since the last one sent of the same `key` that seals at once
    FLUSH_ON_CHANGE = Key::with("flush_on_change", Said("table of places and numbers"), "{}");
    /// priority events there seal this group's window too
    FLUSH_WITH = Key::with("flush_with", Said("list of groups"), "[]");
    /// what an event tells the state of, for `keep = "newest"` and `flush_on_change`; an event that
    /// lacks a part tells the state of nothing
    KEY = Key::with(
        "key",
        Said(
            "list of places in the event, alternatives with `|`, or templates over `body`, `event`, \
             `path`, `query`, `header`, `cookie`, `jwt`, `user`",
        ),
        "[]",
    );
    /// `"newest"`: of a window only the newest event of each `key` is sent, and every priority event.
    /// With `form = "single"` and without a `key`, of each route
    KEEP = Key::text("keep", OneOf(&["all", "newest"]), "all");
    /// a batch ends before it would hold a value twice
    DISTINCT = Key::with("distinct", Said("list of places"), "[]");
    /// tags that an event makes old
    INVALIDATES = Key::with("invalidates", Said("list of templates over `user`, `event` and the \
        head"), "[]");
    /// an event that no batch takes: the single call that it was, or a dead letter
    FALLBACK = Key::text("fallback", OneOf(&["single", "dead-letter"]), "single");
    /// of an event that a reply calls failed
    MAX_ATTEMPTS = Key::with("max_attempts", Number(1, 1_000), "8");
    /// reasons of `failed` that no retry can cure
    PERMANENT = Key::with("permanent", Said("list of words"), r#"["validation_error"]"#);
    /// a client's own batch
    CLIENT_BATCHES = Key::without(
        "client_batches",
        OneOf(&["take-apart", "forward"]),
        r#"`"take-apart"`; `"forward"` with an `envelope`"#,
    );
    /// other names of fields in a client's own batch
    ALIASES = Key::with("aliases", Said("table of lists of names"), "{}");
    /// the answer to a client's own batch
    REPLY = Key::without("reply", Table(&[&reply::STATUS, &reply::BODY]), "");
    /// what a batch has around its events
    ENVELOPE = Key::without(
        "envelope",
        Said(r#"document with `"{events}"` in it once"#),
        r#"plain: `{ events = "{events}" }`"#,
    );
    /// headers of every batch
    HEADERS = Key::with("headers", Members("NAME", "table of templates or secrets", &[&ENV, &FILE]), "{}");
    /// where a reply speaks of single events: [delivery.md](delivery.md)
    RESULTS = Key::without("results", Table(&[
        &results::ACCEPTED,
        &results::DUPLICATES,
        &results::FAILED,
        &results::ID,
        &results::REASON,
        &results::MISSING,
        &results::IN_ORDER,
        &results::STATUS,
        &results::ACCEPTED_VALUES,
        &results::DUPLICATE_VALUES,
    ]), "");
    /// what makes a 2xx a success
    SUCCESS = Key::without("success", Table(&[&success::POINTER, &success::EQUALS]), "none");
    /// `"shared"`: sealed windows of different users in common batches
    PACK = Key::text("pack", OneOf(&["user", "shared"]), "user");
    /// how long they wait for one another
    PACK_WAIT = Key::with_if("pack_wait", Duration, "with `\"shared\"`", r#""1s""#);
    /// in place of the events' own
    SERVICE_CREDENTIAL = Key::without(
        "service_credential",
        Table(&[&service::HEADER, &ENV, &FILE]),
        r#"needed with `"shared"`"#,
    );
}
