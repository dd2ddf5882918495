//! The admin listener: whom it answers, and that its places stay free.

use crate::support::Sidecar;
use crate::support::upstream::answer;
use http::{Method, StatusCode};
use serde_json::json;
use std::net::SocketAddr;
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
