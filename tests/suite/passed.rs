//! Sockets that a service manager passes on: a restart that no call notices.

use crate::crash::configure;
use crate::support::process::Process;
use crate::support::upstream::FakeUpstream;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

/// Callers that open a connection for each call, and as many that keep theirs.
const CALLERS: usize = 4;

async fn open(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(to).await.expect("the socket is open");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    drop(tokio::spawn(connection));
    sender
}

/// Calls until it is told to stop; the ids of its calls, each of which was acknowledged.
async fn call_on(
    to: SocketAddr,
    name: String,
    keeps: bool,
    (stop, count): (Arc<AtomicBool>, Arc<AtomicU64>),
) -> Vec<String> {
    let mut ids = Vec::new();
    let mut sender: Option<SendRequest<Full<Bytes>>> = None;
    while !stop.load(Ordering::SeqCst) {
        let id = format!("{name}-{}", ids.len());
        let body = json!({ "clientEventId": id, "userId": name, "n": 1 });
        let mut open = match sender.take() {
            Some(kept) => kept,
            None => open(to).await,
        };
        let call = Request::post("/event")
            .header(header::HOST, to.to_string())
            .header(header::AUTHORIZATION, "t")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answer = open.send_request(call).await;
        let answer = answer.unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{id}");
        let closes = answer
            .headers()
            .get(header::CONNECTION)
            .is_some_and(|value| value == "close");
        answer.into_body().collect().await.unwrap();
        ids.push(id);
        count.fetch_add(1, Ordering::SeqCst);
        if keeps && !closes {
            open.ready().await.expect("it wasn't said that it closes");
            sender = Some(open);
        }
        // Long enough that an idle connection is what a stop meets, mostly.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ids
}

async fn until(count: &AtomicU64, more: u64) {
    let wanted = count.load(Ordering::SeqCst) + more;
    while count.load(Ordering::SeqCst) < wanted {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_socket_that_was_passed_on_a_restart_fails_no_call_and_loses_no_event() {
    let (upstream, directory) = (FakeUpstream::start().await, tempfile::tempdir().unwrap());
    let config = configure(directory.path(), upstream.address, "process", &[]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let start = || Process::start_with_socket(&config, &socket, "public");
    let mut process = start();
    assert_eq!(process.address, address, "the socket's, not the file's");
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicU64>::default(),
    );
    let callers: Vec<_> = (0..2 * CALLERS)
        .map(|number| {
            let told = (Arc::clone(&stop), Arc::clone(&count));
            let caller = call_on(address, format!("u{number}"), number % 2 == 0, told);
            tokio::spawn(caller)
        })
        .collect();
    for _ in 0..3 {
        until(&count, 100).await;
        process.signal("TERM");
        let (code, said) = tokio::task::spawn_blocking(|| process.end()).await.unwrap();
        assert_eq!(code, Some(0), "{said}");
        process = start();
    }
    until(&count, 100).await;
    stop.store(true, Ordering::SeqCst);
    let mut called = Vec::new();
    for caller in callers {
        called.extend(caller.await.unwrap());
    }
    process.signal("TERM");
    let (code, said) = tokio::task::spawn_blocking(|| process.end()).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    let mut arrived: Vec<_> = upstream.batches().into_iter().flatten().collect();
    arrived.sort();
    called.sort();
    assert_eq!(arrived, called, "each once");
}

#[test]
fn what_cannot_be_listened_on_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let config = configure(
        directory.path(),
        "127.0.0.1:9".parse().unwrap(),
        "none",
        &[],
    );
    let file = std::fs::File::open(&config).unwrap();
    let (code, said) = Process::try_start_with_socket(&config, file.into(), "public")
        .map(drop)
        .unwrap_err();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("LISTEN_FDS: socket 0 can't be listened on"),
        "{said}"
    );
}
