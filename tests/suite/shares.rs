//! What callers hold whom nothing speaks for: of each bound a share, divided by client address
//! (P10, rulings 20 and 25).

use crate::crash::configure;
use crate::support::calls::{BY_LISTS, EXPLAIN, body};
use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Answer, Http, Sidecar};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

/// A user whose lanes are in one shard, whoever calls.
const USER: &str = "u";
/// Lanes of a shard, of which strangers may have 16, and those of one address 4.
const LANES: usize = 32;

fn is_forged(seen: &Seen) -> bool {
    seen.header("authorization").starts_with("forged")
}

/// The application is ill where batches of forged tokens come, and refuses them alone.
fn refuse_forged(seen: &Seen) -> Option<crate::support::upstream::Reply> {
    is_forged(seen).then(|| answer(if seen.path == "/batch" { 503 } else { 401 }, json!({})))
}

/// As many lanes as make [`LANES`] of each shard.
fn lanes() -> String {
    let shards = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(16));
    format!("[limits]\nmax_lanes = {}\n[batch.progress]", LANES * shards)
}

async fn narrow() -> Sidecar {
    let sidecar = Sidecar::start(&[EXPLAIN, ("[batch.progress]", &lanes())]).await;
    sidecar.upstream.answer_with(refuse_forged);
    sidecar
}

/// A journal of so many bytes.
async fn small(bytes: &str) -> Sidecar {
    let journal = format!("durability = \"none\"\nmax_bytes = \"{bytes}\"");
    let sidecar = Sidecar::start(&[EXPLAIN, ("durability = \"none\"", &journal)]).await;
    sidecar.upstream.answer_with(refuse_forged);
    sidecar
}

impl Sidecar {
    /// An event of a token from an address.
    async fn from(&self, address: &str, token: &str, id: &str) -> Answer {
        self.send(
            &[("authorization", token), ("x-forwarded-for", address)],
            USER,
            id,
        )
        .await
    }

    async fn strangers(&self, bound: &str) -> u64 {
        self.counter(&format!("tidegate_strangers{{bound=\"{bound}\"}}"))
            .await
    }

    /// Waits until strangers hold as much as this; a test that waits in vain is ended by its
    /// runner.
    async fn until_strangers(&self, bound: &str, wanted: u64) {
        while self.strangers(bound).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// A batch of this token is taken.
    async fn make_good(&self, token: &str) {
        let before = self.running.ledger().accepted;
        let heard = self
            .from("203.0.113.1", token, &format!("first of {token}"))
            .await;
        assert_eq!(heard.status, StatusCode::ACCEPTED, "{heard:?}");
        self.flush().await;
        self.until(|ledger| ledger.accepted > before).await;
    }
}

fn is_taken(heard: &Answer) -> bool {
    if heard.status == StatusCode::ACCEPTED {
        return true;
    }
    assert_eq!(
        heard.header("tidegate-forwarded"),
        "too_many_strangers",
        "{heard:?}"
    );
    assert_eq!(
        heard.status,
        StatusCode::UNAUTHORIZED,
        "the application's own answer"
    );
    false
}

/// How many of these calls were acknowledged, each with a forged token of its own.
async fn flood(sidecar: &Sidecar, name: &str, addresses: impl Iterator<Item = String>) -> usize {
    let mut taken = 0;
    for (number, address) in addresses.enumerate() {
        let token = format!("forged-{name}-{number}");
        taken += usize::from(is_taken(&sidecar.from(&address, &token, "e").await));
    }
    taken
}

/// More lanes than strangers may have of a shard.
async fn good_goes_on(sidecar: &Sidecar, token: &str) {
    for number in 0..2 * LANES {
        let user = format!("pupil-{number}");
        sidecar
            .taken(&[("authorization", token)], &user, &format!("of {user}"))
            .await;
    }
}

#[tokio::test]
async fn a_connection_goes_before_others_from_the_first_call_of_a_known_caller_on() {
    let sidecar = narrow().await;
    let known = || sidecar.counter("tidegate_known_connections_total");
    assert!(is_taken(&sidecar.from("9.9.9.9", "forged-one", "f").await));
    sidecar.make_good("good").await;
    assert_eq!(known().await, 0, "nobody was known when these calls came");
    for number in 0..3 {
        sidecar
            .taken(&[("authorization", "good")], USER, &format!("g-{number}"))
            .await;
        assert_eq!(known().await, 1, "once for the connection");
    }
    let other = TcpStream::connect(sidecar.running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(other))
        .await
        .unwrap();
    drop(tokio::spawn(connection));
    for (token, wanted) in [("forged-two", 1), ("good", 2)] {
        let call = Request::get("/other")
            .header("host", sidecar.running.address.to_string())
            .header("authorization", token)
            .body(Empty::<Bytes>::new())
            .unwrap();
        sender.send_request(call).await.unwrap();
        assert_eq!(known().await, wanted, "{token}");
        sender.ready().await.unwrap();
    }
}

#[tokio::test]
async fn forged_tokens_of_one_address_leave_room_for_the_good_and_for_newcomers_from_elsewhere() {
    let sidecar = narrow().await;
    sidecar.make_good("good").await;
    let taken = flood(&sidecar, "one", (0..30).map(|_| "9.9.9.9".to_owned())).await;
    assert_eq!(
        (taken, sidecar.declined("too_many_strangers").await),
        (4, 26)
    );
    assert_eq!(sidecar.strangers("lanes").await, 4);
    // A newcomer from another address is a stranger too, and none of those.
    assert!(is_taken(
        &sidecar.from("8.8.8.8", "forged-newcomer", "n").await
    ));
    assert_eq!(sidecar.strangers("lanes").await, 5);
    good_goes_on(&sidecar, "good").await;
    assert_eq!(
        sidecar.strangers("lanes").await,
        5,
        "the good are never counted"
    );
    assert_eq!(sidecar.declined("too_many_lanes").await, 0);
}

#[tokio::test]
async fn forged_tokens_of_many_addresses_have_half_of_the_lanes_and_the_good_the_rest() {
    let sidecar = narrow().await;
    sidecar.make_good("good").await;
    // All addresses of a site count as one.
    let site = flood(
        &sidecar,
        "site",
        (0..20).map(|host| format!("2001:db8:1:2:{host}::1")),
    )
    .await;
    assert_eq!(site, 4);
    let many = flood(
        &sidecar,
        "many",
        (0..60).map(|host| format!("198.51.100.{host}")),
    )
    .await;
    assert_eq!((many, sidecar.strangers("lanes").await), (12, 16));
    good_goes_on(&sidecar, "good").await;
    assert_eq!(sidecar.strangers("lanes").await, 16);
}

#[tokio::test]
async fn what_an_untrusted_call_says_of_its_address_gives_it_no_share() {
    let nobody = ("[server]\n", "[server]\ntrusted_proxies = []\n");
    let sidecar = Sidecar::start(&[EXPLAIN, nobody, ("[batch.progress]", &lanes())]).await;
    sidecar.upstream.answer_with(refuse_forged);
    let taken = flood(
        &sidecar,
        "liar",
        (0..20).map(|host| format!("198.51.100.{host}")),
    )
    .await;
    assert_eq!(taken, 4);
}

#[tokio::test]
async fn bytes_of_strangers_leave_the_good_half_of_the_journal() {
    let sidecar = small("64KiB").await;
    sidecar.make_good("good").await;
    let one = flood(&sidecar, "one", (0..30).map(|_| "9.9.9.9".to_owned())).await;
    let held = sidecar.strangers("bytes").await;
    assert!(
        one > 0 && (4_096..=8_192).contains(&held),
        "{one} events of {held} bytes"
    );
    let many = flood(
        &sidecar,
        "many",
        (0..200).map(|host| format!("198.51.100.{host}")),
    )
    .await;
    let held = sidecar.strangers("bytes").await;
    assert!(
        many > one && (24_576..=32_768).contains(&held),
        "{many} events of {held} bytes"
    );
    // Each takes over 512 bytes: together more than 20,000 of what is left.
    for number in 0..40 {
        sidecar
            .taken(
                &[("authorization", "good")],
                &format!("pupil-{number}"),
                "g",
            )
            .await;
    }
    assert_eq!(
        (
            sidecar.strangers("bytes").await,
            sidecar.declined("not_kept").await
        ),
        (held, 0)
    );
}

#[tokio::test]
async fn a_principals_share_is_free_once_it_is_taken_and_held_again_once_it_is_refused() {
    let sidecar = narrow().await;
    for number in 0..4 {
        assert!(is_taken(
            &sidecar
                .from("9.9.9.9", &format!("newcomer-{number}"), "a")
                .await
        ));
    }
    let heard = sidecar.from("9.9.9.9", "newcomer-4", "a").await;
    assert_eq!(
        (heard.status, heard.header("tidegate-forwarded")),
        (StatusCode::OK, "too_many_strangers")
    );
    assert_eq!(
        sidecar.from("9.9.9.9", "newcomer-4", "b").await.status,
        StatusCode::ACCEPTED,
        "it was taken"
    );
    assert_eq!(sidecar.strangers("lanes").await, 4);
    sidecar.delivered().await;
    assert_eq!(
        (
            sidecar.strangers("lanes").await,
            sidecar.strangers("bytes").await
        ),
        (0, 0)
    );
    for number in 0..4 {
        assert_eq!(
            sidecar
                .from("9.9.9.9", &format!("newcomer-{number}"), "b")
                .await
                .status,
            StatusCode::ACCEPTED
        );
    }
    assert_eq!(
        (
            sidecar.strangers("lanes").await,
            sidecar.strangers("bytes").await
        ),
        (0, 0),
        "they are good"
    );
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(401, json!({}))));
    sidecar.flush().await;
    sidecar.until_strangers("lanes", 4).await;
    assert!(sidecar.strangers("bytes").await > 0);
    sidecar.upstream.answer_with(|_| None);
    for number in 0..4 {
        let heard = sidecar
            .from("9.9.9.9", &format!("newcomer-{number}"), "c")
            .await;
        assert_eq!(
            (heard.status, heard.header("tidegate-forwarded")),
            (StatusCode::OK, "credential_rejected")
        );
    }
    sidecar.until_strangers("lanes", 0).await;
    sidecar.until_strangers("bytes", 0).await;
}

#[tokio::test]
async fn strangers_hold_nothing_when_nothing_is_pending_whatever_became_of_their_events() {
    let sidecar = small("1MiB").await;
    sidecar.upstream.answer_with(|seen| {
        let status = match seen.header("authorization").split('-').next() {
            Some("dead") => 422,
            Some("late") => 401,
            _ => return None,
        };
        (seen.path == "/batch").then(|| answer(status, json!({})))
    });
    for number in 0..30 {
        for (token, address) in [
            ("dead", "9.9.9.1"),
            ("late", "9.9.9.2"),
            ("fine", "9.9.9.3"),
        ] {
            let heard = sidecar
                .from(
                    address,
                    &format!("{token}-{}", number % 7),
                    &number.to_string(),
                )
                .await;
            assert!(heard.status.is_success(), "{heard:?}");
        }
        if number % 4 == 0 {
            sidecar.flush().await;
        }
    }
    sidecar.flush().await;
    // Refused principals' calls were forwarded and taken, so that all goes in the end.
    sidecar.upstream.answer_with(|seen| {
        (seen.path == "/batch" && seen.header("authorization").starts_with("dead"))
            .then(|| answer(422, json!({})))
    });
    for number in 0..7 {
        sidecar
            .from("9.9.9.2", &format!("late-{number}"), "last")
            .await;
    }
    sidecar.delivered().await;
    assert_eq!(sidecar.strangers("lanes").await, 0);
    let letters = sidecar
        .admin(Method::GET, "/dead-letters")
        .await
        .json()
        .as_array()
        .unwrap()
        .len();
    assert!(
        letters > 0 && sidecar.strangers("bytes").await > 0,
        "contexts of dead letters are kept"
    );
    sidecar.admin(Method::DELETE, "/dead-letters").await;
    assert_eq!(sidecar.strangers("bytes").await, 0);
}

#[tokio::test]
async fn a_repetition_takes_nothing_and_is_answered_though_strangers_hold_their_share() {
    // An address has 2,048 bytes.
    let journal = (
        "durability = \"none\"",
        "durability = \"none\"\nmax_bytes = \"16KiB\"",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, journal]).await;
    sidecar.upstream.answer_with(refuse_forged);
    assert!(is_taken(&sidecar.from("9.9.9.9", "forged", "a").await));
    let bytes = sidecar.strangers("bytes").await;
    // Of these calls the head is another one, for which there is no room.
    let agent = "x".repeat(2_000);
    let again = [
        ("authorization", "forged"),
        ("x-forwarded-for", "9.9.9.9"),
        ("user-agent", agent.as_str()),
    ];
    for headers in [&again[..2], &again, &again] {
        sidecar.taken(headers, USER, "a").await;
    }
    assert_eq!(
        (
            sidecar.strangers("bytes").await,
            sidecar.running.ledger().duplicate
        ),
        (bytes, 3)
    );
    sidecar.upstream.answer_with(|_| None);
    let other = sidecar.send(&again, USER, "b").await;
    assert_eq!(
        (other.status, other.header("tidegate-forwarded")),
        (StatusCode::OK, "too_many_strangers")
    );
}

#[tokio::test]
async fn a_clients_batch_of_which_only_a_part_has_room_is_forwarded_whole() {
    // An address has 2,048 bytes: a context and two events.
    let sidecar = small("16KiB").await;
    let element = |id: &str| json!({ "clientEventId": id, "userId": USER, "lessonId": "l" });
    let send = async |ids: &[&str]| {
        let events: Vec<_> = ids.iter().map(|id| element(id)).collect();
        let headers = [("authorization", "new"), ("x-forwarded-for", "9.9.9.9")];
        sidecar
            .call(
                Method::POST,
                "/batch",
                &headers,
                json!({ "events": events }).to_string(),
            )
            .await
    };
    assert_eq!(send(&["a"]).await.json()["accepted"], json!(["a"]));
    let whole = send(&["b", "c", "d"]).await;
    assert_eq!(
        (whole.header("tidegate-forwarded"), whole.status),
        ("too_many_strangers", StatusCode::OK)
    );
    assert_eq!(sidecar.upstream.batches(), [vec!["a"], vec!["b", "c", "d"]]);
    assert_eq!(sidecar.running.ledger().received, 1);
}

#[tokio::test]
async fn listeners_of_one_address_have_a_share_of_the_places_and_others_find_one() {
    let sidecar = Sidecar::start(&[]).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let listen = async |address: &str, token: &str| {
        let uri = format!("http://{}/_tidegate/invalidations", sidecar.running.address);
        let request = Request::get(uri)
            .header("authorization", token)
            .header("x-forwarded-for", address);
        client
            .request(request.body(Empty::new()).unwrap())
            .await
            .unwrap()
            .status()
    };
    // Who has left is remembered for a while, and so is its place.
    for number in 0..1_250 {
        assert_eq!(
            listen("9.9.9.9", &format!("forged-{number}")).await,
            StatusCode::OK
        );
    }
    assert_eq!(
        listen("9.9.9.9", "forged").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(listen("8.8.8.8", "newcomer").await, StatusCode::OK);
    sidecar.make_good("good").await;
    assert_eq!(listen("9.9.9.9", "good").await, StatusCode::OK);
    assert_eq!(sidecar.strangers("listeners").await, 1_251);
}

#[tokio::test]
async fn calls_that_wait_though_their_client_reset_them_are_bounded_and_others_go() {
    const MOST: u64 = 512;
    let patient = ("response_timeout = \"5s\"", "response_timeout = \"60s\"");
    let sidecar = Sidecar::start(&[patient]).await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    assert_eq!(
        sidecar.from("9.9.9.9", "forged", "a").await.status,
        StatusCode::ACCEPTED
    );
    let io = TokioIo::new(TcpStream::connect(sidecar.running.address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let delete = || {
        let request = Request::delete(format!(
            "http://{}/event?userId={USER}",
            sidecar.running.address
        ));
        let request = request
            .header("authorization", "forged")
            .header("x-forwarded-for", "9.9.9.9");
        let (mut sender, request) = (sender.clone(), request.body(Empty::<Bytes>::new()).unwrap());
        async move { sender.send_request(request).await.unwrap() }
    };
    for waiting in (32..=MOST).step_by(32) {
        let calls: Vec<_> = (0..32).map(|_| tokio::spawn(delete())).collect();
        sidecar.until_strangers("calls", waiting).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
    let beyond = delete().await;
    assert_eq!(
        (beyond.status(), &beyond.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(sidecar.declined("busy").await, 1);
    for (address, token) in [("9.9.9.9", "other"), ("8.8.8.8", "newcomer")] {
        let headers = [("authorization", token), ("x-forwarded-for", address)];
        let other = sidecar
            .call(Method::DELETE, "/event?userId=v", &headers, "")
            .await;
        assert_eq!(
            other.status,
            StatusCode::OK,
            "nothing is before it, so that it doesn't wait"
        );
    }
    assert_eq!(
        sidecar.strangers("calls").await,
        MOST,
        "whatever became of their client"
    );
    sidecar.upstream.open_gate();
    sidecar.until_strangers("calls", 0).await;
}

/// Each start has another port: without a host of their own, calls before and after would be of
/// different hosts.
async fn send(process: &Process, address: &str, token: &str, id: &str) -> Answer {
    let headers = [
        ("authorization", token),
        ("x-forwarded-for", address),
        ("host", "app.test"),
    ];
    Http::default()
        .try_call(
            process.address,
            Method::POST,
            "/event",
            &headers,
            body(USER, id, ""),
        )
        .await
        .unwrap()
}

async fn held(process: &Process) -> serde_json::Value {
    let status = Http::default()
        .try_call(process.admin, Method::GET, "/status", &[], "")
        .await
        .unwrap();
    status.json()["strangers"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_finds_of_strangers_counts_as_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(refuse_forged);
    let lanes = lanes();
    let config = configure(
        directory.path(),
        upstream.address,
        "process",
        &[EXPLAIN, ("[batch.progress]", &lanes)],
    );
    let process = Process::start(&config);
    for number in 0..4 {
        assert!(is_taken(
            &send(&process, "9.9.9.9", &format!("forged-{number}"), "a").await
        ));
    }
    let before = held(&process).await;
    assert_eq!(before["lanes"], 4);
    process.kill();
    let process = Process::start(&config);
    assert_eq!(held(&process).await, before);
    assert!(!is_taken(&send(&process, "9.9.9.9", "forged-5", "a").await));
    assert!(is_taken(&send(&process, "8.8.8.8", "forged-6", "a").await));
    // An event that was kept before the kill is known as its caller's, and takes nothing again.
    assert!(is_taken(&send(&process, "9.9.9.9", "forged-0", "a").await));
    assert_eq!(held(&process).await["lanes"], 5);
}
