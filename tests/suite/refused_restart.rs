//! Refusals of callers with events in a shared group, across restarts of the real binary (P3).

use crate::crash::configure;
use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Answer, Http, in_time};
use http::{Method, StatusCode};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Another group, whose calls wait for none of the first one's lanes, and whose windows are short.
const OTHER: (&str, &str) = (
    "[[event]]\npath = \"/event\"",
    "[batch.other]\npath = \"/other\"\nwindow = \"10ms\"\n[[event]]\npath = \"/second\"\nbatch = \
     \"other\"\nevent = { clientEventId = \"{body.id}\", userId = \"{body.user}\" \
     }\n[[event]]\npath = \"/event\"",
);
const SHORT: (&str, &str) = ("drain = \"5s\"", "drain = \"100ms\"");
const SERVICE: &str = "Bearer service";

/// How a process ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    Stop,
}

/// What hears of the refusal.
#[derive(Debug, Clone, Copy)]
enum By {
    Call,
    Delivery,
}

struct World {
    _directory: tempfile::TempDir,
    upstream: FakeUpstream,
    config: PathBuf,
    process: Option<Process>,
}

impl World {
    /// A sidecar whose group `progress` is shared, with windows of an hour.
    async fn new(durability: &str) -> Self {
        let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        let secret = directory.path().join("service");
        std::fs::write(&secret, SERVICE).unwrap();
        let shared = format!(
            "path = \"/batch\"\npack = \"shared\"\npack_wait = \"5ms\"\n\
             service_credential = {{ header = \"authorization\", file = \"{}\" }}",
            secret.display()
        );
        let replaced = [("path = \"/batch\"", shared.as_str()), OTHER, SHORT];
        let config = configure(directory.path(), upstream.address, durability, &replaced);
        let process = Some(Process::start(&config));
        Self {
            _directory: directory,
            upstream,
            config,
            process,
        }
    }

    async fn ask(
        &self,
        at: SocketAddr,
        method: Method,
        path: &str,
        token: &str,
        body: &str,
    ) -> Answer {
        // Each start has another port: without a host of their own, calls before and after would be
        // of different hosts.
        let headers = [("host", "app.test"), ("authorization", token)];
        Http::default()
            .try_call(at, method, path, &headers, body.to_owned())
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, token: &str, id: &str) -> StatusCode {
        let body = json!({ "id": id, "user": token, "lesson": "l", "percent": 5 }).to_string();
        self.ask(
            self.process.as_ref().unwrap().address,
            Method::POST,
            path,
            token,
            &body,
        )
        .await
        .status
    }

    async fn admin(&self, method: Method, path: &str) -> Answer {
        let at = self.process.as_ref().unwrap().admin;
        Http::default()
            .try_call(at, method, path, &[], "")
            .await
            .unwrap()
    }

    /// The application refuses this caller from now on, and Tidegate hears of it.
    async fn refuse(&self, token: &'static str, by: By) {
        self.upstream.answer_with(move |seen| {
            (seen.header("authorization") == token).then(|| answer(401, json!({})))
        });
        match by {
            By::Call => {
                let address = self.process.as_ref().unwrap().address;
                let heard = self
                    .ask(address, Method::POST, "/second", token, "no JSON")
                    .await;
                assert_eq!(heard.status, StatusCode::UNAUTHORIZED);
            }
            By::Delivery => {
                assert_eq!(
                    self.post("/second", token, "elsewhere").await,
                    StatusCode::ACCEPTED
                );
                self.hear_of_refusal("other").await;
                // What is acknowledged after it is written after it.
                assert_eq!(
                    self.post("/event", "good", "later").await,
                    StatusCode::ACCEPTED
                );
            }
        }
    }

    /// Tidegate has the answer that refused a batch of this group.
    async fn hear_of_refusal(&self, group: &str) {
        let counted = format!("tidegate_batches_total{{group=\"{group}\",result=\"rejected\"}} 1");
        in_time("the refusal", async {
            while !String::from_utf8_lossy(&self.admin(Method::GET, "/metrics").await.body)
                .contains(&counted)
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn restart(&mut self, end: End) {
        let process = self.process.take().unwrap();
        match end {
            End::Kill => process.kill(),
            End::Stop => assert_eq!(process.terminate().0, Some(0)),
        }
        self.process = Some(Process::start(&self.config));
    }

    /// Seals everything; the credentials under which this event went since so many calls came, at
    /// least one.
    async fn send(&self, id: &str, since: usize) -> Vec<String> {
        assert!(self.admin(Method::POST, "/flush").await.status.is_success());
        let holds = |seen: &Seen| seen.path == "/batch" && seen.ids().iter().any(|one| one == id);
        self.upstream
            .until(|seen| seen.iter().skip(since).any(holds))
            .await;
        let seen = self.upstream.seen();
        seen.iter()
            .skip(since)
            .filter(|seen| holds(seen))
            .map(|seen| seen.header("authorization").to_owned())
            .collect()
    }
}

/// The service speaks for no caller who was refused before a restart, and for one that was taken
/// since, over another one.
async fn refused_over_a_restart(durability: &str, by: By, end: End) {
    let mut world = World::new(durability).await;
    assert_eq!(world.post("/event", "ada", "a").await, StatusCode::ACCEPTED);
    world.refuse("ada", by).await;
    world.restart(end);
    let since = world.upstream.seen().len();
    let under = world.send("a", since).await;
    assert!(
        under.iter().all(|credential| credential == "ada"),
        "{by:?}, {end:?}: went under {under:?}"
    );

    // What else is tried again under the caller's credential is refused before the application takes
    // the caller, or it would be what is taken.
    world.hear_of_refusal("progress").await;
    if matches!(by, By::Delivery) {
        world.hear_of_refusal("other").await;
    }
    world.upstream.answer_with(|_| None);
    assert_eq!(
        world.post("/event", "ada", "forwarded").await,
        StatusCode::OK,
        "its calls are forwarded until one is taken"
    );
    assert_eq!(world.post("/event", "ada", "b").await, StatusCode::ACCEPTED);
    world.restart(End::Kill);
    let since = world.upstream.seen().len();
    let under = world.send("b", since).await;
    assert!(
        under.iter().all(|credential| credential == SERVICE),
        "{by:?}, {end:?}: went under {under:?}"
    );
    let process = world.process.take().unwrap();
    process.deliver_pending().await;
    let (code, printed) = process.terminate_in_time().await;
    assert!(
        code == Some(0) && printed.contains("dead 0 + pending 0"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_speaks_for_nobody_who_was_refused_before_a_kill() {
    refused_over_a_restart("process", By::Call, End::Kill).await;
    refused_over_a_restart("disk", By::Delivery, End::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_speaks_for_nobody_who_was_refused_before_a_stop() {
    refused_over_a_restart("disk", By::Call, End::Stop).await;
    refused_over_a_restart("process", By::Delivery, End::Stop).await;
}
