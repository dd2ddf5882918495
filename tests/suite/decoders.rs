//! Packed bodies and bodies of many members cost what their bytes cost, and large ones only for
//! callers that may be answered (P10); what can't be unpacked is the application's (P14).

use crate::support::calls::{BY_LISTS, EXPLAIN, body, gzip};
use crate::support::upstream::answer;
use crate::support::{Answer, Sidecar, in_time};
use http::{Method, StatusCode};
use serde_json::json;
use std::fmt::Write as _;

/// 414 bytes whose head asks for a window of 1 GiB.
const LARGE_WINDOW: &[u8] = include_bytes!("../data/large-window.br");
const TOKEN: (&str, &str) = ("authorization", "Bearer t");
const JSON: (&str, &str) = ("content-type", "application/json");
const PROVEN: (&str, &str) = ("[identity]\n", "[identity]\nadmit = \"proven\"\n");

/// An event with a member that no mapping takes, of so many bytes that don't pack well.
fn padded(id: &str, bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let noise = (0..bytes).fold(String::new(), |mut text, _| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        write!(text, "{:x}", state >> 60).unwrap();
        text
    });
    body("u", id, &format!(",\"unmapped\":\"{noise}\"")).into_bytes()
}

async fn post(
    sidecar: &Sidecar,
    path: &str,
    coding: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let headers: Vec<_> = [JSON, ("content-encoding", coding)]
        .iter()
        .chain(headers)
        .copied()
        .collect();
    sidecar.call(Method::POST, path, &headers, body).await
}

fn why(heard: &Answer) -> &str {
    heard.header("tidegate-forwarded")
}

#[tokio::test]
async fn a_body_that_asks_for_a_large_window_is_the_applications() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(200, json!({}))));
    for path in ["/event", "/batch"] {
        let heard = post(&sidecar, path, "br", &[TOKEN], LARGE_WINDOW.to_vec()).await;
        assert_eq!(
            (heard.status, why(&heard)),
            (StatusCode::OK, "bad_coding"),
            "{path}"
        );
        let seen = sidecar.upstream.seen();
        assert_eq!(
            seen.last().map(|seen| &*seen.body),
            Some(LARGE_WINDOW),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_large_packed_body_is_acknowledged_like_a_small_one() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, bytes) in [("a", 10), ("b", 50_000), ("c", 400_000)] {
        let heard = post(
            &sidecar,
            "/event",
            "gzip",
            &[TOKEN],
            gzip(&padded(id, bytes)),
        )
        .await;
        assert_eq!(
            (heard.status, heard.header("tidegate-event")),
            (StatusCode::ACCEPTED, id)
        );
    }
    let batches = sidecar.delivered().await;
    assert_eq!(
        batches
            .iter()
            .flat_map(crate::support::upstream::Seen::ids)
            .collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
}

#[tokio::test]
async fn a_large_body_is_never_unpacked_for_a_caller_that_may_not_be_answered() {
    // Each is broken, and none is found to be.
    let broken = || vec![0xff; 10_000];
    for path in ["/event", "/batch"] {
        let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, PROVEN]).await;
        sidecar
            .upstream
            .answer_with(|_| Some(answer(418, json!({}))));
        assert_eq!(
            why(&post(&sidecar, path, "gzip", &[TOKEN], broken()).await),
            "unproven",
            "{path}"
        );
        let foreign = [TOKEN, ("origin", "https://evil.example")];
        assert_eq!(
            why(&post(&sidecar, path, "gzip", &foreign, broken()).await),
            "origin",
            "{path}"
        );
        let page = [
            TOKEN,
            ("sec-fetch-site", "cross-site"),
            ("content-type", "text/plain"),
        ];
        let heard = sidecar
            .call(
                Method::POST,
                path,
                &[&page[..], &[("content-encoding", "gzip")]].concat(),
                broken(),
            )
            .await;
        assert_eq!(why(&heard), "not_asked_for", "{path}");

        let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
        sidecar.upstream.answer_with(|seen| {
            Some(answer(
                if seen.body.starts_with(b"{") {
                    401
                } else {
                    200
                },
                json!({}),
            ))
        });
        assert_eq!(
            why(&post(&sidecar, path, "gzip", &[TOKEN], broken()).await),
            "bad_coding",
            "{path}"
        );
        sidecar.taken(&[TOKEN], "u", "a").await;
        sidecar.flush().await;
        sidecar
            .until_counter(
                "tidegate_batches_total{group=\"progress\",result=\"rejected\"}",
                1,
            )
            .await;
        assert_eq!(
            why(&post(&sidecar, path, "gzip", &[TOKEN], broken()).await),
            "credential_rejected",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_packed_call_that_is_forwarded_makes_old_what_its_body_names() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    for wanted in ["fwd=uri-miss", "hit"] {
        let read = sidecar.get("Bearer reader", "/progress?userId=u").await;
        assert!(
            read.header("cache-status").contains(wanted),
            "{}",
            read.header("cache-status")
        );
    }
    let foreign = [TOKEN, ("origin", "https://evil.example")];
    let heard = post(
        &sidecar,
        "/event",
        "gzip",
        &foreign,
        gzip(body("u", "a", "").as_bytes()),
    )
    .await;
    assert_eq!(why(&heard), "origin");
    let read = sidecar.get("Bearer reader", "/progress?userId=u").await;
    assert!(
        read.header("cache-status").contains("fwd=stale"),
        "{}",
        read.header("cache-status")
    );
}

/// Each member compared with all others would be 80,000,000,000 comparisons.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_many_members_costs_no_more_than_its_bytes() {
    let rest = (
        "pad = \"{body.pad}\" }",
        "pad = \"{body.pad}\", \"...\" = \"{body.*}\" }",
    );
    let large = (
        "[batch.progress]",
        "[limits]\nmax_body = \"8MiB\"\n[batch.progress]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, rest, large]).await;
    let members = (0..400_000).fold(String::new(), |mut text, number| {
        write!(text, ",\"k{number}\":0").unwrap();
        text
    });
    let call = body("u", "a", &members);
    let heard = sidecar.call(Method::POST, "/event", &[TOKEN, JSON], call);
    let heard = in_time("a body of 400,000 members", heard).await;
    assert_eq!(
        (heard.status, why(&heard)),
        (StatusCode::OK, "too_large_for_batch")
    );
}
