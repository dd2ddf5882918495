//! Each stage of a call, written down.

use super::reasons::tell_unanswerable;
use super::report::{
    BodyReport, CallerReport, ChecksReport, DecisionReport, Explanation, GroupReport, HeadReport,
    ModeReport, ReadReport, RuleReport, TouchReport,
};
use super::secrets::Secrets;
use super::{Arrived, AskedCall, Explainer};
use crate::event::{GroupIndex, UserId};
use crate::gateway::touches::Touches;
use crate::identity::{Caller, Kind, NotAnswerable};
use crate::ingest::accept::call::Call;
use crate::ingest::accept::decode;
use crate::ingest::accept::refusal::Decline;
use crate::ingest::settings::{Group, Keep, Shape, Target};
use crate::json::Object;
use crate::read::ReadPlan;
use crate::route::{CacheRoute, EventRoute, Found, Miss, Params};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::sync::Arc;
use std::time::Duration;

/// What only the running sidecar knows.
const UNKNOWN: [&str; 3] = [
    "modes that were set while the sidecar runs, and whether the id is known already",
    "how full lanes, the journal and the memory are; whether events of the caller wait",
    "callers behind another address: it is taken to come from 127.0.0.1",
];
const UNKNOWN_OF_READS: &str = "whether the answer is stored, and how old it is";
const UNKNOWN_OF_TOKENS: &str = "whether its token is what its issuer signed (identity.jwt.jwks_url \
                                 isn't asked): it is taken to be";

/// A body's object, if it is one.
pub(super) fn object_of(plain: &Bytes) -> Option<Object<'_>> {
    decode::parse(plain).ok().map(|(_, object)| object)
}

impl Explainer {
    /// All stages but the decision.
    pub(super) fn describe(
        &self,
        asked: &AskedCall,
        arrived: &Arrived<'_>,
        plain: &Bytes,
        touches: Option<Touches>,
    ) -> Explanation {
        let Arrived { parts, peer, .. } = arrived;
        let caller = self.decider.callers.identify(parts, peer);
        let object = object_of(plain);
        let secrets = Secrets::of(&self.identity, parts, object.as_ref());
        let found = self.routes.find(&parts.method, parts.uri.path());
        let chosen = self.choose(&found, object.as_ref());
        let events = self.kept.describe(
            &secrets,
            &self.decider.acceptor,
            &String::from_utf8_lossy(plain),
        );
        let user = touches
            .as_ref()
            .and_then(|touches| touches.asker.user.clone());
        let (read, user) = match &found {
            Found::Cache(route, params) => {
                let plan = self
                    .read
                    .explain(parts, peer, (route, params), &self.routes);
                let user = plan.user.clone();
                (Some(self.describe_read(route, plan, &secrets)), user)
            }
            _ => (None, user),
        };
        let group = match &found {
            Found::Batch(group) => Some(*group),
            _ => chosen.map(|route| route.group),
        };
        let mut unknown = UNKNOWN.to_vec();
        unknown.extend(read.is_some().then_some(UNKNOWN_OF_READS));
        let jwt = self.identity.settings().jwt.as_ref();
        let supposes = jwt.is_some_and(|verifier| verifier.supposes());
        unknown.extend(supposes.then_some(UNKNOWN_OF_TOKENS));
        Explanation {
            head: describe_head(asked, arrived, &secrets),
            rules: self.describe_rules(&found, arrived, object.as_ref(), chosen),
            rules_of_other_paths: self
                .routes
                .try_each(&parts.method, parts.uri.path())
                .filter(|tried| tried.miss == Some(Miss::Path))
                .count(),
            caller: self.describe_caller(&caller, object.as_ref(), user.as_ref(), &secrets),
            checks: self.describe_checks(&caller, read.is_some()),
            body: self.describe_body(arrived, plain, chosen, &secrets),
            mode: chosen.map(|route| describe_mode(route, arrived, user.as_ref())),
            group: group
                .and_then(|group| self.decider.acceptor.group(group))
                .map(describe_group),
            events,
            touches: touches.map(|touches| TouchReport {
                waits_for: self.name_groups(&touches.groups),
                makes_old: touches.tags.iter().map(|tag| secrets.hide(tag)).collect(),
            }),
            read,
            decision: DecisionReport::default(),
            unseen: DecisionReport::default(),
            in_coalesce: None,
            unknown,
        }
    }

    fn choose<'a>(&self, found: &Found<'a>, object: Option<&Object<'_>>) -> Option<&'a EventRoute> {
        let Found::Event(candidates, _) = found else {
            return None;
        };
        match object {
            Some(object) => decode::choose(candidates, object),
            // As a body that may be left out is read.
            None => {
                let none = Object::parse("{}").ok()?;
                decode::choose(candidates, &none)
            }
        }
    }

    fn name_groups(&self, groups: &[GroupIndex]) -> Vec<String> {
        let named = groups
            .iter()
            .filter_map(|group| self.decider.acceptor.group(*group));
        named.map(|group| group.name.to_string()).collect()
    }

    fn describe_rules(
        &self,
        found: &Found<'_>,
        arrived: &Arrived<'_>,
        object: Option<&Object<'_>>,
        chosen: Option<&EventRoute>,
    ) -> Vec<RuleReport> {
        let section = match found {
            Found::Event(..) => "event",
            Found::Batch(_) => "batch",
            Found::Write(..) => "write",
            Found::Cache(..) => "cache",
            Found::Preview(_) => "preview",
            Found::Other => "",
        };
        let candidates = match found {
            Found::Event(candidates, _) => candidates.as_slice(),
            _ => &[],
        };
        let (method, path) = (&arrived.parts.method, arrived.parts.uri.path());
        let of_path = self.routes.try_each(method, path);
        let of_path = of_path.filter(|tried| tried.miss != Some(Miss::Path));
        let mut has_one = false;
        let mut reports = Vec::new();
        for tried in of_path {
            let is = |route: &EventRoute| tried.event.is_some_and(|one| std::ptr::eq(one, route));
            let why_not = match (tried.miss, tried.event) {
                (Some(_), Some(event)) => Some(format!("it is for {}", event.method)),
                (Some(_), None) => Some(format!("it is not for {method}")),
                (None, Some(event)) if candidates.iter().any(|one| is(one)) => {
                    let unmet = object.and_then(|object| decode::find_unmet(event, object));
                    match unmet {
                        Some(place) => Some(format!("match: {} differs", place.0.join("/"))),
                        None if chosen.is_some_and(is) => None,
                        None if chosen.is_none() => Some("match: the body is no object".to_owned()),
                        None => Some("an earlier rule has the call".to_owned()),
                    }
                }
                (None, _) if tried.section == section && !has_one => None,
                (None, _) => Some("another rule comes first".to_owned()),
            };
            let applies = why_not.is_none();
            has_one |= applies;
            reports.push(RuleReport {
                section: tried.section,
                path: tried.path.to_owned(),
                name: tried
                    .event
                    .and_then(|event| event.name.as_deref().map(str::to_owned)),
                applies,
                why_not,
            });
        }
        reports
    }

    fn describe_caller(
        &self,
        caller: &Caller<'_>,
        object: Option<&Object<'_>>,
        user: Option<&UserId>,
        secrets: &Secrets,
    ) -> CallerReport {
        let mut report = CallerReport {
            user: user.map(|user| secrets.hide(user.as_str())),
            is_nameless: self.identity.keys(caller, object).nameless,
            ..CallerReport::default()
        };
        for (kind, name) in self.identity.read(caller, object).parts() {
            match kind {
                Kind::Principal | Kind::Rolling => report.principal.push(name),
                Kind::Scope => report.view.push(name),
                _ => report.fingerprint.push(name),
            }
        }
        report
    }

    fn describe_checks(&self, caller: &Caller<'_>, is_read: bool) -> ChecksReport {
        let settings = self.identity.settings();
        let asked = [
            ("require", !settings.require.is_empty()),
            ("forbid", !settings.forbid.is_empty()),
            ("double_submit", settings.double_submit.is_some()),
            ("claims", !settings.claims.is_empty()),
            ("jwt", settings.jwt.is_some()),
            ("cors", settings.cors.is_some()),
        ];
        let fails = if is_read {
            self.identity.readable(caller).err()
        } else {
            self.identity.answerable(caller).err()
        };
        let names = match fails {
            Some(NotAnswerable::Requirement) => self.identity.find_missing(caller).map(|any| {
                let names: Vec<_> = any.iter().map(ToString::to_string).collect();
                format!(": {}", names.join(" or "))
            }),
            Some(NotAnswerable::Forbidden) => {
                let part = self.identity.find_forbidden(caller);
                part.map(|part| format!(": {part}"))
            }
            _ => None,
        };
        let detail =
            fails.map(|why| tell_unanswerable(why).to_owned() + &names.unwrap_or_default());
        let asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
        ChecksReport {
            asked: asked.map(|(name, _)| name).collect(),
            fails: fails.map(NotAnswerable::as_str),
            detail,
        }
    }

    fn describe_body(
        &self,
        arrived: &Arrived<'_>,
        plain: &Bytes,
        chosen: Option<&EventRoute>,
        secrets: &Secrets,
    ) -> BodyReport {
        let params = Params::default();
        let caller = self.decider.callers.identify(&arrived.parts, &arrived.peer);
        let call = Call::new(&caller, &params, &arrived.request_id);
        let read = decode::read_body(&call, plain);
        let text = |name| header_text(&arrived.parts.headers, name);
        let (members, unmapped, error) = match &read {
            Ok((_, object)) => {
                let names = object.iter().map(|(name, _)| name.to_owned()).collect();
                let unmapped = chosen.map(|route| {
                    let names = decode::unmapped_names(route, object);
                    names.map(str::to_owned).collect()
                });
                (Some(names), unmapped.unwrap_or_default(), None)
            }
            Err(Decline::Refuse(why)) => (None, Vec::new(), Some(secrets.hide(&why.to_string()))),
            Err(Decline::Forward(why)) => (None, Vec::new(), Some(why.as_str().to_owned())),
        };
        BodyReport {
            bytes: arrived.body.len(),
            media_type: text(header::CONTENT_TYPE),
            coding: text(header::CONTENT_ENCODING),
            plain_bytes: plain.len(),
            members,
            error,
            unmapped,
        }
    }

    fn describe_read(&self, route: &CacheRoute, plan: ReadPlan, secrets: &Secrets) -> ReadReport {
        let mut key = vec!["scheme", "host", "path"];
        key.extend((!plan.is_shared).then_some("the caller's view"));
        let key = key.into_iter().map(str::to_owned);
        let parameters = plan.parameters.iter().map(|name| format!("query:{name}"));
        let key = key.chain(parameters).collect();
        let (mut tags, mut untold) = (Vec::new(), Vec::new());
        for tag in plan.tags {
            match tag {
                Ok(name) => tags.push(secrets.hide(&name)),
                Err(source) => untold.push(source),
            }
        }
        ReadReport {
            bypass: plan.bypass,
            key,
            tags,
            untold,
            waits_for: self.name_groups(&plan.groups),
            barrier_ms: millis(route.barrier),
            ttl_ms: route.ttl.map(millis),
            force: route.force,
            public: route.public,
        }
    }
}

fn describe_head(asked: &AskedCall, arrived: &Arrived<'_>, secrets: &Secrets) -> HeadReport {
    let Arrived { parts, peer, .. } = arrived;
    let names =
        |headers: &HeaderMap| -> Vec<String> { headers.keys().map(ToString::to_string).collect() };
    let headers = names(&parts.headers);
    let mut taken_off = names(&asked.parts.headers);
    taken_off.retain(|name| !headers.contains(name));
    let pairs = parts
        .uri
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'));
    let parameters = pairs.map(|pair| pair.split('=').next().unwrap_or_default().to_owned());
    HeadReport {
        method: parts.method.to_string(),
        path: secrets.hide(parts.uri.path()),
        host: peer.host.as_ref().map(Arc::<str>::to_string),
        https: peer.https,
        client: peer.client.to_string(),
        parameters: parameters.collect(),
        headers,
        taken_off,
    }
}

fn describe_mode(route: &EventRoute, arrived: &Arrived<'_>, user: Option<&UserId>) -> ModeReport {
    let switch = &route.switch;
    let tester = switch.tester(&arrived.parts.headers, &arrived.peer);
    ModeReport {
        setting: switch.setting().to_string(),
        bucket: user.map(|user| switch.bucket(user)),
        for_user: user.map(|user| switch.mode_for(user, tester).as_str()),
    }
}

fn describe_group(group: &Group) -> GroupReport {
    let path = match &group.shape {
        Shape::Single => None,
        Shape::Batch(Target::Path(path)) => Some(path.to_string()),
        Shape::Batch(Target::Url(url)) => Some(url.to_string()),
    };
    GroupReport {
        name: group.name.to_string(),
        path,
        window_ms: millis(group.window),
        flush_at: group.flush_at,
        max_events: group.max_events,
        key: group
            .key
            .iter()
            .map(|part| part.source().to_owned())
            .collect(),
        keeps_newest: group.keep == Keep::Newest,
        is_shared: group.is_shared(),
    }
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
