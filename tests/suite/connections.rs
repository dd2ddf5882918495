//! Clients' connections (P10): whoever takes nothing, brings nothing or wants everything is cut,
//! and nobody else is.
//!
//! No time is measured: that some has passed is seen by another client's being cut.

use crate::support::{CONFIG, Sidecar, in_time};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

const SHORT: &str = "[server]\nstall_timeout = \"1s\"";

/// What an application of raw bytes tells its test.
struct Application {
    address: SocketAddr,
    /// A path whose connection has ended.
    ended: mpsc::UnboundedReceiver<String>,
    /// Lets a quiet answer say something more.
    more: tokio::sync::watch::Sender<u64>,
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";

impl Application {
    /// `/flood` sends without end, `/quiet` sends a line when it is told to, `/unread` reads its
    /// body when it is told to, `/upload` at once; below `/raw` in a tunnel. Anything else is
    /// answered `ok`.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ends, ended) = mpsc::unbounded_channel();
        let (more, told) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (ends, told) = (ends.clone(), told.clone());
                tokio::spawn(async move {
                    if let Some(path) = answer(stream, told).await {
                        drop(ends.send(path));
                    }
                });
            }
        });
        Self {
            address,
            ended,
            more,
        }
    }

    async fn sidecar(&self, more: &str) -> Sidecar {
        let config = CONFIG
            .replace("[server]", more)
            .replace("UPSTREAM", &self.address.to_string());
        Sidecar::with(&config, Clock::default()).await
    }

    async fn until_ended(&mut self, path: &str) {
        assert_eq!(self.ended.recv().await.unwrap(), path);
    }

    /// Quiet answers say one more line.
    fn tell(&self) {
        self.more.send_modify(|number| *number += 1);
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(char::from(byte[0])),
            _ => return None,
        }
    }
    Some(head)
}

async fn answer(
    mut stream: TcpStream,
    mut told: tokio::sync::watch::Receiver<u64>,
) -> Option<String> {
    loop {
        let head = read_head(&mut stream).await?;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let (opening, line) = if path.starts_with("/raw") {
            (SWITCH, "a line\n")
        } else {
            (CHUNKED, "7\r\na line\n\r\n")
        };
        if path.ends_with("/flood") {
            stream.write_all(opening.as_bytes()).await.ok()?;
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            return Some(path);
        }
        if path.ends_with("/quiet") {
            stream.write_all(opening.as_bytes()).await.ok()?;
            while told.changed().await.is_ok() {
                stream.write_all(line.as_bytes()).await.ok()?;
            }
            return Some(path);
        }
        if path == "/unread" {
            told.changed().await.ok()?;
            stream.read_exact(&mut vec![0; UPLOAD]).await.ok()?;
        }
        if path == "/upload" {
            stream.read_exact(&mut [0; 100]).await.ok()?;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .ok()?;
    }
}

/// More than fits into the buffers on the way.
const UPLOAD: usize = 32 << 20;

async fn ask(at: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream
        .write_all(format!("{request}host: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut seen, mut byte) = (String::new(), [0]);
    while !seen.ends_with(end) {
        assert_eq!(
            stream.read(&mut byte).await.unwrap(),
            1,
            "ended after {seen}"
        );
        seen.push(char::from(byte[0]));
    }
    seen
}

async fn http_2(at: SocketAddr) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(at).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://a{path}"))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn whoever_takes_nothing_is_cut_as_an_answer_as_a_tunnel_and_as_a_stream_of_http_2() {
    let mut application = Application::start().await;
    let sidecar = application.sidecar(SHORT).await;
    let at = sidecar.running.address;
    let answer = ask(at, "GET /flood HTTP/1.1\r\n").await;
    application.until_ended("/flood").await;
    let tunnel = ask(
        at,
        "GET /raw/flood HTTP/1.1\r\nconnection: upgrade\r\nupgrade: raw\r\n",
    )
    .await;
    application.until_ended("/raw/flood").await;
    drop((answer, tunnel));
    // Of one connection only the stream that isn't read is reset.
    let mut sender = http_2(at).await;
    let unread = sender.send_request(get("/flood")).await.unwrap();
    application.until_ended("/flood").await;
    let other = sender.send_request(get("/x")).await.unwrap();
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "ok");
    assert!(
        unread.into_body().collect().await.is_err(),
        "an answer that was cut off is not taken for whole"
    );
}

#[tokio::test]
async fn what_is_quiet_lives_on_while_others_are_cut() {
    let mut application = Application::start().await;
    let sidecar = application.sidecar(SHORT).await;
    let at = sidecar.running.address;
    let mut answer = ask(at, "GET /quiet HTTP/1.1\r\n").await;
    read_until(&mut answer, "\r\n\r\n").await;
    let mut tunnel = ask(
        at,
        "GET /raw/quiet HTTP/1.1\r\nconnection: upgrade\r\nupgrade: raw\r\n",
    )
    .await;
    read_until(&mut tunnel, "\r\n\r\n").await;
    let mut sender = http_2(at).await;
    let mut stream = sender
        .send_request(get("/quiet"))
        .await
        .unwrap()
        .into_body();
    for _ in 0..3 {
        application.tell();
        read_until(&mut answer, "a line\n").await;
        read_until(&mut tunnel, "a line\n").await;
        assert_eq!(
            stream.frame().await.unwrap().unwrap().into_data().unwrap(),
            "a line\n"
        );
        // The stall time passes for somebody else.
        let unread = ask(at, "GET /flood HTTP/1.1\r\n").await;
        application.until_ended("/flood").await;
        drop(unread);
    }
}

#[tokio::test]
async fn an_upload_that_drips_is_ended_and_one_that_the_application_does_not_read_is_not() {
    let mut application = Application::start().await;
    let sidecar = application.sidecar(SHORT).await;
    let at = sidecar.running.address;
    let mut unread = ask(
        at,
        &format!("PUT /unread HTTP/1.1\r\ncontent-length: {UPLOAD}\r\n"),
    )
    .await;
    let (mut read_half, mut write_half) = unread.split();
    let sent = async {
        for _ in 0..UPLOAD / (64 << 10) {
            write_half.write_all(&[b'x'; 64 << 10]).await.unwrap();
        }
    };
    let meanwhile = async {
        for _ in 0..3 {
            let mut dripping = ask(at, "PUT /upload HTTP/1.1\r\ncontent-length: 100\r\n").await;
            dripping.write_all(b"x").await.unwrap();
            let mut found = String::new();
            dripping.read_to_string(&mut found).await.unwrap();
            assert!(found.starts_with("HTTP/1.1 408 "), "{found}");
            assert!(
                found.contains("proxy-status: tidegate; error=http_request_error\r\n"),
                "{found}"
            );
        }
        application.tell();
        let mut found = [0; 12];
        read_half.read_exact(&mut found).await.unwrap();
        assert_eq!(&found, b"HTTP/1.1 200");
    };
    tokio::join!(sent, meanwhile);
    application.ended.close();
}

/// From an address of one's own.
async fn connect_from(from: &str, at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(from.parse().unwrap(), 0))
        .unwrap();
    socket.connect(at).await.unwrap()
}

#[tokio::test]
async fn one_address_cannot_take_the_places_that_others_need() {
    let places = "[server]\ntrusted_proxies = []\nmax_connections = 8";
    let sidecar = Sidecar::start(&[("[server]", places)]).await;
    let at = sidecar.running.address;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(connect_from("127.0.0.2", at).await);
    }
    for _ in 0..20 {
        let mut more = connect_from("127.0.0.2", at).await;
        assert!(
            !matches!(more.read(&mut [0]).await, Ok(1)),
            "a connection beyond the share is closed"
        );
    }
    for other in ["127.0.0.1", "127.0.0.3"] {
        let mut stream = connect_from(other, at).await;
        stream
            .write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_until(&mut stream, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200"),
            "{other}"
        );
    }
    // Its place is free again when a connection ends.
    drop(silent);
    loop {
        let mut stream = connect_from("127.0.0.2", at).await;
        let asked = stream
            .write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        if asked.is_ok() && matches!(stream.read(&mut [0; 12]).await, Ok(12)) {
            break;
        }
    }
    let own = Sidecar::start(&[("[server]", "[server]\nmax_connections = 8")]).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(TcpStream::connect(own.running.address).await.unwrap());
    }
    assert_eq!(
        own.call(Method::GET, "/x", &[], "").await.status,
        StatusCode::OK,
        "a proxy of one's own has no share"
    );
}

#[tokio::test]
async fn where_all_places_are_taken_the_address_with_the_most_gives_way_first() {
    let places = "[server]\ntrusted_proxies = []\nmax_connections = 8\nheader_timeout = \
        \"1h\"\nkeepalive_timeout = \"1h\"";
    let sidecar = Sidecar::start(&[("[server]", places)]).await;
    let at = sidecar.running.address;
    let request = b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n";
    let test = async {
        let mut idle = connect_from("127.0.0.1", at).await;
        idle.write_all(request).await.unwrap();
        assert!(
            read_until(&mut idle, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let mut silent = Vec::new();
        for from in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
            silent.push(connect_from(from, at).await);
            silent.push(connect_from(from, at).await);
        }
        let mut only = connect_from("127.0.0.5", at).await;
        // Three more callers: each of the three addresses gives up one, and those who have one each
        // keep theirs.
        let mut callers = Vec::new();
        for from in ["127.0.0.6", "127.0.0.7", "127.0.0.8"] {
            let mut caller = connect_from(from, at).await;
            caller.write_all(request).await.unwrap();
            assert!(
                read_until(&mut caller, "\r\n\r\n")
                    .await
                    .starts_with("HTTP/1.1 200"),
                "{from}"
            );
            callers.push(caller);
        }
        for client in silent.iter_mut().step_by(2) {
            assert!(
                matches!(client.read(&mut [0]).await, Ok(0)),
                "the older one of an address is closed"
            );
        }
        for client in silent
            .iter_mut()
            .skip(1)
            .step_by(2)
            .chain([&mut idle, &mut only])
        {
            client.write_all(request).await.unwrap();
            assert!(
                read_until(client, "\r\n\r\n")
                    .await
                    .starts_with("HTTP/1.1 200"),
                "it has kept its place"
            );
        }
    };
    in_time("every caller's answer", test).await;
}

#[tokio::test]
async fn an_http_2_connection_that_gives_way_is_told_so() {
    let places =
        "[server]\nmax_connections = 1\nheader_timeout = \"1h\"\nkeepalive_timeout = \"1h\"";
    let sidecar = Sidecar::start(&[("[server]", places)]).await;
    let io = TokioIo::new(TcpStream::connect(sidecar.running.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a/x")
        .body(Empty::<Bytes>::new())
        .unwrap();
    sender
        .send_request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(
        in_time("an answer", sidecar.call(Method::GET, "/x", &[], ""))
            .await
            .status,
        StatusCode::OK
    );
    in_time("its end", connection).await.unwrap().unwrap();
    drop(sender);
}

#[tokio::test]
async fn an_answer_that_its_http_2_client_has_no_window_for_keeps_its_place() {
    let places =
        "[server]\nmax_connections = 2\nheader_timeout = \"1h\"\nkeepalive_timeout = \"1h\"";
    let sidecar = Sidecar::start(&[("[server]", places)]).await;
    let at = sidecar.running.address;
    let test = async {
        let io = TokioIo::new(TcpStream::connect(at).await.unwrap());
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = client
            .initial_stream_window_size(0)
            .handshake(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = |method| {
            Request::builder()
                .method(method)
                .uri("http://a/x")
                .body(Empty::<Bytes>::new())
                .unwrap()
        };
        let unread = sender.send_request(request(Method::GET)).await.unwrap();
        let mut silent = TcpStream::connect(at).await.unwrap();
        let mut caller = TcpStream::connect(at).await.unwrap();
        caller
            .write_all(b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_until(&mut caller, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(matches!(silent.read(&mut [0]).await, Ok(0)));
        assert_eq!(
            sender
                .send_request(request(Method::HEAD))
                .await
                .unwrap()
                .status(),
            StatusCode::OK
        );
        drop(unread);
    };
    in_time("the caller's answer", test).await;
}
