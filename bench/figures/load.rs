//! The load: prepared bytes over raw TCP, 64 connections with one call in flight each.

use super::calls::{CONNECTIONS, WriteCall};
use hdrhistogram::Histogram;
use memchr::memmem;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// What a load sends, and to whom.
pub struct Plan {
    pub address: SocketAddr,
    /// The calls of the connection with this number.
    pub calls: Box<dyn Fn(usize) -> WriteCall>,
    /// A connection stops only after a multiple of so many calls.
    pub cycle: u64,
    /// What an answer's head holds where the server did what is measured; nothing: every answer.
    pub mark: &'static str,
}

/// When each connection stops, at the end of its cycle.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Time(Duration),
    Calls(u64),
}

/// A load that doesn't wait for the server.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Calls a second.
    pub rate: f64,
    /// About how long.
    pub time: Duration,
    pub order: Order,
}

/// When the connections' cycles begin.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// All at once: where the users of a cycle send in turn, all batches are full in the same part
    /// of it.
    InStep,
    /// One after the other in the time of a cycle: about as many batches are full at any time.
    Spread,
}

/// What was answered, with 200 each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub calls: u64,
    /// Answers that bear the mark.
    pub marked: u64,
    pub took: Duration,
}

/// Connections that stay open, and go on where they stopped.
pub struct Load {
    plan: Plan,
    runtime: Runtime,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    write: WriteCall,
    mark: memmem::Finder<'static>,
    call: Vec<u8>,
    answer: Vec<u8>,
    count: Count,
}

impl Load {
    pub fn new(plan: Plan) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            plan,
            runtime: runtime.expect("a runtime"),
            connections: Vec::new(),
        }
    }

    /// Not before the first calls, since a server closes a connection that says nothing.
    fn open_connections(&mut self) {
        for number in 0..CONNECTIONS {
            let stream = self.runtime.block_on(TcpStream::connect(self.plan.address));
            let stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            self.connections.push(Connection {
                stream,
                write: (self.plan.calls)(number),
                mark: memmem::Finder::new(self.plan.mark),
                call: Vec::new(),
                answer: vec![0; 8_192],
                count: Count::default(),
            });
        }
    }

    /// Sends as fast as the server answers.
    pub fn run(&mut self, until: Until) -> Count {
        let (began, cycle) = (Instant::now(), self.plan.cycle);
        self.each(true, async move |_, connection| {
            loop {
                let ends = match until {
                    Until::Time(time) => began.elapsed() >= time,
                    Until::Calls(calls) => connection.count.calls >= calls,
                };
                if ends && connection.count.calls.is_multiple_of(cycle) {
                    return;
                }
                connection.exchange().await;
            }
        })
    }

    /// Sends at a fixed rate, whether or not the server keeps up; microseconds of each call. A call
    /// that had to wait for the one before it counts from the moment when it was due.
    pub fn pace(&mut self, pace: Pace) -> (Count, Histogram<u64>) {
        let (began, cycle) = (Instant::now(), self.plan.cycle);
        let interval = Duration::from_secs_f64(CONNECTIONS as f64 / pace.rate);
        let one_cycle = interval * u32::try_from(cycle).expect("a short cycle");
        let apart = match pace.order {
            Order::InStep => interval / CONNECTIONS as u32,
            Order::Spread => one_cycle / CONNECTIONS as u32,
        };
        // While all connections send.
        let counted = began + apart * CONNECTIONS as u32..began + pace.time;
        let calls = (pace.time.as_secs_f64() / interval.as_secs_f64()) as u64;
        let calls = calls.next_multiple_of(cycle);
        let (tell, told) = std::sync::mpsc::channel();
        // It leaves its core to the application, which calls may wait for.
        let count = self.each(false, async move |number, connection| {
            let mut latencies = new_histogram();
            let mut due = began + apart * number;
            for _ in 0..calls {
                // A timer that comes late isn't the server's fault, a connection that isn't free
                // is.
                let mut from = due;
                if Instant::now() < due {
                    tokio::time::sleep_until(due).await;
                    from = Instant::now();
                }
                connection.exchange().await;
                if counted.contains(&due) {
                    let took = from.elapsed().as_micros();
                    latencies.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
                }
                due += interval;
            }
            tell.send(latencies).expect("it is read");
        });
        let mut all = new_histogram();
        told.try_iter()
            .for_each(|one| all.add(one).expect("equal bounds"));
        (count, all)
    }

    /// Runs all connections at once. `awake`: see [`stay_awake`].
    fn each<F>(&mut self, awake: bool, run: F) -> Count
    where
        F: AsyncFn(u32, &mut Connection),
    {
        if self.connections.is_empty() {
            self.open_connections();
        }
        let began = Instant::now();
        let run = &run;
        let numbered = (0..).zip(&mut self.connections);
        let all = numbered.map(|(number, connection)| async move {
            connection.count = Count::default();
            run(number, connection).await;
            connection.count
        });
        let all = futures_util::future::join_all(all);
        let counts = if awake {
            self.runtime.block_on(stay_awake(all))
        } else {
            self.runtime.block_on(all)
        };
        let mut count = Count {
            took: began.elapsed(),
            ..Count::default()
        };
        for one in counts {
            count.calls += one.calls;
            count.marked += one.marked;
        }
        count
    }
}

/// Waits without sleep: over loopback a server's processor time holds what waking its client takes,
/// several microseconds a call on a virtual machine, and the slower the server, the more often its
/// client sleeps.
async fn stay_awake<T>(future: impl Future<Output = T>) -> T {
    let awake = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = future => done,
        never = awake => never,
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram")
}

impl Connection {
    /// One call and its whole answer, which must be 200.
    async fn exchange(&mut self) {
        self.call.clear();
        (self.write)(&mut self.call);
        self.stream
            .write_all(&self.call)
            .await
            .expect("a call is written");
        let mut have = 0;
        let head = loop {
            let read = self
                .stream
                .read(&mut self.answer[have..])
                .await
                .expect("an answer");
            assert!(read > 0, "{:?} is closed", self.stream);
            have += read;
            if let Some(head) = whole_head(&self.answer[..have]) {
                break head;
            }
        };
        assert!(
            head.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(head)
        );
        self.count.marked += u64::from(self.mark.find(head).is_some());
        self.count.calls += 1;
    }
}

/// The head of an answer, if all of the body that it announces is there, too.
fn whole_head(seen: &[u8]) -> Option<&[u8]> {
    let (head, body) = seen.split_at(memmem::find(seen, b"\r\n\r\n")? + 4);
    // `Content-Length` in either case.
    let digits = &head[memmem::find(head, b"ength: ").expect("a length") + 7..];
    let digits = digits.iter().take_while(|digit| digit.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    (body.len() >= length).then_some(head)
}
