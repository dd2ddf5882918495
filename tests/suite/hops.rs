//! What a hop takes off, puts on, keeps and refuses (RFC 9110 §7.6, RFC 9112, RFC 9113), over real
//! sockets.

use crate::support::{CONFIG, Sidecar};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::body::Body;
use tidegate::clock::Clock;
use tidegate::peer::{Connection, TrustedProxies};
use tidegate::upstream::Upstream;
use tidegate::upstream::headers::normalize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One connection's request head at the raw upstream: the number of the connection, the head, and
/// the stream.
struct Asked {
    connection: usize,
    head: String,
    stream: TcpStream,
}

/// What the raw upstream answers, given the request's number over all connections, its number on
/// its own, and its head; `None` closes the connection, and so does an answer that begins with
/// [`THEN_CLOSE`].
type Act = fn(usize, usize, &str) -> Option<&'static str>;

const THEN_CLOSE: char = '\0';

/// A raw upstream that answers each head as `act` says.
async fn upstream(act: Act) -> (Sidecar, Arc<Raw>) {
    upstream_with(CONFIG, act).await
}

/// What came to a raw upstream.
#[derive(Default)]
struct Raw {
    address: std::sync::OnceLock<SocketAddr>,
    connections: AtomicUsize,
    heads: std::sync::Mutex<Vec<(usize, String)>>,
}

impl Raw {
    fn heads(&self) -> Vec<String> {
        self.heads
            .lock()
            .unwrap()
            .iter()
            .map(|(_, head)| head.clone())
            .collect()
    }

    /// Numbers of the connections that the requests came on.
    fn connections(&self) -> Vec<usize> {
        self.heads
            .lock()
            .unwrap()
            .iter()
            .map(|(connection, _)| *connection)
            .collect()
    }
}

async fn upstream_with(config: &str, act: Act) -> (Sidecar, Arc<Raw>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let raw = Arc::new(Raw {
        address: address.into(),
        ..Raw::default()
    });
    let seen = Arc::clone(&raw);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = seen.connections.fetch_add(1, Ordering::SeqCst);
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut asked = Asked {
                    connection,
                    head: String::new(),
                    stream,
                };
                let mut own = 0;
                while asked.read_head().await {
                    let number = {
                        let mut heads = seen.heads.lock().unwrap();
                        heads.push((asked.connection, asked.head.clone()));
                        heads.len() - 1
                    };
                    let Some(answer) = act(number, own, &asked.head) else {
                        return;
                    };
                    own += 1;
                    asked
                        .stream
                        .write_all(answer.trim_start_matches(THEN_CLOSE).as_bytes())
                        .await
                        .unwrap();
                    if answer.starts_with(THEN_CLOSE) {
                        return;
                    }
                }
            });
        }
    });
    let config = config.replace("http://UPSTREAM", &format!("http://{address}"));
    (Sidecar::with(&config, Clock::default()).await, raw)
}

impl Asked {
    async fn read_head(&mut self) -> bool {
        self.head.clear();
        let mut byte = [0];
        while !self.head.ends_with("\r\n\r\n") {
            match self.stream.read(&mut byte).await {
                Ok(1) => self.head.push(char::from(byte[0])),
                _ => return false,
            }
        }
        true
    }
}

/// Sends bytes and reads the whole answer, up to the connection's end.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end.as_bytes()) {
        assert_eq!(
            stream.read(&mut byte).await.unwrap(),
            1,
            "ended after {}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    String::from_utf8(seen).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn http_2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn crumbs_of_a_cookie_reach_the_application_as_one_line() {
    let sidecar = Sidecar::start(&[]).await;
    let mut sender = http_2(sidecar.running.address).await;
    let request = Request::get("http://app.example:81/x")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    assert_eq!(
        sender
            .send_request(request.body(Empty::new()).unwrap())
            .await
            .unwrap()
            .status(),
        200
    );
    let seen = &sidecar.upstream.seen()[0];
    let lines: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(lines, ["a=1; b=2"]);
    assert_eq!(
        (seen.header("host"), seen.header("via")),
        ("app.example:81", "2.0 tidegate")
    );
}

#[tokio::test]
async fn h2c_opens_no_tunnel() {
    // An application that would change to whatever it is asked for.
    let (sidecar, raw) = upstream(|_, _, head| {
        let asked = head.to_lowercase().contains("upgrade:");
        Some(if asked {
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
        } else {
            OK
        })
    })
    .await;
    for upgrade in ["h2c", "H2C", "h2c, TLS/1.2"] {
        let request = format!(
            "GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\nupgrade: \
             {upgrade}\r\nhttp2-settings: AAMAAABk\r\n\r\n"
        );
        let answer = exchange(sidecar.running.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    for head in raw.heads() {
        assert!(
            !head.contains("upgrade") && !head.contains("http2-settings"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_change_of_protocol_that_was_not_asked_for_is_no_answer() {
    let (sidecar, _raw) = upstream(|_, _, _| {
        Some("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    })
    .await;
    for lines in [
        "",
        "connection: upgrade\r\nupgrade: websocket\r\n",
        "connection: upgrade\r\nupgrade: h2c\r\n",
    ] {
        let request = format!("GET /x HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(
            answer.contains("proxy-status: tidegate; error=http_protocol_error"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn forwarded_never_contradicts_a_front() {
    let sidecar = Sidecar::start(&[]).await;
    let front = [
        ("host", "inner:8080"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "App.example"),
        ("forwarded", "for=6.6.6.6;proto=http"),
        ("x-forwarded-port", "443"),
    ];
    sidecar.call(Method::GET, "/x", &front, "").await;
    let seen = &sidecar.upstream.seen()[0];
    let rest = "proto=https;host=\"app.example\"";
    assert_eq!(
        seen.header("forwarded"),
        format!("for=9.9.9.9;{rest}, for=127.0.0.1;{rest}")
    );
    assert_eq!(seen.header("x-forwarded-for"), "9.9.9.9, 127.0.0.1");
    assert_eq!(
        (
            seen.header("x-forwarded-proto"),
            seen.header("x-forwarded-host")
        ),
        ("https", "App.example")
    );
    assert_eq!(
        (seen.header("host"), seen.header("x-forwarded-port")),
        ("inner:8080", "443")
    );
}

#[tokio::test]
async fn a_stranger_cannot_say_where_it_comes_from() {
    let sidecar =
        Sidecar::start(&[("[server]", "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]")]).await;
    let claims = [
        ("host", "app.example"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "admin.example"),
        ("x-forwarded-prefix", "/admin"),
        ("forwarded", "for=9.9.9.9;proto=https"),
        ("x-real-ip", "9.9.9.9"),
        ("cf-connecting-ip", "9.9.9.9"),
        ("true-client-ip", "9.9.9.9"),
    ];
    sidecar.call(Method::GET, "/x", &claims, "").await;
    let seen = &sidecar.upstream.seen()[0];
    assert_eq!(
        seen.header("forwarded"),
        "for=127.0.0.1;proto=http;host=\"app.example\""
    );
    for (name, wanted) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app.example"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-prefix", ""),
        ("cf-connecting-ip", ""),
        ("true-client-ip", ""),
    ] {
        assert_eq!(seen.header(name), wanted, "{name}");
    }
}

/// What a delivery carries of the call that it stands for.
#[tokio::test]
async fn a_delivery_says_the_host_the_scheme_and_the_addresses_of_its_call() {
    let (sidecar, raw) = upstream(|_, _, _| Some(OK)).await;
    let address = raw.address.get().unwrap();
    let config = format!("[upstream]\nurl = \"http://{address}\"");
    let config = tidegate::config::parse(&config, "test", std::iter::empty()).unwrap();
    let upstream = Upstream::new(config.upstream);
    let connection = Connection {
        address: "127.0.0.7:99".parse().unwrap(),
        secure: false,
    };
    let call = Request::get("/event")
        .header("host", "App.example:81")
        .header("x-forwarded-for", "9.9.9.9")
        .header("x-forwarded-proto", "https");
    let (mut call, ()) = call.body(()).unwrap().into_parts();
    let peer = normalize(&mut call, &connection, &TrustedProxies::local()).unwrap();
    let wanted = [
        "x-forwarded-for: 9.9.9.9, 127.0.0.7",
        "x-forwarded-proto: https",
        "via: 1.1 tidegate",
        "for=9.9.9.9;proto=https;host=\"app.example:81\", \
         for=127.0.0.7;proto=https;host=\"app.example:81\"",
    ];
    for (uri, host) in [
        ("/batch".to_owned(), "App.example:81".to_owned()),
        (format!("http://{address}/batch"), address.to_string()),
    ] {
        let mut batch = Request::post(uri).body(Body::from("{}")).unwrap();
        *batch.headers_mut() = call.headers.clone();
        assert_eq!(upstream.send_for(batch, &peer).await.unwrap().status(), 200);
        let head = raw.heads().pop().unwrap();
        assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
        assert!(
            head.contains("x-forwarded-host: App.example:81\r\n"),
            "{head}"
        );
        for line in wanted {
            assert!(head.contains(line), "{line}: {head}");
        }
    }
    drop(sidecar);
}

#[tokio::test]
async fn via_can_be_left_out() {
    let sidecar = Sidecar::start(&[("[upstream]", "[upstream]\nvia = false")]).await;
    let found = sidecar
        .call(Method::GET, "/x", &[("via", "1.1 front")], "")
        .await;
    assert_eq!(
        (
            found.header("via"),
            sidecar.upstream.seen()[0].header("via")
        ),
        ("", "1.1 front")
    );
    // Batches too.
    for id in ["a", "b", "c", "d"] {
        sidecar.event("u", "u", id).await;
    }
    sidecar.until(|ledger| ledger.accepted == 4).await;
    assert_eq!(sidecar.upstream.seen()[1].header("via"), "");
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_not_passed_on() {
    let (sidecar, _raw) = upstream(|_, _, _| {
        Some(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: \
              chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        )
    })
    .await;
    let answer = exchange(
        sidecar.running.address,
        "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.contains("transfer-encoding: chunked\r\n")
            && answer.ends_with("5\r\nabcde\r\n0\r\n\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("content-length"), "{answer}");
}

#[tokio::test]
async fn no_transfer_coding_is_lost() {
    let (sidecar, raw) = upstream(|number, _, _| {
        Some(match number {
            0 => "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nzz\r\n0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\nconnection: close\r\n\r\nzz",
        })
    })
    .await;
    for codings in [
        "gzip, chunked",
        "chunked, chunked",
        "gzip\r\ntransfer-encoding: chunked",
    ] {
        let request =
            format!("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {codings}\r\n\r\n0\r\n\r\n");
        let answer = exchange(sidecar.running.address, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 501") && answer.contains("connection: close"),
            "{answer}"
        );
        assert!(
            answer.contains("unknown_transfer_coding") && answer.contains("only chunked"),
            "{answer}"
        );
    }
    assert!(raw.heads().is_empty());
    for _ in 0..2 {
        let found = sidecar.call(Method::GET, "/x", &[], "").await;
        assert_eq!(
            (found.status, found.header("proxy-status")),
            (
                StatusCode::BAD_GATEWAY,
                "tidegate; error=http_protocol_error"
            )
        );
    }
}

#[tokio::test]
async fn a_read_on_a_connection_that_was_closed_is_repeated_once() {
    // Every connection answers once, and closes when it is asked again.
    let (sidecar, raw) = upstream(|_, own, _| (own == 0).then_some(OK)).await;
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        for _ in 0..2 {
            assert_eq!(
                sidecar.call(method.clone(), "/x", &[], "").await.status,
                200,
                "{method}"
            );
            // HEAD's answer has bytes behind it, so that its connection is of no use any more.
            if method == Method::HEAD {
                break;
            }
        }
    }
    assert!(
        raw.connections().starts_with(&[0, 0, 1]),
        "{:?}",
        raw.connections()
    );
}

#[tokio::test]
async fn a_read_is_repeated_no_more_than_once_and_on_a_first_connection_not_at_all() {
    let (sidecar, raw) = upstream(|number, _, _| (number == 0).then_some(OK)).await;
    assert_eq!(sidecar.call(Method::GET, "/x", &[], "").await.status, 200);
    assert_eq!(sidecar.call(Method::GET, "/x", &[], "").await.status, 502);
    assert_eq!(raw.connections(), [0, 0, 1]);
    assert_eq!(sidecar.call(Method::GET, "/x", &[], "").await.status, 502);
    assert_eq!(raw.heads().len(), 4);
}

#[tokio::test]
async fn a_write_on_a_connection_that_was_closed_is_never_repeated() {
    let (sidecar, raw) = upstream(|number, _, _| (number == 0).then_some(OK)).await;
    assert_eq!(sidecar.call(Method::GET, "/x", &[], "").await.status, 200);
    for (method, path) in [(Method::POST, "/x"), (Method::DELETE, "/x")] {
        assert_eq!(sidecar.call(method, path, &[], "").await.status, 502);
    }
    assert_eq!(raw.heads().len(), 3);
    // Nor is a read, once a byte of its answer is there.
    let (sidecar, raw) =
        upstream(|number, _, _| Some(if number == 0 { OK } else { "\0HTTP/1.1 2" })).await;
    assert_eq!(sidecar.call(Method::GET, "/x", &[], "").await.status, 200);
    assert_eq!(sidecar.call(Method::GET, "/x", &[], "").await.status, 502);
    assert_eq!(raw.connections(), [0, 0]);
}

#[tokio::test]
async fn answers_that_others_read_are_read() {
    let (sidecar, _raw) = upstream(|number, _, _| {
        Some(match number {
            0 => "HTTP/1.1 200 OK\r\nx-policy: one;\r\n  two\r\ncontent-length: 2\r\n\r\nok",
            1 => "HTTP/1.1 200 OK\r\nX-Powered-By : PHP\r\ncontent-length: 2\r\n\r\nok",
            2 => "HTTP/1.1 200 OK\r\nx bad: 1\r\nx-good: 2\r\ncontent-length: 2\r\n\r\nok",
            _ => Box::leak(many_headers(300).into_boxed_str()),
        })
    })
    .await;
    let get = || sidecar.call(Method::GET, "/x", &[], "");
    let folded = get().await;
    assert_eq!(
        (
            folded.status.as_u16(),
            folded
                .header("x-policy")
                .split_whitespace()
                .collect::<Vec<_>>()
        ),
        (200, vec!["one;", "two"])
    );
    let spaced = get().await;
    assert_eq!(
        (spaced.status.as_u16(), spaced.header("x-powered-by")),
        (200, "PHP")
    );
    let odd = get().await;
    assert_eq!(
        (odd.status.as_u16(), odd.header("x-good"), &odd.body[..]),
        (200, "2", &b"ok"[..])
    );
    let many = exchange(
        sidecar.running.address,
        "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        many.starts_with("HTTP/1.1 200") && many.contains("x-299: 299\r\n") && many.ends_with("ok"),
        "{many}"
    );
}

fn many_headers(count: usize) -> String {
    let lines: String = (0..count)
        .map(|number| format!("x-{number}: {number}\r\n"))
        .collect();
    format!("HTTP/1.1 200 OK\r\n{lines}content-length: 2\r\n\r\nok")
}

#[tokio::test]
async fn a_batch_whose_answer_has_odd_lines_is_taken_once() {
    let (sidecar, raw) = upstream(|_, _, _| {
        Some(
            "HTTP/1.1 201 Created\r\nX-Powered-By : PHP\r\nx-policy: one;\r\n \
             two\r\ncontent-length: 11\r\n\r\n{\"ok\":true}",
        )
    })
    .await;
    for id in ["a", "b", "c", "d"] {
        sidecar.event("u", "u", id).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(ledger.accepted, 4);
    assert_eq!(
        raw.heads()
            .iter()
            .filter(|head| head.starts_with("POST /batch"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_head_that_cannot_be_told_is_refused_by_name() {
    let sidecar = Sidecar::start(&[]).await;
    for (request, code) in [
        ("GET /x HTTP/1.1\r\n\r\n", "no_host"),
        (
            "GET /x HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "many_hosts",
        ),
        (
            "GET /x HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
            "many_hosts",
        ),
        ("GET /x HTTP/1.1\r\nhost: a b\r\n\r\n", "bad_host"),
        ("GET /x HTTP/1.1\r\nhost: u@a\r\n\r\n", "bad_host"),
        ("GET foo HTTP/1.1\r\nhost: a\r\n\r\n", "bad_target"),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", "bad_target"),
        ("GET ftp://a/x HTTP/1.1\r\nhost: a\r\n\r\n", "bad_target"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", "connect"),
    ] {
        let answer = exchange(sidecar.running.address, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
            "{request}: {answer}"
        );
        assert!(
            answer.contains("application/problem+json")
                && answer.contains(&format!("\"code\":\"{code}\"")),
            "{answer}"
        );
    }
    assert!(sidecar.upstream.seen().is_empty());
}

#[tokio::test]
async fn an_absolute_target_says_the_host_and_an_asterisk_stays_one() {
    let (sidecar, raw) = upstream(|_, _, _| Some(OK)).await;
    for (request, line, host) in [
        (
            "GET http://Other.example:81/x?y HTTP/1.1\r\nhost: a\r\n",
            "GET /x?y HTTP/1.1",
            "Other.example:81",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n",
            "OPTIONS * HTTP/1.1",
            "a",
        ),
        ("GET /x HTTP/1.0\r\n", "GET /x HTTP/1.1", ""),
    ] {
        let answer = exchange(
            sidecar.running.address,
            &format!("{request}connection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.contains("200 OK"), "{answer}");
        let head = raw.heads().pop().unwrap();
        assert!(head.starts_with(line), "{head}");
        let sent = head
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap();
        assert!(
            if host.is_empty() {
                sent.starts_with("127.0.0.1:")
            } else {
                sent == host
            },
            "{head}"
        );
    }
}

#[tokio::test]
async fn an_idle_client_is_kept_for_keepalive_timeout() {
    let timeouts = "[server]\nheader_timeout = \"1s\"\nkeepalive_timeout = \"1h\"";
    let sidecar = Sidecar::start(&[("[server]", timeouts)]).await;
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    for _ in 0..2 {
        client
            .write_all(b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_until(&mut client, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200")
        );
        // Another client, which says nothing, comes after this one has begun to idle, and is cut.
        assert_eq!(exchange(sidecar.running.address, "").await, "");
    }
    // Now its own head is slow.
    client.write_all(b"GET /x HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn an_idle_client_is_let_go_after_keepalive_timeout() {
    let timeouts = "[server]\nheader_timeout = \"1h\"\nkeepalive_timeout = \"1s\"";
    let sidecar = Sidecar::start(&[("[server]", timeouts)]).await;
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    client
        .write_all(b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert!(
        all.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&all)
    );
    let stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a/x")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    // Ends by itself, with a GOAWAY, while the client still holds its sender.
    connection.await.unwrap().unwrap();
    drop(sender);
}

#[tokio::test]
async fn what_is_under_way_is_not_idle() {
    let timeouts = "[server]\nheader_timeout = \"1s\"\nkeepalive_timeout = \"1s\"";
    let sidecar = Sidecar::start(&[("[server]", timeouts)]).await;
    sidecar.upstream.close_gate();
    let mut slow = TcpStream::connect(sidecar.running.address).await.unwrap();
    slow.write_all(b"HEAD /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut sender = http_2(sidecar.running.address).await;
    let second = sender.send_request(Request::get("http://a/slow").body(Empty::new()).unwrap());
    sidecar.upstream.until(|seen| seen.len() == 2).await;
    // Others come and are cut in the meantime, three after one another.
    for _ in 0..3 {
        exchange(sidecar.running.address, "GET").await;
    }
    sidecar.upstream.open_gate();
    assert!(
        read_until(&mut slow, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(second.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_path_may_take_longer_than_others() {
    let config = CONFIG.replace(
        "response_timeout = \"5s\"",
        "response_timeout = \"20ms\"\n[[relay]]\npath = \"/export/{*rest}\"\nresponse_timeout = \
         \"1h\"",
    );
    let sidecar = Sidecar::with(&config, Clock::default()).await;
    sidecar.upstream.close_gate();
    let export = {
        let address = sidecar.running.address;
        tokio::spawn(async move {
            exchange(
                address,
                "GET /export/all HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            )
            .await
        })
    };
    sidecar.upstream.until(|seen| seen.len() == 1).await;
    for _ in 0..3 {
        assert_eq!(
            sidecar.call(Method::GET, "/x", &[], "").await.status,
            StatusCode::GATEWAY_TIMEOUT
        );
    }
    sidecar.upstream.open_gate();
    assert!(export.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_shorter_keep_alive_of_the_application_wins() {
    let config = CONFIG.replace("[upstream]", "[upstream]\nidle_timeout = \"1h\"");
    let (sidecar, raw) = upstream_with(&config, |_, _, _| {
        Some("HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok")
    })
    .await;
    let mut pause = Duration::from_millis(100);
    while raw.connections().last().is_none_or(|last| *last == 0) {
        assert!(
            pause < Duration::from_secs(60),
            "the connection was used after each pause"
        );
        assert_eq!(sidecar.call(Method::POST, "/x", &[], "").await.status, 200);
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

#[tokio::test]
async fn a_refusal_comes_before_the_body_was_asked_for() {
    let sidecar = Sidecar::start(&[(
        "[batch.progress]",
        "[limits]\nmax_body = \"64KiB\"\n[batch.progress]\nrefuse = [\"too_large\"]",
    )])
    .await;
    for (request, status) in [
        (
            "POST /event HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\nexpect: \
             100-continue\r\n\r\n",
            "413",
        ),
        (
            "POST /x HTTP/1.1\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
            "400",
        ),
    ] {
        let answer = exchange(sidecar.running.address, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    // What is forwarded is asked for.
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    client
        .write_all(
            b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
        )
        .await
        .unwrap();
    assert_eq!(
        read_until(&mut client, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"hello").await.unwrap();
    assert!(
        read_until(&mut client, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(sidecar.upstream.seen()[0].body, "hello");
}

#[tokio::test]
async fn what_the_configuration_says_of_hops_is_checked() {
    let text = CONFIG.replace(
        "[server]",
        "[server]\ntrusted_proxies = [\"loopback\", \"10.0.0.0/33\"]\nkeepalive_timeout = \"never\"",
    );
    let text = format!("{text}\n[[relay]]\npath = \"export\"\n");
    let error = tidegate::config::parse(&text, "test", std::iter::empty())
        .unwrap_err()
        .to_string();
    for wanted in [
        "server.trusted_proxies: found \"10.0.0.0/33\"; allowed are \"loopback\"",
        "server.keepalive_timeout: found \"never\"",
        "relay[0].path: found \"export\"",
        "relay[0].response_timeout: is missing",
    ] {
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

/// hyper speaks HTTP/1.0 on a connection whose last answer was in that, and a body without a length
/// would be none.
#[tokio::test]
async fn a_body_of_unknown_length_reaches_an_application_that_answered_in_http_1_0() {
    let (sidecar, raw) = upstream(|_, _, head| {
        Some(if head.starts_with("POST") {
            ""
        } else {
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"
        })
    })
    .await;
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    for _ in 0..2 {
        client
            .write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut client, "\r\n\r\nok").await;
    }
    assert_eq!(raw.connections(), [0, 0], "it keeps its connections");
    client
        .write_all(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    while raw.heads().len() < 3 {
        tokio::task::yield_now().await;
    }
    client.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
    let head = &raw.heads()[2];
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    read_until(&mut client, "\r\n\r\nok").await;
    assert_eq!(raw.heads()[3], "5\r\nhello\r\n0\r\n\r\n");
}

#[tokio::test]
async fn names_of_headers_begin_with_capitals_where_the_application_wants_it() {
    for (more, name) in [
        ("", "x-request-note: a"),
        ("header_case = \"title\"\n", "X-Request-Note: a"),
    ] {
        let config = CONFIG.replace("[upstream]\n", &format!("[upstream]\n{more}"));
        let (sidecar, raw) = upstream_with(&config, |_, _, _| Some(OK)).await;
        let headers = [("x-REQUEST-note", "a")];
        sidecar.call(Method::GET, "/x", &headers, "").await;
        let head = &raw.heads()[0];
        assert!(head.contains(name), "{head}");
    }
}
