//! P7 as a browser calls: writes with its same-origin headers, reads without them, two users with
//! two devices each, tokens that are renewed, and completions. No read is older than its user's
//! last acknowledged event, and none waits for what can't move.

use crate::support::Sidecar;
use crate::support::calls::{BY_LISTS, bearer, body};
use crate::support::upstream::{Seen, answer};
use http::{Method, StatusCode};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

const USERS: usize = 2;
const DEVICES: usize = 2;

/// What a device does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Post {
        completed: bool,
    },
    Read,
    /// Another user's page, under its own token.
    ReadOther,
    Renew,
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Step)>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(|completed| Step::Post { completed }),
        4 => Just(Step::Read),
        1 => Just(Step::ReadOther),
        1 => Just(Step::Renew),
    ];
    prop::collection::vec((0..USERS, 0..DEVICES, step), 10..60)
}

/// The application counts each user's events, and shows them to whoever has a token of its own.
fn counting(sidecar: &Sidecar) {
    let taken: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    sidecar.upstream.answer_with(move |seen| {
        let mut taken = taken.lock().unwrap();
        if !seen.header("authorization").starts_with("Bearer e") {
            return Some(answer(401, json!({})));
        }
        if seen.path == "/batch" {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            for event in body["events"].as_array().unwrap() {
                *taken
                    .entry(event["userId"].as_str().unwrap().to_owned())
                    .or_default() += 1;
            }
            return None;
        }
        let user = user_of(seen)?;
        Some(answer(
            200,
            json!({ "taken": taken.get(&user).copied().unwrap_or(0) }),
        ))
    });
}

fn user_of(seen: &Seen) -> Option<String> {
    seen.path.split("userId=").nth(1).map(str::to_owned)
}

fn token(user: usize, device: usize, round: usize) -> String {
    bearer(&json!({ "sub": format!("u{user}"), "jti": format!("{device}-{round}") }))
}

/// A page begins with a read: from its answer on the token is known to be good (ruling 17), and its
/// events are its user's.
async fn show(sidecar: &Sidecar, user: usize, device: usize, round: usize) {
    let read = sidecar
        .get(
            &token(user, device, round),
            &format!("/progress?userId=u{user}"),
        )
        .await;
    assert_eq!(read.status, StatusCode::OK);
}

async fn play(steps: Vec<(usize, usize, Step)>) {
    let sidecar = Sidecar::start(&[BY_LISTS, ("barrier = \"3s\"", "barrier = \"1h\"")]).await;
    counting(&sidecar);
    let origin = format!("http://{}", sidecar.running.address);
    let mut rounds = [[0; DEVICES]; USERS];
    let mut acknowledged = [0; USERS];
    for (user, device) in (0..USERS).flat_map(|user| (0..DEVICES).map(move |device| (user, device)))
    {
        show(&sidecar, user, device, 0).await;
    }
    for (number, (user, device, step)) in steps.into_iter().enumerate() {
        let token = token(user, device, rounds[user][device]);
        match step {
            Step::Post { completed } => {
                // As a page posts: with its origin; reads of the same page have none.
                let browser = [
                    ("authorization", token.as_str()),
                    ("origin", &origin),
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-mode", "cors"),
                    ("x-csrf-token", "c"),
                    ("content-type", "application/json"),
                ];
                let more = if completed {
                    ",\"status\":\"completed\""
                } else {
                    ""
                };
                let call = body(&format!("u{user}"), &format!("e{number}"), more);
                let taken = sidecar.call(Method::POST, "/event", &browser, call).await;
                assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
                acknowledged[user] += 1;
            }
            Step::Read => {
                let read = sidecar
                    .get(&token, &format!("/progress?userId=u{user}"))
                    .await;
                let (found, status) = (
                    read.json()["taken"].as_u64().unwrap(),
                    read.header("cache-status"),
                );
                assert_eq!(found, acknowledged[user], "step {number}: {status}");
                assert!(!status.contains("timeout"), "step {number}: {status}");
            }
            Step::ReadOther => {
                let other = 1 - user;
                let read = sidecar
                    .get(&token, &format!("/progress?userId=u{other}"))
                    .await;
                assert!(read.json()["taken"].as_u64().unwrap() <= acknowledged[other]);
                assert!(!read.header("cache-status").contains("timeout"));
            }
            Step::Renew => {
                rounds[user][device] += 1;
                show(&sidecar, user, device, rounds[user][device]).await;
            }
        }
    }
    sidecar.delivered().await;
    let ledger = sidecar.running.ledger();
    assert_eq!(
        (ledger.accepted, ledger.dead),
        (acknowledged.iter().sum::<u64>(), 0)
    );
}

#[test]
fn as_a_browser_calls_no_read_is_older_than_its_users_last_event_on_whatever_device() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 24,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let play = |steps| {
        let played = std::panic::AssertUnwindSafe(|| runtime.block_on(play(steps)));
        std::panic::catch_unwind(played).map_err(|_| TestCaseError::fail("a read was too old"))
    };
    TestRunner::new(config)
        .run(&steps(), play)
        .unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn a_read_without_the_conditions_of_a_write_is_answered_from_what_it_stored_once_settled() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    counting(&sidecar);
    // No claim of a name: it is one caller by its token alone.
    let (token, origin) = (
        "Bearer e-opaque",
        format!("http://{}", sidecar.running.address),
    );
    sidecar
        .taken(
            &[
                ("authorization", token),
                ("origin", &origin),
                ("x-csrf-token", "c"),
            ],
            "u0",
            "a",
        )
        .await;
    let mut found = Vec::new();
    for _ in 0..3 {
        let read = sidecar.get(token, "/progress?userId=u0").await;
        found.push((
            read.json()["taken"].as_u64().unwrap(),
            read.header("cache-status").contains("hit"),
        ));
    }
    assert_eq!(found, [(1, false), (1, true), (1, true)]);
}

#[tokio::test]
async fn a_token_of_which_nothing_is_known_is_not_waited_for_by_its_users_other_device_and_blocks_it_never()
 {
    let sidecar = Sidecar::start(&[BY_LISTS, ("barrier = \"3s\"", "barrier = \"1h\"")]).await;
    counting(&sidecar);
    show(&sidecar, 0, 0, 0).await;
    // It may be anybody's: nothing has been answered to it yet.
    sidecar
        .taken(&[("authorization", &token(0, 1, 0))], "u0", "a")
        .await;
    let read = sidecar.get(&token(0, 0, 0), "/progress?userId=u0").await;
    assert_eq!(
        (
            read.json()["taken"].as_u64(),
            sidecar.running.ledger().pending
        ),
        (Some(0), 1)
    );
    // Its own reads wait for it, and prove it.
    let read = sidecar.get(&token(0, 1, 0), "/progress?userId=u0").await;
    assert_eq!(
        (
            read.json()["taken"].as_u64(),
            sidecar.running.ledger().pending
        ),
        (Some(1), 0)
    );
    sidecar
        .taken(&[("authorization", &token(0, 1, 0))], "u0", "b")
        .await;
    let read = sidecar.get(&token(0, 0, 0), "/progress?userId=u0").await;
    assert_eq!(read.json()["taken"], 2);
}

#[tokio::test]
async fn an_administrators_read_of_a_user_is_tagged_as_that_users() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    counting(&sidecar);
    let admin = token(9, 0, 0);
    let read = async || {
        let read = sidecar.get(&admin, "/progress?userId=u0").await;
        (
            read.json()["taken"].as_u64().unwrap(),
            read.header("cache-status").contains("hit"),
        )
    };
    assert_eq!([read().await, read().await], [(0, false), (0, true)]);
    sidecar
        .taken(&[("authorization", &token(0, 0, 0))], "u0", "a")
        .await;
    sidecar.delivered().await;
    assert_eq!([read().await, read().await], [(1, false), (1, true)]);
}

#[tokio::test]
async fn a_read_waits_for_what_touches_it_wherever_that_lies() {
    let invalidates = "invalidates = [\"progress:{user}\"]\nfallback";
    let tags = "tags = [\"progress:{user}\"]";
    let cases: [(&str, &[(&str, &str)], &str, &str); 5] = [
        // The event's path is the read's but for a slash, which an address of a resource has not.
        (
            "/event",
            &[("\"/progress\"", "\"/event/\""), (tags, "")],
            "/event/",
            "a slash",
        ),
        // The event is one user's, and tells of another one.
        (
            "/event",
            &[(
                invalidates,
                "invalidates = [\"progress:{event.lessonId}\"]\nfallback",
            )],
            "/progress?userId=l",
            "another user",
        ),
        // Its address is the read's, and it is another user's.
        (
            "/event",
            &[("\"/progress\"", "\"/event\"")],
            "/event?userId=teacher",
            "another user on its own address",
        ),
        (
            "/event",
            &[(
                invalidates,
                "invalidates = [\"progress:{event.lessonId|user}\"]\nfallback",
            )],
            "/progress?userId=l",
            "an alternative",
        ),
        (
            "/event",
            &[(invalidates, "invalidates = [\"Progress:{user}\"]\nfallback")],
            "/progress?userId=u",
            "letters",
        ),
    ];
    for (post, replace, get, name) in cases {
        let sidecar = Sidecar::start(replace).await;
        let token = [("authorization", "Bearer t")];
        let taken = sidecar
            .call(Method::POST, post, &token, body("u", "1", ""))
            .await;
        assert_eq!(taken.status, StatusCode::ACCEPTED, "{name}: {taken:?}");
        sidecar.call(Method::GET, get, &token, "").await;
        let paths = sidecar.upstream.paths();
        assert_eq!(paths, ["/batch", get], "{name}");
    }
}
