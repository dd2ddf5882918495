//! The attacks. Each has addresses of its own, and goes on until it is told to end.
//!
//! | attack | in `TIDEGATE_HOSTILE_ATTACKS` | what it does |
//! |---|---|---|
//! | forged tokens | `forged` | events under a new token each, which name good users |
//! | slow readers | `slow-reads` | ask for the export and take 1 KiB a second |
//! | unread answers | `unread` | HTTP/2 connections with wide windows that ask for 50 exports each and read nothing |
//! | downloads | `downloads` | HTTP/2 connections that ask for 50 exports each once a minute, and read them as fast as they come; only where they are named |
//! | bombs | `bombs` | bodies of a few hundred bytes that unpack to 512 MiB, by brotli with a large window, zstd and gzip |
//! | half-open connections | `half-open` | send nothing, `P`, `PRI `, or half of a head |
//! | idle callers of the admin listener | `idle-admin` | open more connections to it than it has places, and say nothing |
//! | slow calls | `slow-calls` | ask for the report from 60 addresses, in waves of more calls than there are places to the application for strangers |
//! | a limited user | `limited` | events of one user, whom the application answers 429 with `Retry-After: 60` |

use super::users::{LIMITED, connect};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashSet;
use std::fmt;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

const FLOODERS: u64 = 32;
const SLOW: u64 = 100;
const UNREAD: u64 = 8;
const DOWNLOADERS: u64 = 8;
const BOMBERS: u64 = 4;
const HALF_OPEN: u64 = 300;
/// The admin listener has 256 places.
const ADMIN_IDLE: u64 = 400;
/// HTTP/2 connections that make slow calls, and the calls of each: 6,000 for 3,528 places.
const SLOW_CALLERS: u64 = 60;
const SLOW_CALLS: u64 = 100;
/// From wave to wave. A report takes a third of it; while one lasts, strangers' other calls find no
/// place either, and what they would do to good users is seen in between.
const WAVE: Duration = Duration::from_secs(90);

/// An attack only where it is named: 3 GiB that go through the application, the sidecar and who
/// reads them keep both cores busy, whatever the sidecar does.
const DOWNLOADS: &str = "downloads";

/// How many tasks make each attack.
const ATTACKS: [(&str, u64); 9] = [
    ("forged", FLOODERS),
    ("slow-reads", SLOW),
    ("unread", UNREAD),
    (DOWNLOADS, DOWNLOADERS),
    ("bombs", BOMBERS),
    ("half-open", HALF_OPEN),
    ("idle-admin", ADMIN_IDLE),
    ("slow-calls", SLOW_CALLERS),
    ("limited", 1),
];

/// 512 MiB of zeros by `brotli` with a window of 2^30 (RFC 7932 has 2^24 at most), made by Node's
/// zlib with `BROTLI_PARAM_LARGE_WINDOW`.
const LARGE_WINDOW: &[u8] = include_bytes!("large-window.br");

/// What was sent.
#[derive(Debug, Default)]
struct Counts {
    forged: AtomicU64,
    slow: AtomicU64,
    unread: AtomicU64,
    downloads: AtomicU64,
    bombs: AtomicU64,
    half_open: AtomicU64,
    limited: AtomicU64,
    admin_idle: AtomicU64,
    slow_calls: AtomicU64,
    slow_refused: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            forged,
            slow,
            unread,
            downloads,
            bombs,
            half_open,
            limited,
            admin_idle,
            slow_calls,
            slow_refused,
        } = self;
        let [forged, slow, unread, downloads, bombs, half_open, limited] =
            [forged, slow, unread, downloads, bombs, half_open, limited]
                .map(|count| count.load(Ordering::Relaxed));
        let [admin_idle, slow_calls, slow_refused] =
            [admin_idle, slow_calls, slow_refused].map(|count| count.load(Ordering::Relaxed));
        write!(
            f,
            "{forged} forged events, {slow} slow reads, {unread} unread HTTP/2 connections, \
             {downloads} downloads, {bombs} bombs, {half_open} half-open connections, {limited} events of the limited user, \
             {admin_idle} idle connections to the admin listener, {slow_calls} slow calls and \
             {slow_refused} that found no place"
        )
    }
}

#[derive(Debug)]
pub struct Attack {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

/// How many forged events a second are answered when nothing holds the attackers back.
pub async fn peak(to: SocketAddr, time: Duration) -> u64 {
    let counts = Arc::<Counts>::default();
    let ends = Arc::<AtomicBool>::default();
    let tasks: Vec<_> = (0..FLOODERS)
        .map(|one| {
            let (counts, ends) = (Arc::clone(&counts), Arc::clone(&ends));
            tokio::spawn(async move { flood(to, one, None, &counts, &ends).await })
        })
        .collect();
    tokio::time::sleep(time).await;
    ends.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("a flooder");
    }
    counts.forged.load(Ordering::Relaxed) / time.as_secs().max(1)
}

impl Attack {
    /// Begins all of them, against the public and the admin listener; `rate`: forged events a
    /// second. `bombs`: from [`make_bombs`].
    pub fn begin(to: SocketAddr, admin: SocketAddr, rate: u64, bombs: Arc<[Bomb]>) -> Self {
        let (counts, mut tasks) = (Arc::<Counts>::default(), JoinSet::new());
        let wanted = wanted();
        let number = |name: &str| {
            let (_, tasks) = ATTACKS.iter().find(|one| one.0 == name).expect("an attack");
            let is_wanted = match &wanted {
                Some(list) => list.contains(name),
                None => name != DOWNLOADS,
            };
            if is_wanted { *tasks } else { 0 }
        };
        let every = Duration::from_secs(FLOODERS) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
        for one in 0..number("forged") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move {
                flood(to, one, Some(every), &counts, &AtomicBool::new(false)).await
            });
        }
        for one in 0..number("slow-reads") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| read_slowly(to, one, &counts)).await });
        }
        for one in 0..number("unread") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| read_nothing(to, one, &counts)).await });
        }
        for one in 0..number(DOWNLOADS) {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| download(to, one, &counts)).await });
        }
        for one in 0..number("bombs") {
            let (counts, bombs) = (Arc::clone(&counts), Arc::clone(&bombs));
            tasks.spawn(async move { again(|| bomb(to, one, &bombs, &counts)).await });
        }
        for one in 0..number("half-open") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| half_open(to, one, &counts)).await });
        }
        for one in 0..number("idle-admin") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| idle_at_admin(admin, one, &counts)).await });
        }
        for one in 0..number("slow-calls") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| call_slowly(to, one, &counts)).await });
        }
        for _ in 0..number("limited") {
            let counts = Arc::clone(&counts);
            tasks.spawn(async move { again(|| be_limited(to, &counts)).await });
        }
        Self { counts, tasks }
    }

    /// Ends them; what they sent, in words.
    pub async fn end(mut self) -> String {
        self.tasks.shutdown().await;
        self.counts.to_string()
    }
}

/// The attacks that are wanted, where `TIDEGATE_HOSTILE_ATTACKS` names some.
fn wanted() -> Option<HashSet<String>> {
    let text = std::env::var("TIDEGATE_HOSTILE_ATTACKS").ok()?;
    let list: HashSet<_> = text.split(',').map(str::to_owned).collect();
    let names = ATTACKS.map(|(name, _)| name);
    let unknown: Vec<_> = list
        .iter()
        .filter(|name| !names.contains(&name.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "no attacks: {unknown:?}; there are {names:?}"
    );
    Some(list)
}

/// Does it over and over, with a pause of a second after each failure.
async fn again<F: Future<Output = std::io::Result<()>>>(mut attempt: impl FnMut() -> F) {
    loop {
        if attempt().await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn address(network: u8, one: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, network, 0, u8::try_from(one % 200 + 1).unwrap_or(1))
}

/// A content coding, and a body in it.
pub type Bomb = (&'static str, Vec<u8>);

/// Takes many seconds of processor time, so it is done before the attacks begin.
pub fn make_bombs() -> Arc<[Bomb]> {
    let zeros = vec![0; 1 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut zstd = zstd::Encoder::new(Vec::new(), 19).expect("an encoder");
    zstd.window_log(27).expect("a window");
    for _ in 0..512 {
        gzip.write_all(&zeros).expect("bytes");
        zstd.write_all(&zeros).expect("bytes");
    }
    let [gzip, zstd] = [gzip.finish().expect("bytes"), zstd.finish().expect("bytes")];
    Arc::new([
        ("br", LARGE_WINDOW.to_vec()),
        ("gzip", gzip),
        ("zstd", zstd),
    ])
}

fn post(token: &str, body: String) -> Request<Full<Bytes>> {
    Request::post("/api/progress")
        .header(header::HOST, "app.example")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("a request")
}

fn lost(error: hyper::Error) -> std::io::Error {
    std::io::Error::other(error)
}

async fn flood(
    to: SocketAddr,
    one: u64,
    every: Option<Duration>,
    counts: &Counts,
    ends: &AtomicBool,
) {
    let mut sender: Option<http1::SendRequest<Full<Bytes>>> = None;
    let mut next = Instant::now();
    for number in 0u64.. {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        if let Some(every) = every {
            // What it is late by isn't made up for: the rate is a bound of the flood.
            next = (next + every).max(Instant::now());
            tokio::time::sleep_until(next).await;
        }
        if sender.as_ref().is_none_or(http1::SendRequest::is_closed) {
            let Ok(stream) = connect(to, address(20, one)).await else {
                continue;
            };
            let Ok((opened, connection)) = http1::handshake(TokioIo::new(stream)).await else {
                continue;
            };
            tokio::spawn(connection);
            sender = Some(opened);
        }
        let Some(open) = &mut sender else { continue };
        let token = format!("forged-{:016x}", fastrand::u64(..));
        let victim = fastrand::usize(..super::USERS);
        let body = format!(
            "{{\"id\":\"forged:{one}:{number}:{token}\",\"user_id\":\"user-{victim}\",\"percent\":99}}"
        );
        let answered = async {
            open.ready().await?;
            open.send_request(post(&token, body))
                .await?
                .into_body()
                .collect()
                .await
                .map(drop)
        };
        match answered.await {
            Ok(()) => _ = counts.forged.fetch_add(1, Ordering::Relaxed),
            Err(_) => sender = None,
        }
    }
}

async fn read_slowly(to: SocketAddr, one: u64, counts: &Counts) -> std::io::Result<()> {
    let mut stream = connect(to, address(21, one)).await?;
    stream
        .write_all(b"GET /export HTTP/1.1\r\nhost: app.example\r\n\r\n")
        .await?;
    counts.slow.fetch_add(1, Ordering::Relaxed);
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Writes its frames itself: a client's library reads what comes whether or not anybody wants it.
async fn read_nothing(to: SocketAddr, one: u64, counts: &Counts) -> std::io::Result<()> {
    let mut stream = connect(to, address(22, one)).await?;
    stream.write_all(&ask_for_exports(50)).await?;
    counts.unread.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(())
}

/// A client's preface, windows as wide as they can be, and so many requests (RFC 9113, sections 3.4,
/// 4.1, 6.2, 6.5 and 6.9).
fn ask_for_exports(number: u32) -> Vec<u8> {
    const HEADERS: (u8, u8) = (0x1, 0x5); // END_STREAM and END_HEADERS
    const SETTINGS: (u8, u8) = (0x4, 0);
    const WINDOW_UPDATE: (u8, u8) = (0x8, 0);
    const WIDEST: u32 = (1 << 31) - 1;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |(kind, flags): (u8, u8), stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a short payload");
        bytes.extend(&length.to_be_bytes()[1..]);
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
    };
    let initial_window = [&[0, 4], &WIDEST.to_be_bytes()[..]].concat();
    frame(SETTINGS, 0, &initial_window);
    frame(WINDOW_UPDATE, 0, &(WIDEST - 65_535).to_be_bytes());
    // RFC 7541: `:method: GET` and `:scheme: http` from the static table, then literals.
    let head = [b"\x82\x86\x04\x07/export", &b"\x01\x0bapp.example"[..]].concat();
    for one in 0..number {
        frame(HEADERS, 2 * one + 1, &head);
    }
    bytes
}

/// As many exports as those who read nothing ask for, read as fast as they come.
async fn download(to: SocketAddr, one: u64, counts: &Counts) -> std::io::Result<()> {
    let next = Instant::now() + Duration::from_secs(60);
    let stream = connect(to, address(28, one)).await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 24);
    let handshake = builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(lost)?;
    let mut downloads = JoinSet::new();
    for _ in 0..50 {
        let mut sender = sender.clone();
        downloads.spawn(async move {
            let request = Request::get("http://app.example/export")
                .body(Full::default())
                .expect("a request");
            let mut body = sender
                .send_request(request)
                .await
                .map_err(lost)?
                .into_body();
            while let Some(frame) = body.frame().await {
                frame.map_err(lost)?;
            }
            Ok::<_, std::io::Error>(())
        });
    }
    let connection = tokio::spawn(connection);
    while let Some(ended) = downloads.join_next().await {
        ended.map_err(std::io::Error::other)??;
        counts.downloads.fetch_add(1, Ordering::Relaxed);
    }
    connection.abort();
    tokio::time::sleep_until(next).await;
    Ok(())
}

async fn bomb(to: SocketAddr, one: u64, bombs: &[Bomb], counts: &Counts) -> std::io::Result<()> {
    let mut stream = connect(to, address(23, one)).await?;
    for (coding, bytes) in bombs {
        let head = format!(
            "POST /api/progress HTTP/1.1\r\nhost: app.example\r\nauthorization: Bearer \
             forged-{one}\r\ncontent-type: application/json\r\ncontent-encoding: \
             {coding}\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(bytes).await?;
        counts.bombs.fetch_add(1, Ordering::Relaxed);
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn half_open(to: SocketAddr, one: u64, counts: &Counts) -> std::io::Result<()> {
    let mut stream = connect(to, address(24, one)).await?;
    let starts: [&[u8]; 4] = [
        b"",
        b"P",
        b"PRI ",
        b"POST /api/progress HTTP/1.1\r\nhost: app.exa",
    ];
    stream
        .write_all(starts[usize::try_from(one).unwrap_or(0) % starts.len()])
        .await?;
    counts.half_open.fetch_add(1, Ordering::Relaxed);
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn idle_at_admin(admin: SocketAddr, one: u64, counts: &Counts) -> std::io::Result<()> {
    let mut stream = connect(admin, address(27, one)).await?;
    counts.admin_idle.fetch_add(1, Ordering::Relaxed);
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Ends with its connection.
async fn call_slowly(to: SocketAddr, one: u64, counts: &Arc<Counts>) -> std::io::Result<()> {
    let stream = connect(to, address(26, one)).await?;
    let handshake =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(lost)?;
    let mut calls = JoinSet::new();
    calls.spawn(async move { connection.await.map_err(lost) });
    for _ in 0..SLOW_CALLS {
        let (mut sender, counts) = (sender.clone(), Arc::clone(counts));
        calls.spawn(async move {
            loop {
                let next = Instant::now() + WAVE;
                let request = Request::get("http://app.example/report")
                    .body(Full::default())
                    .expect("a request");
                let status = sender.send_request(request).await.map_err(lost)?.status();
                let count = if status.is_success() {
                    &counts.slow_calls
                } else {
                    &counts.slow_refused
                };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep_until(next).await;
            }
        });
    }
    // All end when one does.
    calls
        .join_next()
        .await
        .map_or(Ok(()), |ended| ended.map_err(std::io::Error::other)?)
}

async fn be_limited(to: SocketAddr, counts: &Counts) -> std::io::Result<()> {
    let stream = connect(to, address(25, 0)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    loop {
        sender.ready().await.map_err(lost)?;
        let number = counts.limited.fetch_add(1, Ordering::Relaxed);
        let body =
            format!("{{\"id\":\"limited:{number}\",\"user_id\":\"{LIMITED}\",\"percent\":1}}");
        let answer = sender
            .send_request(post(&format!("good-{LIMITED}"), body))
            .await
            .map_err(lost)?;
        answer.into_body().collect().await.map_err(lost)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
