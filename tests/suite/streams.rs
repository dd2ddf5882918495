//! Event streams and tunnels have places of their own on the way to the application (P9, P10).

use crate::support::{CONFIG, Http, Sidecar, in_time};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const TUNNEL: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; \
                      charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n";
const PIECE: &str = "5\r\ndata:\r\n";
const END: &str = "0\r\n\r\n";

/// An application with event streams (`/events`), tunnels (`/tunnel`), calls that wait (`/slow`),
/// and others.
struct Application {
    address: SocketAddr,
    /// What all streams are sent; [`END`] ends them.
    streams: watch::Sender<&'static str>,
    slow: watch::Sender<bool>,
    waiting: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Application {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (streams, told) = watch::channel("");
        let (slow, may_go) = watch::channel(false);
        let (waiting, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&waiting), Arc::clone(&most));
        tokio::spawn(async move {
            let now = Arc::<AtomicUsize>::default();
            while let Ok((stream, _)) = listener.accept().await {
                counts
                    .1
                    .fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (now, waiting) = (Arc::clone(&now), Arc::clone(&counts.0));
                let (told, may_go) = (told.clone(), may_go.clone());
                tokio::spawn(async move {
                    serve(stream, told, may_go, &waiting).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            streams,
            slow,
            waiting,
            most,
        }
    }

    /// So many slow calls have come.
    async fn until_waiting(&self, calls: usize) {
        let come = async {
            while self.waiting.load(Ordering::SeqCst) < calls {
                tokio::task::yield_now().await;
            }
        };
        in_time("slow calls", come).await;
    }
}

async fn serve(
    mut stream: TcpStream,
    mut told: watch::Receiver<&'static str>,
    mut may_go: watch::Receiver<bool>,
    waiting: &AtomicUsize,
) -> Option<()> {
    loop {
        let head = read_head(&mut stream).await?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/tunnel" => stream.write_all(TUNNEL.as_bytes()).await.ok()?,
            "/events" => {
                told.mark_unchanged();
                stream.write_all(EVENTS.as_bytes()).await.ok()?;
                tell(&mut stream, &mut told).await?;
            }
            "/slow" => {
                waiting.fetch_add(1, Ordering::SeqCst);
                may_go.wait_for(|go| *go).await.ok()?;
                waiting.fetch_sub(1, Ordering::SeqCst);
                stream.write_all(OK.as_bytes()).await.ok()?;
            }
            _ => stream.write_all(OK.as_bytes()).await.ok()?,
        }
    }
}

/// Writes what all streams are sent, until the end or until nobody reads it.
async fn tell(stream: &mut TcpStream, told: &mut watch::Receiver<&'static str>) -> Option<()> {
    let mut byte = [0];
    loop {
        tokio::select! {
            read = stream.read(&mut byte) => return read.ok().filter(|bytes| *bytes > 0).map(drop),
            changed = told.changed() => changed.ok()?,
        }
        let text = *told.borrow_and_update();
        stream.write_all(text.as_bytes()).await.ok()?;
        if text == END {
            return Some(());
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).await.ok()?;
        head.push(char::from(byte[0]));
    }
    Some(head)
}

/// A sidecar whose calls have three quarters of these connections.
async fn sidecar(connections: usize, application: &Application) -> Sidecar {
    let keys = format!("[upstream]\nmax_connections = {connections}\nconnect_timeout = \"1s\"");
    let config = CONFIG
        .replace("[upstream]", &keys)
        .replace("response_timeout = \"5s\"", "response_timeout = \"300s\"");
    Sidecar::with(
        &config.replace("UPSTREAM", &application.address.to_string()),
        Clock::default(),
    )
    .await
}

/// A client's call, whose answer has begun; none if there was no place for it. Without an address
/// it is a proxy's own.
async fn open(sidecar: &Sidecar, path: &str, client: Option<&str>) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let from = client
        .map(|client| format!("x-forwarded-for: {client}\r\n"))
        .unwrap_or_default();
    let upgrade = if path == "/tunnel" {
        "connection: upgrade\r\nupgrade: raw\r\n"
    } else {
        ""
    };
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{from}{upgrade}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await.unwrap();
    let wanted = if path == "/tunnel" {
        "HTTP/1.1 101"
    } else {
        "HTTP/1.1 200"
    };
    if answer.starts_with(wanted) {
        return Some(stream);
    }
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("connection_limit_reached"),
        "{answer}"
    );
    None
}

async fn get(sidecar: &Sidecar, path: &str, client: &str) -> StatusCode {
    // Each has a connection of its own.
    let headers = [("x-forwarded-for", client)];
    Http::default()
        .try_call(sidecar.running.address, Method::GET, path, &headers, "")
        .await
        .unwrap()
        .status
}

/// Opens one after the other until there are so many; whatever ended before gives its place back in
/// between.
async fn open_all(sidecar: &Sidecar, count: usize) -> Vec<TcpStream> {
    let opening = async {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(open(sidecar, "/events", None).await);
        }
        all
    };
    in_time("places for streams", opening).await
}

#[tokio::test]
async fn streams_leave_short_calls_of_their_own_address_and_of_others_running() {
    // 12 places are for calls, and 12 for streams; of each, 3 for one address.
    for path in ["/events", "/tunnel"] {
        let application = Application::start().await;
        let sidecar = sidecar(16, &application).await;
        let mut streams = Vec::new();
        for number in [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4] {
            let client = format!("192.0.2.{number}");
            assert_eq!(
                get(&sidecar, "/x", &client).await,
                StatusCode::OK,
                "{path}, {} open",
                streams.len()
            );
            streams.push(open(&sidecar, path, Some(&client)).await.unwrap());
        }
        // As many calls at once as without the streams, each of them on a connection; one place is
        // for good callers.
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let calls = (0..11).map(|number| get(&sidecar, "/slow", clients[number / 3]));
        let opening = async {
            application.until_waiting(11).await;
            assert_eq!(
                get(&sidecar, "/x", "192.0.2.9").await,
                StatusCode::SERVICE_UNAVAILABLE,
                "{path}"
            );
            application.slow.send_replace(true);
        };
        let (calls, ()) = tokio::join!(join_all(calls), opening);
        assert!(
            calls.iter().all(|status| *status == StatusCode::OK),
            "{path}: {calls:?}"
        );
    }
}

#[tokio::test]
async fn an_address_that_stands_for_many_has_as_many_streams_as_the_calls_part_and_keeps_all_its_calls()
 {
    let application = Application::start().await;
    let sidecar = sidecar(16, &application).await;
    let streams = open_all(&sidecar, 12).await;
    let calls = join_all((0..11).map(|_| open(&sidecar, "/slow", None)));
    let opening = async {
        application.until_waiting(11).await;
        application.slow.send_replace(true);
    };
    let (calls, ()) = tokio::join!(calls, opening);
    assert!(calls.iter().all(Option::is_some));
    drop(streams);
}

#[tokio::test]
async fn streams_beyond_their_places_keep_those_of_calls_until_one_is_free() {
    let application = Application::start().await;
    let sidecar = sidecar(4, &application).await;
    // 3 and 3, and one connection for a delivery.
    let mut streams = open_all(&sidecar, 6).await;
    assert!(open(&sidecar, "/events", None).await.is_none());
    assert_eq!(
        get(&sidecar, "/x", "192.0.2.1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(application.most.load(Ordering::SeqCst) <= 7);
    // The first one has a stream's place; one of a call's is free when the next piece of its stream
    // comes.
    drop(streams.remove(0));
    let moved = async {
        while get(&sidecar, "/x", "192.0.2.1").await != StatusCode::OK {
            application.streams.send_replace(PIECE);
        }
    };
    in_time("a call's place", moved).await;
    assert!(application.most.load(Ordering::SeqCst) <= 7);
}

#[tokio::test]
async fn places_of_streams_come_back_when_their_client_goes_and_when_the_application_ends_them() {
    let application = Application::start().await;
    let sidecar = sidecar(4, &application).await;
    for _ in 0..3 {
        let streams = open_all(&sidecar, 6).await;
        assert!(open(&sidecar, "/events", None).await.is_none());
        drop(streams);
    }
    for _ in 0..3 {
        let streams = open_all(&sidecar, 6).await;
        assert!(open(&sidecar, "/events", None).await.is_none());
        application.streams.send_replace(END);
        // Their connections go on.
        for mut stream in streams {
            let mut rest = Vec::new();
            let ends = async {
                while !rest.ends_with(END.as_bytes()) {
                    assert!(stream.read_buf(&mut rest).await.unwrap() > 0);
                }
            };
            in_time("the end of a stream", ends).await;
        }
    }
    let most = application.most.load(Ordering::SeqCst);
    assert!(most <= 7, "{most} connections at once");
}
