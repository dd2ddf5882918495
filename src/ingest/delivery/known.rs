//! Routes that single calls were taken on, pure: by method and path with what looks like an id
//! taken out, so that `/lessons/17` and `/lessons/18` are one route. Bounded; the one that was
//! learned first is forgotten first.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Routes that are remembered for each group.
const ROUTES: usize = 256;
/// A longer segment of a path counts as an id.
const LONGEST_WORD: usize = 24;

/// A route, hashed; two that collide are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteShape(u64);

impl RouteShape {
    /// Of a call. The query says nothing; a segment that holds a digit, an escape, `@` or `:`, or
    /// is longer than 24 bytes, counts as an id.
    #[must_use]
    pub fn of_call(method: &str, path: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        method.hash(&mut hasher);
        for segment in path.split('?').next().unwrap_or_default().split('/') {
            let is_mark = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'%' | b'@' | b':');
            let is_id = segment.len() > LONGEST_WORD || segment.bytes().any(is_mark);
            (if is_id { "*" } else { segment }).hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}

/// Routes that gave a 2xx.
#[derive(Debug, Default)]
pub struct Routes {
    known: HashSet<RouteShape>,
    order: VecDeque<RouteShape>,
}

impl Routes {
    /// It gave a 2xx.
    pub fn learn(&mut self, route: RouteShape) {
        if !self.known.insert(route) {
            return;
        }
        self.order.push_back(route);
        if self.order.len() > ROUTES
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }

    /// Whether it gave a 2xx before.
    #[must_use]
    pub fn knows(&self, route: RouteShape) -> bool {
        self.known.contains(&route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_differ_in_an_id_are_of_one_route() {
        let shape = |path| RouteShape::of_call("POST", path);
        for other in [
            "/lessons/18/done",
            "/lessons/5f0c9a7e-77aa-4d2c/done",
            "/lessons/a%20b/done?x=1",
            "/lessons/a@b/done",
        ] {
            assert_eq!(shape("/lessons/17/done"), shape(other), "{other}");
        }
        for other in [
            "/lessons/17",
            "/lessons/17/undone",
            "/lessons/intro/done",
            "/lessons/17/done/",
        ] {
            assert_ne!(shape("/lessons/17/done"), shape(other), "{other}");
        }
        assert_ne!(shape("/a"), RouteShape::of_call("PUT", "/a"));
    }

    #[test]
    fn the_newest_routes_are_remembered_and_the_memory_is_bounded() {
        let mut routes = Routes::default();
        let route = |number: usize| RouteShape::of_call(&"M".repeat(number), "/");
        (0..ROUTES + 10).for_each(|number| routes.learn(route(number)));
        routes.learn(route(20));
        assert!(
            !routes.knows(route(9)) && routes.knows(route(10)) && routes.knows(route(ROUTES + 9))
        );
        assert_eq!((routes.known.len(), routes.order.len()), (ROUTES, ROUTES));
    }
}
