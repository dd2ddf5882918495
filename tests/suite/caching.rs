//! RFC 9111 through real sockets: `[[cache]] path = "/{*rest}"`, no ttl, a clock that the test
//! moves.

use crate::support::upstream::Seen;
use crate::support::{Answer, Sidecar};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
drain = "5s"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://UPSTREAM"
[journal]
durability = "none"
[store]
max_object = "64KiB"
[[cache]]
path = "/{*rest}"
"#;

pub async fn caching(more: &str) -> (Sidecar, Clock) {
    let clock = Clock::default();
    (
        Sidecar::with(&format!("{CONFIG}{more}"), clock.clone()).await,
        clock,
    )
}

pub fn respond(
    status: u16,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response
            .headers_mut()
            .append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    response
}

/// The upstream answers the same to everything, and says which answer it is.
pub fn always(sidecar: &Sidecar, headers: &'static [(&'static str, &'static str)]) {
    let mut count = 0;
    sidecar.upstream.answer_with(move |_| {
        count += 1;
        Some(respond(200, headers, format!("answer {count}")))
    });
}

pub async fn get(sidecar: &Sidecar, path: &str, headers: &[(&str, &str)]) -> Answer {
    sidecar.call(Method::GET, path, headers, "").await
}

pub fn status(answer: &Answer) -> &str {
    answer.header("cache-status")
}

#[tokio::test]
async fn what_is_stored_weighs_its_bytes_and_a_little_as_soon_as_it_is_there() {
    let (sidecar, _clock) = caching("").await;
    let long = |_: &Seen| {
        Some(respond(
            200,
            &[("cache-control", "max-age=60")],
            vec![b'x'; 10_000],
        ))
    };
    sidecar.upstream.answer_with(long);
    assert_eq!(sidecar.counter("tidegate_cache_bytes").await, 0);
    for (path, least) in [("/a", 10_000), ("/b", 20_000)] {
        assert!(status(&get(&sidecar, path, &[]).await).contains("stored"));
        let bytes = sidecar.counter("tidegate_cache_bytes").await;
        assert!(
            (least..least + least / 5).contains(&bytes),
            "{path}: {bytes}"
        );
    }
}

#[tokio::test]
async fn a_304_that_names_another_tag_confirms_nothing_and_the_application_is_asked_anew() {
    let (sidecar, clock) = caching("").await;
    let date = "Mon, 01 Jan 2024 00:00:00 GMT";
    let whole = |tag, body| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("etag", tag),
            ("last-modified", date),
        ];
        respond(200, &fields, body)
    };
    // It judges by the date, which both have.
    sidecar.upstream.script([
        whole("\"a\"", "before"),
        respond(304, &[("etag", "\"b\"")], ""),
        whole("\"b\"", "after"),
        // Weakly the same is the same.
        respond(304, &[("etag", "W/\"b\"")], ""),
    ]);
    assert_eq!(get(&sidecar, "/a", &[]).await.body, "before");
    clock.advance(Duration::from_secs(61));
    let read = get(&sidecar, "/a", &[]).await;
    assert_eq!(read.body, "after", "{read:?}");
    let seen = sidecar.upstream.seen();
    assert_eq!(seen[1].header("if-none-match"), "\"a\"");
    assert_eq!(seen[2].header("if-none-match"), "");
    assert_eq!(seen[2].header("if-modified-since"), "");
    clock.advance(Duration::from_secs(61));
    let read = get(&sidecar, "/a", &[]).await;
    assert_eq!(status(&read), "tidegate; fwd=stale; fwd-status=304; stored");
    assert_eq!(read.body, "after");
}

#[tokio::test]
async fn a_stored_answer_ages_is_confirmed_and_takes_the_fields_of_its_304() {
    let (sidecar, clock) = caching("").await;
    sidecar.upstream.script([
        respond(
            200,
            &[
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("x", "1"),
            ],
            "0123456789",
        ),
        respond(
            304,
            &[
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("x", "2"),
                ("new", "1"),
            ],
            "",
        ),
    ]);
    assert_eq!(
        status(&get(&sidecar, "/a", &[]).await),
        "tidegate; fwd=uri-miss; stored"
    );
    clock.advance(Duration::from_secs(59));
    let hit = get(&sidecar, "/a", &[]).await;
    assert!(
        status(&hit).starts_with("tidegate; hit; ttl="),
        "{}",
        status(&hit)
    );
    assert!(hit.header("age").parse::<u64>().unwrap() >= 59);
    clock.advance(Duration::from_secs(2));
    let confirmed = get(&sidecar, "/a", &[("if-none-match", "\"other\"")]).await;
    assert_eq!(
        status(&confirmed),
        "tidegate; fwd=stale; fwd-status=304; stored"
    );
    assert_eq!(
        (confirmed.status, &*confirmed.body),
        (StatusCode::OK, &b"0123456789"[..])
    );
    assert_eq!(
        sidecar.upstream.seen()[1].header("if-none-match"),
        "\"a\"",
        "the store's validator, not the client's"
    );
    for answer in [confirmed, get(&sidecar, "/a", &[]).await] {
        assert_eq!((answer.header("x"), answer.header("new")), ("2", "1"));
    }
    assert_eq!(sidecar.upstream.seen().len(), 2);
}

#[tokio::test]
async fn heads_conditions_and_parts_are_answered_from_a_stored_get() {
    let (sidecar, _clock) = caching("").await;
    let headers = [
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("content-type", "text/plain"),
    ];
    sidecar
        .upstream
        .script([respond(200, &headers, "0123456789")]);
    get(&sidecar, "/a", &[]).await;
    let head = sidecar.call(Method::HEAD, "/a", &[], "").await;
    assert_eq!((head.header("content-length"), head.body.len()), ("10", 0));
    let known = get(&sidecar, "/a", &[("if-none-match", "\"x\", \"a\"")]).await;
    assert_eq!(
        (
            known.status,
            known.header("etag"),
            known.header("content-type")
        ),
        (StatusCode::NOT_MODIFIED, "\"a\"", "")
    );
    let part = get(&sidecar, "/a", &[("range", "bytes=2-4")]).await;
    assert_eq!(
        (part.status, part.header("content-range")),
        (StatusCode::PARTIAL_CONTENT, "bytes 2-4/10")
    );
    assert_eq!(
        (&*part.body, part.header("content-length")),
        (&b"234"[..], "3")
    );
    let changed = get(
        &sidecar,
        "/a",
        &[("range", "bytes=2-4"), ("if-range", "\"b\"")],
    )
    .await;
    assert_eq!((changed.status, changed.body.len()), (StatusCode::OK, 10));
    let beyond = get(&sidecar, "/a", &[("range", "bytes=10-")]).await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10")
    );
    assert_eq!(sidecar.upstream.seen().len(), 1);
    assert_eq!(
        get(&sidecar, "/b", &[("cache-control", "only-if-cached")])
            .await
            .status,
        StatusCode::GATEWAY_TIMEOUT
    );
    assert_eq!(sidecar.upstream.seen().len(), 1, "and nobody is asked");
}

#[tokio::test]
async fn variants_stand_side_by_side() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|seen| {
        let headers = [("cache-control", "max-age=60"), ("vary", "accept-language")];
        Some(respond(
            200,
            &headers,
            seen.header("accept-language").to_owned(),
        ))
    });
    for (language, wanted) in [
        ("en", "uri-miss"),
        ("de", "vary-miss"),
        ("en", "hit"),
        ("DE", "hit"),
        ("fr", "vary-miss"),
    ] {
        let answer = get(&sidecar, "/a", &[("accept-language", language)]).await;
        assert!(
            status(&answer).contains(wanted),
            "{language}: {}",
            status(&answer)
        );
        assert!(language.eq_ignore_ascii_case(std::str::from_utf8(&answer.body).unwrap()));
    }
}

#[tokio::test]
async fn what_is_private_is_kept_for_its_credential_and_never_for_the_nameless() {
    let (sidecar, _clock) = caching("").await;
    always(&sidecar, &[("cache-control", "private, max-age=60")]);
    let mine = [("authorization", "Bearer mine")];
    for (headers, wanted) in [
        (&[][..], "detail=private"),
        (&[], "detail=private"),
        (&[("origin", "http://app.test")], "detail=private"),
        (&[("origin", "http://app.test")], "detail=private"),
        (&mine, "stored"),
        (&mine, "hit"),
        (&[("authorization", "Bearer other")], "stored"),
        (&[("cookie", "session=1")], "stored"),
    ] {
        let answer = get(&sidecar, "/a", headers).await;
        assert!(
            status(&answer).contains(wanted),
            "{headers:?}: {}",
            status(&answer)
        );
    }
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_an_error_as_long_as_it_may() {
    let (sidecar, clock) = caching("stale_if_error = \"10m\"\n").await;
    sidecar
        .upstream
        .script([respond(200, &[("cache-control", "max-age=60")], "kept")]);
    get(&sidecar, "/a", &[]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(respond(503, &[], "down")));
    clock.advance(Duration::from_secs(120));
    let kept = get(&sidecar, "/a", &[]).await;
    assert_eq!((kept.status, &*kept.body), (StatusCode::OK, &b"kept"[..]));
    assert!(
        status(&kept).starts_with("tidegate; fwd=stale; fwd-status=503; ttl=-"),
        "{}",
        status(&kept)
    );
    clock.advance(Duration::from_secs(600));
    assert_eq!(
        get(&sidecar, "/a", &[]).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn what_the_application_says_no_longer_stands_in_for_nothing() {
    let no_store = [("cache-control", "no-store")];
    let other = [("cache-control", "max-age=60"), ("etag", "\"b\"")];
    for (method, answer) in [
        (Method::GET, respond(200, &no_store, "another")),
        (Method::GET, respond(304, &no_store, "")),
        (Method::HEAD, respond(200, &other, "")),
    ] {
        let (sidecar, clock) = caching("stale_if_error = \"10m\"\n").await;
        let kept = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let what = format!("{method}, {}", answer.status());
        sidecar
            .upstream
            .script([respond(200, &kept, "kept"), answer]);
        get(&sidecar, "/a", &[]).await;
        clock.advance(Duration::from_secs(61));
        sidecar.call(method, "/a", &[], "").await;
        sidecar
            .upstream
            .answer_with(|_| Some(respond(503, &[], "down")));
        assert_eq!(
            get(&sidecar, "/a", &[]).await.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_stale_answer_is_served_while_it_is_asked_again() {
    let (sidecar, clock) = caching("stale_while_revalidate = \"1m\"\n").await;
    always(&sidecar, &[("cache-control", "max-age=60")]);
    get(&sidecar, "/a", &[]).await;
    clock.advance(Duration::from_secs(70));
    let stale = get(&sidecar, "/a", &[]).await;
    assert_eq!(&*stale.body, b"answer 1");
    assert!(
        status(&stale).starts_with("tidegate; hit; ttl=-"),
        "{}",
        status(&stale)
    );
    sidecar.upstream.until(|seen| seen.len() == 2).await;
    while &*get(&sidecar, "/a", &[]).await.body == b"answer 1" {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        sidecar.upstream.seen().len(),
        2,
        "one reader's revalidation serves all"
    );
}

#[tokio::test]
async fn what_was_invalidated_is_never_served_not_even_if_the_application_is_down() {
    let more =
        "tags = [\"t:{query.u}\"]\nstale_while_revalidate = \"1h\"\nstale_if_error = \"1h\"\n";
    let (sidecar, clock) = caching(more).await;
    sidecar.upstream.script([respond(
        200,
        &[("cache-control", "max-age=60"), ("etag", "\"a\"")],
        "old",
    )]);
    get(&sidecar, "/a?u=1", &[]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(respond(503, &[], "down")));
    clock.advance(Duration::from_secs(70));
    assert_eq!(&*get(&sidecar, "/a?u=1", &[]).await.body, b"old");
    let told = sidecar.admin(Method::POST, "/invalidate?tag=t%3A1").await;
    assert_eq!(
        (told.status, told.json()),
        (
            StatusCode::OK,
            serde_json::json!({ "invalidated": ["t:1"] })
        )
    );
    let answer = get(&sidecar, "/a?u=1", &[]).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::SERVICE_UNAVAILABLE, &b"down"[..])
    );
    assert_eq!(
        sidecar
            .upstream
            .seen()
            .last()
            .unwrap()
            .header("if-none-match"),
        "",
        "nor may it be confirmed"
    );
    assert_eq!(
        sidecar.admin(Method::POST, "/invalidate").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        sidecar.admin(Method::GET, "/invalidate?tag=x").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn a_write_makes_its_uri_and_those_it_names_old_for_everybody_unless_it_failed() {
    let (sidecar, _clock) = caching("query = { ignore = [\"_\"] }\n").await;
    sidecar
        .upstream
        .answer_with(|seen| match (&seen.method, seen.path.as_str()) {
            (&Method::GET, _) => Some(respond(200, &[("cache-control", "max-age=60")], "x")),
            (_, "/fails") => Some(respond(500, &[], "")),
            _ => Some(respond(
                201,
                &[
                    ("location", "named?b=1"),
                    ("content-location", "http://elsewhere.test/other"),
                ],
                "",
            )),
        });
    let paths = ["/d/target?a=1", "/d/named?b=1&_=7", "/other", "/fails"];
    let callers = [
        &[("authorization", "Bearer a")][..],
        &[("authorization", "Bearer b")],
        &[],
    ];
    for headers in callers {
        for path in paths {
            get(&sidecar, path, headers).await;
        }
    }
    for method in ["M-SEARCH", "POST"] {
        sidecar
            .call(method.parse().unwrap(), "/d/target?a=1&_=99", &[], "abc")
            .await;
    }
    sidecar.call(Method::POST, "/fails", &[], "abc").await;
    for headers in callers {
        for (path, wanted) in paths.iter().zip(["fwd=stale", "fwd=stale", "hit", "hit"]) {
            let answer = get(&sidecar, path, headers).await;
            assert!(
                status(&answer).contains(wanted),
                "{path}: {}",
                status(&answer)
            );
        }
    }
}

#[tokio::test]
async fn readers_of_what_can_not_be_stored_do_not_wait_for_one_another() {
    let (sidecar, _clock) = caching("").await;
    let sidecar = Arc::new(sidecar);
    always(&sidecar, &[("cache-control", "no-store")]);
    get(&sidecar, "/a", &[]).await;
    sidecar.upstream.close_gate();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let sidecar = Arc::clone(&sidecar);
            tokio::spawn(async move { get(&sidecar, "/a", &[]).await.status })
        })
        .collect();
    // All of them arrive while none has been answered.
    sidecar.upstream.until(|seen| seen.len() == 4).await;
    sidecar.upstream.open_gate();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_follower_that_may_not_use_the_leads_answer_asks_for_itself() {
    let (sidecar, _clock) = caching("").await;
    let sidecar = Arc::new(sidecar);
    sidecar.upstream.answer_with(|seen| {
        Some(respond(
            200,
            &[("cache-control", "max-age=60"), ("vary", "who")],
            seen.header("who").to_owned(),
        ))
    });
    sidecar.upstream.close_gate();
    let readers: Vec<_> = ["a", "b", "a"]
        .into_iter()
        .map(|who| {
            let sidecar = Arc::clone(&sidecar);
            tokio::spawn(async move { (who, get(&sidecar, "/x", &[("who", who)]).await) })
        })
        .collect();
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    sidecar.upstream.open_gate();
    for reader in readers {
        let (who, answer) = reader.await.unwrap();
        assert_eq!(answer.body, who);
    }
}

#[tokio::test]
async fn what_is_too_large_passes_whole_and_is_not_stored() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|_| {
        Some(respond(
            200,
            &[("cache-control", "max-age=60")],
            vec![b'x'; 100_000],
        ))
    });
    for _ in 0..2 {
        let answer = get(&sidecar, "/a", &[]).await;
        assert_eq!(
            (
                answer.body.len(),
                status(&answer).ends_with("detail=too-large")
            ),
            (100_000, true)
        );
    }
}

/// An upstream that speaks as the test writes.
struct Raw(TcpListener);

impl Raw {
    async fn start() -> (Self, Sidecar) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = CONFIG.replace("UPSTREAM", &listener.local_addr().unwrap().to_string());
        (Self(listener), Sidecar::with(&text, Clock::default()).await)
    }

    /// The next connection, after its request's head.
    async fn asked(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
    }
}

async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    head
}

async fn ask_raw(sidecar: &Sidecar) -> TcpStream {
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    client
        .write_all(b"GET /a HTTP/1.1\r\nhost: app.test\r\n\r\n")
        .await
        .unwrap();
    client
}

#[tokio::test]
async fn an_answer_streams_to_its_first_reader_and_is_stored_when_it_is_whole() {
    let (raw, sidecar) = Raw::start().await;
    let mut client = ask_raw(&sidecar).await;
    let mut upstream = raw.asked().await;
    upstream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n01234",
        )
        .await
        .unwrap();
    let head = read_head(&mut client).await;
    assert!(String::from_utf8_lossy(&head).contains("fwd=uri-miss; stored"));
    let mut first = [0; 5];
    client.read_exact(&mut first).await.unwrap();
    // The first half is there although the second has not been sent.
    upstream.write_all(b"56789").await.unwrap();
    let mut second = [0; 5];
    client.read_exact(&mut second).await.unwrap();
    assert_eq!((&first, &second), (b"01234", b"56789"));
    let mut again = ask_raw(&sidecar).await;
    assert!(String::from_utf8_lossy(&read_head(&mut again).await).contains("tidegate; hit"));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_not_stored() {
    let (raw, sidecar) = Raw::start().await;
    for body in [
        "content-length: 10\r\n\r\n01234",
        "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n",
    ] {
        let mut client = ask_raw(&sidecar).await;
        let mut upstream = raw.asked().await;
        upstream
            .write_all(format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{body}").as_bytes())
            .await
            .unwrap();
        drop(upstream);
        let mut seen = Vec::new();
        // However the end shows, it is no whole answer.
        drop(client.read_to_end(&mut seen).await);
        assert!(
            !String::from_utf8_lossy(&seen).contains("hit"),
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    let entries = sidecar.admin(Method::GET, "/status").await.json()["cache"]["stored"].clone();
    assert_eq!(entries, serde_json::json!(0));
}

#[tokio::test]
async fn an_upstream_that_closes_its_idle_connections_sees_no_write_twice() {
    let (raw, sidecar) = Raw::start().await;
    let upstream = tokio::spawn(async move {
        let mut ids = Vec::new();
        while ids.len() < 50 {
            let (mut stream, _) = raw.0.accept().await.unwrap();
            let head = String::from_utf8(read_head(&mut stream).await).unwrap();
            // Closed as soon as it is idle, without a word.
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            if !path.is_empty() {
                ids.push(path);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
        ids
    });
    let mut sent = 0;
    while !upstream.is_finished() {
        sent += 1;
        let answer = sidecar
            .call(Method::POST, &format!("/{sent}"), &[], "")
            .await;
        assert!(
            [StatusCode::OK, StatusCode::BAD_GATEWAY].contains(&answer.status),
            "{}",
            answer.status
        );
        tokio::task::yield_now().await;
    }
    let mut ids = upstream.await.unwrap();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50, "each that arrived arrived once");
}

#[tokio::test]
async fn an_idempotent_call_on_a_connection_that_was_just_closed_is_sent_once_more_and_no_other_is()
{
    for (method, wanted, arrived) in [
        (
            Method::PUT,
            StatusCode::OK,
            vec!["PUT /first", "PUT /second", "PUT /second"],
        ),
        (
            Method::DELETE,
            StatusCode::OK,
            vec!["DELETE /first", "DELETE /second", "DELETE /second"],
        ),
        (
            Method::POST,
            StatusCode::BAD_GATEWAY,
            vec!["POST /first", "POST /second"],
        ),
        (
            Method::PATCH,
            StatusCode::BAD_GATEWAY,
            vec!["PATCH /first", "PATCH /second"],
        ),
    ] {
        let (raw, sidecar) = Raw::start().await;
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let upstream = tokio::spawn(async move {
            let mut heads = Vec::new();
            let mut note = |head: Vec<u8>| {
                let text = String::from_utf8(head).unwrap();
                let line = text
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_end_matches(" HTTP/1.1")
                    .to_owned();
                let is_second = line.contains("/second");
                heads.push(line);
                is_second
            };
            // Its second call is read, and the connection closed without a word.
            let (mut stream, _) = raw.0.accept().await.unwrap();
            note(read_call(&mut stream).await);
            stream.write_all(ok).await.unwrap();
            note(read_call(&mut stream).await);
            drop(stream);
            if wanted == StatusCode::OK {
                let (mut stream, _) = raw.0.accept().await.unwrap();
                assert!(note(read_call(&mut stream).await));
                stream.write_all(ok).await.unwrap();
            }
            heads
        });
        for (path, wanted) in [("/first", StatusCode::OK), ("/second", wanted)] {
            let body = if method == Method::DELETE { "" } else { "abc" };
            assert_eq!(
                sidecar.call(method.clone(), path, &[], body).await.status,
                wanted,
                "{method} {path}"
            );
        }
        assert_eq!(upstream.await.unwrap(), arrived);
    }
}

/// A head, with its body of three bytes if it has one.
async fn read_call(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let head = read_head(stream).await;
    if String::from_utf8_lossy(&head)
        .to_ascii_lowercase()
        .contains("content-length: 3")
    {
        stream.read_exact(&mut [0; 3]).await.unwrap();
    }
    head
}

#[tokio::test]
async fn an_answer_that_a_write_overtakes_while_it_streams_is_not_stored() {
    let (raw, sidecar) = Raw::start().await;
    let mut client = ask_raw(&sidecar).await;
    let mut upstream = raw.asked().await;
    upstream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n01234",
        )
        .await
        .unwrap();
    read_head(&mut client).await;
    let write = sidecar.call(Method::POST, "/a", &[("host", "app.test")], "");
    let applied = async {
        let mut stream = raw.asked().await;
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
    };
    assert_eq!(
        tokio::join!(write, applied).0.status,
        StatusCode::NO_CONTENT
    );
    upstream.write_all(b"56789").await.unwrap();
    let mut body = [0; 10];
    client.read_exact(&mut body).await.unwrap();
    let stored = sidecar.admin(Method::GET, "/status").await.json()["cache"]["stored"].clone();
    assert_eq!((&body, stored), (b"0123456789", serde_json::json!(0)));
}

/// One exchange of a random sequence.
#[derive(Debug, Clone)]
struct Exchange {
    path: &'static str,
    head: bool,
    request: Vec<(&'static str, &'static str)>,
    control: &'static str,
    vary: Option<&'static str>,
    cookie: bool,
    status: u16,
    seconds: u64,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let own = prop::sample::select(vec![
        vec![],
        vec![("authorization", "Bearer a")],
        vec![("authorization", "Bearer b")],
        vec![("authorization", "")],
        vec![("cookie", "session=a")],
        vec![("cookie", "session=b")],
        vec![("origin", "http://a.test")],
        vec![("x-who", "a")],
        vec![("x-who", "b")],
    ]);
    let wish = prop::sample::select(vec![
        None,
        Some(("cache-control", "max-stale=9999")),
        Some(("cache-control", "no-cache")),
        Some(("if-none-match", "\"e\"")),
        Some(("range", "bytes=0-2")),
    ]);
    let control = prop::sample::select(vec![
        "private, max-age=60",
        "PRIVATE, max-age=60",
        "max-age=60, private=\"x, y",
        "public, private, max-age=60",
        "private, max-age=1, stale-while-revalidate=60, stale-if-error=60",
        "max-age=60",
        "public, max-age=60",
        "no-cache, private",
    ]);
    let rest = (
        prop::sample::select(vec!["/a", "/b"]),
        prop::bool::weighted(0.1),
        prop::option::of(prop::sample::select(vec!["cookie", "x-who", "*"])),
        prop::bool::weighted(0.2),
        prop::sample::select(vec![200, 200, 200, 404, 503, 304]),
        prop::sample::select(vec![0u64, 0, 2, 61]),
    );
    (own, wish, control, rest).prop_map(
        |(own, wish, control, (path, head, vary, cookie, status, seconds))| Exchange {
            path,
            head,
            request: own.into_iter().chain(wish).collect(),
            control,
            vary,
            cookie,
            status,
            seconds,
        },
    )
}

/// Whoever asked, as the answer shows it.
fn owner(headers: impl Fn(&str) -> String) -> String {
    ["authorization", "cookie", "origin"]
        .map(|name| format!("{name}={}", headers(name)))
        .join(";")
}

/// What the upstream says next: `private` answers name whom they are for, and which caller exactly.
fn private_upstream(sidecar: &Sidecar, next: Arc<parking_lot::Mutex<Option<Exchange>>>) {
    let count = AtomicUsize::new(0);
    sidecar.upstream.answer_with(move |seen: &Seen| {
        let exchange = next.lock().clone().unwrap();
        let call = count.fetch_add(1, Ordering::SeqCst);
        let mut response = respond(
            exchange.status,
            &[("cache-control", exchange.control), ("etag", "\"e\"")],
            "",
        );
        if exchange.status != 304 {
            *response.body_mut() = Full::from(format!("body {call}"));
        }
        let headers = response.headers_mut();
        headers.insert(
            "x-for",
            HeaderValue::try_from(owner(|name| seen.header(name).to_owned())).unwrap(),
        );
        headers.insert("x-call", HeaderValue::from(call));
        headers.extend(
            exchange
                .vary
                .map(|vary| (http::header::VARY, HeaderValue::from_static(vary))),
        );
        if exchange.cookie {
            headers.insert("set-cookie", HeaderValue::from_static("mine=1"));
        }
        Some(response)
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_exchanges_shows_a_private_answer_to_another_credential(
        exchanges in prop::collection::vec(exchange(), 2..24), public in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sidecar, clock) = caching(if public { "public = true\n" } else { "" }).await;
            let next = Arc::new(parking_lot::Mutex::new(None));
            private_upstream(&sidecar, Arc::clone(&next));
            for exchange in exchanges {
                *next.lock() = Some(exchange.clone());
                clock.advance(Duration::from_secs(exchange.seconds));
                let before = sidecar.upstream.seen().len();
                let method = if exchange.head { Method::HEAD } else { Method::GET };
                let answer = sidecar.call(method, exchange.path, &exchange.request, "").await;
                let find = |wanted: &str| exchange.request.iter().find(|(name, _)| *name == wanted).map_or(String::new(), |(_, value)| (*value).to_owned());
                let control = answer.header("cache-control").to_ascii_lowercase();
                let stored = answer.header("x-call").parse::<usize>().is_ok_and(|call| call < before);
                if control.contains("private") && stored {
                    assert_eq!(answer.header("x-for"), owner(find), "{exchange:?}: {}", status(&answer));
                    let named = exchange.request.iter().any(|(name, value)| ["authorization", "cookie"].contains(name) && !value.is_empty());
                    assert!(named && !public, "{exchange:?}: {}", status(&answer));
                }
                if !public && stored {
                    assert_eq!(answer.header("x-for"), owner(find), "{exchange:?}: {}", status(&answer));
                }
                assert!(!(stored && answer.header("set-cookie") == "mine=1" && !exchange.cookie), "{exchange:?}");
            }
        });
    }
}
