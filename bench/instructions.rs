//! Instructions of an acknowledgement, its delivery included, by callgrind: the same on a busy machine and on an idle one.
//!
//! `cargo bench --bench instructions`, where valgrind is installed. Each server runs under callgrind in a process of its
//! own, on one thread; the client sends one call at a time over one connection, and the upstream is outside. Each server
//! runs twice, with few calls and with many: what the second run takes beyond the first, divided by its additional calls,
//! is the cost of a call, without start and end. Instructions of the kernel are not counted.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that can not go on ends")]

#[path = "load.rs"]
mod load;

use load::{Client, Head, Server, Upstream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// Each sends batches of `flush_at` (10) exactly.
const USERS: usize = 40;
const FEW: usize = 2_000;
const MANY: usize = 6_000;

/// Instructions of a server from its start to its end.
fn count(name: &str, durability: Option<&str>, head: Head, calls: usize, directory: &Path) -> u64 {
    let upstream = Upstream::start();
    let place = directory.join(format!("{name}-{calls}"));
    let out = place.with_extension("callgrind");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().expect("this program")).arg("serve").stderr(Stdio::null());
    if let Some(durability) = durability {
        command.args([&upstream.address.to_string(), durability]).arg(&place);
    }
    let server = Server::start(&mut command);
    let mut client = Client::connect(server.address);
    for number in 0..calls {
        let user = format!("user-{}", number % USERS);
        client.send(&load::call(head, &user, &format!("{user}:lesson-7:{number}"), "csrf-0123456789abcdef"));
    }
    let patience = Instant::now() + Duration::from_mins(2);
    while durability.is_some() && upstream.taken() < calls as u64 {
        assert!(Instant::now() < patience, "{} of {calls} events were delivered", upstream.taken());
        std::thread::sleep(Duration::from_millis(20));
    }
    server.end();
    let text = std::fs::read_to_string(out).expect("callgrind's file");
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("its sum");
    line.trim().parse().expect("a number")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return load::serve(&arguments[1..]);
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    println!("instructions of a call, user space, all threads: {FEW} calls against {MANY}");
    let mut bare = 0.0;
    for (head, kind) in [(Head::Small, "small"), (Head::Browser, "browser")] {
        for durability in [None, Some("none"), Some("process")] {
            let name = format!("{kind}-{}", durability.unwrap_or("bare"));
            let [few, many] = [FEW, MANY].map(|calls| count(&name, durability, head, calls, directory.path()));
            #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
            let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
            if durability.is_none() {
                bare = each;
            }
            println!("{name:>16}: {each:>8.0} a call, {:.2} of bare", each / bare);
        }
    }
}
