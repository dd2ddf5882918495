use super::*;
use crate::cli::page::check::assert_stands_alone;
use crate::migration::parity::{self, Batched, Compared, Rules, Sends, Sheet, compare_states};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::time::Duration;

fn answer(body: &Value) -> parity::Told {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-session", HeaderValue::from_static("MARKED"));
    parity::Told {
        status: 200,
        headers,
        body: Bytes::from(body.to_string()),
        is_whole: true,
    }
}

/// A report of three routes with names that would be tags, every part of it filled.
fn report() -> Report {
    let route = |name: &str| (name.to_owned(), "pro<gress".to_owned());
    let routes = vec![
        route("POST /api/<b>{lesson}</b>"),
        route("POST /quiet"),
        route("POST /a-route-with-a-name-that-is-long/of-which-there-are-some/in-applications"),
    ];
    let rules = Rules {
        min_events: 100,
        ..Rules::default()
    };
    let mut sheet = Sheet::new(rules, routes, Sends::To("shadow.test<x>".to_owned()));
    for number in 0..400_u32 {
        let body = json!({
            "text": format!("MARKED {number}"), "at": format!("2026-01-02T03:04:05.{:03}Z", number),
            "list": ["MARKED"], "count": 7_766_550 + number,
        });
        let mut single = body.clone();
        single["at"] = json!("2026-01-02T03:04:06Z");
        let mut event = Compared {
            event: format!("<img src=x onerror='{number}'>").into(),
            single: answer(&single),
            single_took: Duration::from_micros(u64::from(number) * 40),
            predicted: answer(&body),
            is_repetition: number % 50 == 0,
            batched: (number % 50 != 0).then_some(Batched::Taken),
            batch_took: Some(Duration::from_millis(12)),
            waited: Some(Duration::from_secs(5)),
            missed: Vec::new(),
            is_out_of_order: false,
        };
        sheet.note_call(1);
        sheet.take(1, &event);
        match number % 9 {
            0 => event.missed = vec!["device".into(), "MARKED <b>".into()],
            1 => event.predicted = answer(&json!({ "text": true, "extra": "MARKED" })),
            2 => event.batched = Some(Batched::Refused("MARKED & more".into())),
            3 => {
                event.batched = Some(Batched::Broken(
                    "two <b>events</b> have one \"lesson\"".into(),
                ))
            }
            4 => event.single.status = 422,
            5 => event.single.status = 503,
            6 => event.is_out_of_order = true,
            7 => event.single = answer(&json!({ "success": false, "why": "MARKED" })),
            _ => event.single.headers.clear(),
        }
        for route in [0, 2] {
            sheet.note_call(route);
            sheet.take(route, &event);
        }
        sheet.note_call(0);
        sheet.note_declined(0, "not_json");
    }
    sheet.note_call(0);
    sheet.note_shed(0);
    sheet.note_batches(0, 40);
    let (control, other) = (
        json!({ "percent": "MARKED" }),
        json!({ "percent": "MARKED." }),
    );
    let found = compare_states([&control, &control], &other, &[]);
    sheet.take_state("/state/<i>{user}</i>", &found);
    sheet.report("2026-01-02T03:04:05Z".to_owned(), 7_200)
}

#[test]
fn the_parity_table_fits_80_columns_and_says_all_that_matters() {
    let text = write_table(&report());
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for said in [
        "Compared for 2h since 2026-01-02T03:04:05Z.",
        ": NO GO",
        "POST /quiet in [batch.pro<gress]: NOT YET",
        "would be forwarded or refused, not_json: 400",
        "says nothing, server_error: 44",
        "missed_field (45 events):",
        "/device (45)",
        "from call to outcome",
        "in for one out",
        "1 of 1 checks differ, 0 failed.",
        "(time, ",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn the_parity_page_asks_for_nothing_from_elsewhere_and_every_tag_is_closed() {
    let page = page::write_page(&report()).replace("src=x", "");
    assert_stands_alone(&page);
}

#[test]
fn what_a_parity_report_has_from_traffic_is_escaped_on_its_page() {
    let page = page::write_page(&report());
    for escaped in [
        "POST /api/&lt;b&gt;{lesson}&lt;/b&gt;",
        "pro&lt;gress",
        "&lt;img src=x onerror=&#39;",
        "two &lt;b&gt;events&lt;/b&gt; have one &quot;lesson&quot;",
        "shadow.test&lt;x&gt;",
        "/state/&lt;i&gt;{user}&lt;/i&gt;",
    ] {
        assert!(page.contains(escaped), "{escaped}");
    }
}

#[test]
fn no_value_of_a_body_is_in_a_parity_table_or_page() {
    for text in [write_table(&report()), page::write_page(&report())] {
        assert!(
            !text.contains("MARKED") && !text.contains("77665"),
            "{text}"
        );
    }
}

#[test]
fn a_parity_report_without_calls_is_a_page_and_a_table_too() {
    let empty = Report {
        routes: Vec::new(),
        groups: Vec::new(),
        states: Vec::new(),
        ..report()
    };
    assert!(write_table(&empty).contains("No call was compared"));
    let page = page::write_page(&empty);
    assert!(page.contains("No call was compared yet."));
    assert_stands_alone(&page);
}
