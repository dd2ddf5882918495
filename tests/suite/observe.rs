//! Mode `observe`: calls are the application's, and what windows would have made of them is told.

use crate::crash::start_for_commands;
use crate::support::process::run;
use crate::support::upstream::{FakeUpstream, answer};
use crate::support::{Http, Sidecar, in_time};
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};
use tidegate::clock::Clock;

const OBSERVE: (&str, &str) = ("path = \"/event\"", "path = \"/event\"\nmode = \"observe\"");

/// Holds the observer's thread, which looks at the clock when its first call is decided.
#[derive(Clone, Default)]
struct Hold(Arc<(Mutex<Stage>, Condvar)>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Held,
    Released,
}

impl Hold {
    fn clock(&self) -> Clock {
        let hold = self.clone();
        Clock::from_fn(move || {
            if std::thread::current().name() == Some("observer") {
                hold.stop_here();
            }
            SystemTime::now()
        })
    }

    fn stop_here(&self) {
        let (stage, changed) = &*self.0;
        let mut stage = stage.lock().unwrap();
        if *stage == Stage::Before {
            *stage = Stage::Held;
        }
        drop(changed.wait_while(stage, |stage| *stage == Stage::Held));
    }

    async fn until_held(&self) {
        let held = async {
            while *self.0.0.lock().unwrap() == Stage::Before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time("the observer", held).await;
    }

    fn release(&self) {
        *self.0.0.lock().unwrap() = Stage::Released;
        self.0.1.notify_all();
    }
}

/// The report, once so many calls are in it.
async fn observed(sidecar: &Sidecar, calls: u64) -> Value {
    let reached = async {
        loop {
            let report = sidecar.admin(Method::GET, "/observe").await.json();
            if report["groups"][0]["calls"].as_u64() == Some(calls) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time("the observer", reached).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observed_call_is_the_applications_and_is_counted_with_what_became_of_it_on_paper() {
    let sidecar = Sidecar::start(&[OBSERVE]).await;
    for number in 0..8 {
        let answer = sidecar.post("t", "u", &format!("e{number}"), "").await;
        assert_eq!(answer.header("tidegate-event"), "");
    }
    assert_eq!(sidecar.upstream.seen().len(), 8);
    assert_eq!(sidecar.running.ledger().received, 0);
    // Said twice, not JSON, without a user, with a query, with a body that is too large for a batch.
    sidecar.post("t", "u", "e0", "").await;
    let headers = [("authorization", "t")];
    let large = format!(
        "{{\"id\":\"x\",\"user\":\"u\",\"lesson\":\"l\",\"pad\":\"{}\"}}",
        "p".repeat(2_000)
    );
    for (path, body) in [
        ("/event", "no json"),
        ("/event", "{\"id\":\"y\",\"lesson\":\"l\"}"),
        (
            "/event?z=1",
            "{\"id\":\"z\",\"user\":\"u\",\"lesson\":\"l\"}",
        ),
        ("/event", &*large),
    ] {
        sidecar
            .call(Method::POST, path, &headers, body.to_owned())
            .await;
    }
    let proof = [("authorization", "t"), ("dpop", "x")];
    let body = json!({ "id": "p", "user": "u", "lesson": "l" }).to_string();
    sidecar.call(Method::POST, "/event", &proof, body).await;
    let report = observed(&sidecar, 14).await;
    let group = &report["groups"][0];
    assert_eq!(group["group"], "progress");
    assert_eq!(
        (&group["events"], &group["duplicates"], &group["declined"]),
        (&json!(8), &json!(1), &json!(5))
    );
    let route = &group["routes"][0];
    assert_eq!(route["route"], "POST /event");
    let mut reasons = route["declined"].as_object().unwrap().clone();
    assert_eq!(reasons.remove("not_json"), Some(json!(1)));
    assert_eq!(reasons.remove("missing_field"), Some(json!(1)));
    assert_eq!(reasons.remove("query"), Some(json!(1)));
    assert_eq!(reasons.remove("too_large_for_batch"), Some(json!(1)));
    assert_eq!(reasons.len(), 1, "the proof: {reasons:?}");
    // Windows of an hour are sealed by their count of four.
    let configured = group["arrangements"].as_array().unwrap();
    let configured = configured.iter().find(|one| one["configured"] == true);
    let configured = configured.unwrap();
    assert_eq!(
        (&configured["batches"], &configured["sent"]),
        (&json!(2), &json!(8)),
        "{configured}"
    );
    let seen = "tidegate_observed_events_total{route=\"POST /event\"}";
    assert_eq!(sidecar.counter(seen).await, 9);
    let declined = "tidegate_observe_declined_total{reason=\"query\",route=\"POST /event\"}";
    assert_eq!(sidecar.counter(declined).await, 1);
    assert_eq!(sidecar.counter("tidegate_observe_shed_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_after_its_callers_events_ends_their_windows_on_paper_as_it_would_live() {
    // Windows of an hour are sealed by their count of four: of eight events the last four are sent
    // only if the call after the sixth leaves them in one window.
    for (method, path, token, sent) in [
        (Method::GET, "/progress?userId=u", Some("t"), 6),
        (Method::POST, "/snapshot", Some("t"), 6),
        // It is forwarded for its query, not for its route's mode.
        (Method::POST, "/event?z=1", Some("t"), 6),
        // What concerns no events, and what others call.
        (Method::GET, "/other", Some("t"), 8),
        (Method::GET, "/progress?userId=u", Some("another"), 8),
        (Method::POST, "/snapshot", Some("another"), 8),
        (Method::GET, "/progress?userId=u", None, 8),
    ] {
        let sidecar = Sidecar::start(&[OBSERVE]).await;
        for number in 0..8 {
            sidecar.post("t", "u", &format!("e{number}"), "").await;
            if number == 5 {
                let headers = token.map(|token| ("authorization", token));
                let body = json!({ "id": "z", "user": "u", "lesson": "l" }).to_string();
                sidecar
                    .call(method.clone(), path, headers.as_slice(), body)
                    .await;
            }
        }
        let report = observed(&sidecar, 8 + u64::from(path.starts_with("/event"))).await;
        let all = report["groups"][0]["arrangements"].as_array().unwrap();
        let configured = all.iter().find(|one| one["configured"] == true);
        let configured = configured.unwrap();
        let found = (&configured["batches"], &configured["sent"]);
        let wanted = (&json!(2), &json!(sent));
        assert_eq!(found, wanted, "{method} {path} of {token:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_body_an_id_a_user_or_a_credential_is_in_a_report() {
    let sidecar = Sidecar::start(&[OBSERVE]).await;
    let body = json!({
        "id": "marker-id", "user": "marker-user", "lesson": "marker-lesson", "percent": 5,
        "marker-member": "marker-value",
    });
    let headers = [
        ("authorization", "marker-token"),
        ("cookie", "s=marker-cookie"),
        ("x-other", "marker-header"),
    ];
    for _ in 0..3 {
        sidecar
            .call(Method::POST, "/event", &headers, body.to_string())
            .await;
    }
    observed(&sidecar, 3).await;
    let report = sidecar.admin(Method::GET, "/observe").await.body;
    let text = String::from_utf8(report.to_vec()).unwrap();
    assert!(!text.contains("marker"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_or_off_is_not_observed() {
    for mode in ["coalesce", "off"] {
        let route = format!("path = \"/event\"\nmode = \"{mode}\"");
        let sidecar = Sidecar::start(&[("path = \"/event\"", &route)]).await;
        sidecar.post("t", "u", "a", "").await;
        sidecar
            .call(Method::POST, "/event", &[("authorization", "t")], "no json")
            .await;
        let report = sidecar.admin(Method::GET, "/observe").await.json();
        assert_eq!(report["groups"], json!([]), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_reports_what_was_observed_as_a_table_as_json_and_as_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    let page = directory.path().join("report.html");
    let file = page.display().to_string();
    let tell = |arguments: Vec<String>| {
        let config = config.clone();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            run(&arguments, &config, &[])
        })
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (code, said) = tell(words("modes set /event observe")).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is observe"), "{said}");
    for number in 0..4 {
        let body = json!({ "id": number.to_string(), "user": "u", "lesson": "l", "percent": 1 });
        let headers = [("authorization", "t"), ("host", "app.test")];
        let sent = Http::default()
            .try_call(
                process.address,
                Method::POST,
                "/event",
                &headers,
                body.to_string(),
            )
            .await;
        assert_eq!(sent.unwrap().header("tidegate-event"), "");
    }
    let seen = async {
        loop {
            let (code, said) = tell(words("observe report --json")).await.unwrap();
            assert_eq!(code, Some(0), "{said}");
            let report: Value = serde_json::from_str(&said).unwrap();
            if report["groups"][0]["events"] == 4 {
                return;
            }
        }
    };
    in_time("the observer", seen).await;
    let mut arguments = words("observe report --html");
    arguments.push(file);
    let (code, said) = tell(arguments).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("[batch.progress]"), "{said}");
    assert!(said.contains("Too little was seen"), "{said}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("batch.progress"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_observer_is_held_calls_are_answered_undecoded_and_what_it_has_no_room_for_is_shed()
 {
    let hold = Hold::default();
    let sidecar = Sidecar::start_at(&[OBSERVE], hold.clock()).await;
    sidecar.post("t", "u", "first", "").await;
    hold.until_held().await;
    let pad = format!(",\"pad\":\"{}\"", "p".repeat(1_000_000));
    for number in 0..20 {
        let answer = sidecar.post("t", "u", &format!("e{number}"), &pad).await;
        assert_eq!(answer.header("tidegate-event"), "");
    }
    assert_eq!(sidecar.upstream.seen().len(), 21);
    // Nothing was found out of any of them by those that forwarded them.
    let events = "tidegate_observed_events_total{route=\"POST /event\"}";
    let large =
        "tidegate_observe_declined_total{reason=\"too_large_for_batch\",route=\"POST /event\"}";
    assert_eq!(sidecar.counter(events).await, 1);
    assert_eq!(sidecar.counter(large).await, 0);
    // Seven eighths of 16 MiB hold fourteen copies.
    assert_eq!(sidecar.counter("tidegate_observe_shed_total").await, 6);
    hold.release();
    let report = observed(&sidecar, 15).await;
    let group = &report["groups"][0];
    assert_eq!(
        (&group["events"], &group["declined"]),
        (&json!(1), &json!(14))
    );
    assert_eq!(report["shed"], 6);
    assert_eq!(sidecar.counter(large).await, 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_counts_as_its_caller_stood_when_it_came_however_late_it_is_decided() {
    let hold = Hold::default();
    let proven = ("[identity]\n", "[identity]\nadmit = \"proven\"\n");
    let sidecar = Sidecar::start_at(&[OBSERVE, proven], hold.clock()).await;
    sidecar.post("other", "other", "a", "").await;
    hold.until_held().await;
    // Its own answer proves the caller, and a refusal ends that.
    sidecar.post("t", "u", "unproven", "").await;
    sidecar.post("t", "u", "proven", "").await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(401, json!({}))));
    sidecar.post("t", "u", "proven too", "").await;
    sidecar.upstream.answer_with(|_| None);
    sidecar.post("t", "u", "refused", "").await;
    hold.release();
    let report = observed(&sidecar, 5).await;
    let group = &report["groups"][0];
    assert_eq!(group["events"], 2, "{group}");
    assert_eq!(
        group["routes"][0]["declined"],
        json!({ "unproven": 2, "credential_rejected": 1 })
    );
}
