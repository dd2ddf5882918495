//! What the cost benchmarks share: servers as processes of their own, a client, and an upstream
//! that answers batches as the reference application does.

use super::reference;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use tidegate::app::{self, Options};
use tokio::net::TcpListener;

/// A server in a process of its own, which ends with this.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts `command`, which runs [`serve`] and prints its address first.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output"))
            .read_line(&mut line)
            .expect("an address");
        Self {
            address: line.trim().parse().expect("an address"),
            child,
        }
    }

    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("its accounting");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("proc(5)");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("kilobytes")
            * 1024
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

/// Runs one server on this thread until standard input ends: without arguments the bare hyper
/// server, with a file Tidegate with that configuration, with an upstream, a durability and a
/// directory Tidegate with this version's reference.
pub fn serve(arguments: &[String]) {
    std::thread::spawn(|| {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let tell = |address: SocketAddr| {
            println!("{address}");
            std::io::stdout().flush().expect("it is read");
        };
        let text = match arguments {
            [file] => std::fs::read_to_string(file).expect("a configuration"),
            [upstream, durability, journal] => reference::configuration(
                upstream.parse().expect("an address"),
                durability,
                Path::new(journal),
            ),
            _ => {
                return answer(tell, |body| async move {
                    format!("{{\"ok\":{}}}", !body.is_empty())
                })
                .await;
            }
        };
        let config =
            tidegate::config::parse(&text, "bench", std::iter::empty()).expect("a configuration");
        let running = app::start(config, Options::default())
            .await
            .expect("a sidecar");
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
        let service = service_fn(
            move |request: http::Request<hyper::body::Incoming>| async move {
                let body = request
                    .into_body()
                    .collect()
                    .await
                    .map(|body| body.to_bytes())
                    .unwrap_or_default();
                let response = http::Response::builder().header("content-type", "application/json");
                Ok::<_, Infallible>(
                    response
                        .body(Full::new(Bytes::from(reply(body).await)))
                        .expect("an answer"),
                )
            },
        );
        tokio::task::spawn(async move {
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
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
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let tell = |address| tell.send(address).expect("it is waited for");
            runtime.block_on(answer(tell, move |body| async move { take(&body, taken) }));
        });
        Self {
            address: told.recv().expect("an address"),
            taken,
        }
    }

    /// Events taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

fn take(body: &Bytes, count: &AtomicU64) -> String {
    let batch: Value = serde_json::from_slice(body).unwrap_or_default();
    let ids: Vec<_> = batch["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| &event["clientEventId"])
        .collect();
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
        Self {
            stream,
            buffer: vec![0; 8_192],
        }
    }

    /// Sends one call, and reads its answer, which must be 200.
    pub fn send(&mut self, call: &[u8]) {
        self.stream.write_all(call).expect("a call is written");
        let mut have = 0;
        while !whole(&self.buffer[..have]) {
            let read = self
                .stream
                .read(&mut self.buffer[have..])
                .expect("an answer");
            assert!(read > 0, "the server closed the connection");
            have += read;
        }
        assert!(
            self.buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.buffer[..have])
        );
    }
}

/// A head and the body that its content-length announces.
fn whole(seen: &[u8]) -> bool {
    let Some(head) = seen.windows(4).position(|end| end == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| {
        line.strip_prefix("content-length: ")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    seen.len() >= head + 4 + length.unwrap_or(0)
}
