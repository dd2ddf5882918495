//! Where the cache must not answer: after writes that name their user in another spelling or in a
//! packed body, for upgrades, and for calls that an application may take for other ones.

use crate::support::calls::gzip;
use crate::support::upstream::{Seen, answer, answer_heads};
use crate::support::{Answer, CONFIG, Sidecar};
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: (&str, &str) = ("authorization", "Bearer t");
const JSON: (&str, &str) = ("content-type", "application/json");
/// Reads name their user in the path.
const BY_PATH: (&str, &str) = (
    "[[cache]]",
    "[[cache]]\npath = \"/users/{who}/progress\"\nttl = \"60s\"\nforce = true\ntags = \
     [\"progress:{path.who}\"]\n[[write]]\npath = \"/users/{who}/reset\"\ninvalidates = \
     [\"progress:{path.who}\"]\n[[write]]\npath = \"/packed\"\ninvalidates = \
     [\"progress:{body.userId}\"]\n[[cache]]",
);

fn status_of(read: &Answer) -> &str {
    read.header("cache-status")
}

/// Stored now, whatever was there before.
async fn store(sidecar: &Sidecar, path: &str) {
    sidecar.get("Bearer t", path).await;
    let read = sidecar.get("Bearer t", path).await;
    assert!(status_of(&read).contains("hit"), "{path}: {read:?}");
}

async fn is_old(sidecar: &Sidecar, path: &str) {
    let read = sidecar.get("Bearer t", path).await;
    assert!(!status_of(&read).contains("hit"), "{path}: {read:?}");
}

#[tokio::test]
async fn a_name_in_a_path_is_the_one_that_events_and_writes_have_however_it_is_written() {
    let sidecar = Sidecar::start(&[BY_PATH]).await;
    for (written, name) in [
        ("ada%40x.org", "ada@x.org"),
        ("ada%40X.org", "ada@x.org"),
        ("Jos%C3%A9%20B", "José B"),
        ("plain", "plain"),
        // What can't be decoded is as it was sent.
        ("100%", "100%"),
    ] {
        let path = format!("/users/{written}/progress");
        store(&sidecar, &path).await;
        let event = json!({ "id": written, "user": name, "lesson": "l" }).to_string();
        let heard = sidecar
            .call(Method::POST, "/event", &[TOKEN, JSON], event)
            .await;
        assert_eq!(heard.status, StatusCode::ACCEPTED);
        is_old(&sidecar, &path).await;
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.pending == 0).await;
        store(&sidecar, &path).await;
        let reset = format!("/users/{written}/reset");
        sidecar.call(Method::POST, &reset, &[TOKEN], "").await;
        is_old(&sidecar, &path).await;
    }
}

#[tokio::test]
async fn a_write_makes_old_what_its_packed_body_names() {
    let sidecar = Sidecar::start(&[BY_PATH]).await;
    // The second one is larger than what is unpacked at once.
    for pad in ["", &"x".repeat(200 << 10)] {
        store(&sidecar, "/users/ada/progress").await;
        let body = gzip(
            json!({ "userId": "ada", "pad": pad })
                .to_string()
                .as_bytes(),
        );
        let headers = [TOKEN, JSON, ("content-encoding", "gzip")];
        let heard = sidecar.call(Method::POST, "/packed", &headers, body).await;
        assert_eq!(heard.status, StatusCode::OK);
        is_old(&sidecar, "/users/ada/progress").await;
    }
}

#[tokio::test]
async fn a_read_that_may_be_taken_for_a_write_makes_old_what_is_stored() {
    let sidecar = Sidecar::start(&[]).await;
    store(&sidecar, "/progress?userId=u").await;
    let headers = [TOKEN, ("x-http-method-override", "DELETE")];
    let path = "/progress?userId=u";
    let heard = sidecar.call(Method::GET, path, &headers, "").await;
    assert!(status_of(&heard).contains("fwd=bypass"), "{heard:?}");
    is_old(&sidecar, path).await;
    // Off the cache's routes, too, where it has another spelling.
    store(&sidecar, path).await;
    sidecar
        .call(Method::GET, "/progress/?userId=u", &headers, "")
        .await;
    is_old(&sidecar, path).await;
}

#[tokio::test]
async fn fields_that_stand_in_a_key_are_told_apart_by_every_byte_and_bounded() {
    let sidecar = Sidecar::start(&[]).await;
    let count = Arc::new(AtomicU64::new(0));
    sidecar.upstream.answer_with(move |_: &Seen| {
        Some(answer(200, json!(count.fetch_add(1, Ordering::SeqCst))))
    });
    let read = async |value: &str| {
        let headers = [TOKEN, ("x-script-name", value)];
        sidecar
            .call(Method::GET, "/progress?userId=u", &headers, "")
            .await
    };
    let mut seen = Vec::new();
    for value in [
        "a",
        "\\x9a",
        "\u{9a}",
        "\\t",
        "\t",
        "\"",
        "\\\"",
        "a\" x-host=\"b",
    ] {
        let first = read(value).await.json();
        assert!(!seen.contains(&first), "{value:?}");
        assert_eq!(read(value).await.json(), first, "{value:?}");
        seen.push(first);
    }
    let long = "x".repeat(9_000);
    for _ in 0..2 {
        let heard = read(&long).await;
        assert!(status_of(&heard).contains("long-target"), "{heard:?}");
    }
}

/// Changes to a protocol of one's own where it is asked to, and counts its other answers.
async fn application_with_upgrades() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_heads(stream, |head| {
                if head.to_lowercase().contains("\r\nupgrade: raw") {
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: \
                     raw\r\n\r\nhello"
                } else {
                    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok"
                }
            }));
        }
    });
    address
}

#[tokio::test]
async fn an_upgrade_on_a_cache_route_reaches_the_application_whatever_is_stored() {
    let application = application_with_upgrades().await;
    let text = CONFIG.replace("UPSTREAM", &application.to_string());
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    for _ in 0..2 {
        store(&sidecar, "/progress?userId=u").await;
        let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
        let asked = "GET /progress?userId=u HTTP/1.1\r\nhost: a\r\nauthorization: Bearer \
                     t\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"hello") {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
        }
        assert!(heard.starts_with(b"HTTP/1.1 101"));
    }
}
