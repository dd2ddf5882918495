//! Bad input: each gets a clear answer or a clean close, and nothing is kept.

use crate::support::Sidecar;
use crate::support::calls::gzip;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn refused(
    sidecar: &Sidecar,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
    status: u16,
    code: &str,
) {
    let answer = sidecar.call(Method::POST, "/event", headers, body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (status, "application/problem+json"),
        "{code}: {answer:?}"
    );
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty())
    );
}

#[tokio::test]
async fn a_wrong_body_is_refused_by_name_where_its_group_says_so() {
    let refuse = "[limits]\nmax_body = \"64KiB\"\n[batch.progress]\nrefuse = [\"not_json\", \
                  \"missing_field\", \"bad_id\", \"wrong_type\", \"too_old\", \"in_the_future\", \
                  \"too_large\", \"unknown_coding\", \"bad_coding\"]";
    let sidecar = Sidecar::start(&[("[batch.progress]", refuse)]).await;
    let now = std::time::SystemTime::now();
    let old = tidegate::clock::millis(now) - 25 * 3_600_000;
    let ahead = tidegate::clock::millis(now) + 3_600_000;
    let event = |more: &str| format!("{{\"user\":\"u\",\"lesson\":\"l\",\"percent\":1{more}}}");
    let deep = event(&format!(
        ",\"x\":{}{}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    ));
    let large = event(&format!(",\"pad\":\"{}\"", "x".repeat(64 << 10)));
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"nope".to_vec(), 400, "not_json"),
        (Vec::new(), 400, "not_json"),
        (b"[1,2]".to_vec(), 400, "not_json"),
        (b"\"text\"".to_vec(), 400, "not_json"),
        (b"{\"user\":\"\xff\"}".to_vec(), 400, "not_json"),
        (deep.into_bytes(), 400, "not_json"),
        (b"{\"user\":\"u\"}".to_vec(), 400, "missing_field"),
        (
            b"{\"user\":\"u\",\"lesson\":\"\"}".to_vec(),
            400,
            "missing_field",
        ),
        (
            b"{\"user\":\"u\",\"lesson\":null}".to_vec(),
            400,
            "missing_field",
        ),
        (
            event(&format!(",\"id\":\"{}\"", "x".repeat(10_000))).into_bytes(),
            400,
            "bad_id",
        ),
        (event(",\"id\":7").into_bytes(), 400, "wrong_type"),
        (
            event(&format!(",\"timestamp\":{old}")).into_bytes(),
            422,
            "too_old",
        ),
        (
            event(&format!(",\"timestamp\":{ahead}")).into_bytes(),
            422,
            "in_the_future",
        ),
        (
            event(",\"timestamp\":\"2001-01-01T00:00:00Z\"").into_bytes(),
            422,
            "too_old",
        ),
        (large.into_bytes(), 413, "too_large"),
    ];
    for (body, status, code) in cases {
        refused(&sidecar, &[], body, status, code).await;
    }
    refused(
        &sidecar,
        &[("content-encoding", "lzma")],
        "{}",
        415,
        "unknown_coding",
    )
    .await;
    refused(
        &sidecar,
        &[("content-encoding", "gzip")],
        "{}",
        400,
        "bad_coding",
    )
    .await;
    assert_eq!(sidecar.running.stop().await.received, 0);
    assert!(sidecar.upstream.seen().is_empty());
}

#[tokio::test]
async fn percents_are_rounded_and_clamped_and_anything_else_is_the_applications_to_judge() {
    let sidecar = Sidecar::start(&[("flush_at = 4", "flush_at = 1")]).await;
    for (raw, wanted) in [("-5", 0), ("101", 100), ("42.7", 43), ("1e300", 100)] {
        let body =
            format!("{{\"id\":\"p{raw}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":{raw}}}");
        assert_eq!(
            sidecar.call(Method::POST, "/event", &[], body).await.status,
            StatusCode::ACCEPTED,
            "{raw}"
        );
        sidecar.until(|ledger| ledger.pending == 0).await;
        let sent: serde_json::Value =
            serde_json::from_slice(&sidecar.upstream.seen().last().unwrap().body).unwrap();
        assert_eq!(sent["events"][0]["percent"], wanted, "{raw}");
    }
    let body = "{\"user\":\"u\",\"lesson\":\"l\",\"percent\":\"NaN\"}";
    let forwarded = sidecar.call(Method::POST, "/event", &[], body).await;
    assert_eq!(
        (forwarded.status, forwarded.json()["path"].as_str()),
        (StatusCode::OK, Some("/event"))
    );
    assert_eq!(sidecar.upstream.seen().last().unwrap().body, body);
}

#[tokio::test]
async fn the_last_of_a_repeated_key_counts() {
    let sidecar = Sidecar::start(&[]).await;
    let ack = sidecar
        .call(
            Method::POST,
            "/event",
            &[],
            "{\"id\":\"a\",\"id\":\"b\",\"user\":\"u\",\"lesson\":\"l\"}",
        )
        .await;
    assert_eq!(ack.header("tidegate-event"), "b");
}

#[tokio::test]
async fn a_body_is_read_as_json_whatever_its_type_says() {
    let sidecar = Sidecar::start(&[]).await;
    let body = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\"}";
    let post = async |headers: &[(&str, &str)]| {
        sidecar
            .call(Method::POST, "/event", headers, body)
            .await
            .status
    };
    let text = ("content-type", "text/plain;charset=UTF-8");
    assert_eq!(
        post(&[text, ("sec-fetch-site", "same-origin")]).await,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        post(&[("content-type", "application/vnd.event+json")]).await,
        StatusCode::ACCEPTED
    );
    // A page of any site may send such a call, with the reader's cookies: it is the application's
    // to judge.
    for headers in [&[text][..], &[text, ("sec-fetch-site", "cross-site")]] {
        assert_eq!(post(headers).await, StatusCode::OK, "{headers:?}");
    }
}

/// Writes raw bytes and reads until the connection closes or a whole head is there.
async fn raw(sidecar: &Sidecar, request: &str) -> String {
    let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn malformed_heads_are_refused_and_the_listener_goes_on() {
    let sidecar = Sidecar::start(&[]).await;
    let two =
        "POST /event HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\n{}xyz";
    assert!(raw(&sidecar, two).await.starts_with("HTTP/1.1 400"));
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(100 << 10)
    );
    let answer = raw(&sidecar, &large).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let absolute = "GET http://other.test/here?q=1 HTTP/1.1\r\nhost: a\r\n\r\n";
    assert!(raw(&sidecar, absolute).await.starts_with("HTTP/1.1 200"));
    let seen = sidecar.upstream.seen();
    assert_eq!(
        (seen.len(), seen[0].path.as_str(), seen[0].header("host")),
        (1, "/here?q=1", "other.test")
    );
    sidecar.event("t", "u", "a").await;
}

#[tokio::test]
async fn a_body_that_stops_halfway_is_not_kept() {
    let sidecar = Sidecar::start(&[(
        "drain = \"5s\"",
        "drain = \"5s\"\nbody_timeout = \"50ms\"\nheader_timeout = \"50ms\"",
    )])
    .await;
    let half = "POST /event HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{\"user\":\"u\"";
    assert!(raw(&sidecar, half).await.starts_with("HTTP/1.1 408"));
    // A client that closes its side after half a body gets a clean close.
    let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    stream.write_all(half.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    // A client that never finishes its head is let go.
    assert!(
        !raw(&sidecar, "POST /event HTTP/1.1\r\nhost: a\r\n")
            .await
            .contains(" 2")
    );
    assert_eq!(sidecar.running.stop().await.received, 0);
}

/// Ruling 2: some clients write a call, close, and never read an answer.
#[tokio::test]
async fn a_call_whose_client_hangs_up_behind_its_body_is_kept_as_if_it_had_stayed() {
    let large = (
        "[batch.progress]",
        "[limits]\nmax_body = \"8MiB\"\n[batch.progress]",
    );
    let sidecar = Sidecar::start(&[large]).await;
    let noise: String = (0..300_000).map(|_| fastrand::alphanumeric()).collect();
    for number in 0..24 {
        let id = format!("e{number}");
        let pad = if number % 4 < 2 { "" } else { noise.as_str() };
        let is_batch = number % 3 == 0 && pad.is_empty();
        let (path, text) = if is_batch {
            let event = json!({ "clientEventId": id, "userId": "u", "lessonId": "l" });
            ("/batch", json!({ "events": [event] }).to_string())
        } else {
            let event = json!({ "id": id, "user": "u", "lesson": "l", "unmapped": pad });
            ("/event", event.to_string())
        };
        let (coding, body) = if number % 2 == 0 {
            ("identity", text.into_bytes())
        } else {
            ("gzip", gzip(text.as_bytes()))
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t\r\ncontent-type: \
             application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
        stream
            .write_all(&[head.as_bytes(), &body].concat())
            .await
            .unwrap();
        drop(stream);
    }
    // What would be forwarded instead is, too.
    let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let call = "POST /event HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nnope";
    stream.write_all(call.as_bytes()).await.unwrap();
    drop(stream);
    sidecar.until(|ledger| ledger.received == 24).await;
    let upstream = &sidecar.upstream;
    upstream
        .until(|seen| seen.iter().any(|seen| seen.body == "nope"))
        .await;
}
