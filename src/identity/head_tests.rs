use super::*;
use crate::event::{Carried, Keys, Legacy, Raw};
use crate::identity::{Forbid, Identity, IdentitySettings, Need, Part, Selection};
use crate::peer::Connection;
use crate::template::{Source, Template};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Request;
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn settings() -> IdentitySettings {
    IdentitySettings {
        selection: Selection::built_in(),
        claims: vec![("role".into(), vec!["learner".into()])],
        refresh: None,
        user: Template::parse("{jwt.sub}", &[Source::Jwt]).unwrap(),
        lowercase_user: false,
        require: Vec::new(),
        forbid: vec![Forbid::parse("header:x-forbidden").unwrap()],
        double_submit: Some((
            Part::parse("cookie:csrf").unwrap(),
            Part::parse("header:x-csrf-token").unwrap(),
        )),
        token: vec![Part::parse("header:authorization").unwrap()],
        jwt: None,
        admit: crate::identity::Admit::Optimistic,
        proof_ttl: Duration::from_secs(60),
        cors: None,
    }
}

fn identity(settings: IdentitySettings) -> Identity {
    Identity::new(settings, [7; 32], 100)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000)
}

fn parts(method: &str, headers: &[(&str, String)]) -> Parts {
    let mut request = Request::builder().method(method).uri("/x");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.body(()).unwrap().into_parts().0
}

fn peer(client: &str, host: &str) -> Peer {
    let connection = Connection {
        address: "10.0.0.7:99".parse().unwrap(),
        secure: false,
    };
    Peer {
        host: Some(host.into()),
        client: client.parse().unwrap(),
        ..Peer::new(connection)
    }
}

fn token(claims: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!(
        "Bearer {}.{}.c2ln",
        part("{\"alg\":\"HS256\"}"),
        part(claims)
    )
}

/// Everything that is asked of a head.
type Answers = (
    Keys,
    Option<String>,
    Result<(), NotAnswerable>,
    Vec<u8>,
    Option<SystemTime>,
);

fn ask(identity: &Identity, parts: &Parts, peer: &Peer) -> Answers {
    let caller = identity.caller(parts, peer, now());
    let legacy = Legacy {
        method: "POST",
        path: "/x",
        body: Raw(b"{}"),
    };
    (
        identity.keys(&caller, None),
        identity.claimed(&caller).map(str::to_owned),
        identity.answerable(&caller),
        identity
            .carry(&caller, (true, false), Some(legacy), 10_000)
            .unwrap()
            .to_vec(),
        caller.expires_at(),
    )
}

fn is_recalled(identity: &Identity, parts: &Parts, peer: &Peer) -> Option<bool> {
    let place = identity.heads.find_place(parts, peer);
    identity
        .heads
        .recall(place, parts, peer)
        .map(|recalled| recalled.is_same)
}

fn ask_twice(identity: &Identity, parts: &Parts, peer: &Peer) -> Answers {
    drop(ask(identity, parts, peer));
    ask(identity, parts, peer)
}

#[test]
fn a_head_that_came_twice_is_remembered_and_no_other_taken_for_it() {
    let identity = identity(settings());
    let head = |auth: &str, id: &str, length: &str| {
        parts(
            "POST",
            &[
                ("authorization", auth.into()),
                ("x-request-id", id.into()),
                ("content-length", length.into()),
            ],
        )
    };
    let here = peer("10.0.0.7", "a.test");
    let is_recalled = |parts: &Parts, peer: &Peer| is_recalled(&identity, parts, peer);
    let [ada, eve] = ["ada", "eve"].map(|sub| token(&format!("{{\"sub\":\"{sub}\"}}")));
    let first = head(&ada, "1", "20");
    drop(ask(&identity, &first, &here));
    assert_eq!(is_recalled(&first, &here), None, "once");
    drop(ask(&identity, &first, &here));
    assert_eq!(is_recalled(&first, &here), Some(true));
    assert_eq!(
        is_recalled(&head(&ada, "1", "7"), &here),
        Some(true),
        "another body"
    );
    assert_eq!(
        is_recalled(&head(&ada, "2", "20"), &here),
        Some(false),
        "another id"
    );
    let number = |parts: &Parts| identity.caller(parts, &here, now()).head_number();
    assert!(number(&first).is_some());
    assert_eq!(number(&first), number(&head(&ada, "1", "7")));
    assert_eq!(number(&head(&ada, "2", "20")), None, "another id");
    assert_eq!(is_recalled(&head(&eve, "1", "20"), &here), None);
    assert_eq!(
        is_recalled(&first, &peer("10.0.0.8", "a.test")),
        None,
        "another client"
    );
    assert_eq!(
        is_recalled(&first, &peer("10.0.0.7", "b.test")),
        None,
        "another host"
    );
    let mut get = head(&ada, "1", "20");
    get.method = http::Method::GET;
    assert_eq!(is_recalled(&get, &here), None, "another kind of method");
    let large = parts("POST", &[("x-large", "x".repeat(MAX_REMEMBERED + 1))]);
    let cookies = |count| parts("POST", &[("cookie", vec!["a=b"; count].join("; "))]);
    for (head, is_remembered) in [
        (large, false),
        (cookies(MAX_COOKIES + 1), false),
        (cookies(MAX_COOKIES), true),
    ] {
        drop(ask_twice(&identity, &head, &here));
        assert_eq!(is_recalled(&head, &here).is_some(), is_remembered);
    }
}

#[test]
fn cookies_are_found_where_they_lie_in_whichever_line() {
    let identity = identity(settings());
    let lines = ["a=1; b = two ;odd;c=", "d=\u{e9}; a=2;; =e", "f=x=y"];
    let mut head = parts("POST", &lines.map(|line| ("cookie", line.to_owned())));
    let unreadable = HeaderValue::from_bytes(b"g=\xff").unwrap();
    head.headers.append(header::COOKIE, unreadable);
    let here = peer("10.0.0.7", "a.test");
    let expected = [
        ("a", "1"),
        ("b", "two"),
        ("c", ""),
        ("d", "\u{e9}"),
        ("a", "2"),
        ("", "e"),
        ("f", "x=y"),
    ];
    for _ in 0..3 {
        let caller = identity.caller(&head, &here, now());
        assert!(caller.cookies().eq(expected));
        let found = ["a", "d", "f", "g"].map(|name| caller.cookie(name));
        assert_eq!(found, [Some("1"), Some("\u{e9}"), Some("x=y"), None]);
        let places = expected.len() * size_of::<CookiePlace>();
        assert_eq!(caller.cookie_places_size(), places);
    }
}

#[test]
fn a_tag_that_is_remembered_is_that_of_its_name() {
    let identity = identity(settings());
    let (head, here) = (parts("POST", &[]), peer("10.0.0.7", "a.test"));
    let long = "x".repeat(LONGEST_NAME + 1);
    let few = (0..TAGS + 2).map(|number| format!("t:{number}"));
    let names: Vec<_> = few.chain([long]).collect();
    let caller = identity.caller(&head, &here, now());
    for name in names.iter().chain(names.iter().rev()).chain(&names) {
        assert_eq!(caller.tag(name), Tag::new(name));
        assert_eq!(
            caller.own_tag(|| "uri:a.test\n/x".to_owned()),
            Tag::new("uri:a.test\n/x")
        );
        assert!(caller.said.tags.lock().known.len() <= TAGS);
    }
}

#[test]
fn a_header_that_the_configuration_looks_at_is_not_free() {
    let required = vec![vec![Need::Part(
        Part::parse("header:x-request-id").unwrap(),
    )]];
    let identity = identity(IdentitySettings {
        require: required,
        ..settings()
    });
    let here = peer("10.0.0.7", "a.test");
    let head = |id: &str| parts("POST", &[("x-request-id", id.into())]);
    drop(ask_twice(&identity, &head("1"), &here));
    let is_recalled = |id: &str| is_recalled(&identity, &head(id), &here);
    assert_eq!((is_recalled("1"), is_recalled("")), (Some(true), None));
}

#[test]
fn what_was_learned_of_a_bearer_since_counts_for_a_head_that_is_remembered() {
    let mut selection = Selection::built_in();
    selection.set(&Part::parse("cookie:sid").unwrap(), Kind::Rolling);
    let identity = identity(IdentitySettings {
        selection,
        ..settings()
    });
    let here = peer("10.0.0.7", "a.test");
    let head = |sid: &str| parts("GET", &[("cookie", format!("sid={sid}"))]);
    let [before, next] = ["1", "2"].map(|sid| ask_twice(&identity, &head(sid), &here).0);
    assert_ne!(before.principal, next.principal);
    let set = HeaderValue::from_static("sid=2; Path=/");
    let first = head("1");
    identity.renew(
        &identity.caller(&first, &here, now()),
        [&set].into_iter(),
        true,
    );
    assert_eq!(is_recalled(&identity, &head("2"), &here), Some(true));
    assert_eq!(
        ask(&identity, &head("2"), &here).0.principal,
        before.principal
    );
}

/// Headers of which some count, some are free, and some change what may be answered.
fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let one = prop_oneof![
        prop_oneof![Just("ada"), Just("eve")]
            .prop_map(|sub| ("authorization", token(&format!("{{\"sub\":\"{sub}\"}}")))),
        Just((
            "authorization",
            token("{\"sub\":\"ada\",\"role\":\"guest\",\"exp\":2000}")
        )),
        Just(("authorization", token("{\"sub\":\"ada\",\"exp\":900}"))),
        Just(("authorization", "Basic YTpi".to_owned())),
        "[ab]".prop_map(|value| ("x-csrf-token", value)),
        "(csrf=[ab]|sid=[12]|_ga=[12])(; (csrf=[ab]|sid=[12]|_ga=[12])){0,2}"
            .prop_map(|line| ("cookie", line)),
        "[12]".prop_map(|value| ("x-request-id", value)),
        "[12]".prop_map(|value| ("content-length", value)),
        "(https://a\\.test|https://evil\\.test)".prop_map(|value| ("origin", value)),
        "(de|en)".prop_map(|value| ("accept-language", value)),
        "(|x)".prop_map(|value| ("x-forbidden", value)),
        "(one|two)".prop_map(|value| ("x-unknown", value)),
        Just(("dpop", "proof".to_owned())),
    ];
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_remembered_head_says_what_the_call_itself_says(
        calls in proptest::collection::vec((headers(), any::<bool>(), prop_oneof![Just("a.test"), Just("b.test")]), 1..5),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 12),
        listed in any::<bool>(),
    ) {
        let settings = || IdentitySettings {
            selection: if listed {
                Selection::listed(&[Part::parse("cookie:sid").unwrap()])
            } else {
                Selection::built_in()
            },
            ..settings()
        };
        let remembering = identity(settings());
        for place in order {
            let (headers, is_unsafe, host) = &calls[place.index(calls.len())];
            let (head, here) = (parts(if *is_unsafe { "POST" } else { "GET" }, headers), peer("10.0.0.7", host));
            let found = ask(&remembering, &head, &here);
            prop_assert_eq!(&found, &ask(&identity(settings()), &head, &here));
            prop_assert!(Carried::unpack(&found.3).is_some_and(|carried| carried.claimed && carried.legacy.is_some()));
        }
    }
}
