//! An answer to a delivery whose body isn't plain: in a content coding, too long, late, or broken off.
//! What it says counts, whatever it is packed in; what can't be known is asked of the single calls;
//! and no body takes a status away.

use crate::support::calls::gzip;
use crate::support::upstream::{Reply, answer};
use crate::support::{CONFIG, Sidecar};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::json;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const BROWSER: [(&str, &str); 3] = [
    ("authorization", "Bearer t"),
    ("content-type", "application/json"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
];
const SINGLE: (&str, &str) = ("fallback = \"dead-letter\"", "fallback = \"single\"");
/// More than is read of an answer, bytes.
const LONG: usize = 5 << 20;

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).unwrap()
}

fn packed(status: u16, coding: &str, body: Vec<u8>) -> Reply {
    let mut reply = answer(status, json!({}));
    reply
        .headers_mut()
        .insert("content-encoding", coding.parse().unwrap());
    *reply.body_mut() = body.into();
    reply
}

/// Events of one browser, as one batch.
async fn send(sidecar: &Sidecar, ids: &[&str]) {
    for id in ids {
        let body = json!({ "id": id, "user": "t", "lesson": "l" }).to_string();
        let heard = sidecar
            .call(http::Method::POST, "/event", &BROWSER, body)
            .await;
        assert_eq!(heard.status, 202, "{heard:?}");
    }
    sidecar.flush().await;
}

#[tokio::test]
async fn what_a_packed_answer_says_of_each_event_counts() {
    let lists =
        json!({ "accepted": ["a"], "failed": [{ "id": "b", "reason": "validation_error" }] });
    let small = lists.to_string().into_bytes();
    // Of more bytes than are unpacked at once.
    let mut state = 1_u64;
    let noise: String = (0..20_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'a' + (state >> 60) as u8)
        })
        .collect();
    let mut large = lists;
    large["noise"] = noise.into();
    let large = large.to_string().into_bytes();
    for (coding, body) in [
        ("gzip", gzip(&small)),
        ("x-gzip", gzip(&small)),
        ("deflate", deflate(&small)),
        ("zstd", zstd(&small)),
        ("gzip", gzip(&large)),
        ("identity", small.clone()),
    ] {
        let sidecar = Sidecar::start(&[]).await;
        sidecar.upstream.script([packed(200, coding, body)]);
        send(&sidecar, &["a", "b"]).await;
        let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
        assert_eq!((ledger.accepted, ledger.dead), (1, 1), "{coding}");
        assert_eq!(sidecar.upstream.paths(), ["/batch"], "{coding}");
    }
}

#[tokio::test]
async fn a_batch_asks_for_a_plain_answer_and_a_repeated_single_call_for_what_its_client_did() {
    let sidecar = Sidecar::start(&[SINGLE]).await;
    sidecar.upstream.script([answer(404, json!({}))]);
    send(&sidecar, &["a"]).await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let seen = sidecar.upstream.seen();
    let asked: Vec<_> = seen
        .iter()
        .map(|seen| (seen.path.as_str(), seen.header("accept-encoding")))
        .collect();
    assert_eq!(
        asked,
        [
            ("/batch", "identity"),
            ("/event", "gzip, deflate, br, zstd")
        ]
    );
}

#[tokio::test]
async fn a_packed_no_or_page_is_no_success_and_a_packed_refusal_names_its_event() {
    let page = b"<html><h1>Down for maintenance</h1></html>";
    for no in [json!({ "ok": false }).to_string().as_bytes(), page] {
        let sidecar = Sidecar::start(&[SINGLE]).await;
        // To the batch; the page to the single call, too.
        let to_single = packed(200, "gzip", gzip(page));
        sidecar
            .upstream
            .script([packed(200, "gzip", gzip(no)), to_single]);
        send(&sidecar, &["a"]).await;
        assert_eq!(
            sidecar.until(|ledger| ledger.pending == 0).await.accepted,
            1
        );
        assert_eq!(sidecar.upstream.paths(), ["/batch", "/event", "/event"]);
    }
    let sidecar = Sidecar::start(&[]).await;
    let named = json!({ "invalid": [{ "id": "b" }] }).to_string();
    sidecar
        .upstream
        .script([packed(422, "gzip", gzip(named.as_bytes()))]);
    send(&sidecar, &["a", "b", "c"]).await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (2, 1));
    let batches = sidecar.upstream.batches();
    assert_eq!(batches[1..], [["a", "c"]], "no bisecting");
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_asked_of_the_single_calls_and_theirs_are_final() {
    let deep = format!(
        "{{\"accepted\":[\"a\"],\"x\":{}{}}}",
        "[".repeat(64),
        "]".repeat(64)
    );
    let mut plain = answer(200, json!({}));
    *plain.body_mut() = deep.into();
    let mut long = answer(200, json!({}));
    *long.body_mut() = vec![b' '; LONG].into();
    for (what, reply) in [
        (
            "a coding that isn't known",
            packed(200, "compress", b"\x1f\x9d".to_vec()),
        ),
        ("two codings", packed(200, "gzip, br", gzip(b"{}"))),
        (
            "not in its coding",
            packed(200, "gzip", b"{\"accepted\":[\"a\",\"b\"]}".to_vec()),
        ),
        (
            "too much in its coding",
            packed(200, "gzip", gzip(&vec![b' '; LONG])),
        ),
        ("too long", long),
        ("too deep", plain),
    ] {
        let sidecar = Sidecar::start(&[SINGLE]).await;
        let again = reply.clone();
        sidecar.upstream.script([reply, again]);
        send(&sidecar, &["a", "b"]).await;
        let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
        assert_eq!((ledger.accepted, ledger.dead), (2, 0), "{what}");
        assert_eq!(
            sidecar.upstream.paths(),
            ["/batch", "/event", "/event"],
            "{what}"
        );
    }
}

/// What follows the bytes of an answer.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    TheEnd,
}

/// An application that gives these answers in turn, and then takes everything.
async fn raw_application(answers: Vec<(String, Then)>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, paths) = (
        listener.local_addr().unwrap(),
        Arc::<Mutex<Vec<_>>>::default(),
    );
    let (seen, answers) = (
        Arc::clone(&paths),
        Arc::new(Mutex::new(answers.into_iter())),
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
            tokio::spawn(answer_calls(stream, seen, move || {
                answers.lock().unwrap().next()
            }));
        }
    });
    (address, paths)
}

async fn answer_calls(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
    next: impl Fn() -> Option<(String, Then)>,
) {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let length = text.split_once("content-length: ").map(|(_, rest)| rest);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        let whole = text
            .find("\r\n\r\n")
            .map(|head| head + 4 + length.unwrap_or(0));
        if whole.is_none_or(|whole| read.len() < whole) {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        }
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push(path);
        read.clear();
        let taken = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
        let (bytes, then) = next().unwrap_or((taken, Then::Nothing));
        if stream.write_all(bytes.as_bytes()).await.is_err() || then == Then::TheEnd {
            return;
        }
    }
}

/// What an application sees that gives these answers, each with one byte less than its head says, to
/// what a browser's two events become; and how many of them are accepted.
async fn after(answers: &[(&str, Then)]) -> (Vec<String>, u64) {
    let body = "{\"ok\":true";
    let cut = |status| {
        let length = body.len() + 1;
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let answers = answers.iter().map(|(status, then)| (cut(status), *then));
    let (address, paths) = raw_application(answers.collect()).await;
    let mut text = CONFIG.replace("http://UPSTREAM", &format!("http://{address}"));
    let brief = ("[delivery]\n", "[delivery]\ntimeout = \"200ms\"\n");
    for (from, to) in [SINGLE, brief] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    send(&sidecar, &["a", "b"]).await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    let paths = paths.lock().unwrap().clone();
    (paths, ledger.accepted)
}

const NO_BATCH: &str = "404 Not Found";

#[tokio::test]
async fn a_status_counts_though_its_body_is_late_or_breaks_off() {
    for then in [Then::Nothing, Then::TheEnd] {
        let (paths, accepted) = after(&[("413 Content Too Large", then)]).await;
        assert_eq!(paths, ["/batch", "/batch", "/batch"], "each event alone");
        assert_eq!(accepted, 2);
        let (paths, accepted) = after(&[(NO_BATCH, then)]).await;
        assert_eq!(paths, ["/batch", "/event", "/event"]);
        assert_eq!(accepted, 2);
    }
}

#[tokio::test]
async fn a_batch_that_got_half_an_answer_goes_again_and_a_single_calls_late_end_is_its_clients() {
    for then in [Then::Nothing, Then::TheEnd] {
        let (paths, accepted) = after(&[("200 OK", then)]).await;
        assert_eq!(paths, ["/batch", "/batch"]);
        assert_eq!(accepted, 2);
    }
    let no_batch = (NO_BATCH, Then::Nothing);
    let (paths, accepted) = after(&[no_batch, ("200 OK", Then::Nothing)]).await;
    assert_eq!(paths, ["/batch", "/event", "/event"]);
    assert_eq!(accepted, 2);
    let (paths, accepted) = after(&[no_batch, ("200 OK", Then::TheEnd)]).await;
    assert_eq!(paths, ["/batch", "/event", "/event", "/event"]);
    assert_eq!(accepted, 2);
}
