//! The modes of all `[[event]]` routes, which an operator changes while calls come.
//!
//! A change is kept before it holds, so that a restart finds it (`kept_modes`). At a start and at
//! every reload it stands as long as the configuration says of its route what it said when the
//! change was made; after that the configuration has spoken last, and holds.
//!
//! A route is known over restarts by its name, or by its method and path and its place among the
//! routes of both. An operator names it by its name, or all routes of a path by the path.

use super::kept_modes::{self, Kept, KeptError};
use crate::clock::{Clock, iso};
use crate::metrics::Metrics;
use crate::rollout::{Mode, Setting, Switch};
use crate::route::EventRoute;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// All routes' modes; clones share them.
#[derive(Debug, Clone)]
pub struct Modes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Changes are made one after the other.
    routes: Mutex<Vec<Route>>,
    /// Where they are kept; none where nothing outlives the process.
    directory: Option<PathBuf>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Route {
    key: String,
    name: Option<Box<str>>,
    method: String,
    path: Box<str>,
    configured: Setting,
    switch: Arc<Switch>,
    /// What was set at run time, and still stands.
    set: Option<Kept>,
}

/// What an operator wants of a route; what isn't said stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// A route's name, or a path: then all routes of it.
    pub route: String,
    /// What is done with its calls.
    pub mode: Option<Mode>,
    /// Percent, 0..=100.
    pub rollout: Option<u8>,
}

/// How a route stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMode {
    /// Its name, if it has one.
    pub name: Option<Box<str>>,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: Box<str>,
    /// How it stands.
    pub now: Setting,
    /// What the configuration says.
    pub configured: Setting,
    /// When it was set at run time (RFC 3339) and by what, where it was.
    pub set: Option<(String, String)>,
    /// How many users are always in, and never.
    pub exceptions: (usize, usize),
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The route.
    pub route: String,
    /// How it stood.
    pub was: Setting,
    /// How it stands.
    pub now: Setting,
}

/// A change that can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// No route has this name or path.
    #[error("found the route {found:?}; allowed are {}", .allowed.join(", "))]
    UnknownRoute {
        /// What was asked for.
        found: String,
        /// Names and paths that there are.
        allowed: Vec<String>,
    },
    /// Over 100.
    #[error("found the rollout {0}; allowed are 0 to 100")]
    Rollout(u8),
}

impl Modes {
    /// The modes of these routes, with what an earlier process was told: what couldn't be read of
    /// it, if there is something. All routes are off then, since one of them may have been switched
    /// off for a reason.
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
        let (kept, error) = match found {
            Ok(kept) => (kept, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut routes = routes_of(events);
        for route in &mut routes {
            let set = kept.iter().find(|kept| kept.route == route.key).cloned();
            route.take_over(set);
            if error.is_some() {
                route.switch.set(Setting {
                    mode: Mode::Off,
                    ..route.configured
                });
            }
        }
        let modes = Self(Arc::new(Shared {
            routes: Mutex::new(routes),
            directory,
            metrics,
            clock,
        }));
        modes.show(&modes.0.routes.lock());
        (modes, error)
    }

    /// How the routes stand, in the configuration's order.
    #[must_use]
    pub fn list(&self) -> Vec<RouteMode> {
        self.0.routes.lock().iter().map(Route::shown).collect()
    }

    /// Changes routes, all or none. It holds from the next call of each on. `by`: what is changing
    /// them, for the log. What couldn't be kept for the next start is told beside the changes.
    ///
    /// # Errors
    /// One of them can't be changed so; nothing was changed.
    pub fn change(
        &self,
        wanted: &[Wanted],
        by: &str,
    ) -> Result<(Vec<Change>, Option<std::io::Error>), ModeError> {
        let mut routes = self.0.routes.lock();
        let at = iso(self.0.clock.now());
        let mut next: Vec<(usize, Setting)> = Vec::new();
        for one in wanted {
            if let Some(rollout) = one.rollout.filter(|share| *share > 100) {
                return Err(ModeError::Rollout(rollout));
            }
            let named = find(&routes, &one.route)?;
            for index in named {
                let earlier = next.iter().rposition(|(known, _)| *known == index);
                let stands = earlier.and_then(|place| next.get(place)).map_or_else(
                    || routes.get(index).map(|route| route.switch.setting()),
                    |(_, setting)| Some(*setting),
                );
                let Some(stands) = stands else { continue };
                next.push((
                    index,
                    Setting {
                        mode: one.mode.unwrap_or(stands.mode),
                        rollout: one.rollout.unwrap_or(stands.rollout),
                    },
                ));
            }
        }
        for (index, setting) in &next {
            if let Some(route) = routes.get_mut(*index) {
                route.set = Some(Kept {
                    route: route.key.clone(),
                    set: *setting,
                    configured: route.configured,
                    at: at.clone(),
                    by: by.to_owned(),
                });
            }
        }
        // ORDER: kept before it holds. Where the disk refuses it holds all the same: a route must
        // be switched off whatever the disk does.
        let failed = self.keep(&routes).err();
        let mut changes = Vec::new();
        for (index, setting) in next {
            let Some(route) = routes.get(index) else {
                continue;
            };
            let was = route.switch.set(setting);
            route.log(was, by);
            changes.push(Change {
                route: route.shown_name(),
                was,
                now: setting,
            });
        }
        self.show(&routes);
        Ok((changes, failed))
    }

    /// Goes by a configuration that was read anew, as far as it has other words on routes that there
    /// are: mode, rollout, allow and deny. Gives back what has changed.
    pub fn reload(&self, events: &[EventRoute]) -> (Vec<Change>, Option<std::io::Error>) {
        let mut routes = self.0.routes.lock();
        let mut changes = Vec::new();
        for new in routes_of(events) {
            let Some(route) = routes.iter_mut().find(|route| route.key == new.key) else {
                continue;
            };
            let exceptions = new.switch.exceptions();
            let listed = exceptions != route.switch.exceptions();
            if listed {
                route.switch.except(exceptions);
                tracing::info!(
                    route = route.shown_name(),
                    "allow or deny changed with the file"
                );
            }
            if new.configured == route.configured {
                continue;
            }
            route.configured = new.configured;
            route.set = None;
            let was = route.switch.set(new.configured);
            route.log(was, "the file");
            changes.push(Change {
                route: route.shown_name(),
                was,
                now: new.configured,
            });
        }
        let failed = if changes.is_empty() {
            None
        } else {
            self.keep(&routes).err()
        };
        self.show(&routes);
        (changes, failed)
    }

    /// Keeps what is set.
    fn keep(&self, routes: &[Route]) -> std::io::Result<()> {
        let Some(directory) = &self.0.directory else {
            return Err(std::io::Error::other(
                "durability is \"none\", so nothing outlives the process",
            ));
        };
        let kept: Vec<_> = routes
            .iter()
            .filter_map(|route| route.set.clone())
            .collect();
        let written = kept_modes::write(directory, &kept);
        if let Err(error) = &written {
            tracing::warn!(%error, "modes hold until the next start, since they can't be written");
        }
        written
    }

    fn show(&self, routes: &[Route]) {
        for route in routes {
            let Setting { mode, rollout } = route.switch.setting();
            let name = route.shown_name();
            for one in Mode::ALL {
                self.0
                    .metrics
                    .route_mode
                    .with_label_values(&[&*name, one.as_str()])
                    .set(i64::from(one == mode));
            }
            self.0
                .metrics
                .route_rollout
                .with_label_values(&[&*name])
                .set(i64::from(rollout));
        }
    }
}

impl Route {
    /// What was kept stands if the configuration says what it said then.
    fn take_over(&mut self, kept: Option<Kept>) {
        let Some(kept) = kept else { return };
        if kept.configured == self.configured {
            let was = self.switch.set(kept.set);
            tracing::info!(
                route = self.shown_name(), was = %was, now = %kept.set, at = kept.at, by = kept.by,
                "a mode that was set at run time still holds"
            );
            self.set = Some(kept);
        } else {
            tracing::info!(
                route = self.shown_name(), was = %kept.set, now = %self.configured,
                "the configuration has another mode since one was set at run time"
            );
        }
    }

    fn shown_name(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| self.key.clone(), |name| (**name).to_owned())
    }

    fn log(&self, was: Setting, by: &str) {
        tracing::info!(
            route = self.shown_name(), was = %was, now = %self.switch.setting(), by,
            "a mode changed"
        );
    }

    fn shown(&self) -> RouteMode {
        let exceptions = self.switch.exceptions();
        RouteMode {
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

fn routes_of(events: &[EventRoute]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for route in events {
        let (method, path) = (route.method.to_string(), route.path.source());
        let same = routes
            .iter()
            .filter(|route| route.name.is_none() && route.method == method && *route.path == *path)
            .count();
        let key = match (&route.name, same) {
            (Some(name), _) => (**name).to_owned(),
            (None, 0) => format!("{method} {path}"),
            (None, same) => format!("{method} {path} ({})", same + 1),
        };
        routes.push(Route {
            key,
            name: route.name.clone(),
            method,
            path: path.into(),
            configured: route.configured,
            switch: Arc::clone(&route.switch),
            set: None,
        });
    }
    routes
}

/// The routes' names, as operators and reports have them: each its own, or its method and path.
pub(super) fn route_names(events: &[EventRoute]) -> Vec<String> {
    routes_of(events).iter().map(Route::shown_name).collect()
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
