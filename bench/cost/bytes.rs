//! What a context costs: bytes of a pending event, in memory and in the journal, with a browser's
//! 1.5 KB of headers.
//!
//! A server in a process of its own takes events that stay pending (windows of an hour, an upstream
//! that is never asked); its resident memory before and after, and the bytes of its journal's
//! files, are divided by the events. `shared`: all calls of a user have one context. `own`: a
//! condition (the CSRF token) differs at every call, so each has its own context and its own lane.
//! `lone`: as many users as events, each with its context and its lane. `small` is a call with four
//! short headers.

use super::load::{Client, Server, Upstream};
use super::reference::{self, Head};
use std::path::Path;
use std::process::Command;

const USERS: usize = 2_000;
/// Calls of each.
const EACH: usize = 20;
const THREADS: usize = 8;

/// By exclusion, as without any `[identity]`: what a context holds is most of the head.
const BUILT_IN: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://UPSTREAM"
[identity]
user = "{event.userId}"
[journal]
durability = "process"
path = "JOURNAL"
[limits]
max_lanes = 1_000_000
[batch.progress]
path = "/batch"
window = "1h"
flush_at = 1_000
max_events = 1_000
max_bytes = "10MiB"
[[event]]
path = "/api/client/progress/lesson"
batch = "progress"
event = { type = "lesson_progress", clientEventId = "{body.client_event_id}", userId = "{body.user_id}", lessonId = "{body.lesson_id}", percent = "{body.percent}", position = "{body.resume_at_s}", timestamp = "{body.timestamp|now.ms}" }
ack = { status = 200 }
"#;

/// As the reference names what counts: what isn't named travels with each event.
const NAMED: &str = r#"
credentials = ["header:authorization", "cookie:access_token", "cookie:csrf_token", "header:x-csrf-token", "header:origin", "header:x-org-id", "header:x-organization-id", "cookie:active_org"]
"#;

struct Found {
    resident: u64,
    journal: u64,
}

/// Bytes that the files of a directory take on their disk.
fn bytes_below(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// Whose calls they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Shared,
    Own,
    Lone,
}

fn measure(text: &str, head: Head, whose: Whose, directory: &Path) -> Found {
    std::fs::create_dir(directory).expect("a directory");
    let (upstream, file, journal) = (
        Upstream::start(),
        directory.join("config.toml"),
        directory.join("journal"),
    );
    let text = text.replace("UPSTREAM", &upstream.address.to_string());
    std::fs::write(
        &file,
        text.replace("JOURNAL", &journal.display().to_string()),
    )
    .expect("a configuration");
    let program = std::env::current_exe().expect("this program");
    let server = Server::start(Command::new(program).arg("serve").arg(file));
    // Another user's call warms up.
    Client::connect(server.address).send(&reference::call(
        head,
        "first",
        "first:0",
        "csrf-0123456789abcdef",
    ));
    let (resident, written) = (server.resident(), bytes_below(&journal));
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let address = server.address;
            threads.spawn(move || {
                let mut client = Client::connect(address);
                for number in 0..EACH {
                    for user in (thread..USERS).step_by(THREADS) {
                        let user = if whose == Whose::Lone {
                            user + number * USERS
                        } else {
                            user
                        };
                        let one = if whose == Whose::Own { number } else { 0 };
                        let (user, csrf) = (
                            format!("user-{user}"),
                            format!("csrf-0123456789ab-{one:03}"),
                        );
                        client.send(&reference::call(
                            head,
                            &user,
                            &format!("{user}:lesson-7:{number}"),
                            &csrf,
                        ));
                    }
                }
            });
        }
    });
    assert_eq!(upstream.taken(), 0, "an event was delivered");
    let events = (USERS * EACH) as u64;
    let found = Found {
        resident: (server.resident() - resident) / events,
        journal: bytes_below(&journal).saturating_sub(written) / events,
    };
    server.end();
    found
}

pub fn print() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let size =
        |head| reference::call(head, "user-1", "user-1:lesson-7:1", "csrf-0123456789ab-000").len();
    println!(
        "{} events of {USERS} users (lone: of one each), pending; calls of {} bytes (small) and {} \
         bytes (browser)",
        USERS * EACH,
        size(Head::Small),
        size(Head::Browser)
    );
    let named = BUILT_IN.replace("[identity]\n", &format!("[identity]{NAMED}"));
    for (identity, text) in [("built-in", BUILT_IN), ("named", &named)] {
        for (head, kind) in [(Head::Small, "small"), (Head::Browser, "browser")] {
            for (whose, sharing) in [
                (Whose::Shared, "shared"),
                (Whose::Own, "own"),
                (Whose::Lone, "lone"),
            ] {
                let place = directory
                    .path()
                    .join(format!("{identity}-{kind}-{sharing}"));
                let Found { resident, journal } = measure(text, head, whose, &place);
                println!(
                    "{identity:>9} {kind:>8} {sharing:>7}: {resident:>6} B resident, {journal:>6} B \
                     in the journal"
                );
            }
        }
    }
}
