//! What each caller sent and was told, in the order of the calls: whether a later call says what an
//! answer gave, and whether a later read shows what a call had sent.
//!
//! Only values that two places don't share by chance count ([`is_telling`]). They are kept as hashes.

use super::caller::caller_of;
use super::exchange::Exchange;
use super::private::Private;
use super::routes::{Call, Route};
use crate::identity::{Kind, lists};
use crate::migration::words::{
    ID_NAMES, is_iso_time, is_milliseconds, is_word, names_user, plain_name,
};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Shortest text, and fewest digits of a number, that count.
const SHORTEST: usize = 8;
const FEWEST_DIGITS: usize = 6;
/// Values of one body that are looked at.
const MOST_OF_BODY: usize = 1_024;
/// Values of all calls that are looked at: each counts once in a call, and in headers once of a
/// caller.
const MOST: usize = 300_000;
/// A read so soon after a call may come before its event, ms: a window, its delivery, and a retry.
const SOON: i64 = 30_000;
/// Reads that are named.
const MOST_READS: usize = 3;

/// A caller by number, and a value by its hash.
type Key = (usize, u64);

/// Where a caller sent a value.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The number of its call.
    call: usize,
    /// Not in a header that is another one in each call: one that answers repeat, as traces do.
    is_use: bool,
}

/// What was sent and told, by caller and value.
#[derive(Debug)]
pub(super) struct History<'e> {
    exchanges: &'e [Exchange],
    numbers: HashMap<*const Exchange, usize>,
    /// The caller of each call.
    callers: Vec<usize>,
    sent: HashMap<Key, Vec<Sent>>,
    told: HashMap<Key, Vec<usize>>,
    /// Values that still have room.
    room: usize,
    /// There were more values than room.
    is_cut: bool,
    /// Segments of all paths, by caller.
    named: HashMap<String, HashSet<&'e str>>,
}

impl<'e> History<'e> {
    pub(super) fn gather(exchanges: &'e [Exchange]) -> Self {
        Self::gather_within(exchanges, MOST)
    }

    /// With room for so many values.
    fn gather_within(exchanges: &'e [Exchange], room: usize) -> Self {
        let mut history = Self {
            exchanges,
            numbers: HashMap::new(),
            callers: Vec::new(),
            sent: HashMap::new(),
            told: HashMap::new(),
            room,
            is_cut: false,
            named: HashMap::new(),
        };
        let mut known: HashMap<String, usize> = HashMap::new();
        for (number, exchange) in exchanges.iter().enumerate() {
            let segments = history.named.entry(caller_of(exchange)).or_default();
            segments.extend(exchange.path.split('/'));
            let next = known.len();
            let caller = *known.entry(name_caller(exchange)).or_insert(next);
            history.callers.push(caller);
            history.numbers.insert(std::ptr::from_ref(exchange), number);
            history.note_sent(caller, number, exchange);
            history.note_told(caller, number, exchange);
        }
        history
    }

    fn note_sent(&mut self, caller: usize, call: usize, exchange: &Exchange) {
        // Whether a value stands in the body or the address, and whether it may be a use.
        let mut values: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
        let said = said_by(exchange);
        let said = said.iter().map(|(_, value)| (&**value, true, true));
        let head = head_of(exchange);
        let head = head.iter().map(|(value, is_use)| (*value, false, *is_use));
        for (value, is_said, may_be_use) in said.chain(head) {
            let (said, is_use) = values.entry(hash(value)).or_default();
            *said |= is_said;
            *is_use |= may_be_use;
        }
        for (value, (is_said, is_use)) in values {
            let key = (caller, value);
            // Calls repeat most of their headers, which says no more than the first time.
            let is_counted = is_said || !self.sent.contains_key(&key);
            if !is_counted || self.take_room() {
                let all = self.sent.entry(key).or_default();
                all.push(Sent { call, is_use });
            }
        }
    }

    fn note_told(&mut self, caller: usize, call: usize, exchange: &Exchange) {
        let told = told_by(exchange);
        let values: BTreeSet<u64> = told.iter().map(|value| hash(value)).collect();
        for value in values {
            if self.take_room() {
                self.told.entry((caller, value)).or_default().push(call);
            }
        }
    }

    /// Room for one more value, if there is some.
    fn take_room(&mut self) -> bool {
        let has_room = self.room > 0;
        self.room = self.room.saturating_sub(1);
        self.is_cut |= !has_room;
        has_room
    }

    /// What is to be said where not all calls were looked into.
    pub(super) fn tell_cut(&self) -> Option<String> {
        self.is_cut.then(|| {
            format!(
                "later calls weren't looked into, since all have more than {MOST} values: whether a \
                 client sends what answers give, and reads back what calls send, isn't known"
            )
        })
    }

    /// Whether this caller named it in a path.
    pub(super) fn is_named(&self, caller: &str, text: &str) -> bool {
        let named = self.named.get(caller);
        named.is_some_and(|named| named.contains(text))
    }

    fn sent(&self, key: Key) -> &[Sent] {
        self.sent.get(&key).map_or(&[], Vec::as_slice)
    }

    fn number_of(&self, call: &Call<'_>) -> Option<(usize, usize)> {
        let number = *self.numbers.get(&std::ptr::from_ref(call.exchange))?;
        Some((number, *self.callers.get(number)?))
    }

    /// Whether a caller later sends what an answer of these gave it and it hadn't sent before: it
    /// would send what Tidegate made up. A constant can be said; a time may agree by chance, so that
    /// it takes half of the answers.
    pub(super) fn is_used(&self, calls: &[&Call<'_>]) -> bool {
        let given: Vec<_> = calls.iter().map(|call| given_by(call.exchange)).collect();
        let mut answers: HashMap<&str, usize> = HashMap::new();
        for value in given.iter().flatten() {
            *answers.entry(value).or_default() += 1;
        }
        let is_constant = |value: &str| answers.get(value) == Some(&calls.len());
        let mut times = 0;
        for (call, given) in calls.iter().zip(&given) {
            let Some((number, caller)) = self.number_of(call) else {
                continue;
            };
            let mut used = given
                .iter()
                .filter(|value| !is_constant(value) && self.is_sent_later(number, caller, value))
                .peekable();
            if used.peek().is_none() {
                continue;
            }
            if used.any(|value| !is_time(value)) {
                return true;
            }
            times += 1;
        }
        times > 1 && times * 2 >= calls.len()
    }

    fn is_sent_later(&self, number: usize, caller: usize, value: &str) -> bool {
        let sent = self.sent((caller, hash(value)));
        let is_new = sent.iter().all(|one| one.call > number);
        is_new && sent.iter().any(|one| one.is_use)
    }

    /// What is to be said of reads that soon show their caller what one of these calls had sent and
    /// no answer had told it before.
    pub(super) fn tell_read_back(
        &self,
        calls: &[&Call<'_>],
        routes: &[Route<'_>],
        private: &Private,
    ) -> Option<String> {
        let said: Vec<_> = calls.iter().map(|call| said_by(call.exchange)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for all in &said {
            let distinct: HashSet<&str> = all.iter().map(|(_, value)| &**value).collect();
            for value in distinct {
                *counts.entry(value).or_default() += 1;
            }
        }
        let labels: HashMap<*const Exchange, &Route<'_>> = routes
            .iter()
            .flat_map(|route| route.calls.iter().map(move |call| (*call, route)))
            .map(|(call, route)| (std::ptr::from_ref(call), route))
            .collect();
        let mut found = 0;
        let mut reads: BTreeSet<String> = BTreeSet::new();
        for (call, said) in calls.iter().zip(&said) {
            let of_this_call = said.iter().filter(|(name, value)| {
                let is_user = names_user(name) || private.names_user(value);
                !is_user && counts.get(&**value) == Some(&1)
            });
            let shows = of_this_call.flat_map(|(name, value)| self.find_reads(call, name, value));
            let shown = name_read(call.exchange, shows, &labels);
            found += usize::from(shown.is_some());
            reads.extend(shown);
        }
        (found > 0).then(|| {
            let reads: Vec<_> = reads.into_iter().take(MOST_READS).collect();
            format!(
                "{} showed what a call had sent shortly before ({found} of {} calls), and may come \
                 before the event once it is acknowledged at once; a [[cache]] of that path, whose \
                 tags the group invalidates, waits for its user's events",
                reads.join(", "),
                calls.len()
            )
        })
    }

    /// Reads that show a value soon after its call, which the caller neither sent nor was told
    /// before. One that asks for the value itself counts only where it names the event.
    fn find_reads(&self, call: &Call<'_>, name: &str, value: &str) -> Vec<&'e Exchange> {
        let Some((number, caller)) = self.number_of(call) else {
            return Vec::new();
        };
        let key = (caller, hash(value));
        let sent = self.sent(key);
        let told = self.told.get(&key).map_or(&[][..], Vec::as_slice);
        if sent.iter().any(|one| one.call < number) || told.iter().any(|read| *read < number) {
            return Vec::new();
        }
        let names_event = ID_NAMES.contains(&&*plain_name(name));
        let is_asked = |read: usize| sent.iter().any(|one| one.call == read);
        told.iter()
            .filter(|read| **read > number && (names_event || !is_asked(**read)))
            .filter_map(|read| self.exchanges.get(*read))
            .filter(|read| read.method == "GET" && read.succeeded())
            .filter(|read| match (call.exchange.started, read.started) {
                (Some(sent), Some(asked)) => asked - sent <= SOON,
                _ => true,
            })
            .collect()
    }
}

/// Who calls, whatever becomes of its cookies: what answers give may stand in one. A session is one
/// browser's; of others who send no key, those of one address are taken for one.
fn name_caller(exchange: &Exchange) -> String {
    let is_key = |name: &str| lists::header(name) == Kind::Principal;
    let mut keys = exchange.headers.iter().filter(|(name, _)| is_key(name));
    match keys.next() {
        Some((name, value)) if !exchange.client.is_empty() => format!("{name}={value}"),
        _ => exchange.client.clone(),
    }
}

/// The route of the first of these reads that has one here, else what kind of read it is; `None`:
/// there is no read.
fn name_read<'e>(
    call: &Exchange,
    reads: impl Iterator<Item = &'e Exchange>,
    labels: &HashMap<*const Exchange, &Route<'_>>,
) -> Option<String> {
    let mut unknown = None;
    for read in reads {
        if let Some(route) = labels.get(&std::ptr::from_ref(read)) {
            return Some(route.label());
        }
        unknown = unknown.or(Some(read));
    }
    let name = |read: &Exchange| {
        if read.host == call.host {
            "a read that wasn't looked into"
        } else {
            "a read of another host"
        }
    };
    unknown.map(|read| name(read).to_owned())
}

fn hash(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Whether two places that have this value have it of one another: no plain word, no short number.
fn is_telling(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && text.len() >= FEWEST_DIGITS) || (text.len() >= SHORTEST && !is_word(text))
}

fn is_time(text: &str) -> bool {
    let number = || text.parse::<i64>().ok();
    is_iso_time(text) || number().is_some_and(|number| is_milliseconds(&number.into()))
}

/// Telling values of a body, with their members' names.
fn gather(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    if out.len() >= MOST_OF_BODY {
        return;
    }
    match value {
        Value::String(text) if is_telling(text) => out.push((name.to_owned(), text.clone())),
        Value::Number(number) if is_telling(&number.to_string()) => {
            out.push((name.to_owned(), number.to_string()));
        }
        Value::Array(all) => all.iter().for_each(|one| gather(name, one, out)),
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| gather(name, value, out)),
        _ => {}
    }
}

/// What a call says in its path, its query and its body.
fn said_by(exchange: &Exchange) -> Vec<(String, String)> {
    let mut said = Vec::new();
    if let Some(body) = exchange.body.json() {
        gather("", &body, &mut said);
    }
    let query = exchange.query.iter().cloned();
    said.extend(query.filter(|(_, value)| is_telling(value)));
    let whole = std::iter::once(exchange.path.clone());
    let segments = exchange
        .path
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
    let path = whole.chain(segments).filter(|part| is_telling(part));
    said.extend(path.map(|part| (String::new(), part)));
    said
}

/// What a call says in its headers and cookies, and whether that can be the use of an answer.
fn head_of(exchange: &Exchange) -> Vec<(&str, bool)> {
    let headers = exchange.headers.iter().filter(|(name, _)| name != "cookie");
    let headers = headers.map(|(name, value)| {
        let value = value.strip_prefix("Bearer ").unwrap_or(value);
        (value, lists::header(name) != Kind::PerCall)
    });
    let cookies = exchange.cookies().map(|(_, value)| (value, true));
    let all = headers.chain(cookies);
    all.filter(|(value, _)| is_telling(value)).collect()
}

/// What an answer's body says.
fn told_by(exchange: &Exchange) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(answer) = exchange.answer.json() {
        gather("", &answer, &mut told);
    }
    told.into_iter().map(|(_, value)| value).collect()
}

/// What an answer gives its client to use: in its body, and in headers that no browser sends back by
/// itself. Of an address the path counts.
fn given_by(exchange: &Exchange) -> HashSet<String> {
    const LEFT_OUT: [&str; 5] = [
        "content-type",
        "date",
        "expires",
        "last-modified",
        "set-cookie",
    ];
    let headers = exchange.answer_headers.iter();
    let headers = headers
        .filter(|(name, value)| !LEFT_OUT.contains(&&**name) && is_telling(value))
        .map(|(_, value)| value.clone());
    let all = told_by(exchange).into_iter().chain(headers);
    let path_of = |value: String| {
        let address = value
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| rest.split_at(at).1.to_owned()));
        address.unwrap_or(value)
    };
    all.map(path_of).filter(|value| is_telling(value)).collect()
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
