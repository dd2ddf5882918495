//! Rules that never meet a call, since another one takes it first: the order is that of
//! [`crate::route::Routes`].

use super::note::{Note, loud, name_of};
use super::settings::Config;
use crate::ingest::settings::{ClientBatches, Group, Shape, Target};
use crate::rollout::Mode;
use crate::route::{EventRoute, Pattern, WriteRoute};
use http::Method;

const WRITES: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
const READS: [Method; 1] = [Method::GET];

/// A rule as far as it takes calls.
struct Rule<'a> {
    name: String,
    path: Pattern,
    methods: Vec<Method>,
    /// What a body must hold.
    event: Option<&'a EventRoute>,
}

/// One sentence for each rule that is hidden, by the first that hides it.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    let rules = rules(config);
    let hidden = |(place, rule): (usize, &Rule<'_>)| {
        let hides = |earlier: &&Rule<'_>| earlier.hides(rule, config.relaxed_paths);
        let earlier = rules.iter().take(place).find(hides)?;
        let methods: Vec<_> = rule
            .methods
            .iter()
            .filter(|method| earlier.methods.contains(method))
            .collect();
        let whole = methods.len() == rule.methods.len();
        let what = if whole {
            String::new()
        } else {
            format!("{} of ", join(&methods))
        };
        Some(loud(format!(
            "{what}{} is never reached: {} takes its calls first",
            rule.name, earlier.name
        )))
    };
    let mut out: Vec<_> = rules.iter().enumerate().filter_map(hidden).collect();
    out.extend(shared_batch_paths(config));
    out
}

fn join(methods: &[&Method]) -> String {
    methods
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// In the order in which they are tried.
fn rules(config: &Config) -> Vec<Rule<'_>> {
    let mut out = Vec::new();
    if let Some(preview) = &config.preview {
        let name = format!("[preview] {}", preview.path.source());
        out.push(Rule {
            name,
            path: preview.path.clone(),
            methods: READS.to_vec(),
            event: None,
        });
    }
    for (place, event) in config.events.iter().enumerate() {
        let name = format!("[[event]] {} {}", place + 1, name_of(event));
        out.push(Rule {
            name,
            path: event.path.clone(),
            methods: vec![event.method.clone()],
            event: Some(event),
        });
    }
    for group in config
        .groups
        .iter()
        .filter(|group| group.client_batches == ClientBatches::TakeApart)
    {
        let Some(path) = batch_path(group) else {
            continue;
        };
        let name = format!("a client's own batch of [batch.{}]", group.name);
        out.push(Rule {
            name,
            path,
            methods: vec![Method::POST],
            event: None,
        });
    }
    for (place, write) in config.writes.iter().enumerate() {
        let name = format!("[[write]] {} {}", place + 1, write.path.source());
        out.push(Rule {
            name,
            path: write.path.clone(),
            methods: methods_of(write),
            event: None,
        });
    }
    for (place, cache) in config.caches.iter().enumerate() {
        let name = format!("[[cache]] {} {}", place + 1, cache.path.source());
        out.push(Rule {
            name,
            path: cache.path.clone(),
            methods: READS.to_vec(),
            event: None,
        });
    }
    out
}

fn batch_path(group: &Group) -> Option<Pattern> {
    match &group.shape {
        Shape::Batch(Target::Path(path)) => {
            Pattern::parse(path.split('?').next().unwrap_or_default()).ok()
        }
        Shape::Batch(Target::Url(_)) | Shape::Single => None,
    }
}

fn methods_of(write: &WriteRoute) -> Vec<Method> {
    if write.methods.is_empty() {
        WRITES.to_vec()
    } else {
        write.methods.clone()
    }
}

impl Rule<'_> {
    fn hides(&self, later: &Self, relaxed: bool) -> bool {
        // Exact paths are tried before patterns.
        let tried_first = self.path.is_exact() == later.path.is_exact();
        tried_first
            && self
                .methods
                .iter()
                .any(|method| later.methods.contains(method))
            && self.path.covers(&later.path, relaxed)
            && self.takes_all_of(later)
    }

    /// Its `match` leaves nothing to the other one. Of patterns the first that matches decides,
    /// whatever its `match` says.
    fn takes_all_of(&self, later: &Self) -> bool {
        let (Some(own), Some(other)) = (self.event, later.event) else {
            return self.event.is_none_or(|own| own.matches.is_empty());
        };
        let narrower = own.matches.iter().all(|(place, values)| {
            let found = other.matches.iter().find(|(found, _)| found == place);
            found.is_some_and(|(_, wanted)| wanted.iter().all(|value| values.contains(value)))
        });
        narrower || own.path.source() != other.path.source()
    }
}

/// A batch path belongs to the first group that names it.
fn shared_batch_paths(config: &Config) -> Vec<Note> {
    let mut out = Vec::new();
    for (place, group) in config.groups.iter().enumerate() {
        let Some(path) = batch_path(group) else {
            continue;
        };
        let first = config
            .groups
            .iter()
            .take(place)
            .find(|other| batch_path(other).as_ref() == Some(&path));
        let Some(first) = first.filter(|first| first.client_batches == ClientBatches::TakeApart)
        else {
            continue;
        };
        out.push(loud(format!(
            "[batch.{}] and [batch.{}] have one path {}: a client's own batch belongs to the first",
            first.name,
            group.name,
            path.source()
        )));
    }
    out
}

/// What becomes of the methods of an event route's path that no `[[event]]` takes, for the table:
/// one line per path.
pub(super) fn other_methods(config: &Config, place: usize) -> Option<String> {
    let event = config.events.get(place)?;
    let same = |other: &&EventRoute| other.path.source() == event.path.source();
    let earlier = config.events.iter().take(place).filter(same).count();
    if earlier > 0
        || config
            .events
            .iter()
            .filter(same)
            .all(|one| one.configured.mode != Mode::Coalesce)
    {
        return None;
    }
    let mut groups: Vec<&str> = Vec::new();
    for group in config.events.iter().filter(same).filter(|one| !one.alone) {
        let name = config
            .groups
            .get(group.group.0)
            .map_or("?", |group| &*group.name);
        if !groups.contains(&name) {
            groups.push(name);
        }
    }
    let declared = declared(config, event);
    let declared = if declared.is_empty() {
        String::new()
    } else {
        format!("; {}", declared.join("; "))
    };
    Some(if groups.is_empty() {
        format!("other methods pass through at once, beside what is pending (alone){declared}")
    } else {
        format!(
            "other methods go after the caller's events of {}{declared}",
            groups.join(", ")
        )
    })
}

/// What else the file says of an event route's path.
fn declared(config: &Config, event: &EventRoute) -> Vec<String> {
    let relaxed = config.relaxed_paths;
    let here = |path: &Pattern| {
        path.covers(&event.path, relaxed) && path.is_exact() == event.path.is_exact()
    };
    let writes = config
        .writes
        .iter()
        .filter(|write| here(&write.path))
        .map(|write| {
            let methods = methods_of(write)
                .into_iter()
                .filter(|method| *method != event.method)
                .collect::<Vec<_>>();
            format!(
                "{} as its [[write]] says",
                join(&methods.iter().collect::<Vec<_>>())
            )
        });
    let reads = config
        .caches
        .iter()
        .filter(|cache| here(&cache.path))
        .map(|_| "GET from the cache".to_owned());
    writes.chain(reads).collect()
}
