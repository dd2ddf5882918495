//! `/config` and `/log-level` of the real process.

use crate::support::process::Process;
use crate::support::{Answer, Http, in_time};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

async fn ask(process: &Process, method: Method, path: &str, body: &str) -> Answer {
    let asked = Http::default();
    let body = body.to_owned();
    asked
        .try_call(process.admin, method, path, &[], body)
        .await
        .unwrap()
}

fn start(directory: &Path, more: &str) -> Process {
    let config = directory.join("config.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[journal]\ndurability = \
         \"none\"\n[upstream]\nurl = \"http://127.0.0.1:1\"\n{more}"
    );
    std::fs::write(&config, text).unwrap();
    Process::start(&config)
}

#[tokio::test]
async fn the_configuration_is_that_of_the_process_with_the_modes_of_now_and_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "MARK-of-a-file").unwrap();
    let secret = directory.path().join("secret");
    let process = start(
        directory.path(),
        &format!(
            "[migration]\nsalt = \"MARK\"\n[batch.a]\npath = \"/batch?apikey=MARK\"\nheaders = {{ x-plain = \
             \"MARK\", x-secret = {{ file = {secret:?} }} }}\n[[event]]\npath = \"/e\"\nbatch = \"a\"\nmode = \"off\"\n\
             [[event]]\npath = \"/e\"\nbatch = \"a\"\n[[event]]\npath = \"/f\"\nbatch = \"a\"\nmode = \"observe\"\n"
        ),
    );
    let set = ask(
        &process,
        Method::PUT,
        "/modes",
        r#"{"route":"/e","mode":"coalesce","rollout":7}"#,
    );
    assert_eq!(set.await.status, StatusCode::OK);
    // What the file says by now is not what the process has.
    std::fs::write(directory.path().join("config.toml"), "[nothing]\n").unwrap();
    let shown = ask(&process, Method::GET, "/config", "").await;
    let text = String::from_utf8_lossy(&shown.body).into_owned();
    assert!(!text.contains("MARK"), "{text}");
    let shown: Value = shown.json();
    for (place, wanted) in [
        ("/upstream/url", json!("http://127.0.0.1:1")),
        ("/journal/durability", json!("none")),
        ("/limits/max_users", json!(1_000_000)),
        ("/batch/a/path", json!("/batch?apikey=[redacted]")),
        ("/batch/a/headers/x-plain", json!("[redacted]")),
        ("/batch/a/headers/x-secret/file", json!(secret)),
        ("/event/0/mode", json!("coalesce")),
        ("/event/0/rollout", json!(7)),
        // The second is never met.
        ("/event/1/mode", json!("coalesce")),
        ("/event/2/mode", json!("observe")),
    ] {
        assert_eq!(shown.pointer(place), Some(&wanted), "{place}: {shown:#}");
    }
    let refused = ask(&process, Method::PUT, "/config", "").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_is_logged_changes_at_once_is_logged_itself_and_goes_back_to_the_starts() {
    let directory = tempfile::tempdir().unwrap();
    let process = start(directory.path(), "");
    let level = |method: Method, body: &'static str| ask(&process, method, "/log-level", body);
    let both = |now: &str| json!({ "filter": now, "at_start": "off" });
    assert_eq!(level(Method::GET, "").await.json(), both("off"));
    for wrong in ["", "loud", "trace", "h2=trace", "tidegate=7", "[x]=info"] {
        let refused = level(Method::PUT, wrong).await;
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(said.contains("allowed: LEVEL or TARGET=LEVEL"), "{said}");
    }
    assert_eq!(level(Method::GET, "").await.json(), both("off"));
    let changed = level(Method::PUT, "warn,tidegate=debug").await;
    assert_eq!(changed.json(), both("warn,tidegate=debug"));
    let is_logged = async |what: &str| {
        let comes = async {
            while !process.said().contains(what) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time(what, comes).await;
    };
    is_logged(r#""was":"off","now":"warn,tidegate=debug""#).await;
    let reloaded = ask(&process, Method::POST, "/config/reload", "").await;
    assert_eq!(reloaded.status, StatusCode::OK);
    is_logged("the file was read anew").await;
    assert_eq!(level(Method::DELETE, "").await.json(), both("off"));
    is_logged(r#""was":"warn,tidegate=debug","now":"off""#).await;
    let before = process.said();
    ask(&process, Method::POST, "/config/reload", "").await;
    assert_eq!(
        level(Method::POST, "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(process.said(), before, "nothing more is logged");
}
