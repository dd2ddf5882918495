//! The application behind the servers, and the bare server that they are compared with.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Bytes of what a GET is answered with.
const ANSWER: usize = 1_024;
static ANSWERED: [u8; ANSWER] = [b'x'; ANSWER];
/// Events that haven't come by then don't come.
const PATIENCE: Duration = Duration::from_mins(2);

/// Takes every event of a batch and counts it; answers a GET with 1 KiB that is fresh for an hour.
/// It runs on a thread of this process, on the load's core.
#[derive(Debug, Clone, Copy)]
pub struct Application {
    pub address: SocketAddr,
    taken: &'static AtomicU64,
}

impl Application {
    pub fn start() -> Self {
        let (tell, told) = mpsc::channel();
        let taken: &'static AtomicU64 = Box::leak(Box::default());
        std::thread::spawn(move || {
            let tell = |address| tell.send(address).expect("it is waited for");
            serve(tell, move |request| answer(request, taken));
        });
        Self {
            address: told.recv().expect("an address"),
            taken,
        }
    }

    /// Events that batches have brought so far.
    pub fn taken(self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Returns when this many have come.
    pub fn wait_for(self, events: u64) {
        let until = Instant::now() + PATIENCE;
        while self.taken() < events {
            assert!(
                Instant::now() < until,
                "{} of {events} events were delivered",
                self.taken()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

async fn answer(request: Request<Incoming>, taken: &AtomicU64) -> Response<Full<Bytes>> {
    let response = Response::builder().header("content-type", "application/json");
    if request.method() == Method::GET {
        let fresh = response
            .header("cache-control", "max-age=3600")
            .header("etag", "\"v1\"");
        return fresh
            .body(Full::new(Bytes::from_static(&ANSWERED)))
            .expect("an answer");
    }
    let body = read_body(request).await;
    response
        .body(Full::new(accept_all(&body, taken).into()))
        .expect("an answer")
}

/// The reference application's answer to a batch of which it takes everything.
fn accept_all(batch: &[u8], taken: &AtomicU64) -> Vec<u8> {
    const MEMBER: &[u8] = b"\"clientEventId\":\"";
    let mut out = b"{\"ok\":true,\"accepted\":[".to_vec();
    let mut count = 0;
    for place in memchr::memmem::find_iter(batch, MEMBER) {
        let rest = &batch[place + MEMBER.len()..];
        let end = memchr::memchr(b'"', rest).expect("a whole text");
        out.extend_from_slice(if count == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(&rest[..=end]);
        count += 1;
    }
    out.extend_from_slice(b"],\"duplicates\":[],\"failed\":[]}");
    taken.fetch_add(count, Ordering::Relaxed);
    out
}

async fn read_body(request: Request<Incoming>) -> Bytes {
    request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default()
}

/// The bare server: hyper reads each body and answers 200. It tells its address on standard output
/// and runs until it is killed.
pub fn serve_bare() {
    let tell = |address| {
        println!("{address}");
        std::io::stdout().flush().expect("it is read");
    };
    serve(tell, |request| async {
        let read = !read_body(request).await.is_empty();
        let response = Response::builder().header("content-type", "application/json");
        response
            .body(Full::new(format!("{{\"ok\":{read}}}").into()))
            .expect("an answer")
    });
}

/// Serves on this thread.
fn serve<F: Future<Output = Response<Full<Bytes>>> + Send>(
    tell: impl FnOnce(SocketAddr),
    answer: impl Fn(Request<Incoming>) -> F + Copy + Send + 'static,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        tell(listener.local_addr().expect("an address"));
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("no delay");
            let service =
                service_fn(
                    move |request| async move { Ok::<_, Infallible>(answer(request).await) },
                );
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new();
                drop(
                    connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
}
