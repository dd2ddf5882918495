//! Two people who have something in common (a browser, a page, a forged token) stay two, and a
//! caller of whom little is known reads nothing old (P7, P8, P9; rulings 16, 17 and 24).

use crate::support::calls::{BY_LISTS, EXPLAIN, bearer, body};
use crate::support::upstream::{Reply, answer};
use crate::support::{Answer, Sidecar};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const ROLLING: (&str, &str) = ("[identity]\n", "[identity]\nrolling = [\"cookie:sid\"]\n");
/// A teacher's event is about a pupil.
const ABOUT: (&str, &str) = (
    "{jwt.sub|event.userId|query.userId}",
    "{event.userId|query.userId|jwt.sub}",
);

fn setting(status: u16, cookie: &'static str) -> Reply {
    let mut reply = answer(status, json!({}));
    reply
        .headers_mut()
        .insert("set-cookie", HeaderValue::from_static(cookie));
    reply
}

#[tokio::test]
async fn who_signs_out_and_who_signs_in_after_that_are_never_the_one_before() {
    for (method, status) in [
        (Method::POST, 302),
        (Method::POST, 200),
        (Method::GET, 302),
        (Method::GET, 200),
    ] {
        let sidecar = Sidecar::start(&[BY_LISTS, ROLLING]).await;
        sidecar
            .upstream
            .answer_with(move |seen| match seen.path.as_str() {
                "/batch" => None,
                "/logout" => Some(setting(status, "sid=anonymous; Path=/; HttpOnly")),
                "/login" => Some(setting(status, "sid=bob; Path=/; HttpOnly")),
                _ => Some(answer(200, json!({ "of": seen.header("cookie") }))),
            });
        let shown = async |cookie: &str| {
            let read = sidecar
                .call(Method::GET, "/progress?userId=u", &[("cookie", cookie)], "")
                .await;
            assert_eq!(read.json()["of"], cookie, "{method} {status}: {read:?}");
        };
        sidecar.taken(&[("cookie", "sid=alice")], "u", "a").await;
        sidecar.delivered().await;
        shown("sid=alice").await;
        sidecar
            .call(method.clone(), "/logout", &[("cookie", "sid=alice")], "")
            .await;
        shown("sid=anonymous").await;
        sidecar
            .call(method.clone(), "/login", &[("cookie", "sid=anonymous")], "")
            .await;
        shown("sid=bob").await;
        // Nor do their events share a batch.
        sidecar.taken(&[("cookie", "sid=alice")], "u", "b").await;
        sidecar.taken(&[("cookie", "sid=bob")], "u", "c").await;
        assert_eq!(sidecar.delivered().await.len(), 3, "{method} {status}");
    }
}

#[tokio::test]
async fn a_session_that_rolls_on_another_route_keeps_its_order_and_shares_neither_batch_nor_stored_answer()
 {
    let sidecar = Sidecar::start(&[BY_LISTS, ROLLING]).await;
    sidecar
        .upstream
        .answer_with(|seen| match seen.path.as_str() {
            "/batch" => None,
            "/elsewhere" => Some(setting(200, "sid=2; Path=/")),
            _ => Some(answer(200, json!({ "of": seen.header("cookie") }))),
        });
    let read = async |cookie: &str| {
        let read = sidecar
            .call(Method::GET, "/progress?userId=u", &[("cookie", cookie)], "")
            .await;
        read.json()["of"].as_str().unwrap().to_owned()
    };
    assert_eq!(read("sid=1").await, "sid=1");
    sidecar.taken(&[("cookie", "sid=1")], "u", "a").await;
    sidecar
        .call(Method::GET, "/elsewhere", &[("cookie", "sid=1")], "")
        .await;
    sidecar.taken(&[("cookie", "sid=2")], "u", "b").await;
    let batches = sidecar.delivered().await;
    assert_eq!(
        batches.iter().map(|batch| batch.ids()).collect::<Vec<_>>(),
        [["a"], ["b"]]
    );
    assert_eq!(
        (read("sid=1").await, read("sid=2").await),
        ("sid=1".to_owned(), "sid=2".to_owned())
    );
}

#[tokio::test]
async fn a_get_beside_events_and_a_read_that_answers_strangers_prove_no_session_that_they_renew() {
    for (path, strangers, may_share) in [
        ("/progress?userId=u", false, true),
        ("/progress?userId=u", true, false),
        ("/event?userId=u", false, false),
    ] {
        let sidecar = Sidecar::start(&[BY_LISTS, ROLLING]).await;
        sidecar.upstream.answer_with(|seen| {
            (seen.method == Method::GET).then(|| setting(200, "sid=2; Path=/"))
        });
        if strangers {
            assert_eq!(
                sidecar
                    .call(Method::GET, "/progress?userId=x", &[], "")
                    .await
                    .status,
                StatusCode::OK
            );
        }
        sidecar
            .call(Method::GET, path, &[("cookie", "sid=1")], "")
            .await;
        sidecar.taken(&[("cookie", "sid=1")], "u", "a").await;
        sidecar.taken(&[("cookie", "sid=2")], "u", "b").await;
        let batches: Vec<_> = sidecar
            .delivered()
            .await
            .iter()
            .map(crate::support::upstream::Seen::ids)
            .collect();
        let wanted = if may_share {
            vec![vec!["a", "b"]]
        } else {
            vec![vec!["a"], vec!["b"]]
        };
        assert_eq!(batches, wanted, "{path} {strangers}");
    }
}

/// The application shows how many events it has of the user that is asked for.
fn counting(sidecar: &Sidecar) {
    let taken = Arc::new(AtomicU64::new(0));
    sidecar.upstream.answer_with(move |seen| {
        if seen.path == "/batch" {
            taken.fetch_add(u64::try_from(seen.ids().len()).unwrap(), Ordering::SeqCst);
            return None;
        }
        let mut reply = answer(200, json!({ "taken": taken.load(Ordering::SeqCst) }));
        reply.headers_mut().insert(
            "cache-control",
            HeaderValue::from_static("public, max-age=60"),
        );
        Some(reply)
    });
}

fn taken(read: &Answer) -> Value {
    read.json()["taken"].clone()
}

#[tokio::test]
async fn a_teacher_reads_what_the_teacher_has_just_written_of_a_pupil() {
    for tags in ["progress:{user}", "progress:{query.userId}"] {
        let tags = format!("\ntags = [\"{tags}\"]");
        let sidecar =
            Sidecar::start(&[BY_LISTS, ABOUT, ("\ntags = [\"progress:{user}\"]", &tags)]).await;
        counting(&sidecar);
        let teacher = bearer(&json!({ "sub": "teacher" }));
        assert_eq!(
            taken(&sidecar.get(&teacher, "/progress?userId=s1").await),
            0
        );
        sidecar
            .taken(&[("authorization", &teacher)], "s1", "a")
            .await;
        for _ in 0..2 {
            let read = sidecar.get(&teacher, "/progress?userId=s1").await;
            assert_eq!(taken(&read), 1, "{tags}: {read:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_without_a_name_passes_the_cache_while_its_own_events_are_pending() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    counting(&sidecar);
    sidecar.taken(&[], "u", "a").await;
    for _ in 0..2 {
        let read = sidecar
            .call(Method::GET, "/progress?userId=u", &[], "")
            .await;
        assert_eq!(
            read.header("cache-status"),
            "tidegate; fwd=bypass; detail=pending"
        );
    }
    assert_eq!(
        sidecar.upstream.batches(),
        [[""; 0]; 0],
        "and seals nothing"
    );
    sidecar.delivered().await;
    let read = sidecar
        .call(Method::GET, "/progress?userId=u", &[], "")
        .await;
    assert_eq!(
        (taken(&read), read.header("cache-status")),
        (json!(1), "tidegate; fwd=uri-miss; stored")
    );
}

#[tokio::test]
async fn a_refused_reader_passes_the_cache_while_its_own_events_are_pending() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    sidecar
        .upstream
        .answer_with(|seen| match seen.path.as_str() {
            "/batch" => Some(answer(401, json!({}))),
            _ => Some(answer(200, json!({ "p": 0 }))),
        });
    let token = [("authorization", "Bearer t")];
    sidecar.taken(&token, "u", "a").await;
    sidecar.flush().await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"progress\",result=\"rejected\"}",
            1,
        )
        .await;
    for _ in 0..2 {
        let read = sidecar
            .call(Method::GET, "/progress?userId=u", &token, "")
            .await;
        assert_eq!(
            read.header("cache-status"),
            "tidegate; fwd=bypass; detail=pending"
        );
    }
}

#[tokio::test]
async fn two_tokens_that_differ_are_the_applications_to_judge_wherever_they_stand() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    let token = |name: &str| bearer(&json!({ "sub": name })).split_off("Bearer ".len());
    let (victim, attacker) = (token("victim"), token("attacker"));
    let forged = format!("Bearer {victim}");
    let cookie = format!("access_token={attacker}");
    let two_cookies = format!("access_token={attacker}; access_token={victim}");
    for headers in [
        &[("authorization", forged.as_str()), ("cookie", &cookie)][..],
        &[("cookie", &two_cookies)],
    ] {
        let heard = sidecar.send(headers, "u", "a").await;
        assert_eq!(
            (heard.status, heard.header("tidegate-forwarded")),
            (StatusCode::OK, "several_tokens")
        );
        let read = sidecar
            .call(Method::GET, "/progress?userId=u", headers, "")
            .await;
        assert_eq!(
            read.header("cache-status"),
            "tidegate; fwd=bypass; detail=several_tokens"
        );
    }
    let twice = format!("access_token={victim}");
    sidecar
        .taken(&[("authorization", &forged), ("cookie", &twice)], "u", "b")
        .await;
}

#[tokio::test]
async fn a_token_beside_an_authorization_of_another_form_is_the_applications_to_judge() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    let token = bearer(&json!({ "sub": "u" })).split_off("Bearer ".len());
    let cookie = format!("access_token={token}");
    let spaced = format!("Bearer  {token}");
    let tabbed = format!("Bearer\t{token}");
    let odd: [&[&str]; 10] = [
        &["Token x"],
        &["token=x"],
        &["Basic eA=="],
        &["Bearer"],
        &[&spaced],
        &[&tabbed],
        &["Bearer x, Bearer y"],
        &["Bearer x y"],
        &["Basic eA==", "Basic eQ=="],
        &["x"],
    ];
    for lines in odd {
        let lines = lines.iter().map(|line| ("authorization", *line));
        let headers: Vec<_> = lines.chain([("cookie", cookie.as_str())]).collect();
        let heard = sidecar.send(&headers, "u", "a").await;
        assert_eq!(
            (heard.status, heard.header("tidegate-forwarded")),
            (StatusCode::OK, "several_tokens"),
            "{headers:?}"
        );
        let read = sidecar
            .call(Method::GET, "/progress?userId=u", &headers, "")
            .await;
        assert_eq!(
            read.header("cache-status"),
            "tidegate; fwd=bypass; detail=several_tokens",
            "{headers:?}"
        );
    }
    // Where the application reads no Authorization, the configuration says so.
    let only_cookie = (
        "[identity]\n",
        "[identity]\ntoken = [\"cookie:access_token\"]\n",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, only_cookie]).await;
    sidecar
        .taken(
            &[("authorization", "Basic eA=="), ("cookie", &cookie)],
            "u",
            "a",
        )
        .await;
    // An empty line is none, and another scheme alone is a credential like any other.
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    sidecar
        .taken(&[("authorization", ""), ("cookie", &cookie)], "u", "a")
        .await;
    sidecar
        .taken(&[("authorization", "Basic eA==")], "u", "b")
        .await;
}

const LOWERCASE: (&str, &str) = (
    "percent = [\"percent\"]",
    "percent = [\"percent\"]\nlowercase = [\"userId\"]",
);

#[tokio::test]
async fn a_user_in_another_case_reads_what_was_acknowledged_under_the_groups_spelling() {
    for tags in ["progress:{user}", "progress:{query.userId}"] {
        let tags = format!("\ntags = [\"{tags}\"]");
        let replace = [
            BY_LISTS,
            LOWERCASE,
            ("\ntags = [\"progress:{user}\"]", &tags),
        ];
        let sidecar = Sidecar::start(&replace).await;
        counting(&sidecar);
        let mut known = 0;
        for (id, user) in [("a", "ADA"), ("b", "ada"), ("c", "Ada")] {
            for reader in ["Bearer writer", "Bearer other"] {
                for spelling in ["ADA", "ada", "aDa"] {
                    let read = sidecar
                        .get(reader, &format!("/progress?userId={spelling}"))
                        .await;
                    assert_eq!(
                        taken(&read),
                        known,
                        "{tags} {id} {reader} {spelling}: {read:?}"
                    );
                }
            }
            sidecar
                .taken(&[("authorization", "Bearer writer")], user, id)
                .await;
            known += 1;
            for spelling in ["ADA", "ada", "aDa"] {
                let read = sidecar
                    .get("Bearer writer", &format!("/progress?userId={spelling}"))
                    .await;
                assert_eq!(taken(&read), known, "{tags} {id} {spelling}: {read:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_body_says_in_another_case_than_its_token_is_no_other_user() {
    let same = (
        LOWERCASE.0,
        "percent = [\"percent\"]\nlowercase = [\"userId\"]\nsame_user = [\"userId\"]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, same]).await;
    let token = bearer(&json!({ "sub": "ADA" }));
    sidecar
        .taken(&[("authorization", &token)], "aDa", "a")
        .await;
    let other = sidecar.send(&[("authorization", &token)], "bob", "b").await;
    assert_eq!(other.header("tidegate-forwarded"), "other_user");
}

#[tokio::test]
async fn where_every_group_takes_strangers_a_forged_claim_costs_its_victim_no_hit() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    sidecar.taken(&[], "anybody", "a").await;
    sidecar.delivered().await;
    let token = |id: &str| bearer(&json!({ "sub": "victim", "jti": id }));
    sidecar
        .taken(&[("authorization", &token("forged"))], "victim", "f")
        .await;
    let victim = token("own");
    for wanted in ["fwd=uri-miss", "hit", "hit"] {
        let read = sidecar.get(&victim, "/progress?userId=victim").await;
        assert!(
            read.header("cache-status").contains(wanted),
            "{wanted}: {}",
            read.header("cache-status")
        );
    }
}

#[tokio::test]
async fn a_write_whose_body_trickles_in_holds_its_callers_lane_no_longer_than_an_answer_may_take() {
    let small = (
        "[batch.progress]",
        "[limits]\nmax_body = \"1KiB\"\n[batch.progress]",
    );
    let brief = ("response_timeout = \"5s\"", "response_timeout = \"3s\"");
    let sidecar = Sidecar::start(&[BY_LISTS, small, brief]).await;
    let mut upload = TcpStream::connect(sidecar.running.address).await.unwrap();
    let head = format!(
        "POST /snapshot HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer t\r\nContent-Length: \
         1000000\r\n\r\n",
        sidecar.running.address
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(&[b'x'; 2_000]).await.unwrap();
    let trickle = tokio::spawn(async move {
        // Until the other side is gone.
        while upload.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    sidecar
        .taken(&[("authorization", "Bearer t")], "u", "a")
        .await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    assert!(!trickle.is_finished(), "the upload goes on");
    trickle.abort();
}

#[tokio::test]
async fn a_rolling_session_that_a_delivery_renews_is_kept_alive_too() {
    let sidecar = Sidecar::start(&[BY_LISTS, ROLLING, EXPLAIN]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| setting(200, "sid=s2; Path=/")));
    sidecar
        .taken(&[("cookie", "_ga=1; sid=s1")], "u", "a")
        .await;
    sidecar.delivered().await;
    let heard = sidecar.send(&[("cookie", "_ga=1; sid=s1")], "u", "b").await;
    assert_eq!(
        (heard.status, heard.header("tidegate-forwarded")),
        (StatusCode::OK, "session_renewal")
    );
    // A caller without a session has none to keep.
    let call = body("u", "c", "");
    sidecar
        .call(
            Method::POST,
            "/event",
            &[("cookie", "_ga=1"), ("authorization", "Bearer t")],
            call,
        )
        .await;
    sidecar.delivered().await;
    sidecar
        .taken(
            &[("cookie", "_ga=1"), ("authorization", "Bearer t")],
            "u",
            "d",
        )
        .await;
}

#[tokio::test]
async fn a_key_that_names_the_user_is_shown_to_operators_as_a_hash_and_a_name_as_it_is() {
    let user = (
        "{jwt.sub|event.userId|query.userId}",
        "{header.x-api-key|cookie.sid|header.x-user-id}",
    );
    let unnamed = [
        (
            "require = [\"userId\", \"lessonId\"]",
            "require = [\"lessonId\"]",
        ),
        ("userId = \"{body.user}\", ", ""),
    ];
    let sidecar = Sidecar::start(&[BY_LISTS, user, unnamed[0], unnamed[1]]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let callers = [
        ("x-api-key", "sk_live_1"),
        ("cookie", "sid=sk_live_2"),
        ("x-user-id", "ada"),
    ];
    for (number, caller) in callers.into_iter().enumerate() {
        sidecar.taken(&[caller], "", &number.to_string()).await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.dead == 3).await;
    let letters = sidecar.admin(Method::GET, "/dead-letters").await;
    assert!(
        !std::str::from_utf8(&letters.body)
            .unwrap()
            .contains("sk_live"),
        "{letters:?}"
    );
    let mut users: Vec<_> = letters
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["user"].as_str().unwrap().to_owned())
        .collect();
    users.sort();
    assert_eq!(users[0], "ada");
    assert!(
        users[1..]
            .iter()
            .all(|user| user.starts_with("hash:") && user.len() == 13),
        "{users:?}"
    );
}
