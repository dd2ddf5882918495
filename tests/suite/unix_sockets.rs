//! Unix sockets on both sides.

use crate::crash::configure;
use crate::support::fronts::start_unix;
use crate::support::process::Process;
use crate::support::upstream::FakeUpstream;
use crate::support::{Http, in_time};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::path::Path;
use tokio::net::UnixStream;

async fn call(socket: &Path, path: &str, headers: &[(&str, &str)], body: &str) -> StatusCode {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(path).header("host", "app.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_come_over_a_unix_socket_whose_other_end_is_believed_where_that_is_said() {
    for (trusted, wanted) in [
        ("[\"unix\"]", "9.9.9.9, 127.0.0.1"),
        ("[\"loopback\"]", "127.0.0.1"),
    ] {
        let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        let socket = directory.path().join("t.sock");
        // What a process that was killed left.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let listen = format!(
            "[server]\nlisten = \"unix:{}\"\ntrusted_proxies = {trusted}",
            socket.display()
        );
        let own = ("[server]\nlisten = \"127.0.0.1:0\"", &*listen);
        let flush = ("flush_at = 4", "flush_at = 1");
        let config = configure(directory.path(), upstream.address, "disk", &[own, flush]);
        let process = Process::start(&config);
        let says = format!("tidegate serves on unix:{}, ", socket.display());
        assert!(process.said().contains(&says), "{}", process.said());
        let headers = [
            ("x-forwarded-for", "9.9.9.9"),
            ("authorization", "t"),
            ("content-type", "application/json"),
        ];
        assert_eq!(call(&socket, "/x", &headers, "{}").await, StatusCode::OK);
        let event = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
        assert_eq!(
            call(&socket, "/event", &headers, event).await,
            StatusCode::ACCEPTED
        );
        upstream.until(|seen| seen.len() == 2).await;
        for seen in upstream.seen() {
            assert_eq!(seen.header("x-forwarded-for"), wanted, "{seen:?}");
        }
        // A second process finds it taken.
        let (code, said) = Process::try_start(&config).err().unwrap();
        assert_eq!(code, Some(2), "{said}");
        let (code, _) = process.terminate();
        assert_eq!(code, Some(0));
        assert!(!socket.exists(), "the file is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_the_second_is_told_that_the_first_listens() {
    let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    let socket = directory.path().join("t.sock");
    let listen = format!("[server]\nlisten = \"unix:{}\"", socket.display());
    let own = ("[server]\nlisten = \"127.0.0.1:0\"", &*listen);
    let config = configure(directory.path(), upstream.address, "none", &[own]);
    let process = Process::start(&config);
    let (code, said) = Process::try_start(&config).err().unwrap();
    assert_eq!(code, Some(2));
    assert!(said.contains("another process listens on it"), "{said}");
    assert_eq!(call(&socket, "/x", &[], "").await, StatusCode::OK);
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_asked_over_a_unix_socket() {
    for (more, host) in [
        ("", "app.test"),
        ("preserve_host = false", "localhost"),
        ("http2 = \"prior-knowledge\"", "app.test"),
        (
            "http2 = \"prior-knowledge\"\npreserve_host = false",
            "localhost",
        ),
    ] {
        let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        let socket = directory.path().join("app.sock");
        start_unix(&socket, upstream.address);
        let url = format!("url = \"unix:{}\"\n{more}", socket.display());
        let own = format!("url = \"http://{}\"", upstream.address);
        let flush = ("flush_at = 4", "flush_at = 1");
        let config = configure(
            directory.path(),
            upstream.address,
            "disk",
            &[(&own, &url), flush],
        );
        let process = Process::start(&config);
        let headers = [
            ("host", "app.test"),
            ("authorization", "t"),
            ("content-type", "application/json"),
        ];
        let client = Http::default();
        let event = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
        for (path, body, wanted) in [("/x", "{}", 200), ("/event", event, 202)] {
            let answer = client
                .try_call(process.address, Method::POST, path, &headers, body)
                .await
                .unwrap();
            assert_eq!(answer.status.as_u16(), wanted, "{answer:?}");
        }
        upstream.until(|seen| seen.len() == 2).await;
        for seen in upstream.seen() {
            assert_eq!(seen.header("host"), host, "{more} {seen:?}");
        }
        let (_, shown) = crate::support::process::run(&["check"], &config, &[]);
        let passes = format!("passes through to unix:{}", socket.display());
        assert!(shown.contains(&passes), "{shown}");
        // Nothing listens any more.
        drop(process);
        std::fs::remove_file(&socket).unwrap();
        let process = Process::start(&config);
        let asking = client.try_call(process.address, Method::GET, "/x", &headers, "");
        let answer = in_time("an answer", asking).await.unwrap();
        assert_eq!(answer.json()["code"], "connection_refused", "{answer:?}");
    }
}
