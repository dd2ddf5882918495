//! The admin listener: whom it answers, and that its places stay free.

use crate::support::upstream::answer;
use crate::support::{Sidecar, in_time};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The status line of the answer to a head; `LISTENER` in it is the listener's address.
async fn status(at: SocketAddr, head: &str) -> u16 {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = head.replace("LISTENER", &at.to_string());
    stream
        .write_all(format!("{head}connection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{head:?}: {text:?}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn no_page_of_another_site_reads_replays_or_drops_dead_letters() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    sidecar.event("t", "ann", "a").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.dead == 1).await;
    let (admin, batches) = (sidecar.running.admin, sidecar.upstream.batches().len());
    for (lines, wanted) in [
        // A name that its owner made to point here.
        ("host: evil.test\r\n", 421),
        (
            "host: evil.test:9901\r\norigin: http://evil.test:9901\r\n",
            421,
        ),
        ("host: evil.test\r\nsec-fetch-site: same-origin\r\n", 421),
        // A page of another site, or of another port of this machine.
        ("host: LISTENER\r\norigin: http://evil.test\r\n", 403),
        ("host: LISTENER\r\norigin: null\r\n", 403),
        ("host: LISTENER\r\norigin: http://127.0.0.1:1\r\n", 403),
        ("host: LISTENER\r\nsec-fetch-site: cross-site\r\n", 403),
        ("host: localhost\r\nsec-fetch-site: same-site\r\n", 403),
    ] {
        for asked in [
            "GET /dead-letters",
            "DELETE /dead-letters",
            "DELETE /dead-letters/a",
            "POST /dead-letters/replay",
            "POST /dead-letters/a/replay",
            "POST /flush",
            "POST /invalidate?tag=x",
            "GET /status",
            "GET /metrics",
            "GET /nothing",
        ] {
            let found = status(admin, &format!("{asked} HTTP/1.1\r\n{lines}")).await;
            assert_eq!(found, wanted, "{asked} with {lines:?}");
        }
    }
    let letters = sidecar.admin(Method::GET, "/dead-letters").await;
    assert_eq!(
        (letters.status, letters.json().as_array().unwrap().len()),
        (StatusCode::OK, 1)
    );
    assert_eq!(
        sidecar.upstream.batches().len(),
        batches,
        "something was replayed"
    );
    for lines in [
        "host: LISTENER\r\n",
        "host: localhost\r\n",
        "host: localhost:1\r\norigin: http://localhost:1\r\nsec-fetch-site: same-origin\r\n",
        "host: [::1]:9901\r\nsec-fetch-site: none\r\n",
    ] {
        assert_eq!(
            status(admin, &format!("GET /status HTTP/1.1\r\n{lines}")).await,
            200,
            "{lines:?}"
        );
    }
    assert_eq!(status(admin, "GET /healthz HTTP/1.0\r\n").await, 200);
    assert_eq!(
        status(admin, "DELETE /dead-letters HTTP/1.1\r\nhost: LISTENER\r\n").await,
        200
    );
    assert_eq!(
        sidecar.admin(Method::GET, "/dead-letters").await.json(),
        json!([])
    );
}

/// The public listener's patience isn't the admin listener's.
#[tokio::test]
async fn connections_that_say_nothing_do_not_shut_the_admin_listener() {
    let patient = "[server]\nheader_timeout = \"1h\"\nkeepalive_timeout = \"1h\"";
    let sidecar = Sidecar::start(&[("[server]", patient)]).await;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(sidecar.running.admin).await.unwrap();
        if number % 2 == 1 {
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\n")
                .await
                .unwrap();
        }
        silent.push(stream);
    }
    // Of the public listener's connections none takes a place here.
    let mut public = Vec::new();
    for _ in 0..300 {
        public.push(TcpStream::connect(sidecar.running.address).await.unwrap());
    }
    assert_eq!(
        status(
            sidecar.running.admin,
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
        )
        .await,
        200
    );
}

#[tokio::test]
async fn status_says_why_lanes_wait_how_the_application_is_and_what_the_modes_are() {
    let sidecar = Sidecar::start(&[(
        "retry_server = { base = \"10ms\", cap = \"20ms\" }",
        "retry_server = { base = \"1h\", cap = \"1h\" }",
    )])
    .await;
    sidecar.upstream.answer_with(|seen| {
        let status = match seen.headers.get("authorization")?.to_str().ok()? {
            "refused" => 401,
            "failing" => 503,
            _ => return None,
        };
        (seen.path == "/batch").then(|| answer(status, json!({})))
    });
    for token in ["refused", "failing"] {
        sidecar.event(token, token, token).await;
    }
    sidecar.flush().await;
    sidecar.event("t", "ann", "open").await;
    let is_held = async {
        loop {
            let status = sidecar.admin(Method::GET, "/status").await.json();
            let lanes = &status["groups"][0]["lanes"];
            if lanes["credential"] == 1 && lanes["backoff"] == 1 && lanes["open"] == 1 {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let status = in_time("both to be held", is_held).await;
    for (place, wanted) in [
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/upstream/state", json!("up")),
        ("/groups/0/name", json!("progress")),
        ("/groups/0/pending", json!(3)),
        ("/groups/0/circuit", json!("closed")),
        ("/modes/0/path", json!("/event")),
        ("/modes/0/mode", json!("coalesce")),
        ("/pending/events", json!(3)),
        ("/balanced", json!(true)),
    ] {
        assert_eq!(status.pointer(place), Some(&wanted), "{place}: {status:#}");
    }
    for place in [
        "/uptime_ms",
        "/upstream/since_ms",
        "/groups/0/oldest_ms",
        "/pending/oldest_ms",
        "/acknowledgements/p50_us",
    ] {
        assert!(
            status.pointer(place).is_some_and(Value::is_number),
            "{place}: {status:#}"
        );
    }
}

#[tokio::test]
async fn readiness_names_the_number_of_dead_letters() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let ready = async || sidecar.admin(Method::GET, "/readyz").await;
    assert_eq!(&*ready().await.body, b"ready; dead letters: 0\n");
    sidecar.event("t", "ann", "a").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.dead == 1).await;
    let found = ready().await;
    assert_eq!(found.status, StatusCode::OK);
    assert_eq!(&*found.body, b"ready; dead letters: 1\n");
}
