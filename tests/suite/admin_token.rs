//! The admin listener's token: who must have it, and where commands find it.

use crate::support::process::{Process, run};
use crate::support::{Answer, Http, in_time};
use http::{Method, StatusCode};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const TOKEN: &str = "the-token-of-the-test";
const OTHER: &str = "the-token-of-tomorrow";

/// A plain relay whose admin listener wants a token.
struct Guarded {
    directory: TempDir,
}

impl Guarded {
    fn new(listen: &str, more: &str) -> Self {
        let guarded = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        guarded.write_token(TOKEN);
        let token = guarded.path("token");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \"http://127.0.0.1:1\"\n[admin]\n\
             listen = \"{listen}\"\ntoken_file = {token:?}\n{more}"
        );
        std::fs::write(guarded.config(), text).unwrap();
        guarded
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    fn write_token(&self, token: &str) {
        std::fs::write(self.path("token"), format!("{token}\n")).unwrap();
    }
}

async fn ask(at: SocketAddr, method: Method, path: &str, token: Option<&str>) -> Answer {
    let line = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("host", "tidegate.internal")];
    headers.extend(line.as_deref().map(|line| ("authorization", line)));
    let at = SocketAddr::from(([127, 0, 0, 1], at.port()));
    let asked = Http::default();
    asked
        .try_call(at, method, path, &headers, "")
        .await
        .unwrap()
}

async fn status(at: SocketAddr, path: &str, token: Option<&str>) -> StatusCode {
    ask(at, Method::GET, path, token).await.status
}

#[tokio::test]
async fn beyond_loopback_a_stranger_hears_health_and_readiness_and_not_which_paths_there_are() {
    let guarded = Guarded::new("0.0.0.0:0", "");
    let process = Process::start(&guarded.config());
    for path in ["/healthz", "/readyz", "/", "/dashboard/main.js"] {
        assert_eq!(
            status(process.admin, path, None).await,
            StatusCode::OK,
            "{path}"
        );
    }
    let mut told = Vec::new();
    for (method, path) in [
        (Method::GET, "/status"),
        (Method::GET, "/metrics"),
        (Method::GET, "/live"),
        (Method::GET, "/nothing"),
        (Method::POST, "/healthz"),
        (Method::POST, "/flush"),
        (Method::PUT, "/modes"),
        (Method::DELETE, "/dead-letters"),
    ] {
        for token in [None, Some("another-token-than-it")] {
            let answer = ask(process.admin, method.clone(), path, token).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer "));
            told.push(answer.body);
        }
    }
    told.dedup();
    assert_eq!(told.len(), 1, "the same answer whatever was asked for");
    assert_eq!(
        status(process.admin, "/status", Some(TOKEN)).await,
        StatusCode::OK
    );
    assert_eq!(
        status(process.admin, "/nothing", Some(TOKEN)).await,
        StatusCode::NOT_FOUND
    );
    let foreign = [
        ("origin", "https://evil.test"),
        ("authorization", &format!("Bearer {TOKEN}")),
    ];
    let at = SocketAddr::from(([127, 0, 0, 1], process.admin.port()));
    let answer = Http::default()
        .try_call(at, Method::GET, "/status", &foreign, "")
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn on_loopback_a_token_that_is_named_is_needed_and_metrics_may_be_open() {
    let guarded = Guarded::new("127.0.0.1:0", "open_metrics = true\n");
    let process = Process::start(&guarded.config());
    let of_this_machine = |path: &'static str| async move {
        let asked = Http::default();
        let answer = asked
            .try_call(process.admin, Method::GET, path, &[], "")
            .await;
        answer.unwrap().status
    };
    assert_eq!(of_this_machine("/metrics").await, StatusCode::OK);
    assert_eq!(of_this_machine("/status").await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        status(process.admin, "/status", Some(TOKEN)).await,
        StatusCode::MISDIRECTED_REQUEST,
        "on loopback the host counts still"
    );
}

#[tokio::test]
async fn a_token_that_changed_holds_from_the_next_reload_on_and_a_wrong_one_changes_nothing() {
    let guarded = Guarded::new("0.0.0.0:0", "");
    let process = Process::start_in_session(&guarded.config());
    guarded.write_token("short");
    let refused = ask(process.admin, Method::POST, "/config/reload", Some(TOKEN)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(
        said.contains("found 5 characters; allowed is one line of 16"),
        "{said}"
    );
    assert_eq!(
        status(process.admin, "/status", Some(TOKEN)).await,
        StatusCode::OK
    );
    guarded.write_token(OTHER);
    process.signal("-HUP");
    in_time("the new token", async {
        while status(process.admin, "/status", Some(OTHER)).await != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let old = status(process.admin, "/status", Some(TOKEN)).await;
    assert_eq!(old, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn commands_take_the_token_from_its_file_or_from_the_environment() {
    let guarded = Guarded::new("0.0.0.0:0", "");
    let process = Process::start(&guarded.config());
    let listen = process.admin.to_string();
    let command = |arguments: &[&str], token: Option<&str>| {
        let token = token.map(|token| ("TIDEGATE_ADMIN_TOKEN", token));
        let listen = ("TIDEGATE__ADMIN__LISTEN", &*listen);
        let variables: Vec<_> = token.into_iter().chain([listen]).collect();
        run(arguments, &guarded.config(), &variables)
    };
    for arguments in [
        &["dead-letters", "list"][..],
        &["modes"],
        &["observe", "report"],
    ] {
        let (code, said) = command(arguments, None);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    guarded.write_token(OTHER);
    let (code, said) = command(&["modes"], None);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the token of admin.token_file is needed"),
        "{said}"
    );
    let (code, said) = command(&["modes"], Some(TOKEN));
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_file(guarded.path("token")).unwrap();
    let (code, said) = command(&["modes"], Some(TOKEN));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = command(&["modes"], None);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("without TIDEGATE_ADMIN_TOKEN the token's file is needed"),
        "{said}"
    );
}

#[test]
fn without_a_token_nothing_beyond_loopback_starts_and_a_wrong_file_is_named() {
    let guarded = Guarded::new("0.0.0.0:0", "");
    guarded.write_token("no token");
    for command in ["check", "run"] {
        let (code, said) = run(&[command], &guarded.config(), &[]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code, Some(1), "{said}");
        let wanted = "token: found another character at place 3; allowed is one line of 16 to";
        assert!(said.contains(wanted), "{said}");
    }
    let text = std::fs::read_to_string(guarded.config()).unwrap();
    std::fs::write(guarded.config(), text.replace("token_file", "# ")).unwrap();
    let (code, said) = run(&["run"], &guarded.config(), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("admin.listen: found 0.0.0.0:0; without admin.token_file"),
        "{said}"
    );
}

#[test]
fn a_token_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let guarded = Guarded::new("127.0.0.1:0", "");
    for (mode, is_shared) in [(0o644, true), (0o640, true), (0o600, false), (0o400, false)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(guarded.path("token"), permissions).unwrap();
        let (code, said) = run(&["check"], &guarded.config(), &[]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code, Some(0), "{said}");
        let warned = said.contains("others than its owner may read or write admin.token_file");
        assert_eq!(warned, is_shared, "{mode:o}: {said}");
    }
}
