//! Traffic without a disagreement, and with one of each kind.

use super::*;
use crate::template::Path;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn rules() -> Rules {
    Rules {
        min_events: 100,
        max_rate: 0.001,
        ignore: Vec::new(),
        target_holds_singles: false,
    }
}

fn sheet(rules: Rules, sends: Sends) -> Sheet {
    let route = ("POST /progress".to_owned(), "progress".to_owned());
    Sheet::new(rules, vec![route], sends)
}

fn sends() -> Sends {
    Sends::To("http://shadow.test".to_owned())
}

fn told(status: u16, headers: &[(&str, &str)], body: &Value) -> Told {
    let header = |(name, value): &(&str, &str)| {
        (
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    Told {
        status,
        headers: headers.iter().map(header).collect::<HeaderMap>(),
        body: Bytes::from(body.to_string()),
        is_whole: true,
    }
}

/// An event on which all agree. The application stamps, numbers and counts by itself.
fn quiet(number: u64) -> Compared {
    let body = |updated: String, id: String, count: u64| {
        json!({
            "ok": true, "message": null,
            "data": {
                "user_id": format!("user-{}", number % 7), "percent": number % 100,
                "status": "in_progress", "updated_at": updated, "row": id,
                "event": format!("{number:032x}"),
            },
            "writes": count,
        })
    };
    let second = number % 60;
    let application = [
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "no-store, max-age=0"),
        ("x-powered-by", "Express"),
        ("x-frame-options", "DENY"),
        ("ratelimit-remaining", "7"),
        ("date", "Mon, 23 Nov 2026 20:24:28 GMT"),
    ];
    let ours = [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("tidegate-event", "x"),
    ];
    Compared {
        event: format!("event-{number}").into(),
        single: told(
            200,
            &application,
            &body(
                format!("2026-11-23T20:24:{second:02}.{:03}Z", number % 1_000),
                format!("{:08x}-0000-4000-8000-00000000000a", number * 77),
                number * 3 + 1,
            ),
        ),
        single_took: Duration::from_millis(5 + number % 10),
        predicted: told(
            200,
            &ours,
            &body(
                format!("2026-11-23T20:25:{second:02}.000Z"),
                format!("{:08x}-0000-4000-8000-00000000000b", number * 91),
                0,
            ),
        ),
        is_repetition: false,
        batched: Some(Batched::Taken),
        batch_took: Some(Duration::from_millis(9)),
        waited: Some(Duration::from_secs(4)),
        missed: Vec::new(),
        is_out_of_order: false,
    }
}

fn take(sheet: &mut Sheet, compared: &Compared) {
    sheet.note_call(0);
    sheet.take(0, compared);
}

/// A change of an answer's body.
fn change(told: &mut Told, change: impl FnOnce(&mut Value)) {
    let mut body: Value = serde_json::from_slice(&told.body).unwrap();
    change(&mut body);
    told.body = Bytes::from(body.to_string());
}

type Seed = fn(&mut Compared);

/// Each kind of an event, seeded, with the place that it is told at.
const SEEDS: [(Kind, &str, Seed); 21] = [
    (Kind::AckStatus, "the status", |event| {
        event.single.status = 201
    }),
    (Kind::AckMissingKey, "/data/streak", |event| {
        change(&mut event.single, |body| {
            body["data"]["streak"] = json!(null)
        });
    }),
    (Kind::AckExtraKey, "/data/extra", |event| {
        change(&mut event.predicted, |body| {
            body["data"]["extra"] = json!("x")
        });
    }),
    (Kind::AckType, "/data/percent", |event| {
        change(&mut event.single, |body| {
            body["data"]["percent"] = json!("5")
        });
    }),
    (Kind::AckType, "/message", |event| {
        change(&mut event.single, |body| body["message"] = json!("words"));
    }),
    (Kind::AckValue, "/data/status", |event| {
        change(&mut event.single, |body| {
            body["data"]["status"] = json!("completed")
        });
    }),
    (Kind::AckValue, "/data/percent", |event| {
        change(&mut event.single, |body| {
            body["data"]["percent"] = json!(101)
        });
    }),
    (Kind::AckValue, "/data/event", |event| {
        change(&mut event.single, |body| {
            body["data"]["event"] = json!("ffffffffffffffffffffffffffffff00");
        });
    }),
    (Kind::AckHeader, "header:set-cookie", |event| {
        let cookie = HeaderValue::from_static("session=secret");
        event.single.headers.insert("set-cookie", cookie);
    }),
    (Kind::AckContentType, "header:content-type", |event| {
        let text = HeaderValue::from_static("text/plain");
        event.single.headers.insert("content-type", text);
    }),
    (Kind::SaysNo, "the body", |event| {
        change(&mut event.single, |body| {
            *body = json!({ "success": false, "why": "lesson is locked" });
        });
    }),
    (Kind::SaysNo, "the body", |event| {
        change(&mut event.single, |body| {
            body["error"] = json!({ "code": 7 })
        });
    }),
    (Kind::RefusedByBatch, "validation_error", |event| {
        event.batched = Some(Batched::Refused("validation_error".into()));
    }),
    (Kind::TakenByBatchOnly, "the outcome", |event| {
        event.single.status = 422
    }),
    (Kind::Duplicate, "the outcome", |event| {
        event.batched = Some(Batched::Duplicate)
    }),
    (Kind::Duplicate, "/idempotent", |event| {
        event.is_repetition = true;
        event.batched = None;
        change(&mut event.single, |body| body["idempotent"] = json!(true));
    }),
    (Kind::Duplicate, "the outcome", |event| {
        event.is_repetition = true;
        event.batched = None;
        event.single.status = 409;
    }),
    (Kind::Duplicate, "the body", |event| {
        event.is_repetition = true;
        event.batched = None;
        change(&mut event.single, |body| body["error"] = json!("known"));
    }),
    (Kind::Order, "the lane", |event| {
        event.is_out_of_order = true
    }),
    (Kind::MissedField, "/device", |event| {
        event.missed = vec!["device".into()]
    }),
    (
        Kind::BrokenContract,
        "two events have one lesson",
        |event| {
            event.batched = Some(Batched::Broken("two events have one lesson".into()));
        },
    ),
];

#[test]
fn without_a_disagreement_10_000_events_are_go() {
    let mut sheet = sheet(rules(), sends());
    (0..10_000).for_each(|number| take(&mut sheet, &quiet(number)));
    sheet.note_batches(0, 1_000);
    let report = sheet.report(String::new(), 1);
    let route = &report.routes[0];
    assert_eq!(route.verdict.decision, Decision::Go, "{route:#?}");
    assert!(report.is_go());
    assert_eq!((route.compared, route.agreements), (10_000, 10_000));
    assert!(route.kinds.is_empty());
    let places: Vec<_> = route
        .left_out
        .iter()
        .map(|one| (&*one.place, &*one.what))
        .collect();
    assert_eq!(
        places,
        [
            ("/data/row", "id"),
            ("/data/updated_at", "time"),
            ("/writes", "number")
        ]
    );
    assert_eq!(report.groups[0].saving(), Some(10.0));
}

#[test]
fn few_quiet_events_are_not_yet() {
    for count in [1, 20, 2_999] {
        let mut sheet = sheet(rules(), sends());
        (0..count).for_each(|number| take(&mut sheet, &quiet(number)));
        let route = &sheet.report(String::new(), 1).routes[0];
        assert_eq!(route.verdict.decision, Decision::NotYet, "{count}");
        assert!(
            route
                .verdict
                .why
                .iter()
                .any(|why| why.contains("3000 events")),
            "{:?}",
            route.verdict
        );
    }
}

#[test]
fn each_kind_is_found_named_and_turns_the_verdict() {
    for (kind, place, seed) in SEEDS {
        let mut sheet = sheet(rules(), sends());
        for number in 0..2_000 {
            let mut event = quiet(number);
            if number % 40 == 30 {
                seed(&mut event);
            }
            take(&mut sheet, &event);
        }
        let route = &sheet.report(String::new(), 1).routes[0];
        let kinds: Vec<_> = route.kinds.iter().map(|one| one.kind).collect();
        assert_eq!(kinds, [kind], "{place}: {:#?}", route.kinds);
        let found = &route.kinds[0];
        assert_eq!(
            (found.events, found.places.get(place)),
            (50, Some(&50)),
            "{found:#?}"
        );
        assert_eq!(found.examples.len(), 5);
        assert_eq!(found.examples[0].event, "event-30");
        assert_eq!(route.disagreements, 50);
        let verdict = &route.verdict;
        assert_eq!(verdict.decision, Decision::NoGo, "{kind:?}: {verdict:?}");
        assert!(
            verdict.why.iter().any(|why| why.contains(kind.as_str())),
            "{verdict:?}"
        );
    }
}

#[test]
fn one_event_is_enough_only_for_what_chance_cant_make() {
    let told = [
        Kind::AckValue,
        Kind::RefusedByBatch,
        Kind::Order,
        Kind::BrokenContract,
    ];
    for (kind, _, seed) in SEEDS.iter().filter(|(kind, ..)| told.contains(kind)) {
        let mut sheet = sheet(rules(), sends());
        for number in 0..6_000 {
            let mut event = quiet(number);
            if number == 5_000 {
                seed(&mut event);
            }
            take(&mut sheet, &event);
        }
        let decision = sheet.report(String::new(), 1).routes[0].verdict.decision;
        let wanted = match kind {
            Kind::Order | Kind::BrokenContract => Decision::NoGo,
            _ => Decision::Go,
        };
        assert_eq!(decision, wanted, "{kind:?}");
    }
}

#[test]
fn a_lone_event_that_disagrees_is_not_yet_and_a_second_one_no_go() {
    let mut sheet = sheet(rules(), sends());
    for wanted in [Decision::NotYet, Decision::NoGo] {
        let mut event = quiet(1);
        event.single.status = 201;
        take(&mut sheet, &event);
        let decision = sheet.report(String::new(), 1).routes[0].verdict.decision;
        assert_eq!(decision, wanted);
    }
}

#[test]
fn an_event_with_two_kinds_counts_once_in_the_rate() {
    let mut sheet = sheet(rules(), sends());
    let mut event = quiet(1);
    event.single.status = 201;
    event.missed = vec!["device".into(), "build".into(), "device".into()];
    take(&mut sheet, &event);
    let route = &sheet.report(String::new(), 1).routes[0];
    assert_eq!((route.compared, route.disagreements), (1, 1));
    assert_eq!(route.kinds.iter().map(|kind| kind.events).sum::<u64>(), 2);
    assert_eq!(
        route.missed,
        [("build".to_owned(), 1), ("device".to_owned(), 1)].into()
    );
}

#[test]
fn a_number_that_changes_with_the_call_is_compared_though_it_never_agrees() {
    let mut sheet = sheet(rules(), sends());
    for number in 0..100 {
        let mut event = quiet(number);
        change(&mut event.single, |body| {
            body["data"]["percent"] = json!(number % 100 * 10 + 1)
        });
        take(&mut sheet, &event);
    }
    let route = &sheet.report(String::new(), 1).routes[0];
    assert_eq!(route.kinds[0].places["/data/percent"], 80);
}

#[test]
fn a_constant_id_or_number_that_the_acknowledgement_says_otherwise_is_found() {
    for (name, ours, theirs) in [
        ("version", json!(2), json!(3)),
        (
            "org",
            json!("00000000-0000-4000-8000-00000000000a"),
            json!("00000000-0000-4000-8000-00000000000b"),
        ),
    ] {
        let mut sheet = sheet(rules(), sends());
        for number in 0..100 {
            let mut event = quiet(number);
            change(&mut event.single, |body| body[name] = theirs.clone());
            change(&mut event.predicted, |body| body[name] = ours.clone());
            take(&mut sheet, &event);
        }
        let route = &sheet.report(String::new(), 1).routes[0];
        assert_eq!(route.disagreements, 80, "{name}");
    }
}

#[test]
fn answers_that_say_nothing_are_named_and_from_5_percent_on_there_is_no_go() {
    let silent: [(&str, Seed); 7] = [
        ("server_error", |event| event.single.status = 503),
        ("timeout", |event| event.single.status = 408),
        ("too_early", |event| event.single.status = 425),
        ("limited", |event| event.single.status = 429),
        ("unanswered", |event| {
            event.batched = Some(Batched::Unanswered)
        }),
        ("not_asked", |event| {
            event.single.status = 400;
            event.batched = Some(Batched::Supposed);
        }),
        ("unanswered", |event| event.batched = None),
    ];
    for (name, seed) in silent {
        let cases = [(20, Decision::NotYet), (21, Decision::Go)];
        // Of the others it is enough that they are counted.
        let cases = cases
            .into_iter()
            .take(if name == "server_error" { 2 } else { 1 });
        for (one_in, decision) in cases {
            let mut sheet = sheet(rules(), sends());
            for number in 0..4_200 {
                let mut event = quiet(number);
                if number % one_in == 0 {
                    seed(&mut event);
                }
                take(&mut sheet, &event);
            }
            let route = &sheet.report(String::new(), 1).routes[0];
            let count = 4_200_u64.div_ceil(one_in);
            assert_eq!(route.silent, [(name.to_owned(), count)].into());
            assert_eq!(route.compared, 4_200 - count);
            assert_eq!(route.verdict.decision, decision, "{name} 1 in {one_in}");
        }
    }
}

#[test]
fn outcomes_that_agree_are_agreements() {
    let agreeing: [Seed; 4] = [
        |event| event.batched = Some(Batched::Superseded),
        |event| {
            event.single.status = 400;
            event.batched = Some(Batched::Refused("validation_error".into()));
        },
        |event| {
            event.single.status = 409;
            event.batched = Some(Batched::Duplicate);
        },
        |event| event.batched = Some(Batched::Supposed),
    ];
    for (place, seed) in agreeing.into_iter().enumerate() {
        let mut sheet = sheet(rules(), sends());
        let mut event = quiet(1);
        seed(&mut event);
        take(&mut sheet, &event);
        assert_eq!(
            sheet.report(String::new(), 1).routes[0].agreements,
            1,
            "{place}"
        );
    }
}

#[test]
fn a_target_that_has_the_single_calls_may_call_events_duplicates() {
    let held = Rules {
        target_holds_singles: true,
        ..rules()
    };
    let mut sheet = sheet(held, sends());
    let mut event = quiet(1);
    event.batched = Some(Batched::Duplicate);
    take(&mut sheet, &event);
    assert_eq!(sheet.report(String::new(), 1).routes[0].agreements, 1);
}

#[test]
fn what_is_ignored_is_not_compared() {
    let ignoring = Rules {
        ignore: ["/data/status", "device", "header:Set-Cookie"]
            .map(Path::parse)
            .to_vec(),
        ..rules()
    };
    let mut sheet = sheet(ignoring, sends());
    for (kind, place, seed) in SEEDS {
        if ["/data/status", "/device", "header:set-cookie"].contains(&place) {
            let mut event = quiet(1);
            seed(&mut event);
            take(&mut sheet, &event);
            let route = &sheet.report(String::new(), 1).routes[0];
            assert!(route.kinds.is_empty(), "{kind:?}");
        }
    }
    assert_eq!(sheet.report(String::new(), 1).routes[0].agreements, 3);
}

#[test]
fn a_body_that_was_cut_off_or_packed_is_not_compared_and_counted() {
    let mut sheet = sheet(rules(), sends());
    let mut cut = quiet(1);
    cut.single.is_whole = false;
    cut.single.body = Bytes::from_static(b"{\"ok\":tr");
    take(&mut sheet, &cut);
    let mut packed = quiet(2);
    let gzip = HeaderValue::from_static("gzip");
    packed.single.headers.insert("content-encoding", gzip);
    packed.single.body = Bytes::from_static(b"\x1f\x8b\x08");
    take(&mut sheet, &packed);
    let route = &sheet.report(String::new(), 1).routes[0];
    assert_eq!((route.agreements, route.unread), (2, 2));
    // Where it is so with more than one in twenty, nobody knows.
    let mut decide = |cut: u64| {
        for number in 0..4_000 {
            let mut event = quiet(number);
            event.single.is_whole = number >= cut;
            take(&mut sheet, &event);
        }
        sheet.report(String::new(), 1).routes[0].verdict.decision
    };
    assert_eq!(decide(190), Decision::Go);
    assert_eq!(decide(220), Decision::NotYet);
}

#[test]
fn a_dry_run_and_shed_calls_are_told_in_the_verdict() {
    let mut sheet = sheet(rules(), Sends::Nowhere);
    for number in 0..4_000 {
        let mut event = quiet(number);
        event.batched = Some(Batched::Supposed);
        take(&mut sheet, &event);
    }
    sheet.note_call(0);
    sheet.note_shed(0);
    let verdict = &sheet.report(String::new(), 1).routes[0].verdict;
    assert_eq!(verdict.decision, Decision::Go);
    assert!(
        verdict.why.iter().any(|why| why.contains("not tried")),
        "{verdict:?}"
    );
    assert!(
        verdict
            .why
            .iter()
            .any(|why| why.contains("want of room: 1.")),
        "{verdict:?}"
    );
}

#[test]
fn a_state_that_differs_once_is_not_yet_and_twice_at_one_place_no_go() {
    let mut sheet = sheet(rules(), sends());
    (0..4_000).for_each(|number| take(&mut sheet, &quiet(number)));
    let decision = |sheet: &Sheet| sheet.report(String::new(), 1).routes[0].verdict.decision;
    let (control, other) = (
        json!({ "percent": 5, "n": 1 }),
        json!({ "percent": 6, "n": 1 }),
    );
    sheet.take_state(
        "/progress",
        &compare_states([&control, &control], &control, &[]),
    );
    assert_eq!(decision(&sheet), Decision::Go);
    let differs = compare_states([&control, &control], &other, &[]);
    sheet.take_state("/progress", &differs);
    assert_eq!(decision(&sheet), Decision::NotYet);
    let elsewhere = json!({ "percent": 5, "n": 2 });
    sheet.take_state(
        "/progress",
        &compare_states([&control, &control], &elsewhere, &[]),
    );
    assert_eq!(decision(&sheet), Decision::NotYet);
    sheet.take_state("/progress", &differs);
    assert_eq!(decision(&sheet), Decision::NoGo);
    let report = sheet.report(String::new(), 1);
    assert_eq!(
        (report.states[0].checks, report.states[0].differing),
        (4, 3)
    );
    assert!(report.routes[0].verdict.why[0].starts_with("state: /progress differs at /percent"));
}

/// Both ways refuse such an event, and yet its client would hear yes.
#[test]
fn refusals_that_would_be_acknowledged_are_counted_and_from_5_percent_on_there_is_no_go() {
    let decide = |refused: u64, status: u16, batched: &Batched| {
        let mut sheet = sheet(rules(), sends());
        for number in 0..4_000 {
            let mut event = quiet(number);
            if number < refused {
                event.single.status = status;
                event.batched = Some(batched.clone());
            }
            take(&mut sheet, &event);
        }
        let route = sheet.report(String::new(), 1).routes.remove(0);
        assert_eq!(route.agreements, 4_000);
        (route.verdict, route.acknowledged_refusals)
    };
    let refuses = Batched::Refused("validation_error".into());
    for (refused, decision) in [
        (0, Decision::Go),
        (190, Decision::Go),
        (200, Decision::NotYet),
        (400, Decision::NoGo),
        (4_000, Decision::NoGo),
    ] {
        let (verdict, count) = decide(refused, 422, &refuses);
        assert_eq!(
            (verdict.decision, count),
            (decision, refused),
            "{verdict:?}"
        );
        let said = verdict.why.join(" ");
        let tells = said.contains(&format!("would be acknowledged: {refused}."));
        assert_eq!(tells, refused > 0, "{said}");
    }
    // Of what both sides have already nothing is lost.
    let (verdict, count) = decide(4_000, 409, &Batched::Duplicate);
    assert_eq!((verdict.decision, count), (Decision::Go, 0));
}

#[test]
fn refusals_of_an_application_that_has_the_singles_are_counted_though_their_events_are_not_looked_at()
 {
    let mut sheet = sheet(rules(), sends());
    for number in 0..4_000 {
        sheet.note_answer(0, 200);
        sheet.note_answer(0, [422, 503][usize::from(number % 2 == 0)]);
        take(&mut sheet, &quiet(number));
    }
    let route = sheet.report(String::new(), 1).routes.remove(0);
    assert_eq!(route.acknowledged_refusals, 2_000);
    assert_eq!(route.verdict.decision, Decision::NoGo);
    assert!(
        route.verdict.why[0].contains("refused 2000 of 6000 calls"),
        "{:?}",
        route.verdict
    );
}

#[test]
fn a_route_whose_calls_were_all_refused_is_in_the_report_and_is_no_go() {
    let route = |name: &str| (format!("POST /{name}"), name.to_owned());
    let mut sheet = Sheet::new(rules(), vec![route("a"), route("b")], sends());
    for number in 0..4_000 {
        sheet.note_answer(0, 200);
        take(&mut sheet, &quiet(number));
        sheet.note_answer(1, 422);
    }
    let report = sheet.report(String::new(), 1);
    let decisions: Vec<_> = report
        .routes
        .iter()
        .map(|route| (&*route.route, route.verdict.decision))
        .collect();
    assert_eq!(
        decisions,
        [("POST /a", Decision::Go), ("POST /b", Decision::NoGo)]
    );
    assert_eq!(report.routes[1].acknowledged_refusals, 4_000);
    assert!(!report.is_go());
}

#[test]
fn a_state_that_was_never_compared_or_often_couldnt_be_is_not_yet() {
    let mut sheet = sheet(rules(), sends());
    (0..4_000).for_each(|number| take(&mut sheet, &quiet(number)));
    sheet.expect_state("/progress");
    let told = |sheet: &Sheet| {
        let report = sheet.report(String::new(), 1);
        let (verdict, state) = (&report.routes[0].verdict, &report.states[0]);
        (
            verdict.decision,
            verdict.why.join(" "),
            (state.checks, state.failed),
        )
    };
    let (decision, why, counts) = told(&sheet);
    assert_eq!((decision, counts), (Decision::NotYet, (0, 0)));
    assert!(
        why.contains("/progress was never compared; 0 looks failed."),
        "{why}"
    );
    (0..3).for_each(|_| sheet.note_failed_look("/progress"));
    let (decision, why, counts) = told(&sheet);
    assert_eq!((decision, counts), (Decision::NotYet, (0, 3)));
    assert!(
        why.contains("/progress was never compared; 3 looks failed."),
        "{why}"
    );
    let state = json!({ "percent": 5 });
    let same = compare_states([&state, &state], &state, &[]);
    (0..57).for_each(|_| sheet.take_state("/progress", &same));
    let (decision, why, _) = told(&sheet);
    assert_eq!(decision, Decision::NotYet);
    assert!(
        why.contains("could not be compared in 3 of 60 looks"),
        "{why}"
    );
    sheet.take_state("/progress", &same);
    let (decision, why, counts) = told(&sheet);
    assert_eq!((decision, counts), (Decision::Go, (58, 3)), "{why}");
    assert!(why.contains("a side had no answer: 3."), "{why}");
}

#[test]
fn a_route_without_a_call_is_left_out_and_an_empty_report_is_no_go() {
    let report = sheet(rules(), sends()).report(String::new(), 1);
    assert!(report.routes.is_empty() && report.groups.is_empty());
    assert!(!report.is_go());
}

#[test]
fn a_million_names_take_bounded_room() {
    let mut sheet = sheet(rules(), sends());
    for number in 0..10_000_u32 {
        let mut event = quiet(number.into());
        change(&mut event.single, |body| {
            for name in 0..100_u32 {
                let letters: String = (number * 100 + name)
                    .to_string()
                    .bytes()
                    .map(|digit| char::from(digit - b'0' + b'a'))
                    .collect();
                body[format!("k{letters}")] = json!(number);
            }
        });
        event.missed = (0..3)
            .map(|name| format!("m{}", "abcdefghij".repeat(1 + name)).into())
            .collect();
        event.batched = Some(Batched::Refused(format!("reason-{number}").into()));
        event.single.status = 200 + u16::try_from(number % 100).unwrap();
        take(&mut sheet, &event);
        sheet.take_state(
            &format!("/s/{number}"),
            &compare_states(
                [&json!({}), &json!({})],
                &json!({ format!("x{number}"): 1 }),
                &[],
            ),
        );
    }
    let report = sheet.report(String::new(), 1);
    assert!(serde_json::to_string(&report).unwrap().len() < 50_000);
    assert!(report.states.len() <= 17);
    let mut learned = super::learned::Learned::default();
    for number in 0..1_000_000 {
        learned.judge(&format!("/{number}"), (&json!(number), &json!(0)), false);
    }
    assert_eq!(learned.places(), super::learned::MOST_PLACES);
}

/// JSON whose every text holds the marker, and whose every number begins with its digits.
fn marked() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        (0..100_u64).prop_map(|tail| json!(77_665_500 + tail)),
        "[a-z ]{0,6}".prop_map(|text| json!(format!("{text}MARKED{text}"))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map("[a-c]{1,2}|MARKED[0-9]{8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_value_of_a_body_or_header_is_in_a_report_and_counts_balance(
        bodies in proptest::collection::vec((marked(), marked(), any::<proptest::sample::Index>()), 1..30),
        refused in "MARKED [a-z]{0,5}",
    ) {
        let mut sheet = sheet(rules(), sends());
        let calls = bodies.len() as u64;
        for (place, (single, ack, seed)) in bodies.into_iter().enumerate() {
            let mut event = quiet(place as u64);
            seed.get(&SEEDS).2(&mut event);
            let headers = [("x-secret", "MARKED"), ("content-type", "application/json"), ("set-cookie", "a=MARKED")];
            event.single = told(event.single.status, &headers, &single);
            event.predicted = told(200, &[("access-control-allow-origin", "MARKED")], &ack);
            event.missed = vec!["MARKED value".into()];
            if seed.index(2) == 0 {
                event.batched = Some(Batched::Refused(refused.clone().into()));
            }
            take(&mut sheet, &event);
            sheet.take_state("/state", &compare_states([&single, &single], &ack, &[]));
        }
        sheet.note_call(0);
        sheet.note_call(0);
        sheet.note_declined(0, "not_json");
        let report = sheet.report(String::new(), 1);
        let text = serde_json::to_string(&report).unwrap();
        prop_assert!(!text.contains("MARKED") && !text.contains("776655"), "{}", text);
        let route = &report.routes[0];
        prop_assert_eq!(route.calls, calls + 2);
        let silent: u64 = route.silent.values().sum();
        let declined: u64 = route.declined.values().sum();
        prop_assert_eq!(route.calls, declined + route.shed + route.compared + silent + route.pending);
        prop_assert_eq!(route.pending, 1);
        prop_assert_eq!(route.compared, route.agreements + route.disagreements);
        prop_assert_eq!(route.statuses.values().sum::<u64>(), calls);
        let again: Report = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(again.routes[0].kinds.len(), route.kinds.len());
    }
}

#[test]
fn durations_are_told_to_two_digits() {
    let mut sheet = sheet(rules(), sends());
    for number in 1..=100 {
        let mut event = quiet(number);
        event.single_took = Duration::from_micros(number * 100);
        take(&mut sheet, &event);
    }
    let single = sheet.report(String::new(), 1).routes[0].single;
    assert_eq!(single.count, 100);
    assert!((4_950..=5_050).contains(&single.p50_us), "{single:?}");
    assert!((9_400..=9_600).contains(&single.p95_us), "{single:?}");
    assert!(single.longest_us >= 10_000);
}
