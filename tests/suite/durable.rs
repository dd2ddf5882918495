//! What lies in a journal, as operators meet it: dead letters, a full disk, another configuration,
//! the commands.

use crate::crash::configure;
use crate::support::process::{LONG_DRAIN, Process, run};
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Http, Sidecar, in_time};
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tidegate::app::{self, Options, Running};
use tidegate::clock::Clock;
use tokio::io::AsyncWriteExt as _;

async fn post(at: std::net::SocketAddr, user: &str, id: &str) -> crate::support::Answer {
    let body = format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5}}");
    let token = format!("token-{user}");
    Http::default()
        .try_call(
            at,
            Method::POST,
            "/event",
            &[("authorization", &token)],
            body,
        )
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_survive_a_restart_and_a_replay_goes_with_its_own_credential() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let config = configure(
        directory.path(),
        upstream.address,
        "disk",
        &[("window = \"1h\"", "window = \"10ms\"")],
    );
    let process = Process::start(&config);
    for (user, id) in [("ann", "a"), ("bob", "b"), ("cid", "c")] {
        assert!(post(process.address, user, id).await.status.is_success());
    }
    let (_, printed) = process.terminate();
    assert!(printed.contains("dead 3 + pending 0"), "{printed}");

    let process = Process::start(&config);
    let admin = process.admin.to_string();
    let letters = |arguments: &[&str]| {
        run(
            &[&["dead-letters"], arguments].concat(),
            &config,
            &[("TIDEGATE__ADMIN__LISTEN", &admin)],
        )
    };
    let (code, listed) = letters(&["list"]);
    assert_eq!(code, Some(0), "{listed}");
    for line in [
        "progress  ann  refused  a  ",
        "progress  bob  refused  b  ",
        "3 dead letters",
    ] {
        assert!(listed.contains(line), "{line} is not in\n{listed}");
    }
    let (_, shown) = letters(&["show", "a"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown[0]["reason"], &shown[0]["status"]),
        (&json!("refused"), &json!(422))
    );
    assert_eq!(shown[0]["event"]["lessonId"], "l");
    assert!(
        !shown.to_string().contains("token-"),
        "a letter shows a credential"
    );
    let (code, said) = letters(&["show", "nobody"]);
    assert_eq!(
        (code, said.contains("there is no such dead letter")),
        (Some(1), true),
        "{said}"
    );

    upstream.answer_with(|_| None);
    let before = upstream.batches().len();
    assert_eq!(letters(&["drop", "c"]).0, Some(0));
    assert_eq!(letters(&["replay", "--all"]).0, Some(0));
    upstream
        .until(|seen| seen.iter().filter(|one| one.path == "/batch").count() >= before + 2)
        .await;
    let (_, printed) = process.terminate();
    // The dropped one stays dead, the replayed ones are accepted; each was received once.
    assert!(
        printed
            .contains("received 3 = accepted 2 + duplicate 0 + superseded 0 + dead 1 + pending 0"),
        "{printed}"
    );
    for seen in upstream
        .seen()
        .iter()
        .filter(|seen| seen.path == "/batch")
        .skip(before)
    {
        let wanted = if seen.ids() == ["a"] {
            "token-ann"
        } else {
            "token-bob"
        };
        assert_eq!(seen.header("authorization"), wanted);
    }
    let process = Process::start(&config);
    assert_eq!(
        process.terminate().1.trim(),
        printed.trim(),
        "the ledger is the same after a restart"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_can_neither_be_kept_nor_forwarded_hears_503_and_when_to_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let full = "durability = \"disk\"\nmin_free = \"1000000000GiB\"";
    let more = [("durability = \"disk\"", full)];
    let config = configure(directory.path(), address, "disk", &more);
    let process = Process::start(&config);
    let refused = post(process.address, "u", "a").await;
    assert_eq!(refused.status.as_u16(), 503, "{refused:?}");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    // Of what is no event it is said what failed, but not where.
    let get = Http::default()
        .try_call(process.address, Method::GET, "/x", &[], "")
        .await
        .unwrap();
    assert_eq!(get.status.as_u16(), 502);
    assert_eq!(get.json()["code"], "connection_refused");
    assert!(!get.json().to_string().contains(&address.port().to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_forwards_and_never_lies() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let full = "durability = \"disk\"\nmin_free = \"1000000000GiB\"";
    let config = configure(
        directory.path(),
        upstream.address,
        "disk",
        &[("durability = \"disk\"", full)],
    );
    let process = Process::start(&config);
    assert!(post(process.address, "u", "a").await.status.is_success());
    assert_eq!(
        upstream
            .seen()
            .iter()
            .map(|seen| seen.path.as_str())
            .collect::<Vec<_>>(),
        ["/event"]
    );
    upstream.answer_with(|_| Some(answer(503, json!({ "busy": true }))));
    let refused = post(process.address, "u", "b").await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["busy"] == true),
        (503, true),
        "the application's own answer"
    );
    let status = Http::default()
        .try_call(process.admin, Method::GET, "/status", &[], "")
        .await
        .unwrap()
        .json();
    assert_eq!(status["journal"]["disk_low"], true);
    let ready = Http::default()
        .try_call(process.admin, Method::GET, "/readyz", &[], "")
        .await
        .unwrap();
    assert_eq!(
        (ready.status.as_u16(), str::from_utf8(&ready.body).unwrap()),
        (
            200,
            "ready; dead letters: 0; the journal's disk is nearly full: events are forwarded, not \
             acknowledged\n"
        )
    );
    assert!(process.terminate().1.contains("received 0 = "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_gone_leaves_dead_letters_and_the_commands_say_so_beforehand() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(503, json!({}))));
    let short = ("drain = \"5s\"", "drain = \"100ms\"");
    let config = configure(directory.path(), upstream.address, "disk", &[short]);
    let process = Process::start(&config);
    for id in ["a", "b"] {
        assert!(post(process.address, "u", id).await.status.is_success());
    }
    process.terminate();
    let journal = directory.path().join("journal");
    let path = ["--path", journal.to_str().unwrap()];
    let (code, stats) = run(&[&["journal", "stats"][..], &path].concat(), &config, &[]);
    assert_eq!(code, Some(0), "{stats}");
    assert!(
        stats.contains("group progress: 2 pending events") && stats.contains("credentials 1"),
        "{stats}"
    );
    let (code, verified) = run(&[&["journal", "verify"][..], &path].concat(), &config, &[]);
    assert_eq!(
        (
            code,
            verified.contains(
                "2 pending events, 0 dead letters, 0 session successors: every record was read"
            )
        ),
        (Some(0), true)
    );

    let renamed = std::fs::read_to_string(&config).unwrap();
    let renamed = renamed
        .replace("[batch.progress]", "[batch.other]")
        .replace("batch = \"progress\"", "batch = \"other\"");
    std::fs::write(&config, renamed).unwrap();
    let (code, checked) = run(&["check", "--journal"], &config, &[]);
    assert_eq!(code, Some(0), "{checked}");
    assert!(
        checked.contains("2 pending events of group progress, which is gone"),
        "{checked}"
    );
    let process = Process::start(&config);
    let (_, busy) = run(&["check", "--journal"], &config, &[]);
    assert!(busy.contains("is in use by another process"), "{busy}");
    assert!(
        busy.contains("/event"),
        "what was found all the same: {busy}"
    );
    let letters = Http::default()
        .try_call(process.admin, Method::GET, "/dead-letters", &[], "")
        .await
        .unwrap()
        .json();
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["group"]),
        (&json!("group_removed"), &json!("progress"))
    );
    let (_, printed) = process.terminate();
    assert!(
        printed
            .contains("received 2 = accepted 0 + duplicate 0 + superseded 0 + dead 2 + pending 0"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_find_no_room_at_a_start_are_gone_at_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(503, json!({}))));
    let few = (
        "drain = \"5s\"",
        "drain = \"100ms\"\n[limits]\nmax_dead_letters = 1",
    );
    let config = configure(directory.path(), upstream.address, "disk", &[few]);
    let process = Process::start(&config);
    for id in ["a", "b", "c"] {
        assert!(post(process.address, "u", id).await.status.is_success());
    }
    process.terminate();
    let renamed = std::fs::read_to_string(&config).unwrap();
    let renamed = renamed
        .replace("[batch.progress]", "[batch.other]")
        .replace("batch = \"progress\"", "batch = \"other\"");
    std::fs::write(&config, renamed).unwrap();
    for _ in 0..2 {
        let process = Process::start(&config);
        let status = Http::default()
            .try_call(process.admin, Method::GET, "/status", &[], "")
            .await
            .unwrap()
            .json();
        let letters = &status["dead_letters"];
        assert_eq!(
            (&letters["kept"], &letters["dropped"]),
            (&json!(1), &json!(2))
        );
        process.terminate();
        let journal = directory.path().join("journal");
        let (_, verified) = run(
            &["journal", "verify", "--path", journal.to_str().unwrap()],
            &config,
            &[],
        );
        assert!(
            verified.contains("0 pending events, 1 dead letters"),
            "{verified}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_too_old_is_dropped_counted_and_stays_gone() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let soon = (
        "drain = \"5s\"",
        "drain = \"5s\"\n[limits]\ndead_letter_age = \"200ms\"",
    );
    let short = ("window = \"1h\"", "window = \"10ms\"");
    let config = configure(directory.path(), upstream.address, "disk", &[soon, short]);
    let process = Process::start(&config);
    assert!(post(process.address, "ann", "a").await.status.is_success());
    let status = async |process: &Process| {
        let asked = Http::default();
        let answer = asked.try_call(process.admin, Method::GET, "/status", &[], "");
        answer.await.unwrap().json()
    };
    let dropped = async {
        while status(&process).await["dead_letters"]["dropped"] != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    in_time("the letter to go", dropped).await;
    let (_, printed) = process.terminate();
    assert!(printed.contains("dead 1 + pending 0"), "{printed}");
    let process = Process::start(&config);
    let letters = &status(&process).await["dead_letters"];
    assert_eq!(
        (&letters["kept"], &letters["dropped"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn an_event_call_that_the_application_answers_makes_cached_answers_old_too() {
    let sidecar = Sidecar::start(&[(
        "batch = \"progress\"\n",
        "batch = \"progress\"\nmode = \"off\"\n",
    )])
    .await;
    let read = || {
        sidecar.call(
            Method::GET,
            "/progress?userId=u",
            &[("authorization", "t")],
            "",
        )
    };
    let first = read().await.json();
    assert_eq!(read().await.json(), first, "it is cached");
    assert!(sidecar.post("t", "u", "a", "").await.status.is_success());
    let after = read().await;
    assert_ne!(after.json(), first, "{}", after.header("cache-status"));
    // A call that the application refused has changed nothing.
    sidecar.upstream.script([answer(400, json!({}))]);
    assert_eq!(sidecar.post("t", "u", "b", "").await.status.as_u16(), 400);
    assert_eq!(read().await.json(), after.json());
}

#[tokio::test]
async fn a_write_waits_for_the_groups_that_it_drains_and_for_no_other() {
    let more = "[batch.analytics]\npath = \"/analytics\"\nwindow = \"1h\"\nfallback = \
                \"dead-letter\"\n[[event]]\npath = \"/click\"\nbatch = \"analytics\"\nevent = { \
                clientEventId = \"{body.id}\", userId = \"{body.user}\" }\n[[write]]";
    let sidecar = Sidecar::start(&[
        ("[[write]]", more),
        ("barrier = \"3s\"", "barrier = \"100ms\""),
    ])
    .await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/analytics").then(|| answer(500, json!({}))));
    let headers = [("authorization", "t")];
    let click = sidecar
        .call(
            Method::POST,
            "/click",
            &headers,
            "{\"id\":\"x\",\"user\":\"u\"}",
        )
        .await;
    assert!(click.status.is_success());
    sidecar.flush().await;
    sidecar
        .upstream
        .until(|seen| seen.iter().any(|one| one.path == "/analytics"))
        .await;
    let written = sidecar
        .call(Method::POST, "/snapshot?userId=u", &headers, "{}")
        .await;
    assert_eq!(
        written.status.as_u16(),
        200,
        "a stuck group that it doesn't drain holds up a write"
    );
    sidecar.upstream.answer_with(|_| None);
}

/// As [`post`], for a process that restarts: the host is a part of who calls, and each start has
/// another port.
async fn post_at_home(at: std::net::SocketAddr, user: &str, id: &str) -> crate::support::Answer {
    let body = format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5}}");
    let token = format!("token-{user}");
    let headers = [("authorization", token.as_str()), ("host", "app.test")];
    let answer = Http::default()
        .try_call(at, Method::POST, "/event", &headers, body)
        .await
        .unwrap();
    assert!(answer.status.is_success(), "{answer:?}");
    answer
}

/// The same configuration, its group packed for a service from now on.
fn share(config: &Path) {
    let secret = config.with_file_name("service");
    std::fs::write(&secret, "Bearer service").unwrap();
    let shared = format!(
        "path = \"/batch\"\npack = \"shared\"\npack_wait = \"5ms\"\n\
         service_credential = {{ header = \"authorization\", file = \"{}\" }}",
        secret.display()
    );
    let text = std::fs::read_to_string(config)
        .unwrap()
        .replace("path = \"/batch\"", &shared);
    std::fs::write(config, text).unwrap();
}

const BRIEFLY: (&str, &str) = ("window = \"1h\"", "window = \"10ms\"");
/// For a stop that leaves something behind.
const SHORT: [(&str, &str); 2] = [BRIEFLY, ("drain = \"5s\"", "drain = \"100ms\"")];
/// For a stop with time for everything.
const LONG: [(&str, &str); 2] = [BRIEFLY, LONG_DRAIN];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_in_while_each_credential_spoke_for_itself_never_goes_under_a_services() {
    let directory = tempfile::tempdir().unwrap();
    let failing = FakeUpstream::start().await;
    failing.answer_with(|_| Some(answer(503, json!({}))));
    let config = configure(directory.path(), failing.address, "disk", &SHORT);
    let process = Process::start(&config);
    post_at_home(process.address, "u", "before").await;
    process.terminate();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "disk", &LONG);
    share(&config);
    let process = Process::start(&config);
    post_at_home(process.address, "u", "after").await;
    upstream.until(|seen| seen.len() == 2).await;
    let (_, printed) = process.terminate_in_time().await;
    assert!(printed.contains("accepted 2 "), "{printed}");
    let sent: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| {
            (
                seen.ids().join(","),
                seen.header("authorization").to_owned(),
            )
        })
        .collect();
    assert_eq!(
        sent,
        [
            ("before".to_owned(), "token-u".to_owned()),
            ("after".to_owned(), "Bearer service".to_owned())
        ],
        "in order, each as it was taken in"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_credential_is_damaged_is_never_replayed_and_harms_no_later_event() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let config = configure(directory.path(), upstream.address, "disk", &LONG);
    let process = Process::start(&config);
    post_at_home(process.address, "u", "a").await;
    upstream.until(|seen| !seen.is_empty()).await;
    let (_, printed) = process.terminate_in_time().await;
    assert!(printed.contains("dead 1 + pending 0"), "{printed}");
    damage_credentials(&directory.path().join("journal"));

    upstream.answer_with(|_| None);
    let before = upstream.seen().len();
    let process = Process::start(&config);
    let admin = process.admin;
    let replay = || async move {
        Http::default()
            .try_call(admin, Method::POST, "/dead-letters/replay", &[], "")
            .await
            .unwrap()
            .json()
    };
    assert_eq!(
        replay().await,
        json!({ "replayed": [], "kept": [["a", "its credential is lost"]] })
    );
    post_at_home(process.address, "u", "b").await;
    upstream.until(|seen| seen.len() > before).await;
    let (_, printed) = process.terminate_in_time().await;
    assert!(printed.contains("accepted 1 "), "{printed}");
    let sent: Vec<_> = upstream
        .seen()
        .iter()
        .skip(before)
        .map(|seen| (seen.ids(), seen.header("authorization").to_owned()))
        .collect();
    assert_eq!(sent, [(vec!["b".to_owned()], "token-u".to_owned())]);
}

/// What names a repetition outlives restarts, and a replay after one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_replayed_after_a_restart_is_known_when_its_client_sends_it_again() {
    for dies_after in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start().await;
        let fails = |status: u16| {
            move |seen: &Seen| (seen.path == "/batch").then(|| answer(status, json!({})))
        };
        upstream.answer_with(fails(if dies_after { 503 } else { 422 }));
        let soon = ("drain = \"5s\"", "drain = \"100ms\"");
        let window = ("window = \"1h\"", "window = \"10ms\"");
        let config = configure(directory.path(), upstream.address, "disk", &[soon, window]);
        let process = Process::start(&config);
        post_at_home(process.address, "u", "a").await;
        upstream.until(|seen| !seen.is_empty()).await;
        process.terminate_in_time().await;

        // What was pending dies in the next process.
        upstream.answer_with(fails(422));
        let process = Process::start(&config);
        let ask = async |method, path| {
            let asked = Http::default();
            let heard = asked.try_call(process.admin, method, path, &[], "").await;
            heard.unwrap().json()
        };
        in_time("the letter", async {
            while ask(Method::GET, "/dead-letters").await == json!([]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        upstream.answer_with(|_| None);
        let replayed = ask(Method::POST, "/dead-letters/replay").await;
        assert_eq!(replayed["replayed"], json!(["a"]));
        let before = upstream.seen().len();
        let again = post_at_home(process.address, "u", "a").await;
        assert_eq!(again.header("tidegate-event"), "a", "{again:?}");
        post_at_home(process.address, "u", "b").await;
        let (_, printed) = process.terminate_in_time().await;
        assert!(printed.contains("duplicate 1 "), "{printed}");
        let seen = upstream.seen();
        let after = seen
            .iter()
            .skip(before)
            .filter(|seen| seen.path != "/batch");
        assert_eq!(after.count(), 0, "it isn't forwarded");
    }
}

/// What holds the credentials in a journal that no process has open is damaged afterwards.
fn damage_credentials(journal: &Path) {
    let mut damaged = 0;
    for entry in std::fs::read_dir(journal.join("log")).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        // The beginning of a context's frame; behind its head of 28 bytes is the fingerprint.
        let found: Vec<_> = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, four)| four == b"TGC\0")
            .map(|(at, _)| at)
            .collect();
        damaged += found.len();
        found.into_iter().for_each(|at| bytes[at + 30] ^= 1);
        std::fs::write(&file, bytes).unwrap();
    }
    assert!(damaged > 0);
}

/// A start in this process, of the file's configuration with these lines replaced.
async fn start(config: &Path, clock: Clock, replace: &[(&str, &str)]) -> Running {
    let mut text = std::fs::read_to_string(config).unwrap();
    for (from, to) in replace {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let config = tidegate::config::parse(&text, "test", std::iter::empty())
        .unwrap_or_else(|error| panic!("{error}"));
    app::start(
        config,
        Options {
            clock,
            ..Options::default()
        },
    )
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_between_two_starts_makes_no_dead_letters() {
    const DAY: Duration = Duration::from_hours(24);
    let now = SystemTime::now();
    let (ahead, behind) = (now + 2 * DAY, now.checked_sub(30 * DAY).unwrap());
    for (first, second) in [(now, ahead), (ahead, now), (behind, now)] {
        let directory = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start().await;
        upstream.answer_with(|_| Some(answer(503, json!({}))));
        let config = configure(directory.path(), upstream.address, "process", &SHORT);
        let running = start(&config, Clock::from_fn(move || first), &[]).await;
        post_at_home(running.address, "u", "a").await;
        assert_eq!(running.stop().await.pending, 1);
        let before = upstream.seen().len();
        let time = [(SHORT[1].1, LONG_DRAIN.1)];
        let running = start(&config, Clock::from_fn(move || second), &time).await;
        upstream.until(|seen| seen.len() >= before + 3).await;
        assert_eq!((running.ledger().dead, running.ledger().pending), (0, 1));
        upstream.answer_with(|_| None);
        let before = upstream.seen().len();
        upstream.until(|seen| seen.len() > before).await;
        let ledger = in_time("the stop", running.stop()).await;
        assert_eq!(ledger.accepted, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_larger_than_a_smaller_limit_goes_as_its_single_call_or_dies() {
    for fallback in ["single", "dead-letter"] {
        let directory = tempfile::tempdir().unwrap();
        let failing = FakeUpstream::start().await;
        failing.answer_with(|_| Some(answer(503, json!({}))));
        let fallback_is = format!("fallback = \"{fallback}\"");
        let fallback_is = ("fallback = \"dead-letter\"", &*fallback_is);
        let replace = [SHORT[0], SHORT[1], fallback_is];
        let config = configure(directory.path(), failing.address, "process", &replace);
        let running = start(&config, Clock::default(), &[]).await;
        let large = format!(
            "{{\"id\":\"large\",\"user\":\"u\",\"lesson\":\"l\",\"pad\":\"{}\"}}",
            "x".repeat(400)
        );
        let headers = [("authorization", "token-u"), ("host", "app.test")];
        let answer = Http::default()
            .try_call(running.address, Method::POST, "/event", &headers, large)
            .await
            .unwrap();
        assert!(answer.status.is_success());
        post_at_home(running.address, "u", "small").await;
        assert_eq!(running.stop().await.pending, 2);
        let upstream = FakeUpstream::start().await;
        let replace = [LONG[0], LONG[1], fallback_is];
        let config = configure(directory.path(), upstream.address, "process", &replace);
        let running = start(
            &config,
            Clock::default(),
            &[("max_bytes = \"1KiB\"", "max_bytes = \"256B\"")],
        )
        .await;
        upstream
            .until(|seen| {
                seen.iter()
                    .any(|one| one.path == "/batch" && one.ids() == ["small"])
            })
            .await;
        let letters = Http::default()
            .try_call(running.admin, Method::GET, "/dead-letters", &[], "")
            .await
            .unwrap()
            .json();
        let ledger = in_time("the stop", running.stop()).await;
        let paths: Vec<_> = upstream.seen().iter().map(|one| one.path.clone()).collect();
        if fallback == "single" {
            assert_eq!(
                (ledger.accepted, paths),
                (2, vec!["/event".to_owned(), "/batch".to_owned()])
            );
        } else {
            assert_eq!(
                (ledger.accepted, ledger.dead, paths),
                (1, 1, vec!["/batch".to_owned()])
            );
            assert_eq!(
                (&letters[0]["id"], &letters[0]["reason"]),
                (&json!("large"), &json!("too_large"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_letter_is_lost_to_a_replay_whose_caller_went_away_while_the_disk_was_full() {
    const LETTERS: usize = 5;
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let config = configure(directory.path(), upstream.address, "process", &LONG);
    let running = start(&config, Clock::default(), &[]).await;
    for number in 0..LETTERS {
        post_at_home(running.address, "u", &format!("e{number}")).await;
    }
    let ledger = in_time("the stop", running.stop()).await;
    assert_eq!(ledger.dead, LETTERS as u64);
    let full = (
        "durability = \"process\"",
        "durability = \"process\"\nmin_free = \"1000000000GiB\"",
    );
    let running = start(&config, Clock::default(), &[full]).await;
    let kept = || async {
        Http::default()
            .try_call(running.admin, Method::GET, "/dead-letters", &[], "")
            .await
    };
    for _ in 0..20 {
        // The call and its end arrive together.
        let mut caller = tokio::net::TcpStream::connect(running.admin).await.unwrap();
        let call = format!(
            "POST /dead-letters/replay HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
            running.admin
        );
        caller.write_all(call.as_bytes()).await.unwrap();
        drop(caller);
        in_time("the letters", async {
            while kept().await.unwrap().json().as_array().unwrap().len() < LETTERS {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
    let ledger = in_time("the stop", running.stop()).await;
    assert_eq!((ledger.dead, ledger.pending), (LETTERS as u64, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pending_on_disk_is_delivered_by_a_start_without_durability() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(503, json!({}))));
    let config = configure(directory.path(), upstream.address, "disk", &[]);
    let process = Process::start(&config);
    assert!(post(process.address, "u", "a").await.status.is_success());
    process.kill();

    upstream.answer_with(|_| None);
    let config = configure(directory.path(), upstream.address, "none", &[]);
    let process = Process::start(&config);
    let (code, printed) = process.terminate();
    assert_eq!(code, Some(0));
    assert!(
        printed
            .contains("received 1 = accepted 1 + duplicate 0 + superseded 0 + dead 0 + pending 0"),
        "{printed}"
    );
    // Now there is nothing in it, and memory keeps what comes.
    let process = Process::start(&config);
    let (_, printed) = process.terminate();
    assert!(printed.contains("received 0 = accepted 0"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_superseded_is_settled_in_the_journal_too() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let supersede = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nkey = [\"lessonId\"]\nkeep = \"newest\"",
    );
    let config = configure(directory.path(), upstream.address, "disk", &[supersede]);
    let process = Process::start(&config);
    for id in ["a", "b", "c"] {
        assert!(post(process.address, "u", id).await.status.is_success());
    }
    let http = Http::default();
    let admin = async |method, path: &str| {
        http.try_call(process.admin, method, path, &[], "")
            .await
            .unwrap()
    };
    assert!(admin(Method::POST, "/flush").await.status.is_success());
    let settled = async {
        loop {
            let metrics = admin(Method::GET, "/metrics").await;
            if std::str::from_utf8(&metrics.body)
                .unwrap()
                .contains("tidegate_events{state=\"superseded\"} 2")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("two superseded events", settled).await;
    // An acknowledgement comes after whatever was committed before it. Another user's event covers
    // none of these.
    assert!(post(process.address, "v", "d").await.status.is_success());
    process.kill();
    let (_, printed) = Process::start(&config).terminate();
    assert!(
        printed
            .contains("received 4 = accepted 2 + duplicate 0 + superseded 2 + dead 0 + pending 0"),
        "{printed}"
    );
    assert_eq!(upstream.batches(), [["c"], ["d"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_when_what_was_settled_is_on_the_disk_and_the_directory_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "process", &[]);
    let journal = tidegate::config::load(&config, std::iter::empty())
        .unwrap_or_else(|error| panic!("{error}"))
        .journal;
    for round in 1..=10 {
        let running = start(&config, Clock::default(), &[]).await;
        for number in 0..20 {
            post_at_home(
                running.address,
                &format!("u{number}"),
                &format!("{round}-{number}"),
            )
            .await;
        }
        let ledger = running.stop().await;
        assert_eq!((ledger.received, ledger.pending), (20 * round, 0));
        // At once: a directory that is still in use is an error.
        let found =
            tidegate::journal::recover::inspect(&journal).unwrap_or_else(|error| panic!("{error}"));
        let mut pending = 0;
        found.each_event(&[], |_| pending += 1);
        assert_eq!(
            (pending, found.sums().accepted),
            (0, 20 * round),
            "what was settled is pending again"
        );
    }
}
