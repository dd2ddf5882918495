//! Sessions that roll, across restarts of the real binary (ruling 24): the bearer of a renewed
//! cookie is who it was.

use crate::crash::configure;
use crate::support::calls::{BY_LISTS, body};
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, Reply, answer};
use crate::support::{Answer, Http};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Each start has another port: without a host of their own, calls before and after would be of
/// different hosts.
const HOST: (&str, &str) = ("host", "app.test");
const ROLLING: (&str, &str) = ("[identity]\n", "[identity]\nrolling = [\"cookie:sid\"]\n");

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Kill,
    Stop,
}

/// An application whose pages renew the session, and whose batches fail while it is down.
struct World {
    directory: tempfile::TempDir,
    upstream: FakeUpstream,
    is_down: Arc<AtomicBool>,
    /// Ids of the events in batches that did not fail, in order.
    taken: Arc<Mutex<Vec<String>>>,
    config: PathBuf,
    process: Option<Process>,
    http: Http,
}

fn setting(cookie: &str) -> Reply {
    let mut reply = answer(200, json!({}));
    reply.headers_mut().insert(
        "set-cookie",
        HeaderValue::from_str(&format!("{cookie}; Path=/; HttpOnly")).unwrap(),
    );
    reply
}

impl World {
    async fn new(more: &[(&str, &str)]) -> Self {
        let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        let is_down = Arc::new(AtomicBool::new(false));
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let (down, keeper) = (Arc::clone(&is_down), Arc::clone(&taken));
        upstream.answer_with(move |seen| match seen.path.as_str() {
            "/batch" if down.load(Ordering::SeqCst) => Some(answer(503, json!({}))),
            "/batch" => {
                keeper.lock().unwrap().extend(seen.ids());
                None
            }
            _ => Some(setting("sid=two")),
        });
        let short = [
            ("drain = \"5s\"", "drain = \"200ms\""),
            ("barrier = \"3s\"", "barrier = \"20ms\""),
        ];
        let more = [&[BY_LISTS][..], &short, more].concat();
        let config = configure(directory.path(), upstream.address, "disk", &more);
        let process = Some(Process::start(&config));
        Self {
            directory,
            upstream,
            is_down,
            taken,
            config,
            process,
            http: Http::default(),
        }
    }

    async fn call(&self, method: Method, path: &str, cookie: &str, body: String) -> Answer {
        let headers = [
            HOST,
            ("cookie", cookie),
            ("content-type", "application/json"),
        ];
        let at = self.process.as_ref().unwrap().address;
        self.http
            .try_call(at, method, path, &headers, body)
            .await
            .unwrap()
    }

    /// An event that must be acknowledged.
    async fn event(&self, cookie: &str, id: &str) {
        let heard = self
            .call(Method::POST, "/event", cookie, body("u", id, ""))
            .await;
        assert_eq!(heard.status, StatusCode::ACCEPTED, "{heard:?}");
    }

    async fn page(&self, path: &str, cookie: &str) {
        let page = self.call(Method::GET, path, cookie, String::new()).await;
        assert_eq!(
            (page.status, page.header("set-cookie")),
            (StatusCode::OK, "sid=two; Path=/; HttpOnly")
        );
    }

    fn restart(&mut self, end: End) {
        let process = self.process.take().unwrap();
        match end {
            End::Kill => process.kill(),
            End::Stop => assert_eq!(process.terminate().0, Some(0)),
        }
        self.process = Some(Process::start(&self.config));
    }

    /// The application is there again and everything goes: what the stop says, and what was taken
    /// since.
    async fn finish(mut self) -> (String, Vec<String>) {
        let before = self.taken.lock().unwrap().len();
        self.is_down.store(false, Ordering::SeqCst);
        let process = self.process.take().unwrap();
        process.deliver_pending().await;
        let (code, printed) = process.terminate_in_time().await;
        assert_eq!(code, Some(0), "{printed}");
        let taken = self.taken.lock().unwrap();
        (printed, taken[before..].to_vec())
    }
}

fn stats(config: &Path, directory: &Path, command: &str) -> String {
    let path = directory.join("journal");
    let (code, said) = run(
        &["journal", command, "--path", path.to_str().unwrap()],
        config,
        &[],
    );
    assert_eq!(code, Some(0), "{said}");
    said
}

/// Two kinds of succession: by a page of no route, of a principal that nothing is known of; and by
/// a read of one that is known to be good, whose bearers may share a batch.
async fn rolls(end: End, is_good: bool) {
    let mut world = World::new(&[ROLLING]).await;
    if is_good {
        world.event("sid=one", "warm").await;
        world.process.as_ref().unwrap().deliver_pending().await;
        assert_eq!(world.upstream.batches(), [["warm"]]);
        world.page("/progress?userId=u", "sid=one").await;
    }
    world.is_down.store(true, Ordering::SeqCst);
    world.event("sid=one", "a").await;
    world
        .page(
            if is_good {
                "/progress?userId=u"
            } else {
                "/page"
            },
            "sid=one",
        )
        .await;
    world.restart(end);
    world.event("sid=two", "a").await;
    world.event("sid=two", "b").await;
    // Once more, now that the successor is of an earlier process.
    world.restart(end);
    for id in ["a", "b", "c"] {
        world.event("sid=two", id).await;
    }
    let (printed, order) = world.finish().await;
    let (warm, received) = if is_good { (1, 7) } else { (0, 6) };
    // A duplicate is counted with the next commit: a kill may come before it.
    let all = format!(
        "received {received} = accepted {} + duplicate 3 + superseded 0 + dead 0 + pending 0",
        warm + 3
    );
    let short = format!(
        "received {} = accepted {} + duplicate 2 + superseded 0 + dead 0 + pending 0",
        received - 1,
        warm + 3
    );
    assert!(
        printed.contains(&all) || end == End::Kill && printed.contains(&short),
        "{end:?} {is_good}: {printed}"
    );
    assert_eq!(order, ["a", "b", "c"], "{end:?} {is_good}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolled_session_is_who_it_was_after_a_kill() {
    rolls(End::Kill, false).await;
    rolls(End::Kill, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolled_session_is_who_it_was_after_a_stop() {
    rolls(End::Stop, false).await;
    rolls(End::Stop, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivered_event_is_known_under_a_cookie_that_was_renewed_before_or_after_a_restart() {
    for end in [End::Kill, End::Stop] {
        let mut world = World::new(&[("window = \"1h\"", "window = \"1ms\"")]).await;
        world.event("sid=one", "a").await;
        world
            .upstream
            .until(|seen| seen.iter().any(|seen| seen.path == "/batch"))
            .await;
        if end == End::Stop {
            world.restart(end);
        }
        world.page("/page", "sid=one").await;
        world.restart(end);
        world.event("sid=two", "a").await;
        let (printed, _) = world.finish().await;
        assert!(
            printed.contains("received 2 = accepted 1 + duplicate 1 + "),
            "{end:?}: {printed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_is_kept_with_its_first_event_and_not_for_a_session_without_events() {
    let mut world = World::new(&[]).await;
    world.is_down.store(true, Ordering::SeqCst);
    world.page("/page", "sid=one").await;
    world.page("/page", "sid=other").await;
    assert_eq!(world.process.take().unwrap().terminate().0, Some(0));
    let (config, directory) = (world.config.clone(), world.directory.path().to_owned());
    assert!(stats(&config, &directory, "stats").contains("session successors 0,"));
    world.process = Some(Process::start(&config));
    world.page("/page", "sid=one").await;
    world.event("sid=two", "a").await;
    world.restart(End::Kill);
    world.event("sid=one", "a").await;
    world.event("sid=two", "b").await;
    assert_eq!(world.process.take().unwrap().terminate().0, Some(0));
    assert!(stats(&config, &directory, "stats").contains("session successors 1,"));
    assert!(
        stats(&config, &directory, "verify")
            .contains("2 pending events, 0 dead letters, 1 session successors: every")
    );
    world.process = Some(Process::start(&config));
    let (printed, order) = world.finish().await;
    assert!(
        printed.contains("received 3 = accepted 2 + duplicate 1 + "),
        "{printed}"
    );
    assert_eq!(order, ["a", "b"]);
}
