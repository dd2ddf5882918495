//! Who calls: P3 and P4 by the built-in lists and by what the configuration says of single parts
//! (rulings 15 to 17 and 22 to 24).

use crate::support::calls::{BY_LISTS, EXPLAIN, bearer, body, ids_by};
use crate::support::upstream::{Seen, answer};
use crate::support::{Answer, Sidecar};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const TOKEN: (&str, &str) = ("authorization", "Bearer t");

fn identity(lines: &str) -> String {
    format!("[identity]\n{lines}\n")
}

fn order(batches: &[Seen]) -> Vec<String> {
    batches.iter().flat_map(Seen::ids).collect()
}

#[tokio::test]
async fn events_of_two_keys_never_share_a_batch_and_those_of_one_key_do() {
    for header in [
        "x-api-key",
        "api-key",
        "apikey",
        "x-auth-token",
        "x-access-token",
        "authorization",
    ] {
        let sidecar = Sidecar::start(&[BY_LISTS]).await;
        for (id, key) in ["k1", "k2", "k1", "k2"].into_iter().enumerate() {
            sidecar.taken(&[(header, key)], "u", &id.to_string()).await;
        }
        let batches = sidecar.delivered().await;
        assert_eq!(batches.len(), 2, "{header}");
        let wanted = [("k1", ["0", "2"]), ("k2", ["1", "3"])];
        let wanted = wanted.map(|(key, ids)| (key.to_owned(), ids.map(str::to_owned).to_vec()));
        assert_eq!(ids_by(&batches, header), wanted.into(), "{header}");
    }
}

#[tokio::test]
async fn a_key_in_the_body_or_in_the_query_tells_callers_apart_and_travels_with_their_batch() {
    for (part, path, source) in [
        ("body:api_key", "/event", "body.api_key"),
        ("query:key", "/event?key=", "query.key"),
    ] {
        let listed = format!("credentials = [\"{part}\"]\n");
        let envelope = format!(
            "path = \"/batch\"\nenvelope = {{ key = \"{{{source}}}\", events = \"{{events}}\" }}"
        );
        let sidecar =
            Sidecar::start(&[(BY_LISTS.0, &listed), ("path = \"/batch\"", &envelope)]).await;
        for (id, key) in ["k1", "k2", "k1", "k2"].into_iter().enumerate() {
            let path = if path.ends_with('=') {
                format!("{path}{key}")
            } else {
                path.to_owned()
            };
            let call = body("u", &id.to_string(), &format!(",\"api_key\":\"{key}\""));
            let taken = sidecar.call(Method::POST, &path, &[], call).await;
            assert_eq!(taken.status, StatusCode::ACCEPTED, "{part}: {taken:?}");
        }
        let found: Vec<_> = sidecar
            .delivered()
            .await
            .iter()
            .map(|batch| {
                let key = serde_json::from_slice::<serde_json::Value>(&batch.body).unwrap()["key"]
                    .clone();
                (key, batch.ids().join(" "))
            })
            .collect();
        let mut sorted = found.clone();
        sorted.sort_by_key(|(key, _)| key.to_string());
        assert_eq!(
            sorted,
            [
                (json!("k1"), "0 2".to_owned()),
                (json!("k2"), "1 3".to_owned())
            ],
            "{part}"
        );
    }
}

#[tokio::test]
async fn analytics_and_balancers_cookies_that_change_with_every_call_split_nothing() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    let mut cookie = String::new();
    for number in 0..20 {
        cookie = format!(
            "_ga=GA1.1.{number}; sid=s; _ga_AB12CD=GS1.{number}; _hjSession_12={number}; \
             __utmb={number}; AWSALB={number}"
        );
        sidecar
            .taken(&[("cookie", &cookie)], "u", &format!("e{number:02}"))
            .await;
    }
    let batches = sidecar.delivered().await;
    let sizes: Vec<_> = batches.iter().map(|batch| batch.ids().len()).collect();
    assert_eq!(sizes, [4; 5], "as if those cookies weren't there");
    assert!(order(&batches).is_sorted());
    assert_eq!(
        batches.last().unwrap().header("cookie"),
        cookie,
        "the newest call's"
    );
}

#[tokio::test]
async fn a_cookie_that_is_merely_called_like_one_of_those_is_a_session() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, name) in ["_gate_session", "_ga_session", "XAWSALB", "sessionid"]
        .into_iter()
        .enumerate()
    {
        for value in ["1", "2"] {
            sidecar
                .taken(
                    &[("cookie", &format!("{name}={value}"))],
                    "u",
                    &format!("{id}-{value}"),
                )
                .await;
        }
    }
    assert_eq!(
        sidecar.delivered().await.len(),
        8,
        "each value is another caller"
    );
}

/// An upstream that renews the session cookie on every answer but a batch's.
fn renewing(sidecar: &Sidecar) {
    let count = AtomicU64::new(0);
    sidecar.upstream.answer_with(move |seen| {
        (seen.path != "/batch").then(|| {
            let mut response = answer(200, json!({}));
            let cookie = format!(
                "sid=s{}; Path=/; HttpOnly",
                count.fetch_add(1, Ordering::SeqCst) + 1
            );
            response
                .headers_mut()
                .insert("set-cookie", HeaderValue::try_from(cookie).unwrap());
            response
        })
    });
}

fn renewed(answer: &Answer) -> String {
    answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_session_that_is_renewed_by_answers_keeps_its_users_order() {
    // Paths that wait for no lane: a page, and a cache route without tags.
    for (rolling, page) in [
        (false, "/elsewhere"),
        (true, "/elsewhere"),
        (false, "/page"),
        (true, "/page"),
    ] {
        let lines = identity(if rolling {
            "rolling = [\"cookie:sid\"]"
        } else {
            ""
        });
        let cached = ("[[cache]]\n", "[[cache]]\npath = \"/page\"\n[[cache]]\n");
        let mut replace = vec![BY_LISTS, cached, ("[identity]\n", lines.as_str())];
        replace.push((
            "flush_at = 4\nmax_events = 4\nmax_bytes = \"1KiB\"",
            "flush_at = 100\nmax_events = 100",
        ));
        let sidecar = Sidecar::start(&replace).await;
        renewing(&sidecar);
        // A 2xx before: only of a good principal an answer's cookie makes a successor.
        let mut cookie = "sid=s0".to_owned();
        for number in 0..24 {
            if number % 4 == 0 {
                let path = if number == 0 {
                    "/progress?userId=u"
                } else {
                    page
                };
                let read = sidecar
                    .call(Method::GET, path, &[("cookie", &cookie)], "")
                    .await;
                cookie = renewed(&read);
            }
            sidecar
                .taken(&[("cookie", &cookie)], "u", &format!("e{number:02}"))
                .await;
        }
        let batches = sidecar.delivered().await;
        assert!(
            order(&batches).is_sorted() && order(&batches).len() == 24,
            "{:?}",
            order(&batches)
        );
        // Only where the cookie is named, and was renewed by a route's answer, may its bearers'
        // events share a batch.
        assert_eq!(
            batches.len(),
            if rolling && page == "/page" { 1 } else { 6 },
            "{rolling} {page}"
        );
        assert_eq!(batches.last().unwrap().header("cookie"), cookie);
    }
}

/// A page may set a cookie of its own at any time: a theme, a consent, a counter.
#[tokio::test]
async fn beside_a_session_or_a_token_other_cookies_come_and_go_without_a_word_in_order_and_reads() {
    let large = (
        "flush_at = 4\nmax_events = 4\nmax_bytes = \"1KiB\"",
        "flush_at = 100\nmax_events = 100",
    );
    for who in [
        "cookie: sid=s0123456; ",
        "authorization: Bearer t",
        "cookie: app_auth=0123456789abcdef; ",
    ] {
        let (name, value) = who.split_once(": ").unwrap();
        let head = |number: usize| match name {
            "cookie" => vec![("cookie".to_owned(), format!("{value}theme=v{number}"))],
            _ => vec![
                (name.to_owned(), value.to_owned()),
                ("cookie".to_owned(), format!("theme=v{number}")),
            ],
        };
        let sidecar = Sidecar::start(&[BY_LISTS, large]).await;
        let taken = async |number: usize, id: String| {
            let head = head(number);
            let head: Vec<_> = head
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            sidecar.taken(&head, "u", &id).await;
        };
        taken(0, "a".to_owned()).await;
        sidecar.delivered().await;
        taken(1, "b".to_owned()).await;
        // What it reads waits for its own event, whatever its page has set meanwhile.
        let asked = head(2);
        let asked: Vec<_> = asked
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        sidecar
            .call(Method::GET, "/progress?userId=u", &asked, "")
            .await;
        let paths = sidecar.upstream.paths();
        assert_eq!(paths.len(), 3, "{who}: {paths:?}");
        assert!(paths[2].starts_with("/progress"), "{who}: {paths:?}");
        for number in 0..12 {
            taken(number % 3 + 2, format!("e{number:02}")).await;
        }
        let batches = sidecar.delivered().await;
        assert!(order(&batches).is_sorted(), "{who}: {:?}", order(&batches));
        // P3: and each goes with the cookies that it came with.
        for batch in batches.iter().skip(2) {
            let theme = batch.header("cookie").rsplit('v').next().unwrap();
            for id in batch.ids() {
                let number: usize = id.trim_start_matches('e').parse().unwrap();
                assert_eq!((number % 3 + 2).to_string(), theme, "{who}");
            }
        }
    }
}

#[tokio::test]
async fn callers_who_shared_a_cookie_until_they_signed_in_are_never_one_principal() {
    let lines = identity("rolling = [\"cookie:sid\"]");
    let sidecar = Sidecar::start(&[BY_LISTS, ("[identity]\n", &lines)]).await;
    // All have the same consent; a batch of it is taken, so that nothing speaks against it.
    sidecar.taken(&[("cookie", "consent=yes")], "u", "a").await;
    sidecar.delivered().await;
    renewing(&sidecar);
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let signed_in = sidecar
            .call(Method::POST, "/sign-in", &[("cookie", "consent=yes")], "{}")
            .await;
        cookies.push(format!("consent=yes; {}", renewed(&signed_in)));
    }
    for (id, cookie) in ["b", "c", "d"]
        .into_iter()
        .zip([&cookies[0], &cookies[1], &cookies[0]])
    {
        sidecar.taken(&[("cookie", cookie)], "u", id).await;
    }
    let batches = sidecar.delivered().await;
    let found = ids_by(&batches[1..], "cookie");
    assert_eq!(
        (&found[&cookies[0]][..], &found[&cookies[1]][..]),
        (&["b", "d"].map(str::to_owned)[..], &["c".to_owned()][..])
    );
}

#[tokio::test]
async fn once_a_delivery_renews_the_session_its_callers_next_call_is_forwarded_and_no_more_of_them()
{
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.path == "/batch").then(|| {
            let mut response = answer(200, json!({ "accepted": seen.ids() }));
            response
                .headers_mut()
                .insert("set-cookie", HeaderValue::from_static("sid=s2; Path=/"));
            response
        })
    });
    sidecar.taken(&[("cookie", "sid=s1")], "u", "a").await;
    sidecar.delivered().await;
    let heard = sidecar.send(&[("cookie", "sid=s1")], "u", "b").await;
    assert_eq!(
        (heard.status, heard.header("tidegate-forwarded")),
        (StatusCode::OK, "session_renewal")
    );
    sidecar.taken(&[("cookie", "sid=s1")], "u", "c").await;
    sidecar.delivered().await;
    sidecar.taken(&[("cookie", "sid=s1")], "u", "d").await;
}

#[tokio::test]
async fn what_is_ignored_splits_nothing_and_its_newest_value_travels() {
    let lines = identity("ignore = [\"header:x-client-time\", \"cookie:_ab\"]");
    let sidecar = Sidecar::start(&[BY_LISTS, ("[identity]\n", &lines)]).await;
    for number in 0..4 {
        let (time, cookie) = (number.to_string(), format!("sid=s; _ab={number}"));
        sidecar
            .taken(&[("x-client-time", &time), ("cookie", &cookie)], "u", &time)
            .await;
    }
    let batches = sidecar.delivered().await;
    assert_eq!(order(&batches[..1]), ["0", "1", "2", "3"]);
    assert_eq!(
        (
            batches[0].header("x-client-time"),
            batches[0].header("cookie")
        ),
        ("3", "sid=s; _ab=3")
    );
}

#[tokio::test]
async fn a_condition_splits_batches_and_no_stored_answers_and_a_scope_splits_both() {
    for (lines, name, shares) in [
        ("conditions = [\"header:x-our-csrf\"]", "x-our-csrf", true),
        ("", "x-our-csrf", false),
        ("scopes = [\"cookie:active_org\"]", "cookie", false),
        ("", "user-agent", true),
        ("", "x-org-id", false),
    ] {
        let lines = identity(lines);
        let sidecar = Sidecar::start(&[BY_LISTS, ("[identity]\n", &lines)]).await;
        let with = |value: &str| match name {
            "cookie" => format!("active_org={value}"),
            _ => value.to_owned(),
        };
        let (first, second) = (with("1"), with("2"));
        for (id, value) in [("a", &first), ("b", &second), ("c", &first)] {
            sidecar.taken(&[TOKEN, (name, value)], "u", id).await;
        }
        let batches = sidecar.delivered().await;
        assert_eq!(
            order(&batches),
            ["a", "b", "c"],
            "{name}: one user has one order"
        );
        assert!(
            batches.len() > 1 && batches.iter().all(|batch| batch.ids() != ["a", "b"]),
            "{name}"
        );
        let read = async |value: &str| {
            let read = sidecar
                .call(
                    Method::GET,
                    "/progress?userId=u",
                    &[TOKEN, (name, value)],
                    "",
                )
                .await;
            read.header("cache-status").contains("hit")
        };
        assert_eq!(
            (read(&first).await, read(&second).await, read(&second).await),
            (false, shares, true),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_call_that_proves_itself_is_always_forwarded() {
    let plain = ("authorization", "Bearer t");
    for (token, proof) in [
        (plain, ("dpop", "eyJ.eyJ.sig")),
        (plain, ("signature", "sig1=:x:")),
        (plain, ("signature-input", "sig1=()")),
        (plain, ("digest", "sha-256=x")),
        (plain, ("content-digest", "sha-256=:x:")),
        (plain, ("repr-digest", "sha-256=:x:")),
        (plain, ("x-amz-date", "20260101T000000Z")),
        (plain, ("x-hub-signature", "sha1=x")),
        (plain, ("x-request-nonce", "1")),
        (plain, ("x-body-hmac", "1")),
        (plain, ("x-recaptcha-token", "1")),
        (plain, ("sec-purpose", "prefetch")),
        (
            ("authorization", "Digest username=\"u\", nonce=\"n\""),
            ("x", ""),
        ),
        (
            ("authorization", "AWS4-HMAC-SHA256 Credential=x"),
            ("x", ""),
        ),
        (("authorization", "Hawk id=\"x\", mac=\"y\""), ("x", "")),
        (("authorization", "DPoP t"), ("x", "")),
    ] {
        let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
        let heard = sidecar.send(&[token, proof], "u", "a").await;
        assert_eq!(
            heard.header("tidegate-forwarded"),
            "proof",
            "{token:?} {proof:?}"
        );
        assert_eq!(sidecar.upstream.seen()[0].header(proof.0), proof.1);
        assert_eq!(sidecar.declined("proof").await, 1);
    }
}

fn in_seconds(seconds: f64) -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        + seconds
}

#[tokio::test]
async fn a_token_that_cannot_outlive_its_first_attempt_is_forwarded_and_a_window_goes_before_its_tokens_end()
 {
    let margin = ("[delivery]", "[delivery]\ntoken_margin = \"30s\"");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, margin]).await;
    let ends = |seconds: f64| bearer(&json!({ "sub": "u", "exp": in_seconds(seconds) }));
    let heard = sidecar
        .send(&[("authorization", &ends(29.0))], "u", "a")
        .await;
    assert_eq!(heard.header("tidegate-forwarded"), "token_ends");
    // Its window is an hour long, and nothing but its token seals it.
    sidecar
        .taken(&[("authorization", &ends(30.5))], "u", "b")
        .await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    assert_eq!(sidecar.upstream.batches(), [["b"]]);
}

#[tokio::test]
async fn tokens_that_an_application_may_read_in_two_ways_or_not_yet_are_forwarded() {
    let token = |claims| bearer(&claims);
    let early = token(json!({ "sub": "u", "nbf": in_seconds(600.0) }));
    let ended = token(json!({ "sub": "u", "exp": in_seconds(-1.0) }));
    let refresh = token(json!({ "sub": "u", "typ": "refresh" }));
    let good = token(
        json!({ "sub": "u", "typ": "access", "exp": in_seconds(3600.0), "nbf": in_seconds(-5.0) }),
    );
    let lines = identity("claims = { typ = [\"access\"] }");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, ("[identity]\n", &lines)]).await;
    let two = [
        ("authorization", good.as_str()),
        ("authorization", "Bearer other"),
    ];
    for (headers, reason) in [
        (&two[..], "several_tokens"),
        (&[("authorization", early.as_str())], "early_token"),
        (&[("authorization", ended.as_str())], "expired_token"),
        (&[("authorization", refresh.as_str())], "claim"),
    ] {
        let heard = sidecar.send(headers, "u", reason).await;
        assert_eq!(
            (heard.status, heard.header("tidegate-forwarded")),
            (StatusCode::OK, reason)
        );
        assert_eq!(sidecar.declined(reason).await, 1);
    }
    let lines: Vec<_> = sidecar.upstream.seen()[0]
        .headers
        .get_all("authorization")
        .iter()
        .cloned()
        .collect();
    assert_eq!(lines, [good.as_str(), "Bearer other"], "both lines");
    sidecar.taken(&[("authorization", &good)], "u", "a").await;
}

#[tokio::test]
async fn a_refused_principals_calls_are_forwarded_until_one_succeeds_whatever_else_of_it_changes() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    let bad = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_bad = Arc::clone(&bad);
    sidecar.upstream.answer_with(move |seen| {
        let refused = seen.header("authorization") == "Bearer t" && is_bad.load(Ordering::SeqCst);
        refused.then(|| answer(401, json!({ "own": "verdict" })))
    });
    sidecar.taken(&[TOKEN], "u", "a").await;
    sidecar.flush().await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"progress\",result=\"rejected\"}",
            1,
        )
        .await;
    for (id, agent) in [("b", "one"), ("c", "two")] {
        let heard = sidecar.send(&[TOKEN, ("user-agent", agent)], "u", id).await;
        assert_eq!(
            (heard.status, heard.header("tidegate-forwarded")),
            (StatusCode::UNAUTHORIZED, "credential_rejected")
        );
    }
    // Another principal that says it is the same user is not meant.
    sidecar
        .taken(&[("authorization", "Bearer other")], "u", "other")
        .await;
    bad.store(false, Ordering::SeqCst);
    let heard = sidecar
        .send(&[TOKEN, ("user-agent", "three")], "u", "d")
        .await;
    assert_eq!(
        (heard.status, heard.header("tidegate-forwarded")),
        (StatusCode::OK, "credential_rejected")
    );
    sidecar.until(|ledger| ledger.accepted >= 1).await;
    sidecar.taken(&[TOKEN], "u", "e").await;
    sidecar.delivered().await;
    assert_eq!(sidecar.running.ledger().dead, 0);
}

#[tokio::test]
async fn anothers_claim_to_be_a_user_neither_holds_up_its_reads_nor_makes_them_misses() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    let forged = |number: u32| bearer(&json!({ "sub": "victim", "jti": number }));
    let genuine = bearer(&json!({ "sub": "victim", "jti": "true" }));
    let good = genuine.clone();
    sidecar.upstream.answer_with(move |seen| {
        // What it can't verify it answers with 503.
        (seen.header("authorization") != good).then(|| answer(503, json!({})))
    });
    let read = async || sidecar.get(&genuine, "/progress?userId=victim").await;
    assert!(read().await.header("cache-status").contains("stored"));
    for number in 0..20 {
        sidecar
            .taken(
                &[("authorization", &forged(number))],
                "victim",
                &format!("f{number}"),
            )
            .await;
    }
    sidecar.flush().await;
    sidecar
        .upstream
        .until(|seen| seen.iter().filter(|one| one.path == "/batch").count() >= 20)
        .await;
    // Each acknowledgement has moved the generation: what was stored before is old, once.
    let mut hits = 0;
    for _ in 0..10 {
        let found = read().await;
        let status = found.header("cache-status").to_owned();
        assert_eq!(found.status, StatusCode::OK);
        assert!(
            !status.contains("bypass") && !status.contains("timeout"),
            "{status}"
        );
        hits += u32::from(status.contains("hit"));
    }
    assert_eq!(hits, 9);
    // And the victim's own events are not held up.
    sidecar
        .taken(&[("authorization", &genuine)], "victim", "own")
        .await;
    let found = read().await;
    assert!(
        found.header("cache-status").contains("stored"),
        "{}",
        found.header("cache-status")
    );
    assert!(sidecar.upstream.batches().contains(&vec!["own".to_owned()]));
}
