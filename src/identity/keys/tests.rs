use super::*;
use crate::event::Fingerprint;
use crate::identity::{Admit, IdentitySettings, Kind, Part, Renewal, Selection, lists};
use crate::peer::{Connection, Peer};
use crate::template::Template;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use std::time::{Duration, SystemTime};

fn identity(change: impl FnOnce(&mut Selection)) -> Identity {
    let mut selection = Selection::built_in();
    change(&mut selection);
    let settings = IdentitySettings {
        selection,
        claims: Vec::new(),
        refresh: None,
        user: Template::default(),
        lowercase_user: false,
        require: Vec::new(),
        forbid: Vec::new(),
        double_submit: None,
        token: Vec::new(),
        jwt: None,
        admit: Admit::Optimistic,
        proof_ttl: Duration::from_secs(1),
        cors: None,
    };
    Identity::new(settings, [7; 32], 10)
}

fn head(headers: &[(&str, &str)]) -> Parts {
    let request = headers
        .iter()
        .fold(Request::post("/x?key=abc"), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.body(()).unwrap().into_parts().0
}

fn peer(host: &str, client: &str, https: bool) -> Peer {
    let connection = Connection {
        address: format!("{client}:4711").parse().unwrap(),
        secure: https,
    };
    Peer {
        host: Some(host.into()),
        ..Peer::new(connection)
    }
}

fn keys_at(identity: &Identity, headers: &[(&str, &str)], peer: &Peer) -> Keys {
    let parts = head(headers);
    identity.keys(&identity.caller(&parts, peer, SystemTime::now()), None)
}

fn keys(identity: &Identity, headers: &[(&str, &str)]) -> Keys {
    keys_at(identity, headers, &peer("app.test", "10.0.0.7", false))
}

const USER: (&str, &str) = ("cookie", "sid=ada; _ga=GA1.1; csrftoken=t");

#[test]
fn each_part_enters_the_keys_that_the_table_says() {
    let identity = identity(|_| {});
    let base = keys(
        &identity,
        &[USER, ("accept-language", "de"), ("x-request-id", "1")],
    );
    // What changes, and whether principal, view and fingerprint stay the same.
    let cases: [(&str, &[(&str, &str)], [bool; 3]); 9] = [
        (
            "nothing",
            &[USER, ("accept-language", "de"), ("x-request-id", "1")],
            [true; 3],
        ),
        (
            "an analytics cookie",
            &[("cookie", "sid=ada; _ga=GA1.1.999; csrftoken=t")],
            [true; 3],
        ),
        (
            "a language and a request id",
            &[USER, ("accept-language", "fr"), ("x-request-id", "2")],
            [true; 3],
        ),
        (
            "a balancer's cookie",
            &[("cookie", "AWSALB=x; sid=ada; csrftoken=t")],
            [true; 3],
        ),
        (
            "the origin",
            &[USER, ("origin", "https://app.test")],
            [true, true, false],
        ),
        (
            "the csrf cookie",
            &[("cookie", "sid=ada; csrftoken=other")],
            [true, true, false],
        ),
        (
            "an unknown header",
            &[USER, ("x-org-id", "7")],
            [true, false, false],
        ),
        (
            "the session",
            &[("cookie", "sid=bob; csrftoken=t")],
            [false; 3],
        ),
        ("a key", &[USER, ("x-api-key", "k")], [false; 3]),
    ];
    for (name, headers, wanted) in cases {
        let found = keys(&identity, headers);
        let same = [
            found.principal == base.principal,
            found.view == base.view,
            found.fingerprint == base.fingerprint,
        ];
        assert_eq!(same, wanted, "{name}");
        assert!(!found.nameless, "{name}");
    }
}

#[test]
fn host_scheme_and_client_address_count_and_the_port_does_not() {
    let identity = identity(|_| {});
    let at =
        |host: &str, client: &str, https| keys_at(&identity, &[USER], &peer(host, client, https));
    let base = at("a.test", "10.0.0.7", false);
    assert_ne!(base.principal, at("b.test", "10.0.0.7", false).principal);
    assert_ne!(base.realm, at("b.test", "10.0.0.7", false).realm);
    let tls = at("a.test", "10.0.0.7", true);
    assert!(base.view == tls.view && base.fingerprint != tls.fingerprint);
    let elsewhere = at("a.test", "10.0.0.8", false);
    assert!(base.view == elsewhere.view && base.fingerprint != elsewhere.fingerprint);
}

#[test]
fn callers_without_a_name_are_told_apart_by_their_address_only() {
    let identity = identity(|_| {});
    let at = |client: &str, headers: &[(&str, &str)]| {
        keys_at(&identity, headers, &peer("a.test", client, false))
    };
    let one = at(
        "10.0.0.7",
        &[("origin", "https://a.test"), ("x-csrf-token", "t")],
    );
    assert!(
        one.nameless,
        "an Origin or a CSRF token says nothing of who calls"
    );
    assert_eq!(one.principal, at("10.0.0.7", &[]).principal);
    assert_ne!(one.principal, at("10.0.0.8", &[]).principal);
    for (name, value, wanted) in [
        ("authorization", "", true),
        ("authorization", "Bearer", true),
        ("authorization", "a-key-of-its-own", false),
        ("authorization", "Bearer x", false),
        ("cookie", "sid=", true),
        ("cookie", "sid=x", false),
        ("x-api-key", " ", true),
    ] {
        assert_eq!(
            at("10.0.0.7", &[(name, value)]).nameless,
            wanted,
            "{name}: {value}"
        );
    }
}

#[test]
fn the_order_of_headers_says_nothing() {
    let identity = identity(|_| {});
    let (a, b) = (("x-a", "1"), ("x-b", "2"));
    assert_eq!(
        keys(&identity, &[a, b, USER]),
        keys(&identity, &[USER, b, a])
    );
}

#[test]
fn what_travels_in_the_body_or_the_query_can_say_who_calls() {
    let identity = identity(|selection| {
        selection.named = vec![
            Part::parse_any("body:api_key").unwrap(),
            Part::parse_any("query:key").unwrap(),
        ];
    });
    let (parts, peer) = (head(&[]), peer("a.test", "10.0.0.7", false));
    let caller = identity.caller(&parts, &peer, SystemTime::now());
    let of = |body: &str| identity.keys(&caller, Some(&Object::parse(body).unwrap()));
    let body = "{\"api_key\":\"k1\",\"n\":1}";
    let (one, other) = (of(body), of("{\"api_key\":\"k2\",\"n\":1}"));
    assert_ne!(one.principal, other.principal);
    assert_eq!(one, of("{\"n\":2,\"api_key\":\"k1\"}"));
    let context = identity
        .read(&caller, Some(&Object::parse(body).unwrap()))
        .context(&caller, one);
    assert_eq!(named(&context, "body", &["api_key".into()]), Some("\"k1\""));
    assert_eq!(named(&context, "query", &["key".into()]), Some("\"abc\""));
}

#[test]
fn a_cookie_line_comes_back_byte_for_byte() {
    let identity = identity(|_| {});
    for line in [
        "sid=ada; _ga=GA1.1; csrftoken=t",
        "_ga=1;sid=ada ;  x",
        "sid=a=b; sid=c; ; AWSALB=q",
        "only",
        "",
    ] {
        let (parts, peer) = (head(&[("cookie", line)]), peer("a.test", "10.0.0.7", false));
        let caller = identity.caller(&parts, &peer, SystemTime::now());
        let reading = identity.read(&caller, None);
        let context = reading.context(&caller, identity.keys(&caller, None));
        let packed = identity
            .carry(&caller, (false, false), None, 1_000)
            .unwrap();
        let carried = Carried::unpack(&packed).unwrap();
        assert_eq!(
            String::from_utf8(cookie_line(carried.cookie.0, &context)).unwrap(),
            line
        );
    }
}

#[test]
fn a_rolling_cookie_names_its_principal_and_splits_nothing_once_it_is_known() {
    let rolling =
        identity(|selection| selection.set(&Part::parse("cookie:sid").unwrap(), Kind::Rolling));
    let of = |sid: &str| {
        let line = format!("sid={sid}");
        let (parts, peer) = (
            head(&[("cookie", &*line)]),
            peer("a.test", "10.0.0.7", false),
        );
        let caller = rolling.caller(&parts, &peer, SystemTime::now());
        let keys = rolling.keys(&caller, None);
        (keys, rolling.stored_view(&caller, &keys))
    };
    assert_ne!(
        of("1").0.fingerprint,
        of("2").0.fingerprint,
        "two sessions, as far as is known"
    );
    let (parts, peer) = (
        head(&[("cookie", "sid=1")]),
        peer("a.test", "10.0.0.7", false),
    );
    let set = HeaderValue::from_static("sid=2; Path=/; HttpOnly");
    assert!(matches!(
        rolling.renew(
            &rolling.caller(&parts, &peer, SystemTime::now()),
            [&set].into_iter(),
            true
        ),
        Renewal::Successor(_)
    ));
    assert_eq!(
        of("1").0,
        of("2").0,
        "the session that the application renewed"
    );
    assert_ne!(
        of("1").1,
        of("2").1,
        "what one was shown is never shown to the other"
    );
    assert_ne!(of("1").0.principal, of("3").0.principal);
}

#[test]
fn who_is_only_supposed_to_be_the_successor_shares_neither_batch_nor_view_with_its_predecessor() {
    let rolling =
        identity(|selection| selection.set(&Part::parse("cookie:sid").unwrap(), Kind::Rolling));
    let of = |sid: &str| {
        keys_at(
            &rolling,
            &[("cookie", sid)],
            &peer("a.test", "10.0.0.7", false),
        )
    };
    let (parts, peer) = (
        head(&[("cookie", "sid=1")]),
        peer("a.test", "10.0.0.7", false),
    );
    let set = HeaderValue::from_static("sid=2; Path=/");
    assert!(matches!(
        rolling.renew(
            &rolling.caller(&parts, &peer, SystemTime::now()),
            [&set].into_iter(),
            false
        ),
        Renewal::Successor(_)
    ));
    let (old, new) = (of("sid=1"), of("sid=2"));
    assert_eq!(old.principal, new.principal);
    assert_ne!(old.fingerprint, new.fingerprint);
    assert_ne!(old.view, new.view);
}

#[test]
fn a_session_that_was_renewed_is_its_principal_under_a_fingerprint_of_its_own() {
    let identity = identity(|_| {});
    let (parts, peer) = (
        head(&[("cookie", "sid=1; _ga=x")]),
        peer("a.test", "10.0.0.7", false),
    );
    let before = keys_at(&identity, &[("cookie", "sid=2; _ga=x")], &peer);
    let set = [
        HeaderValue::from_static("sid=2; Path=/"),
        HeaderValue::from_static("_ga=y"),
    ];
    assert!(matches!(
        identity.renew(
            &identity.caller(&parts, &peer, SystemTime::now()),
            set.iter(),
            true
        ),
        Renewal::Successor(_)
    ));
    let (old, new) = (
        keys_at(&identity, &[("cookie", "sid=1")], &peer),
        keys_at(&identity, &[("cookie", "sid=2; _ga=x")], &peer),
    );
    assert_eq!(old.principal, new.principal);
    assert_ne!(old.fingerprint, new.fingerprint);
    assert_ne!(before.principal, new.principal);
}

#[test]
fn listed_parts_count_and_the_others_travel() {
    let mut selection = Selection::listed(&[
        Part::parse("cookie:sid").unwrap(),
        Part::parse("header:x-org").unwrap(),
    ]);
    assert_eq!(
        selection.header(&HeaderName::from_static("x-org")),
        Kind::Scope
    );
    assert_eq!(
        selection.header(&HeaderName::from_static("user-agent")),
        Kind::Passing
    );
    assert_eq!(selection.cookie("sid"), Kind::Principal);
    assert_eq!(selection.cookie("other"), Kind::Passing);
    selection.set(&Part::parse("header:x-org").unwrap(), Kind::Principal);
    assert_eq!(
        selection.header(&HeaderName::from_static("x-org")),
        Kind::Principal
    );
    assert_eq!(lists::header("x-org"), Kind::Scope);
    let _: Fingerprint = keys(&identity(|_| {}), &[]).fingerprint;
}

#[test]
fn a_cookie_of_no_list_is_a_part_of_the_principal_only_where_nothing_else_tells_who_calls() {
    let plain = identity(|_| {});
    let named = identity(|selection| {
        for part in ["cookie:mine", "header:x-api-key", "query:key"] {
            selection.set(&Part::parse_any(part).unwrap(), Kind::Principal);
        }
    });
    let key = ("x-api-key", "k");
    let token = ("authorization", "Bearer t");
    for (identity, header, cookie, is_told) in [
        (&plain, key, "theme=", false),
        (&plain, ("authorization", "Basic YTpi"), "theme=", false),
        (&plain, ("authorization", "ApiKey 7"), "theme=", false),
        (&plain, ("authorization", "Bearer null"), "theme=", false),
        (&plain, key, "logged_in=yes; theme=", false),
        (&plain, key, "sid=; theme=", false),
        (&plain, key, "sid=de; theme=", false),
        (&plain, key, "session=anonymous; theme=", false),
        (&plain, key, "_first_session=true; theme=", false),
        (
            &plain,
            key,
            "auth_provider=accounts.google.com; theme=",
            false,
        ),
        (
            &plain,
            key,
            "login_redirect=/courses/12/lessons; theme=",
            false,
        ),
        (&plain, key, "mine=7; theme=", false),
        // The query of these calls has `key`, which any caller may send, as the listed key.
        (&named, key, "theme=", false),
        (&named, key, "mine=7; theme=", true),
        (&plain, token, "theme=", true),
        (&plain, ("x-auth-token", "t"), "theme=", true),
        (&plain, key, "sid=s0123456; theme=", true),
        (&plain, key, "__Host-session=s0123456; theme=", true),
        (&plain, key, "_app_session=s0123456; theme=", true),
        (&plain, key, "app_auth=0123456789abcdef; theme=", true),
        (&plain, key, "app_auth=0123456789abcde; theme=", false),
        // What may be a credential stays one.
        (&plain, token, "my_token=", false),
        (&plain, token, "uid=", false),
        (&plain, token, "x_account=", false),
        (&plain, token, "_t=0123456789abcde", false),
        (&named, token, "mine=", false),
    ] {
        let of = |value: &str| {
            let cookie = format!("{cookie}{value}");
            keys(identity, &[header, ("cookie", &cookie)])
        };
        let (one, other) = (of("dark"), of("light"));
        assert_eq!(
            one.principal == other.principal,
            is_told,
            "{header:?} {cookie}"
        );
        assert_ne!(one.view, other.view, "{header:?} {cookie}");
        assert_ne!(one.fingerprint, other.fingerprint, "{header:?} {cookie}");
    }
}

#[test]
fn what_tells_who_calls_stays_a_part_of_the_principal_whatever_its_name() {
    let plain = identity(|_| {});
    for name in [
        "sid",
        "connect.sid",
        "PHPSESSID",
        "koa:sess",
        "__session",
        ".ASPXAUTH",
        "SESS0123456789abcdef",
        "wordpress_logged_in_0a",
        "_app_session",
        "next-auth.session-token",
        "jwt",
    ] {
        for prefix in ["", "__Host-", "__Secure-"] {
            let of = |value: &str| keys(&plain, &[("cookie", &format!("{prefix}{name}={value}"))]);
            let (one, other) = (of("a0123456789abcdef"), of("b0123456789abcdef"));
            assert!(!one.nameless, "{prefix}{name}");
            assert_ne!(one.principal, other.principal, "{prefix}{name}");
        }
    }
}
