//! Parts: stored under a strong tag, put together, completed (RFC 9111 §3.3, §3.4), through real
//! sockets.

use crate::caching::{caching, get, respond, status};
use crate::support::Sidecar;
use crate::support::upstream::{Reply, Seen};
use http::{Method, StatusCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BODY: &str = "0123456789";

/// What the origin has, and how it answers ranges.
#[derive(Clone)]
struct Held {
    tag: String,
    body: String,
    /// Ranges are ignored.
    whole_only: bool,
}

/// An origin that knows ranges and If-Range.
fn ranges(sidecar: &Sidecar) -> Arc<Mutex<Held>> {
    let held = Arc::new(Mutex::new(Held {
        tag: "\"a\"".to_owned(),
        body: BODY.to_owned(),
        whole_only: false,
    }));
    let copy = Arc::clone(&held);
    sidecar
        .upstream
        .answer_with(move |seen| Some(answer(&copy.lock().unwrap(), seen)));
    held
}

fn answer(held: &Held, seen: &Seen) -> Reply {
    let tag = ("etag", held.tag.as_str());
    let long = ("cache-control", "max-age=600");
    let range = seen
        .header("range")
        .strip_prefix("bytes=")
        .map(str::to_owned)
        .filter(|_| !held.whole_only);
    let applies = seen.header("if-range").is_empty() || seen.header("if-range") == held.tag;
    let Some(range) = range.filter(|_| applies) else {
        return respond(200, &[tag, long], held.body.clone());
    };
    let (first, last) = range.split_once('-').unwrap();
    let end = last.parse().map_or(held.body.len(), |last: usize| last + 1);
    let start = if first.is_empty() {
        held.body.len() - last.parse::<usize>().unwrap()
    } else {
        first.parse().unwrap()
    };
    let end = if first.is_empty() {
        held.body.len()
    } else {
        end
    };
    let shown = format!("bytes {start}-{}/{}", end - 1, held.body.len());
    respond(
        206,
        &[tag, long, ("content-range", &shown)],
        held.body[start..end].to_owned(),
    )
}

async fn part(sidecar: &Sidecar, path: &str, range: &str) -> (StatusCode, String, String) {
    let answer = get(sidecar, path, &[("range", range)]).await;
    let shown = if answer.status == StatusCode::PARTIAL_CONTENT {
        answer.header("content-range")
    } else {
        ""
    };
    (
        answer.status,
        shown.to_owned(),
        String::from_utf8(answer.body.to_vec()).unwrap(),
    )
}

fn cut(shown: &str, body: &str) -> (StatusCode, String, String) {
    (
        StatusCode::PARTIAL_CONTENT,
        shown.to_owned(),
        body.to_owned(),
    )
}

fn asked(sidecar: &Sidecar) -> usize {
    sidecar.upstream.seen().len()
}

#[tokio::test]
async fn parts_that_are_put_together_keep_the_fields_of_both() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|seen| {
        let (shown, own, body) = match seen.header("range") {
            "bytes=0-1" => ("bytes 0-1/10", "x-first", "01"),
            _ => ("bytes 2-3/10", "x-second", "23"),
        };
        let fields = [
            ("etag", "\"a\""),
            ("cache-control", "max-age=600"),
            ("content-range", shown),
            (own, "1"),
        ];
        Some(respond(206, &fields, body.to_owned()))
    });
    part(&sidecar, "/a", "bytes=0-1").await;
    part(&sidecar, "/a", "bytes=2-3").await;
    let both = get(&sidecar, "/a", &[("range", "bytes=0-3")]).await;
    assert_eq!(
        (both.status, &both.body[..], asked(&sidecar)),
        (StatusCode::PARTIAL_CONTENT, &b"0123"[..], 2)
    );
    let fields =
        ["content-range", "content-length", "x-first", "x-second"].map(|name| both.header(name));
    assert_eq!(fields, ["bytes 0-3/10", "4", "1", "1"]);
}

#[tokio::test]
async fn a_stored_part_serves_what_is_in_it_and_nothing_else() {
    let (sidecar, _clock) = caching("").await;
    ranges(&sidecar);
    assert_eq!(
        part(&sidecar, "/a", "bytes=2-5").await,
        cut("bytes 2-5/10", "2345")
    );
    for (range, shown, body) in [
        ("bytes=2-5", "bytes 2-5/10", "2345"),
        ("bytes=3-4", "bytes 3-4/10", "34"),
        ("Bytes=5-5", "bytes 5-5/10", "5"),
        ("bytes=-5", "bytes 5-9/10", "56789"),
    ] {
        let before = asked(&sidecar);
        assert_eq!(
            part(&sidecar, "/a", range).await,
            cut(shown, body),
            "{range}"
        );
        assert_eq!(
            asked(&sidecar) - before,
            usize::from(range == "bytes=-5"),
            "{range}"
        );
    }
    // What it had and what came now touch.
    let before = asked(&sidecar);
    assert_eq!(
        part(&sidecar, "/a", "bytes=3-").await,
        cut("bytes 3-9/10", "3456789")
    );
    assert_eq!(
        part(&sidecar, "/a", "bytes=-1").await,
        cut("bytes 9-9/10", "9")
    );
    assert_eq!(asked(&sidecar), before);
    let head = sidecar.call(Method::HEAD, "/a", &[], "").await;
    assert!(status(&head).contains("bypass"), "{}", status(&head));
    let changed = get(
        &sidecar,
        "/a",
        &[("range", "bytes=3-4"), ("if-range", "\"b\"")],
    )
    .await;
    assert_eq!(
        (changed.status, &*changed.body),
        (StatusCode::OK, BODY.as_bytes()),
        "the origin's verdict"
    );
}

#[tokio::test]
async fn parts_become_the_whole_and_only_what_is_missing_is_asked_for() {
    let (sidecar, _clock) = caching("").await;
    ranges(&sidecar);
    for (path, range, missing) in [
        ("/head", "bytes=0-4", "bytes=5-"),
        ("/tail", "bytes=-3", "bytes=0-6"),
        ("/both", "bytes=0-1", "bytes=2-7"),
    ] {
        part(&sidecar, path, range).await;
        if path == "/both" {
            part(&sidecar, path, "bytes=8-9").await;
        }
        let whole = get(&sidecar, path, &[]).await;
        assert_eq!(
            (whole.status, &*whole.body),
            (StatusCode::OK, BODY.as_bytes()),
            "{path}"
        );
        assert_eq!(
            (
                whole.header("content-length"),
                whole.header("content-range")
            ),
            ("10", ""),
            "{path}"
        );
        assert!(
            status(&whole).contains("fwd=partial; fwd-status=206; stored"),
            "{path}: {}",
            status(&whole)
        );
        let seen = sidecar.upstream.seen();
        let last = seen.last().unwrap();
        assert_eq!(
            (last.header("range"), last.header("if-range")),
            (missing, "\"a\""),
            "{path}"
        );
        let hit = get(&sidecar, path, &[]).await;
        assert!(
            status(&hit).contains("hit") && &*hit.body == BODY.as_bytes(),
            "{path}: {}",
            status(&hit)
        );
    }
    let before = asked(&sidecar);
    part(&sidecar, "/all", "bytes=0-4").await;
    part(&sidecar, "/all", "bytes=5-9").await;
    let whole = get(&sidecar, "/all", &[]).await;
    assert!(
        status(&whole).contains("hit") && &*whole.body == BODY.as_bytes(),
        "{}",
        status(&whole)
    );
    assert_eq!(asked(&sidecar) - before, 2, "two parts that are everything");
}

#[tokio::test]
async fn bytes_of_two_representations_are_never_put_together() {
    let (sidecar, _clock) = caching("").await;
    let held = ranges(&sidecar);
    part(&sidecar, "/a", "bytes=0-4").await;
    *held.lock().unwrap() = Held {
        tag: "\"b\"".to_owned(),
        body: "abcdefghij".to_owned(),
        whole_only: false,
    };
    let whole = get(&sidecar, "/a", &[]).await;
    assert_eq!(
        (whole.status, &*whole.body),
        (StatusCode::OK, &b"abcdefghij"[..]),
        "If-Range doesn't hold"
    );
    part(&sidecar, "/b", "bytes=0-4").await;
    held.lock().unwrap().tag = "\"c\"".to_owned();
    part(&sidecar, "/b", "bytes=5-9").await;
    let before = asked(&sidecar);
    assert_eq!(
        part(&sidecar, "/b", "bytes=5-9").await,
        cut("bytes 5-9/10", "fghij")
    );
    assert_eq!(asked(&sidecar), before);
    part(&sidecar, "/b", "bytes=0-4").await;
    assert_eq!(
        asked(&sidecar),
        before + 1,
        "the first part was of another tag"
    );
    // A weak tag, or a part that isn't as long as it says, is not kept at all.
    held.lock().unwrap().tag = "W/\"d\"".to_owned();
    for _ in 0..2 {
        let before = asked(&sidecar);
        part(&sidecar, "/weak", "bytes=0-4").await;
        assert_eq!(asked(&sidecar), before + 1);
    }
    let odd = [
        ("etag", "\"a\""),
        ("cache-control", "max-age=600"),
        ("content-range", "bytes 0-5/10"),
    ];
    sidecar
        .upstream
        .answer_with(move |_| Some(respond(206, &odd, "01234")));
    for _ in 0..2 {
        let before = asked(&sidecar);
        part(&sidecar, "/odd", "bytes=0-5").await;
        assert_eq!(asked(&sidecar), before + 1);
    }
}

#[tokio::test]
async fn an_origin_that_lies_about_the_missing_bytes_is_asked_for_the_whole() {
    let (sidecar, _clock) = caching("").await;
    ranges(&sidecar);
    for (path, range) in [
        ("/other", "bytes 6-9/10"),
        ("/longer", "bytes 5-9/11"),
        ("/tag", "bytes 5-9/10"),
    ] {
        part(&sidecar, path, "bytes=0-4").await;
        let tag = if path == "/tag" { "\"z\"" } else { "\"a\"" };
        let mut first = true;
        sidecar.upstream.answer_with(move |_| {
            let lies = std::mem::replace(&mut first, false);
            let long = ("cache-control", "max-age=600");
            Some(if lies {
                respond(
                    206,
                    &[("etag", tag), long, ("content-range", range)],
                    "vwxyz",
                )
            } else {
                respond(200, &[("etag", tag), long], BODY)
            })
        });
        let whole = get(&sidecar, path, &[]).await;
        assert_eq!(
            (whole.status, &*whole.body),
            (StatusCode::OK, BODY.as_bytes()),
            "{path}"
        );
        let seen = sidecar.upstream.seen();
        assert_eq!(
            (
                seen[seen.len() - 2].header("range"),
                seen[seen.len() - 1].header("range")
            ),
            ("bytes=5-", "")
        );
        ranges(&sidecar);
    }
}

#[tokio::test]
async fn what_a_write_made_old_is_not_completed() {
    let (sidecar, clock) = caching("").await;
    let held = ranges(&sidecar);
    part(&sidecar, "/a", "bytes=0-4").await;
    sidecar.call(Method::PUT, "/a", &[], "x").await;
    held.lock().unwrap().body = "abcdefghij".to_owned();
    let whole = get(&sidecar, "/a", &[]).await;
    assert_eq!(
        &*whole.body, b"abcdefghij",
        "though the tag is still the same"
    );
    assert_eq!(sidecar.upstream.seen().last().unwrap().header("range"), "");
    // Nor put together with what comes afterwards.
    part(&sidecar, "/b", "bytes=0-4").await;
    sidecar.call(Method::PUT, "/b", &[], "x").await;
    part(&sidecar, "/b", "bytes=5-9").await;
    let before = asked(&sidecar);
    assert_eq!(part(&sidecar, "/b", "bytes=0-4").await.2, "abcde");
    assert_eq!(asked(&sidecar), before + 1);
    // A part that is stale is completed: the tag says that it is still the same.
    part(&sidecar, "/c", "bytes=0-4").await;
    clock.advance(Duration::from_secs(700));
    let whole = get(&sidecar, "/c", &[]).await;
    assert_eq!(
        (
            &*whole.body,
            sidecar.upstream.seen().last().unwrap().header("range")
        ),
        (&b"abcdefghij"[..], "bytes=5-")
    );
    held.lock().unwrap().whole_only = true;
    part(&sidecar, "/d", "bytes=0-4").await;
    assert!(
        status(&get(&sidecar, "/d", &[]).await).contains("hit"),
        "a range that was answered with the whole"
    );
}
