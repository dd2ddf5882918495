//! What the compatibility suite found in front of real applications, each kind at the fake one.

use crate::support::upstream::{Seen, answer};
use crate::support::{Answer, Sidecar};
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who calls is told by the built-in lists.
const BY_DEFAULT: (&str, &str) = ("credentials = [\"header:authorization\"]\n", "");

const PAGE: &str = "/progress?userId=u";

/// The upstream shows how many events it has taken; each of its answers that `renews` says sets the
/// session's cookie anew.
fn counting(sidecar: &Sidecar, renews: impl Fn(&Seen) -> bool + Send + 'static) {
    let (taken, mut session) = (Arc::new(AtomicU64::new(0)), 1);
    sidecar.upstream.answer_with(move |seen| {
        let mut reply = match seen.path.as_str() {
            "/batch" => {
                let ids = seen.ids();
                taken.fetch_add(ids.len() as u64, Ordering::SeqCst);
                answer(
                    200,
                    json!({ "accepted": ids, "duplicates": [], "failed": [] }),
                )
            }
            _ => answer(200, json!({ "taken": taken.load(Ordering::SeqCst) })),
        };
        if renews(seen) {
            session += 1;
            let line = format!("sid={session}; Path=/; HttpOnly");
            reply
                .headers_mut()
                .append("set-cookie", line.parse().unwrap());
        }
        Some(reply)
    });
}

/// Posts an event under a session.
async fn post(sidecar: &Sidecar, session: &str, id: &str) -> Answer {
    let body = format!("{{\"id\":\"{id}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}}");
    let headers = [("cookie", session), ("content-type", "application/json")];
    sidecar.call(Method::POST, "/event", &headers, body).await
}

async fn get(sidecar: &Sidecar, session: &str, path: &str) -> Answer {
    sidecar
        .call(Method::GET, path, &[("cookie", session)], "")
        .await
}

#[tokio::test]
async fn a_read_that_the_cache_has_no_part_in_shows_its_callers_writes_all_the_same() {
    let require = "credentials = [\"header:authorization\"]\nrequire = [\"header:x-csrf-token\"]\n";
    let sidecar = Sidecar::start(&[(BY_DEFAULT.0, require)]).await;
    counting(&sidecar, |_| false);
    let pair = ("x-csrf-token", "t");
    // A browser's script sends the pair with its writes only; a condition and a page without a user
    // bypass the cache too.
    let reads: [(&str, &[(&str, &str)], &str); 3] = [
        (PAGE, &[], "requirement"),
        (PAGE, &[pair, ("if-match", "\"v1\"")], "conditional"),
        ("/progress", &[pair], "no-tag"),
    ];
    for (round, (path, more, why)) in (1u64..).zip(reads) {
        let body = format!("{{\"id\":\"e{round}\",\"user\":\"u\",\"lesson\":\"l\"}}");
        let headers = [
            ("authorization", "t"),
            ("content-type", "application/json"),
            pair,
        ];
        assert_eq!(
            sidecar
                .call(Method::POST, "/event", &headers, body)
                .await
                .status,
            StatusCode::ACCEPTED
        );
        let headers: Vec<_> = [("authorization", "t")]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let read = sidecar.call(Method::GET, path, &headers, "").await;
        assert_eq!(
            read.header("cache-status"),
            format!("tidegate; fwd=bypass; detail={why}")
        );
        assert_eq!(read.json()["taken"], round, "{why}");
    }
}

#[tokio::test]
async fn a_session_that_rolls_before_its_first_delivery_keeps_its_order_and_sees_its_writes() {
    let sidecar = Sidecar::start(&[BY_DEFAULT]).await;
    counting(&sidecar, |seen| seen.path == "/page");
    let ids = ["a", "b", "c", "d", "e", "f"];
    for (number, id) in ids.iter().enumerate() {
        let session = format!("sid={}", 1 + number / 2);
        assert_eq!(
            post(&sidecar, &session, id).await.status,
            StatusCode::ACCEPTED
        );
        if number % 2 == 1 {
            let page = get(&sidecar, &session, "/page").await;
            assert_eq!(
                page.header("set-cookie"),
                format!("sid={}; Path=/; HttpOnly", 2 + number / 2)
            );
        }
    }
    assert_eq!(get(&sidecar, "sid=4", PAGE).await.json()["taken"], 6);
    assert_eq!(
        sidecar.upstream.batches(),
        [["a", "b"], ["c", "d"], ["e", "f"]]
    );
}

#[tokio::test]
async fn a_login_makes_no_successor_of_a_session_that_nothing_is_known_of() {
    let sidecar = Sidecar::start(&[BY_DEFAULT]).await;
    counting(&sidecar, |seen| seen.path == "/login");
    assert_eq!(
        post(&sidecar, "sid=1", "a").await.status,
        StatusCode::ACCEPTED
    );
    let login = sidecar
        .call(Method::POST, "/login", &[("cookie", "sid=1")], "")
        .await;
    assert_eq!(login.header("set-cookie"), "sid=2; Path=/; HttpOnly");
    assert_eq!(get(&sidecar, "sid=2", PAGE).await.json()["taken"], 0);
    assert_eq!(
        sidecar.running.ledger().pending,
        1,
        "whoever was there before the login is somebody else"
    );
}

#[tokio::test]
async fn a_session_that_a_delivery_renews_has_its_next_call_forwarded_and_no_more_within_a_minute()
{
    let sidecar = Sidecar::start(&[BY_DEFAULT]).await;
    counting(&sidecar, |_| true);
    let settled = async || {
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.pending == 0).await;
    };
    assert_eq!(
        post(&sidecar, "sid=1", "a").await.status,
        StatusCode::ACCEPTED
    );
    settled().await;
    let forwarded = post(&sidecar, "sid=1", "b").await;
    assert_eq!(
        (forwarded.status, forwarded.header("set-cookie")),
        (StatusCode::OK, "sid=3; Path=/; HttpOnly")
    );
    assert_eq!(
        post(&sidecar, "sid=3", "c").await.status,
        StatusCode::ACCEPTED
    );
    settled().await;
    assert_eq!(
        post(&sidecar, "sid=3", "d").await.status,
        StatusCode::ACCEPTED,
        "its browser has a new cookie"
    );
}

#[tokio::test]
async fn a_session_that_a_page_has_renewed_is_not_forwarded_for_what_a_delivery_sets() {
    let sidecar = Sidecar::start(&[BY_DEFAULT]).await;
    counting(&sidecar, |_| true);
    assert_eq!(
        post(&sidecar, "sid=1", "a").await.status,
        StatusCode::ACCEPTED
    );
    // The read has the event delivered, and shows the browser a cookie after that.
    assert_eq!(
        get(&sidecar, "sid=1", PAGE).await.header("set-cookie"),
        "sid=3; Path=/; HttpOnly"
    );
    assert_eq!(
        post(&sidecar, "sid=3", "b").await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn only_an_answer_that_sets_the_sessions_cookie_counts_as_its_renewal() {
    for (cookie, is_forwarded) in [
        (None, true),
        (Some("_ga=2; Path=/"), true),
        (Some("sid=1; Path=/; Max-Age=600"), false),
    ] {
        let sidecar = Sidecar::start(&[BY_DEFAULT]).await;
        sidecar.upstream.answer_with(move |seen| {
            let mut reply = answer(200, json!({}));
            let set = if seen.path == "/batch" {
                Some("sid=1; Path=/; Max-Age=600")
            } else {
                cookie
            };
            if let Some(set) = set {
                reply
                    .headers_mut()
                    .append("set-cookie", set.parse().unwrap());
            }
            Some(reply)
        });
        assert_eq!(
            post(&sidecar, "sid=1", "a").await.status,
            StatusCode::ACCEPTED
        );
        // It has the event delivered: that answer's cookie reaches no browser.
        assert_eq!(get(&sidecar, "sid=1", PAGE).await.status, StatusCode::OK);
        let next = post(&sidecar, "sid=1", "b").await.status;
        assert_eq!(next == StatusCode::OK, is_forwarded, "{cookie:?}: {next}");
    }
}
