//! The staged migration's modes: changed while calls come, kept over restarts, and each user in
//! order whatever changes.

use crate::crash::{configure, start_for_commands};
use crate::stop::said;
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Answer, Http, Sidecar, in_time};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::clock::Clock;
use tidegate::metrics::Metrics;
use tidegate::migration::{Modes, Wanted};
use tidegate::rollout::Mode;

const HEAD: [(&str, &str); 2] = [("authorization", "token-u"), ("host", "app.test")];

async fn put(admin: SocketAddr, wanted: Value) -> Answer {
    let host = admin.to_string();
    let headers = [("host", &*host)];
    let sent = Http::default()
        .try_call(admin, Method::PUT, "/modes", &headers, wanted.to_string())
        .await;
    sent.unwrap()
}

async fn set(admin: SocketAddr, mode: &str, rollout: u8) -> Value {
    let wanted = json!({ "route": "/event", "mode": mode, "rollout": rollout });
    let answer = put(admin, wanted).await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer.json()
}

async fn modes(admin: SocketAddr) -> Value {
    ask_admin(admin, "/modes").await[0].clone()
}

fn event(user: &str, id: &str) -> String {
    json!({ "id": id, "user": user, "lesson": "l", "percent": 5 }).to_string()
}

/// Ids of a user's events in the order in which the application took them first.
fn order(seen: &[Seen]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for call in seen {
        let ids = if call.path == "/batch" {
            call.ids()
        } else {
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            vec![body["id"].as_str().unwrap().to_owned()]
        };
        for id in ids {
            if !out.contains(&id) {
                out.push(id);
            }
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_leaves_is_drained_before_its_next_call_is_forwarded() {
    for leaves in [
        json!({ "route": "/event", "mode": "off" }),
        json!({ "route": "/event", "rollout": 0 }),
    ] {
        let sidecar = Sidecar::start(&[]).await;
        sidecar.event("t", "u", "a").await;
        sidecar.upstream.hold_back(|call| call.path == "/batch");
        assert_eq!(put(sidecar.running.admin, leaves).await.status, 200);
        let next = async { sidecar.post("t", "u", "b", "").await };
        let freed = async {
            sidecar
                .upstream
                .until(|seen| seen.iter().any(|call| call.path == "/batch"))
                .await;
            assert!(
                sidecar
                    .upstream
                    .seen()
                    .iter()
                    .all(|call| call.path == "/batch")
            );
            sidecar.upstream.open_gate();
        };
        let (answer, ()) = tokio::join!(next, freed);
        assert_eq!(answer.header("tidegate-event"), "");
        assert_eq!(order(&sidecar.upstream.seen()), ["a", "b"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_enters_is_acknowledged_at_once_and_comes_after_what_was_forwarded() {
    let sidecar =
        Sidecar::start(&[("path = \"/event\"", "path = \"/event\"\nmode = \"off\"")]).await;
    sidecar.upstream.hold_back(|call| call.path == "/event");
    let forwarded = async { sidecar.post("t", "u", "a", "").await };
    let enters = async {
        sidecar.upstream.until(|seen| !seen.is_empty()).await;
        set(sidecar.running.admin, "coalesce", 100).await;
        sidecar.event("t", "u", "b").await;
        sidecar.flush().await;
        sidecar.event("t", "u", "c").await;
        assert_eq!(sidecar.upstream.seen().len(), 1, "it overtook");
        sidecar.upstream.open_gate();
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.accepted == 2).await;
    };
    tokio::join!(forwarded, enters);
    assert_eq!(order(&sidecar.upstream.seen()), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_a_repetition_though_its_route_is_off_by_now() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.event("t", "u", "a").await;
    set(sidecar.running.admin, "off", 100).await;
    let again = sidecar.post("t", "u", "a", "").await;
    assert_eq!(again.header("tidegate-event"), "a");
    let ledger = sidecar.until(|ledger| ledger.duplicate == 1).await;
    assert!(ledger.balances());
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    assert_eq!(sidecar.upstream.batches(), [["a"]]);
    assert_eq!(sidecar.upstream.seen().len(), 1);
}

/// Sends a client's own batch.
async fn own_batch(sidecar: &Sidecar, user: &str, ids: &[&str]) -> Answer {
    let own = |id: &&str| json!({ "clientEventId": id, "userId": user, "lessonId": "l" });
    let events: Vec<_> = ids.iter().map(own).collect();
    let headers = [("authorization", "t")];
    let body = json!({ "events": events }).to_string();
    sidecar.call(Method::POST, "/batch", &headers, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_batch_is_taken_apart_for_those_only_whose_single_calls_are_acknowledged() {
    let sidecar =
        Sidecar::start(&[("path = \"/event\"", "path = \"/event\"\ndeny = [\"out\"]")]).await;
    let seen = || sidecar.upstream.seen().len();
    own_batch(&sidecar, "u", &["a", "b"]).await;
    assert_eq!(seen(), 0, "it is kept");
    own_batch(&sidecar, "out", &["x"]).await;
    assert_eq!(sidecar.upstream.batches().pop(), Some(vec!["x".to_owned()]));
    for mode in ["off", "observe", "shadow"] {
        set(sidecar.running.admin, mode, 100).await;
        let before = sidecar.running.ledger().received;
        let id = format!("{mode}-1");
        own_batch(&sidecar, "u", &[&id]).await;
        assert_eq!(sidecar.upstream.batches().pop(), Some(vec![id]), "{mode}");
        // What isn't understood is the application's as well.
        let calls = seen();
        let poor = json!({ "clientEventId": "poor", "userId": "u" });
        let body = json!({ "events": [poor] }).to_string();
        let headers = [("authorization", "t")];
        sidecar.call(Method::POST, "/batch", &headers, body).await;
        assert_eq!(
            (seen(), sidecar.running.ledger().received),
            (calls + 1, before),
            "{mode}"
        );
    }
    // What was acknowledged goes once, and before what is forwarded.
    assert_eq!(order(&sidecar.upstream.seen())[..3], ["a", "b", "x"]);
    let calls = seen();
    let again = own_batch(&sidecar, "u", &["b", "a"]).await.json();
    assert_eq!(
        again,
        json!({ "accepted": [], "duplicates": ["b", "a"], "failed": [] })
    );
    assert_eq!(seen(), calls);
    set(sidecar.running.admin, "coalesce", 100).await;
    own_batch(&sidecar, "u", &["c"]).await;
    assert_eq!(seen(), calls);
}

/// Ids that Tidegate makes of calls name no repetition for certain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_batch_whose_events_have_no_ids_is_forwarded_once_its_route_is_off() {
    let hash = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nmissing_id = \"hash\"",
    );
    let sidecar = Sidecar::start(&[hash]).await;
    let send = async || {
        let beat = json!({ "userId": "u", "lessonId": "l", "percent": 5 });
        let body = json!({ "events": [beat] }).to_string();
        let headers = [("authorization", "t")];
        sidecar.call(Method::POST, "/batch", &headers, body).await
    };
    send().await;
    assert_eq!(sidecar.upstream.seen().len(), 0);
    set(sidecar.running.admin, "off", 100).await;
    sidecar.upstream.answer_with(|call| {
        let has_id = String::from_utf8_lossy(&call.body).contains("clientEventId");
        (!has_id).then(|| answer(200, json!({ "ok": true })))
    });
    send().await;
    let seen = sidecar.upstream.seen();
    assert_eq!(seen.len(), 2, "what was kept, and then this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_a_repetition_after_a_restart_that_switches_its_route_off() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let start = |more: &[(&str, &str)]| {
        let config = configure(directory.path(), upstream.address, "process", more);
        Process::start(&config)
    };
    let post = async |at: SocketAddr| {
        let answer = Http::default()
            .try_call(at, Method::POST, "/event", &HEAD, event("u", "a"))
            .await;
        answer.unwrap().header("tidegate-event").to_owned()
    };
    let process = start(&[]);
    assert_eq!(post(process.address).await, "a");
    process.kill();
    let process = start(&[("path = \"/event\"", "path = \"/event\"\nmode = \"off\"")]);
    assert_eq!(post(process.address).await, "a");
    let (_, printed) = tokio::task::spawn_blocking(move || process.terminate())
        .await
        .unwrap();
    assert!(printed.contains("accepted 1 + duplicate 1"), "{printed}");
    assert_eq!(order(&upstream.seen()), ["a"]);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_testers_decide_before_the_draw() {
    let keys = "path = \"/event\"\nrollout = 0\nallow = [\"in\"]\ndeny = [\"out\"]";
    let tester = "[migration]\ntester_header = \"x-tester\"\n[journal]";
    for (proxies, believed) in [("[\"loopback\"]", true), ("[]", false)] {
        let trusted = format!("[server]\ntrusted_proxies = {proxies}");
        let sidecar = Sidecar::start(&[
            ("path = \"/event\"", keys),
            ("[journal]", tester),
            ("[server]", &trusted),
        ])
        .await;
        let is_batched = async |user: &str, says: &str| {
            let headers = [("authorization", "t"), ("x-tester", says)];
            let headers = &headers[..if says.is_empty() { 1 } else { 2 }];
            let id = format!("{user}-{says}");
            let answer = sidecar
                .call(Method::POST, "/event", headers, event(user, &id))
                .await;
            !answer.header("tidegate-event").is_empty()
        };
        assert!(is_batched("in", "").await);
        assert!(!is_batched("other", "").await);
        assert_eq!(is_batched("other", "coalesce").await, believed);
        assert_eq!(is_batched("in", "off").await, !believed);
        assert!(!is_batched("out", "coalesce").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_change_is_an_error_that_says_what_is_allowed_and_changes_nothing() {
    let sidecar = Sidecar::start(&[]).await;
    let admin = sidecar.running.admin;
    for (wanted, says) in [
        (
            json!({ "route": "/evnt", "mode": "off" }),
            "allowed are /event",
        ),
        (json!({ "route": "/event", "mode": "on" }), "modes are off"),
        (
            json!({ "route": "/event", "rollout": 101 }),
            "allowed are 0 to 100",
        ),
        (
            json!([{ "route": "/event", "mode": "off" }, { "route": "/none", "mode": "off" }]),
            "found the route \"/none\"",
        ),
    ] {
        let answer = put(admin, wanted).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 400, "{said}");
        assert!(said.contains(says), "{said}");
    }
    assert_eq!(modes(admin).await["mode"], "coalesce");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_outlives_a_kill_until_the_file_says_something_else() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let start = |more: &[(&str, &str)]| {
        Process::start(&configure(
            directory.path(),
            upstream.address,
            "process",
            more,
        ))
    };
    let process = start(&[]);
    let changed = set(process.admin, "coalesce", 10).await;
    assert_eq!(changed["kept"], true);
    assert_eq!(
        changed["changed"][0]["was"],
        json!({ "mode": "coalesce", "rollout": 100 })
    );
    process.kill();

    let process = start(&[]);
    let shown = modes(process.admin).await;
    assert_eq!(
        (&shown["mode"], &shown["rollout"]),
        (&json!("coalesce"), &json!(10))
    );
    assert_eq!(
        shown["configured"],
        json!({ "mode": "coalesce", "rollout": 100 })
    );
    assert_eq!(shown["set"]["by"], "the admin listener");
    process.kill();

    let process = start(&[("path = \"/event\"", "path = \"/event\"\nrollout = 50")]);
    let shown = modes(process.admin).await;
    assert_eq!(
        (&shown["rollout"], &shown["set"]),
        (&json!(50), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cant_be_read_of_earlier_changes_leaves_every_route_off() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "process", &[]);
    Process::start(&config).kill();
    std::fs::write(directory.path().join("journal/modes.json"), "{\"ver").unwrap();
    let process = Process::start(&config);
    assert_eq!(modes(process.admin).await["mode"], "off");
    // An operator's next word is kept, and ends it.
    set(process.admin, "coalesce", 100).await;
    process.kill();
    let process = Process::start(&config);
    assert_eq!(modes(process.admin).await["mode"], "coalesce");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_changes_and_shows_modes() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let (_process, config) = start_for_commands(directory.path(), upstream.address);
    let tell = |arguments: Vec<&'static str>| {
        let config = config.clone();
        tokio::task::spawn_blocking(move || run(&arguments, &config, &[]))
    };
    let set = vec!["modes", "set", "/event", "coalesce", "--rollout", "25"];
    let (code, said) = tell(set).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("was coalesce at 100 %, is coalesce at 25 %"),
        "{said}"
    );
    let (code, said) = tell(vec!["modes"]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("POST /event  coalesce at 25 %"), "{said}");
    let (code, said) = tell(vec!["modes", "set", "/none", "off"]).await.unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("found the route \"/none\"; allowed are /event"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reloads_modes_names_what_needs_a_restart_and_a_wrong_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let rewrite =
        |more: &[(&str, &str)]| configure(directory.path(), upstream.address, "process", more);
    let process = Process::start_in_session(&rewrite(&[]));
    rewrite(&[("path = \"/event\"", "path = \"/event\"\nmode = \"of\"")]);
    process.signal("-HUP");
    said(&process, "nothing has changed").await;
    assert!(process.said().contains("\"of\""), "{}", process.said());
    assert_eq!(modes(process.admin).await["mode"], "coalesce");

    set(process.admin, "coalesce", 30).await;
    rewrite(&[
        (
            "path = \"/event\"",
            "path = \"/event\"\nmode = \"off\"\ndeny = [\"u\"]",
        ),
        ("drain = \"5s\"", "drain = \"6s\""),
    ]);
    process.signal("-HUP");
    said(&process, "POST /event: was coalesce at 30 %, is off").await;
    said(&process, "changes of server hold after a restart").await;
    let shown = modes(process.admin).await;
    assert_eq!((&shown["mode"], &shown["deny"]), (&json!("off"), &json!(1)));
    // Should the file come back to its first word, what was set meanwhile doesn't.
    assert_eq!(shown["set"], Value::Null);
    let answer = Http::default()
        .try_call(
            process.address,
            Method::POST,
            "/event",
            &HEAD,
            event("u", "a"),
        )
        .await;
    assert_eq!(answer.unwrap().header("tidegate-event"), "");

    rewrite(&[]);
    let host = process.admin.to_string();
    let headers = [("host", &*host)];
    let answer = Http::default()
        .try_call(process.admin, Method::POST, "/config/reload", &headers, "")
        .await;
    let answer = answer.unwrap().json();
    assert_eq!(answer["changed"][0]["now"]["mode"], "coalesce");
    assert_eq!(answer["needs_restart"], json!([]));
}

/// A file is one whole: a route that it turns on rests on who is told apart and what is shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reload_turns_a_route_on_while_what_it_rests_on_waits_for_the_restart() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let rewrite =
        |more: &[(&str, &str)]| configure(directory.path(), upstream.address, "process", more);
    let mode = |text: &'static str| ("path = \"/event\"", text);
    let (low, high, off) = (
        mode("path = \"/event\"\nname = \"lessons\"\nrollout = 5"),
        mode("path = \"/event\"\nname = \"lessons\"\nrollout = 50"),
        mode("path = \"/event\"\nname = \"lessons\"\nmode = \"off\""),
    );
    let process = Process::start(&rewrite(&[low]));
    let grounds = (
        "credentials = [\"header:authorization\"]",
        "credentials = [\"header:authorization\", \"header:x-organisation\"]",
    );
    let host = process.admin.to_string();
    let reload = async |more: &[(&str, &str)]| {
        rewrite(more);
        let headers = [("host", &*host)];
        let answer = Http::default()
            .try_call(process.admin, Method::POST, "/config/reload", &headers, "")
            .await;
        answer.unwrap().json()
    };
    let waits = reload(&[grounds, high]).await;
    assert_eq!(waits["waiting"], json!(["lessons"]), "{waits}");
    assert_eq!(modes(process.admin).await["rollout"], 5);
    let allowed = ("rollout = 5", "rollout = 5\nallow = [\"in\"]");
    assert_eq!(
        reload(&[grounds, low, allowed]).await["waiting"],
        json!(["lessons"])
    );
    // What falls in the same breath falls.
    let fewer = (
        "path = \"/event\"",
        "path = \"/event\"\nname = \"lessons\"\nrollout = 3\nallow = [\"in\"]\ndeny = [\"out\"]",
    );
    assert_eq!(
        reload(&[grounds, fewer]).await["waiting"],
        json!(["lessons"])
    );
    let shown = modes(process.admin).await;
    assert_eq!(
        (&shown["rollout"], &shown["allow"], &shown["deny"]),
        (&json!(3), &json!(0), &json!(1))
    );
    // A rule before it, that waits, would have taken some of its calls.
    let before = (
        "[[event]]\n",
        "[[event]]\npath = \"/event\"\nmatch = { kind = [\"payment\"] }\nmode = \"off\"\n\
         batch = \"progress\"\nname = \"payments\"\n[[event]]\n",
    );
    let named = reload(&[high, before]).await;
    assert_eq!(named["waiting"], json!(["lessons"]), "{named}");
    assert_eq!(modes(process.admin).await["rollout"], 3);
    // Down it goes at once, and up without the rest.
    assert_eq!(reload(&[grounds, off]).await["waiting"], json!([]));
    assert_eq!(modes(process.admin).await["mode"], "off");
    assert_eq!(reload(&[high]).await["waiting"], json!([]));
    assert_eq!(modes(process.admin).await["rollout"], 50);
}

/// Modes as a start with this configuration finds them, kept in this directory.
fn restore(directory: &Path, text: &str) -> Modes {
    let config = tidegate::config::parse(text, "test", std::iter::empty());
    let routes = config.unwrap_or_else(|error| panic!("{error}")).routes();
    let metrics = Arc::new(Metrics::try_new().unwrap());
    let (directory, clock) = (Some(directory.to_owned()), Clock::default());
    Modes::restore(routes.events(), directory, metrics, clock).0
}

fn wanted(route: &str, mode: Mode) -> [Wanted; 1] {
    [Wanted {
        route: route.to_owned(),
        mode: Some(mode),
        rollout: None,
    }]
}

/// Each route's mode, by what its `match` wants.
fn listed(modes: &Modes) -> Vec<(String, String)> {
    let shown = modes.list().into_iter();
    shown
        .map(|route| (route.key, route.now.to_string()))
        .collect()
}

fn rule(kind: &str, more: &str) -> String {
    format!("[[event]]\npath = \"/e\"\nbatch = \"g\"\nmatch = {{ kind = [\"{kind}\"] }}\n{more}\n")
}

const GROUP: &str = "[upstream]\nurl = \"http://127.0.0.1:1\"\n[batch.g]\npath = \"/b\"\n";

#[test]
fn a_route_is_known_by_what_it_is_and_not_by_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (rule("a", "mode = \"off\""), rule("b", "mode = \"off\""));
    let (key_a, key_b) = ("POST /e kind=\"a\"", "POST /e kind=\"b\"");
    let modes = restore(directory.path(), &format!("{GROUP}{a}{b}"));
    modes
        .change(&wanted(key_a, Mode::Coalesce), "a test")
        .unwrap();
    let stands =
        |names: [(&str, &str); 2]| names.map(|(key, mode)| (key.to_owned(), mode.to_owned()));
    assert_eq!(
        listed(&modes),
        stands([(key_a, "coalesce"), (key_b, "off")])
    );

    let modes = restore(directory.path(), &format!("{GROUP}{b}{a}"));
    assert_eq!(
        listed(&modes),
        stands([(key_b, "off"), (key_a, "coalesce")])
    );
    let named = rule("a", "mode = \"off\"\nname = \"first\"");
    let modes = restore(directory.path(), &format!("{GROUP}{named}{b}"));
    assert_eq!(
        listed(&modes),
        stands([("first", "coalesce"), (key_b, "off")])
    );
    // It was renamed in what is kept, too.
    let modes = restore(directory.path(), &format!("{GROUP}{b}{named}"));
    assert_eq!(
        listed(&modes),
        stands([(key_b, "off"), ("first", "coalesce")])
    );

    // A file with a new route in front, and another batch for `b`.
    let new = rule("c", "mode = \"coalesce\"");
    let other = b
        .replace("\"g\"", "\"h\"")
        .replace("\"off\"", "\"coalesce\"");
    let group = GROUP.to_owned() + "[batch.h]\npath = \"/h\"\n";
    let text = format!("{group}{new}{other}{named}");
    let file = tidegate::config::parse(&text, "test", std::iter::empty()).unwrap();
    let renewed = modes.reload(file.routes().events(), true);
    assert_eq!(renewed.changes, []);
    assert_eq!(
        listed(&modes),
        stands([(key_b, "off"), ("first", "coalesce")])
    );
}

#[test]
fn what_the_file_has_overruled_does_not_come_back_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let start = |rollout: u8| {
        let rule = rule("a", &format!("rollout = {rollout}"));
        restore(directory.path(), &format!("{GROUP}{rule}"))
    };
    start(100)
        .change(&wanted("/e", Mode::Off), "a test")
        .unwrap();
    assert_eq!(listed(&start(100))[0].1, "off");
    assert_eq!(listed(&start(50))[0].1, "coalesce at 50 %");
    assert_eq!(listed(&start(100))[0].1, "coalesce");
}

/// The way out of trouble must not lead back into it with the restart that a file waits for.
#[test]
fn what_is_set_while_a_file_waits_outlives_the_restart_with_that_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = |rollout: u8| format!("{GROUP}{}", rule("a", &format!("rollout = {rollout}")));
    let read = |rollout: u8| {
        let text = text(rollout);
        tidegate::config::parse(&text, "test", std::iter::empty()).unwrap()
    };
    let modes = restore(directory.path(), &text(10));
    let waits = modes.reload(read(100).routes().events(), false);
    assert_eq!((waits.changes.len(), waits.waiting.len()), (0, 1));
    modes.change(&wanted("/e", Mode::Off), "a test").unwrap();
    for may_rise in [false, true] {
        let renewed = modes.reload(read(100).routes().events(), may_rise);
        assert_eq!((renewed.changes.len(), renewed.waiting.len()), (0, 0));
        assert_eq!(listed(&modes)[0].1, "off");
    }
    assert_eq!(listed(&restore(directory.path(), &text(100)))[0].1, "off");
    // Another word of the file is a later one.
    let renewed = modes.reload(read(30).routes().events(), true);
    assert_eq!(renewed.changes.len(), 1);
    assert_eq!(listed(&modes)[0].1, "coalesce at 30 %");
}

#[test]
fn of_a_file_that_cant_be_read_every_route_stays_off_until_it_is_set_itself() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{GROUP}{}{}", rule("a", ""), rule("b", ""));
    std::fs::write(directory.path().join("modes.json"), "?").unwrap();
    let modes = restore(directory.path(), &text);
    modes
        .change(&wanted("POST /e kind=\"a\"", Mode::Coalesce), "a test")
        .unwrap();
    let again = restore(directory.path(), &text);
    for modes in [modes, again] {
        let stand: Vec<_> = listed(&modes).into_iter().map(|(_, mode)| mode).collect();
        assert_eq!(stand, ["coalesce", "off"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_list_the_last_word_on_a_route_holds_and_none_before_it() {
    let sidecar = Sidecar::start(&[]).await;
    let list = json!([
        { "route": "/event", "mode": "off" },
        { "route": "/event", "mode": "coalesce", "rollout": 7 },
    ]);
    let changed = put(sidecar.running.admin, list).await.json();
    let now = json!({ "mode": "coalesce", "rollout": 7 });
    assert_eq!(changed["changed"].as_array().unwrap().len(), 1);
    assert_eq!(changed["changed"][0]["now"], now);
    assert_eq!(changed["kept"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_was_never_on_answers_nothing_itself() {
    for mode in ["off", "observe"] {
        // Its events say what those of the other route say.
        let other = "[[event]]\npath = \"/other\"\nbatch = \"progress\"\nmode = \"MODE\"\nevent = { \
                     clientEventId = \"{body.id}\", userId = \"{body.user}\", lessonId = \
                     \"{body.lesson}\", percent = \"{body.percent}\", status = \"{body.status}\", \
                     timestamp = \"{body.timestamp|now.ms}\", pad = \"{body.pad}\" }\n[[write]]";
        let sidecar = Sidecar::start(&[("[[write]]", &other.replace("MODE", mode))]).await;
        sidecar.event("t", "u", "a").await;
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.accepted == 1).await;
        let headers = [("authorization", "t")];
        let call = sidecar.call(Method::POST, "/other", &headers, event("u", "a"));
        assert_eq!(call.await.header("tidegate-event"), "");
        assert_eq!(sidecar.upstream.seen().last().unwrap().path, "/other");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_made_of_a_call_makes_no_repetition_of_one_whose_route_is_off() {
    let hash = ("flush_at = 4", "flush_at = 4\nmissing_id = \"hash\"");
    let sidecar = Sidecar::start(&[hash]).await;
    let headers = [("authorization", "t")];
    let body = json!({ "user": "u", "lesson": "l", "percent": 5 }).to_string();
    let post = async || {
        let answer = sidecar.call(Method::POST, "/event", &headers, body.clone());
        !answer.await.header("tidegate-event").is_empty()
    };
    assert!(post().await && post().await);
    set(sidecar.running.admin, "off", 100).await;
    assert!(!post().await);
    assert_eq!(sidecar.upstream.seen().last().unwrap().path, "/event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_refuses_the_application_judges_where_calls_are_forwarded() {
    let refuses = (
        "flush_at = 4",
        "flush_at = 4\nrefuse = [\"not_json\", \"missing_field\"]",
    );
    let headers = [("authorization", "t")];
    let bad = ["{", "{\"id\":\"a\",\"user\":\"u\"}"];
    for (keys, status) in [("", 400), ("mode = \"off\"", 200), ("deny = [\"u\"]", 200)] {
        let keys = format!("path = \"/event\"\n{keys}");
        let sidecar = Sidecar::start(&[refuses, ("path = \"/event\"", &keys)]).await;
        for body in bad {
            let answer = sidecar.call(Method::POST, "/event", &headers, body).await;
            let found = u16::from(answer.status);
            assert_eq!(found == 200, status == 200, "{keys} {body}: {found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_name_users_as_their_events_do_and_the_testers_header_splits_no_lane() {
    let sidecar = Sidecar::start(&[
        ("credentials = [\"header:authorization\"]\n", ""),
        (
            "percent = [\"percent\"]",
            "percent = [\"percent\"]\nlowercase = [\"userId\"]",
        ),
        ("path = \"/event\"", "path = \"/event\"\ndeny = [\"Alice\"]"),
        (
            "[journal]",
            "[migration]\ntester_header = \"x-tester\"\n[journal]",
        ),
    ])
    .await;
    let post = async |user: &str, id: &str, more: &[(&str, &str)]| {
        let headers = [&[("authorization", "t")], more].concat();
        let answer = sidecar.call(Method::POST, "/event", &headers, event(user, id));
        !answer.await.header("tidegate-event").is_empty()
    };
    assert!(!post("Alice", "a", &[]).await);
    assert!(post("Bob", "b", &[]).await);
    assert!(post("Bob", "c", &[("x-tester", "coalesce")]).await);
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 2).await;
    assert_eq!(sidecar.upstream.batches(), [["b", "c"]]);
}

/// Users of the run below. Each sends one event after the other, and repeats one that it has no
/// answer to.
const USERS: usize = 12;
/// The way there and back.
const STAGES: [(&str, u8); 9] = [
    ("off", 100),
    ("observe", 100),
    ("shadow", 100),
    ("coalesce", 10),
    ("coalesce", 50),
    ("coalesce", 100),
    ("coalesce", 50),
    ("off", 100),
    ("coalesce", 100),
];

/// Where the sidecar listens now, and what each user has met.
struct Shared {
    address: Mutex<SocketAddr>,
    ends: AtomicBool,
    /// How often each user was answered, and whether the last answer was Tidegate's.
    answers: Mutex<Vec<(u64, bool)>>,
}

async fn learn(shared: Arc<Shared>, user: usize) -> Vec<String> {
    let (http, name, mut sent) = (Http::default(), format!("user-{user}"), Vec::new());
    let token = format!("token-{user}");
    let headers = [("authorization", &*token), ("host", "app.test")];
    for number in 0.. {
        if shared.ends.load(Ordering::SeqCst) {
            break;
        }
        let id = format!("{user}:{number}");
        loop {
            let at = *shared.address.lock().unwrap();
            let asked = http.try_call(at, Method::POST, "/event", &headers, event(&name, &id));
            if let Ok(answer) = asked.await
                && answer.status.is_success()
            {
                let batched = !answer.header("tidegate-event").is_empty();
                let answers = &mut shared.answers.lock().unwrap()[user];
                *answers = (answers.0 + 1, batched);
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sent.push(id);
    }
    sent
}

/// Until each user has had so many answers from now on.
async fn answered(shared: &Shared, more: u64) -> Vec<bool> {
    let before: Vec<_> = shared.answers.lock().unwrap().clone();
    let all = async {
        loop {
            let now = shared.answers.lock().unwrap().clone();
            let reached = now
                .iter()
                .zip(&before)
                .all(|(now, then)| now.0 >= then.0 + more);
            if reached {
                return now.iter().map(|(_, batched)| *batched).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("answers for everybody", all).await
}

fn start(directory: &Path, upstream: SocketAddr, target: SocketAddr) -> Process {
    let short = ("window = \"1h\"", "window = \"20ms\"");
    let shadow = format!("[shadow]\nurl = \"http://{target}\"\n[journal]");
    let changes = [short, ("[journal]", &*shadow)];
    Process::start(&configure(directory, upstream, "process", &changes))
}

/// Asks the admin listener of a process.
async fn ask_admin(admin: SocketAddr, path: &str) -> Value {
    let host = admin.to_string();
    let headers = [("host", &*host)];
    let asked = Http::default()
        .try_call(admin, Method::GET, path, &headers, "")
        .await;
    asked.unwrap().json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_there_and_back_under_load_and_kills_nothing_is_lost_and_every_user_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (upstream, target) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let mut process = start(directory.path(), upstream.address, target.address);
    let shared = Arc::new(Shared {
        address: Mutex::new(process.address),
        ends: AtomicBool::new(false),
        answers: Mutex::new(vec![(0, false); USERS]),
    });
    let users: Vec<_> = (0..USERS)
        .map(|user| tokio::spawn(learn(Arc::clone(&shared), user)))
        .collect();
    let mut sides: HashMap<(&str, u8), Vec<bool>> = HashMap::new();
    for (mode, rollout) in STAGES {
        answered(&shared, 2).await;
        // In the middle of the change: it may be kept and not yet hold, or neither.
        let admin = process.admin;
        let change = tokio::spawn(async move {
            let host = admin.to_string();
            let headers = [("host", &*host)];
            let wanted = json!({ "route": "/event", "mode": mode, "rollout": rollout });
            let wanted = wanted.to_string();
            drop(
                Http::default()
                    .try_call(admin, Method::PUT, "/modes", &headers, wanted)
                    .await,
            );
        });
        tokio::task::yield_now().await;
        process.kill();
        change.await.unwrap();
        process = start(directory.path(), upstream.address, target.address);
        *shared.address.lock().unwrap() = process.address;
        set(process.admin, mode, rollout).await;
        // Two answers: the first may be to a call that was under way when the mode changed.
        let side = answered(&shared, 2).await;
        let among = side.iter().filter(|batched| **batched).count();
        match (mode, rollout) {
            ("off" | "observe" | "shadow", _) => assert_eq!(among, 0),
            (_, 100) => assert_eq!(among, USERS),
            _ => assert!(among < USERS, "{side:?}"),
        }
        let status = ask_admin(process.admin, "/status").await;
        assert_eq!(status["balanced"], true, "{mode} {rollout}: {status}");
        let is_compared = async {
            loop {
                let report = ask_admin(process.admin, "/parity").await;
                if report["routes"][0]["compared"].as_u64() > Some(0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if mode == "shadow" {
            in_time("comparisons", is_compared).await;
        }
        if let Some(before) = sides.insert((mode, rollout), side.clone()) {
            assert_eq!(
                before, side,
                "somebody is on another side at {mode} {rollout}"
            );
        }
    }
    for (tenth, half) in sides[&("coalesce", 10)]
        .iter()
        .zip(&sides[&("coalesce", 50)])
    {
        assert!(half | !tenth, "who is in at 10 % is in at 50 %");
    }
    shared.ends.store(true, Ordering::SeqCst);
    let mut sent: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (user, task) in users.into_iter().enumerate() {
        sent.insert(user, task.await.unwrap());
    }
    let (code, printed) = tokio::task::spawn_blocking(move || process.terminate())
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("pending 0"), "{printed}");
    let taken = order(&upstream.seen());
    for (user, ids) in sent {
        let prefix = format!("{user}:");
        let of_user: Vec<_> = taken.iter().filter(|id| id.starts_with(&prefix)).collect();
        assert_eq!(of_user, ids.iter().collect::<Vec<_>>());
    }
    // What was copied came in batches, in order, each user's under its own credential.
    let copied = target.seen();
    for batch in &copied {
        assert_eq!(batch.path, "/batch");
        let user = batch.header("authorization").replace("token-", "");
        let prefix = format!("{user}:");
        let ids = batch.ids();
        assert!(ids.iter().all(|id| id.starts_with(&prefix)), "{ids:?}");
    }
    let copied = order(&copied);
    assert!(!copied.is_empty());
    let place = |id: &String| taken.iter().position(|known| known == id);
    for user in 0..USERS {
        let prefix = format!("{user}:");
        let places: Vec<_> = copied
            .iter()
            .filter(|id| id.starts_with(&prefix))
            .map(|id| place(id).unwrap())
            .collect();
        assert!(places.is_sorted(), "{user}: {places:?}");
    }
}
