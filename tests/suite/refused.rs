//! Whose word ends a refusal, and that it ends (rulings 15 and 16).

use crate::support::Sidecar;
use crate::support::upstream::answer;
use http::{Method, StatusCode};
use serde_json::json;

/// A second group, whose route the application lets everybody use.
const LAX: (&str, &str) = (
    "[[event]]\npath = \"/event\"",
    "[batch.lax]\npath = \"/lax\"\nwindow = \"1h\"\n[[event]]\npath = \"/hint\"\nbatch = \
     \"lax\"\n[[event]]\npath = \"/event\"",
);

#[tokio::test]
async fn a_success_where_nobody_is_checked_ends_no_refusal_where_somebody_is() {
    let sidecar = Sidecar::start(&[LAX]).await;
    sidecar.upstream.answer_with(|seen| {
        ["/batch", "/event"]
            .contains(&&*seen.path)
            .then(|| answer(403, json!({})))
    });
    sidecar.event("forged", "u", "a").await;
    sidecar.flush().await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    let hint = async |id: &str| {
        let body = json!({ "clientEventId": id, "userId": "u" }).to_string();
        sidecar
            .call(Method::POST, "/hint", &[("authorization", "forged")], body)
            .await
            .status
    };
    // The refusal is on its way back; what it holds is tried once more after the first success.
    for wanted in [StatusCode::OK, StatusCode::ACCEPTED] {
        let mut number = 0;
        while hint(&format!("{wanted}-{number}")).await != wanted {
            number += 1;
            assert!(
                number < 5_000,
                "a refusal is believed everywhere, a success where it was given"
            );
        }
    }
    for round in 0..20 {
        let refused = sidecar.post("forged", "u", &format!("b{round}"), "").await;
        assert_eq!(
            refused.status,
            StatusCode::FORBIDDEN,
            "the application's own verdict"
        );
        hint(&format!("hint{round}")).await;
    }
    assert_eq!(
        sidecar.running.ledger().dead,
        0,
        "nor is what waits there looked into as if the caller were good"
    );
}

#[tokio::test]
async fn a_refusal_that_was_forgotten_for_want_of_room_ends_as_every_other() {
    const USERS: usize = 80;
    let sidecar = Sidecar::start(&[(
        "[batch.progress]",
        "[limits]\nmax_users = 2\n[batch.progress]",
    )])
    .await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(401, json!({}))));
    for user in 0..USERS {
        sidecar
            .event(
                &format!("t{user}"),
                &format!("u{user}"),
                &format!("first-{user}"),
            )
            .await;
    }
    sidecar.flush().await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"progress\",result=\"rejected\"}",
            USERS as u64,
        )
        .await;
    sidecar.upstream.answer_with(|_| None);
    for user in 0..USERS {
        let mut call = 0;
        while sidecar
            .post(
                &format!("t{user}"),
                &format!("u{user}"),
                &format!("{user}-{call}"),
                "",
            )
            .await
            .status
            != StatusCode::OK
        {
            call += 1;
            assert!(
                call < 1_000,
                "u{user} is acknowledged for ever, and what is kept for it is held"
            );
        }
    }
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(ledger.dead, 0);
}
