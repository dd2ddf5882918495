//! An application that answers before it has read a call's body (P10): the call has its place until
//! its body has ended too, and a body that stands still after its answer ends its connection.

use crate::support::upstream::answer_heads;
use crate::support::{CONFIG, Sidecar};
use http::{Method, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Answers each head at once, and reads no body; how many connections it has.
async fn hasty_application() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, open) = (
        listener.local_addr().unwrap(),
        Arc::<AtomicUsize>::default(),
    );
    let count = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let open = Arc::clone(&count);
            open.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                answer_heads(stream, |head| {
                    if head.starts_with("POST") {
                        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
                    } else {
                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                    }
                })
                .await;
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, open)
}

/// With 12 connections for calls, 3 of them for one address.
async fn start(application: SocketAddr, stall: &str) -> Sidecar {
    let config = CONFIG
        .replace("UPSTREAM", &application.to_string())
        .replace(
            "[upstream]",
            "[upstream]\nmax_connections = 16\nconnect_timeout = \"1s\"",
        )
        .replace(
            "[server]",
            &format!("[server]\nstall_timeout = \"{stall}\""),
        );
    Sidecar::with(&config, Clock::default()).await
}

/// A call whose body doesn't come; its status.
async fn begin_upload(sidecar: &Sidecar, from: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let head = format!(
        "POST /nowhere HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {from}\r\ncontent-length: 9\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (stream, String::from_utf8_lossy(&status[9..]).into_owned())
}

async fn get(sidecar: &Sidecar, from: &str) -> StatusCode {
    let headers = [("x-forwarded-for", from)];
    sidecar.call(Method::GET, "/x", &headers, "").await.status
}

#[tokio::test]
async fn bodies_that_go_on_after_their_answers_take_no_more_than_their_clients_share() {
    let (application, _) = hasty_application().await;
    let sidecar = start(application, "1h").await;
    let mut uploads = Vec::new();
    for _ in 0..3 {
        let (stream, status) = begin_upload(&sidecar, "192.0.2.1").await;
        assert_eq!(status, "404");
        uploads.push(stream);
    }
    for _ in 0..13 {
        let (_, status) = begin_upload(&sidecar, "192.0.2.1").await;
        assert_eq!(status, "503", "its share is taken");
    }
    assert_eq!(get(&sidecar, "192.0.2.7").await, StatusCode::OK);
    // One of them has come whole.
    uploads[0].write_all(b"the body.").await.unwrap();
    while get(&sidecar, "192.0.2.1").await != StatusCode::OK {}
}

#[tokio::test]
async fn a_body_that_stands_still_after_its_answer_gives_its_place_and_its_connection_back() {
    let (application, open) = hasty_application().await;
    let sidecar = start(application, "1s").await;
    let (mut upload, status) = begin_upload(&sidecar, "192.0.2.1").await;
    assert_eq!((status.as_str(), open.load(Ordering::SeqCst)), ("404", 1));
    // Both ends of it are closed.
    drop(upload.read_to_end(&mut Vec::new()).await);
    while open.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&sidecar, "192.0.2.1").await, StatusCode::OK);
}

/// Some HTTP/2 clients end a body with a frame of its own, which an answer may cross: to reset the
/// stream then would tell them that their whole call failed.
#[tokio::test]
async fn over_http_2_the_end_of_a_body_may_come_behind_its_answer() {
    let (application, _) = hasty_application().await;
    let sidecar = start(application, "1h").await;
    let stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let (mut client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    for (method, body) in [
        (Method::GET, ""),
        (Method::GET, "hello"),
        (Method::POST, ""),
        (Method::POST, "hello"),
    ] {
        client = client.ready().await.unwrap();
        let request = http::Request::builder()
            .method(method.clone())
            .uri("http://a/x")
            .header("content-length", body.len())
            .body(())
            .unwrap();
        let (answer, mut upload) = client.send_request(request, false).unwrap();
        if !body.is_empty() {
            upload.send_data(body.into(), false).unwrap();
        }
        answer.await.unwrap();
        // Whatever came with the answer is here.
        pings.ping(h2::Ping::opaque()).await.unwrap();
        let reset = std::future::poll_fn(|cx| Poll::Ready(upload.poll_reset(cx))).await;
        assert!(reset.is_pending(), "{method} {body:?}: {reset:?}");
        upload.send_data(bytes::Bytes::new(), true).unwrap();
    }
}

/// Some clients write all of an upload before they read, and some applications read all of it.
#[tokio::test]
async fn a_slow_upload_goes_on_when_its_answer_has_ended_and_its_connection_serves_the_next_call() {
    let (application, _) = hasty_application().await;
    let config = CONFIG
        .replace("UPSTREAM", &application.to_string())
        .replace(
            "[server]",
            "[server]\nheader_timeout = \"1s\"\nkeepalive_timeout = \"1s\"",
        );
    let sidecar = Sidecar::with(&config, Clock::default()).await;
    let (mut upload, status) = begin_upload(&sidecar, "192.0.2.1").await;
    assert_eq!(status, "404");
    // Others come and are cut meanwhile, three after one another.
    for _ in 0..3 {
        upload.write_all(b"a").await.unwrap();
        let mut other = TcpStream::connect(sidecar.running.address).await.unwrap();
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
    }
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        rest.push(upload.read_u8().await.unwrap());
    }
    upload.write_all(b"bcdefg").await.unwrap();
    let next = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    upload.write_all(next).await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}
