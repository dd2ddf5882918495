//! What `tidegate check` says will be lost, left to the application or never done.

use crate::support::Sidecar;
use tidegate::config::{parse, print};

const PLAIN: &str = "[upstream]\nurl = \"http://127.0.0.1:1\"\n";
const BATCH: &str = "[batch.b]\npath = \"/batch\"\ninvalidates = [\"t:{user}\"]\n";
const EVENT: &str = "[[event]]\npath = \"/e\"\nbatch = \"b\"\nevent = { userId = \"{body.user}\", \
    \"...\" = \"{body.*}\" }\n";
const READ: &str = "[[cache]]\npath = \"/r\"\nttl = \"1s\"\ntags = [\"t:{user}\"]\n";

/// What is said of [`PLAIN`] and these parts.
fn said(parts: &[&str]) -> String {
    let text = format!("{PLAIN}{}", parts.concat());
    print::table(
        &parse(&text, "config.toml", std::iter::empty())
            .unwrap_or_else(|problems| panic!("{problems}")),
    )
}

fn lines<'a>(said: &'a str, grade: &str) -> Vec<&'a str> {
    said.lines()
        .filter_map(|line| line.strip_prefix(grade)?.strip_prefix(": "))
        .collect()
}

fn has(said: &str, grade: &str, wanted: &str) {
    assert!(
        lines(said, grade).iter().any(|line| line.contains(wanted)),
        "{grade}: {wanted}\nis not in\n{said}"
    );
}

fn lacks(said: &str, what: &str) {
    assert!(!said.contains(what), "{what}\nis in\n{said}");
}

#[test]
fn members_that_no_mapping_names_are_told_by_route_unless_the_rest_is_taken_along() {
    let named = "[[event]]\npath = \"/e/{id}\"\nbatch = \"b\"\nevent = { userId = \"{body.user}\", \
        at = \"{body.d.at|body.user}\" }\n";
    let found = said(&[BATCH, named]);
    has(
        &found,
        "note",
        "POST /e/{id}: of a body only d.at, user reaches batch b; other members are left out",
    );
    has(&found, "note", "tidegate_unmapped_members_total");
    has(
        &found,
        "WARNING",
        "POST /e/{id}: {path.id} of its path is in no event of batch b",
    );
    for whole in [EVENT, "[[event]]\npath = \"/e\"\nbatch = \"b\"\n"] {
        lacks(&said(&[BATCH, whole]), "left out");
    }
    let with_path = named.replace("at =", "id = \"{path.id}\", at =");
    lacks(&said(&[BATCH, &with_path]), "of its path");
    let latest = "[batch.b]\nform = \"single\"\n";
    lacks(&said(&[latest, named]), "left out");
}

#[test]
fn a_route_whose_events_lack_what_its_group_requires_is_told() {
    let group = format!("{BATCH}require = [\"clientEventId\", \"lesson|course\"]\n");
    let event = "[[event]]\npath = \"/e\"\nbatch = \"b\"\nevent = { userId = \"{body.user}\" }\n";
    let found = said(&[&group, event]);
    has(
        &found,
        "WARNING",
        "POST /e: every call is forwarded: batch b requires lesson or course",
    );
    lacks(
        &said(&[&group, &event.replace("userId", "course")]),
        "requires",
    );
    lacks(&said(&[&group, EVENT]), "requires");
}

#[test]
fn a_route_whose_user_cannot_be_known_is_told() {
    let event = "[[event]]\npath = \"/e\"\nbatch = \"b\"\nevent = { who = \"{body.user}\" }\n";
    let by = |user: &str| format!("[identity]\nuser = \"{user}\"\n");
    let found = said(&[&by("{event.userId|path.user}"), BATCH, event]);
    has(
        &found,
        "WARNING",
        "POST /e: every call is forwarded: identity.user = \"{event.userId|path.user}\" finds \
         nothing",
    );
    has(&found, "WARNING", "(its events have who)");
    for user in [
        "{event.who}",
        "{path.user|header.x-user}",
        "{jwt.sub}",
        "u-{event.who}",
    ] {
        lacks(&said(&[&by(user), BATCH, event]), "every call is forwarded");
    }
    let no_token = "[identity]\nuser = \"{jwt.sub}\"\ntoken = []\n";
    has(
        &said(&[no_token, BATCH, event]),
        "WARNING",
        "POST /e: every call is forwarded: identity.user",
    );
    // It may be known, and may not.
    let maybe = "a call in which identity.user = \"{jwt.sub|query.u}\" finds nothing is forwarded";
    has(
        &said(&[&by("{jwt.sub|query.u}"), BATCH, event]),
        "note",
        maybe,
    );
    lacks(
        &said(&[
            &format!("{}require = [\"jwt\"]\n", by("{jwt.sub|query.u}")),
            BATCH,
            event,
        ]),
        maybe,
    );
}

#[test]
fn a_requirement_that_no_read_meets_is_said_to_keep_the_cache_out() {
    let identity = |lines: &str| format!("[identity]\nuser = \"{{jwt.sub}}\"\n{lines}\n");
    let never = "GET /r: never answered from the cache where a browser reads from the host's own \
                 origin: identity.require names ";
    for (lines, named) in [
        (
            "require = [\"jwt\", \"header:origin\"]",
            "header:origin, which",
        ),
        (
            "require = [\"header:x-csrf-token|header:x-xsrf-token\"]",
            "header:x-csrf-token or header:x-xsrf-token, which",
        ),
        (
            "require = [\"header:x-own\"]\nconditions = [\"header:x-own\"]",
            "header:x-own, which",
        ),
        (
            "require = [\"header:origin\"]\ncredentials = [\"header:authorization\", \
             \"header:origin\"]",
            "header:origin, which",
        ),
    ] {
        has(
            &said(&[&identity(lines), BATCH, EVENT, READ]),
            "WARNING",
            &format!("{never}{named}"),
        );
        lacks(
            &said(&[&identity(lines), BATCH, EVENT]),
            "never answered from the cache",
        );
    }
    for lines in [
        "require = [\"jwt\", \"cookie:csrf_token\"]",
        "require = [\"header:origin|cookie:sid\"]",
        "require = [\"header:user-agent\", \"header:x-own\"]",
        "double_submit = [\"cookie:csrf_token\", \"header:x-csrf-token\"]",
    ] {
        lacks(
            &said(&[&identity(lines), BATCH, EVENT, READ]),
            "never answered from the cache",
        );
    }
}

#[tokio::test]
async fn reads_without_a_required_origin_pass_the_cache_as_check_says() {
    let required = (
        "credentials = [\"header:authorization\"]\n",
        "require = [\"header:origin\"]\n",
    );
    let sidecar = Sidecar::start(&[required]).await;
    for _ in 0..2 {
        let read = sidecar.get("t", "/progress?userId=u").await;
        assert!(
            read.header("cache-status")
                .contains("fwd=bypass; detail=requirement"),
            "{read:?}"
        );
    }
    assert_eq!(sidecar.upstream.seen().len(), 2);
}

#[test]
fn a_read_whose_tags_cannot_be_told_is_said_to_pass_the_cache() {
    let only_events = "[identity]\nuser = \"{event.userId}\"\n";
    let found = said(&[only_events, BATCH, EVENT, READ]);
    has(
        &found,
        "WARNING",
        "GET /r: never answered from the cache: no read tells what its tag \"t:{user}\" needs",
    );
    let found = said(&[BATCH, EVENT, READ]);
    lacks(&found, "never answered from the cache");
    has(&found, "note", "GET /r: a read in which identity.user = ");
    lacks(
        &said(&["[identity]\nrequire = [\"jwt\"]\n", BATCH, EVENT, READ]),
        "passes the cache",
    );
    let named = READ.replace("/r", "/r/{u}");
    lacks(
        &said(&[
            "[identity]\nuser = \"{path.u|event.userId}\"\n",
            BATCH,
            EVENT,
            &named,
        ]),
        "passes the cache",
    );
    let unnamed = READ.replace("t:{user}", "t:{path.u}");
    has(
        &said(&[BATCH, &unnamed]),
        "WARNING",
        "GET /r: never answered from the cache",
    );
}

#[test]
fn a_tag_that_nothing_makes_old_or_that_nothing_carries_is_told() {
    let other = READ.replace("t:{user}", "u:{user}");
    let found = said(&[BATCH, EVENT, &other]);
    has(
        &found,
        "WARNING",
        "GET /r: no batch and no [[write]] makes its tag \"u:{user}\" old",
    );
    has(
        &found,
        "note",
        "no [[cache]] route carries the tag \"t:{user}\"",
    );
    let write = "[[write]]\npath = \"/w\"\ninvalidates = [\"u:{user}\"]\n";
    lacks(
        &said(&[BATCH, EVENT, &other, write]),
        "no batch and no [[write]]",
    );
    let both = said(&[BATCH, EVENT, READ]);
    lacks(&both, "no [[cache]] route carries");
    lacks(&both, "no batch and no [[write]]");
    // `t:{user}` can't be `t:{user}:{course}`, and `all:courses` can be `all:{event.kind}`.
    let finer = BATCH.replace(
        "\"t:{user}\"",
        "\"t:{user}:{event.course}\", \"all:{event.kind}\"",
    );
    let found = said(&[
        &finer,
        EVENT,
        READ,
        &READ
            .replace("/r", "/all")
            .replace("t:{user}", "all:courses"),
    ]);
    has(
        &found,
        "WARNING",
        "GET /r: no batch and no [[write]] makes its tag \"t:{user}\" old",
    );
    has(
        &found,
        "note",
        "no [[cache]] route carries the tag \"t:{user}:{event.course}\"",
    );
    lacks(&found, "GET /all: no batch");
    lacks(&found, "carries the tag \"all:");
}

#[test]
fn rules_that_shadow_one_another_are_told() {
    let never = |first: &str, second: &str| {
        format!("[[event]] 2 {second} is never reached: [[event]] 1 {first} takes its calls first")
    };
    let event = |more: &str| format!("[[event]]\nbatch = \"b\"\n{more}\n");
    let plain = event("path = \"/e\"");
    let matching = |kind: &str| event(&format!("path = \"/e\"\nmatch = {{ kind = [{kind}] }}"));
    has(
        &said(&[BATCH, &plain, &matching("\"a\"")]),
        "WARNING",
        &never("POST /e", "POST /e"),
    );
    lacks(&said(&[BATCH, &matching("\"a\""), &plain]), "never reached");
    lacks(
        &said(&[BATCH, &matching("\"a\""), &matching("\"b\"")]),
        "never reached",
    );
    has(
        &said(&[BATCH, &matching("\"a\", \"b\""), &matching("\"b\"")]),
        "WARNING",
        "never reached",
    );
    lacks(
        &said(&[BATCH, &plain, &event("path = \"/e\"\nmethod = \"PUT\"")]),
        "never reached",
    );
    // Patterns: the first that matches decides. Exact paths come before them.
    let (wide, narrow) = (
        event("path = \"/e/{*rest}\""),
        event("path = \"/e/{id}/x\"\nmatch = { k = [1] }"),
    );
    has(
        &said(&[BATCH, &wide, &narrow]),
        "WARNING",
        &never("POST /e/{*rest}", "POST /e/{id}/x"),
    );
    lacks(&said(&[BATCH, &narrow, &wide]), "never reached");
    lacks(
        &said(&[BATCH, &wide, &event("path = \"/e/1\"")]),
        "never reached",
    );
    has(
        &said(&[BATCH, &event("path = \"/batch\"")]),
        "WARNING",
        "a client's own batch of [batch.b] is never reached: [[event]] 1 POST /batch takes its \
         calls first",
    );
    has(
        &said(&[BATCH, &plain, "[[write]]\npath = \"/e\"\n"]),
        "WARNING",
        "POST of [[write]] 1 /e is never reached: [[event]] 1 POST /e takes its calls first",
    );
    has(
        &said(&[READ, READ]),
        "WARNING",
        "[[cache]] 2 /r is never reached: [[cache]] 1 /r takes its calls first",
    );
    has(
        &said(&[BATCH, READ, "[preview]\npath = \"/r\"\nbatch = [\"b\"]\n"]),
        "WARNING",
        "[[cache]] 1 /r is never reached: [preview] /r takes its calls first",
    );
    lacks(&said(&[READ, &READ.replace("/r", "/R")]), "never reached");
    let relaxed = PLAIN.replace("url", "paths = \"relaxed\"\nurl");
    let text = format!("{relaxed}{READ}{}", READ.replace("/r", "/R"));
    has(
        &print::table(&parse(&text, "config.toml", std::iter::empty()).unwrap()),
        "WARNING",
        "[[cache]] 2 /R is never",
    );
    let second = BATCH.replace("batch.b", "batch.c");
    has(
        &said(&[BATCH, &second]),
        "WARNING",
        "[batch.b] and [batch.c] have one path /batch",
    );
}

#[test]
fn a_window_longer_than_the_oldest_event_is_told() {
    let found = said(&[&format!("{BATCH}window = \"2h\"\nmax_age = \"1h\"\n")]);
    has(
        &found,
        "WARNING",
        "batch b: window 7200s is longer than max_age 3600s",
    );
    lacks(
        &said(&[&format!("{BATCH}window = \"1h\"\nmax_age = \"1h\"\n")]),
        "is longer than max_age",
    );
}

#[test]
fn patience_that_a_window_outlasts_is_told() {
    let window = BATCH.replace("path =", "window = \"15m\"\npath =");
    let patience = |time: &str| format!("[delivery]\ngive_up_after = \"{time}\"\n");
    // The last pause after a failure is 20 s.
    let short = said(&[&window, &patience("15m 20s")]);
    has(
        &short,
        "WARNING",
        "delivery.give_up_after is 920s: where its first attempt fails",
    );
    lacks(&said(&[&window, &patience("15m 21s")]), "give_up_after");
}

#[test]
fn a_testers_header_that_a_front_may_pass_on_is_told() {
    let testers = "[migration]\ntester_header = \"x-tester\"\n";
    let found = said(&[BATCH, EVENT, testers]);
    has(
        &found,
        "WARNING",
        "migration.tester_header x-tester: a front among",
    );
    lacks(&said(&[BATCH, EVENT]), "tester");
}

#[test]
fn times_that_no_clock_can_tell_and_rates_that_are_no_limit_are_refused() {
    let refused = |text: &str| {
        let text = format!("{PLAIN}{text}");
        parse(&text, "config.toml", std::iter::empty())
            .unwrap_err()
            .to_string()
    };
    for (text, wanted) in [
        (
            "[server]\nheader_timeout = \"300000000000y\"\n",
            "at most 100 years",
        ),
        (
            "[delivery]\nretry_network = [\"1s\", \"1ns\"]\n",
            "found 1ns; at least 10ms",
        ),
        (
            "[limits]\nevents_per_user = { rate = 1_000_000, per = \"999us\" }\n",
            "found 999µs for 1000000 events",
        ),
    ] {
        let said = refused(text);
        assert!(said.contains(wanted), "{wanted}\nis not in\n{said}");
    }
}

#[test]
fn the_other_methods_of_an_event_routes_path_are_told() {
    let spaces = |said: &str| said.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let table = spaces(&said(&[BATCH, EVENT]));
    assert!(
        table.contains("others /e other methods go after the caller's events of b "),
        "{table}"
    );
    let declared = [
        "[[write]]\npath = \"/e\"\nmethod = [\"PATCH\"]\n",
        &READ.replace("/r", "/e"),
    ]
    .concat();
    let table = spaces(&said(&[BATCH, EVENT, &declared]));
    let wanted = "others /e other methods go after the caller's events of b; PATCH as its [[write]] \
        says; GET from the cache";
    assert!(table.contains(wanted), "{table}");
    let alone = spaces(&said(&[BATCH, &format!("{EVENT}alone = true\n")]));
    assert!(
        alone.contains(
            "others /e other methods pass through at once, beside what is pending (alone)"
        ),
        "{alone}"
    );
    lacks(
        &said(&[BATCH, &format!("{EVENT}mode = \"off\"\n")]),
        "others",
    );
}

#[test]
fn credentials_that_miss_what_is_required_are_told() {
    let require =
        "require = [\"header:x-key|cookie:sid\"]\ndouble_submit = [\"cookie:c\", \"header:x-c\"]\n";
    let found = said(&[
        "[identity]\ncredentials = [\"cookie:sid\", \"cookie:c\"]\n",
        require,
    ]);
    has(
        &found,
        "WARNING",
        "identity.require names header:x-key, which identity.credentials lacks",
    );
    has(
        &found,
        "WARNING",
        "identity.double_submit names header:x-c, which identity.credentials lacks",
    );
    lacks(&found, "names cookie:");
    has(
        &said(&["[identity]\ncredentials = [\"cookie:sid\"]\nrequire = [\"jwt\"]\n"]),
        "WARNING",
        "identity.token names header:authorization, which identity.credentials lacks",
    );
    let found = said(&["[identity]\nignore = [\"header:x-key\"]\n", require]);
    has(
        &found,
        "WARNING",
        "identity.require names header:x-key, which identity.ignore takes out",
    );
    lacks(&said(&["[identity]\n", require]), "identity.require names");
    has(
        &said(&["[identity]\ncredentials = [\"cookie:sid\"]\n"]),
        "WARNING",
        "identity.user is a claim of header:authorization, which identity.credentials lacks",
    );
    let by_event = "user = \"{event.userId}\"\n";
    let ignoring = |parts: &str| said(&[&format!("[identity]\nignore = [{parts}]\n"), by_event]);
    let found = ignoring(
        "\"header:authorization\", \"cookie:session\", \"header:x-tenant\", \"cookie:theme\"",
    );
    for part in ["header:authorization", "cookie:session"] {
        let wanted = format!("identity.ignore takes out {part}, which says who calls");
        has(&found, "WARNING", &wanted);
    }
    lacks(&found, "takes out header:x-tenant");
    lacks(&found, "takes out cookie:theme");
    let found = said(&["[identity]\ncredentials = [\"cookie:sid\"]\n", by_event]);
    assert!(
        found.contains("note: identity.credentials lacks header:authorization: calls"),
        "{found}"
    );
    let both = "[identity]\ncredentials = [\"cookie:sid\", \"header:authorization\"]\n";
    lacks(&said(&[both, by_event]), "identity.credentials lacks");
}

#[test]
fn whom_a_call_is_believed_to_come_from_is_told() {
    let own = "browsers' calls are answered from the host's own origin alone (no [cors] origins)";
    has(&said(&[BATCH, EVENT]), "WARNING", own);
    lacks(&said(&[BATCH]), "the host's own origin alone");
    let cors = "[cors]\norigins = [\"https://app.example\"]\n";
    has(
        &said(&[cors, BATCH, EVENT]),
        "note",
        "from the host's own origin beside https://app.example: a front",
    );
    has(
        &said(&[]),
        "note",
        "what a program on this machine says in X-Forwarded-* and Forwarded is believed",
    );
    let open = "[server]\nlisten = \"0.0.0.0:8080\"\n";
    has(
        &said(&[open]),
        "WARNING",
        "server.listen 0.0.0.0:8080 is open to other machines",
    );
    let listed = |list: &str| said(&[open, "trusted_proxies = ", list, "\n"]);
    has(
        &listed("[\"10.0.0.7\", \"loopback\"]"),
        "WARNING",
        "what a program on this machine says",
    );
    lacks(&listed("[\"10.0.0.7\"]"), "trusted_proxies");
    lacks(&listed("[]"), "trusted_proxies");
}

#[test]
fn what_a_group_refuses_by_itself_and_what_a_call_needs_is_told() {
    let refusing = format!("{BATCH}refuse = [\"too_many_events\", \"too_old\"]\n");
    let found = said(&[&refusing]);
    assert!(
        found.contains("; refuses by itself, and doesn't forward: too_many_events, too_old"),
        "{found}"
    );
    let identity = "[identity]\nforbid = [\"header:a unless header:b\"]\nclaims = { type = \
        [\"access\"] }\nrefresh = \"5m\"\n";
    let found = said(&[identity]);
    assert!(
        found.contains(
            "no header:a (unless with header:b), a token whose type, if it has one, is \"access\""
        ),
        "{found}"
    );
    assert!(
        found.contains("one call of each caller is forwarded every 300s, for its session"),
        "{found}"
    );
}

#[test]
fn the_shipped_configuration_has_nothing_loud_to_say() {
    let shipped = print::table(
        &parse(
            include_str!("../../config.toml"),
            "config.toml",
            std::iter::empty(),
        )
        .unwrap(),
    );
    assert_eq!(lines(&shipped, "WARNING"), Vec::<&str>::new());
    has(
        &shipped,
        "note",
        "POST /api/client/progress/lesson: of a body only client_event_id, clientEventId,",
    );
}

/// Without a word on `drains`, a `[[write]]` on the path of an event route goes after the events,
/// as any other method.
#[tokio::test]
async fn a_declared_write_on_an_event_routes_path_goes_after_the_callers_events() {
    let write = "path = \"/event\"\nmethod = [\"DELETE\"]\ninvalidates";
    let sidecar = Sidecar::start(&[(
        "path = \"/snapshot\"\ndrains = [\"progress:{user}\"]\ninvalidates",
        write,
    )])
    .await;
    sidecar.event("Bearer a", "ada", "1").await;
    let found = sidecar
        .call(
            http::Method::DELETE,
            "/event",
            &[("authorization", "Bearer a")],
            "",
        )
        .await;
    assert_eq!(found.status.as_u16(), 200);
    let paths = sidecar.upstream.paths();
    assert_eq!(paths, ["/batch", "/event"]);
    sidecar.running.stop().await;
}

/// A mapping that takes one member of a member leaves the rest of it to `"..."`.
#[tokio::test]
async fn a_member_of_which_the_mapping_takes_a_part_is_taken_along_whole() {
    let mapped = "lessonId = \"{body.lesson}\", percent";
    let nested = "lessonId = \"{body.about.lesson}\", \"...\" = \"{body.*}\", percent";
    let sidecar = Sidecar::start(&[(mapped, nested)]).await;
    let body = r#"{"id":"1","user":"ada","about":{"lesson":"l","chapter":7},"note":[1]}"#;
    let headers = [
        ("authorization", "Bearer a"),
        ("content-type", "application/json"),
    ];
    let found = sidecar
        .call(http::Method::POST, "/event", &headers, body)
        .await;
    assert_eq!(found.status.as_u16(), 202, "{found:?}");
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let seen = sidecar.upstream.seen();
    let sent: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    let event = &sent["events"][0];
    assert_eq!(
        (
            &event["lessonId"],
            &event["about"]["chapter"],
            &event["note"][0]
        ),
        (&"l".into(), &7.into(), &1.into())
    );
    sidecar.running.stop().await;
}

/// What is left of a member of which the mapping takes a part is counted where nothing takes it
/// along.
#[tokio::test]
async fn a_member_of_which_the_mapping_takes_a_part_is_counted_as_left_out() {
    let sidecar = Sidecar::start(&[("{body.lesson}", "{body.about.lesson}")]).await;
    let body = r#"{"id":"1","user":"ada","about":{"lesson":"l","chapter":7},"note":[1]}"#;
    let headers = [
        ("authorization", "Bearer a"),
        ("content-type", "application/json"),
    ];
    assert_eq!(
        sidecar
            .call(http::Method::POST, "/event", &headers, body)
            .await
            .status
            .as_u16(),
        202
    );
    assert_eq!(
        sidecar
            .counter("tidegate_unmapped_members_total{route=\"/event\"}")
            .await,
        2
    );
    sidecar.running.stop().await;
}

#[test]
fn a_write_whose_drains_meet_no_group_is_not_said_to_wait() {
    let write = "[[write]]\npath = \"/w\"\ndrains = [\"t:{user}\"]\n";
    let found = said(&[BATCH, EVENT, write]);
    assert!(
        found.contains("after the user's lanes are settled"),
        "{found}"
    );
    let found = said(&[BATCH, EVENT, &write.replace("\"t:", "\"other:")]);
    lacks(&found, "after the user's lanes are settled");
    assert!(
        found.contains("no group makes old what its drains names"),
        "{found}"
    );
}

#[test]
fn tokens_that_are_verified_and_not_asked_for_are_told() {
    let told =
        "identity.jwt verifies the tokens that calls have; a call without one is answered too";
    let jwt = "jwt = { jwks_url = \"http://127.0.0.1:9/keys\" }\n";
    has(&said(&["[identity]\n", jwt]), "note", told);
    lacks(&said(&["[identity]\nrequire = [\"jwt\"]\n", jwt]), told);
    lacks(&said(&[]), told);
}

/// Tags are the same in any letters.
#[test]
fn a_tag_in_other_letters_is_made_old_all_the_same() {
    let cache = |tag: &str| format!("[[cache]]\npath = \"/p\"\nttl = \"1m\"\ntags = [\"{tag}\"]\n");
    let old = "no batch and no [[write]] makes its tag";
    has(
        &said(&[BATCH, EVENT, &cache("other:{user}")]),
        "WARNING",
        old,
    );
    lacks(&said(&[BATCH, EVENT, &cache("T:{user}")]), old);
}
