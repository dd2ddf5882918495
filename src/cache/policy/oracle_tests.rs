//! The policy against a second opinion: the crate `http-cache-semantics` 3.0.0.
//!
//! Both are shown the same exchange and the same later request; whatever this policy serves, the
//! oracle must serve, and the other way round. Its known defects and differences are left out of
//! what is generated, one line each:
//!
//! - conflicting `max-age` values: it keeps the directive, so that an authorized response becomes
//!   storable (§3.5);
//! - directives in upper case: it doesn't know `PRIVATE`;
//! - a comma in a quoted string: it reads directives behind it (found by this test);
//! - a byte beyond ASCII: it reads no directive of the line at all;
//! - `Vary: Cookie` and two Cookie lines: it compares the first;
//! - `Age: 18446744073709551615`: it panics;
//! - fields new in a 304: it drops them;
//! - `proxy-revalidate`: it never serves such a response, not even fresh (§5.2.2.8);
//! - `max-stale` beside `s-maxage` or `no-cache`: it serves what must be validated (§5.2.2.10,
//!   §5.2.2.4; the latter found by this test); and a `max-stale` that staleness just reaches it
//!   refuses (§5.2.1.2);
//! - `min-fresh` and `max-stale` in one request: it weighs only the former against what is stale;
//! - `no-store` in the later request: it serves what is stored, this policy asks (§5.2.1.5 allows
//!   both);
//! - `Pragma` beside Cache-Control: it counts (§5.4);
//! - what is neither fresh nor to be validated: it stores that, too, for some `max-stale` to come;
//! - statuses outside its list, `immutable`, heuristic freshness, `private` and `no-cache` with
//!   fields, CDN-Cache-Control.

use super::freshness::Times;
use super::reuse::{self, Use, Wishes};
use super::storable::{Asked, Audience, Declared, storable};
use super::table_tests::{NOW, map};
use super::vary;
use http::{HeaderMap, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

type Fields = Vec<(&'static str, String)>;

fn fields(lines: &Fields) -> HeaderMap {
    map(&lines
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect::<Vec<_>>())
}

/// One of each directive at most, in any order.
fn response() -> impl Strategy<Value = Fields> {
    let seconds = || prop::sample::select(vec![0u64, 1, 5, 30, 3_600]);
    let flag = |name: &'static str| {
        prop::bool::weighted(0.2).prop_map(move |there| there.then(|| name.to_owned()))
    };
    let timed = |name: &'static str| {
        prop::option::of(seconds().prop_map(move |value| format!("{name}={value}")))
    };
    let control = (
        timed("max-age"),
        timed("s-maxage"),
        flag("no-store"),
        flag("no-cache"),
        flag("private"),
    )
        .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e]);
    let more = (flag("public"), flag("must-revalidate"), flag("foo=\"bar\""))
        .prop_map(|(a, b, c)| vec![a, b, c]);
    let rest = (
        prop::option::of(prop::sample::select(vec![
            "0",
            "Sun, 06 Nov 1994 08:50:07 GMT",
            "Sun, 06 Nov 1994 08:49:07 GMT",
        ])),
        prop::option::of(0u64..40),
        prop::option::of(prop::sample::select(vec!["*", "foo", "foo, bar"])),
    );
    (control, more, rest).prop_map(|(control, more, (expires, age, vary))| {
        let control: Vec<_> = control.into_iter().chain(more).flatten().collect();
        let mut fields = vec![
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            ("etag", "\"a\"".to_owned()),
        ];
        fields.extend((!control.is_empty()).then(|| ("cache-control", control.join(", "))));
        fields.extend(expires.map(|at| ("expires", at.to_owned())));
        fields.extend(age.map(|age| ("age", age.to_string())));
        fields.extend(vary.map(|vary| ("vary", vary.to_owned())));
        fields
    })
}

fn request() -> impl Strategy<Value = Fields> {
    let wish = prop::option::of(prop::sample::select(vec![
        "no-cache",
        "no-store",
        "max-age=0",
        "max-age=20",
        "min-fresh=10",
        "max-stale",
        "max-stale=7",
        "foo",
    ]));
    let field = || prop::option::of(prop::sample::select(vec!["1", "2"]));
    (wish, field(), field(), prop::bool::weighted(0.3)).prop_map(|(wish, foo, bar, authorized)| {
        let mut fields = vec![("host", "app.test".to_owned())];
        fields.extend(wish.map(|wish| ("cache-control", wish.to_owned())));
        fields.extend(foo.map(|foo| ("foo", foo.to_owned())));
        fields.extend(bar.map(|bar| ("bar", bar.to_owned())));
        fields.extend(authorized.then(|| ("authorization", "Bearer x".to_owned())));
        fields
    })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + seconds)
}

fn ours(first: &HeaderMap, response: &HeaderMap, second: &HeaderMap, later: u64) -> bool {
    let asked = Asked {
        method: &http::Method::GET,
        headers: first,
        audience: Audience::Shared,
        conditional: false,
        begins_session: false,
    };
    let times = Times {
        asked: at(0),
        answered: at(0),
    };
    let Ok(terms) = storable(asked, StatusCode::OK, response, Declared::default(), times) else {
        return false;
    };
    let names = vary::names(response).unwrap_or_default();
    let stored = names
        .into_iter()
        .map(|name| (name.clone(), vary::value(first, &name)))
        .collect();
    let age = terms.initial_age + Duration::from_secs(later);
    let fits =
        vary::fit(&stored, response, &mut |name| vary::value(second, name)) != vary::Fit::Not;
    fits && reuse::decide(&terms, age, &Wishes::of(second)) == Use::Serve
}

fn oracle(first: &HeaderMap, response: &HeaderMap, second: &HeaderMap, later: u64) -> bool {
    let request = |headers: &HeaderMap| {
        let mut request = Request::get("http://app.test/x").body(()).unwrap();
        *request.headers_mut() = headers.clone();
        request.into_parts().0
    };
    let mut answer = Response::new(());
    *answer.headers_mut() = response.clone();
    let options = CacheOptions {
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ..Default::default()
    };
    let policy = CachePolicy::new_options(&request(first), &answer.into_parts().0, at(0), options);
    policy.is_storable()
        && matches!(
            policy.before_request(&request(second), at(later)),
            BeforeRequest::Fresh(_)
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, max_global_rejects: 1_000_000, ..ProptestConfig::default() })]

    #[test]
    fn a_second_opinion_agrees_where_it_has_no_known_defect(
        first in request(), response in response(), second in request(), later in 0u64..50,
    ) {
        let text = format!("{response:?} {second:?}");
        prop_assume!(!(text.contains("max-stale") && (text.contains("s-maxage") || text.contains("no-cache"))));
        prop_assume!(second.iter().all(|(_, value)| value != "no-store"));
        // Staleness that just reaches `max-stale`.
        let mut less = fields(&second);
        if let Some(value) = less.get_mut("cache-control").filter(|value| **value == "max-stale=7") {
            *value = "max-stale=6".parse().unwrap();
        }
        let (first, response, second) = (fields(&first), fields(&response), fields(&second));
        prop_assume!(ours(&first, &response, &less, later) == ours(&first, &response, &second, later));
        let found = (ours(&first, &response, &second, later), oracle(&first, &response, &second, later));
        prop_assert_eq!(found.0, found.1, "ours, the oracle's");
    }
}
