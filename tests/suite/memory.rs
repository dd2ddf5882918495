//! Bodies in memory (P10): one bound for all, a share for each caller, and what is done without
//! room.
//!
//! The limit is 4 MiB: a principal has 1 MiB, an address's strangers have 2 MiB, and an eighth of
//! each is kept back.

use crate::support::calls::{BY_LISTS, EXPLAIN};
use crate::support::upstream::{Seen, answer};
use crate::support::{Answer, Sidecar};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::Write as _;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const LIMIT: u64 = 4 << 20;
const SHARE: usize = 1 << 20;
const NOW: &str = "tidegate_body_memory_bytes";
const HIGHEST: &str = "tidegate_body_memory_highest_bytes";
const NO_ROOM: &str = "tidegate_body_no_room";

/// Callers wait as long as it takes.
async fn start(more: &[(&str, &str)]) -> Sidecar {
    let limits = (
        "[batch.progress]",
        "[limits]\nmax_body_memory = \"4MiB\"\n[batch.progress]",
    );
    let patient = ("response_timeout = \"5s\"", "response_timeout = \"300s\"");
    Sidecar::start(&[&[BY_LISTS, EXPLAIN, limits, patient], more].concat()).await
}

/// From an address of its own, unless that is 0.
fn headers<'a>(token: &'a str, address: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        ("authorization", token),
        ("content-type", "application/json"),
    ];
    headers.extend((!address.is_empty()).then_some(("x-forwarded-for", address)));
    headers
}

/// What no batch takes, of so many bytes: it is forwarded after its caller's lanes.
fn odd(mark: &str, size: usize) -> String {
    format!("{mark} {}", "x".repeat(size - mark.len() - 1))
}

/// The marks of what arrived whole, in order; batches by the ids of their events.
fn arrived(seen: &[Seen], sizes: &[usize]) -> Vec<String> {
    let mark = |seen: &Seen| {
        assert!(
            sizes.contains(&seen.body.len()),
            "{} bytes of {}",
            seen.body.len(),
            seen.path
        );
        let end = seen.body.iter().position(|byte| *byte == b' ').unwrap();
        assert!(seen.body[end + 1..].iter().all(|byte| *byte == b'x'));
        String::from_utf8(seen.body[..end].to_vec()).unwrap()
    };
    seen.iter()
        .flat_map(|one| {
            if one.path == "/batch" {
                one.ids()
            } else {
                vec![mark(one)]
            }
        })
        .collect()
}

/// Waits until a gauge is down; a test that waits in vain is ended by its runner.
async fn until_none(sidecar: &Sidecar, name: &str) {
    while sidecar.counter(name).await > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn many_large_held_calls_stay_within_the_memory_and_all_go_after_what_is_before_them() {
    const SIZE: usize = 200_000;
    let sidecar = start(&[]).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    let callers: Vec<_> = (0..6)
        .map(|one| (format!("t{one}"), format!("192.0.2.{one}")))
        .collect();
    for (token, address) in &callers {
        sidecar
            .taken(&headers(token, address), token, &format!("before-{token}"))
            .await;
    }
    let calls = callers.iter().flat_map(|(token, address)| {
        // Events, other methods of their path, and writes.
        (0..12).map(move |number| {
            let (method, path) = [
                (Method::POST, "/event"),
                (Method::PUT, "/event"),
                (Method::POST, "/snapshot"),
            ][number % 3]
                .clone();
            (
                method,
                path,
                token,
                address,
                odd(&format!("{token}-{number}"), SIZE),
            )
        })
    });
    let calls = calls.map(|(method, path, token, address, body)| {
        let sidecar = &sidecar;
        async move {
            sidecar
                .call(method, path, &headers(token, address), body)
                .await
        }
    });
    let (answers, ()) = tokio::join!(join_all(calls), async {
        sidecar.until_counter(NO_ROOM, 1).await;
        sidecar.until_counter(HIGHEST, LIMIT / 2).await;
        sidecar.upstream.open_gate();
    });
    assert!(
        answers.iter().all(|answer| answer.status == StatusCode::OK),
        "{answers:?}"
    );
    let order = arrived(&sidecar.upstream.seen(), &[SIZE]);
    let place = |mark: &str| {
        order
            .iter()
            .position(|one| one == mark)
            .unwrap_or_else(|| panic!("no {mark}"))
    };
    for (token, _) in &callers {
        let before = place(&format!("before-{token}"));
        assert!(
            (0..12).all(|number| place(&format!("{token}-{number}")) > before),
            "{order:?}"
        );
    }
    let highest = sidecar.counter(HIGHEST).await;
    assert!(highest <= LIMIT, "{highest}");
    until_none(&sidecar, NOW).await;
    let status = sidecar.admin(Method::GET, "/status").await.json();
    assert_eq!(status["body_memory"]["limit"], LIMIT);
    assert_eq!(
        (
            &status["body_memory"]["bytes"],
            &status["body_memory"]["callers"]
        ),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn one_callers_held_bodies_leave_anothers_share_alone() {
    const SIZE: usize = 200_000;
    let sidecar = start(&[]).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    sidecar
        .taken(&headers("greedy", ""), "greedy", "before-greedy")
        .await;
    sidecar
        .taken(&headers("modest", ""), "modest", "before-modest")
        .await;
    let send = |token: &'static str, number: usize| {
        let sidecar = &sidecar;
        async move {
            let body = odd(&format!("{token}-{number}"), SIZE);
            sidecar
                .call(Method::POST, "/event", &headers(token, ""), body)
                .await
        }
    };
    let (greedy, modest) = tokio::join!(
        join_all((0..20).map(|number| send("greedy", number))),
        async {
            sidecar.until_counter(NO_ROOM, 1).await;
            let (modest, ()) = tokio::join!(
                join_all((0..3).map(|number| send("modest", number))),
                async {
                    // All that the other may have, and three of this one: whole.
                    while sidecar.declined("not_json").await < 3
                        || sidecar.counter(NOW).await < 3 * SIZE as u64
                    {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    sidecar
                        .taken(&headers("modest", ""), "modest", "after-modest")
                        .await;
                    assert!(sidecar.counter(NOW).await <= (SHARE + 3 * SIZE) as u64);
                    sidecar.upstream.open_gate();
                }
            );
            modest
        }
    );
    let whys = |answers: &[Answer]| {
        answers
            .iter()
            .map(|answer| answer.header("tidegate-forwarded").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        whys(&modest),
        ["not_json"; 3],
        "what its own share holds is looked at"
    );
    assert!(
        whys(&greedy).contains(&"no_room".to_owned()),
        "{:?}",
        whys(&greedy)
    );
    assert!(
        greedy.iter().all(|answer| answer.status == StatusCode::OK),
        "{greedy:?}"
    );
}

#[tokio::test]
async fn hang_ups_give_all_of_it_back() {
    const SIZE: usize = 100_000;
    let sidecar = start(&[]).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    sidecar.taken(&headers("t", ""), "t", "before").await;
    let head = |length: usize| {
        let host = sidecar.running.address;
        format!(
            "POST /event HTTP/1.1\r\nhost: {host}\r\nauthorization: t\r\ncontent-length: \
             {length}\r\n\r\n"
        )
    };
    let mut half = Vec::new();
    for number in 0..4 {
        let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
        stream.write_all(head(2 * SIZE).as_bytes()).await.unwrap();
        stream
            .write_all(odd(&format!("half-{number}"), SIZE).as_bytes())
            .await
            .unwrap();
        half.push(stream);
    }
    sidecar.until_counter(NOW, 4 * SIZE as u64).await;
    drop(half);
    until_none(&sidecar, NOW).await;
    // One whose body is whole keeps its place (ruling 2), and its room until it has gone.
    let mut whole = TcpStream::connect(sidecar.running.address).await.unwrap();
    whole.write_all(head(SIZE).as_bytes()).await.unwrap();
    whole
        .write_all(odd("whole", SIZE).as_bytes())
        .await
        .unwrap();
    sidecar
        .until_counter("tidegate_declined_total{reason=\"not_json\"}", 1)
        .await;
    drop(whole);
    assert!(sidecar.counter(NOW).await >= SIZE as u64);
    sidecar.upstream.open_gate();
    sidecar.upstream.until(|seen| seen.len() == 2).await;
    assert_eq!(
        arrived(&sidecar.upstream.seen(), &[SIZE]),
        ["before", "whole"]
    );
    until_none(&sidecar, NOW).await;
}

#[tokio::test]
async fn what_its_callers_share_can_never_hold_goes_as_a_stream_in_its_place() {
    const SIZE: usize = SHARE - SHARE / 16;
    let sidecar = start(&[]).await;
    sidecar.taken(&headers("t", ""), "t", "before").await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    let own = headers("t", "");
    let large = sidecar.call(Method::POST, "/event", &own, odd("large", SIZE));
    let (large, ()) = tokio::join!(large, async {
        // The window is sealed for the call's sake: it has its place.
        sidecar.upstream.until(|seen| !seen.is_empty()).await;
        sidecar.taken(&headers("t", ""), "t", "after").await;
        assert_eq!(sidecar.counter(NOW).await, 0, "nothing of it is held");
        sidecar.upstream.open_gate();
    });
    assert_eq!(
        (large.status, large.header("tidegate-forwarded")),
        (StatusCode::OK, "no_room")
    );
    sidecar.delivered().await;
    assert_eq!(
        arrived(&sidecar.upstream.seen(), &[SIZE]),
        ["before", "large", "after"]
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_counts_as_it_comes_and_goes_on_as_a_stream_where_room_ends() {
    let sidecar = start(&[]).await;
    sidecar.taken(&headers("t", ""), "t", "before").await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    let (pieces, frames) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let frames = stream::unfold(frames, |mut frames| async move {
        frames
            .recv()
            .await
            .map(|bytes| (Ok::<_, Infallible>(Frame::data(bytes)), frames))
    });
    let host = sidecar.running.address.to_string();
    let request = Request::post("/event")
        .header("host", host)
        .header("authorization", "t");
    let answer =
        tokio::spawn(sender.send_request(request.body(StreamBody::new(Box::pin(frames))).unwrap()));
    pieces.send(Bytes::from(odd("long", 100_000))).unwrap();
    sidecar.until_counter(NOW, 100_000).await;
    let counted = sidecar.counter(NOW).await;
    // A buffer that doubles, and a piece ahead.
    assert!(counted <= 2 * (100_000 + (64 << 10)), "{counted}");
    // More than its caller's share, and less than the largest body.
    pieces.send(Bytes::from("x".repeat(900_000))).unwrap();
    sidecar
        .until_counter("tidegate_declined_total{reason=\"no_room\"}", 1)
        .await;
    assert!(sidecar.counter(NOW).await <= SHARE as u64);
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    sidecar.upstream.open_gate();
    drop(pieces);
    let (head, body) = answer.await.unwrap().unwrap().into_parts();
    body.collect().await.unwrap();
    assert_eq!(head.headers["tidegate-forwarded"], "no_room");
    assert_eq!(
        arrived(&sidecar.upstream.seen(), &[1_000_000]),
        ["before", "long"]
    );
    until_none(&sidecar, NOW).await;
}

#[tokio::test]
async fn a_call_that_must_wait_and_cannot_be_held_is_told_to_come_again_and_overtakes_nothing() {
    const SIZE: usize = 8_000;
    let sidecar = start(&[]).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    sidecar.taken(&headers("t", ""), "t", "before").await;
    let send = |number: usize| {
        let sidecar = &sidecar;
        async move {
            sidecar
                .call(
                    Method::POST,
                    "/event",
                    &headers("t", ""),
                    odd(&format!("odd-{number}"), SIZE),
                )
                .await
        }
    };
    let (answers, ()) = tokio::join!(join_all((0..160).map(send)), async {
        sidecar
            .until_counter("tidegate_calls_total{action=\"refused\"}", 1)
            .await;
        assert_eq!(
            sidecar.upstream.seen().len(),
            1,
            "the batch that is before them"
        );
        sidecar.upstream.open_gate();
    });
    let (taken, refused): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.status == StatusCode::OK);
    for answer in &refused {
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, "1")
        );
        let status = "tidegate; error=proxy_internal_response; details=\"no_room\"";
        assert_eq!(
            (
                answer.header("proxy-status"),
                answer.json()["code"].as_str()
            ),
            (status, Some("no_room"))
        );
    }
    let order = arrived(&sidecar.upstream.seen(), &[SIZE]);
    assert_eq!(
        (order[0].as_str(), order.len()),
        ("before", taken.len() + 1),
        "what was refused went nowhere"
    );
    assert!(sidecar.counter(HIGHEST).await <= LIMIT);
    until_none(&sidecar, NOW).await;
}

#[tokio::test]
async fn what_a_coding_unpacks_to_counts_too() {
    let sidecar = start(&[]).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder
        .write_all(odd("packed", 500_000).as_bytes())
        .unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 10_000);
    let coded = [headers("t", ""), vec![("content-encoding", "gzip")]].concat();
    assert_eq!(
        sidecar
            .call(Method::POST, "/event", &coded, packed)
            .await
            .status,
        StatusCode::OK
    );
    assert!(sidecar.counter(HIGHEST).await >= 500_000);
    until_none(&sidecar, NOW).await;
}

#[tokio::test]
async fn an_answer_that_finds_no_room_passes_and_is_not_stored() {
    let large = (
        "[store]\nmax_object = \"4MiB\"\n[batch.progress]",
        "[batch.progress]",
    );
    let sidecar = start(&[(large.1, large.0)]).await;
    sidecar.upstream.answer_with(|seen| {
        let size = if seen.path.ends_with("large") {
            SHARE
        } else {
            SHARE / 4
        };
        let mut reply = answer(200, serde_json::Value::Null);
        *reply.body_mut() = Full::from("x".repeat(size));
        Some(reply)
    });
    for (path, times) in [("/progress?userId=u", 1), ("/progress?userId=large", 2)] {
        for _ in 0..2 {
            let heard = sidecar.get("t", path).await;
            assert!(heard.status == StatusCode::OK && heard.body.len() >= SHARE / 4);
        }
        let asked = sidecar
            .upstream
            .seen()
            .iter()
            .filter(|seen| seen.path == path)
            .count();
        assert_eq!(asked, times, "{path}");
    }
    let highest = sidecar.counter(HIGHEST).await;
    assert!(
        (SHARE as u64 / 4..=SHARE as u64).contains(&highest),
        "{highest}"
    );
    until_none(&sidecar, NOW).await;
}
