//! P4: one order of what a user does, over renewed tokens, forwarded calls and a client's own
//! batches (rulings 4, 15, 17 and 26).

use crate::support::Sidecar;
use crate::support::calls::{BY_LISTS, EXPLAIN, bearer, body};
use crate::support::upstream::{Seen, answer};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const TOKEN: (&str, &str) = ("authorization", "Bearer t");

/// What came, in order: batches by their ids, other calls by method and path.
fn told(seen: &[Seen]) -> Vec<String> {
    let one = |seen: &Seen| match seen.path.as_str() {
        "/batch" => seen.ids().join(" "),
        path => format!("{} {path}", seen.method),
    };
    seen.iter().map(one).collect()
}

fn token(user: &str, device: &str) -> String {
    bearer(&json!({ "sub": user, "jti": device }))
}

/// A read of its own that the application answered: the token is known to be good.
async fn prove(sidecar: &Sidecar, token: &str) {
    assert_eq!(sidecar.get(token, "/progress").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_users_order_holds_over_renewed_tokens_and_second_devices_whatever_fails() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    let tokens = ["phone", "desk", "phone-renewed"].map(|device| token("u", device));
    for token in &tokens {
        prove(&sidecar, token).await;
    }
    let before = sidecar.upstream.seen().len();
    let (mut turn, mut taken) = (0, Vec::new());
    let (tell, told) = std::sync::mpsc::channel();
    sidecar.upstream.answer_with(move |seen| {
        turn += 1;
        if turn % 3 == 1 {
            return Some(answer(503, json!({})));
        }
        tell.send(seen.ids()).unwrap();
        None
    });
    for number in 0..30 {
        let token = tokens[[0, 1, 0, 2, 1, 2, 2][number % 7]].as_str();
        sidecar
            .taken(&[("authorization", token)], "u", &format!("e{number:02}"))
            .await;
    }
    sidecar.delivered().await;
    taken.extend(told.try_iter().flatten());
    assert!(taken.is_sorted() && taken.len() == 30, "{taken:?}");
    for batch in &sidecar.upstream.seen()[before..] {
        let number = |id: &String| id[1..].parse::<usize>().unwrap();
        let own = |id: &String| {
            tokens[[0, 1, 0, 2, 1, 2, 2][number(id) % 7]] == batch.header("authorization")
        };
        assert!(
            batch.ids().iter().all(own),
            "each under the token that it came with"
        );
    }
}

#[tokio::test]
async fn tokens_of_which_nothing_is_known_yet_keep_one_order_too() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, device) in [("a", "phone"), ("b", "desk"), ("c", "renewed")] {
        sidecar
            .taken(&[("authorization", &token("u", device))], "u", id)
            .await;
    }
    // The last one's completion seals its own window, and what its user has before it.
    let (token, more) = (token("u", "renewed"), ",\"status\":\"completed\"");
    let done = sidecar
        .call(
            Method::POST,
            "/event",
            &[("authorization", &token)],
            body("u", "d", more),
        )
        .await;
    assert_eq!(done.status, StatusCode::ACCEPTED);
    sidecar.until(|ledger| ledger.accepted == 4).await;
    assert_eq!(told(&sidecar.upstream.seen()), ["a", "b", "c d"]);
}

/// Which of two users the application reads isn't known, so the call goes after all that its caller
/// has; what a token names is not made doubtful by a parameter, and its other devices' events come
/// first too.
#[tokio::test]
async fn a_call_that_names_its_user_twice_goes_after_all_events_that_may_be_meant() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    let [phone, desk] = ["phone", "desk"].map(|device| token("u", device));
    for token in [&phone, &desk] {
        prove(&sidecar, token).await;
    }
    let before = sidecar.upstream.seen().len();
    sidecar
        .taken(&[("authorization", &phone)], "u", "of-the-phone")
        .await;
    let own = [("authorization", desk.as_str())];
    let path = "/event?tag=1&tag=2&userId=a&userId=b";
    let update = sidecar.call(Method::PATCH, path, &own, "{}").await;
    assert_eq!(update.status, StatusCode::OK);
    assert_eq!(
        told(&sidecar.upstream.seen()[before..]),
        ["of-the-phone", &format!("PATCH {path}")]
    );
    // A token that names nobody; and one that names whom the first parameter names too.
    let by_event = (
        "user = \"{jwt.sub|event.userId|query.userId}\"",
        "user = \"{event.userId|query.userId|jwt.sub}\"",
    );
    let by_event = Sidecar::start(&[BY_LISTS, by_event]).await;
    let named = token("a", "phone");
    for (sidecar, token) in [(&sidecar, TOKEN.1), (&by_event, &named)] {
        let before = sidecar.upstream.seen().len();
        let token = [("authorization", token)];
        for user in ["a", "b"] {
            sidecar.taken(&token, user, user).await;
        }
        let path = "/event?userId=a&userId=b";
        let update = sidecar.call(Method::PATCH, path, &token, "").await;
        assert_eq!(update.status, StatusCode::OK);
        let mut came = told(&sidecar.upstream.seen()[before..]);
        assert_eq!(came.pop(), Some(format!("PATCH {path}")));
        came.sort();
        assert_eq!(came, ["a", "b"]);
    }
}

#[tokio::test]
async fn a_stranger_who_names_a_user_keeps_no_order_with_it() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.header("authorization") == "Bearer stranger").then(|| answer(503, json!({})))
    });
    sidecar
        .taken(&[("authorization", "Bearer stranger")], "u", "a")
        .await;
    sidecar.taken(&[TOKEN], "u", "b").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    assert!(told(&sidecar.upstream.seen()).contains(&"b".to_owned()));
    assert_eq!(
        sidecar.running.ledger().pending,
        1,
        "the stranger's waits for itself"
    );
}

#[tokio::test]
async fn every_other_method_on_an_events_path_goes_after_its_callers_events_and_before_later_ones()
{
    for method in [Method::PATCH, Method::PUT, Method::DELETE] {
        let sidecar = Sidecar::start(&[BY_LISTS]).await;
        sidecar.upstream.script([answer(503, json!({}))]);
        sidecar.taken(&[TOKEN], "u", "a").await;
        sidecar
            .upstream
            .hold_back(|seen| seen.method != Method::POST);
        let update = sidecar.call(method.clone(), "/event?id=a", &[TOKEN], "{\"percent\":90}");
        let meanwhile = async {
            sidecar
                .upstream
                .until(|seen| seen.iter().any(|one| one.method != Method::POST))
                .await;
            for id in ["1", "2", "3", "4"] {
                sidecar.taken(&[TOKEN], "u", id).await;
            }
            // Another caller doesn't wait.
            for id in ["5", "6", "7", "8"] {
                sidecar
                    .taken(&[("authorization", "Bearer other")], "v", id)
                    .await;
            }
            sidecar.until(|ledger| ledger.accepted == 5).await;
            sidecar.upstream.open_gate();
        };
        let (update, ()) = tokio::join!(update, meanwhile);
        assert_eq!(update.status, StatusCode::OK);
        sidecar.until(|ledger| ledger.accepted == 9).await;
        let update = format!("{method} /event?id=a");
        let wanted = ["a", "a", &update, "5 6 7 8", "1 2 3 4"];
        assert_eq!(told(&sidecar.upstream.seen()), wanted);
    }
}

#[tokio::test]
async fn a_read_on_an_events_path_sees_the_events_before_it() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, method) in [("a", Method::GET), ("b", Method::HEAD)] {
        sidecar.taken(&[TOKEN], "u", id).await;
        sidecar.call(method, "/event", &[TOKEN], "").await;
    }
    assert_eq!(
        told(&sidecar.upstream.seen()),
        ["a", "GET /event", "b", "HEAD /event"]
    );
}

#[tokio::test]
async fn a_route_that_is_alone_on_its_path_makes_nothing_wait() {
    let alone = ("[[event]]\n", "[[event]]\nalone = true\n");
    let sidecar = Sidecar::start(&[BY_LISTS, alone]).await;
    sidecar.taken(&[TOKEN], "u", "a").await;
    sidecar.call(Method::DELETE, "/event", &[TOKEN], "").await;
    assert_eq!(told(&sidecar.upstream.seen()), ["DELETE /event"]);
}

#[tokio::test]
async fn a_write_whose_user_is_in_its_body_waits_for_that_users_lanes_and_for_no_others() {
    let user = (
        "path = \"/snapshot\"\n",
        "path = \"/snapshot\"\nuser = \"{body.who.id}\"\n",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, user]).await;
    for user in ["ada", "bob"] {
        sidecar.taken(&[TOKEN], user, user).await;
    }
    let write = json!({ "who": { "id": "bob" }, "state": 1 }).to_string();
    assert_eq!(
        sidecar
            .call(Method::POST, "/snapshot", &[TOKEN], write)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(told(&sidecar.upstream.seen()), ["bob", "POST /snapshot"]);
    // Nobody named: all lanes of the caller.
    sidecar.taken(&[TOKEN], "bob", "more").await;
    sidecar
        .call(Method::POST, "/snapshot", &[TOKEN], "{}")
        .await;
    let mut before = told(&sidecar.upstream.seen())[2..].to_vec();
    assert_eq!(before.pop().unwrap(), "POST /snapshot");
    before.sort();
    assert_eq!(before, ["ada", "more"]);
}

fn batch(user: &str, ids: &[&str]) -> Value {
    let one = |id: &&str| json!({ "clientEventId": id, "userId": user, "lessonId": "l" });
    json!(ids.iter().map(one).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_clients_own_batch_takes_all_its_places_at_once() {
    let sidecar = Sidecar::start(&[
        BY_LISTS,
        (
            "flush_at = 4\nmax_events = 4\nmax_bytes = \"1KiB\"",
            "flush_at = 25\nmax_events = 25",
        ),
    ])
    .await;
    let own: Vec<_> = (0..12).map(|number| format!("own-{number:02}")).collect();
    let ids: Vec<_> = own.iter().map(String::as_str).collect();
    let whole = json!({ "events": batch("u", &ids) }).to_string();
    // The user's other tabs post all the while.
    let answered = std::cell::Cell::new(false);
    let tab = async |tab: usize| {
        let mut number = 0;
        while !answered.get() {
            sidecar
                .taken(&[TOKEN], "u", &format!("tab-{tab}-{number}"))
                .await;
            number += 1;
        }
    };
    let batch = async {
        let taken = sidecar.call(Method::POST, "/batch", &[TOKEN], whole).await;
        answered.set(true);
        taken
    };
    let (taken, ..) = tokio::join!(batch, tab(0), tab(1), tab(2), tab(3));
    assert_eq!(taken.json()["accepted"].as_array().unwrap().len(), 12);
    let order: Vec<_> = sidecar
        .delivered()
        .await
        .iter()
        .flat_map(Seen::ids)
        .collect();
    let begin = order.iter().position(|id| *id == own[0]).unwrap();
    assert_eq!(order[begin..begin + 12], own, "{order:?}");
}

#[tokio::test]
async fn a_clients_batch_of_several_users_is_forwarded_whole_after_all_lanes_of_its_caller() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    for user in ["ada", "bob", "eve"] {
        sidecar.taken(&[TOKEN], user, user).await;
    }
    sidecar
        .taken(&[("authorization", "Bearer other")], "ada", "others")
        .await;
    let [Value::Array(mut events), Value::Array(more)] =
        [batch("ada", &["1"]), batch("bob", &["2"])]
    else {
        unreachable!()
    };
    events.extend(more);
    let whole = json!({ "events": events }).to_string();
    let heard = sidecar
        .call(Method::POST, "/batch", &[TOKEN], whole.clone())
        .await;
    assert_eq!(
        (
            heard.header("tidegate-forwarded"),
            &heard.json()["accepted"]
        ),
        ("other_user", &json!(["1", "2"]))
    );
    let seen = sidecar.upstream.seen();
    assert_eq!(seen.last().unwrap().body, whole);
    let mut before = told(&seen[..3]);
    before.sort();
    assert_eq!(
        (seen.len(), before),
        (4, ["ada", "bob", "eve"].map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn what_is_forwarded_while_the_upstream_is_ill_overtakes_nothing() {
    let quick =
        "response_timeout = \"5s\"\n[[relay]]\npath = \"/event\"\nresponse_timeout = \"30ms\"";
    let sidecar = Sidecar::start(&[BY_LISTS, ("response_timeout = \"5s\"", quick)]).await;
    sidecar.taken(&[TOKEN], "u", "a").await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(503, json!({}))));
    for method in [Method::PATCH, Method::DELETE] {
        let heard = sidecar
            .call(method, "/event", &[TOKEN], body("u", "a", ""))
            .await;
        assert_eq!(heard.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!heard.header("retry-after").is_empty());
    }
    assert!(
        sidecar
            .upstream
            .seen()
            .iter()
            .all(|seen| seen.path == "/batch"),
        "nothing overtook"
    );
    sidecar.upstream.answer_with(|_| None);
    // It comes again as it is told; a busy machine may take longer than its answer has.
    while sidecar
        .call(Method::DELETE, "/event", &[TOKEN], "")
        .await
        .status
        != StatusCode::OK
    {}
    let seen = told(&sidecar.upstream.seen());
    let first = seen.iter().position(|one| one == "DELETE /event");
    assert!(first > seen.iter().rposition(|one| one == "a"), "{seen:?}");
}
