//! Which rule a call meets. First match wins, in the order of the configuration.

mod found;
mod live;
mod pattern;
mod rules;

pub use found::{Found, Miss, Tried};
pub use live::LiveRoutes;
pub use pattern::{Params, Pattern, PatternError};
pub use rules::{Ack, BatchRule, CacheRoute, EventRoute, PreviewRoute, WriteRoute};

use crate::event::GroupIndex;
use http::Method;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy)]
enum Rule {
    Event(usize),
    Batch(GroupIndex),
    Write(usize),
    Cache(usize),
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

    /// What holds at the path of this group.
    #[must_use]
    pub fn batch_rule(&self, group: GroupIndex) -> BatchRule {
        let routes = self.events.iter().filter(|route| route.group == group);
        BatchRule {
            group,
            switches: routes.map(|route| Arc::clone(&route.switch)).collect(),
        }
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

    /// Groups whose events come over this path in any spelling that an application may take for the
    /// same: `loose` is the path in the one that stands for all of them.
    #[must_use]
    pub fn groups_around(&self, loose: &str) -> Vec<GroupIndex> {
        let events = self.events.iter().filter(|route| !route.alone);
        let events = events.map(|route| (&route.path, route.group));
        let batches = self.batches.iter().map(|(path, group)| (path, *group));
        let there = events
            .chain(batches)
            .filter(|(path, _)| path.matches(loose, true).is_some());
        there.map(|(_, group)| group).collect()
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

    /// Whether a path is that of `[preview]`.
    #[must_use]
    pub fn is_preview(&self, path: &str) -> bool {
        let preview = self.preview.as_ref();
        preview.is_some_and(|preview| preview.path.matches(path, self.relaxed).is_some())
    }

    /// The rule of a call: exact paths before patterns, then the order of the file.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        if let Some(preview) = &self.preview
            && *method == Method::GET
            && self.is_preview(path)
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
        let mut events: (SmallVec<[&EventRoute; 1]>, Params) = Default::default();
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
