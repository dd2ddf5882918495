//! Every rule as a row, each with its section of RFC 9111 unless it names another.

use super::control::CacheControl;
use super::freshness::{LONGEST_GUESS, Terms, Times};
use super::reuse::{self, Failure, Use, Wishes};
use super::storable::{Asked, Audience, Declared, NotStored, storable};
use super::vary::Fit;
use super::{dates, fields, invalidate, precondition, range, validate, vary};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::time::{Duration, SystemTime};

/// Sun, 06 Nov 1994 08:49:37 GMT.
pub(super) const NOW: u64 = 784_111_777;
const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
const PART: (&str, &str) = ("content-range", "bytes 2-4/10");
const STRONG: (&str, &str) = ("etag", "\"a\"");
const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";

type Lines<'a> = &'a [(&'a str, &'a str)];

pub(super) fn map(lines: Lines<'_>) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )
    };
    lines.iter().map(field).collect()
}

fn cc(text: &str) -> HeaderMap {
    map(&[("cache-control", text)])
}

const PLAIN: Declared = Declared {
    ttl: None,
    force: false,
    only_said: false,
    longest_guess: Duration::ZERO,
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
};
const TTL: Declared = Declared {
    ttl: Some(Duration::from_secs(30)),
    ..PLAIN
};
const FORCED: Declared = Declared { force: true, ..TTL };
const GUESS: Declared = Declared {
    longest_guess: LONGEST_GUESS,
    ..PLAIN
};

struct Exchange<'a> {
    method: Method,
    request: Lines<'a>,
    audience: Audience,
    conditional: bool,
    status: u16,
    response: Lines<'a>,
    declared: Declared,
}

fn get<'a>(response: Lines<'a>, declared: Declared) -> Exchange<'a> {
    Exchange {
        method: Method::GET,
        request: &[],
        audience: Audience::Personal,
        conditional: false,
        status: 200,
        response,
        declared,
    }
}

fn terms(exchange: &Exchange<'_>) -> Result<Terms, NotStored> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let (request, response) = (map(exchange.request), map(exchange.response));
    let asked = Asked {
        method: &exchange.method,
        headers: &request,
        audience: exchange.audience,
        conditional: exchange.conditional,
        begins_session: false,
    };
    let status = StatusCode::from_u16(exchange.status).unwrap();
    storable(
        asked,
        status,
        &response,
        exchange.declared,
        Times {
            asked: now,
            answered: now,
        },
    )
}

/// Seconds of freshness that are left when it has come.
fn left(exchange: &Exchange<'_>) -> Result<u64, NotStored> {
    terms(exchange).map(|terms| terms.lifetime.saturating_sub(terms.initial_age).as_secs())
}

#[test]
fn freshness_is_what_a_response_says_and_else_what_the_route_says() {
    let cases: &[(&str, Lines<'_>, Declared, Result<u64, NotStored>)] = &[
        (
            "§5.2.2.1 max-age",
            &[("cache-control", "max-age=60")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2 names in any case",
            &[("cache-control", "MaX-AgE=60")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2 a quoted value",
            &[("cache-control", "max-age=\"60\"")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2 single quotes are no quotes",
            &[("cache-control", "max-age='60'")],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§1.2.2 leading zeros",
            &[("cache-control", "max-age=0060")],
            PLAIN,
            Ok(60),
        ),
        (
            "§1.2.2 more than a number holds",
            &[("cache-control", "max-age=99999999999999999999999")],
            PLAIN,
            Ok(31_536_000),
        ),
        (
            "§1.2.2 a fraction is no number",
            &[("cache-control", "max-age=60.0")],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.1 letters are no number",
            &[("cache-control", "max-age=1x")],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.1 a space before the sign",
            &[("cache-control", "max-age =60")],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.1 two values",
            &[("cache-control", "max-age=60, max-age=90")],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.1 two lines",
            &[
                ("cache-control", "max-age=60"),
                ("cache-control", "max-age=9"),
            ],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.1 twice the same",
            &[("cache-control", "max-age=60, max-age=60")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2.2.10 s-maxage wins",
            &[("cache-control", "max-age=60, s-maxage=5")],
            PLAIN,
            Ok(5),
        ),
        (
            "§5.2.2.1 wins over Expires",
            &[("cache-control", "max-age=60"), ("expires", EARLIER), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2.2.1 max-age=0 does too",
            &[("cache-control", "max-age=0"), ("expires", LATER), DATE],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§5.2.3 extensions are ignored",
            &[("cache-control", "foo, bar=1, max-age=60, baz=\"a,b\"")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2 quotes hide nothing",
            &[("cache-control", "ext=\"no-store, max-age=1\", max-age=9")],
            PLAIN,
            Ok(9),
        ),
        (
            "§5.2 an escaped quote",
            &[("cache-control", "ext=\"a\\\"b\", max-age=9")],
            PLAIN,
            Ok(9),
        ),
        (
            "§5.2 bytes beyond ASCII spoil their own directive only",
            &[("cache-control", "x=é, max-age=9")],
            PLAIN,
            Ok(9),
        ),
        ("§5.3 Expires", &[("expires", LATER), DATE], PLAIN, Ok(60)),
        (
            "§5.3 Expires without Date",
            &[("expires", LATER)],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.3 Expires beside a bad Date",
            &[("expires", LATER), ("date", "foo")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.3 Expires: 0",
            &[("expires", "0"), DATE],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§5.3 Expires that equals Date",
            &[("expires", DATE.1), DATE],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.1 two Expires",
            &[("expires", LATER), ("expires", DATE.1), DATE],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "RFC 9110 §5.6.7 RFC 850",
            &[("expires", "Sunday, 06-Nov-94 08:50:37 GMT"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 asctime",
            &[("expires", "Sun Nov  6 08:50:37 1994"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a weekday in another case",
            &[("expires", "SUN, 06 Nov 1994 08:50:37 GMT"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a month in another case",
            &[("expires", "Sun, 06 nOV 1994 08:50:37 GMT"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a zone in another case",
            &[("expires", "Sun, 06 Nov 1994 08:50:37 gMt"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a wrong weekday",
            &[("expires", "Mon, 06 Nov 1994 08:50:37 GMT"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a wrong weekday in RFC 850",
            &[("expires", "friday, 06-NOV-94 08:50:37 GMT"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a wrong weekday in asctime",
            &[("expires", "Tue Nov  6 08:50:37 1994"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a day of one digit",
            &[("expires", "Sun, 6 Nov 1994 08:50:37 GMT"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 asctime, one space",
            &[("expires", "Sun Nov 6 08:50:37 1994"), DATE],
            PLAIN,
            Ok(60),
        ),
        (
            "RFC 9110 §5.6.7 a leap second",
            &[("expires", "Sun, 06 Nov 1994 08:49:60 GMT"), DATE],
            PLAIN,
            Ok(23),
        ),
        (
            "RFC 9110 §5.6.7 another zone",
            &[("expires", "Sun, 06 Nov 1994 08:50:37 CET"), DATE],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§4.2.3 Age is taken off",
            &[("cache-control", "max-age=60"), ("age", "20")],
            PLAIN,
            Ok(40),
        ),
        (
            "§4.2.3 an old Date is taken off",
            &[("cache-control", "max-age=90"), ("date", EARLIER)],
            PLAIN,
            Ok(30),
        ),
        (
            "§4.2.3 a Date ahead is no age",
            &[("cache-control", "max-age=60"), ("date", LATER)],
            PLAIN,
            Ok(60),
        ),
        (
            "§4.2.3 an absurd age saturates",
            &[
                ("cache-control", "max-age=60"),
                ("age", "18446744073709551615"),
            ],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§5.1 the first Age of a list",
            &[("cache-control", "max-age=60"), ("age", "20, 0")],
            PLAIN,
            Ok(40),
        ),
        (
            "§5.1 the first Age of two lines",
            &[("cache-control", "max-age=60"), ("age", "0"), ("age", "99")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.1 an Age that is no number",
            &[("cache-control", "max-age=60"), ("age", "-7")],
            PLAIN,
            Ok(60),
        ),
        ("nothing said, ttl declared", &[], TTL, Ok(30)),
        (
            "nothing said, nothing declared",
            &[],
            PLAIN,
            Err(NotStored::NoFreshness),
        ),
        (
            "§4.2.2 no guess unless asked for",
            &[("last-modified", EARLIER), DATE],
            PLAIN,
            Ok(0),
        ),
        (
            "§4.2.2 a tenth of its rest",
            &[("last-modified", "Sun, 06 Nov 1994 08:39:37 GMT"), DATE],
            GUESS,
            Ok(60),
        ),
        (
            "§4.2.2 a day at most",
            &[("last-modified", "Mon, 07 Nov 1983 08:39:37 GMT"), DATE],
            GUESS,
            Ok(86_400),
        ),
        (
            "RFC 9213 §2.2 wins",
            &[
                ("cdn-cache-control", "max-age=5"),
                ("cache-control", "no-store"),
            ],
            PLAIN,
            Ok(5),
        ),
        (
            "RFC 9213 §2.2 over Expires too",
            &[("cdn-cache-control", "foo"), ("expires", LATER), DATE],
            PLAIN,
            Err(NotStored::NoFreshness),
        ),
        (
            "RFC 9213 §2.2 no-store",
            &[
                ("cdn-cache-control", "no-store"),
                ("cache-control", "max-age=9"),
            ],
            TTL,
            Err(NotStored::NoStore),
        ),
        (
            "RFC 9213 §2.1 not a Structured Field",
            &[
                ("cdn-cache-control", "max-age=9, &&"),
                ("cache-control", "max-age=5"),
            ],
            PLAIN,
            Ok(5),
        ),
        (
            "RFC 9213 §2.1 a wrong type",
            &[
                ("cdn-cache-control", "max-age=\"9\""),
                ("cache-control", "max-age=5"),
            ],
            PLAIN,
            Ok(5),
        ),
        (
            "RFC 9213 §2.1 an empty one",
            &[("cdn-cache-control", ""), ("cache-control", "max-age=5")],
            PLAIN,
            Ok(5),
        ),
    ];
    for (rule, response, declared, wanted) in cases {
        assert_eq!(left(&get(response, *declared)), *wanted, "{rule}");
    }
}

#[test]
fn what_is_no_date_is_none() {
    for text in [
        "",
        "0",
        "foo",
        "Nov, 06 Nov 1994 08:50:37 GMT",
        "Sun, 06 Nov 1994 08:50:37 UTC",
        "Sun, 06 Nov 1994 08:50:37 +0000",
        "Sun, 06 Nov 1994 08:50:37",
        "Sun 06 Nov 1994 08:50:37 GMT",
        "Sun,06 Nov 1994 08:50:37 GMT",
        "Sun, 06  Nov  1994 08:50:37 GMT",
        "Sun, 06-Nov-1994 08:50:37 GMT",
        "Sunday, 06-Nov-1994 08:50:37 GMT",
        "Sunday, 06 Nov 1994 08:50:37 GMT",
        "Sun, 06 Nov 94 08:50:37 GMT",
        "Sun, 06 Nov 1994 8:50:37 GMT",
        "Sun, 06 Nov 1994 08.50.37 GMT",
        "Sun, 06 Nov 1994 08:50 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 31 Nov 1994 08:50:37 GMT",
        "Mon, 29 Feb 2100 08:50:37 GMT",
        "Sun, 00 Nov 1994 08:50:37 GMT",
        "Sun, 06 Nov 1969 08:50:37 GMT",
        "Sun, 06 Nov 19940 08:50:37 GMT",
        "Sun, +6 Nov 1994 08:50:37 GMT",
        "Sun Nov  06 08:50:37 1994 GMT",
        "Sun Nov   6 08:50:37 1994",
        "Sun, 06 Nov 1994 08:50:37 GMT, Sun, 06 Nov 1994 08:50:37 GMT",
        "1994-11-06T08:50:37Z",
        "784111837",
    ] {
        assert_eq!(
            dates::parse(text.as_bytes()),
            None,
            "RFC 9110 §5.6.7 {text:?}"
        );
    }
}

#[test]
fn what_must_not_be_stored_is_not() {
    let cases: &[(&str, Lines<'_>, Declared, Result<u64, NotStored>)] = &[
        (
            "§5.2.2.5 no-store",
            &[("cache-control", "No-Store, max-age=60")],
            TTL,
            Err(NotStored::NoStore),
        ),
        (
            "§5.2.2.5 on a second line",
            &[
                ("cache-control", "max-age=60"),
                ("cache-control", "no-store"),
            ],
            TTL,
            Err(NotStored::NoStore),
        ),
        (
            "§5.2.2.5 with an argument",
            &[("cache-control", "no-store=\"x\", max-age=60")],
            TTL,
            Err(NotStored::NoStore),
        ),
        (
            "§5.2 an open quote",
            &[("cache-control", "max-age=60, ext=\"x")],
            TTL,
            Err(NotStored::NoStore),
        ),
        (
            "§4.1 Vary: *",
            &[("cache-control", "max-age=60"), ("vary", "Origin, *")],
            TTL,
            Err(NotStored::Vary),
        ),
        (
            "§4.1 on another line",
            &[("cache-control", "max-age=60"), ("vary", ""), ("vary", "*")],
            TTL,
            Err(NotStored::Vary),
        ),
        (
            "§4.1 a Vary that can't be read",
            &[("cache-control", "max-age=60"), ("vary", "a b")],
            TTL,
            Err(NotStored::Vary),
        ),
        (
            "§4.1 even when forced",
            &[("vary", "*")],
            FORCED,
            Err(NotStored::Vary),
        ),
        (
            "§7.3 Set-Cookie",
            &[("set-cookie", "a=b"), ("cache-control", "max-age=60")],
            TTL,
            Err(NotStored::SetCookie),
        ),
        (
            "§5.2.2.4 no-cache without validator",
            &[("cache-control", "no-cache, max-age=60")],
            TTL,
            Err(NotStored::Stale),
        ),
        (
            "§5.2.2.4 no-cache with a validator",
            &[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")],
            TTL,
            Ok(60),
        ),
        (
            "§5.2.2.4 no-cache for fields",
            &[("cache-control", "no-cache=\"a, b\", max-age=60")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2.2.4 fields that can't be read",
            &[("cache-control", "no-cache=\"a b\", max-age=60")],
            PLAIN,
            Err(NotStored::Stale),
        ),
        (
            "forced over no-store and private",
            &[("cache-control", "no-store, private")],
            FORCED,
            Ok(30),
        ),
        (
            "§4.3 stale, but to be validated",
            &[("cache-control", "max-age=0"), ("etag", "\"a\"")],
            PLAIN,
            Ok(0),
        ),
    ];
    for (rule, response, declared, wanted) in cases {
        assert_eq!(left(&get(response, *declared)), *wanted, "{rule}");
    }
    let no_store = Exchange {
        request: &[("cache-control", "no-store")],
        ..get(&[], FORCED)
    };
    assert_eq!(
        left(&no_store),
        Err(NotStored::RequestNoStore),
        "§5.2.1.5, even when forced"
    );
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        let other = Exchange {
            method,
            ..get(&[("cache-control", "max-age=60")], TTL)
        };
        assert_eq!(left(&other), Err(NotStored::Method), "§3");
    }
}

#[test]
fn over_private_only_force_lets_the_route_speak() {
    for (control, declared, wanted) in [
        ("private", TTL, Err(NotStored::NoFreshness)),
        ("private, max-age=60", TTL, Ok(60)),
        ("private", FORCED, Ok(30)),
        ("no-store", TTL, Err(NotStored::NoStore)),
        ("public", TTL, Ok(30)),
    ] {
        let response = [("cache-control", control)];
        assert_eq!(left(&get(&response, declared)), wanted, "{control}");
    }
}

#[test]
fn what_others_would_see_is_stored_only_with_leave() {
    let authorized: Lines<'_> = &[("authorization", "Bearer x")];
    let cases: &[(&str, Lines<'_>, &str, Declared, Result<u64, NotStored>)] = &[
        (
            "§5.2.2.7 private",
            &[],
            "private, max-age=60",
            PLAIN,
            Err(NotStored::Private),
        ),
        (
            "§5.2.2.7 in any case",
            &[],
            "max-age=60, PRIVATE",
            PLAIN,
            Err(NotStored::Private),
        ),
        (
            "§5.2.2.7 beside public",
            &[],
            "public, private, max-age=60",
            PLAIN,
            Err(NotStored::Private),
        ),
        (
            "§5.2.2.7 when forced",
            &[],
            "private",
            FORCED,
            Err(NotStored::Private),
        ),
        (
            "§5.2.2.7 for fields",
            &[],
            "private=\"x-who\", max-age=60",
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2.2.7 fields that can't be read",
            &[],
            "private=\"a b\", max-age=60",
            PLAIN,
            Err(NotStored::Private),
        ),
        (
            "§3.5 authorized",
            authorized,
            "max-age=60",
            PLAIN,
            Err(NotStored::Authorization),
        ),
        (
            "§3.5 two ages of freshness give no leave",
            authorized,
            "max-age=60, max-age=90",
            PLAIN,
            Err(NotStored::Authorization),
        ),
        (
            "§3.5 public",
            authorized,
            "public, max-age=60",
            PLAIN,
            Ok(60),
        ),
        ("§3.5 s-maxage", authorized, "s-maxage=60", PLAIN, Ok(60)),
        (
            "§3.5 must-revalidate",
            authorized,
            "max-age=60, must-revalidate",
            PLAIN,
            Ok(60),
        ),
        (
            "§3.5 proxy-revalidate gives none",
            authorized,
            "max-age=60, proxy-revalidate",
            PLAIN,
            Err(NotStored::Authorization),
        ),
        (
            "§3.5 a declared ttl gives none",
            authorized,
            "foo",
            TTL,
            Err(NotStored::Authorization),
        ),
    ];
    for (rule, request, control, declared, wanted) in cases {
        let response = [("cache-control", *control)];
        let shared = Exchange {
            request,
            audience: Audience::Shared,
            ..get(&response, *declared)
        };
        assert_eq!(left(&shared), *wanted, "{rule}");
    }
    let own = Exchange {
        request: authorized,
        ..get(&[("cache-control", "private, max-age=60")], PLAIN)
    };
    assert_eq!(
        left(&own),
        Ok(60),
        "with the credential in the key it is no longer shared"
    );
    let cookie = Exchange {
        audience: Audience::Shared,
        ..get(&[("set-cookie", "a=b")], FORCED)
    };
    assert_eq!(
        left(&cookie),
        Err(NotStored::SetCookie),
        "a body that came with a cookie may be made for it"
    );
}

#[test]
fn a_status_is_stored_if_it_is_a_whole_answer_with_a_word_on_freshness() {
    let fresh: Lines<'_> = &[("cache-control", "max-age=60")];
    let silent: Lines<'_> = &[("last-modified", "Sun, 06 Nov 1994 08:39:37 GMT"), DATE];
    let cases: &[(&str, u16, Lines<'_>, Declared, Result<u64, NotStored>)] = &[
        ("§3 explicit", 404, fresh, PLAIN, Ok(60)),
        ("§3 explicit, unknown", 599, fresh, PLAIN, Ok(60)),
        (
            "§3 explicit, beyond five hundred",
            999,
            fresh,
            PLAIN,
            Ok(60),
        ),
        (
            "§3.3 a part that nothing tells apart",
            206,
            fresh,
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "§3.3 a part under a strong tag",
            206,
            &[fresh[0], PART, STRONG],
            PLAIN,
            Ok(60),
        ),
        (
            "§3.4 under a weak tag",
            206,
            &[fresh[0], PART, ("etag", "W/\"a\"")],
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "§3.4 under a date",
            206,
            &[fresh[0], PART, ("last-modified", EARLIER)],
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "RFC 9110 §14.4 of unknown length",
            206,
            &[fresh[0], ("content-range", "bytes 0-1/*"), STRONG],
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "RFC 9110 §14.4 beyond its length",
            206,
            &[fresh[0], ("content-range", "bytes 0-9/9"), STRONG],
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "RFC 9110 §14.4 another unit",
            206,
            &[fresh[0], ("content-range", "lines 0-1/9"), STRONG],
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "RFC 9110 §15.3.7.2 several parts",
            206,
            &[
                fresh[0],
                ("content-type", "multipart/byteranges; boundary=x"),
                STRONG,
            ],
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "§4.3.3 a confirmation",
            304,
            fresh,
            PLAIN,
            Err(NotStored::Status),
        ),
        (
            "RFC 9110 §15.5.17 a range that isn't there",
            416,
            fresh,
            PLAIN,
            Err(NotStored::Status),
        ),
        ("§4.2.2 a guess", 410, silent, GUESS, Ok(60)),
        (
            "§4.2.2 no guess for this status",
            503,
            silent,
            GUESS,
            Err(NotStored::NoFreshness),
        ),
        (
            "a ttl is for 200",
            404,
            &[],
            TTL,
            Err(NotStored::NoFreshness),
        ),
        ("force is for 200", 404, &[], FORCED, Err(NotStored::Status)),
        (
            "§5.2.2.3 understood",
            200,
            &[("cache-control", "must-understand, no-store, max-age=60")],
            PLAIN,
            Ok(60),
        ),
        (
            "§5.2.2.3 not understood",
            599,
            &[("cache-control", "must-understand, max-age=60")],
            PLAIN,
            Err(NotStored::NotUnderstood),
        ),
    ];
    for (rule, status, response, declared, wanted) in cases {
        assert_eq!(
            left(&Exchange {
                status: *status,
                ..get(response, *declared)
            }),
            *wanted,
            "{rule}"
        );
    }
    let said = [("cache-control", "public"), silent[0], DATE];
    let public = Exchange {
        status: 599,
        ..get(&said, GUESS)
    };
    assert_eq!(
        left(&public),
        Ok(60),
        "§4.2.2 public lets any status be guessed for"
    );
    let conditional = Exchange {
        status: 412,
        conditional: true,
        ..get(fresh, PLAIN)
    };
    assert_eq!(
        left(&conditional),
        Err(NotStored::Status),
        "§3 an error that answers a condition"
    );
}

fn held(lifetime: u64) -> Terms {
    Terms {
        lifetime: Duration::from_secs(lifetime),
        initial_age: Duration::ZERO,
        no_cache: false,
        must_revalidate: false,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        stale_if_unreachable: Duration::ZERO,
    }
}

#[test]
fn a_stored_response_is_used_as_far_as_both_sides_allow() {
    let strict = Terms {
        must_revalidate: true,
        ..held(60)
    };
    let asking = Terms {
        no_cache: true,
        ..held(60)
    };
    let lenient = Terms {
        stale_while_revalidate: Duration::from_secs(10),
        ..held(60)
    };
    let (serve, ask, stale) = (Use::Serve, Use::AskForRequest, Use::AskForStale);
    let cases: &[(&str, Terms, u64, &str, Use)] = &[
        ("§4.2 fresh", held(60), 59, "", serve),
        ("§4.2 as old as its lifetime", held(60), 60, "", stale),
        ("§5.2.1.4 no-cache", held(60), 0, "no-cache", ask),
        ("§5.2.1.5 no-store", held(60), 0, "no-store", ask),
        ("§5.2.1.1 max-age", held(60), 5, "max-age=4", ask),
        (
            "§5.2.1.1 max-age that holds",
            held(60),
            4,
            "max-age=4",
            serve,
        ),
        (
            "§5.2.1.1 max-age that can't be read",
            held(60),
            1,
            "max-age=x",
            ask,
        ),
        ("§5.2.1.3 min-fresh", held(60), 55, "min-fresh=6", ask),
        (
            "§5.2.1.3 min-fresh that holds",
            held(60),
            55,
            "min-fresh=5",
            serve,
        ),
        ("§5.2.1.2 max-stale", held(60), 65, "max-stale=5", serve),
        (
            "§5.2.1.2 max-stale that is over",
            held(60),
            66,
            "max-stale=5",
            stale,
        ),
        (
            "§5.2.1.2 max-stale without a limit",
            held(60),
            9_999,
            "max-stale",
            serve,
        ),
        (
            "§5.2.1.2 max-stale that can't be read",
            held(60),
            65,
            "max-stale=x",
            stale,
        ),
        (
            "§5.2.2.2 must-revalidate while fresh",
            strict,
            59,
            "",
            serve,
        ),
        (
            "§5.2.2.2 must-revalidate over max-stale",
            strict,
            61,
            "max-stale",
            stale,
        ),
        (
            "§5.2.2.4 no-cache in the response",
            asking,
            0,
            "max-stale",
            stale,
        ),
        (
            "RFC 5861 §3 stale-while-revalidate",
            lenient,
            69,
            "",
            Use::ServeAndRevalidate,
        ),
        ("RFC 5861 §3 its window is over", lenient, 70, "", stale),
        (
            "RFC 5861 §3 not for who wants it fresh",
            lenient,
            61,
            "min-fresh=0",
            stale,
        ),
        (
            "RFC 5861 §3 not for who limits its age",
            lenient,
            61,
            "max-age=60",
            ask,
        ),
    ];
    for (rule, terms, age, request, wanted) in cases {
        let wishes = Wishes::of(&if request.is_empty() {
            HeaderMap::new()
        } else {
            cc(request)
        });
        assert_eq!(
            reuse::decide(terms, Duration::from_secs(*age), &wishes),
            *wanted,
            "{rule}"
        );
    }
}

#[test]
fn pragma_counts_only_where_there_is_no_cache_control() {
    let cases: &[(&str, Lines<'_>, bool)] = &[
        ("§5.4", &[("pragma", "x, No-Cache")], true),
        ("§5.4 an extension", &[("pragma", "foo")], false),
        (
            "§5.4 beside Cache-Control",
            &[("pragma", "no-cache"), ("cache-control", "max-age=60")],
            false,
        ),
    ];
    for (rule, request, wanted) in cases {
        assert_eq!(Wishes::of(&map(request)).no_cache, *wanted, "{rule}");
    }
    assert!(Wishes::of(&cc("only-if-cached")).only_if_cached, "§5.2.1.7");
}

#[test]
fn a_stale_response_stands_in_for_an_error_only_where_that_is_allowed() {
    let kept = Terms {
        stale_if_error: Duration::from_secs(10),
        ..held(60)
    };
    let strict = Terms {
        must_revalidate: true,
        ..kept
    };
    let asking = Terms {
        no_cache: true,
        ..kept
    };
    let cases: &[(&str, Terms, u64, &str, bool)] = &[
        ("RFC 5861 §4", kept, 69, "foo", true),
        ("RFC 5861 §4 over", kept, 70, "foo", false),
        (
            "RFC 5861 §4 the request's own",
            held(60),
            64,
            "stale-if-error=5",
            true,
        ),
        ("§4.2.4 without leave", held(60), 61, "foo", false),
        ("§5.2.2.2 must-revalidate", strict, 61, "foo", false),
        ("§5.2.2.4 no-cache", asking, 61, "foo", false),
        (
            "§5.2.1.4 the client wants it asked",
            kept,
            61,
            "no-cache",
            false,
        ),
    ];
    for (rule, terms, age, request, wanted) in cases {
        for failure in [Failure::Status, Failure::Unreachable] {
            let found = reuse::despite_error(
                terms,
                Duration::from_secs(*age),
                &Wishes::of(&cc(request)),
                failure,
            );
            assert_eq!(found, *wanted, "{rule}");
        }
    }
    let silent = Terms {
        stale_if_unreachable: Duration::from_secs(10),
        ..held(60)
    };
    let strict = Terms {
        must_revalidate: true,
        ..silent
    };
    let cases: &[(&str, Terms, u64, &str, bool)] = &[
        ("§4.2.4 disconnected", silent, 69, "foo", true),
        ("§4.2.4 for a while", silent, 70, "foo", false),
        ("§5.2.2.2 must-revalidate", strict, 61, "foo", false),
        (
            "§5.2.1.1 the client limits its age",
            silent,
            61,
            "max-age=60",
            false,
        ),
        (
            "§5.2.1.3 the client wants it fresh",
            silent,
            61,
            "min-fresh=0",
            false,
        ),
    ];
    for (rule, terms, age, request, wanted) in cases {
        let wishes = Wishes::of(&cc(request));
        let found = reuse::despite_error(
            terms,
            Duration::from_secs(*age),
            &wishes,
            Failure::Unreachable,
        );
        assert_eq!(found, *wanted, "{rule}");
        assert!(
            !reuse::despite_error(terms, Duration::from_secs(*age), &wishes, Failure::Status),
            "{rule}: a status"
        );
    }
    for (rule, control, declared, wanted) in [
        ("§4.2.4 nothing said", "max-age=1", PLAIN, 60),
        (
            "RFC 5861 §4 the response's word wins",
            "max-age=1, stale-if-error=0",
            PLAIN,
            0,
        ),
        (
            "the route's",
            "max-age=1",
            Declared {
                stale_if_error: Duration::from_secs(9),
                ..PLAIN
            },
            9,
        ),
        (
            "what the application wanted unstored",
            "no-store",
            FORCED,
            0,
        ),
    ] {
        let found = terms(&get(&[("cache-control", control)], declared)).unwrap();
        assert_eq!(found.stale_if_unreachable.as_secs(), wanted, "{rule}");
    }
    for (status, wanted) in [
        (500, true),
        (502, true),
        (503, true),
        (504, true),
        (501, false),
        (404, false),
    ] {
        assert_eq!(
            reuse::is_failure(StatusCode::from_u16(status).unwrap()),
            wanted,
            "RFC 5861 §4 {status}"
        );
    }
}

#[test]
fn the_directives_that_forbid_stale_answers_are_read() {
    for (rule, control, wanted) in [
        ("§5.2.2.2", "max-age=60, must-revalidate", true),
        ("§5.2.2.8", "max-age=60, Proxy-Revalidate", true),
        ("§5.2.2.10", "s-maxage=60", true),
        (
            "RFC 8246 immutable forbids nothing",
            "max-age=60, immutable",
            false,
        ),
    ] {
        let found = terms(&get(&[("cache-control", control)], PLAIN)).unwrap();
        assert_eq!(found.must_revalidate, wanted, "{rule}");
    }
    let said = terms(&get(
        &[(
            "cache-control",
            "max-age=1, stale-while-revalidate=2, stale-if-error=3",
        )],
        PLAIN,
    ))
    .unwrap();
    assert_eq!(
        (
            said.stale_while_revalidate.as_secs(),
            said.stale_if_error.as_secs()
        ),
        (2, 3),
        "RFC 5861"
    );
    let declared = Declared {
        stale_if_error: Duration::from_secs(9),
        ..TTL
    };
    assert_eq!(
        terms(&get(&[], declared)).unwrap().stale_if_error.as_secs(),
        9,
        "the route's"
    );
    let zero = terms(&get(
        &[("cache-control", "max-age=1, stale-if-error=0")],
        declared,
    ))
    .unwrap();
    assert_eq!(zero.stale_if_error.as_secs(), 0, "the response's word wins");
}

fn fit(names: &str, stored: Lines<'_>, asking: Lines<'_>, response: Lines<'_>) -> Fit {
    let names = vary::names(&map(&[("vary", names)])).unwrap();
    let stored = names
        .iter()
        .map(|name| (name.clone(), vary::value(&map(stored), name)))
        .collect();
    let asking = map(asking);
    vary::fit(&stored, &map(response), &mut |name| {
        vary::value(&asking, name)
    })
}

#[test]
fn languages_are_the_same_in_another_order_but_never_another_language() {
    use Fit::{Equivalent, Not, Same};
    let cases: &[(&str, &str, &str, Option<&str>, Fit)] = &[
        (
            "RFC 9110 §12.5.4 weights in another order",
            "en;q=0.5, de",
            "de, en;q=0.5",
            None,
            Same,
        ),
        (
            "RFC 9110 §12.4.2 a weight in other words",
            "de, en;q=0.5",
            "DE;q=1.0,en;Q=0.50",
            None,
            Same,
        ),
        (
            "RFC 9110 §12.5.4 equal weights in another order",
            "en, de",
            "de, en",
            None,
            Equivalent,
        ),
        (
            "RFC 9110 §12.5.4 over several lines",
            "en;q=0.3, de, fr",
            "fr, de, en;q=0.3",
            None,
            Equivalent,
        ),
        (
            "RFC 9110 §12.5.4 other weights",
            "en, de;q=0.5",
            "de, en;q=0.5",
            None,
            Not,
        ),
        (
            "RFC 9110 §12.5.4 one more",
            "en, de",
            "en, de, fr",
            None,
            Not,
        ),
        (
            "RFC 9110 §12.5.4 one twice",
            "en, de, en",
            "en, de, de",
            None,
            Not,
        ),
        (
            "RFC 9110 §12.4.2 refused is not accepted",
            "en, de;q=0",
            "en, de",
            None,
            Not,
        ),
        (
            "the first of equal weights came",
            "en, de",
            "de, en",
            Some("en"),
            Not,
        ),
        (
            "the last of equal weights came: the first isn't there",
            "en, de",
            "de, en",
            Some("de"),
            Equivalent,
        ),
        (
            "RFC 4647 §3.3.1 a language in its range",
            "en, de",
            "de, en",
            Some("de-AT"),
            Equivalent,
        ),
        (
            "RFC 4647 §3.3.1 and in the first",
            "en, de",
            "de, en",
            Some("EN-gb"),
            Not,
        ),
        (
            "the middle one came",
            "en, de, fr",
            "fr, de, en",
            Some("de"),
            Not,
        ),
        (
            "the middle one came, and the first is still before it",
            "en, de, fr",
            "de, en, fr",
            Some("de"),
            Equivalent,
        ),
        (
            "one that isn't asked for came",
            "en, de",
            "de, en",
            Some("it"),
            Equivalent,
        ),
        (
            "§4.1 other preferences, though the language fits",
            "en, de",
            "fr;q=0.5, de;q=1.0",
            Some("de"),
            Not,
        ),
        (
            "what can't be read is compared as it is",
            "en_US, de",
            "de, en_US",
            None,
            Not,
        ),
        (
            "RFC 9110 §12.4.2 four digits",
            "en;q=0.1234",
            "en;q=0.1235",
            None,
            Not,
        ),
        (
            "RFC 9110 §12.4.2 above one",
            "en;q=1.5, de",
            "de, en;q=1.5",
            None,
            Not,
        ),
    ];
    for (rule, stored, asking, language, wanted) in cases {
        let response: Vec<_> = language
            .iter()
            .map(|language| ("content-language", *language))
            .collect();
        let found = fit(
            "accept-language",
            &[("accept-language", stored)],
            &[("accept-language", asking)],
            &response,
        );
        assert_eq!(found, *wanted, "{rule}");
    }
}

#[test]
fn vary_tells_requests_apart_by_what_they_mean() {
    let cases: &[(&str, &str, Lines<'_>, Lines<'_>, bool)] = &[
        ("§4.1 equal", "foo", &[("foo", "1")], &[("foo", "1")], true),
        ("§4.1 other", "foo", &[("foo", "1")], &[("foo", "2")], false),
        (
            "§4.1 absent in the stored",
            "foo",
            &[],
            &[("foo", "1")],
            false,
        ),
        (
            "§4.1 absent in the asking",
            "foo",
            &[("foo", "1")],
            &[],
            false,
        ),
        (
            "§4.1 absent in both",
            "foo, bar",
            &[("foo", "1")],
            &[("foo", "1")],
            true,
        ),
        (
            "§4.1 absent is not empty",
            "foo",
            &[],
            &[("foo", "")],
            false,
        ),
        (
            "§4.1 lines and lists",
            "foo",
            &[("foo", "1, 2")],
            &[("foo", "1"), ("foo", "2")],
            true,
        ),
        (
            "§4.1 a quote that is escaped ends nothing",
            "foo",
            &[("foo", r#""a\" , b""#)],
            &[("foo", r#""a\",b""#)],
            false,
        ),
        (
            "§4.1 another order",
            "foo",
            &[("foo", "1, 2")],
            &[("foo", "2, 1")],
            false,
        ),
        (
            "§4.1 spaces around commas",
            "foo",
            &[("foo", "1,2")],
            &[("foo", " 1,  2 ")],
            true,
        ),
        (
            "§4.1 spaces in quotes count",
            "foo",
            &[("foo", "\"a,b\"")],
            &[("foo", "\"a, b\"")],
            false,
        ),
        (
            "RFC 4647 §2 languages in any case",
            "accept-language",
            &[("accept-language", "en, de")],
            &[("accept-language", "eN,De")],
            true,
        ),
        (
            "§4.1 others in their own case",
            "foo",
            &[("foo", "a")],
            &[("foo", "A")],
            false,
        ),
        (
            "§4.1 every Cookie line",
            "cookie",
            &[("cookie", "a=1")],
            &[("cookie", "a=1"), ("cookie", "b=2")],
            false,
        ),
        (
            "§4.1 Cookie byte by byte",
            "cookie",
            &[("cookie", "a=1, 2")],
            &[("cookie", "a=1,2")],
            false,
        ),
    ];
    for (rule, names, stored, asking, wanted) in cases {
        assert_eq!(
            fit(names, stored, asking, &[]) != Fit::Not,
            *wanted,
            "{rule}"
        );
    }
    let lines = map(&[("vary", "B, a"), ("vary", ""), ("vary", "A")]);
    let names: Vec<_> = vary::names(&lines)
        .unwrap()
        .iter()
        .map(HeaderName::to_string)
        .collect();
    assert_eq!(names, ["a", "b"], "§4.1 over all lines");
}

#[test]
fn a_client_that_has_it_hears_so() {
    let (etag, modified) = (("etag", "\"a\""), ("last-modified", EARLIER));
    let cases: &[(&str, Lines<'_>, Lines<'_>, bool)] = &[
        (
            "RFC 9110 §13.1.2",
            &[("if-none-match", "\"a\"")],
            &[etag],
            true,
        ),
        (
            "RFC 9110 §13.1.2 another",
            &[("if-none-match", "\"b\"")],
            &[etag],
            false,
        ),
        (
            "RFC 9110 §13.1.2 one of a list",
            &[("if-none-match", "\"x\", W/\"a\"")],
            &[etag],
            true,
        ),
        (
            "RFC 9110 §13.1.2 one of two lines",
            &[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")],
            &[etag],
            true,
        ),
        (
            "RFC 9110 §8.8.3.2 weak",
            &[("if-none-match", "\"a\"")],
            &[("etag", "W/\"a\"")],
            true,
        ),
        (
            "RFC 9110 §8.8.3 a comma in a tag",
            &[("if-none-match", "\"x,\"a\"")],
            &[("etag", "\"x")],
            false,
        ),
        ("RFC 9110 §13.1.2 any", &[("if-none-match", "*")], &[], true),
        (
            "RFC 9110 §8.8.3 bytes beyond ASCII",
            &[("if-none-match", "\"é\"")],
            &[("etag", "\"é\"")],
            true,
        ),
        (
            "RFC 9110 §13.1.3",
            &[("if-modified-since", EARLIER)],
            &[modified],
            true,
        ),
        (
            "RFC 9110 §13.1.3 later",
            &[("if-modified-since", LATER)],
            &[modified],
            true,
        ),
        (
            "RFC 9110 §13.1.3 modified since",
            &[("if-modified-since", EARLIER)],
            &[("last-modified", LATER)],
            false,
        ),
        (
            "RFC 9110 §13.1.3 in RFC 850",
            &[("if-modified-since", "Sunday, 06-Nov-94 08:48:37 GMT")],
            &[modified],
            true,
        ),
        (
            "RFC 9110 §13.1.3 no date",
            &[("if-modified-since", "foo")],
            &[modified],
            false,
        ),
        (
            "RFC 9110 §13.2.2 the tag decides",
            &[("if-none-match", "\"b\""), ("if-modified-since", LATER)],
            &[etag, modified],
            false,
        ),
        (
            "§4.3.2 by its date",
            &[("if-modified-since", LATER)],
            &[DATE],
            true,
        ),
        (
            "§4.3.2 by its date, which is later",
            &[("if-modified-since", EARLIER)],
            &[DATE],
            false,
        ),
        (
            "§4.3.2 by its date, the same",
            &[("if-modified-since", "SUN, 6 Nov 1994 08:49:37 GMT")],
            &[DATE],
            true,
        ),
        (
            "§4.3.2 Last-Modified that is no date says nothing",
            &[("if-modified-since", LATER)],
            &[("last-modified", "x"), DATE],
            true,
        ),
    ];
    for (rule, request, stored, wanted) in cases {
        assert_eq!(
            precondition::not_modified(&map(request), &map(stored)),
            *wanted,
            "{rule}"
        );
    }
    for name in ["if-match", "if-unmodified-since"] {
        assert!(
            precondition::is_for_the_application(&map(&[(name, "x")])),
            "§4.3.2 {name}"
        );
    }
}

#[test]
fn a_part_is_cut_from_the_whole() {
    use range::Wanted::{Part, Unsatisfiable, Whole};
    let cases: &[(&str, &str, usize, range::Wanted)] = &[
        ("RFC 9110 §14.1.2", "bytes=0-1", 10, Part(0..2)),
        ("RFC 9110 §14.1.2 open", "bytes=1-", 10, Part(1..10)),
        ("RFC 9110 §14.1.2 suffix", "bytes=-1", 10, Part(9..10)),
        (
            "RFC 9110 §14.1.2 a longer suffix",
            "bytes=-99",
            10,
            Part(0..10),
        ),
        (
            "RFC 9110 §14.1.2 beyond the end",
            "bytes=8-99",
            10,
            Part(8..10),
        ),
        (
            "RFC 9110 §14.1.2 beyond all numbers",
            "bytes=8-99999999999999999999999",
            10,
            Part(8..10),
        ),
        (
            "RFC 9110 §14.1.1 unit in any case",
            "Bytes=0-0",
            10,
            Part(0..1),
        ),
        ("RFC 9110 §15.5.17", "bytes=10-", 10, Unsatisfiable),
        (
            "RFC 9110 §14.1.2 an empty suffix",
            "bytes=-0",
            10,
            Unsatisfiable,
        ),
        ("RFC 9110 §14.1.2 of nothing", "bytes=-1", 0, Unsatisfiable),
        (
            "RFC 9110 §14.1.1 backwards is invalid",
            "bytes=5-1",
            10,
            Whole,
        ),
        ("RFC 9110 §14.2 several", "bytes=0-1,3-4", 10, Whole),
        ("RFC 9110 §14.2 another unit", "lines=0-1", 10, Whole),
        ("RFC 9110 §14.2 nonsense", "bytes=+1-2", 10, Whole),
    ];
    for (rule, range, length, wanted) in cases {
        assert_eq!(
            range::wanted(&map(&[("range", range)]), *length),
            *wanted,
            "{rule}"
        );
    }
    let strong: Lines<'_> = &[("etag", "\"a\""), ("last-modified", EARLIER), DATE];
    let cases: &[(&str, &str, Lines<'_>, bool)] = &[
        ("RFC 9110 §13.1.5 the tag", "\"a\"", strong, true),
        ("RFC 9110 §13.1.5 another", "\"b\"", strong, false),
        (
            "RFC 9110 §13.1.5 a weak tag",
            "W/\"a\"",
            &[("etag", "W/\"a\""), DATE],
            false,
        ),
        ("RFC 9110 §13.1.5 the date", EARLIER, strong, true),
        ("RFC 9110 §13.1.5 another date", LATER, strong, false),
        (
            "RFC 9110 §8.8.2.2 a date as young as the response",
            DATE.1,
            &[("last-modified", DATE.1), DATE],
            false,
        ),
    ];
    for (rule, condition, stored, wanted) in cases {
        assert_eq!(
            precondition::range_applies(&map(&[("if-range", condition)]), &map(stored)),
            *wanted,
            "{rule}"
        );
    }
}

#[test]
fn a_validation_asks_by_both_validators_and_a_304_replaces_fields() {
    let stored = map(&[
        ("etag", "\"a\""),
        ("last-modified", EARLIER),
        ("x", "1"),
        ("y", "1"),
        ("content-length", "5"),
    ]);
    let mut request = map(&[
        ("if-none-match", "\"client\""),
        ("range", "bytes=0-1"),
        ("accept", "*/*"),
    ]);
    validate::condition(&mut request, &stored);
    assert_eq!(request["if-none-match"], "\"a\"", "§4.3.1");
    assert_eq!(request["if-modified-since"], EARLIER, "§4.3.1");
    assert!(
        !request.contains_key("range") && request.contains_key("accept"),
        "§4.3.1"
    );
    let update = map(&[
        ("x", "2"),
        ("x", "3"),
        ("new", "1"),
        ("content-length", "0"),
        ("content-encoding", "br"),
        ("etag", "\"b\""),
    ]);
    let merged = fields::merged(&stored, &update);
    let all: Vec<_> = merged.get_all("x").iter().collect();
    assert_eq!(all, ["2", "3"], "§3.2 every line of a field");
    assert_eq!(
        (&merged["y"], &merged["new"]),
        (
            &HeaderValue::from_static("1"),
            &HeaderValue::from_static("1")
        ),
        "§3.2"
    );
    assert_eq!(
        (&merged["content-length"], &merged["etag"]),
        (&stored["content-length"], &stored["etag"]),
        "§3.2"
    );
    assert!(!merged.contains_key("content-encoding"), "§3.2");
}

#[test]
fn what_belongs_to_one_exchange_is_not_kept() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let response = map(&[
        ("set-cookie", "a=b"),
        ("age", "7"),
        ("x-request-id", "1"),
        ("cache-status", "other; hit"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("trailer", "x"),
        ("who", "me"),
        ("what", "it"),
        ("kept", "1"),
        ("cache-control", "private=\"who\", no-cache=\"what\""),
    ]);
    let kept = fields::kept(&response, &CacheControl::of(&response), now);
    let mut names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["cache-control", "date", "kept"],
        "§3.1, §5.2.2.4, §5.2.2.7, RFC 9110 §6.6.1"
    );
    assert_eq!(
        dates::date(&kept, &http::header::DATE),
        dates::Dated::At(now)
    );
}

#[test]
fn all_spellings_of_a_resource_have_one_name_and_other_resources_another() {
    let one = invalidate::resource("shop.test", "/items/a b");
    for (host, path) in [
        ("Shop.Test", "/items/a b"),
        ("shop.test:80", "/items/a b/"),
        ("shop.test:443", "/ITEMS//%61 b"),
        ("shop.test", "/items%2Fa b"),
        ("shop.test", "/items%2fa b"),
        ("shop.test", "/./x/../items/a b"),
    ] {
        assert_eq!(
            invalidate::resource(host, path),
            one,
            "RFC 3986 §6.2.2 {host} {path}"
        );
    }
    for (host, path) in [
        ("shop.test:81", "/items/a b"),
        ("other.test", "/items/a b"),
        ("shop.test", "/items"),
        ("shop.test", "/items/a%25 b"),
        ("shop.test/items", "/a b"),
        ("shop.test", "/items/a%20b"),
    ] {
        assert_ne!(invalidate::resource(host, path), one, "{host} {path}");
    }
    for odd in [
        "/%", "/%2", "/%zz", "/%+f", "/é%", "/%é", "/..", "", "/%00", "/%ff%",
    ] {
        assert!(invalidate::loose_path(odd).starts_with('/'), "{odd}");
    }
}

#[test]
fn a_write_makes_its_target_and_what_it_names_at_the_same_origin_old() {
    for (method, wanted) in [
        ("GET", false),
        ("HEAD", false),
        ("OPTIONS", false),
        ("PUT", true),
        ("M-SEARCH", true),
    ] {
        assert_eq!(
            invalidate::is_unsafe(&Method::from_bytes(method.as_bytes()).unwrap()),
            wanted,
            "§4.4 {method}"
        );
    }
    for (status, wanted) in [
        (200, true),
        (204, true),
        (303, true),
        (404, false),
        (500, false),
    ] {
        assert_eq!(
            invalidate::invalidates(StatusCode::from_u16(status).unwrap()),
            wanted,
            "§4.4 {status}"
        );
    }
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("§4.4 an absolute path", "/x?y=1", Some("/x?y=1")),
        ("§4.4 the same origin", "http://App.test:81/x", Some("/x")),
        ("§4.4 without a scheme", "//app.test:81/x", Some("/x")),
        ("§4.4 another host", "http://evil.test/x", None),
        ("§4.4 another port", "http://app.test/x", None),
        ("RFC 3986 §5.2.3 relative", "x", Some("/a/x")),
        ("RFC 3986 §5.2.4 dots", "../x/./y/..", Some("/x/")),
        ("RFC 3986 §5.2.4 above the root", "/../../x", Some("/x")),
        ("RFC 3986 §5.2.2 a query", "?q", Some("/a/b?q")),
        ("RFC 3986 §5.2.2 a fragment only", "#f", None),
        ("RFC 3986 §5.2.2 another scheme", "mailto:x", None),
    ];
    for (rule, location, wanted) in cases {
        for name in ["location", "content-location"] {
            let found = invalidate::named("app.test:81", "/a/b?c=d", &map(&[(name, location)]));
            assert_eq!(found.first().map(String::as_str), *wanted, "{rule}");
        }
    }
}

#[test]
fn where_nothing_is_guessed_only_what_a_response_says_is_stored() {
    let validators = [
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", "\"a\""),
    ];
    for validator in validators {
        let response = [validator];
        for declared in [
            GUESS,
            Declared {
                ttl: TTL.ttl,
                ..GUESS
            },
        ] {
            assert!(left(&get(&response, declared)).is_ok());
            let only_said = Declared {
                only_said: true,
                ..declared
            };
            assert_eq!(
                left(&get(&response, only_said)),
                Err(NotStored::NoFreshness)
            );
        }
    }
    let only_said = Declared {
        only_said: true,
        ..GUESS
    };
    assert_eq!(
        left(&get(&[("cache-control", "max-age=60")], only_said)),
        Ok(60)
    );
}
