//! What exchanges show: which routes are events, what they have in common, what isn't known.

use super::batches::Endpoint;
use super::credential;
use super::draft::{Draft, exchanges as counted, gather_groups};
use super::exchange::{Content, Exchange};
use super::history::History;
use super::print;
use super::private::Private;
use super::reads;
use super::routes::{Call, Route, gather_routes};
use super::verdict::{self, Reason};
use super::{NotProposed, Options, Proposal, Proposed, Unknown};
use crate::route::Pattern;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

/// Looks into exchanges, and writes what it found.
pub(super) fn survey_exchanges(exchanges: &[Exchange], options: &Options) -> Proposal {
    let private = Private::gather(exchanges);
    // All that a sidecar forwards goes to one application, whatever its host is called.
    let chosen = || {
        options
            .host
            .clone()
            .unwrap_or_else(|| choose_host(exchanges))
    };
    let host = (options.recorded.is_none()).then(chosen);
    let is_own = |exchange: &&Exchange| host.as_ref().is_none_or(|host| exchange.host == *host);
    let mut routes = gather_routes(exchanges.iter().filter(is_own), &private);
    let left_out = keep_busiest(&mut routes);
    let mut survey = Survey::default();
    if left_out > 0 {
        let text = format!("{left_out} routes with fewer calls were not looked into");
        survey.tell("event", text);
    }
    survey.take_routes(&routes, &private);
    survey.draft_events(&routes, exchanges, &private);
    if let Some(host) = &host {
        survey.take_other_hosts(exchanges, host, &private);
    }
    survey.write(exchanges, host.as_deref(), &routes, options)
}

/// Routes that are looked into: looking takes time for each pair of them.
const MOST_ROUTES: usize = 300;

/// Leaves out the routes with the fewest calls where there are too many; how many.
fn keep_busiest(routes: &mut Vec<Route<'_>>) -> usize {
    let mut order: Vec<usize> = (0..routes.len()).collect();
    order.sort_by_key(|index| routes.get(*index).map(|route| Reverse(route.calls.len())));
    let left_out: HashSet<usize> = order.into_iter().skip(MOST_ROUTES).collect();
    let mut index = 0..;
    routes.retain(|_| index.next().is_some_and(|index| !left_out.contains(&index)));
    left_out.len()
}

/// The host of most calls that could be events, which are JSON objects: services of others, such as
/// analytics, often send something else. Else of most calls.
fn choose_host(exchanges: &[Exchange]) -> String {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for exchange in exchanges {
        let (writes, all) = counts.entry(&exchange.host).or_default();
        let is_event = || exchange.body.json().is_some_and(|body| body.is_object());
        *writes += usize::from(is_write(exchange) && exchange.succeeded() && is_event());
        *all += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, counts)| *counts);
    most.map(|(host, _)| host.to_owned()).unwrap_or_default()
}

fn is_write(exchange: &Exchange) -> bool {
    !matches!(
        &*exchange.method,
        "GET" | "HEAD" | "OPTIONS" | "CONNECT" | "TRACE"
    )
}

/// A read that tells something and gets nothing: several times, on a path that says so.
fn is_beacon(route: &Route<'_>) -> bool {
    let words = [
        "collect", "beacon", "pixel", "track", "ping", "event", "events", "hit", "log",
    ];
    let last = route
        .words()
        .last()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let stem = last.split('.').next().unwrap_or_default();
    let silent = |call: &Exchange| {
        let kind = call.answer_header("content-type").unwrap_or_default();
        call.answer == Content::Empty || kind.starts_with("image/")
    };
    route.method == "GET"
        && route.calls.len() > 2
        && words.contains(&stem)
        && route
            .calls
            .iter()
            .all(|call| silent(call) && !call.query.is_empty())
}

/// What was found so far.
#[derive(Default)]
struct Survey {
    /// Routes that may be events, by number.
    candidates: Vec<usize>,
    endpoints: Vec<Endpoint>,
    drafts: Vec<Draft>,
    not_proposed: Vec<NotProposed>,
    unknown: Vec<Unknown>,
}

impl Survey {
    /// Tells candidates from others, and finds batch endpoints.
    fn take_routes(&mut self, routes: &[Route<'_>], private: &Private) {
        for (index, route) in routes.iter().enumerate() {
            let write = route.calls.first().is_some_and(|call| is_write(call));
            if !write && !is_beacon(route) {
                continue;
            }
            let calls = route.read_calls();
            let verdict = verdict::judge_calls(route, &calls);
            let endpoint = Endpoint::read(index, route, &calls, private);
            match (verdict, endpoint) {
                (None | Some(Reason::NotJson | Reason::NothingVaries), Some(endpoint)) => {
                    self.endpoints.push(endpoint);
                    self.candidates.push(index);
                }
                (None, None) => self.candidates.push(index),
                (Some(reason), _) => self.refuse(route, reason),
            }
        }
    }

    fn refuse(&mut self, route: &Route<'_>, reason: Reason) {
        self.not_proposed.push(NotProposed {
            route: route.label(),
            exchanges: route.calls.len(),
            reason,
        });
    }

    /// The endpoint whose events look most like these calls.
    fn endpoint_of(&self, index: usize, calls: &[Call<'_>]) -> Option<usize> {
        let likely = self
            .endpoints
            .iter()
            .enumerate()
            .filter(|(_, one)| one.route != index);
        likely
            .map(|(number, endpoint)| (endpoint.likeness(calls), number))
            .filter(|(likeness, _)| *likeness >= 0.5)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, number)| number)
    }

    fn draft_events(&mut self, routes: &[Route<'_>], exchanges: &[Exchange], private: &Private) {
        let mut batched: HashSet<usize> = HashSet::new();
        let mut ready = Vec::new();
        for index in self.candidates.clone() {
            let Some(route) = routes.get(index) else {
                continue;
            };
            let calls = route.read_calls();
            let found = self.endpoint_of(index, &calls);
            batched.extend(
                found
                    .and_then(|it| self.endpoints.get(it))
                    .map(|it| it.route),
            );
            ready.push((index, route, found));
        }
        let history = History::gather(exchanges);
        for (index, route, found) in ready {
            let calls = route.read_calls();
            let own = self
                .endpoints
                .iter()
                .find(|endpoint| endpoint.route == index);
            let lists = || {
                calls
                    .iter()
                    .any(|it| it.body.as_ref().is_some_and(|body| body.is_array()))
            };
            if own.is_some_and(|it| batched.contains(&index) || it.is_named_so() || lists()) {
                self.refuse(route, Reason::ClientBatch);
                continue;
            }
            let endpoint = found.and_then(|it| Some((it, self.endpoints.get(it)?)));
            let again = route.read_calls();
            let mut draft = Draft::new(index, route, again, endpoint, private);
            let verdict = verdict::judge_answers(&calls, &draft.ack, &history, private);
            let good: Vec<_> = calls.iter().filter(|it| it.exchange.succeeded()).collect();
            if let Some(text) = history.tell_read_back(&good, routes, private) {
                draft.doubt("reads", &text);
            }
            if let Some(text) = history.tell_cut() {
                draft.doubt("exchanges", &text);
            }
            match verdict {
                Some(reason) => self.refuse(route, reason),
                None if draft.mapping.fields.is_empty() && !draft.mapping.rest => {
                    self.refuse(route, Reason::NothingVaries);
                }
                None => self.drafts.push(draft),
            }
        }
        self.doubt_wide_patterns(routes, exchanges, &batched);
    }

    /// A pattern that takes calls of other routes too is no proposal to switch on: these would be
    /// acknowledged as events.
    fn doubt_wide_patterns(
        &mut self,
        routes: &[Route<'_>],
        exchanges: &[Exchange],
        batched: &HashSet<usize>,
    ) {
        // An exact path is tried before any pattern.
        let drafted = self.drafts.iter().map(|draft| draft.route);
        let exact: HashSet<(&str, String)> = drafted
            .chain(batched.iter().copied())
            .filter_map(|index| routes.get(index))
            .map(|route| (route.method, route.pattern()))
            .collect();
        for draft in &mut self.drafts {
            let Some(route) = routes.get(draft.route) else {
                continue;
            };
            let Ok(pattern) = Pattern::parse(&draft.path) else {
                continue;
            };
            let is_other = |exchange: &&Exchange| {
                let others = || {
                    !route
                        .calls
                        .iter()
                        .any(|call| std::ptr::eq(*call, *exchange))
                };
                exchange.method == draft.method
                    && pattern.matches(&exchange.path, false).is_some()
                    && !exact.contains(&(&*exchange.method, exchange.path.clone()))
                    && others()
            };
            if !pattern.is_exact()
                && let Some(other) = exchanges.iter().find(is_other)
            {
                let shown = routes
                    .iter()
                    .find(|route| route.calls.iter().any(|call| std::ptr::eq(*call, other)));
                let shown = shown.map_or_else(|| "another route".to_owned(), Route::pattern);
                draft.doubt("path", &format!("it takes calls of {shown} too"));
            }
        }
    }

    fn take_other_hosts(&mut self, exchanges: &[Exchange], host: &str, private: &Private) {
        let others = exchanges
            .iter()
            .filter(|it| it.host != host && is_write(it));
        let mut by_host: BTreeMap<&str, Vec<&Exchange>> = BTreeMap::new();
        for exchange in others {
            by_host.entry(&exchange.host).or_default().push(exchange);
        }
        for (host, calls) in by_host {
            for route in gather_routes(calls.into_iter(), private) {
                self.not_proposed.push(NotProposed {
                    route: format!("{} {host}{}", route.method, route.pattern()),
                    exchanges: route.calls.len(),
                    reason: Reason::OtherHost,
                });
            }
        }
    }

    fn tell(&mut self, subject: &str, text: impl Into<String>) {
        self.unknown.push(Unknown {
            route: String::new(),
            subject: subject.to_owned(),
            text: text.into(),
        });
    }

    fn write(
        mut self,
        exchanges: &[Exchange],
        host: Option<&str>,
        routes: &[Route<'_>],
        options: &Options,
    ) -> Proposal {
        let calls: Vec<&Exchange> = self
            .drafts
            .iter()
            .filter_map(|draft| routes.get(draft.route))
            .flat_map(|route| route.calls.iter().copied().filter(|call| call.succeeded()))
            .collect();
        let credential = credential::propose_credential(&calls);
        let (upstream, upstream_note) = self.choose_upstream(exchanges, host, options);
        if self.drafts.is_empty() {
            self.tell("event", "no call looks like an event");
        }
        self.tell_recording(options);
        if credential.bare > 0 {
            let (all, bare) = (credential.calls, credential.bare);
            let text = format!("{bare} of {all} event calls that succeeded have no credential");
            let why = match options.recorded {
                Some(_) => "the application takes them all the same",
                None => "some browsers leave cookies and Authorization out of their HAR files",
            };
            self.tell("identity.require", format!("{text}; {why}"));
        }
        if credential.not_allowed > 0 {
            let text = format!(
                "{} event calls came from origins that their answers didn't allow as [cors] would; they are \
                 not named",
                credential.not_allowed
            );
            self.tell("cors.origins", text);
        }
        for draft in &self.drafts {
            let of = draft.doubts.iter().map(|(subject, text)| Unknown {
                route: draft.label(),
                subject: subject.clone(),
                text: text.clone(),
            });
            self.unknown.extend(of);
        }
        let mut user: Vec<(String, usize)> = Vec::new();
        let mut keys: Vec<(String, usize)> = Vec::new();
        let add = |list: &mut Vec<(String, usize)>, name: &str, calls: usize| match list
            .iter_mut()
            .find(|(known, _)| known == name)
        {
            Some((_, count)) => *count += calls,
            None => list.push((name.to_owned(), calls)),
        };
        for draft in &self.drafts {
            if let Some(found) = &draft.mapping.user {
                found
                    .templates
                    .iter()
                    .for_each(|one| add(&mut user, one, found.calls));
            }
            draft
                .mapping
                .keys
                .iter()
                .for_each(|one| add(&mut keys, one, draft.good));
        }
        // A token's claim before what a body says: a name in a body is only its sender's word.
        user.sort_by_key(|(template, _)| !template.starts_with("jwt."));
        let groups = gather_groups(&self.drafts, &self.endpoints);
        let sheet = print::Sheet {
            seen: exchanges.len(),
            host,
            recorded: options.recorded,
            upstream: &upstream,
            upstream_note: &upstream_note,
            user: &user,
            keys: &keys,
            credential: &credential,
            groups: &groups,
            drafts: &self.drafts,
            endpoints: &self.endpoints,
            reads: &reads::repeated_reads(routes),
            not_proposed: &self.not_proposed,
            unknown: &self.unknown,
        };
        let toml = sheet.write();
        let events = self.drafts.iter().map(|draft| Proposed {
            route: draft.label(),
            exchanges: draft.seen,
            on: draft.is_sure(),
        });
        Proposal {
            toml,
            exchanges: exchanges.len(),
            events: events.collect(),
            not_proposed: self.not_proposed,
            unknown: self.unknown,
        }
    }

    /// What a recording leaves out.
    fn tell_recording(&mut self, options: &Options) {
        let Some(facts) = options.recorded else {
            return;
        };
        for (count, what) in [
            (facts.shed, "calls found no room and are in no figure"),
            (
                facts.surplus,
                "calls are left out: of each route the first are enough, or their heads are too large",
            ),
            (
                facts.unfinished,
                "calls are left out: their answers hadn't ended, or broke off",
            ),
        ] {
            if count > 0 {
                self.tell("exchanges", format!("{count} {what}"));
            }
        }
    }

    /// The application's address, and what it rests on.
    fn choose_upstream(
        &mut self,
        exchanges: &[Exchange],
        host: Option<&str>,
        options: &Options,
    ) -> (String, String) {
        if let Some(url) = &options.upstream {
            let note = match options.recorded {
                Some(_) => "as it is configured",
                None => "as you said",
            };
            return (url.trim_end_matches('/').to_owned(), note.to_owned());
        }
        let host = host.unwrap_or_default();
        let own = exchanges.iter().filter(|exchange| exchange.host == host);
        let (plain, other): (Vec<_>, Vec<_>) = own.partition(|exchange| exchange.scheme == "http");
        if !plain.is_empty() && other.is_empty() {
            return (format!("http://{host}"), counted(plain.len()));
        }
        let text = "where the application listens for plain http; the session used https, or none";
        self.tell("upstream.url", text);
        (
            "http://127.0.0.1:8888".to_owned(),
            "to be filled in; 0 exchanges".to_owned(),
        )
    }
}
