use super::*;
use crate::event::Fingerprint;
use crate::peer::Connection;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Request;
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

fn settings() -> IdentitySettings {
    let part = |text| Part::parse(text).unwrap();
    IdentitySettings {
        selection: Selection::listed(
            &[
                "header:authorization",
                "cookie:access_token",
                "cookie:csrf_token",
                "header:x-org-id",
            ]
            .map(part),
        ),
        claims: Vec::new(),
        refresh: None,
        user: Template::parse("{jwt.userId}", &[Source::Jwt]).unwrap(),
        lowercase_user: false,
        require: vec![vec![Need::Part(part("cookie:csrf_token"))], vec![Need::Jwt]],
        forbid: vec![Forbid::parse("header:x-user-role unless header:authorization").unwrap()],
        double_submit: Some((part("cookie:csrf_token"), part("header:x-csrf-token"))),
        token: ["header:authorization", "cookie:access_token"]
            .map(part)
            .to_vec(),
        jwt: None,
        admit: Admit::Optimistic,
        proof_ttl: Duration::from_secs(60),
        cors: Some(Cors {
            origins: vec!["https://app.test".into()],
            credentials: true,
            expose: vec!["X-Request-Id".into()],
        }),
    }
}

fn identity() -> Identity {
    Identity::new(settings(), [7; 32], 100)
}

static PEER: LazyLock<Peer> = LazyLock::new(|| {
    let connection = Connection {
        address: "10.0.0.7:99".parse().unwrap(),
        secure: false,
    };
    Peer {
        host: Some("app.test".into()),
        ..Peer::new(connection)
    }
});

fn print_of(identity: &Identity, parts: &Parts) -> Fingerprint {
    identity
        .keys(&identity.caller(parts, &PEER, now()), None)
        .fingerprint
}

fn jwt(claims: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode("{\"alg\":\"HS256\"}"), encode(claims))
}

fn parts(method: Method, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder()
        .method(method)
        .uri("/x?userId=a%20b&user_id=c");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000)
}

#[test]
fn only_a_call_with_everything_the_application_checks_first_is_answered() {
    let good = format!("Bearer {}", jwt("{\"userId\":\"u\",\"exp\":1001}"));
    let old = format!("bearer {}", jwt("{\"userId\":\"u\",\"exp\":1000}"));
    let cookie_token = format!("csrf_token=t; access_token={}", jwt("{\"userId\":\"u\"}"));
    let base = [("cookie", "csrf_token=t"), ("x-csrf-token", "t")];
    let with = |more: &[(&'static str, String)]| {
        base.iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain(more.iter().cloned())
            .collect::<Vec<_>>()
    };
    let cases: Vec<(&str, Vec<(&str, String)>, Result<(), NotAnswerable>)> = vec![
        (
            "all there",
            with(&[("authorization", good.clone())]),
            Ok(()),
        ),
        (
            "expired",
            with(&[("authorization", old)]),
            Err(NotAnswerable::ExpiredToken),
        ),
        ("no token", with(&[]), Err(NotAnswerable::Requirement)),
        (
            "no JWT",
            with(&[("authorization", "Bearer not-a-token".into())]),
            Err(NotAnswerable::Requirement),
        ),
        (
            "allowed origin",
            with(&[
                ("authorization", good.clone()),
                ("origin", "https://APP.test".into()),
            ]),
            Ok(()),
        ),
        (
            "other origin",
            with(&[
                ("authorization", good.clone()),
                ("origin", "https://evil.test".into()),
            ]),
            Err(NotAnswerable::Origin),
        ),
        (
            "null origin",
            with(&[("authorization", good.clone()), ("origin", "null".into())]),
            Err(NotAnswerable::Origin),
        ),
        (
            "no cookie",
            vec![
                ("authorization", good.clone()),
                ("x-csrf-token", "t".into()),
            ],
            Err(NotAnswerable::Requirement),
        ),
        (
            "no header",
            vec![
                ("authorization", good.clone()),
                ("cookie", "csrf_token=t".into()),
            ],
            Err(NotAnswerable::DoubleSubmit),
        ),
        (
            "pair differs",
            vec![
                ("authorization", good.clone()),
                ("cookie", "csrf_token=a".into()),
                ("x-csrf-token", "b".into()),
            ],
            Err(NotAnswerable::DoubleSubmit),
        ),
        (
            "cookie token",
            vec![
                ("cookie", cookie_token.clone()),
                ("x-csrf-token", "t".into()),
            ],
            Ok(()),
        ),
        (
            "other scheme, cookie token",
            vec![
                ("authorization", "Basic eA==".into()),
                ("cookie", cookie_token.clone()),
                ("x-csrf-token", "t".into()),
            ],
            Err(NotAnswerable::SeveralTokens),
        ),
        (
            "bad bearer, cookie token",
            vec![
                ("authorization", "Bearer x".into()),
                ("cookie", cookie_token),
                ("x-csrf-token", "t".into()),
            ],
            Err(NotAnswerable::SeveralTokens),
        ),
    ];
    for (name, headers, wanted) in cases {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let parts = parts(Method::POST, &headers);
        let identity = identity();
        assert_eq!(
            identity.answerable(&identity.caller(&parts, &PEER, now())),
            wanted,
            "{name}"
        );
    }
}

#[test]
fn a_token_that_names_another_user_succeeds_nobody() {
    let identity = identity();
    let token = |name: &str, number: u8| jwt(&format!("{{\"userId\":\"{name}\",\"n\":{number}}}"));
    for (next, number, wanted) in [
        ("ada", 2, "Successor"),
        ("ada", 1, "SameName"),
        ("bob", 2, "None"),
    ] {
        let line = format!("access_token={}", token("ada", 1));
        let parts = parts(Method::GET, &[("cookie", &*line)]);
        let set =
            HeaderValue::try_from(format!("access_token={}; Path=/", token(next, number))).unwrap();
        let caller = identity.caller(&parts, &PEER, now());
        let renewal = format!("{:?}", identity.renew(&caller, [&set].into_iter(), true));
        assert!(renewal.starts_with(wanted), "{next} {number}: {renewal}");
    }
}

#[test]
fn a_read_needs_no_double_submit() {
    let token = format!("Bearer {}", jwt("{}"));
    let parts = parts(
        Method::GET,
        &[("cookie", "csrf_token=t"), ("authorization", &token)],
    );
    assert_eq!(
        identity().answerable(&identity().caller(&parts, &PEER, now())),
        Ok(())
    );
}

#[test]
fn the_context_holds_its_listed_parts_and_nothing_else() {
    let parts = parts(
        Method::POST,
        &[
            ("cookie", "session=secret; csrf_token=c; access_token=a"),
            ("authorization", "Bearer x"),
            ("x-api-key", "k"),
        ],
    );
    let identity = identity();
    let caller = identity.caller(&parts, &PEER, now());
    let context = identity
        .read(&caller, None)
        .context(&caller, identity.keys(&caller, None));
    let said = context.said();
    assert_eq!(
        said.headers,
        [("authorization", crate::event::Raw(b"Bearer x"))]
    );
    assert_eq!(said.cookies, ["csrf_token=c", "access_token=a"]);
    assert_eq!(said.host, Some("app.test"));
    assert!(
        !format!("{context:?} {:?}", said.header_map(0)).contains("Bearer x"),
        "values are never printed"
    );
}

#[test]
fn the_cors_echo_is_for_this_request() {
    let identity = identity();
    let shown = |origin: &[(&str, &str)]| {
        let parts = parts(Method::POST, origin);
        identity
            .cors_headers(&parts.headers)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let base = [
        "vary: Origin",
        "access-control-allow-credentials: true",
        "access-control-expose-headers: X-Request-Id",
    ];
    assert_eq!(shown(&[]), base);
    assert_eq!(shown(&[("origin", "https://evil.test")]), base);
    assert_eq!(
        shown(&[("origin", "https://App.Test")]).last().unwrap(),
        "access-control-allow-origin: https://app.test"
    );
}

#[test]
fn query_parameters_are_decoded() {
    let parts = parts(Method::GET, &[]);
    let identity = identity();
    let caller = identity.caller(&parts, &PEER, now());
    assert_eq!(caller.query("userId").as_deref(), Some("a b"));
    assert_eq!(caller.query("none"), None);
}

type Lines = Vec<(usize, String)>;
const NAMES: [&str; 5] = [
    "authorization",
    "cookie-a",
    "cookie-c",
    "x-org-id",
    "x-other",
];

fn request_of(lines: &Lines) -> Parts {
    let lines: Vec<(&str, String)> = lines
        .iter()
        .map(|(index, value)| match NAMES[*index] {
            "cookie-a" => ("cookie", format!("access_token={value}")),
            "cookie-c" => ("cookie", format!("csrf_token={value}")),
            name => (name, value.clone()),
        })
        .collect();
    let lines: Vec<_> = lines
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    parts(Method::POST, &lines)
}

/// What the listed parts of a request are, spelled out.
fn listed(lines: &Lines) -> Vec<Vec<String>> {
    (0..4)
        .map(|index| {
            lines
                .iter()
                .filter(|(found, _)| *found == index)
                .map(|(_, value)| value.clone())
                .collect()
        })
        .collect()
}

proptest! {
    #[test]
    fn fingerprints_are_equal_exactly_when_the_listed_parts_are(
        first in proptest::collection::vec((0usize..5, "[ab]{0,2}"), 0..6),
        second in proptest::collection::vec((0usize..5, "[ab]{0,2}"), 0..6),
    ) {
        let identity = identity();
        let print = |lines: &Lines| print_of(&identity, &request_of(lines));
        prop_assert_eq!(print(&first) == print(&second), listed(&first) == listed(&second));
    }
}

#[test]
fn a_cookie_counts_however_its_name_is_spaced() {
    let identity = identity();
    let token = jwt("{\"sub\":\"u\"}");
    let print = |pair: String| {
        let head = parts(Method::GET, &[("cookie", &pair)]);
        let caller = identity.caller(&head, &PEER, now());
        assert!(caller.has_jwt(), "{pair}");
        let keys = identity.keys(&caller, None);
        assert!(!keys.nameless, "{pair}");
        keys.fingerprint
    };
    let other = jwt("{\"sub\":\"v\"}");
    for space in ["", " ", "\t"] {
        assert_ne!(
            print(format!("access_token{space}={token}")),
            print(format!("access_token{space}={other}"))
        );
    }
}

#[test]
fn a_forbidden_part_is_the_applications_to_judge_unless_its_companion_is_there() {
    let identity = identity();
    let token = jwt("{\"sub\":\"u\"}");
    let call = |more: &[(&str, &str)]| {
        let cookie = format!("csrf_token=c; access_token={token}");
        let mut all = vec![("cookie", cookie.as_str()), ("x-csrf-token", "c")];
        all.extend_from_slice(more);
        let head = parts(Method::POST, &all);
        identity.answerable(&identity.caller(&head, &PEER, UNIX_EPOCH))
    };
    assert_eq!(call(&[]), Ok(()));
    assert_eq!(
        call(&[("x-user-role", "admin")]),
        Err(NotAnswerable::Forbidden)
    );
    let bearer = format!("Bearer {token}");
    assert_eq!(
        call(&[("x-user-role", "admin"), ("authorization", &bearer)]),
        Ok(())
    );
}

#[test]
fn cookies_with_other_letters_are_told_apart_and_odd_ones_are_not_answered_for() {
    let identity = identity();
    let print = |cookie: &str| {
        let head = parts(Method::GET, &[("cookie", cookie)]);
        print_of(&identity, &head)
    };
    assert_ne!(
        print("access_token=ALICE; name=José"),
        print("access_token=BOB; name=Zoë")
    );
    let odd = |token: &str| {
        let mut odd_parts = parts(Method::GET, &[]);
        let line = [
            b"csrf_token=c; access_token=",
            token.as_bytes(),
            b"; x=\xff",
        ]
        .concat();
        odd_parts
            .headers
            .insert("cookie", http::HeaderValue::from_bytes(&line).unwrap());
        let caller = identity.caller(&odd_parts, &PEER, UNIX_EPOCH);
        (
            identity.keys(&caller, None).fingerprint,
            identity.answerable(&caller),
        )
    };
    let (alice, bob) = (odd("ALICE"), odd("BOB"));
    assert_ne!(alice.0, bob.0);
    assert_eq!(alice.1, Err(NotAnswerable::OddCookies));
}

#[test]
fn a_pair_that_decoders_may_read_differently_is_the_applications_to_compare() {
    let identity = identity();
    let token = jwt("{\"sub\":\"u\"}");
    for (cookie, sent) in [("%41", "%41"), ("\"c\"", "\"c\"")] {
        let line = format!("csrf_token={cookie}; access_token={token}");
        let head = parts(Method::POST, &[("cookie", &*line), ("x-csrf-token", sent)]);
        let found = identity.answerable(&identity.caller(&head, &PEER, UNIX_EPOCH));
        assert_eq!(found, Err(NotAnswerable::DoubleSubmit), "{cookie}");
    }
    let line = format!("csrf_token=c; access_token={}", jwt("{\"exp\":\"1\"}"));
    let head = parts(Method::POST, &[("cookie", &*line), ("x-csrf-token", "c")]);
    let found = identity.answerable(&identity.caller(&head, &PEER, UNIX_EPOCH));
    assert_eq!(
        found,
        Err(NotAnswerable::ExpiredToken),
        "an exp that is no number"
    );
}

#[test]
fn a_token_beside_an_authorization_of_another_form_claims_nothing() {
    let identity = identity();
    let cookie = format!("access_token={}", jwt("{\"userId\":\"victim\"}"));
    let bearer = format!("Bearer {}", jwt("{\"userId\":\"victim\"}"));
    let claimed = |lines: &[&str], cookie: &str| {
        let lines = lines.iter().map(|line| ("authorization", *line));
        let headers: Vec<_> = lines.chain([("cookie", cookie)]).collect();
        let parts = parts(Method::POST, &headers);
        identity
            .claimed(&identity.caller(&parts, &PEER, now()))
            .map(str::to_owned)
    };
    for lines in [
        &["Token x"][..],
        &["Bearer\tx"],
        &["Bearer"],
        &["Basic x", "Basic y"],
        &["bearerx"],
    ] {
        assert_eq!(claimed(lines, &cookie), None, "{lines:?}");
    }
    for lines in [
        [bearer.as_str(), "Basic x"],
        ["Basic x", bearer.as_str()],
        [&bearer, &bearer],
    ] {
        assert_eq!(
            claimed(&lines, "a=b"),
            None,
            "{lines:?}: any of the lines may be what is read"
        );
    }
    for (lines, cookie) in [
        (&[][..], &*cookie),
        (&[""], &cookie),
        (&[&*bearer], &cookie),
        (&[&*bearer], "a=b"),
    ] {
        assert_eq!(
            claimed(lines, cookie).as_deref(),
            Some("victim"),
            "{lines:?}"
        );
    }
}

#[test]
fn a_body_without_a_type_counts_unless_a_page_of_another_site_sends_it() {
    let identity = identity();
    for (headers, wanted) in [
        (&[][..], true),
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("sec-fetch-site", "none")], true),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("origin", "https://app.test")], true),
        (&[("origin", "https://evil.test")], false),
        (&[("origin", "null")], false),
    ] {
        let parts = parts(Method::POST, headers);
        assert_eq!(
            identity.is_asked_for(&identity.caller(&parts, &PEER, now()), ""),
            wanted,
            "{headers:?}"
        );
    }
}
