//! Rules that a reload replaces while calls come.

use crate::crash::configure;
use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Answer, Http};
use http::Method;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const RULE: &str =
    "[[cache]]\npath = \"/progress\"\nttl = \"60s\"\nforce = true\ntags = [\"progress:{user}\"]\n";

struct Served {
    process: Process,
    upstream: FakeUpstream,
    directory: tempfile::TempDir,
    client: Http,
}

impl Served {
    /// Every answer of the application has another number.
    async fn start() -> Self {
        let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        let count = Arc::new(AtomicUsize::new(0));
        upstream.answer_with(move |seen: &Seen| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            (seen.path != "/batch").then(|| answer(200, json!({ "number": number })))
        });
        let config = configure(directory.path(), upstream.address, "process", &[]);
        let process = Process::start(&config);
        Self {
            process,
            upstream,
            directory,
            client: Http::default(),
        }
    }

    fn rewrite(&self, more: &[(&str, &str)]) {
        configure(
            self.directory.path(),
            self.upstream.address,
            "process",
            more,
        );
    }

    async fn reload(&self) -> Answer {
        let admin = Http::default();
        let asked = admin.try_call(self.process.admin, Method::POST, "/config/reload", &[], "");
        asked.await.unwrap()
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        let head = [("authorization", "token-u"), ("host", "app.test")];
        let called =
            self.client
                .try_call(self.process.address, method, path, &head, body.to_owned());
        called.await.unwrap()
    }

    async fn number(&self, path: &str) -> Value {
        self.call(Method::GET, path, "").await.json()["number"].clone()
    }

    async fn shown(&self) -> Value {
        let admin = Http::default();
        let asked = admin.try_call(self.process.admin, Method::GET, "/config", &[], "");
        asked.await.unwrap().json()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_rule_comes_goes_and_changes_and_nothing_is_found_that_another_one_stored() {
    let served = Served::start().await;
    let path = "/progress?userId=u";
    let first = served.number(path).await;
    assert_eq!(served.number(path).await, first, "it is stored");
    // The same file: the same rule goes on with what it has.
    let same = served.reload().await.json();
    assert_eq!(
        (&same["replaced"], &same["needs_restart"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(served.number(path).await, first);
    // A second rule for another path takes nothing from the first.
    let two = format!("{RULE}[[cache]]\npath = \"/other\"\nttl = \"60s\"\nforce = true\n");
    served.rewrite(&[(RULE, &two)]);
    let replaced = served.reload().await.json();
    assert_eq!(
        (&replaced["replaced"], &replaced["needs_restart"]),
        (&json!(["cache"]), &json!([]))
    );
    assert_eq!(served.number(path).await, first);
    let other = served.number("/other").await;
    assert_eq!(served.number("/other").await, other, "it is in force");
    assert_eq!(served.shown().await["cache"].as_array().unwrap().len(), 2);
    // Without rules everything is asked for.
    served.rewrite(&[(RULE, "")]);
    served.reload().await;
    let second = served.number(path).await;
    assert_ne!(second, first);
    assert_ne!(served.number(path).await, second);
    assert_eq!(served.shown().await.get("cache"), None);
    // What was stored before is not there, though the rule is the one that it was.
    served.rewrite(&[]);
    served.reload().await;
    let third = served.number(path).await;
    assert!(third != first && third != second);
    assert_eq!(served.number(path).await, third);
    served.rewrite(&[(RULE, &RULE.replace("60s", "61s"))]);
    served.reload().await;
    assert_ne!(served.number(path).await, third, "another rule stored it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_rule_that_comes_makes_stored_answers_old_and_calls_keep_their_connections() {
    let served = Served::start().await;
    let path = "/progress?userId=u";
    let write = "[[write]]\npath = \"/reset\"\ninvalidates = [\"progress:{user}\"]\n[[cache]]\n";
    let first = served.number(path).await;
    served.call(Method::POST, "/reset?userId=u", "").await;
    assert_eq!(
        served.number(path).await,
        first,
        "nothing says that it changes that"
    );
    served.rewrite(&[("[[cache]]\n", write)]);
    assert_eq!(served.reload().await.json()["replaced"], json!(["write"]));
    assert_eq!(served.number(path).await, first);
    served.call(Method::POST, "/reset?userId=u", "").await;
    assert_ne!(served.number(path).await, first);
    // Events make answers old as before.
    let second = served.number(path).await;
    let event = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
    assert_eq!(served.call(Method::POST, "/event", event).await.status, 202);
    assert_ne!(served.number(path).await, second);
    assert_eq!(
        served.upstream.batches(),
        [["a"]],
        "it went before the read"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_began_before_its_path_had_a_cache_rule_makes_what_that_stored_old() {
    let served = Served::start().await;
    served.upstream.hold_back(|seen| seen.method == Method::PUT);
    served.upstream.close_gate();
    let writing = served.call(Method::PUT, "/page", "x");
    let reading = async {
        served.upstream.until(|seen| seen.len() == 1).await;
        let two = format!("{RULE}[[cache]]\npath = \"/page\"\nttl = \"60s\"\nforce = true\n");
        served.rewrite(&[(RULE, &two)]);
        served.reload().await;
        // The application answers with what was there before the write.
        let other = Http::default();
        let head = [("authorization", "token-u"), ("host", "app.test")];
        let get = async || {
            let asked = other.try_call(served.process.address, Method::GET, "/page", &head, "");
            asked.await.unwrap().json()["number"].clone()
        };
        let old = get().await;
        assert_eq!(get().await, old, "it is stored");
        served.upstream.open_gate();
        old
    };
    let (_, old) = tokio::join!(writing, reading);
    assert_ne!(served.number("/page").await, old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rule_rests_on_holds_it_back_until_the_restart() {
    let served = Served::start().await;
    let path = "/page?userId=u";
    let page = RULE.replace("/progress", "/page");
    let added = format!("{RULE}{page}");
    let served_rule = (RULE, &*added);
    for (head, more, section) in [
        (
            "[identity]\n",
            "ignore = [\"header:x-tenant\"]\n",
            "identity",
        ),
        (
            "[[event]]\n",
            "path = \"/api/p\"\nbatch = \"progress\"\n[[event]]\n",
            "event",
        ),
        ("[server]\n", "max_connections = 77\n", "server"),
    ] {
        served.rewrite(&[served_rule, (head, &format!("{head}{more}"))]);
        let answer = served.reload().await.json();
        assert_eq!(answer["replaced"], json!([]), "{section}");
        assert_eq!(
            answer["needs_restart"],
            json!(["cache", section]),
            "{section}"
        );
        let first = served.number(path).await;
        assert_ne!(
            served.number(path).await,
            first,
            "{section}: nothing is stored"
        );
    }
    served.rewrite(&[served_rule]);
    assert_eq!(served.reload().await.json()["replaced"], json!(["cache"]));
    let first = served.number(path).await;
    assert_eq!(served.number(path).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_wait_for_the_restart_where_groups_differ_and_a_wrong_file_changes_nothing() {
    let served = Served::start().await;
    let path = "/progress?userId=u";
    let first = served.number(path).await;
    let groups = ("[[event]]\n", "[batch.other]\npath = \"/o\"\n[[event]]\n");
    served.rewrite(&[(RULE, ""), groups]);
    let answer = served.reload().await.json();
    assert_eq!(answer["replaced"], json!([]));
    assert_eq!(answer["needs_restart"], json!(["batch", "cache"]));
    assert_eq!(served.number(path).await, first, "it is in force as it was");
    // Rules of a reload stay in force as well, though the file has those of the start again.
    served.rewrite(&[(RULE, "")]);
    assert_eq!(served.reload().await.json()["replaced"], json!(["cache"]));
    served.rewrite(&[groups]);
    let answer = served.reload().await.json();
    assert_eq!(answer["needs_restart"], json!(["batch", "cache"]));
    let second = served.number(path).await;
    assert_ne!(served.number(path).await, second, "nothing is stored");
    served.rewrite(&[("ttl = \"60s\"", "ttl = \"soon\"")]);
    let answer = served.reload().await;
    assert_eq!(answer.status, 422);
    let said = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        said.contains("config.toml:") && said.contains("soon"),
        "{said}"
    );
    assert_ne!(served.number(path).await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_is_read_anew_when_it_has_changed() {
    let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    let rewrite =
        |more: &[(&str, &str)]| configure(directory.path(), upstream.address, "none", more);
    let config = rewrite(&[]);
    let process = start_watching(&config);
    rewrite(&[("ttl = \"60s\"", "ttl = \"soon\"")]);
    process.until_said("nothing has changed").await;
    rewrite(&[("ttl = \"60s\"", "ttl = \"61s\"")]);
    process.until_said("rules of cache were replaced").await;
    let served: SocketAddr = process.address;
    let answer = Http::default();
    let called = answer.try_call(served, Method::GET, "/x", &[], "").await;
    assert!(called.unwrap().status.is_success());
}

fn start_watching(config: &Path) -> Process {
    Process::try_start_watching(config).unwrap_or_else(|(code, said)| panic!("{code:?}: {said}"))
}
