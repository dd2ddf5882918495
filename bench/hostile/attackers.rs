//! The attackers' process: this binary once more, with the lowest priority, told by [`ORDER`] what
//! to do.

use super::attacks::{self, Attack};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The public and the admin listener, and forged events a second; 0 asks for the peak.
const ORDER: &str = "TIDEGATE_HOSTILE_ORDER";
/// The lowest priority that there is.
pub const NICE: i32 = 19;
const PEAK_TIME: Duration = Duration::from_secs(10);
/// The first line of a process whose attacks begin.
const READY: &str = "ready";

/// What an attackers' process was told.
pub struct Order {
    public: SocketAddr,
    admin: SocketAddr,
    rate: u64,
}

/// The order, in an attackers' process.
pub fn order() -> Option<Order> {
    let text = std::env::var(ORDER).ok()?;
    let mut words = text.split(' ');
    let mut address = || {
        words
            .next()
            .and_then(|word| word.parse().ok())
            .expect("an address")
    };
    let (public, admin) = (address(), address());
    let rate = words
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a rate");
    Some(Order {
        public,
        admin,
        rate,
    })
}

impl Order {
    /// Says on stdout what was found: the peak, or what was sent until stdin closed. An attacker
    /// has no bound to hold.
    pub async fn carry_out(self) -> bool {
        if self.rate == 0 {
            println!("{}", attacks::peak(self.public, PEAK_TIME).await);
            return true;
        }
        let bombs = attacks::make_bombs();
        println!("{READY}");
        let attack = Attack::begin(self.public, self.admin, self.rate, bombs);
        let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        closed.await.expect("a thread").expect("stdin");
        println!("{}", attack.end().await);
        true
    }
}

/// A running attackers' process.
#[derive(Debug)]
pub struct Attackers {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Attackers {
    fn start(public: SocketAddr, admin: SocketAddr, rate: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command
            .env(ORDER, format!("{public} {admin} {rate}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let says = BufReader::new(child.stdout.take().expect("what it says"));
        Self { child, says }
    }

    /// Begins all attacks; `rate`: forged events a second. They are on their way when this returns.
    pub fn begin(public: SocketAddr, admin: SocketAddr, rate: u64) -> Self {
        let mut attackers = Self::start(public, admin, rate);
        assert_eq!(attackers.line(), READY, "the attackers' process failed");
        attackers
    }

    fn line(&mut self) -> String {
        let mut said = String::new();
        self.says.read_line(&mut said).expect("a line");
        said.trim().to_owned()
    }

    /// Ends them; what they sent, in words.
    pub fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let said = self.line();
        assert!(
            self.child.wait().expect("its end").success(),
            "the attackers' process failed"
        );
        said
    }
}

/// How many forged events a second are answered when nothing holds the attackers back.
pub fn measure_peak(public: SocketAddr) -> u64 {
    let said = Attackers::start(public, public, 0).end();
    said.parse().expect("a number")
}
