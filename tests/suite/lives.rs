//! `/events/{id}`: what is known of one event, at each station of its life.

use crate::support::upstream::answer;
use crate::support::{Sidecar, in_time};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

async fn life(sidecar: &Sidecar, id: &str) -> Value {
    let found = sidecar.admin(Method::GET, &format!("/events/{id}")).await;
    assert_eq!(found.status, StatusCode::OK, "{id}: {found:?}");
    found.json()
}

/// The members of these names.
fn members<const N: usize>(value: &Value, names: [&str; N]) -> [Value; N] {
    names.map(|name| value.pointer(name).cloned().unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_event_is_told_from_its_window_to_its_outcome() {
    let single = ("fallback = \"dead-letter\"", "fallback = \"single\"");
    let sidecar = Sidecar::start(&[single]).await;
    sidecar.event("t", "ann", "a").await;
    sidecar.event("t", "ann", "a").await;
    let open = life(&sidecar, "a").await;
    let names = [
        "/state",
        "/waits_for",
        "/group",
        "/user",
        "/route",
        "/repetitions",
        "/outcome",
    ];
    assert_eq!(
        members(&open, names),
        ["pending", "window", "progress", "ann", "/event"]
            .map(Value::from)
            .into_iter()
            .chain([json!(1), Value::Null])
            .collect::<Vec<_>>()[..],
        "{open:#}"
    );
    let received = open["received_at"].as_u64().unwrap();
    let opened = open["waits_until"].as_u64().unwrap();
    assert!(opened > received, "{open:#}");
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let done = life(&sidecar, "a").await;
    let names = [
        "/state",
        "/outcome",
        "/window/sealed_by",
        "/user",
        "/repetitions",
    ];
    assert_eq!(
        members(&done, names),
        [
            json!("settled"),
            json!("accepted"),
            json!("asked"),
            json!("ann"),
            json!(1)
        ],
        "{done:#}"
    );
    assert_eq!(done["received_at"], received);
    let names = ["/verdict", "/status", "/events", "/form"];
    assert_eq!(
        members(&done["attempts"][0], names),
        [json!("answered"), json!(200), json!(1), json!("batch")],
        "{done:#}"
    );
    assert_eq!(done["attempts"].as_array().unwrap().len(), 1);
    let seen = sidecar.upstream.seen();
    let sent = seen.iter().find(|seen| seen.path == "/batch").unwrap();
    assert_eq!(done["attempts"][0]["batch"], sent.header("idempotency-key"));
}

#[tokio::test]
async fn what_holds_a_pending_event_and_what_was_tried_is_told() {
    let pauses = (
        "retry_server = { base = \"10ms\", cap = \"20ms\" }\nretry_limited = { base = \"10ms\", jitter = \
         \"5ms\" }",
        "retry_server = { base = \"1h\", cap = \"1h\" }\nretry_limited = { base = \"1h\", jitter = \
         \"5ms\" }",
    );
    let sidecar = Sidecar::start(&[pauses]).await;
    sidecar.upstream.answer_with(|seen| {
        let token = seen.headers.get("authorization")?.to_str().ok()?;
        let status = match token {
            "refused" => 401,
            "limited" => 429,
            "failing" => 503,
            _ => return None,
        };
        (seen.path == "/batch").then(|| answer(status, json!({})))
    });
    for (token, waits_for, verdict, status) in [
        ("refused", "credential", "rejected", 401),
        ("limited", "gate", "retry", 429),
        ("failing", "backoff", "retry", 503),
    ] {
        sidecar.event(token, token, token).await;
        sidecar.flush().await;
        let is_held = async {
            loop {
                let life = life(&sidecar, token).await;
                if life["waits_for"] == waits_for {
                    return life;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let held = in_time(waits_for, is_held).await;
        let attempt = &held["attempts"][0];
        assert_eq!(
            (&attempt["verdict"], &attempt["status"]),
            (&json!(verdict), &json!(status))
        );
        assert_eq!(held["window"]["sealed_by"], "asked", "{held:#}");
        assert!(
            held["waits_until"].as_u64() > held["received_at"].as_u64(),
            "{held:#}"
        );
    }
}

#[tokio::test]
async fn an_event_on_its_way_is_known_by_the_lane_that_it_left() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.close_gate();
    sidecar.event("t", "ann", "a").await;
    sidecar.flush().await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    let flying = life(&sidecar, "a").await;
    let names = ["/state", "/waits_for", "/group", "/user"];
    assert_eq!(
        members(&flying, names),
        [
            json!("pending"),
            json!("delivery"),
            json!("progress"),
            Value::Null
        ]
    );
    let other = sidecar.admin(Method::GET, "/events/b").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    sidecar.upstream.open_gate();
    sidecar.until(|ledger| ledger.accepted == 1).await;
    assert_eq!(life(&sidecar, "a").await["state"], "settled");
}

#[tokio::test]
async fn a_dead_letter_says_why_and_an_id_of_several_users_is_a_list() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|seen| {
        let of_bob = seen
            .headers
            .get("authorization")
            .is_some_and(|token| token == "token-bob");
        (seen.path == "/batch" && of_bob).then(|| answer(422, json!({})))
    });
    // One id, as clients may write it.
    let id = "a/b ü";
    for user in ["ann", "bob"] {
        sidecar.event(&format!("token-{user}"), user, id).await;
    }
    sidecar.flush().await;
    sidecar
        .until(|ledger| ledger.dead == 1 && ledger.accepted == 1)
        .await;
    let lives = life(&sidecar, "a%2Fb%20%C3%BC").await;
    let found: Vec<_> = lives
        .as_array()
        .unwrap()
        .iter()
        .map(|life| members(life, ["/user", "/state", "/outcome", "/reason", "/id"]))
        .collect();
    let null = Value::Null;
    let wanted = [
        ["bob", "dead_letter", "dead", "refused"]
            .map(Value::from)
            .to_vec(),
        vec![json!("ann"), json!("settled"), json!("accepted"), null],
    ];
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found[..4], wanted[..], "{lives:#}");
        assert_eq!(found[4], id);
    }
    assert_eq!(lives[0]["attempts"][0]["verdict"], "refused", "{lives:#}");
    for (path, status) in [("/events/c", 404), ("/events/", 404), ("/events/%FF", 400)] {
        let answer = sidecar.admin(Method::GET, path).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let unknown = sidecar.admin(Method::GET, "/events/c").await;
    let said = String::from_utf8_lossy(&unknown.body).into_owned();
    assert!(
        said.contains("the last 10000 that were settled since the start"),
        "{said}"
    );
    // A user whose name is the credential itself.
    sidecar.event("its-own-name", "its-own-name", "d").await;
    for state in ["pending", "settled"] {
        let life = life(&sidecar, "d").await;
        assert_eq!(life["state"], state);
        assert!(
            life["user"].as_str().unwrap().starts_with("hash:"),
            "{life:#}"
        );
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.accepted == 2).await;
    }
    let refused = sidecar.admin(Method::DELETE, "/events/c").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_superseded_event_names_the_one_in_its_place_and_nothing_shows_a_body_or_a_credential() {
    let keep = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nkey = [\"lessonId\"]\nkeep = \"newest\"",
    );
    let sidecar = Sidecar::start(&[keep]).await;
    for id in ["a", "b"] {
        let answer = sidecar
            .post("token-of-ann", "ann", id, ",\"pad\":\"body-of-ann\"")
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    sidecar.flush().await;
    sidecar
        .until(|ledger| ledger.accepted == 1 && ledger.superseded == 1)
        .await;
    let older = life(&sidecar, "a").await;
    assert_eq!(
        members(&older, ["/outcome", "/superseded_by", "/window/sealed_by"]),
        [json!("superseded"), json!("b"), Value::Null],
        "{older:#}"
    );
    let newer = life(&sidecar, "b").await;
    assert_eq!(newer["outcome"], "accepted");
    for life in [older, newer] {
        let text = life.to_string();
        assert!(
            !text.contains("token-of-ann") && !text.contains("body-of-ann"),
            "{text}"
        );
    }
}
