//! What an answer means where it isn't plain: a success that says no, an outage that looks like an
//! answer, a refusal of one event, trouble of strangers. The plain rows are in `refusals.rs`.

use crate::support::upstream::{Reply, Seen, answer};
use crate::support::{CONFIG, Sidecar};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate::metrics::Ledger;

const SINGLE: (&str, &str) = ("fallback = \"dead-letter\"", "fallback = \"single\"");
const DEFERRED: &str = "tidegate_batches_total{group=\"progress\",result=\"deferred\"}";
const FAILING: &str = "tidegate_batches_total{group=\"progress\",result=\"server_error\"}";
const UNCLEAR: &str = "tidegate_batches_total{group=\"progress\",result=\"unclear\"}";

/// A line in the group's section.
fn in_group(line: &str) -> (&'static str, String) {
    ("window = \"1h\"", format!("window = \"1h\"\n{line}"))
}

fn raw(status: u16, content_type: &str, body: &str) -> Reply {
    let mut reply = answer(status, json!({}));
    reply
        .headers_mut()
        .insert("content-type", content_type.parse().unwrap());
    *reply.body_mut() = body.to_owned().into();
    reply
}

fn page() -> Reply {
    raw(
        200,
        "text/html",
        "<html><h1>Down for maintenance</h1></html>",
    )
}

/// `path ids` of each request.
fn lines(sidecar: &Sidecar) -> Vec<String> {
    let line = |seen: &Seen| {
        let ids = match seen.path.as_str() {
            "/batch" => seen.ids().join(" "),
            _ => serde_json::from_slice::<Value>(&seen.body).unwrap()["id"]
                .as_str()
                .unwrap_or("-")
                .to_owned(),
        };
        format!("{} {ids}", seen.path)
    };
    sidecar.upstream.seen().iter().map(line).collect()
}

async fn sealed(sidecar: &Sidecar, user: &str, ids: &[&str]) {
    for id in ids {
        sidecar.event(user, user, id).await;
    }
    sidecar.flush().await;
}

/// A user of whom a batch was taken.
async fn good(sidecar: &Sidecar, user: &str) {
    let before = sidecar.running.ledger().accepted;
    sealed(sidecar, user, &[&format!("{user}-good")]).await;
    sidecar.until(|ledger| ledger.accepted > before).await;
}

async fn nothing_pending(sidecar: &Sidecar) -> Ledger {
    sidecar.until(|ledger| ledger.pending == 0).await
}

#[tokio::test]
async fn a_batch_whose_answer_says_no_goes_on_as_its_single_calls_and_is_never_bisected() {
    for reply in [
        answer(200, json!({ "success": false })),
        answer(201, json!({ "ok": false, "data": { "ingested": 0 } })),
        answer(200, json!({ "errors": [{ "message": "no such lesson" }] })),
        answer(200, json!({ "error": "the database is away" })),
        answer(207, json!({ "responses": [] })),
        raw(200, "application/json", "{\"accepted\":[\"a\","),
        page(),
    ] {
        let sidecar = Sidecar::start(&[SINGLE]).await;
        let what = format!("{reply:?}");
        sidecar.upstream.script([reply]);
        sealed(&sidecar, "t", &["a", "b", "c"]).await;
        let ledger = nothing_pending(&sidecar).await;
        assert_eq!((ledger.accepted, ledger.dead), (3, 0), "{what}");
        assert_eq!(
            lines(&sidecar),
            ["/batch a b c", "/event a", "/event b", "/event c"],
            "{what}"
        );
    }
}

#[tokio::test]
async fn what_only_the_application_can_tell_is_told_by_success() {
    let at_status = "success = { pointer = \"/status\", equals = [1, \"ok\"] }";
    let whole = "success = { pointer = \"\", equals = 1 }";
    for (success, no, yes) in [
        (at_status, "{\"status\":0}", "{\"status\":\"ok\"}"),
        (whole, "0", "1"),
    ] {
        let (from, to) = in_group(success);
        let sidecar = Sidecar::start(&[SINGLE, (from, &to)]).await;
        // A no to the batch, a no to the first single call, which is tried again; then yes to all.
        sidecar
            .upstream
            .script([raw(200, "text/plain", no), raw(200, "text/plain", no)]);
        sealed(&sidecar, "t", &["a", "b"]).await;
        assert_eq!(nothing_pending(&sidecar).await.accepted, 2);
        assert_eq!(
            lines(&sidecar),
            ["/batch a b", "/event a", "/event a", "/event b"]
        );
        sidecar.upstream.script([raw(200, "text/plain", yes)]);
        sealed(&sidecar, "t", &["c", "d"]).await;
        assert_eq!(nothing_pending(&sidecar).await.accepted, 4);
        assert_eq!(lines(&sidecar)[4..], ["/batch c d"]);
    }
}

#[tokio::test]
async fn without_a_single_call_left_a_no_is_sent_again_and_never_counted_as_taken() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(200, json!({ "success": false }))));
    sealed(&sidecar, "t", &["a", "b"]).await;
    sidecar.until_counter(UNCLEAR, 5).await;
    let ledger = sidecar.running.ledger();
    assert_eq!(
        (ledger.accepted, ledger.dead, ledger.pending),
        (0, 0, 2),
        "{ledger}"
    );
    sidecar.upstream.answer_with(|_| None);
    assert_eq!(nothing_pending(&sidecar).await.accepted, 2);
    assert!(
        lines(&sidecar).iter().all(|line| line == "/batch a b"),
        "{:?}",
        lines(&sidecar)
    );
}

#[tokio::test]
async fn a_maintenance_page_for_a_repeated_single_call_is_an_outage() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    sidecar
        .upstream
        .script([answer(400, json!({})), page(), page()]);
    sealed(&sidecar, "t", &["a"]).await;
    assert_eq!(nothing_pending(&sidecar).await.accepted, 1);
    assert_eq!(
        lines(&sidecar),
        ["/batch a", "/event a", "/event a", "/event a"]
    );
}

#[tokio::test]
async fn results_in_the_order_of_the_batch_settle_each_event() {
    let (from, to) = in_group("results = { in_order = \"items\", status = \"/http/code\" }");
    let sidecar = Sidecar::start(&[(from, &to)]).await;
    let items = [201, 409, 422, 503].map(|code| json!({ "http": { "code": code } }));
    sidecar.upstream.script([
        answer(207, json!({ "items": items })),
        answer(207, json!({ "items": [{ "http": { "code": 200 } }] })),
    ]);
    sealed(&sidecar, "t", &["a", "b", "c", "d"]).await;
    let ledger = nothing_pending(&sidecar).await;
    assert_eq!(
        (ledger.accepted, ledger.duplicate, ledger.dead),
        (2, 1, 1),
        "{ledger}"
    );
    assert_eq!(lines(&sidecar), ["/batch a b c d", "/batch d"]);
    let dead = sidecar.admin(Method::GET, "/dead-letters").await.json();
    assert_eq!(
        (&dead[0]["id"], &dead[0]["reason"]),
        (&json!("c"), &json!("failed_permanently"))
    );
}

#[tokio::test]
async fn results_that_are_not_there_in_order_say_nothing_and_the_single_calls_go() {
    let (from, to) = in_group("results = { in_order = \"items\" }");
    let sidecar = Sidecar::start(&[SINGLE, (from, &to)]).await;
    sidecar
        .upstream
        .script([answer(200, json!({ "items": [{ "status": 200 }] }))]);
    sealed(&sidecar, "t", &["a", "b"]).await;
    assert_eq!(nothing_pending(&sidecar).await.accepted, 2);
    assert_eq!(lines(&sidecar), ["/batch a b", "/event a", "/event b"]);
}

#[tokio::test]
async fn a_moment_of_404_from_a_load_balancer_makes_no_dead_letters() {
    for status in [404, 405, 501] {
        let sidecar = Sidecar::start(&[SINGLE]).await;
        good(&sidecar, "t").await;
        sidecar
            .upstream
            .answer_with(move |_| Some(answer(status, json!({ "message": "no backend" }))));
        sealed(&sidecar, "t", &["a", "b", "c"]).await;
        // Its batch, and then its oldest event's single call again and again.
        sidecar.until_counter(FAILING, 4).await;
        assert_eq!(sidecar.running.ledger().dead, 0);
        sidecar.upstream.answer_with(|_| None);
        let ledger = nothing_pending(&sidecar).await;
        assert_eq!((ledger.accepted, ledger.dead), (4, 0), "{ledger}");
        let mut seen = lines(&sidecar);
        seen.dedup();
        assert_eq!(
            seen,
            [
                "/batch t-good",
                "/batch a b c",
                "/event a",
                "/event b",
                "/event c"
            ]
        );
    }
}

#[tokio::test]
async fn a_route_that_took_a_forwarded_call_is_known_to_be_there() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    let forwarded = sidecar
        .call(
            Method::POST,
            "/event",
            &[("authorization", "t")],
            "{\"user\":\"u\"}",
        )
        .await;
    assert_eq!(forwarded.status, StatusCode::OK);
    sidecar
        .upstream
        .answer_with(|_| Some(answer(404, json!({ "message": "no backend" }))));
    sealed(&sidecar, "t", &["a"]).await;
    sidecar.until_counter(FAILING, 4).await;
    assert_eq!(sidecar.running.ledger().dead, 0);
    sidecar.upstream.answer_with(|_| None);
    let ledger = nothing_pending(&sidecar).await;
    assert_eq!((ledger.accepted, ledger.dead), (1, 0), "{ledger}");
}

#[tokio::test]
async fn a_single_call_that_is_not_found_while_others_of_its_route_are_taken_is_its_own_fault() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    let is_bad = |seen: &Seen| seen.body.windows(3).any(|part| part == b"bad");
    sidecar
        .upstream
        .answer_with(move |seen| match (seen.path.as_str(), is_bad(seen)) {
            ("/batch", _) => Some(answer(422, json!({}))),
            (_, true) => Some(answer(404, json!({ "error": "no such lesson" }))),
            _ => None,
        });
    good(&sidecar, "v").await;
    sealed(&sidecar, "u", &["bad"]).await;
    let mut others = 0;
    while sidecar.running.ledger().dead == 0 {
        others += 1;
        assert!(others < 5_000, "{}", sidecar.running.ledger());
        sealed(&sidecar, "v", &[&format!("v{others}")]).await;
        sidecar.until(|ledger| ledger.accepted > others).await;
    }
    let dead = sidecar.admin(Method::GET, "/dead-letters").await.json();
    assert_eq!(
        (&dead[0]["id"], &dead[0]["reason"], &dead[0]["status"]),
        (&json!("bad"), &json!("refused"), &json!(404))
    );
    let tries = lines(&sidecar)
        .iter()
        .filter(|line| *line == "/event bad")
        .count();
    assert!(tries > 3, "{tries} tries");
}

#[tokio::test]
async fn a_batch_that_is_redirected_goes_as_single_calls_and_the_users_forwarded_calls_pass() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    sidecar.upstream.answer_with(|seen| {
        let mut moved = answer(307, json!({}));
        moved.headers_mut().insert(
            "location",
            "https://app.example/batch?token=secret".parse().unwrap(),
        );
        (seen.path == "/batch").then_some(moved)
    });
    sidecar.event("t", "u", "a").await;
    sidecar.event("t", "u", "b").await;
    let written = sidecar
        .call(
            Method::POST,
            "/snapshot?userId=u",
            &[("authorization", "t")],
            "{}",
        )
        .await;
    assert_eq!(written.status, StatusCode::OK);
    assert_eq!(
        lines(&sidecar),
        ["/batch a b", "/event a", "/event b", "/snapshot?userId=u -"]
    );
    assert_eq!(nothing_pending(&sidecar).await.accepted, 2);
}

#[tokio::test]
async fn a_single_call_that_is_redirected_is_held_like_a_401() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    sidecar
        .upstream
        .script([answer(404, json!({})), answer(302, json!({}))]);
    sealed(&sidecar, "t", &["a", "b"]).await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"progress\",result=\"rejected\"}",
            1,
        )
        .await;
    assert_eq!(lines(&sidecar), ["/batch a b", "/event a"]);
    // The next call is forwarded, so that the client sees what the application says; it succeeds,
    // and all goes on.
    assert_eq!(sidecar.post("t", "t", "c", "").await.status, StatusCode::OK);
    assert_eq!(nothing_pending(&sidecar).await.accepted, 2);
    assert_eq!(lines(&sidecar)[2..], ["/event c", "/event a", "/event b"]);
}

#[tokio::test]
async fn failures_of_one_user_while_others_pass_make_no_dead_letter_of_a_good_event() {
    let changed = (
        "fallback = \"dead-letter\"",
        "fallback = \"single\"\nmax_attempts = 3",
    );
    let sidecar = Sidecar::start(&[changed]).await;
    let of_user = |seen: &Seen| seen.header("authorization") == "u";
    sidecar
        .upstream
        .answer_with(move |seen| of_user(seen).then(|| answer(500, json!({}))));
    sealed(&sidecar, "u", &["a"]).await;
    let mut others = 0;
    // Many times more than `max_attempts`, and others pass in between each two of them.
    while sidecar
        .upstream
        .seen()
        .iter()
        .filter(|seen| of_user(seen))
        .count()
        < 20
    {
        others += 1;
        sealed(&sidecar, "v", &[&format!("v{others}")]).await;
        sidecar.until(|ledger| ledger.accepted >= others).await;
        assert_eq!(sidecar.running.ledger().dead, 0);
    }
    sidecar.upstream.answer_with(|_| None);
    let ledger = nothing_pending(&sidecar).await;
    assert_eq!((ledger.accepted, ledger.dead), (others + 1, 0), "{ledger}");
}

#[tokio::test]
async fn where_every_batch_meets_5xx_and_a_single_call_passes_the_group_goes_by_single_calls() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    good(&sidecar, "a").await;
    good(&sidecar, "b").await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(500, json!({}))));
    for user in ["a", "b"] {
        sealed(
            &sidecar,
            user,
            &[1, 2, 3]
                .map(|number| format!("{user}{number}"))
                .each_ref()
                .map(|id| id.as_str()),
        )
        .await;
    }
    let ledger = nothing_pending(&sidecar).await;
    assert_eq!((ledger.accepted, ledger.dead), (8, 0), "{ledger}");
    let singles: Vec<_> = lines(&sidecar)
        .into_iter()
        .filter(|line| line.starts_with("/event"))
        .collect();
    for user in ["a", "b"] {
        let own: Vec<_> = singles
            .iter()
            .filter(|line| line.starts_with(&format!("/event {user}")))
            .collect();
        assert_eq!(
            own,
            [1, 2, 3]
                .map(|number| format!("/event {user}{number}"))
                .each_ref(),
            "in order"
        );
    }
}

#[tokio::test]
async fn a_flood_of_failing_strangers_holds_up_no_good_user() {
    let sidecar = Sidecar::start(&[]).await;
    good(&sidecar, "learner").await;
    sidecar.upstream.answer_with(|seen| {
        (seen.header("authorization").starts_with("forged")).then(|| answer(503, json!({})))
    });
    for number in 0..20 {
        let name = format!("forged{number}");
        sealed(&sidecar, &name, &[&name]).await;
    }
    sidecar.until_counter(FAILING, 100).await;
    for number in 0..20 {
        sealed(&sidecar, "learner", &[&format!("e{number}")]).await;
        sidecar.until(|ledger| ledger.accepted == number + 2).await;
    }
    assert_eq!(
        sidecar.counter(DEFERRED).await,
        0,
        "no circuit opened, no gate closed"
    );
}

#[test]
fn nonsense_in_success_and_results_is_an_error_that_says_what_is_allowed() {
    for (line, wanted) in [
        ("success = {}", "batch.progress.success.pointer: is missing"),
        (
            "success = { pointer = \"/status\" }",
            "batch.progress.success.equals: is missing",
        ),
        (
            "success = { pointer = \"/status\", equals = [] }",
            "at least one value is needed",
        ),
        (
            "success = { pointer = \"/status\", equals = [[1]] }",
            "found [1]; texts, numbers and booleans are allowed",
        ),
        (
            "success = { pointer = \"a/b\", equals = 1 }",
            "a JSON Pointer such as \"/data/accepted\" is allowed",
        ),
        (
            "success = { pointer = \"/a\", equal = 1 }",
            "did you mean \"equals\"?",
        ),
        (
            "results = { in_order = \"/a\", accepted = \"/b\" }",
            "can't be had together with accepted",
        ),
        (
            "results = { in_order = \"/a\", missing = \"accepted\" }",
            "an entry's place says which event is meant",
        ),
        (
            "results = { status = \"code\" }",
            "results.status: is for results.in_order, which is missing",
        ),
        (
            "results = { in_order = \"/a\", accepted_values = {} }",
            "found {}; texts, numbers and booleans are allowed",
        ),
    ] {
        let (from, to) = in_group(line);
        let text = CONFIG.replace(from, &to).replace("UPSTREAM", "127.0.0.1:1");
        let found = tidegate::config::parse(&text, "test", std::iter::empty());
        let found = found.map(|_| ()).unwrap_err().to_string();
        assert!(found.contains(wanted), "{wanted}\nis not in\n{found}");
    }
}
