//! Whatever an application or a client sends: the policy neither panics nor stores what was
//! forbidden.

use super::control::CacheControl;
use super::freshness::{LONGEST_GUESS, Times, explicit, heuristic, initial_age};
use super::reuse::Wishes;
use super::storable::{Asked, Audience, Declared, storable};
use super::{dates, languages, parts, precondition, range, vary};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const NAMES: [&str; 18] = [
    "cache-control",
    "cdn-cache-control",
    "vary",
    "date",
    "expires",
    "age",
    "last-modified",
    "etag",
    "content-range",
    "content-language",
    "accept-language",
    "range",
    "if-none-match",
    "if-modified-since",
    "if-range",
    "pragma",
    "content-length",
    "set-cookie",
];

/// Pieces that mean something, cut and joined at random.
const PIECES: [&str; 30] = [
    "max-age=60",
    "s-maxage=",
    "private",
    "no-store",
    "no-cache=\"a, b\"",
    "public",
    "must-revalidate",
    "=",
    ",",
    ";",
    "\"",
    "\\",
    "*",
    "accept-encoding",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "18446744073709551616",
    "-1",
    "bytes",
    "bytes=0-",
    "bytes 2-4/10",
    "W/\"a\"",
    "\"a\"",
    "en-GB;q=0.5",
    " ",
    "\t",
    "99999999999999999999999999999999",
    "é",
    "0",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (0..PIECES.len()).prop_map(|piece| PIECES[piece].as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    proptest::collection::vec((0..NAMES.len(), value()), 0..8).prop_map(|lines| {
        let line = |(name, value): (usize, Vec<u8>)| {
            Some((
                HeaderName::from_static(NAMES[name]),
                HeaderValue::from_bytes(&value).ok()?,
            ))
        };
        let mut map = HeaderMap::new();
        lines
            .into_iter()
            .filter_map(line)
            .for_each(|(name, value)| _ = map.append(name, value));
        map
    })
}

fn times() -> Times {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    Times {
        asked: now,
        answered: now,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_header_makes_the_policy_panic_and_a_part_lies_within_the_whole(request in headers(), response in headers()) {
        let control = CacheControl::of(&response);
        let targeted = CacheControl::targeted(&response);
        let guess = heuristic(&response, times(), LONGEST_GUESS);
        prop_assert!(guess.is_none_or(|guess| guess <= LONGEST_GUESS));
        _ = explicit(targeted.as_ref().unwrap_or(&control), &response, targeted.is_some(), times());
        _ = initial_age(&response, times());
        for name in [header::DATE, header::EXPIRES, header::LAST_MODIFIED] {
            _ = dates::date(&response, &name);
        }
        _ = (vary::names(&response), parts::strong_tag(&response), parts::is_keepable(&response));
        _ = (precondition::not_modified(&request, &response), precondition::range_applies(&request, &response));
        let lines: Vec<&[u8]> = request.get_all(header::ACCEPT_LANGUAGE).iter().map(HeaderValue::as_bytes).collect();
        _ = languages::normal(&lines);
        if let range::Wanted::Part(part) = range::wanted(&request, 10) {
            prop_assert!(part.start < part.end && part.end <= 10, "{part:?}");
        }
        _ = Wishes::of(&request);
    }

    #[test]
    fn what_forbids_storing_is_seen_between_whatever_else_a_line_holds(
        noise in proptest::collection::vec("[a-z]{1,8}(=[a-z0-9]{0,5})?", 0..6),
        place in 0..6usize,
        which in 0..3usize,
        upper in any::<bool>(),
        other in headers(),
    ) {
        let word = ["no-store", "private", "no-store=\"\""][which];
        let word = if upper { word.to_ascii_uppercase() } else { word.to_owned() };
        let mut directives = noise;
        directives.insert(place.min(directives.len()), word);
        let mut response = other;
        response.remove("cdn-cache-control");
        response.append(header::CACHE_CONTROL, HeaderValue::try_from(directives.join(" ,")).unwrap());
        let request = HeaderMap::new();
        let asked = Asked { method: &Method::GET, headers: &request, audience: Audience::Shared, conditional: false, begins_session: false };
        let declared = Declared { ttl: Some(Duration::from_secs(60)), longest_guess: LONGEST_GUESS, ..Declared::default() };
        prop_assert!(storable(asked, StatusCode::OK, &response, declared, times()).is_err());
    }
}
