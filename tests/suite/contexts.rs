//! P13: what an application would have read from the single calls it reads from their delivery, and
//! what that costs.

use crate::crash::configure;
use crate::support::calls::{BY_LISTS, EXPLAIN, body, ids_by};
use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, answer};
use crate::support::{Http, Sidecar};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, StatusCode};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;

const TOKEN: (&str, &str) = ("authorization", "Bearer t");

#[tokio::test]
async fn two_hosts_of_one_user_never_share_a_batch_and_each_delivery_names_its_own() {
    let sidecar = Sidecar::start(&[]).await;
    for (id, host) in ["a.example", "b.example", "a.example", "b.example"]
        .into_iter()
        .enumerate()
    {
        sidecar
            .taken(&[TOKEN, ("host", host)], "u", &id.to_string())
            .await;
    }
    let batches = sidecar.delivered().await;
    assert_eq!(batches.len(), 2);
    let wanted = [("a.example", ["0", "2"]), ("b.example", ["1", "3"])];
    let wanted = wanted.map(|(host, ids)| (host.to_owned(), ids.map(str::to_owned).to_vec()));
    for header in ["host", "x-forwarded-host"] {
        assert_eq!(ids_by(&batches, header), wanted.clone().into(), "{header}");
    }
}

#[tokio::test]
async fn calls_of_two_schemes_or_two_addresses_go_apart_each_with_its_own() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, scheme, client) in [
        ("a", "https", "9.9.9.9"),
        ("b", "http", "9.9.9.9"),
        ("c", "https", "9.9.9.9"),
        ("d", "https", "8.8.8.8"),
    ] {
        let way = [
            TOKEN,
            ("x-forwarded-proto", scheme),
            ("x-forwarded-for", client),
        ];
        sidecar.taken(&way, "u", id).await;
    }
    let batches = sidecar.delivered().await;
    let found: Vec<_> = batches
        .iter()
        .map(|batch| {
            (
                batch.ids(),
                batch.header("x-forwarded-proto"),
                batch.header("x-forwarded-for"),
            )
        })
        .collect();
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let wanted = [
        (ids(&["a"]), "https", "9.9.9.9, 127.0.0.1"),
        (ids(&["b"]), "http", "9.9.9.9, 127.0.0.1"),
        (ids(&["c"]), "https", "9.9.9.9, 127.0.0.1"),
        (ids(&["d"]), "https", "8.8.8.8, 127.0.0.1"),
    ];
    assert_eq!(found, wanted, "and in the order of the calls");
}

#[tokio::test]
async fn what_all_calls_share_travels_with_the_batch_and_the_newest_of_what_says_nothing() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, language, ga, trace) in [("a", "de", "1", "t-a"), ("b", "fr", "2", "t-b")] {
        let cookie = format!("sid=s; _ga={ga}; csrftoken=c");
        let headers = [
            TOKEN,
            ("user-agent", "Browser/1"),
            ("accept", "application/vnd.app+json"),
            ("x-app-version", "3.1"),
            ("cookie", &cookie),
            ("accept-language", language),
            ("referer", "https://app.example/lesson"),
            ("x-request-id", trace),
        ];
        sidecar.taken(&headers, "u", id).await;
    }
    let batches = sidecar.delivered().await;
    assert_eq!(
        batches.len(),
        1,
        "nothing in which they differ says who calls"
    );
    let shared = [
        ("authorization", "Bearer t"),
        ("user-agent", "Browser/1"),
        ("accept", "application/vnd.app+json"),
        ("x-app-version", "3.1"),
        ("cookie", "sid=s; _ga=2; csrftoken=c"),
        ("accept-language", "fr"),
        ("referer", "https://app.example/lesson"),
        ("content-type", "application/json"),
        ("x-request-id", ""),
    ];
    for (name, value) in shared {
        assert_eq!(batches[0].header(name), value, "{name}");
    }
}

#[tokio::test]
async fn an_own_header_that_changes_splits_the_window_and_each_batch_says_its_own() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    for (id, version) in [("a", "3.0"), ("b", "3.0"), ("c", "3.1"), ("d", "3.0")] {
        sidecar
            .taken(&[TOKEN, ("x-app-version", version)], "u", id)
            .await;
    }
    let batches = sidecar.delivered().await;
    let found: Vec<_> = batches
        .iter()
        .map(|batch| (batch.header("x-app-version"), batch.ids().concat()))
        .collect();
    let of = |version: &str| {
        found
            .iter()
            .filter(|(found, _)| *found == version)
            .map(|(_, ids)| ids.as_str())
            .collect::<String>()
    };
    assert_eq!(
        (of("3.0"), of("3.1")),
        ("abd".to_owned(), "c".to_owned()),
        "{found:?}"
    );
    assert_eq!(
        found
            .iter()
            .map(|(_, ids)| ids.as_str())
            .collect::<String>(),
        "abcd",
        "one user has one order"
    );
}

#[tokio::test]
async fn where_credentials_are_listed_what_calls_agree_in_goes_along_and_what_they_differ_in_does_not()
 {
    let sidecar = Sidecar::start(&[]).await;
    for (id, version, cookie) in [
        ("a", "3.0", "theme=dark; seen=1"),
        ("b", "3.1", "theme=dark; seen=2"),
    ] {
        let headers = [
            TOKEN,
            ("x-app-version", version),
            ("x-tenant", "acme"),
            ("cookie", cookie),
        ];
        sidecar.taken(&headers, "u", id).await;
    }
    let batches = sidecar.delivered().await;
    assert_eq!(batches.len(), 1);
    let found = ["x-tenant", "x-app-version", "cookie"].map(|name| batches[0].header(name));
    assert_eq!(found, ["acme", "", "theme=dark"]);
}

#[tokio::test]
async fn a_repeated_single_call_is_the_call_as_it_came() {
    let single = ("fallback = \"dead-letter\"", "fallback = \"single\"");
    let sidecar = Sidecar::start(&[BY_LISTS, single]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(404, json!({}))));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body("u", "a", ", \"more\" : 1.50").as_bytes())
        .unwrap();
    let raw = gzip.finish().unwrap();
    let headers = [
        TOKEN,
        ("host", "App.example"),
        ("content-type", "application/vnd.api+json; profile=x"),
        ("content-encoding", "gzip"),
        ("cookie", "b=2;  sid=s; _ga=1"),
        ("x-app-version", "3.1"),
        ("accept-language", "de"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-request-id", "r"),
    ];
    // What the application would have read: the same call on a path that nothing is said of.
    sidecar
        .call(Method::POST, "/elsewhere", &headers, raw.clone())
        .await;
    let taken = sidecar
        .call(Method::POST, "/event", &headers, raw.clone())
        .await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
    sidecar.delivered().await;
    let seen = sidecar.upstream.seen();
    let (plain, mut repeated) = (&seen[0], seen.last().unwrap().clone());
    assert_eq!(
        (repeated.path.as_str(), &repeated.method, &repeated.body[..]),
        ("/event", &Method::POST, &raw[..])
    );
    assert_eq!(repeated.headers.remove("idempotency-key").unwrap(), "a");
    assert_eq!(repeated.headers, plain.headers);
}

#[tokio::test]
async fn a_common_batch_holds_calls_of_one_host_and_one_scheme() {
    let shared = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\npack = \"shared\"\npack_wait = \"1h\"\n\
         service_credential = { header = \"authorization\", env = \"SERVICE\" }",
    );
    let sidecar = Sidecar::start(&[shared]).await;
    // Under one name, so that one shard has all of them, and a flush sends them in one moment.
    for (caller, host, scheme) in [
        ("ada", "a.example", "https"),
        ("bob", "b.example", "https"),
        ("eve", "a.example", "https"),
        ("joe", "a.example", "http"),
    ] {
        let token = format!("Bearer {caller}");
        sidecar
            .taken(
                &[
                    ("authorization", &token),
                    ("host", host),
                    ("x-forwarded-proto", scheme),
                ],
                "u",
                caller,
            )
            .await;
    }
    let batches = sidecar.delivered().await;
    let mut found: Vec<_> = batches
        .iter()
        .map(|batch| {
            // Callers of one batch come in any order.
            let mut ids = batch.ids();
            ids.sort();
            (
                batch.header("host"),
                batch.header("x-forwarded-proto"),
                ids.join(" "),
            )
        })
        .collect();
    found.sort();
    let wanted = [
        ("a.example", "http", "joe"),
        ("a.example", "https", "ada eve"),
        ("b.example", "https", "bob"),
    ];
    assert_eq!(
        found,
        wanted.map(|(host, scheme, ids)| (host, scheme, ids.to_owned()))
    );
}

#[tokio::test]
async fn what_calls_share_is_kept_once_in_memory() {
    let sidecar = Sidecar::start(&[
        BY_LISTS,
        (
            "flush_at = 4\nmax_events = 4",
            "flush_at = 50\nmax_events = 50",
        ),
    ])
    .await;
    let agent = "x".repeat(4_000);
    let held = async || sidecar.counter("tidegate_pending_bytes").await;
    sidecar
        .taken(&[TOKEN, ("user-agent", &agent)], "u", "first")
        .await;
    let first = held().await;
    for number in 0..20 {
        sidecar
            .taken(&[TOKEN, ("user-agent", &agent)], "u", &format!("e{number}"))
            .await;
    }
    let each = (held().await - first) / 20;
    assert!(
        first > 4_000 && each < 2_000,
        "the first took {first} bytes, each other one {each}"
    );
    sidecar.delivered().await;
    assert_eq!(held().await, 0, "what nothing needs any more is gone");
}

/// How often a text stands in the files of a directory.
fn times(directory: &Path, text: &str) -> usize {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| match path.is_dir() {
            true => times(&path, text),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                bytes
                    .windows(text.len())
                    .filter(|window| *window == text.as_bytes())
                    .count()
            }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_lies_in_the_journal_once_sealed_with_a_key_and_comes_back_whole_after_a_kill() {
    const AGENT: &str = "Agent-of-a-kind/1.0 (0123456789)";
    let headers = [
        TOKEN,
        ("host", "app.example"),
        ("user-agent", AGENT),
        ("x-app-version", "3.1"),
    ];
    for sealed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start().await;
        let key_file = directory.path().join("key");
        std::fs::write(&key_file, [7; 32]).unwrap();
        let key = format!("[delivery]\n# {}", key_file.display());
        let with_key = format!("key_file = \"{}\"\n[delivery]", key_file.display());
        let delivery = (
            "[delivery]",
            if sealed {
                with_key.as_str()
            } else {
                key.as_str()
            },
        );
        let more = [
            BY_LISTS,
            delivery,
            (
                "flush_at = 4\nmax_events = 4",
                "flush_at = 50\nmax_events = 50",
            ),
        ];
        let config = configure(directory.path(), upstream.address, "disk", &more);
        let (process, http) = (Process::start(&config), Http::default());
        for number in 0..10 {
            let call = body("u", &format!("e{number}"), "");
            let taken = http
                .try_call(process.address, Method::POST, "/event", &headers, call)
                .await
                .unwrap();
            assert_eq!(taken.status, StatusCode::ACCEPTED);
        }
        process.kill();
        let found = times(&directory.path().join("journal"), AGENT);
        assert_eq!(found, usize::from(!sealed), "for ten events");
        let (code, printed) = Process::start(&config).terminate();
        assert!(
            code == Some(0) && printed.contains("accepted 10"),
            "{printed}"
        );
        let seen = upstream.seen();
        assert_eq!(
            seen.iter().map(|batch| batch.ids().len()).sum::<usize>(),
            10
        );
        for (name, value) in headers {
            assert!(
                seen.iter().all(|batch| batch.header(name) == value),
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_call_with_a_generated_id_has_the_same_key_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|seen| {
        let status = if seen.path == "/batch" { 404 } else { 503 };
        Some(answer(status, json!({})))
    });
    let more = [
        ("fallback = \"dead-letter\"", "fallback = \"single\""),
        ("window = \"1h\"", "window = \"10ms\""),
    ];
    let config = configure(directory.path(), upstream.address, "disk", &more);
    let (process, http) = (Process::start(&config), Http::default());
    let call = json!({ "user": "u", "lesson": "l" }).to_string();
    let taken = http
        .try_call(process.address, Method::POST, "/event", &[TOKEN], call)
        .await
        .unwrap();
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    upstream
        .until(|seen| seen.iter().any(|one| one.path == "/event"))
        .await;
    process.kill();
    let before = upstream.seen().len();
    let process = Process::start(&config);
    upstream
        .until(|seen| seen[before..].iter().any(|one| one.path == "/event"))
        .await;
    process.kill();
    let seen = upstream.seen();
    let keys: Vec<_> = seen
        .iter()
        .filter(|one| one.path == "/event")
        .map(|one| one.header("idempotency-key"))
        .collect();
    assert_eq!(keys[0], taken.header("tidegate-event"));
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn beyond_its_share_of_contexts_a_principals_calls_are_forwarded_in_order_and_others_are_not()
{
    let cap = (
        "[batch.progress]",
        "[limits]\nmax_context_bytes = \"2KiB\"\n[batch.progress]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, cap]).await;
    let (mut forwarded, mut kept) = (None, Vec::new());
    for number in 0..8 {
        let version = format!("{number}{}", "x".repeat(500));
        let id = format!("e{number}");
        let sent = sidecar
            .send(&[TOKEN, ("x-app-version", &version)], "u", &id)
            .await;
        if sent.status == StatusCode::ACCEPTED {
            kept.push(id);
            continue;
        }
        assert_eq!(
            (sent.status, sent.header("tidegate-forwarded")),
            (StatusCode::OK, "many_contexts")
        );
        forwarded = Some(id);
        break;
    }
    assert!((1..4).contains(&kept.len()), "{kept:?}");
    let seen = sidecar.upstream.seen();
    let (last, before) = seen.split_last().unwrap();
    assert_eq!(
        before
            .iter()
            .flat_map(|batch| batch.ids())
            .collect::<Vec<_>>(),
        kept,
        "what was before it goes first"
    );
    assert!(
        last.path == "/event" && String::from_utf8_lossy(&last.body).contains(&forwarded.unwrap())
    );
    sidecar
        .taken(
            &[("authorization", "Bearer other"), ("x-app-version", "1")],
            "u",
            "other",
        )
        .await;
}
