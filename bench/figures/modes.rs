//! What modes that forward cost the primary: calls beside `observe`, and beside `shadow` whose target
//! is well, hangs, resets, answers garbage, or is a hundred times slower than the application.

use super::Bench;
use super::application::Application;
use super::calls;
use super::contest::{Contestant, alternate, median};
use super::load::{Order, Pace, Plan, Until};
use super::process::start_tidegate;
use super::reference::{self, Head};
use super::table::{Aim, Row};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long a server is sent its rate in a round.
const PACED: Duration = Duration::from_secs(5);
/// Threads that no call waits for.
const BESIDE: [&str; 2] = ["observer", "shadow"];
/// How long the slow target thinks: a hundred times what the application takes, and more.
const SLOW: Duration = Duration::from_millis(50);

/// What a shadow's target does with a connection.
#[derive(Debug, Clone, Copy)]
enum Target {
    Well,
    Hangs,
    Resets,
    Garbage,
    Slow,
}

impl Target {
    fn start(self) -> SocketAddr {
        if matches!(self, Self::Well) {
            return Application::start().address;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                match self {
                    Self::Hangs => kept.push(stream),
                    Self::Resets => drop(stream),
                    _ => drop(std::thread::spawn(move || self.answer(stream))),
                }
            }
        });
        address
    }

    /// Answers what comes, one read after the other.
    fn answer(self, mut stream: TcpStream) {
        let mut read = vec![0; 256 << 10];
        while stream.read(&mut read).is_ok_and(|count| count > 0) {
            let answer = if matches!(self, Self::Slow) {
                std::thread::sleep(SLOW);
                "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n<html>?"
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn enter(bench: &Bench<'_>, name: &str, mode: &str, target: Option<Target>) -> Contestant {
    let directory = bench.directory.join(name.replace(' ', "-"));
    let journal = directory.join("journal");
    let text = reference::configuration(bench.application.address, "process", &journal);
    let mode = format!("\n[[event]]\nmode = \"{mode}\"\n");
    let mut text = text
        .replace("\nmode = \"off\"", "")
        .replace("\nmode = \"coalesce\"", "")
        .replace("\n[[event]]\n", &mode);
    if let Some(target) = target {
        text.push_str(&format!(
            "\n[shadow]\nurl = \"http://{}\"\n",
            target.start()
        ));
    }
    let (process, address, _) = start_tidegate(&directory, &text);
    let calls = Box::new(|connection| calls::write_events(Head::Small, connection));
    let plan = Plan {
        address,
        calls,
        cycle: calls::EVENTS_CYCLE,
        mark: "",
    };
    Contestant::new(process, bench.application, plan)
}

/// Processor time a call of all threads that calls wait for, and how long calls take at half of the
/// peak rate; each of the same with `off`, round by round.
pub fn measure_modes(bench: &Bench<'_>) -> Vec<Row> {
    let others = [
        ("observe", "observe", None),
        ("shadow, dry run", "shadow", None),
        (
            "shadow, a target that is well",
            "shadow",
            Some(Target::Well),
        ),
        ("shadow, a target that hangs", "shadow", Some(Target::Hangs)),
        (
            "shadow, a target that resets",
            "shadow",
            Some(Target::Resets),
        ),
        (
            "shadow, a target that answers garbage",
            "shadow",
            Some(Target::Garbage),
        ),
        ("shadow, a slow target", "shadow", Some(Target::Slow)),
    ];
    let mut off = enter(bench, "off", "off", None);
    let mut all = others.map(|(name, mode, target)| enter(bench, name, mode, target));
    let peaks = (0..3).map(|_| {
        let count = off.warm(Until::Time(Duration::from_secs(1)));
        count.calls as f64 / count.took.as_secs_f64()
    });
    let rate = median(peaks.collect()) / 2.0;
    let mut rows = Vec::new();
    for ((name, ..), one) in others.iter().zip(&mut all) {
        let measure = |one: &mut Contestant| one.measure_call_but(&BESIDE);
        let [of_off, of_one] = alternate([&mut off, one], measure);
        rows.push(Row::compared(
            &format!("a call beside {name} / `off`, threads of calls"),
            [&of_one, &of_off],
            of_one.ratio_to(&of_off),
            Aim::AtMost(1.1),
            None,
        ));
        let pace = Pace {
            rate,
            time: PACED,
            order: Order::Spread,
        };
        let measure = |one: &mut Contestant| one.measure_p99(pace);
        let [of_off, of_one] = alternate([&mut off, one], measure);
        rows.push(Row::compared(
            &format!("p99 beside it at {rate:.0} calls/s / `off`"),
            [&of_one, &of_off],
            of_one.ratio_to(&of_off),
            Aim::AtMost(1.2),
            None,
        ));
    }
    rows
}
