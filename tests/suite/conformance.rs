//! The cache rules of RFC 9110, RFC 9111, RFC 9213 and RFC 5861 as exchanges through real sockets:
//! a client, Tidegate with `[[cache]] path = "/{*rest}"` and nothing else said, and an origin that
//! answers byte by byte what a row says.
//!
//! What a shared cache must do is *required*; what it may do, and does if it is good at it, is
//! *optional*. The rows cover the same admitter as the public suite `http-tests/cache-tests`, in
//! their own words and with their own code, so that the figures can be compared. [`NOT_MET`] names
//! every row that isn't met, with the reason; the test fails as soon as that list is no longer
//! exactly right.
//!
//! `cargo test --test suite -- conformance --nocapture` prints the figures.

mod origin;
mod rows;

use crate::support::Sidecar;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use origin::{Origin, Reply};
use std::time::{Duration, SystemTime};
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Rows that are not met, and why.
const NOT_MET: &[(&str, &str)] = &[
    // Required.
    (
        "RFC 9111 §7.3: Set-Cookie is kept",
        "P8: a cookie belongs to one client, and an answer with one is not stored",
    ),
    (
        "RFC 9110 §15.2: 103 is passed on and not stored",
        "ruling 13: hyper's server sends no interim response but 100",
    ),
    (
        "RFC 9111 §3.1: transfer-encoding is not kept",
        "RFC 9112 §6.1: a transfer coding that wasn't asked for can't be taken off; the answer is a \
         502 of ours",
    ),
    // Optional.
    ("RFC 9110 §15.2: 102 is passed on", "ruling 13"),
    ("RFC 9110 §15.2: 103 is passed on", "ruling 13"),
    ("RFC 9110 §15.2: fields of 103 are not kept", "ruling 13"),
    (
        "RFC 9111 §3.5: public shares an authorized answer",
        "P8: what came for a credential is that credential's",
    ),
    (
        "RFC 9111 §3.5: must-revalidate shares an authorized answer",
        "P8",
    ),
    ("RFC 9111 §3.5: s-maxage shares an authorized answer", "P8"),
    (
        "RFC 9111 §4: an answer is used for a request with a cookie",
        "P8: an unknown cookie may be a credential",
    ),
    (
        "RFC 9111 §7.3: an answer that came with Set-Cookie is used",
        "P8",
    ),
    (
        "RFC 9111 §4.3.2: If-Modified-Since before the date of an answer without Last-Modified",
        "RFC 9110 §13.1.3 wants 200: the answer is newer than what the client has",
    ),
    (
        "RFC 9111 §4.1: the language of an answer is one that is preferred",
        "§4.1 allows no other preferences",
    ),
    (
        "RFC 9111 §3.3: a part is used for the same range",
        "the part is a byte shorter than it says: nothing is kept",
    ),
    (
        "RFC 9111 §3.3: a part is used for a range in it",
        "the same",
    ),
    ("RFC 9111 §3.3: a part is used for its open end", "the same"),
    (
        "RFC 9111 §3.3: a part is used for its last byte",
        "the same",
    ),
    (
        "RFC 9111 §3.4: a part without a validator is completed",
        "§3.4: only parts under a strong tag are put together",
    ),
];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Anything,
    /// The origin isn't asked, or its answer isn't used.
    Stored,
    /// The answer is the origin's new one.
    Asked,
    /// The origin is asked whether what is stored still holds, and says so.
    Confirmed,
}

/// One request, what the origin says if it is asked, and what the client must hear.
#[derive(Debug, Clone)]
struct Step {
    method: &'static str,
    /// Behind the row's own path.
    at: &'static str,
    sends: Vec<(&'static str, String)>,
    reply: Reply,
    want: Want,
    /// A while goes by afterwards.
    pause: bool,
    status: Option<u16>,
    shows: Vec<(&'static str, String)>,
    lacks: Vec<&'static str>,
    text: Option<&'static str>,
    /// Age is more than this, seconds.
    older: Option<u64>,
    /// Fields that the origin must be sent.
    told: Vec<(&'static str, &'static str)>,
    /// An interim response that must come first.
    interim: Option<u16>,
}

/// A rule and the exchange that shows it.
#[derive(Debug)]
struct Row {
    required: bool,
    rule: String,
    steps: Vec<Step>,
}

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
drain = "5s"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://ORIGIN"
[journal]
durability = "none"
[[cache]]
path = "/{*rest}"
"#;

/// What a pause takes; no one waits for it.
const PAUSE: Duration = Duration::from_secs(3);

struct Runner {
    sidecar: Sidecar,
    clock: Clock,
    origin: Origin,
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<bytes::Bytes>>,
}

/// An answer as far as rows look at it.
#[derive(Debug)]
struct Heard {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

/// `@60`: the date in a minute; `850@60`: the same in the format of RFC 850.
fn dated(value: &str, now: SystemTime) -> String {
    let at = |seconds: &str| {
        let seconds: i64 = seconds.parse().unwrap();
        let by = Duration::from_secs(seconds.unsigned_abs());
        httpdate::fmt_http_date(if seconds < 0 { now - by } else { now + by })
    };
    if let Some(seconds) = value.strip_prefix("850@") {
        let date = at(seconds);
        let words: Vec<_> = date.split([',', ' ']).collect();
        let long = [
            "Monday",
            "Tuesday",
            "Wednesday",
            "Thursday",
            "Friday",
            "Saturday",
            "Sunday",
        ];
        let weekday = long.iter().find(|long| long.starts_with(words[0])).unwrap();
        return format!(
            "{weekday}, {}-{}-{} {} GMT",
            words[2],
            words[3],
            &words[4][2..],
            words[5]
        );
    }
    value.strip_prefix('@').map_or_else(|| value.to_owned(), at)
}

impl Runner {
    async fn start() -> Self {
        let clock = Clock::default();
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(
            &CONFIG.replace("ORIGIN", &origin.address.to_string()),
            clock.clone(),
        )
        .await;
        Self {
            sidecar,
            clock,
            origin,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The first thing that is not as it should be.
    async fn play(&self, path: &str, row: &Row) -> Result<(), String> {
        let now = SystemTime::now();
        for (index, step) in row.steps.iter().enumerate() {
            let say = |what: String| format!("step {}: {what}", index + 1);
            let mut step = step.clone();
            for (_, value) in step
                .sends
                .iter_mut()
                .chain(&mut step.reply.headers)
                .chain(&mut step.shows)
            {
                *value = dated(value, now);
            }
            let path = format!("{path}{}", step.at);
            let before = self.origin.seen(&path).len();
            self.origin
                .prepare(&path, step.reply.clone(), step.want == Want::Confirmed);
            let heard = match step.interim {
                Some(status) => {
                    let raw = self.call_raw(&path).await;
                    if !raw.contains(&format!("HTTP/1.1 {status} ")) {
                        return Err(say(format!("no {status} came first")));
                    }
                    continue;
                }
                None => self.call(&path, &step).await,
            };
            let seen = self.origin.seen(&path);
            check(&step, &heard, before, &seen).map_err(say)?;
            if step.pause {
                self.clock.advance(PAUSE);
            }
        }
        Ok(())
    }

    async fn call(&self, path: &str, step: &Step) -> Heard {
        let uri = format!("http://{}{path}", self.sidecar.running.address);
        let mut request = http::Request::builder().method(step.method).uri(uri);
        for (name, value) in &step.sends {
            request = request.header(*name, value);
        }
        let body = if matches!(step.method, "GET" | "HEAD") {
            ""
        } else {
            "abc"
        };
        let response = self
            .client
            .request(request.body(Full::from(body)).unwrap())
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Heard {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    async fn call_raw(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.sidecar.running.address)
            .await
            .unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        String::from_utf8_lossy(&raw).into_owned()
    }
}

fn check(step: &Step, heard: &Heard, before: usize, seen: &[origin::Asked]) -> Result<(), String> {
    let call: Option<usize> = heard
        .headers
        .get("origin-call")
        .and_then(|call| call.to_str().ok()?.parse().ok());
    let asked = seen.get(before);
    match step.want {
        Want::Anything => {}
        Want::Stored
            if call.is_some_and(|call| call <= before) || heard.status == 304 && call.is_none() => {
        }
        // More than one new answer: a revalidation behind the back of the step before.
        Want::Asked if call.is_some_and(|call| call > before) => {}
        Want::Confirmed if asked.is_some_and(|asked| asked.confirmed) => {}
        other => {
            return Err(format!(
                "wanted {other:?}; the origin had answered {before} times, this is {call:?}"
            ));
        }
    }
    let wanted = step
        .status
        .or((step.want == Want::Confirmed).then_some(200));
    if let Some(wanted) = wanted.filter(|wanted| *wanted != heard.status) {
        return Err(format!("status {}, not {wanted}", heard.status));
    }
    for (name, value) in &step.shows {
        let lines: Vec<_> = heard
            .headers
            .get_all(*name)
            .iter()
            .map(|line| line.to_str().unwrap_or("?"))
            .collect();
        if lines.join(", ") != *value {
            return Err(format!("{name} is {lines:?}, not {value:?}"));
        }
    }
    for name in &step.lacks {
        if heard.headers.contains_key(*name) {
            return Err(format!("{name} is there: {:?}", heard.headers.get(*name)));
        }
    }
    if step.text.is_some_and(|text| text != heard.body) {
        return Err(format!("the body is {:?}", heard.body));
    }
    if let Some(least) = step.older {
        let age: Option<u64> = heard
            .headers
            .get("age")
            .and_then(|age| age.to_str().ok()?.parse().ok());
        if age.is_none_or(|age| age <= least) {
            return Err(format!("Age is {age:?}, not above {least}"));
        }
    }
    for (name, value) in &step.told {
        let told = asked.and_then(|asked| asked.header(name));
        if told.as_deref() != Some(*value) {
            return Err(format!(
                "the origin was sent {name}: {told:?}, not {value:?}"
            ));
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_cache_keeps_every_rule_but_those_that_are_named() {
    let runner = Runner::start().await;
    let rows = rows::all();
    let mut met = [0, 0];
    let mut missed = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match runner.play(&format!("/row/{index}"), row).await {
            Ok(()) => met[usize::from(row.required)] += 1,
            Err(what) => missed.push((row.rule.as_str(), what)),
        }
    }
    let of = |required| rows.iter().filter(|row| row.required == required).count();
    println!("required: {} of {}", met[1], of(true));
    println!("optional: {} of {}", met[0], of(false));
    for (rule, what) in &missed {
        println!("not met: {rule} ({what})");
    }
    let mut found: Vec<_> = missed.iter().map(|(rule, _)| *rule).collect();
    let mut named: Vec<_> = NOT_MET.iter().map(|(rule, _)| *rule).collect();
    found.sort_unstable();
    named.sort_unstable();
    assert_eq!(
        found, named,
        "rows that are not met, and those that are named"
    );
    let mut rules: Vec<_> = rows.iter().map(|row| &row.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    assert_eq!(rules.len(), rows.len(), "every rule has a name of its own");
}
