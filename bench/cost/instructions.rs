//! Instructions of an acknowledgement, its delivery included, by callgrind: the same on a busy
//! machine and on an idle one.
//!
//! Each server runs under callgrind in a process of its own, on one thread; the client sends one
//! call at a time over one connection, and the upstream is outside. Each server runs twice, with
//! few calls and with many: what the second run takes beyond the first, divided by its additional
//! calls, is the cost of a call, without start and end. Instructions of the kernel are not counted.

use super::load::{Client, Server, Upstream};
use super::reference::{self, Head};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// Each sends batches of `flush_at` (10) exactly.
const USERS: usize = 40;
const FEW: usize = 2_000;
const MANY: usize = 6_000;

/// Instructions of a server from its start to its end.
fn count(
    program: &Path,
    name: &str,
    durability: Option<&str>,
    head: Head,
    calls: usize,
    directory: &Path,
) -> u64 {
    let upstream = Upstream::start();
    let place = directory.join(format!("{name}-{calls}"));
    let out = place.with_extension("callgrind");
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program).arg("serve").stderr(Stdio::null());
    if let Some(durability) = durability {
        command
            .args([&upstream.address.to_string(), durability])
            .arg(&place);
    }
    let server = Server::start(&mut command);
    let mut client = Client::connect(server.address);
    for number in 0..calls {
        let user = format!("user-{}", number % USERS);
        client.send(&reference::call(
            head,
            &user,
            &format!("{user}:lesson-7:{number}"),
            "csrf-0123456789abcdef",
        ));
    }
    let patience = Instant::now() + Duration::from_mins(2);
    while durability.is_some() && !head.is_read() && upstream.taken() < calls as u64 {
        assert!(
            Instant::now() < patience,
            "{} of {calls} events were delivered",
            upstream.taken()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    server.end();
    let text = std::fs::read_to_string(out).expect("callgrind's file");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .expect("its sum");
    line.trim().parse().expect("a number")
}

pub fn print() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    println!("instructions of a call, user space, all threads: {FEW} calls against {MANY}");
    let programs = super::programs();
    let kinds = [
        (Head::Small, "small"),
        (Head::Browser, "browser"),
        (Head::Hit, "hit"),
        (Head::BrowserHit, "browser hit"),
    ];
    for (head, kind) in kinds {
        let bare = each(
            &programs[0].1,
            &format!("bare-{kind}"),
            None,
            head,
            directory.path(),
        );
        println!("{kind:>11} {:>8} {:>6}: {bare:>8.0} a call", "", "bare");
        let durabilities = if head.is_read() {
            &["none"][..]
        } else {
            &["none", "process"]
        };
        for durability in durabilities.iter().copied() {
            for (version, program) in &programs {
                let name = format!("{version}-{kind}-{durability}");
                let each = each(program, &name, Some(durability), head, directory.path());
                println!(
                    "{kind:>11} {durability:>8} {version:>6}: {each:>8.0} a call, {:.2} of bare",
                    each / bare
                );
            }
        }
    }
}

/// Instructions of each call beyond the first ones.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub fn each(
    program: &Path,
    name: &str,
    durability: Option<&str>,
    head: Head,
    directory: &Path,
) -> f64 {
    let [few, many] =
        [FEW, MANY].map(|calls| count(program, name, durability, head, calls, directory));
    many.saturating_sub(few) as f64 / (MANY - FEW) as f64
}
