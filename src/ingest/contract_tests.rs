use super::*;
use crate::event::Keys;
use crate::identity::{Admit, IdentitySettings, Part, Selection};
use crate::template::{JsonTemplate, Path};
use http::HeaderValue;
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

fn reading(status: u16, body: &Value, retry: Option<&'static str>) -> Reading {
    reading_with(&Results::default(), status, body, retry)
}

fn reading_with(results: &Results, status: u16, body: &Value, retry: Option<&'static str>) -> Reading {
    let mut headers = HeaderMap::new();
    if let Some(retry) = retry {
        headers.insert("retry-after", HeaderValue::from_static(retry));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let body = if let Value::String(text) = body { text.clone() } else { body.to_string() };
    let ids = ["a", "b", "c"].map(|id| EventId::try_new(id).unwrap());
    let asked = Asked { ids: ids.iter().collect(), form: Form::Batch };
    let reader = Reader { results, permanent: &["fatal".into()] };
    read(&asked, StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), reader, now)
}

#[test]
fn a_reply_gives_each_event_one_fate() {
    let (yes, known, again) = (Fate::Done(Outcome::Accepted), Fate::Done(Outcome::Duplicate), Fate::Again);
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
        (json!({ "accepted": ["a", "other"] }), [&yes, &again, &again], 1),
        (json!({ "accepted": [], "failed": ["b"] }), [&again, &again, &again], 0),
        (json!({ "ok": true, "data": { "ingested": 3 } }), [&yes, &yes, &yes], 0),
        (json!("no json at all"), [&yes, &yes, &yes], 0),
        // An id that stands in two lists was taken by one of them.
        (json!({ "accepted": ["a", "b", "c"], "failed": [{ "id": "a", "reason": "fatal" }] }), [&yes, &yes, &yes], 0),
    ];
    for (body, wanted, unknown) in cases {
        let found = reading(200, &body, None);
        let wanted = Answer::Verdict(Verdict::Answered(wanted.into_iter().cloned().collect()));
        assert_eq!((found.verdict, found.unknown), (wanted, unknown), "{body}");
    }
}

#[test]
fn every_status_has_its_meaning() {
    let named = |ids: &[&str]| {
        Answer::Verdict(Verdict::Refused { named: ids.iter().map(|id| EventId::try_new(id).unwrap()).collect() })
    };
    let cases = [
        (400, json!({ "invalid": ["b", "x"] }), named(&["b"])),
        (422, json!({ "data": { "failed": [{ "id": "c", "reason": "r" }] } }), named(&["c"])),
        (409, json!({ "error": "no" }), named(&[])),
        (401, json!({}), Answer::Verdict(Verdict::Rejected)),
        (403, json!({}), Answer::Verdict(Verdict::Rejected)),
        (404, json!({}), Answer::Verdict(Verdict::NoBatchEndpoint)),
        (405, json!({}), Answer::Verdict(Verdict::NoBatchEndpoint)),
        (501, json!({}), Answer::Verdict(Verdict::NoBatchEndpoint)),
        (413, json!({}), Answer::Verdict(Verdict::TooLarge)),
        (408, json!({}), Answer::Server(None)),
        (421, json!({}), Answer::Server(None)),
        (425, json!({}), Answer::Server(None)),
        (500, json!({}), Answer::Server(None)),
        (599, json!({}), Answer::Server(None)),
        (302, json!({}), Answer::Server(None)),
        (429, json!({}), Answer::Limited(None)),
    ];
    for (status, body, wanted) in cases {
        assert_eq!(reading(status, &body, None).verdict, wanted, "{status}");
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
            reading(429, &json!({}), Some(text)).verdict,
            Answer::Limited(wanted.map(Duration::from_secs)),
            "{text}"
        );
        assert_eq!(reading(503, &json!({}), Some(text)).verdict, Answer::Server(wanted.map(Duration::from_secs)));
    }
}

#[test]
fn an_event_may_be_named_by_its_place_as_schema_validators_do() {
    let named = |body| match reading(400, &body, None).verdict {
        Answer::Verdict(Verdict::Refused { named }) => {
            named.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(named(json!({ "details": [{ "path": ["events", 1, "eventName"], "message": "Required" }] })), ["b"]);
    assert_eq!(
        named(json!({ "issues": [{ "path": ["events", 9] }, { "path": [0, "x"] }, { "path": "events" }] })),
        ["a"]
    );
    assert_eq!(named(json!({ "errors": ["nothing that names anything"] })), [""; 0]);
}

#[test]
fn a_json_reply_that_breaks_off_or_a_page_says_nothing_of_what_was_taken() {
    for body in [
        "<!DOCTYPE html><html><title>App</title></html>",
        "{\"accepted\":[\"a\",\"b\"",
        "[{\"id\":\"a\"}, ",
        "{\"accepted\": nope}",
    ] {
        assert_eq!(reading(200, &json!(body), None).verdict, Answer::Server(None), "{body}");
        assert_eq!(reading(422, &json!(body), None).verdict, Answer::Verdict(Verdict::Refused { named: Vec::new() }));
    }
}

#[test]
fn a_groups_results_say_where_a_reply_speaks_of_its_events() {
    let (yes, known, again) = (Fate::Done(Outcome::Accepted), Fate::Done(Outcome::Duplicate), Fate::Again);
    let dead = Fate::Done(Outcome::Dead(Reason::FailedPermanently));
    let fates = |results: &Results, body: Value| match reading_with(results, 200, &body, None).verdict {
        Answer::Verdict(Verdict::Answered(fates)) => Some(fates),
        Answer::Server(None) => None,
        other => panic!("{other:?}"),
    };
    let at = |text: &str| Some(Path::parse(text));
    // Rows that were made come back; what was there already does not.
    let rows = Results {
        places: vec![Places { accepted: at(""), ..Places::default() }],
        id: vec!["event_id".into()],
        missing: Missing::Duplicate,
        needed: true,
        ..Results::default()
    };
    assert_eq!(fates(&rows, json!([{ "event_id": "b", "percent": 3 }])), Some(vec![known.clone(), yes.clone(), known]));
    assert_eq!(fates(&rows, json!({ "message": "odd" })), None, "no answer: it is asked again");
    let named = Results {
        places: vec![Places { failed: at("/report/bad~1rows"), ..Places::default() }],
        id: vec!["ref".into()],
        reason: vec!["code".into()],
        missing: Missing::Accepted,
        needed: true,
    };
    let reply = json!({ "report": { "bad/rows": [{ "ref": "a", "code": "fatal" }, { "ref": "c", "code": "busy" }] } });
    assert_eq!(fates(&named, reply), Some(vec![dead, yes, again]));
    let numbers = Results { places: vec![Places { accepted: at("/ok"), ..Places::default() }], ..rows };
    assert_eq!(fates(&numbers, json!({ "ok": [7] })).map(|fates| fates.len()), Some(3), "an unknown id takes nothing");
}

fn identity() -> Identity {
    let settings = IdentitySettings {
        selection: Selection::listed(&[Part::parse("header:x-org").unwrap()]),
        claims: Vec::new(),
        refresh: None,
        user: crate::template::Template::default(),
        require: Vec::new(),
        forbid: Vec::new(),
        double_submit: None,
        token: Vec::new(),
        admit: Admit::Optimistic,
        proof_ttl: Duration::from_secs(1),
        cors: None,
    };
    Identity::new(settings, [7; 32], 10)
}

#[test]
fn the_envelope_is_as_long_as_the_window_counts_it() {
    let events: [&[u8]; 3] = [b"{}", b"{\"a\":1}", b"{}"];
    let identity = identity();
    let headers = vec![(http::header::HeaderName::from_static("x-org"), HeaderValue::from_static("acme \"1\""))];
    let context = Context { headers, ..Context::bare(Keys::of(Fingerprint([1; 16]))) };
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let sources = [Source::Events, Source::Header, Source::User, Source::NowIso, Source::Batch];
    let document = |value: Value| Envelope::Document(JsonTemplate::from_json(&value, &sources).unwrap());
    let cases = [
        (Envelope::Plain, "{\"events\":[{},{\"a\":1},{}]}"),
        (document(json!("{events}")), "[{},{\"a\":1},{}]"),
        (
            document(
                json!({ "org_id": "{header.x-org}", "none": "{header.x-none}", "source": "tidegate", "rows": "{events}" }),
            ),
            "{\"org_id\":\"acme \\\"1\\\"\",\"rows\":[{},{\"a\":1},{}],\"source\":\"tidegate\"}",
        ),
        (
            document(json!({ "u": "{user}", "at": "{now.iso}", "e": "{events}" })),
            "{\"at\":\"2023-11-14T22:13:20.000Z\",\"e\":[{},{\"a\":1},{}],\"u\":\"ada\"}",
        ),
    ];
    for (envelope, wanted) in cases {
        let head = Head::of(&context);
        let scope = BatchScope::new(&identity, Some((&head, &context)), Some("ada"), "an id", now);
        let body = envelope.wrap(events.into_iter(), scope);
        assert_eq!(String::from_utf8_lossy(&body), wanted);
        let counted = envelope.overhead(&identity, &context, "ada", now);
        assert_eq!(body.len(), counted + events.iter().map(|event| event.len()).sum::<usize>() + 2);
    }
}

#[test]
fn a_batch_of_two_credentials_is_refused_by_the_assembler() {
    let context = |byte: u8, value: &'static str| {
        let headers = vec![(http::header::AUTHORIZATION, HeaderValue::from_static(value))];
        Arc::new(Context { headers, ..Context::bare(Keys::of(Fingerprint([byte; 16]))) })
    };
    let (mine, same, other) = (context(1, "a"), context(1, "a"), context(2, "b"));
    let collided = context(1, "b");
    let lane = mine.keys.fingerprint;
    assert!(one_context(lane, [&mine, &same].into_iter()).is_ok());
    assert!(one_context(lane, [&mine, &other].into_iter()).is_err());
    assert!(one_context(lane, [&mine, &collided].into_iter()).is_err());
    assert!(one_context(lane, [&other].into_iter()).is_err());
    assert!(one_context(lane, std::iter::empty()).is_err());
}
