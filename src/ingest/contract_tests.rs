use super::*;
use crate::event::{Fingerprint, GroupIndex, LaneKey, UserId};
use crate::ingest::window::{Lanes, Rules};
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::time::Instant;

struct Named(EventId, LaneKey);

impl Entry for Named {
    fn seq(&self) -> u64 {
        1
    }
    fn id(&self) -> &EventId {
        &self.0
    }
    fn lane(&self) -> &LaneKey {
        &self.1
    }
    fn bytes(&self) -> usize {
        10
    }
    fn priority(&self) -> bool {
        false
    }
    fn field(&self, _: &str) -> Option<&[u8]> {
        None
    }
    fn has_single(&self) -> bool {
        false
    }
}

fn batch() -> Batch<Named> {
    let rules = Rules {
        window: Duration::from_secs(1),
        flush_at: 3,
        max_events: 3,
        max_bytes: 1_000,
        distinct: Vec::new(),
        single: false,
        max_attempts: 8,
        give_up_after: Duration::from_secs(9),
        token_margin: Duration::from_secs(1),
    };
    let lane = LaneKey { group: GroupIndex(0), user: UserId::try_new("u").unwrap(), credential: Fingerprint([0; 16]) };
    let mut lanes = Lanes::new(vec![rules], 10);
    for id in ["a", "b", "c"] {
        lanes.push(Instant::now(), Named(EventId::try_new(id).unwrap(), lane.clone()));
    }
    lanes.take_ready().pop_front().unwrap()
}

fn reading(status: u16, body: &Value, retry: Option<&'static str>) -> Reading {
    let mut headers = HeaderMap::new();
    if let Some(retry) = retry {
        headers.insert("retry-after", HeaderValue::from_static(retry));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let body = if let Value::String(text) = body { text.clone() } else { body.to_string() };
    read(&batch(), StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), &["fatal".into()], now)
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
        (408, json!({}), Answer::Server),
        (500, json!({}), Answer::Server),
        (599, json!({}), Answer::Server),
        (302, json!({}), Answer::Server),
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
    }
}

#[test]
fn the_envelope_is_as_long_as_the_window_counts_it() {
    let events: [&[u8]; 3] = [b"{}", b"{\"a\":1}", b"{}"];
    let body = envelope(events.into_iter());
    assert_eq!(body, b"{\"events\":[{},{\"a\":1},{}]}");
    let counted = super::super::window::ENVELOPE_BYTES + events.iter().map(|event| event.len()).sum::<usize>() + 2;
    assert_eq!(body.len(), counted);
}

#[test]
fn a_batch_of_two_credentials_is_refused_by_the_assembler() {
    let credential = |byte: u8, value: &'static str| {
        let headers = vec![(http::header::AUTHORIZATION, HeaderValue::from_static(value))];
        Arc::new(Credential { fingerprint: Fingerprint([byte; 16]), headers })
    };
    let (mine, same, other) = (credential(1, "a"), credential(1, "a"), credential(2, "b"));
    let collided = credential(1, "b");
    assert!(one_credential(mine.fingerprint, [&mine, &same].into_iter()).is_ok());
    assert!(one_credential(mine.fingerprint, [&mine, &other].into_iter()).is_err());
    assert!(one_credential(mine.fingerprint, [&mine, &collided].into_iter()).is_err());
    assert!(one_credential(mine.fingerprint, [&other].into_iter()).is_err());
    assert!(one_credential(mine.fingerprint, std::iter::empty()).is_err());
}
