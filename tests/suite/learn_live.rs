//! What `tidegate learn` proposes of the calls that a running sidecar forwards, and that recording
//! them changes nothing.

use crate::learn::{differences, token};
use crate::support::process::{Process, catches_interrupts, run};
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Answer, Http, Sidecar, in_time};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};

/// A relay: no rule has any call.
const RELAY: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://UPSTREAM"
"#;

async fn relay() -> Sidecar {
    let sidecar = Sidecar::with(RELAY, Clock::default()).await;
    sidecar.upstream.answer_with(application);
    sidecar
}

/// Begins a recording; its number.
async fn begin(sidecar: &Sidecar) -> u64 {
    let begun = sidecar.admin(Method::POST, "/learn?for=10m").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    begun.json()["recording"].as_u64().unwrap()
}

async fn propose(sidecar: &Sidecar, recording: u64) -> Value {
    let path = format!("/learn/proposal?recording={recording}");
    let proposed = sidecar.admin(Method::POST, &path).await;
    assert_eq!(proposed.status, StatusCode::OK, "{proposed:?}");
    proposed.json()
}

fn toml_of(proposal: &Value) -> &str {
    proposal["toml"].as_str().unwrap()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The time of day, another one at each call.
fn time() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let time = jiff::Timestamp::now() + Duration::from_millis(u64::from(call % 1_000));
    format!("{time:.3}")
}

/// An application that keeps a learner's place in a lesson, and one page of a user.
fn application(call: &Seen) -> Option<crate::support::upstream::Reply> {
    let path = call.path.split('?').next().unwrap();
    let plain = match call.header("content-encoding") {
        "gzip" => {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&*call.body)
                .read_to_end(&mut text)
                .unwrap();
            text
        }
        _ => call.body.to_vec(),
    };
    let body: Value = serde_json::from_slice(&plain).unwrap_or_default();
    let text = match path {
        "/api/v1/places" => json!({
            "ok": true, "lesson": body["lesson"], "position": body["position"],
            "saved_at": time(),
        }),
        "/api/v1/notes" => json!({ "stored": true, "note": body["note"] }),
        _ => json!({ "name": "Marker Name", "mail": "marker@home.test" }),
    };
    let mut reply = answer(200, text.clone());
    if call.header("accept-encoding") == "gzip" {
        *reply.body_mut() = Full::from(gzip(text.to_string().as_bytes()));
        let headers = reply.headers_mut();
        headers.insert("content-encoding", "gzip".parse().unwrap());
    }
    let origin = call.header("origin");
    if origin == "https://app.test" {
        let headers = reply.headers_mut();
        headers.insert("access-control-allow-origin", origin.parse().unwrap());
        headers.insert("access-control-allow-credentials", "true".parse().unwrap());
    }
    Some(reply)
}

/// A user, as its calls show it.
struct User {
    name: String,
    bearer: String,
    device: String,
}

impl User {
    fn new(number: usize) -> Self {
        let name = format!("marker-user-{number}");
        let mail = format!("marker{number}@home.test");
        Self {
            bearer: format!("Bearer {}", token(&json!({ "sub": name, "email": mail }))),
            device: format!("5e000000-10b1-426f-9247-0000000000{number:02}"),
            name,
        }
    }

    fn place(&self, count: usize) -> Value {
        json!({
            // Each user counts its own events: two users have the same ids.
            "eventId": format!("e{count}"), "userId": self.name, "device": self.device,
            "lesson": format!("lesson {count} of {}", self.name), "position": 1_000 + count,
        })
    }

    async fn call(&self, sidecar: &Sidecar, path: &str, coded: bool, body: &Value) -> Answer {
        let csrf = format!("csrf-of-{}-0123456789", self.name);
        let cookie = format!("csrf={csrf}; _ga=GA1.1.{}", self.name);
        let mut headers = vec![
            ("authorization", &*self.bearer),
            ("content-type", "application/json"),
            ("origin", "https://app.test"),
            ("cookie", &*cookie),
            ("x-csrf-token", &*csrf),
        ];
        let mut text = body.to_string().into_bytes();
        if coded {
            headers.extend([("content-encoding", "gzip"), ("accept-encoding", "gzip")]);
            text = gzip(&text);
        }
        sidecar.call(Method::POST, path, &headers, text).await
    }
}

/// What six users do, one of them in a coding, and somebody else.
async fn traffic(sidecar: &Sidecar) {
    for number in 0..6 {
        let user = User::new(number);
        for count in 0..4 {
            let coded = number == 5;
            let body = user.place(count);
            let answer = user.call(sidecar, "/api/v1/places", coded, &body).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        let headers = [("authorization", &*user.bearer)];
        let path = format!("/users/{}", user.name);
        sidecar.call(Method::GET, &path, &headers, "").await;
    }
    // A page of another site, a parameter of its own, and a name that is a word of the path.
    let stranger = User::new(66);
    let mut body = stranger.place(0);
    body["userId"] = json!("places");
    for _ in 0..2 {
        let headers = [
            ("authorization", &*stranger.bearer),
            ("origin", "https://marker-site.test"),
            ("content-type", "application/json"),
        ];
        let path = "/api/v1/places?marker_parameter=1";
        let text = body.to_string();
        sidecar.call(Method::POST, path, &headers, text).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_several_users_through_a_relay_give_a_proposal_that_acknowledges_as_the_application_did()
 {
    let sidecar = relay().await;
    let recording = begin(&sidecar).await;
    for number in 0..6 {
        let user = User::new(number);
        for count in 0..4 {
            let (coded, body) = (number == 5, user.place(count));
            user.call(&sidecar, "/api/v1/places", coded, &body).await;
        }
    }
    let proposal = propose(&sidecar, recording).await;
    assert_eq!(proposal["exchanges"], 24, "{proposal}");
    let toml = toml_of(&proposal);
    for line in [
        "clientEventId = \"{body.eventId}\"",
        "user = \"{jwt.sub|event.userId}\"",
        "require = [\"jwt\", \"cookie:csrf\"]",
        "origins = [\"https://app.test\"]",
        "mode = \"coalesce\"",
        "# Proposed by `tidegate learn` from 24 exchanges that were forwarded",
    ] {
        let found = toml.lines().any(|known| known.starts_with(line));
        assert!(found, "{line}\nis not in\n{toml}");
    }
    // What differs between users only splits nobody's batches.
    assert!(!toml.contains("differs in nearly each"), "{toml}");

    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[journal]\n\
         durability = \"none\"\n{toml}"
    );
    let second = Sidecar::with(&text, Clock::default()).await;
    for (number, count) in [(1, 77), (2, 77), (3, 78)] {
        let user = User::new(number);
        let body = user.place(count);
        let told = user.call(&sidecar, "/api/v1/places", false, &body).await;
        let ack = user.call(&second, "/api/v1/places", false, &body).await;
        assert_ne!(ack.header("tidegate-event"), "", "{ack:?}\n{toml}");
        let mut found = Vec::new();
        differences("ack.body", &ack.json(), &told.json(), &mut found);
        assert!(
            found.is_empty(),
            "{found:?}\n{}\n{}",
            ack.json(),
            told.json()
        );
        assert_eq!(ack.status, told.status);
        assert_eq!(ack.json()["lesson"], told.json()["lesson"]);
    }
    assert_eq!(second.running.ledger().received, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_body_or_a_credential_and_no_strangers_words_are_in_a_recordings_proposal() {
    let sidecar = relay().await;
    let recording = begin(&sidecar).await;
    traffic(&sidecar).await;
    let proposal = propose(&sidecar, recording).await;
    let all = proposal.to_string();
    for marker in [
        "marker",
        "Marker",
        "home.test",
        "lesson 0",
        "csrf-of",
        "GA1",
        "5e000000",
        "eyJ",
    ] {
        assert!(
            !all.contains(marker),
            "{marker}\nis in\n{}",
            toml_of(&proposal)
        );
    }
    // A stranger says that a word of everybody's path is a user: nobody is switched on by it.
    let events = proposal["events"].as_array().unwrap();
    assert!(!events.is_empty(), "{proposal}");
    assert!(
        events.iter().all(|event| event["mode"] == "off"),
        "{proposal}"
    );
    assert!(
        all.contains("2 event calls came from origins that their answers didn't allow"),
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_acknowledged_calls_say_is_not_recorded_and_what_is_declined_is() {
    let sidecar = Sidecar::start(&[]).await;
    let recording = begin(&sidecar).await;
    sidecar.event("t", "u", "a").await;
    for path in ["/snapshot", "/other"] {
        sidecar
            .call(Method::PUT, path, &[("authorization", "t")], "{}")
            .await;
    }
    sidecar.get("t", "/progress").await;
    let declined = sidecar
        .call(Method::POST, "/event", &[("authorization", "t")], "no json")
        .await;
    assert_eq!(declined.status, StatusCode::OK);
    let path = format!("/learn?recording={recording}");
    let progress = sidecar.admin(Method::GET, &path).await.json();
    // The write, the call of no rule, the read, and the event that was declined.
    assert_eq!(progress["calls"], 4, "{progress}");
    assert_eq!(progress["over"], false);
}

#[tokio::test]
async fn one_recording_at_a_time_is_asked_for_by_its_number_and_ends_without_a_trace() {
    let sidecar = relay().await;
    for wrong in ["for=0s", "for=11m", "for=x"] {
        let path = format!("/learn?{wrong}");
        let found = sidecar.admin(Method::POST, &path).await.status;
        assert_eq!(found, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let first = begin(&sidecar).await;
    let second = sidecar.admin(Method::POST, "/learn").await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    assert!(String::from_utf8_lossy(&second.body).contains("calls are being recorded already"));
    let user = User::new(1);
    user.call(&sidecar, "/api/v1/notes", false, &json!({ "note": "x" }))
        .await;
    for (method, path) in [
        (Method::GET, "/learn?recording=77"),
        (Method::DELETE, "/learn?recording=77"),
        (Method::POST, "/learn/proposal?recording=77"),
        (Method::GET, "/learn"),
    ] {
        let found = sidecar.admin(method, path).await.status;
        assert_eq!(found, StatusCode::NOT_FOUND, "{path}");
    }
    let path = format!("/learn?recording={first}");
    let ended = sidecar.admin(Method::DELETE, &path).await;
    assert_eq!(ended.status, StatusCode::OK);
    let third = begin(&sidecar).await;
    let path = format!("/learn?recording={third}");
    let progress = sidecar.admin(Method::GET, &path).await.json();
    assert_eq!(
        (&progress["calls"], &progress["bytes"]),
        (&json!(0), &json!(0))
    );
    let proposal = propose(&sidecar, third).await;
    assert_eq!(proposal["exchanges"], 0);
    assert!(proposal["events"].as_array().unwrap().is_empty());
}

/// An application that answers each call as its path says, once it has what the test sends, and
/// closes; and what it was sent.
struct Raw {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<String>,
    /// It may close the connection.
    close: Arc<Notify>,
}

/// What a case's client sends, what of it the application waits for, what that answers, and what of
/// the answer must be there before it closes.
struct Case {
    name: &'static str,
    sent: Vec<u8>,
    until: &'static [u8],
    answer: Vec<u8>,
    told: &'static [u8],
}

impl Raw {
    async fn start(until: &'static [u8], answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let close = Arc::<Notify>::default();
        let may_close = Arc::clone(&close);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = read_until(&mut stream, until).await;
                tell.send(seen).unwrap();
                stream.write_all(&answer).await.unwrap();
                may_close.notified().await;
                stream.shutdown().await.unwrap();
            }
        });
        Self {
            address,
            seen,
            close,
        }
    }
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> String {
    let (mut seen, mut part) = (Vec::new(), vec![0; 64 << 10]);
    while !seen.windows(end.len()).any(|window| window == end) {
        let count = stream.read(&mut part).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

fn cases() -> Vec<Case> {
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec();
    let case = |name, sent: Vec<u8>, until, answer| Case {
        name,
        sent,
        until,
        told: match name {
            "an answer that breaks off" => b"half",
            "an answer without a length" => b"until the end",
            "an upgrade" => b"raw bytes",
            _ => b"\r\n\r\n",
        },
        answer,
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let post = |headers: &str, body: &[u8]| {
        let head = format!("POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    };
    let long = vec![b'x'; 40 << 10];
    let length = format!("content-length: {}\r\n", long.len() + 3);
    let chunk = format!("{:x}\r\n", long.len());
    let chunked = [chunk.as_bytes(), &long, b"\r\n3\r\nEND\r\n0\r\n\r\n"].concat();
    let answered = |headers: &str, body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), body].concat()
    };
    let coded = gzip(b"{\"ok\":true}");
    let coded_length = format!(
        "content-encoding: gzip\r\ncontent-length: {}\r\n",
        coded.len()
    );
    vec![
        case(
            "trailers both ways",
            post(
                "te: trailers\r\ntrailer: x-in\r\ntransfer-encoding: chunked\r\n",
                b"3\r\nabc\r\n0\r\nx-in: 5\r\n\r\n",
            ),
            b"x-in: 5",
            answered(
                "transfer-encoding: chunked\r\ntrailer: x-out\r\n",
                b"2\r\nhi\r\n0\r\nx-out: 7\r\n\r\n",
            ),
        ),
        case(
            "long bodies of known length",
            post(&length, &[&*long, b"END"].concat()),
            b"END",
            answered(&length, &[&*long, b"END"].concat()),
        ),
        case(
            "long bodies in chunks",
            post("transfer-encoding: chunked\r\n", &chunked),
            b"END",
            answered("transfer-encoding: chunked\r\n", &chunked),
        ),
        case(
            "codings",
            post(&coded_length, &coded),
            b"\r\n\r\n",
            answered(&coded_length, &coded),
        ),
        case(
            "no coding, though its head says one",
            post("content-encoding: gzip\r\ncontent-length: 3\r\n", b"END"),
            b"END",
            answered("content-encoding: br\r\ncontent-length: 3\r\n", b"END"),
        ),
        case(
            "an answer that breaks off",
            get("/broken").into_bytes(),
            b"\r\n\r\n",
            answered("content-length: 10\r\n", b"half"),
        ),
        case(
            "an answer without a length",
            get("/close").into_bytes(),
            b"\r\n\r\n",
            answered("", b"until the end"),
        ),
        case(
            "an answer without a body",
            get("/none").into_bytes(),
            b"\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n".to_vec(),
        ),
        case(
            "a head alone",
            get("/head").replace("GET", "HEAD").into_bytes(),
            b"\r\n\r\n",
            answered("content-length: 4711\r\n", b""),
        ),
        case(
            "a client that waits for a 100",
            post("expect: 100-continue\r\ncontent-length: 3\r\n", b"END"),
            b"END",
            ok,
        ),
        case(
            "an upgrade",
            b"GET /up HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n".to_vec(),
            b"\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\nraw bytes"
                .to_vec(),
        ),
    ]
}

/// All that a client is answered, without the time.
async fn exchange(at: SocketAddr, case: &Case, close: &Notify) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&case.sent).await.unwrap();
    let mut told = read_until(&mut stream, case.told).await.into_bytes();
    close.notify_one();
    // A body that breaks off may end in a reset.
    drop(in_time("an answer", stream.read_to_end(&mut told)).await);
    let told = String::from_utf8_lossy(&told).into_owned();
    let lines = told.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// A message whose chunks, if it has any, are one: how a body is cut into them is up to how its bytes
/// arrive. What can't be read as chunks stays as it is.
fn join_chunks(message: &str) -> String {
    let Some((head, mut rest)) = message.split_once("\r\n\r\n") else {
        return message.to_owned();
    };
    if !head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return message.to_owned();
    }
    let mut out = format!("{head}\r\n\r\n");
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else {
            break;
        };
        let (Some(data), Some(next)) = (after.get(..size), after.get(size + 2..)) else {
            break;
        };
        out.push_str(data);
        rest = next;
    }
    out + "|" + rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_recorded_passes_both_ways_as_what_is_not() {
    for case in cases() {
        let mut raw = Raw::start(case.until, case.answer.clone()).await;
        let text = RELAY.replace("UPSTREAM", &raw.address.to_string());
        let start = || Sidecar::with(&text, Clock::default());
        let plain = exchange(start().await.running.address, &case, &raw.close).await;
        let plain_seen = raw.seen.recv().await.unwrap();
        // One that has no connection to the application yet: the first one's may just be closing.
        let sidecar = start().await;
        let recording = begin(&sidecar).await;
        let recorded = exchange(sidecar.running.address, &case, &raw.close).await;
        let recorded_seen = raw.seen.recv().await.unwrap();
        assert_eq!(join_chunks(&recorded), join_chunks(&plain), "{}", case.name);
        let [recorded_seen, plain_seen] =
            [recorded_seen, plain_seen].map(|seen| join_chunks(&seen));
        assert_eq!(recorded_seen, plain_seen, "{}", case.name);
        assert!(!plain.is_empty(), "{}", case.name);
        let path = format!("/learn?recording={recording}");
        let progress = sidecar.admin(Method::GET, &path).await.json();
        assert_eq!(progress["calls"], 1, "{}", case.name);
        propose(&sidecar, recording).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_goes_on_beyond_the_recording_and_is_told_as_unfinished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (next, wait) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_until(&mut stream, b"\r\n\r\n").await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: \
                    chunked\r\n\r\n7\r\ndata: 1\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        wait.await.unwrap();
        stream.write_all(b"7\r\ndata: 2\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let text = RELAY.replace("UPSTREAM", &address.to_string());
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let recording = begin(&sidecar).await;
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    let call = b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(call).await.unwrap();
    read_until(&mut client, b"data: 1").await;
    let proposal = propose(&sidecar, recording).await;
    assert_eq!(proposal["exchanges"], 0, "{proposal}");
    assert!(
        proposal["toml"]
            .as_str()
            .unwrap()
            .contains("1 calls are left out: their answers")
    );
    next.send(()).unwrap();
    read_until(&mut client, b"data: 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_proposes_of_a_running_sidecars_calls_and_a_signal_ends_the_recording() {
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(application);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let configure = |listen: &str, admin: &str| {
        let text = format!(
            "[server]\nlisten = \"{listen}\"\n[admin]\nlisten = \"{admin}\"\n\
             [upstream]\nurl = \"http://{}\"\n",
            upstream.address
        );
        std::fs::write(&file, text).unwrap();
    };
    let learn = |length: &'static str| {
        let file = file.clone();
        tokio::task::spawn_blocking(move || run(&["learn", "--for", length], &file, &[]))
    };
    configure("127.0.0.1:0", "127.0.0.1:1");
    let (code, said) = learn("1s").await.unwrap();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nobody answers at admin.listen"), "{said}");

    configure("127.0.0.1:0", "127.0.0.1:0");
    let process = Process::start(&file);
    let (public, admin) = (process.address, process.admin);
    configure(&public.to_string(), &admin.to_string());
    let (code, said) = learn("1ms").await.unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no call was forwarded"), "{said}");

    // So many calls that the recording is full: it doesn't wait for its end.
    let learning = learn("10m");
    let http = Http::default();
    let calls = async {
        for count in 0.. {
            if learning.is_finished() {
                break;
            }
            let user = User::new(count % 7);
            let headers = [("authorization", &*user.bearer)];
            let path = format!("/part-{}/of", count % 200);
            let text = user.place(count).to_string();
            let called = http
                .try_call(public, Method::PUT, &path, &headers, text)
                .await;
            assert_eq!(called.unwrap().status, StatusCode::OK);
        }
    };
    in_time("the proposal", calls).await;
    let (code, said) = learning.await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("calls found no room"), "{said}");
    assert!(
        said.contains(&format!("url = \"http://{}\"", upstream.address)),
        "{said}"
    );

    for end in ["-INT", "-TERM"] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["learn", "--config"])
            .arg(&file)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        assert!(line.contains("Ctrl-C ends it"), "{line}");
        assert!(catches_interrupts(child.id()), "said before it is true");
        let begin = || http.try_call(admin, Method::POST, "/learn", &[], "");
        assert_eq!(begin().await.unwrap().status, StatusCode::CONFLICT);
        let pid = child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args([end, &pid])
            .status();
        assert!(killed.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(1), "{end}");
        let begun = begin().await.unwrap();
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{end}");
        let path = format!("/learn?recording={}", begun.json()["recording"]);
        let ended = http.try_call(admin, Method::DELETE, &path, &[], "").await;
        assert!(ended.unwrap().status.is_success());
    }
    process.kill();
}
