//! Which rule a call meets. First match wins, in the order of the configuration.

mod live;

pub use live::LiveRoutes;

use crate::event::{GroupIndex, ReadIndex};
use crate::rollout::{Setting, Switch};
use crate::template::{JsonTemplate, ObjectTemplate, Path, Template};
use http::{HeaderName, Method, StatusCode};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// An `[[event]]` rule.
#[derive(Debug, Clone)]
pub struct EventRoute {
    /// `POST` unless said otherwise.
    pub method: Method,
    /// The path, with `{name}` segments or a final `{*rest}`.
    pub path: Pattern,
    /// Values that fields of the body must have; all must hold.
    pub matches: Vec<(Path, Vec<serde_json::Value>)>,
    /// Media types (lower case, no parameters) that are taken; empty: any. Others are forwarded.
    pub content_types: Vec<Box<str>>,
    /// Templates of which each must resolve to something not null and not ""; else the call is
    /// forwarded.
    pub forward_unless: Vec<Template>,
    /// The batch group.
    pub group: GroupIndex,
    /// Its name in reports and for operators.
    pub name: Option<Box<str>>,
    /// How it begins, as the configuration says.
    pub configured: Setting,
    /// How it stands. A clone shares it.
    pub switch: Arc<Switch>,
    /// Mapping to the batch event; `None`: the body as it is.
    pub event: Option<ObjectTemplate>,
    /// Parameters of the query that a template looks at; a call with another one is forwarded.
    pub query: Vec<Box<str>>,
    /// Other methods of its path don't wait for its caller's lanes.
    pub alone: bool,
    /// The acknowledgement.
    pub ack: Ack,
}

impl EventRoute {
    /// What it is, for a look whether two are the same: everything but its name and its mode.
    #[must_use]
    pub fn shape(&self) -> String {
        let Self {
            name: _,
            configured: _,
            switch: _,
            method,
            path,
            matches,
            content_types,
            forward_unless,
            group,
            event,
            query,
            alone,
            ack,
        } = self;
        format!(
            "{method} {path:?} {matches:?} {content_types:?} {forward_unless:?} {group:?} {event:?} \
             {query:?} {alone} {ack:?}"
        )
    }

    /// A clone with a switch of its own, which stands where the configuration says.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self {
            switch: Arc::new(self.switch.afresh(self.configured)),
            ..self.clone()
        }
    }

    /// Whether every parameter of a query is looked at.
    #[must_use]
    pub fn knows_query(&self, query: &str) -> bool {
        let names = query
            .split('&')
            .map(|pair| pair.split('=').next().unwrap_or_default());
        names
            .filter(|name| !name.is_empty())
            .all(|name| self.query.iter().any(|known| **known == *name))
    }
}

/// How an event is acknowledged.
#[derive(Debug, Clone)]
pub struct Ack {
    /// 2xx.
    pub status: StatusCode,
    /// Extra headers.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body.
    pub body: JsonTemplate,
    /// The body for a duplicate, where it differs.
    pub duplicate: Option<JsonTemplate>,
}

/// A `[[write]]` rule.
#[derive(Debug, Clone)]
pub struct WriteRoute {
    /// Methods; empty: every unsafe one.
    pub methods: Vec<Method>,
    /// The path.
    pub path: Pattern,
    /// Tags of the lanes that are settled first (templates over user, query, path).
    pub drains: Vec<Template>,
    /// Groups whose lanes those are.
    pub groups: Vec<GroupIndex>,
    /// Tags made old by a forwarded call.
    pub invalidates: Vec<Template>,
    /// Whose call it is, where `identity.user` can't tell: a template over body, query, header,
    /// cookie, jwt and path.
    pub user: Option<Template>,
}

/// A `[[cache]]` rule; GET and HEAD.
#[derive(Debug, Clone)]
pub struct CacheRoute {
    /// The path.
    pub path: Pattern,
    /// Freshness where the response says nothing (or, with `force`, whatever it says).
    pub ttl: Option<Duration>,
    /// `ttl` wins over `no-store` and `private`. Never with `public`.
    pub force: bool,
    /// Shared by all credentials.
    pub public: bool,
    /// Longest freshness that is guessed from Last-Modified where a response says nothing; zero:
    /// none.
    pub longest_guess: Duration,
    /// Served this long after it became stale, while it is asked again; what the response says
    /// wins.
    pub stale_while_revalidate: Duration,
    /// Served this long after it became stale, when asking fails; what the response says wins.
    pub stale_if_error: Duration,
    /// Tags of the answer.
    pub tags: Vec<Template>,
    /// Groups whose events may touch them.
    pub groups: Vec<GroupIndex>,
    /// Its place in the configuration.
    pub index: ReadIndex,
    /// Of those groups the ones whose reads it is for certain: a 2xx of it speaks for its caller
    /// there (ruling 16).
    pub proves: Vec<GroupIndex>,
    /// Query parameters that are not part of the key.
    pub ignore_query: Vec<Box<str>>,
    /// How long a reader waits for its own pending events.
    pub barrier: Duration,
}

/// `[preview]`: a look at a caller's own pending events; GET.
#[derive(Debug, Clone)]
pub struct PreviewRoute {
    /// The path.
    pub path: Pattern,
    /// Whose events are shown.
    pub groups: Vec<GroupIndex>,
    /// Query parameters, and where an event may have what they name.
    pub filter: Vec<(Box<str>, Vec<Path>)>,
}

/// Named segments of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(Box<str>, Box<str>)>);

impl Params {
    /// The segment of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| **found == *name)
            .map(|(_, value)| &**value)
    }
}

/// A path that can't be a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}; a path starts with \"/\", may have whole segments {{name}}, and may end with \
     {{*rest}}"
)]
pub struct PatternError(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    Name(Box<str>),
    Rest(Box<str>),
}

/// A path with named segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    source: Box<str>,
    segments: Vec<Segment>,
}

impl Pattern {
    /// # Errors
    /// The text is no path, or a name is not a whole segment.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = || PatternError(text.to_owned());
        let rest = text
            .strip_prefix('/')
            .filter(|rest| !rest.contains(['?', '#']))
            .ok_or_else(wrong)?;
        let count = rest.split('/').count();
        let segment = |(index, segment): (usize, &str)| match segment
            .strip_prefix('{')
            .map(|name| name.strip_suffix('}'))
        {
            None if segment.contains(['{', '}']) => Err(wrong()),
            None => Ok(Segment::Text(segment.into())),
            Some(Some(name)) => match name.strip_prefix('*') {
                Some(name) if index + 1 == count && is_name(name) => Ok(Segment::Rest(name.into())),
                None if is_name(name) => Ok(Segment::Name(name.into())),
                _ => Err(wrong()),
            },
            Some(None) => Err(wrong()),
        };
        let segments = rest
            .split('/')
            .enumerate()
            .map(segment)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            source: text.into(),
            segments,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// It has no named segment.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| matches!(segment, Segment::Text(_)))
    }

    /// Names of its segments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Name(name) | Segment::Rest(name) => Some(&**name),
        })
    }

    /// Whether it matches every path that the other one matches.
    #[must_use]
    pub fn covers(&self, other: &Self, relaxed: bool) -> bool {
        let mut others = other.segments.iter();
        for segment in &self.segments {
            let same = match (segment, others.next()) {
                (Segment::Rest(_), _) => return true,
                (Segment::Text(text), Some(Segment::Text(found))) => {
                    text == found || relaxed && text.eq_ignore_ascii_case(found)
                }
                (Segment::Name(_), Some(Segment::Text(found))) => !found.is_empty(),
                (Segment::Name(_), Some(Segment::Name(_))) => true,
                _ => false,
            };
            if !same {
                return false;
            }
        }
        others.next().is_none()
    }

    /// The named segments if the path matches. `relaxed`: letters in any case, and one slash at the
    /// end ignored.
    #[must_use]
    pub fn matches(&self, path: &str, relaxed: bool) -> Option<Params> {
        let path = if relaxed {
            path.strip_suffix('/').unwrap_or(path)
        } else {
            path
        };
        let mut rest = path
            .strip_prefix('/')
            .or_else(|| path.is_empty().then_some(""))?;
        let mut params = Params::default();
        let mut over = false;
        for segment in &self.segments {
            if over {
                return None;
            }
            if let Segment::Rest(name) = segment {
                params.0.push((name.clone(), rest.into()));
                return Some(params);
            }
            let (head, tail) = rest.split_once('/').unwrap_or_else(|| {
                over = true;
                (rest, "")
            });
            match segment {
                Segment::Text(text)
                    if **text == *head || relaxed && text.eq_ignore_ascii_case(head) => {}
                Segment::Name(name) if !head.is_empty() => {
                    params.0.push((name.clone(), head.into()))
                }
                _ => return None,
            }
            rest = tail;
        }
        over.then_some(params)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a call meets.
#[derive(Debug)]
pub enum Found<'a> {
    /// Event rules of its path, in order; they differ in `match`.
    Event(Vec<&'a EventRoute>, Params),
    /// A group's batch path.
    Batch(GroupIndex),
    /// A write rule.
    Write(&'a WriteRoute, Params),
    /// A cache rule.
    Cache(&'a CacheRoute, Params),
    /// The look at what is pending.
    Preview(&'a PreviewRoute),
    /// Nothing.
    Other,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Event(usize),
    Batch(GroupIndex),
    Write(usize),
    Cache(usize),
}

/// A rule, and whether it is of a call by method and path.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// Its section: `event`, `batch`, `write`, `cache` or `preview`.
    pub section: &'static str,
    /// The path, as it was written.
    pub path: &'a str,
    /// The rule of an event.
    pub event: Option<&'a EventRoute>,
    /// The first of path and method that isn't the call's.
    pub miss: Option<Miss>,
}

/// Why a rule is not of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// Another path.
    Path,
    /// Another method.
    Method,
}

/// All rules. Events come before client batches, batches before writes, writes before cached reads.
#[derive(Debug)]
pub struct Routes {
    events: Vec<EventRoute>,
    writes: Vec<WriteRoute>,
    caches: Vec<CacheRoute>,
    /// Paths that clients may post batches to.
    batches: Vec<(Pattern, GroupIndex)>,
    preview: Option<PreviewRoute>,
    exact: HashMap<Box<str>, Vec<Rule>>,
    patterns: Vec<(Pattern, Rule)>,
    relaxed: bool,
}

impl Routes {
    /// The `[[event]]` routes, in the configuration's order.
    #[must_use]
    pub fn events(&self) -> &[EventRoute] {
        &self.events
    }

    /// `batches`: the batch paths that clients may post to themselves.
    #[must_use]
    pub fn new(
        events: Vec<EventRoute>,
        batches: Vec<(Arc<str>, GroupIndex)>,
        writes: Vec<WriteRoute>,
        caches: Vec<CacheRoute>,
        relaxed: bool,
    ) -> Self {
        let batches = batches
            .iter()
            .filter_map(|(path, group)| Some((Pattern::parse(path).ok()?, *group)))
            .collect();
        Self::of(events, batches, writes, caches, relaxed)
    }

    /// With other `[[write]]` and `[[cache]]` rules, and the same events and switches.
    fn with_answers(&self, writes: Vec<WriteRoute>, caches: Vec<CacheRoute>) -> Self {
        let (events, batches) = (self.events.clone(), self.batches.clone());
        Self::of(events, batches, writes, caches, self.relaxed).with_preview(self.preview.clone())
    }

    fn of(
        events: Vec<EventRoute>,
        batches: Vec<(Pattern, GroupIndex)>,
        writes: Vec<WriteRoute>,
        caches: Vec<CacheRoute>,
        relaxed: bool,
    ) -> Self {
        let rules = events
            .iter()
            .enumerate()
            .map(|(index, route)| (route.path.clone(), Rule::Event(index)));
        let rules: Vec<_> = rules
            .chain(
                batches
                    .iter()
                    .map(|(path, group)| (path.clone(), Rule::Batch(*group))),
            )
            .chain(
                writes
                    .iter()
                    .enumerate()
                    .map(|(index, route)| (route.path.clone(), Rule::Write(index))),
            )
            .chain(
                caches
                    .iter()
                    .enumerate()
                    .map(|(index, route)| (route.path.clone(), Rule::Cache(index))),
            )
            .collect();
        let (exact_rules, patterns): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|(path, _)| path.is_exact());
        let mut exact: HashMap<Box<str>, Vec<Rule>> = HashMap::new();
        for (path, rule) in exact_rules {
            exact
                .entry(normal(path.source(), relaxed).into())
                .or_default()
                .push(rule);
        }
        Self {
            events,
            writes,
            caches,
            batches,
            preview: None,
            exact,
            patterns,
            relaxed,
        }
    }

    /// With a look at what is pending; it comes before all other rules.
    #[must_use]
    pub fn with_preview(self, preview: Option<PreviewRoute>) -> Self {
        Self { preview, ..self }
    }

    /// Groups whose events come over this path, by an event rule or as a client's own batch:
    /// whatever else is asked of it waits for its caller's lanes in them.
    #[must_use]
    pub fn groups_at(&self, path: &str) -> Vec<GroupIndex> {
        let of = |rule: &Rule| match rule {
            Rule::Event(index) => self
                .events
                .get(*index)
                .filter(|route| !route.alone)
                .map(|route| route.group),
            Rule::Batch(group) => Some(*group),
            Rule::Write(_) | Rule::Cache(_) => None,
        };
        let exact = self
            .exact
            .get(&*normal(path, self.relaxed))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let matching = self.patterns.iter().filter(|(pattern, rule)| {
            matches!(rule, Rule::Event(_) | Rule::Batch(_))
                && pattern.matches(path, self.relaxed).is_some()
        });
        let mut groups: Vec<_> = exact
            .iter()
            .chain(matching.map(|(_, rule)| rule))
            .filter_map(of)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Every rule in the order of the sections that [`find`](Self::find) has, and whether it is of
    /// such a call by path and method. Among those that are, `find` says which one counts.
    pub fn try_each<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
    ) -> impl Iterator<Item = Tried<'a>> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let tried = move |section, pattern: &'a Pattern, event, is_method| {
            let miss = match (pattern.matches(path, self.relaxed), is_method) {
                (None, _) => Some(Miss::Path),
                (Some(_), false) => Some(Miss::Method),
                (Some(_), true) => None,
            };
            Tried {
                section,
                path: pattern.source(),
                event,
                miss,
            }
        };
        let preview = self.preview.iter();
        let preview =
            preview.map(move |rule| tried("preview", &rule.path, None, *method == Method::GET));
        let events = self.events.iter();
        let events =
            events.map(move |rule| tried("event", &rule.path, Some(rule), rule.method == *method));
        let batches = self.batches.iter();
        let batches =
            batches.map(move |(path, _)| tried("batch", path, None, *method == Method::POST));
        let writes = self.writes.iter();
        let writes = writes.map(move |rule| tried("write", &rule.path, None, rule.takes(method)));
        let caches = self.caches.iter();
        let caches = caches.map(move |rule| tried("cache", &rule.path, None, is_read));
        preview
            .chain(events)
            .chain(batches)
            .chain(writes)
            .chain(caches)
    }

    /// Paths of the cache rules, as they were written.
    pub fn cached_paths(&self) -> impl Iterator<Item = &str> {
        self.caches.iter().map(|route| route.path.source())
    }

    /// Whether answers to reads of this path may be stored.
    #[must_use]
    pub fn is_cached(&self, path: &str) -> bool {
        matches!(self.find(&Method::GET, path), Found::Cache(..))
    }

    /// The rule of a call: exact paths before patterns, then the order of the file.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        if let Some(preview) = &self.preview
            && *method == Method::GET
            && preview.path.matches(path, self.relaxed).is_some()
        {
            return Found::Preview(preview);
        }
        let exact = self
            .exact
            .get(&*normal(path, self.relaxed))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let found = self.pick(method, exact.iter().map(|rule| (*rule, Params::default())));
        if !matches!(found, Found::Other) || self.patterns.is_empty() {
            return found;
        }
        let matching = self
            .patterns
            .iter()
            .filter_map(|(pattern, rule)| Some((*rule, pattern.matches(path, self.relaxed)?)));
        self.pick(method, matching)
    }

    fn pick(&self, method: &Method, rules: impl Iterator<Item = (Rule, Params)>) -> Found<'_> {
        let mut events: (Vec<&EventRoute>, Params) = Default::default();
        let mut other = Found::Other;
        for (rule, params) in rules {
            match rule {
                Rule::Event(index) => {
                    let Some(route) = self
                        .events
                        .get(index)
                        .filter(|route| route.method == *method)
                    else {
                        continue;
                    };
                    if events.0.is_empty() {
                        events.1 = params;
                    } else if events
                        .0
                        .first()
                        .is_some_and(|first| first.path.source() != route.path.source())
                    {
                        // Another pattern names its segments otherwise; the first pattern that
                        // matches decides.
                        continue;
                    }
                    events.0.push(route);
                }
                Rule::Batch(group) if *method == Method::POST && matches!(other, Found::Other) => {
                    other = Found::Batch(group);
                }
                Rule::Write(index) if matches!(other, Found::Other) => {
                    let Some(route) = self.writes.get(index).filter(|route| route.takes(method))
                    else {
                        continue;
                    };
                    other = Found::Write(route, params);
                }
                Rule::Cache(index) if matches!(other, Found::Other) => {
                    let reads = matches!(*method, Method::GET | Method::HEAD);
                    let Some(route) = self.caches.get(index).filter(|_| reads) else {
                        continue;
                    };
                    other = Found::Cache(route, params);
                }
                Rule::Batch(_) | Rule::Write(_) | Rule::Cache(_) => {}
            }
        }
        if events.0.is_empty() {
            other
        } else {
            Found::Event(events.0, events.1)
        }
    }
}

impl WriteRoute {
    /// Whether it speaks of this method.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        if self.methods.is_empty() {
            return matches!(
                *method,
                Method::POST | Method::PUT | Method::PATCH | Method::DELETE
            );
        }
        self.methods.contains(method)
    }
}

fn normal(path: &str, relaxed: bool) -> std::borrow::Cow<'_, str> {
    if !relaxed {
        return path.into();
    }
    let path = if path.len() > 1 {
        path.strip_suffix('/').unwrap_or(path)
    } else {
        path
    };
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        path.to_ascii_lowercase().into()
    } else {
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        let cases = [
            ("/a/{id}/b", "/a/7/b", Some("7")),
            ("/a/{id}/b", "/a//b", None),
            ("/a/{id}/b", "/a/7/b/c", None),
            ("/a/{id}/b", "/a/7", None),
            ("/x/{*id}", "/x/1/2", Some("1/2")),
            ("/{*id}", "/", Some("")),
        ];
        for (pattern, path, wanted) in cases {
            let found = Pattern::parse(pattern).unwrap().matches(path, false);
            assert_eq!(
                found.as_ref().and_then(|params| params.get("id")),
                wanted,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn a_wrong_pattern_says_what_is_allowed() {
        for text in ["", "a", "/a?b", "/a{b}", "/{}", "/{*r}/x", "/{a"] {
            assert!(
                Pattern::parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("{*rest}"),
                "{text}"
            );
        }
    }

    fn write(path: &str) -> WriteRoute {
        WriteRoute {
            methods: Vec::new(),
            path: Pattern::parse(path).unwrap(),
            drains: Vec::new(),
            groups: Vec::new(),
            invalidates: Vec::new(),
            user: None,
        }
    }

    #[test]
    fn relaxed_paths_ignore_case_and_one_slash_at_the_end() {
        let routes = |relaxed| {
            Routes::new(
                Vec::new(),
                vec![("/api/Batch".into(), GroupIndex(3))],
                vec![write("/api/Snap")],
                Vec::new(),
                relaxed,
            )
        };
        let found = |relaxed, path| match routes(relaxed).find(&Method::POST, path) {
            Found::Write(..) => "write",
            Found::Batch(GroupIndex(3)) => "batch",
            _ => "other",
        };
        assert_eq!(found(true, "/API/snap/"), "write");
        assert_eq!(found(true, "/api/batch"), "batch");
        assert_eq!(found(false, "/api/snap"), "other");
        assert_eq!(found(false, "/api/Snap"), "write");
        assert_eq!(found(true, "/api/snap//"), "other");
    }

    #[test]
    fn a_rule_takes_its_methods_only() {
        let routes = Routes::new(Vec::new(), Vec::new(), vec![write("/s")], Vec::new(), false);
        assert!(matches!(routes.find(&Method::GET, "/s"), Found::Other));
        assert!(matches!(
            routes.find(&Method::PATCH, "/s"),
            Found::Write(..)
        ));
    }
}
