//! An upstream that fails in every way it can, decided by a seed, and keeps book of what it did.
//!
//! It speaks HTTP/1.1 over a bare socket, so that it can also reset a connection or break off in
//! the middle of an answer. It applies events idempotently by id. Ids are `user.number.sequence`:
//! the first two parts name the lane and are the credential, the sequence grows in the order in
//! which events are posted. An id that holds `bad` is refused for good, always; every other event
//! is taken sooner or later.

use super::Scene;
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Times an event is refused for a passing reason or left out of the lists; fewer than make it a
/// dead letter.
const MOST_PASSING: u32 = 3;

/// A request.
struct Asked {
    path: String,
    authorization: String,
    /// Sent by the sidecar's own delivery; a forwarded call has no such key.
    delivery: bool,
    body: Vec<u8>,
}

/// What is done about it.
enum Reaction {
    Answer {
        status: u16,
        headers: String,
        body: String,
    },
    /// The answer breaks off.
    Half(String),
    Reset,
}

/// What became of an event here.
#[derive(Default)]
pub struct Known {
    pub offered: u32,
    pub applied: u32,
    /// It was applied by a forwarded call first.
    pub forwarded: bool,
    /// The upstream itself let later ones pass it.
    pub excused: bool,
    passing: u32,
}

/// What the upstream saw and did.
pub struct Book {
    scene: Scene,
    rng: Rng,
    calm: bool,
    /// Requests for which everything still fails.
    storm: u32,
    /// Credentials that are rejected, and how many more times.
    rejecting: HashMap<String, u32>,
    /// Credentials whose last delivery was rejected.
    rejected: HashSet<String>,
    /// Credentials of which an event alone met 403 since their last 401 or 2xx: twice in a row is the
    /// upstream's verdict on the event, which is then rightly a dead letter.
    forbidden: HashSet<String>,
    pub events: HashMap<String, Known>,
    /// Ids by lane, in the order of their first delivery.
    pub offers: HashMap<String, Vec<String>>,
    /// Ids by lane, in the order of their first application.
    pub order: HashMap<String, Vec<String>>,
    /// What must never happen.
    pub wrong: Vec<String>,
    pub tally: BTreeMap<&'static str, u64>,
}

/// The upstream.
#[derive(Clone)]
pub struct Chaotic {
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

/// The lane of an id, which is its credential.
pub fn lane(id: &str) -> &str {
    id.rsplit_once('.').unwrap().0
}

pub fn is_bad(id: &str) -> bool {
    id.contains("bad")
}

impl Chaotic {
    pub async fn start(scene: Scene, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let book = Book {
            scene,
            rng: Rng::with_seed(seed),
            calm: false,
            storm: 0,
            rejecting: HashMap::new(),
            rejected: HashSet::new(),
            forbidden: HashSet::new(),
            events: HashMap::new(),
            offers: HashMap::new(),
            order: HashMap::new(),
            wrong: Vec::new(),
            tally: BTreeMap::new(),
        };
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            book: Arc::new(Mutex::new(book)),
        };
        let copy = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(copy.clone().serve(stream));
            }
        });
        upstream
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// No more faults.
    pub fn calm(&self) {
        self.book().calm = true;
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read(&mut stream).await {
            let (delay, reaction) = {
                let mut book = self.book();
                (book.delay(), book.react(&asked))
            };
            tokio::time::sleep(delay).await;
            let (head, body, whole) = match reaction {
                Reaction::Answer {
                    status,
                    headers,
                    body,
                } => {
                    let length = if status == 204 {
                        String::new()
                    } else {
                        format!("content-length: {}\r\n", body.len())
                    };
                    (
                        format!("HTTP/1.1 {status} -\r\n{length}{headers}\r\n"),
                        body,
                        true,
                    )
                }
                Reaction::Half(mut body) => {
                    let head = format!("HTTP/1.1 200 -\r\ncontent-length: {}\r\n\r\n", body.len());
                    body.truncate(body.len() / 2);
                    (head, body, false)
                }
                Reaction::Reset => {
                    stream.get_ref().set_zero_linger().unwrap();
                    return;
                }
            };
            if stream.write_all((head + &body).as_bytes()).await.is_err() || !whole {
                return;
            }
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let mut asked = Asked {
        path,
        authorization: String::new(),
        delivery: false,
        body: Vec::new(),
    };
    let mut chunked = false;
    loop {
        line.clear();
        stream
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut asked.authorization),
            "idempotency-key" => asked.delivery = true,
            "content-length" => asked.body.resize(value.parse().unwrap(), 0),
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    stream.read_exact(&mut asked.body).await.ok()?;
    while chunked {
        line.clear();
        stream
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        let (length, before) = (
            usize::from_str_radix(line.trim(), 16).unwrap(),
            asked.body.len(),
        );
        asked.body.resize(before + length + 2, 0);
        stream.read_exact(&mut asked.body[before..]).await.ok()?;
        asked.body.truncate(before + length);
        chunked = length > 0;
    }
    Some(asked)
}

fn json(status: u16, body: &Value) -> Reaction {
    Reaction::Answer {
        status,
        headers: "content-type: application/json\r\n".into(),
        body: body.to_string(),
    }
}

fn html(status: u16) -> Reaction {
    let body = "<html><body><h1>Bad Gateway</h1></body></html>".into();
    Reaction::Answer {
        status,
        headers: "content-type: text/html\r\n".into(),
        body,
    }
}

impl Book {
    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn delay(&mut self) -> Duration {
        match self.rng.u32(0..100) {
            0..2 if !self.calm => Duration::from_millis(self.rng.u64(10..60)),
            2..30 => Duration::from_micros(self.rng.u64(100..4_000)),
            _ => Duration::ZERO,
        }
    }

    fn react(&mut self, asked: &Asked) -> Reaction {
        if !asked.delivery {
            return self.forwarded(asked);
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let ids: Vec<String> = (self.scene.read)(&body);
        self.check(asked, &ids);
        let reaction = self.decide(asked, &ids);
        match &reaction {
            Reaction::Answer {
                status: 401 | 403, ..
            } => self.rejected.insert(asked.authorization.clone()),
            _ => self.rejected.remove(&asked.authorization),
        };
        match &reaction {
            Reaction::Answer { status: 403, .. } if ids.len() == 1 => {
                self.forbidden.insert(asked.authorization.clone());
            }
            Reaction::Answer {
                status: 401 | 200..=299,
                ..
            } => {
                self.forbidden.remove(&asked.authorization);
            }
            _ => {}
        }
        reaction
    }

    /// What must hold for every delivery, whatever is answered.
    fn check(&mut self, asked: &Asked, ids: &[String]) {
        self.count("batches");
        let scene = self.scene;
        if ids.len() > scene.max_events || asked.body.len() > scene.max_bytes {
            self.wrong.push(format!(
                "a batch of {} events and {} bytes",
                ids.len(),
                asked.body.len()
            ));
        }
        for id in ids {
            if scene.service.unwrap_or(lane(id)) != asked.authorization {
                self.wrong
                    .push(format!("{id} came under {:?}", asked.authorization));
            }
            let known = self.events.entry(id.clone()).or_default();
            known.offered += 1;
            if known.offered == 1 {
                self.offers
                    .entry(lane(id).to_owned())
                    .or_default()
                    .push(id.clone());
            }
        }
        let of_one_lane = |pair: &[String]| lane(&pair[0]) == lane(&pair[1]);
        if ids
            .windows(2)
            .any(|pair| of_one_lane(pair) && pair[0] >= pair[1])
        {
            self.wrong.push(format!("a batch out of order: {ids:?}"));
        }
    }

    fn decide(&mut self, asked: &Asked, ids: &[String]) -> Reaction {
        let batch = asked.path == self.scene.path;
        if self.calm {
            return if batch {
                self.lists(ids)
            } else {
                self.single(ids)
            };
        }
        if let Some(fault) = self.fault_of_any_call(asked) {
            return fault;
        }
        match self.rng.u32(0..1_000) {
            0..30 => self.taken_but("taken, then 500", ids, || {
                json(500, &json!({ "error": "after the commit" }))
            }),
            30..50 => self.taken_but("taken, then reset", ids, || Reaction::Reset),
            50..80 => self.half(ids, batch),
            80..110 => self.limited(),
            _ if !batch => self.single(ids),
            110..150 if ids.len() > 1 => {
                self.count("413");
                json(413, &json!({}))
            }
            150..160 if self.scene.no_endpoint => {
                self.count("404");
                json(404, &json!({}))
            }
            160..260 => self.passing(ids),
            260..280 => self.unknown(ids),
            280..310 => self.broken(ids),
            310..360 if !ids.iter().any(|id| is_bad(id)) => {
                self.count("2xx without lists");
                self.apply_all(ids, false);
                if self.rng.bool() {
                    json(201, &json!({ "ok": true }))
                } else {
                    empty()
                }
            }
            _ => self.judged(ids),
        }
    }

    /// Faults that know nothing of what is in a call.
    fn fault_of_any_call(&mut self, asked: &Asked) -> Option<Reaction> {
        if let Some(left) = self.rejecting.get_mut(&asked.authorization) {
            *left -= 1;
            if *left == 0 {
                self.rejecting.remove(&asked.authorization);
            }
            let again = asked.delivery && self.forbidden.contains(&asked.authorization);
            let forbids = !self.rng.bool() && !again;
            let status = if forbids { 403 } else { 401 };
            self.count(if status == 401 { "401" } else { "403" });
            return Some(json(status, &json!({ "error": "not you" })));
        }
        if self.storm > 0 {
            self.storm -= 1;
            self.count("503 in a storm");
            return Some(json(503, &json!({})));
        }
        match self.rng.u32(0..1_000) {
            0..5 => {
                let times = self.rng.u32(1..5);
                self.rejecting.insert(asked.authorization.clone(), times);
                self.count("401");
                Some(json(401, &json!({ "error": "not you" })))
            }
            5..7 => {
                self.storm = self.rng.u32(3..12);
                None
            }
            7..30 => {
                self.count("reset");
                Some(Reaction::Reset)
            }
            30..60 => {
                self.count("500, 503");
                Some(json(if self.rng.bool() { 500 } else { 503 }, &json!({})))
            }
            60..75 => {
                self.count("502 with a page");
                Some(html(502))
            }
            _ => None,
        }
    }

    fn taken_but(
        &mut self,
        what: &'static str,
        ids: &[String],
        reaction: impl Fn() -> Reaction,
    ) -> Reaction {
        self.count(what);
        self.apply_all(ids, false);
        reaction()
    }

    fn half(&mut self, ids: &[String], batch: bool) -> Reaction {
        self.count("half answers");
        let whole = if batch {
            self.lists(ids)
        } else {
            self.single(ids)
        };
        match whole {
            Reaction::Answer { body, .. } => Reaction::Half(body),
            other => other,
        }
    }

    fn limited(&mut self) -> Reaction {
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        let (what, after) = match self.rng.u32(0..60) {
            0 => ("429 with Retry-After", "retry-after: 1\r\n".to_owned()),
            1..20 => ("429 with Retry-After", "retry-after: 0\r\n".to_owned()),
            20..30 => ("429 with Retry-After", format!("retry-after: {past}\r\n")),
            _ => ("429", String::new()),
        };
        self.count(what);
        Reaction::Answer {
            status: 429,
            headers: after,
            body: String::new(),
        }
    }

    /// The truth about every event, in lists.
    fn lists(&mut self, ids: &[String]) -> Reaction {
        let (failed, good): (Vec<_>, Vec<_>) = ids.iter().partition(|id| is_bad(id));
        let (accepted, duplicates): (Vec<_>, Vec<_>) =
            good.into_iter().partition(|id| self.apply(id, false));
        self.excuse(&failed);
        let failed: Vec<_> = failed
            .iter()
            .map(|id| json!({ "id": id, "reason": "validation_error" }))
            .collect();
        json(
            200,
            &json!({ "accepted": accepted, "duplicates": duplicates, "failed": failed }),
        )
    }

    /// Bad events refuse a batch; there are several ways to say so.
    fn judged(&mut self, ids: &[String]) -> Reaction {
        let bad: Vec<_> = ids.iter().filter(|id| is_bad(id)).collect();
        if bad.is_empty() {
            return self.lists(ids);
        }
        let (what, reaction) = match self.rng.u32(0..5) {
            0 => ("400 naming ids", json(400, &json!({ "invalid": bad }))),
            1 => {
                let failed: Vec<_> = bad
                    .iter()
                    .map(|id| json!({ "clientEventId": id, "reason": "no such lesson" }))
                    .collect();
                (
                    "422 naming ids",
                    json(422, &json!({ "data": { "failed": failed } })),
                )
            }
            2 => (
                "409 naming none",
                json(409, &json!({ "error": "conflict" })),
            ),
            3 => ("400 naming none", html(400)),
            _ => ("failed for good", self.lists(ids)),
        };
        self.count(what);
        reaction
    }

    /// Some events are refused for now, some are in no list.
    fn passing(&mut self, ids: &[String]) -> Reaction {
        let mut lists: [Vec<Value>; 3] = Default::default();
        let mut late = Vec::new();
        for id in ids {
            let known = self.events.entry(id.clone()).or_default();
            let passing = known.passing < MOST_PASSING && self.rng.u32(0..3) == 0;
            if is_bad(id) {
                lists[2].push(json!({ "id": id, "reason": "validation_error" }));
            } else if passing {
                known.passing += 1;
                late.push(id);
                match self.rng.u32(0..3) {
                    0 => self.count("events in no list"),
                    // It is in no list, but was taken.
                    1 => drop(self.apply(id, false)),
                    _ => {
                        self.count("events failed for now");
                        lists[2].push(json!({ "id": id, "reason": "busy" }));
                    }
                }
            } else {
                let list = usize::from(!self.apply(id, false));
                lists[list].push(json!(id));
            }
        }
        self.excuse(&late);
        let [accepted, duplicates, failed] = lists;
        json(
            200,
            &json!({ "data": { "accepted": accepted, "duplicates": duplicates, "failed": failed } }),
        )
    }

    fn unknown(&mut self, ids: &[String]) -> Reaction {
        self.count("unknown ids");
        let Reaction::Answer {
            status,
            headers,
            body,
        } = self.lists(ids)
        else {
            return Reaction::Reset;
        };
        let body = body
            .replacen("\"accepted\":[", "\"accepted\":[\"ghost\",", 1)
            .replace("ghost\",]", "ghost\"]");
        Reaction::Answer {
            status,
            headers,
            body,
        }
    }

    /// Whole as HTTP counts it, but no JSON.
    fn broken(&mut self, ids: &[String]) -> Reaction {
        self.count("200 with broken JSON");
        let Reaction::Answer {
            status,
            headers,
            mut body,
        } = self.lists(ids)
        else {
            return Reaction::Reset;
        };
        body.truncate(self.rng.usize(1..body.len()));
        Reaction::Answer {
            status,
            headers,
            body,
        }
    }

    /// A delivery on an event's own route.
    fn single(&mut self, ids: &[String]) -> Reaction {
        self.count("single calls");
        if ids.iter().any(|id| is_bad(id)) {
            return json(400, &json!({ "error": "bad" }));
        }
        self.apply_all(ids, false);
        json(200, &json!({ "ok": true }))
    }

    /// A call that the sidecar only passes on: an event, a write or a read.
    fn forwarded(&mut self, asked: &Asked) -> Reaction {
        if !self.calm
            && let Some(fault) = self.fault_of_any_call(asked)
        {
            return fault;
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        if let Some(after) = body["after"].as_str() {
            self.count("writes");
            let settled = is_bad(after)
                || self
                    .events
                    .get(after)
                    .is_some_and(|known| known.applied > 0)
                || self.scene.supersedes && self.has_newer(after);
            if !settled && !self.rejected.contains(&asked.authorization) {
                self.wrong.push(format!("a write overtook {after}"));
            }
        }
        if let Some(id) = body["id"].as_str() {
            self.count("forwarded events");
            if lane(id) != asked.authorization {
                self.wrong.push(format!(
                    "{id} was forwarded under {:?}",
                    asked.authorization
                ));
            }
            if is_bad(id) {
                return json(400, &json!({ "error": "bad" }));
            }
            self.apply(id, true);
        }
        json(200, &json!({ "ok": true }))
    }

    /// Something that came after it in its lane was applied, and may have made it needless.
    fn has_newer(&self, id: &str) -> bool {
        self.order
            .get(lane(id))
            .is_some_and(|applied| applied.iter().any(|other| &**other > id))
    }

    fn excuse(&mut self, ids: &[&String]) {
        for id in ids {
            self.events.entry((*id).clone()).or_default().excused = true;
        }
    }

    fn apply_all(&mut self, ids: &[String], forwarded: bool) {
        for id in ids.iter().filter(|id| !is_bad(id)) {
            self.apply(id, forwarded);
        }
    }

    /// `false`: it was there already.
    fn apply(&mut self, id: &str, forwarded: bool) -> bool {
        let known = self.events.entry(id.to_owned()).or_default();
        known.applied += 1;
        if known.applied == 1 {
            known.forwarded = forwarded;
            self.order
                .entry(lane(id).to_owned())
                .or_default()
                .push(id.to_owned());
        }
        known.applied == 1
    }
}

fn empty() -> Reaction {
    Reaction::Answer {
        status: 204,
        headers: String::new(),
        body: String::new(),
    }
}
