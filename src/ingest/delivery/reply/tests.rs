use super::*;
use crate::ingest::settings::Places;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json;

fn reading(status: u16, body: &Value, retry: Option<&'static str>) -> Reading {
    reading_with(&Results::default(), status, body, retry)
}

fn reading_with(
    results: &Results,
    status: u16,
    body: &Value,
    retry: Option<&'static str>,
) -> Reading {
    let body = if let Value::String(text) = body {
        text.clone()
    } else {
        body.to_string()
    };
    let headers: Vec<_> = retry
        .map(|retry| ("retry-after", retry))
        .into_iter()
        .collect();
    reading_of(None, results, Form::Batch, status, &body, &headers)
}

fn reading_of(
    success: Option<&Success>,
    results: &Results,
    form: Form,
    status: u16,
    body: &str,
    fields: &[(&'static str, &'static str)],
) -> Reading {
    let fields = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let ids = ["a", "b", "c"]
        .into_iter()
        .take(if form == Form::Single { 1 } else { 3 })
        .collect();
    let reader = Reader {
        results,
        success,
        permanent: &["fatal".into()],
    };
    let reply = Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: fields.collect(),
        body: body.to_owned().into(),
        unread: None,
    };
    read(&Asked { ids, form }, &reply, reader, now)
}

#[test]
fn a_reply_gives_each_event_one_fate() {
    let (yes, known, again) = (
        Fate::Done(Outcome::Accepted),
        Fate::Done(Outcome::Duplicate),
        Fate::Again,
    );
    let dead = Fate::Done(Outcome::Dead(Reason::FailedPermanently));
    let cases = [
        (
            json!({ "accepted": ["a"], "duplicates": ["b"], "failed": [{ "id": "c", "reason": "busy" }] }),
            [&yes, &known, &again],
            0,
        ),
        (
            json!({ "data": { "accepted": ["a", "b"], "failed": [{ "id": "c", "reason": "fatal" }] } }),
            [&yes, &yes, &dead],
            0,
        ),
        (
            json!({ "accepted": ["a", "other"] }),
            [&yes, &again, &again],
            1,
        ),
        (
            json!({ "accepted": [], "failed": ["b"] }),
            [&again, &again, &again],
            0,
        ),
        (
            json!({ "ok": true, "data": { "ingested": 3 } }),
            [&yes, &yes, &yes],
            0,
        ),
        (json!("no json at all"), [&yes, &yes, &yes], 0),
        // An id that stands in two lists was taken by one of them.
        (
            json!({ "accepted": ["a", "b", "c"], "failed": [{ "id": "a", "reason": "fatal" }] }),
            [&yes, &yes, &yes],
            0,
        ),
    ];
    for (body, wanted, unknown) in cases {
        let found = reading(200, &body, None);
        let wanted = Answer::Fates(wanted.into_iter().cloned().collect());
        assert_eq!((found.answer, found.unknown), (wanted, unknown), "{body}");
    }
}

#[test]
fn every_status_has_its_meaning() {
    let named = |ids: &[&str]| {
        Answer::Refused(ids.iter().map(|id| EventId::try_new(id).unwrap()).collect())
    };
    let cases = [
        (400, json!({ "invalid": ["b", "x"] }), named(&["b"])),
        (
            422,
            json!({ "data": { "failed": [{ "id": "c", "reason": "r" }] } }),
            named(&["c"]),
        ),
        (409, json!({ "error": "no" }), named(&[])),
        (401, json!({}), Answer::Rejected),
        (403, json!({}), Answer::Forbidden),
        (404, json!({}), Answer::NotThere),
        (405, json!({}), Answer::NotThere),
        (501, json!({}), Answer::NotThere),
        (413, json!({}), Answer::TooLarge),
        (408, json!({}), Answer::Server(None)),
        (421, json!({}), Answer::Server(None)),
        (425, json!({}), Answer::Server(None)),
        (500, json!({}), Answer::Server(None)),
        (599, json!({}), Answer::Server(None)),
        (302, json!({}), Answer::NotThere),
        (307, json!({}), Answer::NotThere),
        (429, json!({}), Answer::Limited(None)),
    ];
    for (status, body, wanted) in cases {
        assert_eq!(reading(status, &body, None).answer, wanted, "{status}");
    }
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let cases = [
        ("7", Some(7)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("99999999999", Some(86_400)),
        ("soon", None),
        ("-1", None),
    ];
    for (text, wanted) in cases {
        assert_eq!(
            reading(429, &json!({}), Some(text)).answer,
            Answer::Limited(wanted.map(Duration::from_secs)),
            "{text}"
        );
        assert_eq!(
            reading(503, &json!({}), Some(text)).answer,
            Answer::Server(wanted.map(Duration::from_secs))
        );
    }
}

#[test]
fn an_event_may_be_named_by_its_place_as_schema_validators_do() {
    let named = |body| match reading(400, &body, None).answer {
        Answer::Refused(named) => named
            .iter()
            .map(|id| id.as_str().to_owned())
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        named(
            json!({ "details": [{ "path": ["events", 1, "eventName"], "message": "Required" }] })
        ),
        ["b"]
    );
    assert_eq!(
        named(
            json!({ "issues": [{ "path": ["events", 9] }, { "path": [0, "x"] }, { "path": "events" }] })
        ),
        ["a"]
    );
    assert_eq!(
        named(json!({ "errors": ["nothing that names anything"] })),
        [""; 0]
    );
}

#[test]
fn a_json_reply_that_breaks_off_or_a_page_says_nothing_of_what_was_taken() {
    for body in [
        "<!DOCTYPE html><html><title>App</title></html>",
        "\u{feff} <html>maintenance",
        "{\"accepted\":[\"a\",\"b\"",
        "[{\"id\":\"a\"}, ",
        "{\"accepted\": nope}",
    ] {
        assert!(
            matches!(reading(200, &json!(body), None).answer, Answer::Unclear(_)),
            "{body}"
        );
        assert_eq!(
            reading(422, &json!(body), None).answer,
            Answer::Refused(Vec::new())
        );
    }
}

#[test]
fn a_body_that_says_no_is_no_acceptance_and_one_that_says_nothing_is() {
    for body in [
        json!({ "ok": false }),
        json!({ "success": false, "data": {} }),
        json!({ "error": "no such table" }),
        json!({ "error": { "code": 1 } }),
        json!({ "errors": [{ "message": "x" }], "data": null }),
        json!({ "errors": true }),
        json!({ "errors": 2 }),
        json!("\u{feff}{\"ok\":false}"),
    ] {
        assert!(
            matches!(reading(200, &body, None).answer, Answer::Unclear(_)),
            "{body}"
        );
    }
    for body in [
        json!({ "ok": true, "error": null }),
        json!({ "errors": [] }),
        json!({ "errors": false, "error": "" }),
        json!({ "error": {}, "success": "false" }),
        json!({ "status": 0 }),
        json!({ "data": { "ok": false } }),
        json!(0),
        json!(""),
        json!([{ "ok": false }]),
    ] {
        assert_eq!(reading(200, &body, None).answer, all_taken(), "{body}");
    }
    let lists = json!({ "ok": false, "accepted": ["a", "b", "c"] });
    assert_eq!(
        reading(200, &lists, None).answer,
        all_taken(),
        "lists say it event by event"
    );
    assert!(matches!(
        reading(207, &json!({ "multi": [] }), None).answer,
        Answer::Unclear(_)
    ));
    assert_eq!(reading(207, &lists, None).answer, all_taken());
}

fn all_taken() -> Answer {
    Answer::Fates(vec![Fate::Done(Outcome::Accepted); 3])
}

#[test]
fn what_makes_a_success_is_configured() {
    let at = |place: &str, values: Value| Success {
        place: Path::parse(place),
        values: values.as_array().unwrap().clone(),
    };
    let status = at("/status", json!([1, "ok"]));
    let taken = |success: &Success, form, body: &str| {
        reading_of(Some(success), &Results::default(), form, 200, body, &[]).answer
            == Answer::Fates(vec![
                Fate::Done(Outcome::Accepted);
                if form == Form::Single { 1 } else { 3 }
            ])
    };
    for (body, whole, single) in [
        ("{\"status\":1}", true, true),
        ("{\"status\":1.0,\"errors\":[\"old news\"]}", true, true),
        ("{\"status\":\"ok\"}", true, true),
        ("{\"status\":0}", false, false),
        ("{\"status\":null}", false, false),
        // A batch must say yes; a single call's answer need not look like a batch's.
        ("{\"data\":{}}", false, true),
        ("", false, true),
        ("<html>", false, false),
    ] {
        assert_eq!(
            (
                taken(&status, Form::Batch, body),
                taken(&status, Form::Single, body)
            ),
            (whole, single),
            "{body}"
        );
    }
    let whole = at("", json!([1]));
    assert!(
        taken(&whole, Form::Batch, "1")
            && !taken(&whole, Form::Batch, "0")
            && !taken(&whole, Form::Single, "0")
    );
    assert!(!taken(&whole, Form::Batch, "{}") && taken(&whole, Form::Single, "{}"));
}

#[test]
fn a_single_calls_success_is_final_unless_it_is_a_page() {
    let single = |status, headers: &[(&'static str, &'static str)], body: &str| {
        reading_of(
            None,
            &Results::default(),
            Form::Single,
            status,
            body,
            headers,
        )
        .answer
    };
    let taken = Answer::Fates(vec![Fate::Done(Outcome::Accepted)]);
    for body in [
        "",
        "{\"ok\":false}",
        "{\"errors\":[1]}",
        "{\"broken",
        "0",
        "thanks",
    ] {
        assert_eq!(single(200, &[], body), taken, "{body}");
    }
    assert_eq!(
        single(
            200,
            &[("content-type", "text/xml; charset=utf-8")],
            "<done/>"
        ),
        taken
    );
    for page in ["<html><h1>maintenance</h1>", "\n<!-- x --><!doctype html>"] {
        assert_eq!(
            single(200, &[("retry-after", "9")], page),
            Answer::Server(Some(Duration::from_secs(9)))
        );
        assert_eq!(
            single(203, &[("content-type", "application/xhtml+xml")], page),
            Answer::Server(None)
        );
    }
    for status in [301, 302, 303, 307, 308] {
        assert_eq!(
            single(status, &[("location", "/login")], ""),
            Answer::Rejected,
            "{status}"
        );
    }
}

#[test]
fn results_in_the_order_of_the_batch_say_what_each_event_becomes() {
    let (yes, known, again) = (
        Fate::Done(Outcome::Accepted),
        Fate::Done(Outcome::Duplicate),
        Fate::Again,
    );
    let dead = Fate::Done(Outcome::Dead(Reason::FailedPermanently));
    let values = |all: Value| all.as_array().unwrap().clone();
    let results = |list: &str, status: &str| Results {
        in_order: Some(InOrder {
            list: Path::parse(list),
            status: Path::parse(status),
            accepted: values(json!(["created", 0])),
            duplicate: values(json!(["exists"])),
        }),
        needed: true,
        ..Results::default()
    };
    let fates = |list: &str, status: &str, body: &Value| match reading_with(
        &results(list, status),
        207,
        body,
        None,
    )
    .answer
    {
        Answer::Fates(fates) => Some(fates),
        Answer::Unclear(_) => None,
        other => panic!("{other:?}"),
    };
    let each = |values: [Value; 3]| values.map(|value| json!({ "status": value }));
    for (values, wanted) in [
        ([json!(201), json!(409), json!(422)], [&yes, &known, &dead]),
        (
            [json!("200"), json!(503), json!(429)],
            [&yes, &again, &again],
        ),
        ([json!(401), json!(302), json!(0)], [&again, &again, &yes]),
        (
            [json!("created"), json!("exists"), json!("fatal")],
            [&yes, &known, &dead],
        ),
        (
            [json!(true), json!(false), json!("odd")],
            [&yes, &again, &again],
        ),
        (
            [json!("created"), json!({}), Value::Null],
            [&yes, &again, &again],
        ),
    ] {
        let wanted = Some(wanted.map(Clone::clone).to_vec());
        assert_eq!(
            fates(
                "/items",
                "status",
                &json!({ "items": each(values.clone()) })
            ),
            wanted,
            "{values:?}"
        );
        assert_eq!(
            fates(
                "",
                "/",
                &json!(values.clone().map(|value| json!({ "": value })))
            ),
            wanted
        );
        assert_eq!(
            fates("rows", "", &json!({ "rows": values.clone() })),
            wanted
        );
    }
    let reasons = json!([{ "status": 200 }, { "status": "failed", "reason": "fatal" }, { "status": false, "reason": "busy" }]);
    assert_eq!(
        fates("", "status", &reasons),
        Some(vec![yes.clone(), dead, again])
    );
    for body in [
        json!([]),
        json!([{ "status": 200 }]),
        json!([{}, {}, {}]),
        json!({ "items": 3 }),
        json!("broken ["),
    ] {
        assert_eq!(fates("", "status", &body), None, "{body}");
    }
}

#[test]
fn an_entry_with_a_rows_id_beside_the_events_names_the_event() {
    let taken = |entry: Value| json!({ "accepted": [entry, "b", { "clientEventId": "c" }] });
    for entry in [
        json!({ "id": 991, "clientEventId": "a" }),
        json!({ "clientEventId": "a", "id": "row-7" }),
        json!({ "id": null, "clientEventId": "a" }),
    ] {
        let found = reading(200, &taken(entry.clone()), None);
        assert_eq!((found.answer, found.unknown), (all_taken(), 0), "{entry}");
    }
    let found = reading(
        200,
        &taken(json!({ "id": 991, "clientEventId": "x" })),
        None,
    );
    assert_eq!(found.unknown, 1);
    let refused = json!({ "failed": [{ "id": 991, "clientEventId": "a" }] });
    assert_eq!(
        reading(422, &refused, None).answer,
        Answer::Refused(vec![EventId::try_new("a").unwrap()])
    );
}

#[test]
fn a_groups_results_say_where_a_reply_speaks_of_its_events() {
    let (yes, known, again) = (
        Fate::Done(Outcome::Accepted),
        Fate::Done(Outcome::Duplicate),
        Fate::Again,
    );
    let dead = Fate::Done(Outcome::Dead(Reason::FailedPermanently));
    let fates =
        |results: &Results, body: Value| match reading_with(results, 200, &body, None).answer {
            Answer::Fates(fates) => Some(fates),
            Answer::Unclear(_) => None,
            other => panic!("{other:?}"),
        };
    let at = |text: &str| Some(Path::parse(text));
    // Rows that were made come back; what was there already does not.
    let rows = Results {
        places: vec![Places {
            accepted: at(""),
            ..Places::default()
        }],
        id: vec!["event_id".into()],
        missing: Missing::Duplicate,
        needed: true,
        ..Results::default()
    };
    assert_eq!(
        fates(&rows, json!([{ "event_id": "b", "percent": 3 }])),
        Some(vec![known.clone(), yes.clone(), known])
    );
    assert_eq!(
        fates(&rows, json!({ "message": "odd" })),
        None,
        "its single calls will tell"
    );
    let named = Results {
        places: vec![Places {
            failed: at("/report/bad~1rows"),
            ..Places::default()
        }],
        id: vec!["ref".into()],
        reason: vec!["code".into()],
        missing: Missing::Accepted,
        needed: true,
        ..Results::default()
    };
    let reply = json!({ "report": { "bad/rows": [{ "ref": "a", "code": "fatal" }, { "ref": "c", "code": "busy" }] } });
    assert_eq!(fates(&named, reply), Some(vec![dead, yes, again]));
    let numbers = Results {
        places: vec![Places {
            accepted: at("/ok"),
            ..Places::default()
        }],
        ..rows
    };
    assert_eq!(
        fates(&numbers, json!({ "ok": [7] })).map(|fates| fates.len()),
        Some(3),
        "an unknown id takes nothing"
    );
}

/// Pieces of replies, cut and joined at random.
const PIECES: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"accepted\"",
    "\"duplicates\"",
    "\"failed\"",
    "\"results\"",
    "\"id\"",
    "\"a\"",
    "\"b\"",
    "\"zzz\"",
    "\"reason\"",
    "\"fatal\"",
    "\"ok\"",
    "false",
    "\"errors\"",
    "null",
    "<html>",
    "\u{feff}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_replied_each_event_has_one_fate_or_the_batch_one_answer(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..24),
        noise in proptest::option::of(".{0,12}"),
        status in 100..1000u16,
        single in any::<bool>(),
        page in any::<bool>(),
    ) {
        let body = pieces.into_iter().map(|piece| PIECES[piece]).collect::<String>() + &noise.unwrap_or_default();
        let (form, events) = if single { (Form::Single, 1) } else { (Form::Batch, 3) };
        let fields = if page { &[("content-type", "text/html"), ("retry-after", "99999999999999999999")][..] } else { &[] };
        let found = reading_of(None, &Results::default(), form, status, &body, fields);
        match found.answer {
            Answer::Fates(fates) => prop_assert!(fates.len() == events && (200..300).contains(&status), "{status} {body}"),
            Answer::Unclear(_) => prop_assert!(!single && (200..300).contains(&status), "{status} {body}"),
            Answer::Refused(ids) => prop_assert!((400..500).contains(&status) && ids.len() <= events),
            Answer::Rejected | Answer::Forbidden | Answer::NotThere | Answer::TooLarge | Answer::Server(_) | Answer::Limited(_) => {
                prop_assert!(!(200..300).contains(&status) || single, "{status} {body}");
            }
        }
    }
}
