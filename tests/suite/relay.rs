//! P11: what matches no rule passes through with its semantics unchanged.

use crate::support::fronts::frame;
use crate::support::upstream::answer;
use crate::support::{Sidecar, in_time};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// An upstream that speaks raw bytes: reads until `until`, then does what the test says.
async fn raw_upstream<F, Fut>(act: F) -> (Sidecar, tokio::task::JoinHandle<Fut::Output>)
where
    F: FnOnce(TcpStream, Vec<u8>) -> Fut + Send + 'static,
    Fut: Future + Send,
    Fut::Output: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sidecar = Sidecar::start(&[("http://UPSTREAM", &format!("http://{address}"))]).await;
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        act(stream, head).await
    });
    (sidecar, task)
}

async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        assert_eq!(
            stream.read(&mut byte).await.unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    seen
}

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !seen.windows(end.len()).any(|window| window == end) {
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(
            count > 0,
            "the connection ended after {}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend_from_slice(&chunk[..count]);
    }
    seen
}

#[tokio::test]
async fn any_method_and_any_status_pass() {
    let sidecar = Sidecar::start(&[]).await;
    for method in [
        "GET", "PUT", "DELETE", "PATCH", "M-SEARCH", "PROPFIND", "OPTIONS",
    ] {
        for status in [200, 299, 304, 404, 418, 599, 799, 999] {
            sidecar.upstream.script([answer(status, json!({}))]);
            let found = sidecar
                .call(method.parse().unwrap(), "/x?y=1", &[], "body")
                .await;
            assert_eq!(found.status.as_u16(), status, "{method}");
        }
    }
    let seen = sidecar.upstream.seen();
    assert!(seen.iter().all(|one| one.path == "/x?y=1"));
    assert_eq!(
        seen.iter()
            .filter(|one| one.method.as_str() == "M-SEARCH")
            .count(),
        8
    );
}

#[tokio::test]
async fn a_head_keeps_its_content_length_and_has_no_body() {
    let (sidecar, _task) = raw_upstream(|mut stream, _| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
            .await
            .unwrap();
    })
    .await;
    let found = sidecar.call(Method::HEAD, "/x", &[], "").await;
    assert_eq!(
        (found.header("content-length"), found.body.len()),
        ("1234", 0)
    );
}

#[tokio::test]
async fn headers_of_the_connection_stay_and_the_hop_is_named() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|_| {
        let mut response = answer(200, json!({}));
        for (name, value) in [
            ("connection", "x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("x-public", "2"),
        ] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        Some(response)
    });
    let sent = [
        ("connection", "x-secret"),
        ("x-secret", "1"),
        ("proxy-authorization", "Basic x"),
        ("x-forwarded-for", "9.9.9.9"),
        ("host", "app.test"),
    ];
    let found = sidecar.call(Method::GET, "/x", &sent, "").await;
    assert_eq!(
        (
            found.header("x-private"),
            found.header("keep-alive"),
            found.header("x-public")
        ),
        ("", "", "2")
    );
    assert_eq!(found.header("via"), "1.1 tidegate");
    let seen = &sidecar.upstream.seen()[0];
    assert_eq!(
        (seen.header("x-secret"), seen.header("proxy-authorization")),
        ("", "")
    );
    assert_eq!(seen.header("x-forwarded-for"), "9.9.9.9, 127.0.0.1");
    assert_eq!(
        (
            seen.header("host"),
            seen.header("x-forwarded-host"),
            seen.header("x-forwarded-proto")
        ),
        ("app.test", "app.test", "http")
    );
    // The client calls from loopback, as a trusted proxy does.
    let rest = "proto=http;host=\"app.test\"";
    assert_eq!(
        seen.header("forwarded"),
        format!("for=9.9.9.9;{rest}, for=127.0.0.1;{rest}")
    );
    assert_eq!(seen.header("via"), "1.1 tidegate");
}

#[tokio::test]
async fn a_preflight_is_the_applications_to_answer() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.script([answer(204, json!({}))]);
    let preflight = [
        ("origin", "https://a.test"),
        ("access-control-request-method", "POST"),
    ];
    assert_eq!(
        sidecar
            .call(Method::OPTIONS, "/event", &preflight, "")
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        sidecar.upstream.seen()[0].header("access-control-request-method"),
        "POST"
    );
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (sidecar, task) = raw_upstream(|mut stream, head| async move {
        let request = read_until(&mut stream, b"\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: \
             x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        (
            String::from_utf8(head).unwrap(),
            String::from_utf8(request).unwrap(),
        )
    })
    .await;
    let request = "POST /x HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: \
        x-in\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-in: 5\r\n\r\n";
    let mut client = connect(sidecar.running.address, request).await;
    let found = String::from_utf8(read_until(&mut client, b"x-sum: 7\r\n\r\n").await).unwrap();
    assert!(found.contains("2\r\nhi\r\n0\r\n"), "{found}");
    let (head, body) = task.await.unwrap();
    assert!(
        head.contains("te: trailers\r\n") && head.contains("transfer-encoding: chunked\r\n"),
        "{head}"
    );
    assert!(body.ends_with("0\r\nx-in: 5\r\n\r\n"), "{body}");
}

#[tokio::test]
async fn events_stream_as_they_come() {
    let (next, wait) = oneshot::channel::<()>();
    let (sidecar, _task) = raw_upstream(|mut stream, _| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: \
            chunked\r\n\r\n";
        stream
            .write_all(format!("{head}7\r\ndata: 1\r\n").as_bytes())
            .await
            .unwrap();
        // The second event comes only after the client has the first.
        wait.await.unwrap();
        stream
            .write_all(b"7\r\ndata: 2\r\n0\r\n\r\n")
            .await
            .unwrap();
    })
    .await;
    let mut client = connect(
        sidecar.running.address,
        "GET /events HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    read_until(&mut client, b"data: 1").await;
    next.send(()).unwrap();
    read_until(&mut client, b"data: 2").await;
}

#[tokio::test]
async fn a_large_upload_streams_without_being_gathered() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 1_600;
    let (sent, mut acknowledged) = tokio::sync::mpsc::channel::<usize>(1);
    let (sidecar, task) = raw_upstream(move |mut stream, head| async move {
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.contains(&format!("content-length: {}", CHUNK * CHUNKS)),
            "{head}"
        );
        let (mut total, mut buffer) = (0, vec![0; CHUNK]);
        while total < CHUNK * CHUNKS {
            total += stream.read(&mut buffer).await.unwrap();
            if sent.try_send(total).is_err() {
                continue;
            }
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        total
    })
    .await;
    let head = format!(
        "PUT /upload HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        CHUNK * CHUNKS
    );
    let mut client = connect(sidecar.running.address, &head).await;
    client.write_all(&vec![b'x'; CHUNK]).await.unwrap();
    // The upstream has bytes of the body long before its end: nothing waits for the whole.
    assert!(acknowledged.recv().await.unwrap() <= CHUNK);
    drop(acknowledged);
    for _ in 1..CHUNKS {
        client.write_all(&vec![b'x'; CHUNK]).await.unwrap();
    }
    assert!(
        read_until(&mut client, b"ok")
            .await
            .starts_with(b"HTTP/1.1 200")
    );
    assert_eq!(task.await.unwrap(), CHUNK * CHUNKS);
}

#[tokio::test]
async fn a_websocket_is_upgraded_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let sidecar = Sidecar::start(&[("http://UPSTREAM", &format!("http://{address}"))]).await;
    let (mut socket, response) =
        tokio_tungstenite::connect_async(format!("ws://{}/ws", sidecar.running.address))
            .await
            .unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two"] {
        socket.send(text.into()).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap().to_text().unwrap(),
            text
        );
    }
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_request_upstream() {
    let (arrived, waiting) = oneshot::channel::<()>();
    let (sidecar, task) = raw_upstream(|mut stream, _| async move {
        arrived.send(()).unwrap();
        // The upstream's connection ends without an answer having been given.
        let mut rest = [0; 16];
        stream.read(&mut rest).await.unwrap_or(0)
    })
    .await;
    let client = connect(
        sidecar.running.address,
        "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    waiting.await.unwrap();
    drop(client);
    assert_eq!(task.await.unwrap(), 0);
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken() {
    let sidecar = Sidecar::start(&[]).await;
    let stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/h2", sidecar.running.address);
    let response = sender
        .send_request(Request::get(uri).body(Empty::<Bytes>::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["path"],
        "/h2"
    );
    assert!(!sidecar.upstream.seen()[0].header("host").is_empty());
}

/// Opens HTTP/2 by hand; what the server grants, until it has granted something to the connection:
/// bytes of the connection, bytes of each stream, and streams.
async fn granted(sidecar: &Sidecar) -> (TcpStream, [u64; 3]) {
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    const DEFAULT_WINDOW: u64 = 65_535;
    let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, &[]),
    ]
    .concat();
    stream.write_all(&hello).await.unwrap();
    let mut granted = [DEFAULT_WINDOW, DEFAULT_WINDOW, 0];
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::try_from(number(&head[..3])).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match (head[3], number(&head[5..])) {
            // Without its acknowledgement.
            (SETTINGS, 0) if head[4] == 0 => {
                for setting in payload.chunks(6) {
                    match number(&setting[..2]) {
                        3 => granted[2] = number(&setting[2..]),
                        4 => granted[1] = number(&setting[2..]),
                        _ => {}
                    }
                }
            }
            // Of the connection.
            (WINDOW_UPDATE, 0) => {
                granted[0] += number(&payload);
                return (stream, granted);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_proxys_calls_over_http_2_wait_for_no_body_that_is_not_read() {
    let nobody = ("[server]\n", "[server]\ntrusted_proxies = []\n");
    for (replace, is_proxy) in [(&[][..], true), (&[nobody], false)] {
        let sidecar = Sidecar::start(replace).await;
        let (_stream, [connection, stream, streams]) = granted(&sidecar).await;
        let has_room_for_all = connection >= stream * streams;
        assert_eq!(
            has_room_for_all, is_proxy,
            "{connection} {stream} {streams}"
        );
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_http_2_client_that_has_fallen_silent() {
    let sidecar = Sidecar::start(&[(
        "drain = \"5s\"",
        "drain = \"300s\"\nkeepalive_timeout = \"1h\"",
    )])
    .await;
    let (_stream, _) = granted(&sidecar).await;
    in_time("the stop", sidecar.running.stop()).await;
}

#[tokio::test]
async fn a_body_without_length_stays_chunked() {
    let sidecar = Sidecar::start(&[]).await;
    let stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let frames =
        ["ab", "cd"].map(|text| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(text))));
    let request = Request::post("/x")
        .header("host", "a")
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    let seen = &sidecar.upstream.seen()[0];
    assert_eq!(
        (seen.header("transfer-encoding"), &seen.body[..]),
        ("chunked", &b"abcd"[..])
    );
}

#[tokio::test]
async fn the_proxys_own_failures_say_what_failed() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let sidecar = Sidecar::start(&[("http://UPSTREAM", &format!("http://{closed}"))]).await;
    let found = sidecar.call(Method::GET, "/x", &[], "").await;
    assert_eq!(
        (found.status, found.header("content-type")),
        (StatusCode::BAD_GATEWAY, "application/problem+json")
    );
    assert_eq!(
        found.header("proxy-status"),
        "tidegate; error=connection_refused"
    );

    let sidecar =
        Sidecar::start(&[("response_timeout = \"5s\"", "response_timeout = \"20ms\"")]).await;
    sidecar.upstream.close_gate();
    let found = sidecar.call(Method::GET, "/x", &[], "").await;
    assert_eq!(
        (found.status, found.header("proxy-status")),
        (
            StatusCode::GATEWAY_TIMEOUT,
            "tidegate; error=http_response_timeout"
        )
    );

    let (sidecar, _task) = raw_upstream(|stream, _| async move { drop(stream) }).await;
    let found = sidecar.call(Method::GET, "/x", &[], "").await;
    assert_eq!(
        (found.status, found.header("proxy-status")),
        (
            StatusCode::BAD_GATEWAY,
            "tidegate; error=connection_terminated"
        )
    );
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let sidecar = Sidecar::start(&[]).await;
    let address = sidecar.running.address;
    sidecar.upstream.close_gate();
    let mut client = connect(address, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    sidecar.upstream.until(|seen| seen.len() == 1).await;
    let (upstream, admin) = (sidecar.upstream.clone(), sidecar.running.admin);
    let stop = tokio::spawn(sidecar.running.stop());
    // Readiness goes down while the request is still open.
    loop {
        let mut probe = connect(
            admin,
            "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        )
        .await;
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        if answer.starts_with("HTTP/1.1 503") {
            break;
        }
    }
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    upstream.open_gate();
    assert!(
        read_until(&mut client, b"\r\n\r\n")
            .await
            .starts_with(b"HTTP/1.1 200")
    );
    drop(client);
    assert!(stop.await.unwrap().balances());
}

/// Some applications take a connection to be its caller's from its first call on (NTLM).
#[tokio::test]
async fn a_connection_that_a_call_may_have_authenticated_carries_nobody_elses() {
    let sidecar = Sidecar::start(&[]).await;
    let from = async |authorization: &str| {
        let headers = [("authorization", authorization)];
        let path = "/whoami";
        sidecar.call(Method::GET, path, &headers, "").await;
        sidecar.upstream.seen().last().unwrap().from
    };
    let others = from("Bearer bob").await;
    assert_eq!(from("Bearer bob").await, others, "others share theirs");
    for scheme in [
        "NTLM TlRMTVNTUAAB",
        "Negotiate YII",
        "ntlm TlRMTVNTUAAB",
        "  negotiate  YII",
    ] {
        let own = from(scheme).await;
        assert_ne!(from("Bearer bob").await, own, "{scheme}");
        assert_ne!(from(scheme).await, own, "{scheme}");
    }
}
