//! Design §6, row by row: what an upstream answers, and what each event becomes.

use crate::support::Sidecar;
use crate::support::upstream::{Reply, Seen, answer, hang_up};
use Step::{Arrived, CloseGate, Counter, Forwarded, OpenGate, Post, Settled};
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tidegate::clock::Clock;

/// One thing that happens in a row. Credentials are written `user` or `user/number`.
enum Step {
    /// Events of this credential, each acknowledged, then sealed.
    Post(&'static str, &'static str),
    /// A call that the application answers itself, with this status.
    Forwarded(&'static str, &'static str, u16),
    /// This many requests have arrived.
    Arrived(usize),
    /// Nothing is pending.
    Settled,
    /// This counter has got this far.
    Counter(&'static str, u64),
    /// From here on requests wait for their answers.
    CloseGate,
    /// They are answered.
    OpenGate,
}

/// A row of the table.
#[derive(Default)]
struct Row {
    /// Replacements in the configuration.
    config: Vec<(&'static str, &'static str)>,
    /// What the upstream answers first; afterwards it takes everything.
    script: Vec<Reply>,
    /// What it answers whatever the script says.
    rule: Option<fn(&Seen) -> Option<Reply>>,
    /// What happens.
    steps: Vec<Step>,
    /// Requests in order, as `credential path ids`; requests of different credentials in any order.
    calls: Vec<&'static str>,
    /// A call may come any number of times in a row.
    repeats: bool,
    /// Equal batches have equal idempotency keys.
    same_key: bool,
    /// Dead letters: `id reason`.
    dead: Vec<&'static str>,
    /// Accepted, duplicate and pending in the end.
    ledger: [u64; 3],
}

const SINGLE: (&str, &str) = ("fallback = \"dead-letter\"", "fallback = \"single\"");
const SOON: (&str, &str) = ("[delivery]", "[delivery]\ngive_up_after = \"60ms\"");
const REJECTED: &str = "tidegate_batches_total{group=\"progress\",result=\"rejected\"}";
const DEFERRED: &str = "tidegate_batches_total{group=\"progress\",result=\"deferred\"}";
const LIMITED: &str = "tidegate_batches_total{group=\"progress\",result=\"limited\"}";
const FAILING: &str = "tidegate_batches_total{group=\"progress\",result=\"server_error\"}";

fn line(seen: &Seen) -> String {
    let ids = match seen.path.as_str() {
        "/batch" => seen.ids().join(" "),
        _ => serde_json::from_slice::<Value>(&seen.body).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned(),
    };
    format!("{} {} {ids}", seen.header("authorization"), seen.path)
}

fn user(credential: &str) -> &str {
    credential.split('/').next().unwrap()
}

impl Row {
    async fn step(sidecar: &Sidecar, step: Step) {
        match step {
            Post(credential, ids) => {
                for id in ids.split(' ') {
                    sidecar.event(credential, user(credential), id).await;
                }
                sidecar.flush().await;
            }
            Forwarded(credential, id, status) => {
                let answer = sidecar.post(credential, user(credential), id, "").await;
                assert_eq!(answer.status.as_u16(), status, "{answer:?}");
            }
            Arrived(count) => sidecar.upstream.until(|seen| seen.len() >= count).await,
            Settled => drop(sidecar.until(|ledger| ledger.pending == 0).await),
            Counter(name, wanted) => sidecar.until_counter(name, wanted).await,
            CloseGate => sidecar.upstream.close_gate(),
            OpenGate => sidecar.upstream.open_gate(),
        }
    }

    async fn holds(self) {
        let Self {
            config,
            script,
            rule,
            steps,
            calls,
            repeats,
            same_key,
            dead,
            ledger,
        } = self;
        let sidecar = Sidecar::start(&config).await;
        sidecar.upstream.script(script);
        if let Some(rule) = rule {
            sidecar.upstream.answer_with(rule);
        }
        for step in steps {
            Self::step(&sidecar, step).await;
        }
        let [accepted, duplicate, pending] = ledger;
        let found = sidecar.until(|ledger| ledger.pending == pending).await;
        let sum = accepted + duplicate + pending + dead.len() as u64;
        assert_eq!(
            (
                found.received,
                found.accepted,
                found.duplicate,
                found.superseded,
                found.dead
            ),
            (sum, accepted, duplicate, 0, dead.len() as u64),
            "{found}"
        );
        let letters = sidecar.admin(Method::GET, "/dead-letters").await.json();
        let letters = letters.as_array().unwrap().iter();
        let letters: Vec<_> = letters
            .map(|one| {
                format!(
                    "{} {}",
                    one["id"].as_str().unwrap(),
                    one["reason"].as_str().unwrap()
                )
            })
            .collect();
        assert_eq!(letters, dead);
        if pending == 0 {
            sidecar.running.stop().await;
        }
        let seen = sidecar.upstream.seen();
        check_calls(&seen, calls, repeats);
        if same_key {
            check_keys(&seen);
        }
    }
}

fn check_calls(seen: &[Seen], calls: Vec<&str>, repeats: bool) {
    let by_credential = |line: &String| line.split(' ').next().unwrap().to_owned();
    let mut found: Vec<String> = seen.iter().map(line).collect();
    let mut wanted: Vec<String> = calls.into_iter().map(str::to_owned).collect();
    // Stable: the order within a credential stays.
    found.sort_by_key(by_credential);
    wanted.sort_by_key(by_credential);
    if repeats {
        found.dedup();
    }
    assert_eq!(found, wanted);
}

fn check_keys(seen: &[Seen]) {
    let batches: Vec<_> = seen
        .iter()
        .filter(|one| one.path == "/batch")
        .map(|one| (line(one), one.header("idempotency-key")))
        .collect();
    for (batch, key) in &batches {
        assert!(!key.is_empty());
        assert!(
            batches
                .iter()
                .all(|(other, theirs)| (other == batch) == (theirs == key)),
            "{batches:?}"
        );
    }
}

fn holds_bad(seen: &Seen) -> bool {
    seen.path == "/batch" && seen.ids().iter().any(|id| id.starts_with("bad"))
}

fn with_header(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    reply.headers_mut().insert(name, value.parse().unwrap());
    reply
}

fn limited(after: &str) -> Reply {
    with_header(answer(429, json!({})), "retry-after", after)
}

fn empty(status: u16) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status.try_into().unwrap();
    reply
}

#[tokio::test]
async fn a_batch_and_a_single_call_say_their_length() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    sidecar.upstream.script([answer(400, json!({}))]);
    sidecar.event("t", "t", "a").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let seen = sidecar.upstream.seen();
    assert_eq!(
        seen.iter().map(line).collect::<Vec<_>>(),
        ["t /batch a", "t /event a"]
    );
    for one in seen {
        assert_eq!(
            one.header("content-length"),
            one.body.len().to_string(),
            "{:?}",
            one.headers
        );
        assert_eq!(one.header("transfer-encoding"), "");
    }
}

#[tokio::test]
async fn lists_at_the_top_or_under_data_say_what_each_event_becomes() {
    let lists = json!({
        "accepted": ["a"], "duplicates": ["b"], "failed": [{ "id": "c", "reason": "validation_error" }]
    });
    for reply in [lists.clone(), json!({ "data": lists })] {
        Row {
            script: vec![answer(200, reply)],
            steps: vec![Post("t", "a b c")],
            calls: vec!["t /batch a b c"],
            dead: vec!["c failed_permanently"],
            ledger: [1, 1, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn the_permanent_reasons_are_configured() {
    let failed = [("a", "gone"), ("b", "validation_error")]
        .map(|(id, reason)| json!({ "id": id, "reason": reason }));
    Row {
        config: vec![(
            "fallback = \"dead-letter\"",
            "fallback = \"dead-letter\"\npermanent = [\"gone\"]",
        )],
        script: vec![answer(200, json!({ "failed": failed }))],
        steps: vec![Post("t", "a b")],
        calls: vec!["t /batch a b", "t /batch b"],
        dead: vec!["a failed_permanently"],
        ledger: [1, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn an_event_that_failed_for_a_passing_reason_leads_the_next_batch() {
    let failed = [json!({ "id": "b", "reason": "busy" })];
    Row {
        script: vec![answer(
            200,
            json!({ "accepted": ["a", "c", "d"], "failed": failed }),
        )],
        steps: vec![
            CloseGate,
            Post("t", "a b c d"),
            Arrived(1),
            Post("t", "e f g"),
            OpenGate,
        ],
        calls: vec!["t /batch a b c d", "t /batch b e f g"],
        ledger: [7, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn an_event_that_keeps_failing_dies_after_its_attempts() {
    Row {
        config: vec![(
            "fallback = \"dead-letter\"",
            "fallback = \"dead-letter\"\nmax_attempts = 3",
        )],
        rule: Some(|seen| {
            let (failed, accepted): (Vec<_>, Vec<_>) =
                seen.ids().into_iter().partition(|id| id == "b");
            let failed: Vec<_> = failed
                .iter()
                .map(|id| json!({ "id": id, "reason": "busy" }))
                .collect();
            Some(answer(
                200,
                json!({ "accepted": accepted, "failed": failed }),
            ))
        }),
        steps: vec![Post("t", "a b c d")],
        calls: vec!["t /batch a b c d", "t /batch b", "t /batch b"],
        dead: vec!["b too_many_attempts"],
        ledger: [3, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn an_id_in_no_list_is_sent_again() {
    Row {
        script: vec![answer(
            200,
            json!({ "accepted": ["a"], "duplicates": ["c"] }),
        )],
        steps: vec![Post("t", "a b c d")],
        calls: vec!["t /batch a b c d", "t /batch b d"],
        ledger: [3, 1, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn an_unknown_id_is_counted_and_settles_nothing() {
    Row {
        script: vec![answer(
            200,
            json!({ "accepted": ["a", "ghost"], "failed": [{ "id": "spectre" }] }),
        )],
        steps: vec![
            Post("t", "a b"),
            Settled,
            Counter("tidegate_unknown_ids_total", 2),
        ],
        calls: vec!["t /batch a b", "t /batch b"],
        ledger: [2, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn success_without_lists_accepts_all() {
    for reply in [
        answer(201, json!({ "ok": true, "data": { "ingested": 8 } })),
        empty(204),
        empty(200),
    ] {
        Row {
            script: vec![reply],
            steps: vec![Post("t", "a b c")],
            calls: vec!["t /batch a b c"],
            ledger: [3, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn success_with_broken_json_accepts_nothing() {
    let lists =
        json!({ "accepted": ["a"], "failed": [{ "id": "b", "reason": "validation_error" }] });
    let whole = lists.to_string();
    for cut in [whole.len() / 2, whole.len() - 1] {
        let mut broken = answer(200, json!({}));
        *broken.body_mut() = whole[..cut].to_owned().into();
        Row {
            script: vec![broken, answer(200, lists.clone())],
            steps: vec![Post("t", "a b")],
            calls: vec!["t /batch a b"; 2],
            dead: vec!["b failed_permanently"],
            ledger: [1, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn events_that_a_refusal_names_are_taken_out_and_the_rest_is_sent_again() {
    let bodies = [
        json!({ "invalid": ["b"] }),
        json!({ "failed": [{ "id": "b", "reason": "no such lesson" }] }),
        json!({ "data": { "invalid": [{ "clientEventId": "b" }] } }),
    ];
    for (status, body) in [400, 409, 422, 451]
        .into_iter()
        .flat_map(|status| bodies.clone().map(|body| (status, body)))
    {
        Row {
            script: vec![answer(status, body)],
            steps: vec![Post("t", "a b c d")],
            calls: vec!["t /batch a b c d", "t /batch a c d"],
            dead: vec!["b refused"],
            ledger: [3, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn a_named_event_with_a_single_call_left_keeps_its_place() {
    Row {
        config: vec![SINGLE],
        script: vec![answer(422, json!({ "invalid": ["b"] }))],
        steps: vec![Post("t", "a b c d")],
        calls: vec![
            "t /batch a b c d",
            "t /batch a",
            "t /event b",
            "t /batch c d",
        ],
        ledger: [4, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_refusal_that_names_nothing_is_bisected() {
    let rules: [fn(&Seen) -> Option<Reply>; 4] = [
        |seen| holds_bad(seen).then(|| answer(400, json!({ "error": "bad" }))),
        |seen| holds_bad(seen).then(|| answer(409, json!({ "invalid": [] }))),
        |seen| holds_bad(seen).then(|| answer(422, json!({ "failed": [{ "id": "another" }] }))),
        |seen| holds_bad(seen).then(|| empty(451)),
    ];
    for rule in rules {
        Row {
            rule: Some(rule),
            steps: vec![Post("t", "a bad c d")],
            calls: vec![
                "t /batch a bad c d",
                "t /batch a bad",
                "t /batch a",
                "t /batch bad",
                "t /batch c d",
            ],
            dead: vec!["bad refused"],
            ledger: [3, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn an_event_refused_alone_gets_its_single_call() {
    Row {
        config: vec![SINGLE],
        rule: Some(|seen| holds_bad(seen).then(|| answer(400, json!({})))),
        steps: vec![Post("t", "a bad")],
        calls: vec![
            "t /batch a bad",
            "t /batch a",
            "t /batch bad",
            "t /event bad",
        ],
        ledger: [2, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn an_event_whose_single_call_is_refused_too_dies() {
    Row {
        config: vec![SINGLE],
        rule: Some(|seen| {
            (holds_bad(seen) || seen.path == "/event").then(|| answer(400, json!({})))
        }),
        steps: vec![Post("t", "bad b")],
        calls: vec![
            "t /batch bad b",
            "t /batch bad",
            "t /event bad",
            "t /batch b",
        ],
        dead: vec!["bad refused"],
        ledger: [1, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_rejected_credential_is_held_until_a_call_of_it_succeeds() {
    let first = ["t /batch a b"];
    // 403 may be an event's: the oldest one goes alone, with its single call if it has one, else as
    // a batch of one.
    let cases = [
        (
            401,
            ("[delivery]", "[delivery]"),
            vec![],
            vec!["t /batch a b"],
        ),
        (
            403,
            ("[delivery]", "[delivery]"),
            vec!["t /batch a"],
            vec!["t /batch a", "t /batch b"],
        ),
        (
            403,
            SINGLE,
            vec!["t /event a"],
            vec!["t /event a", "t /batch b"],
        ),
    ];
    for (status, change, asked, again) in cases {
        Row {
            config: vec![change],
            script: vec![answer(status, json!({})); 2 + asked.len()],
            steps: vec![
                Post("t", "a b"),
                Counter(REJECTED, 1),
                Forwarded("t", "told", status),
                Forwarded("t", "good", 200),
                Settled,
                Post("t", "c"),
            ],
            calls: [
                &first[..],
                &asked,
                &["t /event told", "t /event good"],
                &again,
                &["t /batch c"],
            ]
            .concat(),
            same_key: true,
            ledger: [3, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn a_403_of_one_event_is_its_own_and_the_rest_is_taken_in_order() {
    let forbidden: fn(&Seen) -> Option<Reply> = |seen| {
        let bad = if seen.path == "/batch" {
            holds_bad(seen)
        } else {
            seen.body.windows(3).any(|part| part == b"bad")
        };
        bad.then(|| answer(403, json!({ "error": "not your course" })))
    };
    Row {
        config: vec![SINGLE],
        rule: Some(forbidden),
        steps: vec![Post("t", "a b bad d"), Settled, Post("t", "e")],
        calls: vec![
            "t /batch a b bad d",
            "t /event a",
            "t /batch b bad d",
            "t /batch b",
            "t /batch bad d",
            "t /batch bad",
            "t /event bad",
            "t /event bad",
            "t /batch d",
            "t /batch e",
        ],
        dead: vec!["bad refused"],
        ledger: [4, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
    // The offender is the oldest: held, until a success of the credential shows whose the refusal
    // is.
    Row {
        config: vec![SINGLE],
        rule: Some(forbidden),
        steps: vec![
            Post("t", "bad b"),
            Counter(REJECTED, 1),
            Forwarded("t", "good", 200),
            Settled,
        ],
        calls: vec![
            "t /batch bad b",
            "t /event bad",
            "t /event good",
            "t /event bad",
            "t /event bad",
            "t /batch b",
        ],
        dead: vec!["bad refused"],
        ledger: [1, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_rejected_credentials_events_never_go_with_another() {
    Row {
        script: vec![answer(401, json!({}))],
        steps: vec![
            Post("u/1", "a b"),
            Counter(REJECTED, 1),
            Post("u/2", "c d"),
            Arrived(2),
            Post("v", "e"),
            Arrived(3),
        ],
        calls: vec!["u/1 /batch a b", "u/2 /batch c d", "v /batch e"],
        ledger: [3, 0, 2],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_credential_that_stays_rejected_makes_dead_letters() {
    Row {
        config: vec![SOON],
        rule: Some(|_| Some(answer(401, json!({})))),
        steps: vec![Post("t", "a")],
        calls: vec!["t /batch a"],
        repeats: true,
        dead: vec!["a credential_rejected"],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn without_a_batch_endpoint_the_single_calls_go_in_order_and_one_caller_says_nothing_of_the_group()
 {
    for status in [301, 302, 307, 308, 404, 405, 501] {
        let moved = with_header(
            answer(status, json!({})),
            "location",
            "http://elsewhere/login?token=secret",
        );
        Row {
            config: vec![SINGLE],
            script: vec![moved],
            steps: vec![Post("t", "a b c d"), Settled, Post("t", "e f")],
            calls: vec![
                "t /batch a b c d",
                "t /event a",
                "t /event b",
                "t /event c",
                "t /event d",
                "t /batch e f",
            ],
            ledger: [6, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn once_three_good_callers_met_no_batch_endpoint_the_group_goes_by_single_calls() {
    let rule: fn(&Seen) -> Option<Reply> =
        |seen| (seen.path == "/batch").then(|| answer(404, json!({})));
    // The first call of each shows that the caller is good.
    let callers = [
        ("x", "x1", "x2 x3"),
        ("y", "y1", "y2 y3"),
        ("z", "z1", "z2 z3"),
    ];
    let steps = callers
        .into_iter()
        .flat_map(|(user, first, then)| [Post(user, first), Settled, Post(user, then), Settled]);
    let calls = [
        [
            "x /batch x1",
            "x /event x1",
            "x /batch x2 x3",
            "x /event x2",
            "x /event x3",
        ],
        [
            "y /batch y1",
            "y /event y1",
            "y /batch y2 y3",
            "y /event y2",
            "y /event y3",
        ],
        [
            "z /batch z1",
            "z /event z1",
            "z /batch z2 z3",
            "z /event z2",
            "z /event z3",
        ],
    ];
    let calls = calls.concat();
    Row {
        config: vec![SINGLE],
        rule: Some(rule),
        steps: steps
            .chain([Post("x", "x4 x5"), Settled, Post("new", "n1")])
            .collect(),
        calls: [calls, vec!["x /event x4", "x /event x5", "new /event n1"]].concat(),
        ledger: [12, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn without_a_batch_endpoint_and_a_fallback_the_events_wait_for_one() {
    Row {
        script: vec![answer(404, json!({})), answer(501, json!({}))],
        steps: vec![Post("t", "a b")],
        calls: vec!["t /batch a b"; 3],
        same_key: true,
        ledger: [2, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_batch_too_large_is_split_in_two() {
    Row {
        script: vec![answer(413, json!({}))],
        steps: vec![Post("t", "a b c d")],
        calls: vec!["t /batch a b c d", "t /batch a b", "t /batch c d"],
        ledger: [4, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_batch_too_large_is_split_down_to_the_one_that_is() {
    let split = [
        "t /batch a b c bad",
        "t /batch a b",
        "t /batch c bad",
        "t /batch c",
        "t /batch bad",
    ];
    let rule = |seen: &Seen| holds_bad(seen).then(|| answer(413, json!({})));
    Row {
        rule: Some(rule),
        steps: vec![Post("t", "a b c bad")],
        calls: split.to_vec(),
        dead: vec!["bad refused"],
        ledger: [3, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
    Row {
        config: vec![SINGLE],
        rule: Some(rule),
        steps: vec![Post("t", "a b c bad")],
        calls: [&split[..], &["t /event bad"]].concat(),
        ledger: [4, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn an_event_that_failed_out_of_a_split_batch_goes_before_the_rest_of_it() {
    let busy = |id| json!({ "failed": [{ "id": id, "reason": "busy" }] });
    Row {
        script: vec![
            answer(413, json!({})),
            answer(200, busy("a")),
            answer(200, json!({ "accepted": ["b"] })),
        ],
        steps: vec![
            CloseGate,
            Post("t", "a b c d"),
            Arrived(1),
            Post("t", "e"),
            OpenGate,
        ],
        calls: vec![
            "t /batch a b c d",
            "t /batch a b",
            "t /batch a b",
            "t /batch a",
            "t /batch c d",
            "t /batch e",
        ],
        ledger: [5, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_limited_batch_is_sent_again_with_its_key() {
    for reply in [
        answer(429, json!({})),
        limited("0"),
        limited("soon"),
        limited("1"),
    ] {
        Row {
            script: vec![reply],
            steps: vec![Post("t", "a b")],
            calls: vec!["t /batch a b"; 2],
            same_key: true,
            ledger: [2, 0, 0],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn retry_after_in_seconds_or_as_a_date_makes_its_caller_wait_and_nobody_else() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
    let date = httpdate::fmt_http_date(now + Duration::from_secs(3_600));
    for after in ["3600", &date] {
        let sidecar = Sidecar::start_at(&[], Clock::from_fn(move || now)).await;
        sidecar.upstream.script([limited(after)]);
        sidecar.event("a", "a", "a1").await;
        sidecar.flush().await;
        sidecar.until_counter(LIMITED, 1).await;
        // The same caller in another lane.
        sidecar.event("a", "a's friend", "a2").await;
        sidecar.flush().await;
        sidecar.until_counter(DEFERRED, 1).await;
        for user in ["b", "c"] {
            sidecar.event(user, user, &format!("{user}1")).await;
        }
        sidecar.flush().await;
        let ledger = sidecar.until(|ledger| ledger.accepted == 2).await;
        assert_eq!((ledger.received, ledger.pending), (4, 2), "{ledger}");
        let seen: Vec<_> = sidecar
            .upstream
            .seen()
            .iter()
            .map(|seen| seen.header("authorization").to_owned())
            .collect();
        assert_eq!((seen.len(), &*seen[0]), (3, "a"), "{seen:?}");
    }
}

#[tokio::test]
async fn the_group_waits_once_three_good_callers_are_limited_and_not_for_any_number_of_strangers() {
    let sidecar = Sidecar::start(&[]).await;
    for user in ["a", "b", "c", "d"] {
        sidecar.event(user, user, &format!("{user}1")).await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 4).await;
    sidecar.upstream.answer_with(|_| Some(limited("3600")));
    let strangers = 5;
    for number in 0..strangers {
        let name = format!("stranger{number}");
        sidecar.event(&name, &name, &name).await;
    }
    sidecar.flush().await;
    sidecar.until_counter(LIMITED, strangers).await;
    for (count, user) in [(1, "a"), (2, "b"), (3, "c")] {
        sidecar.event(user, user, &format!("{user}2")).await;
        sidecar.flush().await;
        sidecar.until_counter(LIMITED, strangers + count).await;
        assert_eq!(sidecar.counter(DEFERRED).await, 0);
    }
    sidecar.event("d", "d", "d2").await;
    sidecar.flush().await;
    sidecar.until_counter(DEFERRED, 1).await;
    assert_eq!(sidecar.upstream.seen().len(), 4 + 5 + 3);
}

#[tokio::test]
async fn an_upstream_in_trouble_gets_the_same_batch_under_the_same_key() {
    Row {
        script: [500, 502, 503, 504, 408]
            .map(|status| answer(status, json!({})))
            .into(),
        steps: vec![Post("t", "a b")],
        calls: vec!["t /batch a b"; 6],
        same_key: true,
        ledger: [2, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn a_batch_that_always_fails_while_others_pass_is_bisected_and_only_the_bad_event_dies() {
    // What fails alone while others pass has patience for a 24th of this; the whole of it is more
    // than any machine takes to find the bad event.
    let sidecar = Sidecar::start(&[("[delivery]", "[delivery]\ngive_up_after = \"72s\"")]).await;
    sidecar
        .upstream
        .answer_with(|seen| holds_bad(seen).then(|| answer(500, json!({ "error": "a bad row" }))));
    for id in ["a", "b", "bad", "d"] {
        sidecar.event("u", "u", id).await;
    }
    let mut others = 0;
    while sidecar.running.ledger().dead == 0 {
        sidecar.event("v", "v", &format!("v{others}")).await;
        others += 1;
        assert!(
            others < 20_000,
            "others pass, and the bad event is still tried: {}",
            sidecar.running.ledger()
        );
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.pending <= 4).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    let letters = sidecar.admin(Method::GET, "/dead-letters").await.json();
    assert_eq!(
        (ledger.accepted, ledger.dead),
        (3 + others, 1),
        "{ledger}; {letters}"
    );
    assert_eq!(letters[0]["id"], "bad");
    let mut taken: Vec<_> = sidecar.upstream.batches();
    taken.retain(|ids| ids[0].len() == 1 && !ids.iter().any(|id| id == "bad"));
    assert_eq!(taken.concat(), ["a", "b", "d"]);
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_loses_nothing() {
    Row {
        script: vec![hang_up(), hang_up()],
        steps: vec![Post("t", "a b")],
        calls: vec!["t /batch a b"; 3],
        same_key: true,
        ledger: [2, 0, 0],
        ..Row::default()
    }
    .holds()
    .await;
}

#[tokio::test]
async fn what_cannot_be_delivered_in_time_becomes_a_dead_letter() {
    let rules: [fn(&Seen) -> Option<Reply>; 2] =
        [|_| Some(answer(503, json!({}))), |_| Some(hang_up())];
    for rule in rules {
        Row {
            config: vec![SOON],
            rule: Some(rule),
            steps: vec![Post("t", "a")],
            calls: vec!["t /batch a"],
            repeats: true,
            dead: vec!["a gave_up"],
            ..Row::default()
        }
        .holds()
        .await;
    }
}

#[tokio::test]
async fn an_open_circuit_lets_one_batch_at_a_time_try() {
    let sidecar = Sidecar::start(&[("[delivery]", "[delivery]\nescalate_after = 2")]).await;
    let users = ["a", "b", "c", "d", "e", "f"];
    for user in users {
        sidecar.event(user, user, &format!("{user}0")).await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 6).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(500, json!({}))));
    for user in ["a", "b"] {
        sidecar.event(user, user, &format!("{user}1")).await;
        sidecar.flush().await;
        sidecar
            .until_counter(FAILING, 1 + u64::from(user == "b"))
            .await;
    }
    sidecar.until_counter(FAILING, 3).await;
    sidecar.upstream.close_gate();
    for user in ["c", "d", "e", "f"] {
        sidecar.event(user, user, &format!("{user}1")).await;
    }
    sidecar.flush().await;
    for _ in 0..3 {
        sidecar
            .upstream
            .until(|_| sidecar.upstream.held() > 0)
            .await;
        // Every other lane comes and is sent away, while the one probe is there.
        let deferred = sidecar.counter(DEFERRED).await;
        while sidecar.counter(DEFERRED).await < deferred + 10 {
            assert!(
                sidecar.upstream.held() <= 1,
                "{} at once",
                sidecar.upstream.held()
            );
        }
        let probes = sidecar.upstream.seen().len();
        sidecar.upstream.open_gate();
        sidecar.upstream.until(|seen| seen.len() > probes).await;
        sidecar.upstream.close_gate();
    }
    sidecar.upstream.answer_with(|_| None);
    sidecar.upstream.open_gate();
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (12, 0), "{ledger}");
}
