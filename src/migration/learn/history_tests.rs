use super::*;
use crate::migration::learn::exchange::Content;

/// A call of one browser that says this in its body.
fn call(number: usize, body: &str) -> Exchange {
    let header = |name: usize| (format!("x-{name}"), format!("header value {name}"));
    Exchange {
        method: "POST".to_owned(),
        path: "/e".to_owned(),
        headers: (0..20).map(header).collect(),
        body: Content::Text(body.to_owned()),
        started: i64::try_from(number).ok(),
        ..Exchange::default()
    }
}

#[test]
fn a_value_counts_once_in_a_call_and_a_repeated_header_once_of_its_caller() {
    let body = |number: usize| {
        let value = format!("value number {number}");
        serde_json::json!([value, value, value]).to_string()
    };
    let calls: Vec<_> = (0..100).map(|number| call(number, &body(number))).collect();
    let history = History::gather_within(&calls, 120);
    assert!(!history.is_cut && history.tell_cut().is_none());
    assert_eq!(history.room, 0);
    let header = history.sent((0, hash("header value 7")));
    assert_eq!(header.len(), 100);
    let history = History::gather_within(&calls, 119);
    assert!(history.is_cut && history.tell_cut().is_some());
}
