//! What the cost benchmarks share: calls as clients of the reference application make them, servers as processes of their
//! own, and an upstream that answers batches as that application does.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use tidegate::app::{self, Options};
use tokio::net::TcpListener;

/// The reference configuration, with other addresses and without a limit per user.
pub fn reference(upstream: SocketAddr, durability: &str, journal: &Path) -> String {
    include_str!("../../config.toml")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("127.0.0.1:8888", &upstream.to_string())
        .replace("path = \"data\"", &format!("path = \"{}\"", journal.display()))
        .replace("durability = \"disk\"", &format!("durability = \"{durability}\""))
        .replace("events_per_user = ", "# events_per_user = ")
}

/// What a call is, and how much of a head it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// An event, with what the reference application demands and nothing else.
    Small,
    /// An event, with 1.5 KB, as a browser sends them from a page with a few analytics services.
    Browser,
    /// A read that is stored, with the small head.
    Hit,
    /// A read that is stored, with the browser's.
    BrowserHit,
}

impl Head {
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Hit | Self::BrowserHit)
    }
}

/// A call of a user; `csrf` is its double-submitted token, a condition: another one makes another context.
pub fn call(head: Head, user: &str, id: &str, csrf: &str) -> Vec<u8> {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(json!({ "sub": user, "userId": user, "exp": 4_102_444_800_u64, "role": "learner" }));
    let token = format!("{}.{claims}.c2lnbmF0dXJlLW9mLXRoaXMtdG9rZW4", part(json!({ "alg": "HS256", "typ": "JWT" })));
    let body = format!(
        "{{\"client_event_id\":\"{id}\",\"user_id\":\"{user}\",\"lesson_id\":\"lesson-7\",\"percent\":33,\
         \"status\":\"in_progress\",\"time_spent_s\":0,\"resume_at_s\":185}}"
    );
    let mut out = String::with_capacity(2_048);
    let mut line = |name: &str, value: &str| write!(out, "{name}: {value}\r\n").expect("text grows");
    line("host", "lms.example.test");
    line("authorization", &format!("Bearer {token}"));
    line("x-csrf-token", csrf);
    match head {
        Head::Small | Head::Hit => line("cookie", &format!("csrf_token={csrf}")),
        Head::Browser | Head::BrowserHit => {
            let agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                         Chrome/126.0.0.0 Safari/537.36";
            line("user-agent", agent);
            line("accept", "application/json, text/plain, */*");
            line("accept-encoding", "gzip, deflate, br, zstd");
            line("accept-language", "en-GB,en;q=0.9,de;q=0.8");
            line("origin", "https://lms.example.test");
            line("referer", "https://lms.example.test/courses/rust-for-learners/lessons/lesson-7?from=overview");
            line("sec-ch-ua", "\"Not/A)Brand\";v=\"8\", \"Chromium\";v=\"126\", \"Google Chrome\";v=\"126\"");
            line("sec-ch-ua-mobile", "?0");
            line("sec-ch-ua-platform", "\"Windows\"");
            line("sec-fetch-site", "same-origin");
            line("sec-fetch-mode", "cors");
            line("sec-fetch-dest", "empty");
            line("priority", "u=1, i");
            line("x-org-id", "org-12");
            let session = format!("sessionid=s%3A{user}.8yHnqkYy0fQv2b4vD1mT9xZ3cW6rL5pK; csrf_token={csrf}");
            let analytics = "_ga=GA1.1.1234567890.1700000000; _ga_1A2B3C4D5E=GS1.1.1700000000.3.1.1700000321.0.0.0; \
                             _gid=GA1.1.987654321.1700000000; _fbp=fb.1.1700000000000.1234567890; \
                             ajs_anonymous_id=5f0c2b1e-8f64-4c1f-9a3e-0d1c2b3a4f5e; \
                             OptanonConsent=isGpcEnabled=0&datestamp=Tue+Nov+14+2023; active_org=org-12";
            line("cookie", &format!("{session}; {analytics}"));
        }
    }
    if head.is_read() {
        return format!("GET /api/client/progress/summary HTTP/1.1\r\n{out}\r\n").into_bytes();
    }
    line("content-type", "application/json");
    line("content-length", &body.len().to_string());
    format!("POST /api/client/progress/lesson HTTP/1.1\r\n{out}\r\n{body}").into_bytes()
}

/// A server in a process of its own, which ends with this.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts `command`, which runs [`serve`] and prints its address first.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut line).expect("an address");
        Self { address: line.trim().parse().expect("an address"), child }
    }

    /// Processor time so far, user and system, in ticks of the operating system (10 ms).
    pub fn ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its accounting");
        let rest = text.rsplit_once(") ").expect("proc(5)").1;
        rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
    }

    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its accounting");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
    }

    /// Waits until it has ended by itself, having been told to.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// Runs one server on this thread until standard input ends: without arguments the bare hyper server, with a file Tidegate
/// with that configuration, with an upstream, a durability and a directory Tidegate with this version's reference.
pub fn serve(arguments: &[String]) {
    std::thread::spawn(|| {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let tell = |address: SocketAddr| {
            println!("{address}");
            std::io::stdout().flush().expect("it is read");
        };
        let text = match arguments {
            [file] => std::fs::read_to_string(file).expect("a configuration"),
            [upstream, durability, journal] => {
                reference(upstream.parse().expect("an address"), durability, Path::new(journal))
            }
            _ => return answer(tell, |body| async move { format!("{{\"ok\":{}}}", !body.is_empty()) }).await,
        };
        let config = tidegate::config::parse(&text, "bench", std::iter::empty()).expect("a configuration");
        let running = app::start(config, Options::default()).await.expect("a sidecar");
        tell(running.address);
        running.draining().await;
    });
}

/// A hyper server that reads each body and answers 200.
async fn answer<F: Future<Output = String> + Send>(
    tell: impl FnOnce(SocketAddr),
    reply: impl Fn(Bytes) -> F + Copy + Send + 'static,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    tell(listener.local_addr().expect("an address"));
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("no delay");
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let response = http::Response::builder().header("content-type", "application/json");
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from(reply(body).await))).expect("an answer"))
        });
        tokio::task::spawn(async move {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// The application: it takes every event of a batch, and counts them.
#[derive(Debug, Clone, Copy)]
pub struct Upstream {
    pub address: SocketAddr,
    taken: &'static AtomicU64,
}

impl Upstream {
    pub fn start() -> Self {
        let (tell, told) = mpsc::channel();
        let taken: &'static AtomicU64 = Box::leak(Box::default());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let tell = |address| tell.send(address).expect("it is waited for");
            runtime.block_on(answer(tell, move |body| async move { take(&body, taken) }));
        });
        Self { address: told.recv().expect("an address"), taken }
    }

    /// Events taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

fn take(body: &Bytes, count: &AtomicU64) -> String {
    let batch: Value = serde_json::from_slice(body).unwrap_or_default();
    let ids: Vec<_> = batch["events"].as_array().into_iter().flatten().map(|event| &event["clientEventId"]).collect();
    count.fetch_add(ids.len() as u64, Ordering::Relaxed);
    json!({ "ok": true, "accepted": ids, "duplicates": [], "failed": [] }).to_string()
}

/// One connection of a client that waits for each answer.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: vec![0; 8_192] }
    }

    /// Sends one call, and reads its answer, which must be 200.
    pub fn send(&mut self, call: &[u8]) {
        self.stream.write_all(call).expect("a call is written");
        let mut have = 0;
        while !whole(&self.buffer[..have]) {
            let read = self.stream.read(&mut self.buffer[have..]).expect("an answer");
            assert!(read > 0, "the server closed the connection");
            have += read;
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.buffer[..have]));
    }
}

/// A head and the body that its content-length announces.
pub fn whole(seen: &[u8]) -> bool {
    let Some(head) = seen.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    seen.len() >= head + 4 + length.unwrap_or(0)
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
