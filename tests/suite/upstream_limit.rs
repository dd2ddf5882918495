//! Connections to the application (P10): how many there are, who may have them, and what happens to
//! the rest.

use crate::crash::configure;
use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, answer_heads};
use crate::support::{Answer, CONFIG, Http, Sidecar};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// So many connections; a quarter of them is kept for deliveries.
fn limited(connections: usize, patience: &str) -> String {
    let keys =
        format!("[upstream]\nmax_connections = {connections}\nconnect_timeout = \"{patience}\"");
    CONFIG
        .replace("[upstream]", &keys)
        .replace("response_timeout = \"5s\"", "response_timeout = \"300s\"")
}

/// Asks as a client at this address.
async fn get(sidecar: &Sidecar, client: &str) -> Answer {
    sidecar
        .call(Method::GET, "/slow", &[("x-forwarded-for", client)], "")
        .await
}

fn is_busy(answer: &Answer) -> bool {
    let busy = answer.status == StatusCode::SERVICE_UNAVAILABLE;
    if busy {
        assert_eq!(
            answer.header("proxy-status"),
            "tidegate; error=connection_limit_reached"
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
    busy
}

/// How many connections an application has had at once; what is not a head is answered too.
#[derive(Clone, Default)]
struct Count {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

async fn counting() -> (SocketAddr, Count) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Count::default());
    let counts = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = counts.clone();
            let now = count.now.fetch_add(1, Ordering::SeqCst) + 1;
            count.most.fetch_max(now, Ordering::SeqCst);
            tokio::spawn(async move {
                let (mut seen, mut byte) = (Vec::new(), [0]);
                while matches!(stream.read(&mut byte).await, Ok(1)) {
                    seen.push(byte[0]);
                    if seen.ends_with(b"\r\n\r\n") {
                        seen.clear();
                        // Others come in between.
                        tokio::task::yield_now().await;
                        drop(
                            stream
                                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                                .await,
                        );
                    }
                }
                count.now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_calls_at_once_go_over_no_more_connections_than_there_may_be() {
    let (application, count) = counting().await;
    let config = limited(4, "60s").replace("UPSTREAM", &application.to_string());
    let sidecar = Sidecar::with(&config, Clock::default()).await;
    let at = sidecar.running.address;
    let clients = (0..4).map(|_| async move {
        let io = TokioIo::new(TcpStream::connect(at).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let calls = (0..90).map(|_| {
            let mut sender = sender.clone();
            async move {
                let request = Request::get("http://a/x")
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(
                    response.into_body().collect().await.unwrap().to_bytes(),
                    "ok"
                );
            }
        });
        join_all(calls).await;
    });
    join_all(clients).await;
    let most = count.most.load(Ordering::SeqCst);
    assert!((1..=4).contains(&most), "{most} connections at once");
}

#[tokio::test]
async fn beyond_the_cap_calls_wait_and_are_answered_503_in_the_end_and_deliveries_go_all_the_while()
{
    let sidecar = Sidecar::with(&limited(8, "1s"), Clock::default()).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/slow");
    let upstream = sidecar.upstream.clone();
    let held = join_all((0..6).map(|number| {
        let sidecar = &sidecar;
        async move { get(sidecar, &format!("192.0.2.{number}")).await.status }
    }));
    let others = async {
        upstream.until(|seen| seen.len() == 6).await;
        assert!(
            is_busy(&get(&sidecar, "192.0.2.99").await),
            "all places are taken"
        );
        sidecar.event("t", "ann", "a").await;
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.accepted == 1).await;
        upstream.open_gate();
    };
    let (statuses, ()) = tokio::join!(held, others);
    assert!(
        statuses.iter().all(|status| *status == StatusCode::OK),
        "{statuses:?}"
    );
    // The places are free again.
    assert_eq!(get(&sidecar, "192.0.2.99").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_call_that_waits_for_a_connection_goes_when_one_is_free() {
    let sidecar = Sidecar::with(&limited(4, "1h"), Clock::default()).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/slow");
    let calls = join_all((0..20).map(|number| {
        let sidecar = &sidecar;
        async move { get(sidecar, &format!("192.0.2.{number}")).await.status }
    }));
    let opening = async {
        sidecar.upstream.until(|seen| seen.len() == 3).await;
        sidecar.upstream.open_gate();
    };
    let (statuses, ()) = tokio::join!(calls, opening);
    assert!(
        statuses.iter().all(|status| *status == StatusCode::OK),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn one_client_has_a_share_of_the_connections_and_others_have_the_rest() {
    // 12 are for calls, and 3 of these for one client.
    let sidecar = Sidecar::with(&limited(16, "1s"), Clock::default()).await;
    sidecar
        .upstream
        .hold_back(|seen| seen.header("x-forwarded-for").starts_with("192.0.2.1"));
    let mut greedy: FuturesUnordered<_> = (0..20).map(|_| get(&sidecar, "192.0.2.1")).collect();
    let refused = async {
        for _ in 0..17 {
            assert!(is_busy(&greedy.next().await.unwrap()));
        }
    };
    let others = async {
        sidecar.upstream.until(|seen| seen.len() == 3).await;
        assert_eq!(get(&sidecar, "192.0.2.7").await.status, StatusCode::OK);
        assert_eq!(get(&sidecar, "2001:db8::1").await.status, StatusCode::OK);
    };
    tokio::join!(refused, others);
    // The three that are left keep its share, and more of it are refused.
    let more = join_all((0..20).map(|_| get(&sidecar, "192.0.2.1"))).await;
    assert!(more.iter().all(is_busy));
    sidecar.upstream.open_gate();
    let last: Vec<_> = greedy.map(|answer| answer.status).collect().await;
    assert_eq!(last, [StatusCode::OK; 3]);
}

/// A sidecar that knows `good` to be good, and an application that answers callers without a token
/// never.
async fn with_a_good_caller(connections: usize) -> Sidecar {
    let sidecar = Sidecar::with(&limited(connections, "1s"), Clock::default()).await;
    sidecar.event("good", "ann", "a").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    sidecar
        .upstream
        .hold_back(|seen| seen.header("authorization").is_empty());
    sidecar
}

/// All these strangers' calls have come to the application, and it answers none of them. A good
/// caller's does at once, and another stranger's not.
async fn good_goes_before(sidecar: &Sidecar, strangers: &[String], at: &str) {
    let held = join_all(strangers.iter().map(|client| get(sidecar, client)));
    let others = async {
        sidecar
            .upstream
            .until(|seen| seen.len() == 1 + strangers.len())
            .await;
        for token in ["", "good", "forged", "good"] {
            let headers = [("authorization", token), ("x-forwarded-for", at)];
            let headers = if token.is_empty() {
                &headers[1..]
            } else {
                &headers
            };
            let answer = sidecar.call(Method::GET, "/slow", headers, "").await;
            assert_eq!(is_busy(&answer), token != "good", "{token:?}: {answer:?}");
        }
        sidecar.upstream.open_gate();
    };
    let (answers, ()) = tokio::join!(held, others);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
}

#[tokio::test]
async fn strangers_of_many_addresses_leave_places_to_the_application_for_good_callers() {
    // 12 are for calls, and one of these for good callers.
    let sidecar = with_a_good_caller(16).await;
    let strangers: Vec<_> = (0..11).map(|number| format!("192.0.2.{number}")).collect();
    good_goes_before(&sidecar, &strangers, "198.51.100.7").await;
}

#[tokio::test]
async fn strangers_of_one_network_leave_places_to_the_application_for_its_good_callers() {
    // 48 are for calls, 12 of these for one network, and one of these for good callers.
    let sidecar = with_a_good_caller(64).await;
    let strangers = vec!["198.51.100.7".to_owned(); 11];
    good_goes_before(&sidecar, &strangers, "198.51.100.7").await;
}

#[tokio::test]
async fn where_no_caller_can_be_known_to_be_good_strangers_have_all_places_of_calls() {
    let keys = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \
                \"127.0.0.1:0\"\n[upstream]\nurl = \"http://UPSTREAM\"\nmax_connections = \
                16\nconnect_timeout = \"1s\"";
    let sidecar = Sidecar::with(keys, Clock::default()).await;
    sidecar.upstream.hold_back(|_| true);
    let clients: Vec<_> = (0..16).map(|number| format!("192.0.2.{number}")).collect();
    let held = join_all(clients.iter().map(|client| get(&sidecar, client)));
    let others = async {
        sidecar.upstream.until(|seen| seen.len() == 16).await;
        assert!(is_busy(&get(&sidecar, "198.51.100.7").await));
        sidecar.upstream.open_gate();
    };
    let (answers, ()) = tokio::join!(held, others);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
}

#[tokio::test]
async fn a_tunnel_has_its_place_until_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let application = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_heads(stream, |head| {
                if head.starts_with("GET /tunnel") {
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n"
                } else {
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                }
            }));
        }
    });
    let config = limited(4, "1s").replace("UPSTREAM", &application.to_string());
    let sidecar = Sidecar::with(&config, Clock::default()).await;
    let mut tunnels = Vec::new();
    // As many as there are places for streams, and as many as there are for calls.
    for _ in 0..6 {
        let mut tunnel = TcpStream::connect(sidecar.running.address).await.unwrap();
        let asked =
            b"GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
        tunnel.write_all(asked).await.unwrap();
        let mut status = [0; 12];
        tunnel.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        tunnels.push(tunnel);
    }
    assert!(is_busy(&get(&sidecar, "192.0.2.1").await));
    tunnels.pop();
    while is_busy(&get(&sidecar, "192.0.2.1").await) {}
}

/// The real binary with few descriptors: whoever takes connections takes none from the journal and
/// from the admin listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_leaves_descriptors_for_the_journal_and_the_admin_listener() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.hold_back(|seen| seen.path == "/slow");
    let window = ("window = \"1h\"", "window = \"10ms\"");
    let config = configure(directory.path(), upstream.address, "disk", &[window]);
    let process = Process::start_with_descriptors(&config, 256);
    let post = async |client: &Http, id: String| {
        let body = format!("{{\"id\":\"{id}\",\"user\":\"ann\",\"lesson\":\"l\",\"percent\":5}}");
        let headers = [("authorization", "token"), ("host", "app.test")];
        client
            .try_call(process.address, Method::POST, "/event", &headers, body)
            .await
            .unwrap()
    };
    let first = post(&Http::default(), "first".to_owned()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    // Streams that each want a connection to the application, and connections that say nothing.
    let mut calls = Vec::new();
    for _ in 0..4 {
        let io = TokioIo::new(TcpStream::connect(process.address).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        for _ in 0..90 {
            let mut sender = sender.clone();
            let request = Request::get("http://a/slow")
                .body(Empty::<Bytes>::new())
                .unwrap();
            calls.push(tokio::spawn(async move {
                sender
                    .send_request(request)
                    .await
                    .map(|found| found.status())
            }));
        }
    }
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(process.address).await.unwrap());
    }
    // On a connection that comes after them: an older one may give way to them at any moment, and a
    // call that crosses that is its client's to repeat (RFC 9112 §9.5).
    let good = Http::default();
    // An eighth of 256 is kept back, and as many are the admin listener's; a few sockets are the
    // process's own.
    for number in 0..50 {
        assert!(
            process.sockets() <= 256 * 6 / 8 + 8,
            "{} sockets",
            process.sockets()
        );
        let answer = post(&good, format!("e{number}")).await;
        assert_eq!(
            answer.status,
            StatusCode::ACCEPTED,
            "event {number}: {answer:?}"
        );
    }
    let status = Http::default()
        .try_call(process.admin, Method::GET, "/status", &[], "")
        .await
        .unwrap()
        .json();
    assert_eq!(status["journal"]["poisoned"], Value::Null, "{status}");
    drop((calls, silent));
    upstream.open_gate();
    let (code, printed) = process.terminate();
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("received 51"), "{printed}");
}

/// Bytes that no other call's answer has.
fn numbered(number: usize, length: usize) -> Bytes {
    format!("{number:08}").repeat(length / 8).into()
}

/// What a client that goes away leaves of its answer is nobody else's, however much of it had come:
/// the next calls, which nothing repeats, have their own and have them whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_its_client_leaves_ends_and_changes_no_other_call() {
    /// Windows of the client, and by how much more the answers differ.
    const WINDOWS: [(usize, usize); 2] = [(16 << 10, 4 << 10), (256 << 10, 12 << 10)];
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|seen| {
        let mut wanted = seen.path.trim_start_matches("/answer/").split('/');
        let mut wanted = || wanted.next().unwrap().parse().unwrap();
        Some(http::Response::new(Full::new(numbered(wanted(), wanted()))))
    });
    let at = sidecar.running.address;
    let open = async |window: usize| {
        let io = TokioIo::new(TcpStream::connect(at).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(u32::try_from(window).unwrap())
            .handshake(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    };
    let ask = async |number: usize| {
        let path = format!("/answer/{number}/16384");
        let answer = sidecar.call(Method::POST, &path, &[], "x").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body == numbered(number, 16_384), "{path}");
    };
    let mut number = 0;
    for (window, step) in WINDOWS {
        // What has no room in the window stays with Tidegate.
        let sender = open(window).await;
        let leave = async |number: usize, length: usize| {
            let request = Request::get(format!("http://a/answer/{number}/{length}"));
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let mut answer = sender.clone().send_request(request).await.unwrap();
            answer.frame().await.unwrap().unwrap();
        };
        let lengths = (1..16).map(|steps| window + steps * step);
        for length in lengths.chain([1, 4].map(|times| times << 20)) {
            join_all((0..4).map(|which| leave(number + which, length))).await;
            join_all((4..8).map(|which| ask(number + which))).await;
            number += 8;
        }
    }
}
