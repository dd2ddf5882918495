//! What sections have to do with one another, put in when all have been read: which group an event
//! belongs to, which reads and writes meet which groups' events, which groups keep one order.

use super::credentials;
use super::encryption;
use super::own_addresses::OwnAddresses;
use super::problem::{Position, Sink};
use super::section::Reference;
use super::sections::Sections;
use super::sections::batch::Batch;
use super::sections::event::{Event, Rule};
use super::sections::preview::Preview;
use super::settings::Config;
use super::shadow_target;
use crate::event::{GroupIndex, ReadIndex};
use crate::identity::{IdentitySettings, Kind, Part};
use crate::ingest::settings::{Group, KeyPart};
use crate::rollout::Sampling;
use crate::route::{CacheRoute, EventRoute, PreviewRoute};
use crate::template::{Source, Template};
use std::cell::RefCell;

/// The configuration that the sections make together; `None` where something is wrong, which was
/// reported.
pub(super) fn link(sections: Sections, problems: &Sink) -> Option<Config> {
    let Sections {
        server,
        admin: (admin, admin_listen),
        upstream,
        relays,
        mut identity,
        cors,
        ..
    } = sections;
    let (tls, url, mut upstream) = (upstream.tls, upstream.url, upstream.settings);
    upstream.stall_timeout = server.settings.stall_timeout;
    upstream.trusted_proxies = server.settings.trusted_proxies.clone();
    upstream.relays = relays;
    identity.cors = cors;
    let names = Names {
        names: sections
            .batches
            .iter()
            .map(|(name, _)| name.clone())
            .collect(),
        problems,
    };
    let batches = sections.batches.into_iter().enumerate();
    let groups =
        batches.map(|(index, (_, batch))| link_group(GroupIndex(index), batch, &identity, &names));
    let groups: Vec<_> = groups.collect();
    identity.lowercase_user = groups
        .iter()
        .flatten()
        .any(|group| names_users_in_lowercase(group, &identity.user));
    if let Some(name) = &sections.sampling.tester {
        // It says who tests, and nothing of the caller: it splits no lane.
        let headers = &mut identity.selection.headers;
        if !headers.iter().any(|(known, _)| known == name) {
            headers.push((name.clone(), Kind::Passing));
        }
    }
    let events_named: Vec<_> = sections.events.iter().filter_map(Event::name).collect();
    let events = sections
        .events
        .into_iter()
        .map(|event| link_event(event, &groups, &identity, &sections.sampling, &names));
    let events: Vec<_> = events.collect();
    report_names_given_twice(&events_named, problems);
    let preview = sections
        .preview
        .map(|preview| link_preview(preview, &names));

    let shadow = shadow_target::link_shadow(
        sections.shadow,
        &server
            .settings
            .listen
            .tcp()
            .into_iter()
            .chain([admin.listen])
            .collect::<Vec<_>>(),
        &upstream.url,
        &groups,
        problems,
    );

    let own = OwnAddresses {
        public: server.settings.listen.tcp(),
        admin: (admin.listen, admin_listen),
    };
    own.check((&upstream.url, url), &groups, problems);

    let addresses = encryption::addresses(&upstream, &groups, &shadow);
    let addresses = addresses.chain(sections.notify.iter().map(|notify| &notify.url));
    let published = identity.jwt.as_ref().and_then(|verifier| verifier.url());
    let addresses = addresses.chain(published);
    upstream.tls = encryption::link_tls(tls, addresses, problems);

    // From here on nothing is wrong that wasn't reported.
    let mut groups: Vec<Group> = groups.into_iter().collect::<Option<_>>()?;
    let mut writes: Vec<_> = sections.writes.into_iter().collect::<Option<_>>()?;
    let caches: Vec<_> = sections.caches.into_iter().collect::<Option<_>>()?;
    let preview = match preview {
        Some(preview) => Some(preview?),
        None => None,
    };
    for write in &mut writes {
        write.groups = groups_that_may_meet(&groups, &write.drains);
    }
    let barrier = sections.delivery.barrier;
    let caches = caches
        .into_iter()
        .enumerate()
        .map(|(index, cache)| CacheRoute {
            index: ReadIndex(index),
            groups: groups_that_may_meet(&groups, &cache.route.tags),
            proves: groups_that_share(&groups, &cache.route.tags),
            of_own_user: are_of_own_user(&groups, &cache.route.tags),
            barrier: cache.barrier.unwrap_or(barrier),
            ..cache.route
        });
    let caches = caches.collect();
    link_orders(&mut groups);
    for index in preview
        .iter()
        .flat_map(|preview: &PreviewRoute| &preview.groups)
    {
        if let Some(group) = groups.get_mut(index.0) {
            group.shown = true;
        }
    }
    Some(Config {
        relaxed_paths: upstream.relaxed_paths,
        explain: server.explain,
        server: server.settings,
        admin,
        upstream,
        identity,
        journal: sections.journal,
        delivery: sections.delivery,
        limits: sections.limits,
        log: sections.log,
        notify: sections.notify,
        trace: sections.trace,
        cache: sections.store,
        groups,
        shadow,
        events: events.into_iter().collect::<Option<_>>()?,
        writes,
        caches,
        preview,
    })
}

/// An operator's word on a route must not reach another one.
fn report_names_given_twice(names: &[(Box<str>, Position)], problems: &Sink) {
    for (index, (name, position)) in names.iter().enumerate() {
        if names.iter().take(index).any(|(earlier, _)| earlier == name) {
            let text =
                format!("found {name:?}, which another route has; each name is allowed once");
            problems.add(position.clone(), text);
        }
    }
}

/// The groups' names, by number.
struct Names<'a> {
    names: Vec<String>,
    problems: &'a Sink,
}

impl Names<'_> {
    fn index_of(&self, reference: &Reference) -> Option<GroupIndex> {
        let name = reference.name.as_ref()?;
        self.names
            .iter()
            .position(|known| known == name)
            .map(GroupIndex)
    }

    /// The group that a key names; a missing or an unknown name is reported.
    fn find(&self, reference: &Reference) -> Option<GroupIndex> {
        let found = self.index_of(reference);
        if found.is_none() {
            let what = reference
                .name
                .as_ref()
                .map_or("is missing".to_owned(), |name| format!("found {name:?}"));
            self.report(
                &reference.position,
                format!("{what}; allowed are the groups {}", self.names.join(", ")),
            );
        }
        found
    }

    /// The groups that a list names; unknown names are reported and left out.
    fn find_all(&self, references: &[Reference]) -> Vec<GroupIndex> {
        let mut out = Vec::new();
        for reference in references {
            match self.index_of(reference) {
                Some(index) => out.push(index),
                None => {
                    let (name, names) = (
                        reference.name.as_deref().unwrap_or_default(),
                        self.names.join(", "),
                    );
                    self.report(
                        &reference.position,
                        format!("{name:?}: there is no such group; allowed are {names}"),
                    );
                }
            }
        }
        out
    }

    fn report(&self, position: &Position, text: String) {
        self.problems.add(position.clone(), text);
    }
}

fn link_group(
    own: GroupIndex,
    batch: Batch,
    identity: &IdentitySettings,
    names: &Names<'_>,
) -> Option<Group> {
    credentials::check(&batch.carried, identity, names.problems);
    let flush_with = names.find_all(&batch.flush_with);
    if let Some(reference) = batch
        .flush_with
        .iter()
        .find(|one| names.index_of(one) == Some(own))
    {
        let name = reference.name.as_deref().unwrap_or_default();
        names.report(
            &reference.position,
            format!("found {name:?}, which is this group; others are allowed"),
        );
    }
    Some(Group {
        flush_with,
        ..batch.group?
    })
}

fn link_event(
    event: Event,
    groups: &[Option<Group>],
    identity: &IdentitySettings,
    sampling: &Sampling,
    names: &Names<'_>,
) -> Option<EventRoute> {
    let batch = event.batch?;
    let index = names.find(&batch)?;
    let (mut rule, group) = (event.rule?, groups.get(index.0)?.as_ref()?);
    let query = looked_at_in_query(&rule, group, identity);
    rule.spell_users(|name| {
        if identity.lowercase_user {
            name.to_lowercase()
        } else {
            name
        }
    });
    let route = rule.into_route(index, &group.id_field, query, sampling);
    route
        .map_err(|error| names.report(&batch.position, error.to_string()))
        .ok()
}

/// Parameters of the query that a template looks at, or that tell callers apart.
fn looked_at_in_query(rule: &Rule, group: &Group, identity: &IdentitySettings) -> Vec<Box<str>> {
    let query = RefCell::new(Vec::new());
    let note = |source: Source, path: &[Box<str>]| {
        if let (Source::Query, Some(name)) = (source, path.first()) {
            query.borrow_mut().push(name.clone());
        }
    };
    if let Some(mapping) = &rule.event {
        mapping.each_look(&note);
    }
    let group_keys = group.key.iter().filter_map(|part| match part {
        KeyPart::Template(template) => Some(template),
        KeyPart::Places(..) => None,
    });
    for template in rule
        .forward_unless
        .iter()
        .chain([&identity.user])
        .chain(group_keys)
    {
        template.each_look(&note);
    }
    let named = identity
        .selection
        .named
        .iter()
        .filter_map(|part| match part {
            Part::Query(name) => Some(name.clone()),
            _ => None,
        });
    query.borrow_mut().extend(named);
    query.into_inner()
}

fn link_preview(preview: Preview, names: &Names<'_>) -> Option<PreviewRoute> {
    let groups = names.find_all(&preview.batches);
    if groups.is_empty() {
        let text = format!(
            "at least one group is needed; there are {}",
            names.names.join(", ")
        );
        names.report(&preview.batch, text);
    }
    Some(PreviewRoute {
        path: preview.path?,
        groups,
        filter: preview.filter,
    })
}

/// A group puts the field in lower case that users are named by. So are they everywhere, or a read
/// would look for another user than the one whose events came before it.
fn names_users_in_lowercase(group: &Group, user: &Template) -> bool {
    let is_named = |field: &str| {
        user.looks(&|source, path| {
            source == Source::Event && path.first().is_some_and(|first| **first == *field)
        })
    };
    group.lowercase.iter().any(|field| is_named(field))
}

/// The groups whose events may make one of these tags old: as far as can be told before the first
/// placeholder.
fn groups_that_may_meet(groups: &[Group], tags: &[Template]) -> Vec<GroupIndex> {
    groups_with(groups, tags, may_meet)
}

fn may_meet(one: &Template, other: &Template) -> bool {
    let (one, other) = (literal_start(one), literal_start(other));
    one.starts_with(&*other) || other.starts_with(&*one)
}

/// Whether these tags, and those of events that may make one of them old, name the user whose read
/// or event it is: what touches the read then lies under its reader's name.
fn are_of_own_user(groups: &[Group], tags: &[Template]) -> bool {
    // The same words, and then the user and nothing else that may stand for it.
    let words = |tag: &Template| {
        let (_, rest) = tag.source().split_once('{')?;
        rest.starts_with("user}").then(|| literal_start(tag))
    };
    let mut makers = groups.iter().flat_map(|group| &group.invalidates);
    !tags.is_empty()
        && tags.iter().all(|tag| words(tag).is_some())
        && makers.all(|maker| {
            let mut met = tags.iter().filter(|tag| may_meet(maker, tag));
            met.all(|tag| words(maker) == words(tag))
        })
}

/// The groups whose events make one of these tags old for certain: one of their tags begins with
/// the same words, or is the same.
fn groups_that_share(groups: &[Group], tags: &[Template]) -> Vec<GroupIndex> {
    let shares = |one: &Template, other: &Template| {
        one.source() == other.source()
            || !literal_start(one).is_empty() && literal_start(one) == literal_start(other)
    };
    groups_with(groups, tags, shares)
}

/// A template up to its first placeholder, in lower case: tags are the same in any.
fn literal_start(template: &Template) -> String {
    let start = template.source().split('{').next().unwrap_or_default();
    start.to_lowercase()
}

fn groups_with(
    groups: &[Group],
    tags: &[Template],
    meets: impl Fn(&Template, &Template) -> bool,
) -> Vec<GroupIndex> {
    let is_met = |group: &Group| {
        group
            .invalidates
            .iter()
            .any(|one| tags.iter().any(|other| meets(one, other)))
    };
    let found = groups.iter().enumerate().filter(|(_, group)| is_met(group));
    found.map(|(index, _)| GroupIndex(index)).collect()
}

/// A group of single calls keeps one order with the groups whose events touch the same tags; and an
/// order is one for all that take part in it.
fn link_orders(groups: &mut [Group]) {
    let mut sets: Vec<Vec<GroupIndex>> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut set = Vec::new();
        if group.is_single() {
            set = groups_that_may_meet(groups, &group.invalidates);
        }
        set.push(GroupIndex(index));
        // Sets that share a group are one.
        while let Some(place) = sets
            .iter()
            .position(|other| other.iter().any(|one| set.contains(one)))
        {
            set.extend(sets.swap_remove(place));
        }
        sets.push(set);
    }
    for (index, group) in groups.iter_mut().enumerate() {
        let set = sets.iter().find(|set| set.contains(&GroupIndex(index)));
        group.order_with = set
            .into_iter()
            .flatten()
            .copied()
            .filter(|other| other.0 != index)
            .collect();
        group.order_with.sort_unstable();
        group.order_with.dedup();
    }
}
