//! The journal's directory: what is no journal stays as it is, and so does a journal that is only
//! looked at.

use crate::crash::configure;
use crate::support::Http;
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, answer};
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const HEAD: [(&str, &str); 2] = [("authorization", "token-u"), ("host", "app.test")];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file below a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Every file's bytes, mode and time.
fn picture(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, SystemTime)> {
    let one = |path: PathBuf| {
        let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
        (
            path.clone(),
            (std::fs::read(&path).unwrap(), mode(&path), changed),
        )
    };
    files_below(directory).into_iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_no_journal_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "disk", &[]);
    let journal = directory.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    std::fs::write(journal.join("notes.txt"), "mine").unwrap();
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o755)).unwrap();
    let Err((code, said)) = Process::try_start(&config) else {
        panic!("it started")
    };
    assert_eq!(code, Some(2));
    assert!(
        said.contains("notes.txt") && said.contains("name an empty directory"),
        "{said}"
    );
    assert_eq!(mode(&journal), 0o755);
    assert_eq!(files_below(&journal), [journal.join("notes.txt")]);

    // What a volume of its own begins with is nobody's.
    std::fs::remove_file(journal.join("notes.txt")).unwrap();
    std::fs::create_dir(journal.join("lost+found")).unwrap();
    Process::start(&config).terminate();
    // A start that was cut off while it marked a directory that once was damaged.
    std::fs::create_dir(journal.join("quarantine")).unwrap();
    std::fs::write(journal.join("FORMAT"), "").unwrap();
    Process::start(&config).terminate();
    // And a journal may hold what its owner puts beside it.
    std::fs::write(journal.join("notes.txt"), "mine").unwrap();
    Process::start(&config).terminate();
    assert_eq!(mode(&journal), 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_a_journal_changes_no_byte_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(503, json!({}))));
    let config = configure(directory.path(), upstream.address, "disk", &[]);
    let process = Process::start(&config);
    let body = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
    let kept = Http::default()
        .try_call(process.address, Method::POST, "/event", &HEAD, body)
        .await
        .unwrap();
    assert!(kept.status.is_success());
    let journal = directory.path().join("journal");
    let path = journal.display().to_string();
    let verify = ["journal", "verify", "--path", &path];
    let (code, said) = run(&verify, &config, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    process.kill();

    // Found by a look at a copy; a look must not be what makes it whole.
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o750)).unwrap();
    let before = picture(&journal);
    for command in [
        &verify[..],
        &["journal", "stats", "--path", &path],
        &["check", "--journal"],
    ] {
        let (code, said) = run(command, &config, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains('1'), "the event is seen: {said}");
    }
    assert!(picture(&journal) == before, "the files are as they were");
    assert_eq!(mode(&journal), 0o750);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_in_full_where_its_journal_is() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let upstream = FakeUpstream::start().await;
    let here = std::env::current_dir().unwrap();
    let whole = directory.path().join("journal");
    let relative = whole
        .strip_prefix(&here)
        .map(Path::to_owned)
        .unwrap_or_else(|_| {
            let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
            up.join(whole.strip_prefix("/").unwrap())
        });
    let (from, to) = (
        format!("path = \"{}\"", whole.display()),
        format!("path = \"{}\"", relative.display()),
    );
    let process = Process::start(&configure(
        directory.path(),
        upstream.address,
        "process",
        &[(&from, &to)],
    ));
    let said = process.said();
    assert!(
        said.contains(&format!("journal in {}", here.join(&relative).display())),
        "{said}"
    );
    process.terminate();
}
