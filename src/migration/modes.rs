//! The modes of all `[[event]]` routes, which an operator changes while calls come.
//!
//! A change holds from the next call on, and is kept for the next start (`kept_modes`) before its
//! operator hears of it. At a start and at every reload it stands as long as the configuration says
//! of its route what it said when the change was made; after that the configuration has spoken last,
//! holds, and what was kept is forgotten.
//!
//! A route is known over restarts by its name, or by its method, path and `match`. An operator names
//! it by its name, or all routes of a path by the path.

use super::kept_modes::{self, Kept, KeptError};
use super::mode_changes::{Change, ModeError, Renewed, RouteMode, Wanted};
use crate::clock::{Clock, iso};
use crate::metrics::Metrics;
use crate::rollout::{Decided, Held, Mode, Setting, Switch};
use crate::route::EventRoute;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// All routes' modes; clones share them.
#[derive(Debug, Clone)]
pub struct Modes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Locked for a moment: no disk is waited for.
    routes: Mutex<Vec<Route>>,
    /// Where they are kept; none where nothing outlives the process. Locked while it is written.
    directory: Option<Mutex<PathBuf>>,
    /// What was kept of routes that there are no more: they may come back.
    others: Vec<Kept>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Route {
    /// Its place among the configuration's.
    place: usize,
    /// Its name, or what stands for one.
    key: String,
    /// What it would be known by without its name.
    unnamed: String,
    shape: String,
    name: Option<Box<str>>,
    method: String,
    path: Box<str>,
    configured: Setting,
    /// What the file said when it was read last, whatever of that holds.
    told: Setting,
    switch: Arc<Switch>,
    /// What was set at run time, and still stands.
    set: Option<Kept>,
}

impl Modes {
    /// The modes of these routes, with what an earlier process was told: what couldn't be read of
    /// it, if there is something. All routes are off then, since one of them may have been switched
    /// off for a reason, and stay so over restarts until each is set.
    #[must_use]
    pub fn restore(
        events: &[EventRoute],
        directory: Option<PathBuf>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> (Self, Option<KeptError>) {
        let found = directory
            .as_deref()
            .map_or(Ok(Vec::new()), kept_modes::read);
        let (mut kept, error) = match found {
            Ok(kept) => (kept, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut routes = routes_of(events);
        let mut is_old = error.is_some();
        for route in &mut routes {
            if error.is_some() {
                let off = Setting {
                    mode: Mode::Off,
                    ..route.configured
                };
                route.switch.set(off);
                let by = "a start that couldn't read what was set before";
                route.set = Some(route.kept(off, iso(clock.now()), by));
            } else if let Some(place) = kept.iter().position(|kept| route.is_meant_by(kept)) {
                is_old |= !route.take_over(kept.remove(place));
            }
        }
        for kept in &kept {
            tracing::warn!(
                route = kept.route,
                "a mode was set for a route that there isn't any more"
            );
        }
        let modes = Self(Arc::new(Shared {
            routes: Mutex::new(routes),
            directory: directory.map(Mutex::new),
            others: kept,
            metrics,
            clock,
        }));
        if is_old {
            // What no longer holds must not come back when the configuration does.
            drop(modes.keep());
        }
        modes.show();
        (modes, error)
    }

    /// Calls by method and path, and by what was decided of them; routes of one path together.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, [u64; Decided::ALL.len()]> {
        let mut paths = BTreeMap::new();
        for route in self.0.routes.lock().iter() {
            let path = format!("{} {}", route.method, route.path);
            let counts: &mut [u64; Decided::ALL.len()] = paths.entry(path).or_default();
            for (count, more) in counts.iter_mut().zip(route.switch.calls()) {
                *count += more;
            }
        }
        paths
    }

    /// How the routes stand, in the configuration's order.
    #[must_use]
    pub fn list(&self) -> Vec<RouteMode> {
        self.0.routes.lock().iter().map(Route::shown).collect()
    }

    /// Changes routes, all or none: it holds from the next call of each on. `by`: what changes them,
    /// for the log. What couldn't be kept for the next start is told beside the changes. Waits for
    /// the disk when it holds already.
    ///
    /// # Errors
    /// One of them can't be changed so; nothing was changed.
    pub fn change(
        &self,
        wanted: &[Wanted],
        by: &str,
    ) -> Result<(Vec<Change>, Option<std::io::Error>), ModeError> {
        let changes = self.apply(wanted, by)?;
        let failed = self.keep().err();
        Ok((changes, failed))
    }

    fn apply(&self, wanted: &[Wanted], by: &str) -> Result<Vec<Change>, ModeError> {
        let mut routes = self.0.routes.lock();
        let mut next: Vec<Option<Setting>> = vec![None; routes.len()];
        for one in wanted {
            if let Some(rollout) = one.rollout.filter(|share| *share > 100) {
                return Err(ModeError::Rollout(rollout));
            }
            for index in find(&routes, &one.route)? {
                let (Some(route), Some(setting)) = (routes.get(index), next.get_mut(index)) else {
                    continue;
                };
                let stands = setting.unwrap_or_else(|| route.switch.setting());
                *setting = Some(Setting {
                    mode: one.mode.unwrap_or(stands.mode),
                    rollout: one.rollout.unwrap_or(stands.rollout),
                });
            }
        }
        let at = iso(self.0.clock.now());
        let mut changes = Vec::new();
        for (route, setting) in routes.iter_mut().zip(next) {
            let Some(now) = setting else { continue };
            route.set = Some(route.kept(now, at.clone(), by));
            let was = route.switch.set(now);
            route.log(was, by);
            let route = route.key.clone();
            changes.push(Change { route, was, now });
        }
        drop(routes);
        self.show();
        Ok(changes)
    }

    /// Goes by a configuration that was read anew, as far as it has other words on routes that there
    /// are: mode, rollout, allow and deny. Of a route that is another one now, and
    /// without `may_rise` of any, no more calls are acknowledged than before.
    pub fn reload(&self, events: &[EventRoute], may_rise: bool) -> Renewed {
        let by = "the file";
        let mut routes = self.0.routes.lock();
        let (mut changes, mut waiting) = (Vec::new(), Vec::new());
        for new in routes_of(events) {
            let Some(route) = routes.iter_mut().find(|route| route.key == new.key) else {
                continue;
            };
            let is_same = route.shape == new.shape;
            if !is_same {
                tracing::warn!(
                    route = route.key,
                    "the route is another one in the file; no more of its calls are acknowledged \
                     until a restart"
                );
            }
            route.told = new.configured;
            let (switch, stands) = (&route.switch, route.switch.setting());
            // What was set stands as long as the file says what it said then.
            let set = route.set.as_ref();
            let is_old = new.configured == set.map_or(route.configured, |set| set.configured);
            let wanted = if is_old { stands } else { new.configured };
            let (listed, wishes) = (switch.exceptions(), new.switch.exceptions());
            let Held {
                setting: now,
                exceptions,
                waits,
            } = switch.hold((wanted, wishes), may_rise && is_same);
            if waits {
                waiting.push(route.key.clone());
            }
            let lists_differ = exceptions != listed;
            let (was, _) = switch.set_with(now, exceptions);
            let is_changed = if waits { now != stands } else { !is_old };
            if is_changed {
                (route.configured, route.set) = (now, None);
            }
            if lists_differ {
                tracing::info!(route = route.key, by, "allow or deny changed");
            }
            if was != now {
                route.log(was, by);
                let route = route.key.clone();
                changes.push(Change { route, was, now });
            }
        }
        drop(routes);
        self.show();
        Renewed {
            changes,
            waiting,
            failed: self.keep().err(),
        }
    }

    /// Keeps what is set. Waits for the disk.
    fn keep(&self) -> std::io::Result<()> {
        let Some(directory) = &self.0.directory else {
            return Err(std::io::Error::other(
                "durability is \"none\", so nothing outlives the process",
            ));
        };
        // ORDER: what is set is looked up under the lock, so that the last to write writes the last
        // word.
        let directory = directory.lock();
        let kept: Vec<_> = {
            let routes = self.0.routes.lock();
            let set = routes.iter().filter_map(|route| route.set.clone());
            set.chain(self.0.others.iter().cloned()).collect()
        };
        let written = kept_modes::write(&directory, &kept);
        if let Err(error) = &written {
            tracing::warn!(%error, "modes hold until the process ends, since they can't be written");
        }
        written
    }

    fn show(&self) {
        for route in self.0.routes.lock().iter() {
            let Setting { mode, rollout } = route.switch.setting();
            let metrics = &self.0.metrics;
            for one in Mode::ALL {
                metrics
                    .route_mode
                    .with_label_values(&[&*route.key, one.as_str()])
                    .set(i64::from(one == mode));
            }
            metrics
                .route_rollout
                .with_label_values(&[&*route.key])
                .set(i64::from(rollout));
        }
    }
}

impl Route {
    /// Under its name, or under what it was known by before it had one.
    fn is_meant_by(&self, kept: &Kept) -> bool {
        kept.route == self.key || kept.route == self.unnamed
    }

    fn kept(&self, set: Setting, at: String, by: &str) -> Kept {
        Kept {
            route: self.key.clone(),
            set,
            configured: self.told,
            at,
            by: by.to_owned(),
        }
    }

    /// What was kept stands if the configuration says what it said then: whether it does, under this
    /// name.
    fn take_over(&mut self, kept: Kept) -> bool {
        if kept.configured != self.configured {
            tracing::info!(
                route = self.key, was = %kept.set, now = %self.configured,
                "the configuration has another mode since one was set at run time"
            );
            return false;
        }
        let was = self.switch.set(kept.set);
        tracing::info!(
            route = self.key, was = %was, now = %kept.set, at = kept.at, by = kept.by,
            "a mode that was set at run time still holds"
        );
        let is_same = kept.route == self.key;
        self.set = Some(Kept {
            route: self.key.clone(),
            ..kept
        });
        is_same
    }

    fn log(&self, was: Setting, by: &str) {
        tracing::info!(
            route = self.key, was = %was, now = %self.switch.setting(), by,
            "a mode changed"
        );
    }

    fn shown(&self) -> RouteMode {
        let exceptions = self.switch.exceptions();
        RouteMode {
            place: self.place,
            key: self.key.clone(),
            name: self.name.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            now: self.switch.setting(),
            configured: self.configured,
            set: self
                .set
                .as_ref()
                .map(|kept| (kept.at.clone(), kept.by.clone())),
            exceptions: (exceptions.allow.len(), exceptions.deny.len()),
        }
    }
}

/// What a route is known by without a name: its method, path and `match`.
fn unnamed(route: &EventRoute) -> String {
    let mut out = format!("{} {}", route.method, route.path.source());
    for (place, values) in &route.matches {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        out.push_str(&format!(" {}={}", place.0.join("."), values.join("|")));
    }
    out
}

/// What a route is known by.
fn key_of(route: &EventRoute) -> String {
    let name = route.name.as_ref().map(|name| (**name).to_owned());
    name.unwrap_or_else(|| unnamed(route))
}

fn routes_of(events: &[EventRoute]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for (place, route) in events.iter().enumerate() {
        let key = key_of(route);
        // A later route with the same path and conditions is never met.
        if routes.iter().any(|known| known.key == key) {
            continue;
        }
        routes.push(Route {
            place,
            key,
            unnamed: unnamed(route),
            shape: route.shape(),
            name: route.name.clone(),
            method: route.method.to_string(),
            path: route.path.source().into(),
            configured: route.configured,
            told: route.configured,
            switch: Arc::clone(&route.switch),
            set: None,
        });
    }
    routes
}

/// What each route is known by.
pub(super) fn route_names(events: &[EventRoute]) -> Vec<String> {
    events.iter().map(key_of).collect()
}

/// The routes that an operator names.
fn find(routes: &[Route], name: &str) -> Result<Vec<usize>, ModeError> {
    let named = |route: &Route| route.name.as_deref() == Some(name);
    let at = |route: &Route| *route.path == *name || route.key == name;
    let places = |holds: &dyn Fn(&Route) -> bool| -> Vec<usize> {
        let found = routes.iter().enumerate().filter(|(_, route)| holds(route));
        found.map(|(index, _)| index).collect()
    };
    let found = Some(places(&named)).filter(|found| !found.is_empty());
    let found = found.unwrap_or_else(|| places(&at));
    if !found.is_empty() {
        return Ok(found);
    }
    let mut allowed: Vec<String> = Vec::new();
    for route in routes {
        let name = route.name.as_deref().unwrap_or(&route.path);
        if !allowed.iter().any(|known| known == name) {
            allowed.push(name.to_owned());
        }
    }
    Err(ModeError::UnknownRoute {
        found: name.to_owned(),
        allowed,
    })
}
