//! Good users: each sends an event now and then and reads its summary more often, over a connection
//! and from an address of its own.

use super::USERS;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// The user whom the application limits; none of the good ones.
pub const LIMITED: &str = "limited";
/// A user makes a call this often on average.
const PACE: Duration = Duration::from_millis(1_000);
/// One call in so many is an event.
const EVENT_OF: u64 = 5;
/// Acknowledgements that take longer are told by the second in which they began.
const SLOW: Duration = Duration::from_millis(50);

/// When the event of this id was sent, if a good user sent it.
pub fn sent_at(id: &str) -> Option<SystemTime> {
    let micros = id.strip_prefix("good:")?.rsplit(':').next()?.parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_micros(micros))
}

fn name_event(user: usize, number: u64) -> String {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
    format!("good:{user}:{number}:{now}")
}

/// What users met.
#[derive(Debug)]
pub struct Tally {
    pub acknowledged: u64,
    pub forwarded: u64,
    pub failed: u64,
    pub reads: u64,
    pub hits: u64,
    /// What calls that failed met: a status, or an error of the connection.
    pub failures: BTreeMap<String, u64>,
    /// Ids of events that were answered 2xx.
    pub kept: Vec<String>,
    /// Microseconds of acknowledgements.
    times: Histogram<u64>,
    /// Acknowledgements that took [`SLOW`] or longer: how many began in a second of the phase, and
    /// how long the longest took.
    pub slow: BTreeMap<u64, (u64, Duration)>,
}

impl Tally {
    fn new() -> Self {
        let times = Histogram::new_with_max(600_000_000, 3).expect("three digits");
        Self {
            acknowledged: 0,
            forwarded: 0,
            failed: 0,
            reads: 0,
            hits: 0,
            failures: BTreeMap::new(),
            kept: Vec::new(),
            times,
            slow: BTreeMap::new(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "times below 2^53")]
    pub fn milliseconds(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1_000.0
    }

    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.forwarded += other.forwarded;
        self.failed += other.failed;
        self.reads += other.reads;
        self.hits += other.hits;
        for (met, count) in other.failures {
            *self.failures.entry(met).or_default() += count;
        }
        for (second, (count, longest)) in other.slow {
            let known = self.slow.entry(second).or_default();
            *known = (known.0 + count, known.1.max(longest));
        }
        self.kept.extend(other.kept);
        self.times.add(other.times).expect("the same range");
    }

    fn fail(&mut self, met: String) {
        self.failed += 1;
        *self.failures.entry(met).or_default() += 1;
    }

    fn note(
        &mut self,
        id: Option<String>,
        status: StatusCode,
        headers: &HeaderMap,
        (second, took): (u64, Duration),
    ) {
        let Some(id) = id else {
            self.reads += 1;
            let said = headers
                .get("cache-status")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            self.hits += u64::from(said.contains("; hit"));
            return;
        };
        if headers.contains_key("tidegate-event") {
            self.acknowledged += 1;
            self.times
                .saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            if took >= SLOW {
                let known = self.slow.entry(second).or_default();
                *known = (known.0 + 1, known.1.max(took));
            }
        } else {
            self.forwarded += 1;
        }
        if status.is_success() {
            self.kept.push(id);
        }
    }
}

/// A connection from an address of 127.0.0.0/8.
pub async fn connect(to: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// All good users, for this time.
pub async fn run(to: SocketAddr, time: Duration) -> Tally {
    let began = Instant::now();
    let until = began + time;
    let tasks: Vec<_> = (0..USERS)
        .map(|user| tokio::spawn(one(to, user, (began, until))))
        .collect();
    let mut all = Tally::new();
    for task in tasks {
        all.add(task.await.expect("a user"));
    }
    all
}

async fn open(to: SocketAddr, user: usize) -> Option<SendRequest<Full<Bytes>>> {
    let [high, low] = u16::try_from(user).unwrap_or(0).to_be_bytes();
    let stream = connect(to, Ipv4Addr::new(127, 10, high, low.max(1)))
        .await
        .ok()?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

async fn one(to: SocketAddr, user: usize, (begin, until): (Instant, Instant)) -> Tally {
    let mut tally = Tally::new();
    let mut sender = None;
    let mut next = Instant::now() + PACE.mul_f64(fastrand::f64());
    // Not all of them send an event first.
    for number in fastrand::u64(0..EVENT_OF)..u64::MAX {
        tokio::time::sleep_until(next).await;
        if Instant::now() >= until {
            break;
        }
        next += PACE.mul_f64(0.5 + fastrand::f64());
        if sender.is_none() {
            sender = open(to, user).await;
        }
        let Some(open) = &mut sender else {
            tally.fail("no connection".to_owned());
            continue;
        };
        let id = (number % EVENT_OF == 0).then(|| name_event(user, number));
        let began = Instant::now();
        match call(open, user, id.as_deref()).await {
            Ok((status, headers)) => {
                if !status.is_success() {
                    let by = headers
                        .get("proxy-status")
                        .and_then(|value| value.to_str().ok())
                        .unwrap_or("-");
                    tally.fail(format!(
                        "{} ({by}) after {} ms",
                        status.as_u16(),
                        began.elapsed().as_millis()
                    ));
                }
                let second = (began - begin).as_secs();
                tally.note(id, status, &headers, (second, began.elapsed()));
            }
            Err(error) => {
                let kind = if id.is_some() { "an event" } else { "a read" };
                tally.fail(format!(
                    "{error} ({:?}) for {kind}",
                    std::error::Error::source(&error)
                ));
                sender = None;
            }
        }
    }
    tally
}

async fn call(
    sender: &mut SendRequest<Full<Bytes>>,
    user: usize,
    id: Option<&str>,
) -> Result<(StatusCode, HeaderMap), hyper::Error> {
    sender.ready().await?;
    let request = Request::builder()
        .header(header::HOST, "app.example")
        .header(header::AUTHORIZATION, format!("Bearer good-{user}"));
    let request = match id {
        Some(id) => {
            let body = format!(
                "{{\"id\":\"{id}\",\"user_id\":\"user-{user}\",\"lesson_id\":\"lesson-7\",\"percent\":33}}"
            );
            let request = request
                .method(Method::POST)
                .uri("/api/progress")
                .header(header::CONTENT_TYPE, "application/json");
            request.body(Full::new(Bytes::from(body)))
        }
        None => request
            .uri(format!("/api/progress/summary?userId=user-{user}"))
            .body(Full::default()),
    };
    let (parts, body) = sender
        .send_request(request.expect("a request"))
        .await?
        .into_parts();
    body.collect().await?;
    Ok((parts.status, parts.headers))
}
