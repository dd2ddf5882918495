//! P12 where the public listener is passed on from process to process: no call of a client fails,
//! and no event is lost, doubled or reordered.

use crate::crash::configure;
use crate::support::process::{LONG_DRAIN, Process};
use crate::support::upstream::FakeUpstream;
use crate::support::{Http, in_time};
use http::{Method, StatusCode};
use serde_json::Value;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A listener that outlives the processes which it is passed to.
struct Socket(TcpListener);

impl Socket {
    fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn start(&self, config: &Path) -> Process {
        let passed = OwnedFd::from(self.0.try_clone().unwrap());
        Process::try_start_with(passed, config)
            .unwrap_or_else(|(code, said)| panic!("exit {code:?}: {said}"))
    }
}

/// A client that keeps its connection for as long as the server lets it, and never tries again.
struct Client {
    server: SocketAddr,
    kept: Option<BufReader<TcpStream>>,
}

impl Client {
    const fn new(server: SocketAddr) -> Self {
        Self { server, kept: None }
    }

    /// Posts an event; the answer's status and whether the connection is kept.
    async fn post(&mut self, user: &str, id: &str) -> io::Result<u16> {
        let mut stream = match self.kept.take() {
            Some(kept) => kept,
            None => BufReader::new(TcpStream::connect(self.server).await?),
        };
        let body =
            format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5}}");
        let head = format!(
            "POST /event HTTP/1.1\r\nhost: app.test\r\nauthorization: token-{user}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        let (mut status, mut length, mut closes) = (0, 0, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if line == "connection: close" {
                closes = true;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        self.kept = (!closes).then_some(stream);
        Ok(status)
    }
}

/// Clients that post one event after the other, half of them over a connection for each.
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    users: Vec<tokio::task::JoinHandle<(String, usize)>>,
}

impl Load {
    fn start(server: SocketAddr) -> Self {
        let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let users = (0..8)
            .map(|number| {
                let (ends, answered) = (Arc::clone(&ends), Arc::clone(&answered));
                tokio::spawn(run_user(server, number, ends, answered))
            })
            .collect();
        Self {
            ends,
            answered,
            users,
        }
    }

    /// Until so many more calls were answered.
    async fn until_more(&self, count: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + count;
        let more = async {
            while self.answered.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time("more answers", more).await;
    }

    /// How many events of each user were acknowledged.
    async fn end(self) -> HashMap<String, usize> {
        self.ends.store(true, Ordering::SeqCst);
        let mut acknowledged = HashMap::new();
        for user in self.users {
            let (name, count) = in_time("a user's end", user).await.unwrap();
            acknowledged.insert(name, count);
        }
        acknowledged
    }
}

async fn run_user(
    server: SocketAddr,
    number: usize,
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> (String, usize) {
    let (user, mut client) = (format!("u{number}"), Client::new(server));
    let mut count = 0;
    while !ends.load(Ordering::SeqCst) {
        let status = client.post(&user, &format!("{user}-{count}")).await;
        assert_eq!(status.unwrap(), 202, "call {count} of {user}");
        count += 1;
        answered.fetch_add(1, Ordering::SeqCst);
        if number.is_multiple_of(2) {
            client.kept = None;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    (user, count)
}

/// The ids of each user's events, as they came.
fn ids_of(upstream: &FakeUpstream) -> HashMap<String, Vec<String>> {
    let mut ids: HashMap<_, Vec<_>> = HashMap::new();
    for seen in upstream.seen() {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        for event in body["events"].as_array().unwrap() {
            let user = event["userId"].as_str().unwrap();
            assert_eq!(seen.header("authorization"), format!("token-{user}"));
            let id = event["clientEventId"].as_str().unwrap().to_owned();
            ids.entry(user.to_owned()).or_default().push(id);
        }
    }
    ids
}

fn assert_delivered(upstream: &FakeUpstream, acknowledged: &HashMap<String, usize>) {
    let ids = ids_of(upstream);
    for (user, count) in acknowledged {
        let wanted: Vec<_> = (0..*count).map(|one| format!("{user}-{one}")).collect();
        assert_eq!(ids[user], wanted, "each once and in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_one_process_ends_and_the_next_starts_on_the_passed_listener() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "process", &[LONG_DRAIN]);
    let socket = Socket::open();
    let mut process = socket.start(&config);
    assert_eq!(process.address, socket.address());
    let load = Load::start(socket.address());
    for _ in 0..3 {
        load.until_more(200).await;
        let (code, printed) = process.terminate_in_time().await;
        assert_eq!(code, Some(0), "{printed}");
        process = socket.start(&config);
    }
    load.until_more(200).await;
    let acknowledged = load.end().await;
    process.deliver_pending().await;
    assert_delivered(&upstream, &acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_may_be_started_first_and_waits_for_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "disk", &[LONG_DRAIN]);
    let socket = Arc::new(Socket::open());
    let process = socket.start(&config);
    let load = Load::start(socket.address());
    load.until_more(200).await;
    let next = tokio::task::spawn_blocking({
        let (socket, config) = (Arc::clone(&socket), config.clone());
        move || socket.start(&config)
    });
    load.until_more(200).await;
    assert!(!next.is_finished(), "two processes have one journal");
    assert_eq!(process.terminate_in_time().await.0, Some(0));
    let next = in_time("the next process", next).await.unwrap();
    load.until_more(200).await;
    let acknowledged = load.end().await;
    next.deliver_pending().await;
    assert_delivered(&upstream, &acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_old_call_runs_new_ones_are_served_and_readiness_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "process", &[LONG_DRAIN]);
    let socket = Socket::open();
    let process = socket.start(&config);
    upstream.close_gate();
    let mut old = TcpStream::connect(socket.address()).await.unwrap();
    old.write_all(b"GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n")
        .await
        .unwrap();
    upstream.until(|seen| seen.len() == 1).await;
    process.signal("-TERM");
    let admin = process.admin;
    let down = async {
        let ready = async || {
            // On a connection each: the admin listener soon closes those that idle.
            let asked = Http::default();
            let answer = asked.try_call(admin, Method::GET, "/readyz", &[], "").await;
            answer.unwrap()
        };
        while ready().await.status != StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("readiness to go down", down).await;
    let mut client = Client::new(socket.address());
    for id in ["a", "b"] {
        assert_eq!(client.post("u", id).await.unwrap(), 202);
        assert!(client.kept.is_none(), "it is told to leave");
    }
    upstream.open_gate();
    let mut heard = String::new();
    in_time("the old call", old.read_to_string(&mut heard))
        .await
        .unwrap();
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    let (code, printed) = process.end_in_time().await;
    assert!(
        code == Some(0) && printed.contains("received 2 = accepted 2"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_do_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let patient = [(
        "drain = \"5s\"",
        "drain = \"1h\"\nheader_timeout = \"1h\"\nkeepalive_timeout = \"1h\"",
    )];
    let config = configure(directory.path(), upstream.address, "process", &patient);
    let socket = Socket::open();
    let process = socket.start(&config);
    let mut idle = Client::new(socket.address());
    assert_eq!(idle.post("u", "a").await.unwrap(), 202);
    let mut silent = TcpStream::connect(socket.address()).await.unwrap();
    // So that the silent one was accepted before.
    assert_eq!(
        Client::new(socket.address()).post("u", "b").await.unwrap(),
        202
    );
    assert_eq!(process.terminate_in_time().await.0, Some(0));
    let mut nothing = Vec::new();
    in_time("its end", silent.read_to_end(&mut nothing))
        .await
        .unwrap();
    assert!(nothing.is_empty());
    let mut kept = idle.kept.take().unwrap();
    in_time("its end", kept.read_to_end(&mut nothing))
        .await
        .unwrap();
    assert!(nothing.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_must_be_one_listening_socket() {
    let directory = tempfile::tempdir().unwrap();
    let config = configure(
        directory.path(),
        "127.0.0.1:9".parse().unwrap(),
        "none",
        &[],
    );
    let datagrams = UnixDatagram::unbound().unwrap();
    let connected = std::net::TcpStream::connect(Socket::open().address());
    for (passed, wanted) in [
        (
            OwnedFd::from(datagrams),
            "no listening TCP or Unix stream socket",
        ),
        (
            OwnedFd::from(connected.unwrap()),
            "no listening TCP or Unix stream socket",
        ),
    ] {
        let (code, said) = Process::try_start_with(passed, &config).err().unwrap();
        assert!(code == Some(2) && said.contains(wanted), "{code:?} {said}");
    }
    let several = Command::new("sh")
        .args([
            "-c",
            "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" run --config \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_tidegate"))
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&several.stderr);
    assert!(
        said.contains("passes 2 sockets; allowed is one, the public listener"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_that_was_passed_keeps_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "none", &[]);
    let path = directory.path().join("t.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for _ in 0..2 {
        let passed = OwnedFd::from(socket.try_clone().unwrap());
        let process = Process::try_start_with(passed, &config).ok().unwrap();
        let says = format!("serves on unix:{}, ", path.display());
        assert!(process.said().contains(&says), "{}", process.said());
        assert_eq!(process.terminate_in_time().await.0, Some(0));
        assert!(path.exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_hears_that_the_process_serves_lives_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "none", &[]);
    let path = directory.path().join("notify.sock");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let variables = format!(
        "export NOTIFY_SOCKET={} WATCHDOG_USEC=100000 WATCHDOG_PID=$$",
        path.display()
    );
    let process = Process::start_after(&variables, &config);
    let heard = async |wanted: &str| {
        let heard = async {
            let mut buffer = [0; 1_024];
            loop {
                let length = manager.recv(&mut buffer).await.unwrap();
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.contains(wanted) {
                    return text;
                }
            }
        };
        in_time(wanted, heard).await
    };
    let address = process.address;
    assert_eq!(
        heard("READY=1").await,
        format!("READY=1\nSTATUS=serves on http://{address}\n")
    );
    for _ in 0..3 {
        heard("WATCHDOG=1").await;
    }
    process.signal("-TERM");
    heard("STOPPING=1").await;
    assert_eq!(process.end_in_time().await.0, Some(0));
}
