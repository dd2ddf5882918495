//! Limits by user, through sockets: whose tokens a call takes, and what is said at each cap (P9,
//! P10).

use crate::support::Sidecar;
use crate::support::calls::{BY_LISTS, bearer, body};
use http::{Method, StatusCode};
use serde_json::json;

/// No token comes back in the time of a test.
const FOUR_AT_ONCE: (&str, &str) = (
    "[batch.progress]",
    "[limits]\nevents_per_user = { rate = 1, per = \"1h\", burst = 4 }\n[batch.progress]",
);

/// How many of so many calls are acknowledged before one hears 429.
async fn acknowledged(
    sidecar: &Sidecar,
    calls: usize,
    headers: impl Fn(usize) -> Vec<(String, String)>,
    user: &str,
) -> usize {
    for call in 0..calls {
        let headers = headers(call);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let user = user.replace('#', &call.to_string());
        let status = sidecar
            .send(&headers, &user, &format!("{user}-{call}"))
            .await
            .status;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return call;
        }
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    calls
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_listed_header_that_varies_buys_no_tokens() {
    let listed = (
        "\"header:authorization\"]",
        "\"header:authorization\", \"header:x-org-id\"]",
    );
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE, listed]).await;
    let headers = |call: usize| {
        vec![
            header("authorization", "t"),
            header("x-org-id", &call.to_string()),
        ]
    };
    assert_eq!(acknowledged(&sidecar, 9, headers, "u").await, 4);
}

#[tokio::test]
async fn a_token_that_nothing_speaks_for_has_one_bucket_for_all_names_that_it_uses() {
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE]).await;
    let headers = |_| vec![header("authorization", "forged")];
    assert_eq!(acknowledged(&sidecar, 9, headers, "u#").await, 4);
    let own = |_| vec![header("authorization", "own")];
    assert_eq!(
        acknowledged(&sidecar, 9, own, "u0").await,
        4,
        "and takes none of those whom it names"
    );
}

#[tokio::test]
async fn a_token_that_names_its_user_buys_no_tokens_by_what_stands_beside_it() {
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE, BY_LISTS]).await;
    for beside in ["cookie", "host", "x-api-key"] {
        let token = bearer(&json!({ "sub": "u", "beside": beside }));
        let headers = |call: usize| {
            vec![
                header("authorization", &token),
                header(beside, &format!("own-{call}")),
            ]
        };
        assert_eq!(acknowledged(&sidecar, 9, headers, "u").await, 4, "{beside}");
    }
}

#[tokio::test]
async fn a_token_that_many_share_and_that_names_nobody_is_no_bucket_of_theirs() {
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE, BY_LISTS]).await;
    let headers = |call: usize| {
        vec![
            header("authorization", "Bearer of-the-application"),
            header("cookie", &format!("sid={call}")),
        ]
    };
    assert_eq!(acknowledged(&sidecar, 9, headers, "u#").await, 9);
    // Nor is one that names somebody where events name their users themselves.
    let by_event = (
        "user = \"{jwt.sub|event.userId|query.userId}\"",
        "user = \"{event.userId|jwt.sub}\"",
    );
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE, BY_LISTS, by_event]).await;
    let token = bearer(&json!({ "sub": "web" }));
    let headers = |call: usize| {
        vec![
            header("authorization", &token),
            header("cookie", &format!("sid={call}")),
        ]
    };
    assert_eq!(acknowledged(&sidecar, 9, headers, "u#").await, 9);
}

#[tokio::test]
async fn two_devices_of_one_user_have_one_bucket_once_each_is_known_to_be_good() {
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE, BY_LISTS]).await;
    let device = |number: usize| bearer(&json!({ "sub": "u", "device": number }));
    for number in [0, 1] {
        sidecar
            .taken(
                &[("authorization", &device(number))],
                "u",
                &format!("first-{number}"),
            )
            .await;
    }
    sidecar.delivered().await;
    let headers = |call: usize| vec![header("authorization", &device(call % 2))];
    assert_eq!(acknowledged(&sidecar, 9, headers, "u").await, 4);
    let forged = |_| {
        vec![header(
            "authorization",
            &bearer(&json!({ "sub": "u", "forged": true })),
        )]
    };
    assert_eq!(
        acknowledged(&sidecar, 9, forged, "u").await,
        4,
        "a forged claim has its own"
    );
}

#[tokio::test]
async fn beyond_the_users_that_have_buckets_calls_are_forwarded_and_those_who_have_one_are_not() {
    let few = ("[limits]", "[limits]\nmax_users = 4");
    let sidecar = Sidecar::start(&[FOUR_AT_ONCE, few]).await;
    let send = async |token: &str, id: &str| {
        sidecar
            .send(&[("authorization", token)], "u", id)
            .await
            .status
    };
    // Strangers have half as many.
    for token in ["a", "b"] {
        assert_eq!(
            send(token, &format!("{token}1")).await,
            StatusCode::ACCEPTED
        );
    }
    assert_eq!(
        send("c", "c1").await,
        StatusCode::OK,
        "the application's own answer"
    );
    assert_eq!(sidecar.declined("too_many_users").await, 1);
    assert_eq!(send("a", "a2").await, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn beyond_twice_the_cap_on_lanes_calls_are_forwarded_and_taken_again_afterwards() {
    let sidecar = Sidecar::start(&[(
        "[batch.progress]",
        "[limits]\nmax_lanes = 1\n[batch.progress]",
    )])
    .await;
    sidecar.event("t", "first", "first").await;
    sidecar.delivered().await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    let mut sent = 0;
    while sidecar.declined("too_many_lanes").await == 0 {
        sent += 1;
        assert!(
            sent < 1_000,
            "nothing bounds the lanes of those who are good"
        );
        let body = body(&format!("u{sent}"), &format!("e{sent}"), "");
        let answer = sidecar
            .call(Method::POST, "/event", &[("authorization", "t")], body)
            .await;
        assert!(answer.status.is_success());
    }
    sidecar.upstream.open_gate();
    sidecar.delivered().await;
    sidecar.event("t", "last", "last").await;
}
