//! Mode `shadow`: calls are the application's, and a copy of each is batched beside.

use crate::support::calls::{EXPLAIN, gzip};
use crate::support::upstream::{FakeUpstream, answer, hang_up};
use crate::support::{Sidecar, in_time};
use http::{HeaderValue, Method, StatusCode, Version};
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate::config;

const SHADOW: (&str, &str) = ("path = \"/event\"", "path = \"/event\"\nmode = \"shadow\"");

/// A sidecar whose events are copied to this target.
async fn sidecar(target: &FakeUpstream, more: &[(&str, &str)]) -> Sidecar {
    let section = format!(
        "[shadow]\nurl = \"http://{}\"\n[batch.progress]",
        target.address
    );
    let section = ("[batch.progress]", section.as_str());
    Sidecar::start(&[&[SHADOW, section], more].concat()).await
}

/// What the application says to an event, as the acknowledgement would say it.
fn agree(sidecar: &Sidecar) {
    sidecar.upstream.answer_with(|call| {
        let body: Value = serde_json::from_slice(&call.body).ok()?;
        (call.path == "/event").then(|| answer(202, json!({ "accepted": [body["id"]] })))
    });
}

/// The report on the only route, once so many events were compared.
async fn compared(sidecar: &Sidecar, events: u64) -> Value {
    until_report(sidecar, |route| route["compared"].as_u64() >= Some(events)).await
}

/// The report on the only route, once it is as wanted.
async fn until_report(sidecar: &Sidecar, wanted: impl Fn(&Value) -> bool) -> Value {
    let reached = async {
        loop {
            let report = sidecar.admin(Method::GET, "/parity").await.json();
            let route = report["routes"][0].clone();
            if wanted(&route) {
                return route;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time("the parity report", reached).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_the_applications_and_its_copy_is_batched_at_the_target_under_its_own_credential()
{
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[]).await;
    agree(&sidecar);
    for number in 0..8 {
        let user = if number % 2 == 0 { "u" } else { "v" };
        let token = format!("token-{user}");
        let answer = sidecar.post(&token, user, &format!("e{number}"), "").await;
        assert_eq!(answer.header("tidegate-event"), "");
        assert_eq!(answer.json()["accepted"][0], format!("e{number}"));
    }
    let route = compared(&sidecar, 8).await;
    assert_eq!(route["agreements"], 8, "{route}");
    let seen = sidecar.upstream.seen();
    assert_eq!(seen.len(), 8);
    assert!(seen.iter().all(|call| call.path == "/event"));
    assert_eq!(sidecar.running.ledger().received, 0);
    let mut batches = target.seen();
    batches.sort_by_key(|batch| batch.header("authorization").to_owned());
    let told: Vec<_> = batches
        .iter()
        .map(|batch| {
            (
                batch.path.as_str(),
                batch.header("authorization"),
                batch.ids(),
            )
        })
        .collect();
    let ids = |ids: [&str; 4]| ids.map(str::to_owned).to_vec();
    assert_eq!(
        told,
        [
            ("/batch", "token-u", ids(["e0", "e2", "e4", "e6"])),
            ("/batch", "token-v", ids(["e1", "e3", "e5", "e7"])),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_target_batches_are_made_and_nobody_is_asked() {
    let sidecar = Sidecar::start(&[SHADOW]).await;
    agree(&sidecar);
    for number in 0..4 {
        sidecar.post("t", "u", &format!("e{number}"), "").await;
    }
    let route = compared(&sidecar, 4).await;
    assert_eq!(route["agreements"], 4, "{route}");

    assert_eq!(sidecar.upstream.seen().len(), 4);
    assert!(sidecar.upstream.batches().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_forwarded_is_told_with_its_reason_and_reaches_no_target() {
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[]).await;
    let headers = [("authorization", "t")];
    for (path, body) in [
        ("/event", "no json"),
        ("/event?z=1", "{\"id\":\"z\",\"user\":\"u\"}"),
    ] {
        sidecar
            .call(Method::POST, path, &headers, body.to_owned())
            .await;
    }
    let large = vec![b' '; 2 << 20];
    sidecar.call(Method::POST, "/event", &headers, large).await;
    let route = until_report(&sidecar, |route| {
        route["declined"]
            .as_object()
            .is_some_and(|all| all.len() == 3)
    })
    .await;
    assert_eq!(
        route["declined"],
        json!({ "not_json": 1, "query": 1, "too_large": 1 }),
        "{route}"
    );
    assert!(target.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_users_of_the_rollout_are_copied() {
    let target = FakeUpstream::start().await;
    let none = (
        "path = \"/event\"\nmode = \"shadow\"",
        "path = \"/event\"\nmode = \"shadow\"\nrollout = 0\nallow = [\"in\"]",
    );
    let sidecar = sidecar(&target, &[none, ("flush_at = 4", "flush_at = 1")]).await;
    agree(&sidecar);
    sidecar.post("t", "out", "a", "").await;
    sidecar.post("s", "in", "b", "").await;
    let route = compared(&sidecar, 1).await;
    assert_eq!(route["calls"], 1, "{route}");
    assert_eq!(target.batches(), [["b"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_up_or_holds_back_takes_nothing_from_the_application() {
    let target = FakeUpstream::start().await;
    target.answer_with(|_| Some(hang_up()));
    let sidecar = sidecar(&target, &[]).await;
    agree(&sidecar);
    for number in 0..100 {
        if number == 50 {
            target.hold_back(|_| true);
        }
        let answer = sidecar.post("t", "u", &format!("e{number}"), "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    assert_eq!(sidecar.upstream.seen().len(), 100);
    assert_eq!(
        sidecar
            .counter("tidegate_shadow_calls_total{route=\"POST /event\"}")
            .await,
        100
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_memory_are_shed_and_told() {
    let target = FakeUpstream::start().await;
    target.hold_back(|_| true);
    let sidecar = sidecar(
        &target,
        &[
            ("[shadow]\n", "[shadow]\nmax_bytes = \"1MiB\"\n"),
            ("max_bytes = \"1KiB\"", "max_bytes = \"100KiB\""),
        ],
    )
    .await;
    agree(&sidecar);
    let pad = format!(",\"pad\":\"{}\"", "p".repeat(50_000));
    for number in 0..60 {
        let answer = sidecar.post("t", "u", &format!("e{number}"), &pad).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    let route = until_report(&sidecar, |route| route["shed"].as_u64() > Some(10)).await;
    assert_eq!(sidecar.upstream.seen().len(), 60, "{route}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_goes_on_to_coalesce_acknowledges_and_its_batches_are_the_applications() {
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[]).await;
    agree(&sidecar);
    for number in 0..4 {
        sidecar.post("t", "u", &format!("e{number}"), "").await;
    }
    compared(&sidecar, 4).await;
    let wanted = json!({ "route": "/event", "mode": "coalesce" }).to_string();
    let host = sidecar.running.admin.to_string();
    let changed = crate::support::Http::default()
        .try_call(
            sidecar.running.admin,
            Method::PUT,
            "/modes",
            &[("host", &host)],
            wanted,
        )
        .await;
    assert_eq!(changed.unwrap().status, StatusCode::OK);
    for number in 4..8 {
        sidecar.event("t", "u", &format!("e{number}")).await;
    }
    sidecar.until(|ledger| ledger.accepted == 4).await;
    assert_eq!(sidecar.upstream.batches(), [["e4", "e5", "e6", "e7"]]);
    assert_eq!(target.batches(), [["e0", "e1", "e2", "e3"]]);
}

#[test]
fn a_target_that_takes_the_single_calls_needs_the_word_that_it_takes_events_twice() {
    let parse = |text: &str| config::parse(text, "test", std::iter::empty());
    let text = crate::support::CONFIG.replace("UPSTREAM", "127.0.0.1:8888");
    for url in [
        "http://127.0.0.1:8888",
        "http://localhost:8888",
        "http://LOCALHOST:8888",
        "http://localhost.:8888",
        "http://[::1]:8888",
        "http://[::ffff:127.0.0.1]:8888",
        "http://0.0.0.0:8888",
    ] {
        let shadow = format!("{text}\n[shadow]\nurl = \"{url}\"\n");
        let error = parse(&shadow).unwrap_err().to_string();
        assert!(
            error.contains("shadow.url") && error.contains("writes_are_idempotent"),
            "{error}"
        );
        let said = format!("{shadow}writes_are_idempotent = true\n");
        assert!(parse(&said).unwrap().shadow.is_application);
    }
    let other = format!("{text}\n[shadow]\nurl = \"http://127.0.0.1:8889\"\n");
    assert!(!parse(&other).unwrap().shadow.is_application);
    let own = text.replace("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:8889\"");
    let own = format!("{own}\n[shadow]\nurl = \"http://localhost:8889\"\n");
    let error = parse(&own).unwrap_err().to_string();
    assert!(
        error.contains("shadow.url") && error.contains("Tidegate itself"),
        "{error}"
    );
    let single = text.replace("path = \"/batch\"", "form = \"single\"");
    let single = format!(
        "{single}\n[shadow]\nurl = \"http://localhost:8888\"\nwrites_are_idempotent = true\n"
    );
    let error = parse(&single).unwrap_err().to_string();
    assert!(
        error.contains("shadow.writes_are_idempotent") && error.contains("batch.progress"),
        "{error}"
    );
    let state = format!("{text}\n[shadow]\nstate = [\"/progress?userId={{user}}\"]\n");
    let error = parse(&state).unwrap_err().to_string();
    assert!(error.contains("shadow.state"), "{error}");
    for (key, value) in [
        ("url", "\"ftp://a:1\""),
        ("url", "\"http://a:1/x\""),
        ("max_rate", "0"),
        ("max_rate", "1.5"),
        ("state", "[\"x\"]"),
        ("state", "[\"/{body.x}\"]"),
    ] {
        let wrong = format!("{text}\n[shadow]\n{key} = {value}\n");
        let error = parse(&wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("shadow.{key}")), "{error}");
    }
}

/// The kinds of disagreement on the only route.
fn kinds(route: &Value) -> Vec<&str> {
    let kinds = route["kinds"].as_array().unwrap();
    kinds
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_seeded_disagreement_is_found_and_named() {
    let one = ("flush_at = 4", "flush_at = 1");
    let said = |status: u16, body: Value| {
        move |call: &crate::support::upstream::Seen| {
            (call.path == "/event").then(|| answer(status, body.clone()))
        }
    };
    let accepted = json!({ "accepted": ["e0"] });
    for (name, application, batch, wanted) in [
        (
            "another status",
            said(200, accepted.clone()),
            None,
            "ack_status",
        ),
        (
            "a 200 that says no",
            said(202, json!({ "success": false })),
            None,
            "says_no",
        ),
        (
            "another type",
            said(202, json!({ "accepted": "e0" })),
            None,
            "ack_type",
        ),
        (
            "a batch that refuses",
            said(202, accepted.clone()),
            Some(json!({ "failed": [{ "id": "e0", "reason": "validation_error" }] })),
            "refused_by_batch",
        ),
        (
            "a batch that takes what the call was refused",
            said(400, json!({ "error": "no such lesson" })),
            None,
            "taken_by_batch_only",
        ),
        (
            "a batch that knows it already",
            said(202, accepted.clone()),
            Some(json!({ "duplicates": ["e0"] })),
            "duplicate",
        ),
    ] {
        let target = FakeUpstream::start().await;
        let sidecar = sidecar(&target, &[one]).await;
        sidecar.upstream.answer_with(application);
        target.answer_with(move |_| batch.clone().map(|body| answer(200, body)));
        sidecar.post("t", "u", "e0", "").await;
        let route = compared(&sidecar, 1).await;
        assert!(kinds(&route).contains(&wanted), "{name}: {route}");
        assert_eq!(route["disagreements"], 1, "{name}: {route}");
        assert_ne!(route["verdict"]["decision"], "go", "{name}: {route}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_answer_is_compared_as_it_reads() {
    let one = ("flush_at = 4", "flush_at = 1");
    let said = [
        (json!({ "accepted": ["e0"] }), None),
        (json!({ "accepted": "e0" }), Some("ack_type")),
    ];
    for (body, wanted) in said {
        let sidecar = Sidecar::start(&[SHADOW, one]).await;
        sidecar.upstream.answer_with(move |call| {
            let mut packed = answer(202, json!({}));
            let coding = HeaderValue::from_static("gzip");
            packed.headers_mut().insert("content-encoding", coding);
            *packed.body_mut() = Full::from(gzip(body.to_string().as_bytes()));
            (call.path == "/event").then_some(packed)
        });
        sidecar.post("t", "u", "e0", "").await;
        let route = compared(&sidecar, 1).await;
        assert_eq!(kinds(&route), Vec::from_iter(wanted), "{route}");
        assert_eq!(route["unread"], 0, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tidegate_says_of_a_forwarded_call_is_no_part_of_the_applications_answer() {
    let sidecar = Sidecar::start(&[SHADOW, EXPLAIN, ("flush_at = 4", "flush_at = 1")]).await;
    agree(&sidecar);
    let heard = sidecar.post("t", "u", "e0", "").await;
    assert_eq!(heard.header("tidegate-forwarded"), "mode");
    let route = compared(&sidecar, 1).await;
    assert_eq!(route["agreements"], 1, "{route}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_no_batch_carries_is_named() {
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[("flush_at = 4", "flush_at = 1")]).await;
    agree(&sidecar);
    sidecar.post("t", "u", "e0", ",\"speed\":2").await;
    let route = compared(&sidecar, 1).await;
    assert_eq!(kinds(&route), ["missed_field"], "{route}");
    assert_eq!(route["missed"], json!({ "speed": 1 }), "{route}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_of_quiet_users_are_compared_and_what_differs_of_itself_is_left_out() {
    for differs in [false, true] {
        let target = FakeUpstream::start().await;
        let state = (
            "[shadow]\n",
            "[shadow]\nstate = [\"/state/{user}\"]\nstate_quiet = \"10ms\"\n",
        );
        let sidecar = sidecar(&target, &[state, ("flush_at = 4", "flush_at = 1")]).await;
        let mut count = 0;
        sidecar.upstream.answer_with(move |call| {
            count += 1;
            match &*call.path {
                "/state/a%20b" if call.header("authorization") == "t" => {
                    Some(answer(200, json!({ "seen": 1, "asked": count })))
                }
                _ => Some(answer(202, json!({ "accepted": ["e0"] }))),
            }
        });
        target.answer_with(move |call| {
            let seen = if differs { 2 } else { 1 };
            let is_state = call.path == "/state/a%20b" && call.header("authorization") == "t";
            is_state.then(|| answer(200, json!({ "seen": seen, "asked": 77 })))
        });
        sidecar.post("t", "a b", "e0", "").await;
        let reached = async {
            loop {
                let report = sidecar.admin(Method::GET, "/parity").await.json();
                if report["states"][0]["checks"] == 1 {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let report = in_time("a state check", reached).await;
        let state = &report["states"][0];
        assert_eq!(state["path"], "/state/{user}");
        assert_eq!(state["left_out"], json!({ "/asked": 1 }), "{state}");
        assert_eq!(state["differing"], u64::from(differs), "{state}");
        let places = if differs {
            json!({ "/seen": 1 })
        } else {
            json!({})
        };
        assert_eq!(state["places"], places, "{state}");
    }
}

/// What wasn't compared proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_the_target_doesnt_tell_is_counted_as_a_failed_look_and_is_no_go() {
    let target = FakeUpstream::start().await;
    let state = (
        "[shadow]\n",
        "[shadow]\nstate = [\"/state/{user}\"]\nstate_quiet = \"10ms\"\n",
    );
    let sidecar = sidecar(&target, &[state, ("flush_at = 4", "flush_at = 1")]).await;
    let before = sidecar.admin(Method::GET, "/parity").await.json();
    let expected = json!([{ "path": "/state/{user}", "checks": 0, "failed": 0, "differing": 0,
        "places": {}, "left_out": {}, "examples": [] }]);
    assert_eq!(before["states"], expected);
    sidecar.upstream.answer_with(|call| match &*call.path {
        "/state/u" => Some(answer(200, json!({ "seen": 1 }))),
        _ => Some(answer(202, json!({ "accepted": ["e0"] }))),
    });
    target.answer_with(|call| (call.path == "/state/u").then(|| answer(503, json!({}))));
    sidecar.post("t", "u", "e0", "").await;
    let never = "state: /state/{user} was never compared; 1 looks failed.";
    let route = until_report(&sidecar, |route| {
        let why = route["verdict"]["why"].as_array();
        why.is_some_and(|why| why.iter().any(|line| line == never))
    })
    .await;
    assert_eq!(route["verdict"]["decision"], "not_yet", "{route}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_the_target_says_it_doesnt_have_differs() {
    let target = FakeUpstream::start().await;
    let state = (
        "[shadow]\n",
        "[shadow]\nstate = [\"/state/{user}\"]\nstate_quiet = \"10ms\"\n",
    );
    let sidecar = sidecar(&target, &[state, ("flush_at = 4", "flush_at = 1")]).await;
    sidecar.upstream.answer_with(|call| match &*call.path {
        "/state/u" => Some(answer(200, json!({ "seen": 1 }))),
        _ => Some(answer(202, json!({ "accepted": ["e0"] }))),
    });
    target.answer_with(|call| (call.path == "/state/u").then(|| answer(404, json!({}))));
    sidecar.post("t", "u", "e0", "").await;
    let looked = async {
        loop {
            let report = sidecar.admin(Method::GET, "/parity").await.json();
            let state = &report["states"][0];
            if state["checks"] == 1 || state["failed"] == 1 {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = in_time("a look at the state", looked).await;
    let state = &report["states"][0];
    assert_eq!(state["differing"], 1, "{state}");
    assert_eq!(state["places"], json!({ "": 1 }), "{state}");
    assert_eq!(state["examples"][0]["batched"], "status 404", "{state}");
    assert_ne!(report["routes"][0]["verdict"]["decision"], "go", "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_body_a_user_or_a_credential_is_in_a_report() {
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[("flush_at = 4", "flush_at = 1")]).await;
    sidecar.upstream.answer_with(|_| {
        let mut answer = answer(200, json!({ "marker member": "marker", "x": ["marker"] }));
        let headers = answer.headers_mut();
        headers.insert("set-cookie", "s=marker".parse().unwrap());
        headers.insert("x-own", "marker".parse().unwrap());
        Some(answer)
    });
    target.answer_with(|_| {
        Some(answer(
            422,
            json!({ "error": "marker", "invalid": ["marker"] }),
        ))
    });
    let body =
        json!({ "id": "e0", "user": "marker-user", "lesson": "marker", "marker x": "marker" });
    let headers = [("authorization", "marker"), ("cookie", "s=marker")];
    sidecar
        .call(Method::POST, "/event", &headers, body.to_string())
        .await;
    compared(&sidecar, 1).await;
    let report = sidecar.admin(Method::GET, "/parity").await.body;
    let text = String::from_utf8(report.to_vec()).unwrap();
    assert!(!text.contains("marker"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_is_asked_by_its_own_name() {
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[("flush_at = 4", "flush_at = 1")]).await;
    agree(&sidecar);
    sidecar.post("t", "u", "e0", "").await;
    compared(&sidecar, 1).await;
    let name = sidecar.running.address.to_string();
    assert_eq!(sidecar.upstream.seen()[0].header("host"), name);
    assert_eq!(target.seen()[0].header("host"), target.address.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_the_application_is_not_supposed_of_the_target() {
    let target = FakeUpstream::start().await;
    let clear = ("[upstream]\n", "[upstream]\nhttp2 = \"prior-knowledge\"\n");
    let sidecar = sidecar(&target, &[("flush_at = 4", "flush_at = 1"), clear]).await;
    agree(&sidecar);
    sidecar.post("t", "u", "e0", "").await;
    compared(&sidecar, 1).await;
    assert_eq!(sidecar.upstream.seen()[0].version, Version::HTTP_2);
    assert_eq!(target.seen()[0].version, Version::HTTP_11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_users_of_one_credential_with_one_id_are_compared_each_for_itself() {
    let target = FakeUpstream::start().await;
    let sidecar = sidecar(&target, &[("window = \"1h\"", "window = \"50ms\"")]).await;
    agree(&sidecar);
    for user in ["u", "v"] {
        sidecar.post("t", user, "same", "").await;
    }
    let route = compared(&sidecar, 2).await;
    assert_eq!(
        (&route["agreements"], &route["pending"]),
        (&json!(2), &json!(0)),
        "{route}"
    );
}

/// A sidecar whose events are copied to the application itself.
async fn sidecar_at_itself(more: &[(&str, &str)]) -> Sidecar {
    let section = (
        "[batch.progress]",
        "[shadow]\nurl = \"http://UPSTREAM\"\nwrites_are_idempotent = true\n[batch.progress]",
    );
    Sidecar::start(&[&[SHADOW, section], more].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_gets_in_batches_only_what_its_single_calls_wrote_under_the_ids_of_these() {
    for id in ["{body.id}", "{body.id|uuid}", "{body.id|request_id}"] {
        only_ids_of_calls(id).await;
    }
}

/// `id`: what the mapping takes an event's id from.
async fn only_ids_of_calls(id: &str) {
    let id = format!("clientEventId = \"{id}\"");
    let id = ("clientEventId = \"{body.id}\"", id.as_str());
    let sidecar = sidecar_at_itself(&[("flush_at = 4", "flush_at = 1"), id]).await;
    sidecar.upstream.answer_with(|call| {
        let body: Value = serde_json::from_slice(&call.body).ok()?;
        let refused = body["id"] == "refused";
        match &*call.path {
            "/event" if refused => Some(answer(409, json!({ "error": "no" }))),
            "/event" => Some(answer(202, json!({ "accepted": [body["id"]] }))),
            _ => Some(answer(200, json!({ "duplicates": call.ids() }))),
        }
    });
    sidecar.post("t", "u", "refused", "").await;
    let without = json!({ "user": "u", "lesson": "l" }).to_string();
    let headers = [("authorization", "t")];
    sidecar
        .call(Method::POST, "/event", &headers, without)
        .await;
    sidecar.post("t", "u", "taken", "").await;
    let route = compared(&sidecar, 1).await;
    assert_eq!(route["agreements"], 1, "{route}");
    assert_eq!(route["declined"], json!({ "missing_id": 1 }), "{route}");
    assert_eq!(route["acknowledged_refusals"], 1, "{route}");
    assert_eq!(sidecar.upstream.batches(), [["taken"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_an_application_that_is_the_target_count_at_the_rule_that_the_body_meets() {
    let rule = "path = \"/event\"\nmode = \"shadow\"\nmatch = { kind = [\"KIND\"] }\nbatch = \"progress\"\n\
                event = { clientEventId = \"{body.id}\", userId = \"{body.user}\", \
                lessonId = \"{body.lesson}\" }\n[[event]]\n";
    let [a, b] = ["a", "b"].map(|kind| rule.replace("KIND", kind));
    // The last rule of the path is off, and meets what is left.
    let rules = format!("[[event]]\n{a}{b}path = \"/event\"\nmode = \"off\"");
    let rules = (
        "[[event]]\npath = \"/event\"\nmode = \"shadow\"",
        rules.as_str(),
    );
    let sidecar = sidecar_at_itself(&[("flush_at = 4", "flush_at = 1"), rules]).await;
    sidecar.upstream.answer_with(|call| {
        let body: Value = serde_json::from_slice(&call.body).ok()?;
        match (&*call.path, body["kind"].as_str()) {
            ("/event", Some("a")) => Some(answer(202, json!({ "accepted": [body["id"]] }))),
            ("/event", _) => Some(answer(422, json!({ "error": "no" }))),
            _ => Some(answer(200, json!({ "duplicates": call.ids() }))),
        }
    });
    for (id, kind) in [("1", "b"), ("2", "b"), ("3", "c"), ("4", "a")] {
        sidecar
            .post("t", "u", id, &format!(",\"kind\":\"{kind}\""))
            .await;
    }
    until_report(&sidecar, |route| route["compared"] == 1).await;
    let report = sidecar.admin(Method::GET, "/parity").await.json();
    let refusals: Vec<_> = report["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["acknowledged_refusals"].as_u64())
        .collect();
    assert_eq!(refusals, [Some(0), Some(2)], "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_that_live_would_be_forwarded_for_its_head_is_no_acknowledged_refusal() {
    let sidecar = sidecar_at_itself(&[("flush_at = 4", "flush_at = 1")]).await;
    sidecar.upstream.answer_with(|call| {
        let body: Value = serde_json::from_slice(&call.body).ok()?;
        match &*call.path {
            "/event" if body["id"] == "taken" => {
                Some(answer(202, json!({ "accepted": [body["id"]] })))
            }
            "/event" => Some(answer(412, json!({ "error": "no" }))),
            _ => Some(answer(200, json!({ "duplicates": call.ids() }))),
        }
    });
    let conditional = [("authorization", "t"), ("if-match", "\"1\"")];
    let plain = [("authorization", "t"), ("accept", "*/*")];
    for (id, headers) in [
        ("forwarded", conditional),
        ("refused", plain),
        ("taken", plain),
    ] {
        let body = json!({ "id": id, "user": "u", "lesson": "l" }).to_string();
        sidecar.call(Method::POST, "/event", &headers, body).await;
    }
    let route = compared(&sidecar, 1).await;
    assert_eq!(route["acknowledged_refusals"], 1, "{route}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_single_call_is_repeated_at_an_application_that_has_them() {
    let single = ("fallback = \"dead-letter\"", "fallback = \"single\"");
    let soon = ("[delivery]\n", "[delivery]\ngive_up_after = \"500ms\"\n");
    let sidecar = sidecar_at_itself(&[("flush_at = 4", "flush_at = 1"), single, soon]).await;
    sidecar.upstream.answer_with(|call| {
        let is_batch = call.path == "/batch";
        is_batch.then(|| answer(404, json!({})))
    });
    sidecar.post("t", "u", "a", "").await;
    until_report(&sidecar, |route| {
        route["calls"] == 1 && route["pending"] == 0
    })
    .await;
    let singles = sidecar.upstream.seen();
    let singles = singles.iter().filter(|call| call.path == "/event");
    assert_eq!(singles.count(), 1);
}
