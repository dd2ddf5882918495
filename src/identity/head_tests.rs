use super::*;
use crate::event::{Carried, Keys, Legacy, Raw};
use crate::identity::{Forbid, Identity, IdentitySettings, Need, Part, Selection};
use crate::peer::{Connection, Memory};
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
        double_submit: Some((Part::parse("cookie:csrf").unwrap(), Part::parse("header:x-csrf-token").unwrap())),
        token: vec![Part::parse("header:authorization").unwrap()],
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

fn peer(client: &str, host: &str, memory: &Memory) -> Peer {
    let connection = Connection { address: "10.0.0.7:99".parse().unwrap(), secure: false };
    let client = client.parse().unwrap();
    Peer { host: Some(host.into()), client, memory: memory.clone(), ..Peer::new(connection) }
}

fn token(claims: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("Bearer {}.{}.c2ln", part("{\"alg\":\"HS256\"}"), part(claims))
}

/// Everything that is asked of a head.
type Answers = (Keys, Option<String>, Result<(), NotAnswerable>, Vec<u8>, Option<SystemTime>);

fn ask(identity: &Identity, parts: &Parts, peer: &Peer) -> Answers {
    let caller = identity.caller(parts, peer, now());
    let legacy = Legacy { method: "POST", path: "/x", body: Raw(b"{}") };
    (
        identity.keys(&caller, None),
        identity.claimed(&caller).map(str::to_owned),
        identity.answerable(&caller),
        identity.carry(&caller, (true, false), Some(legacy), 10_000).unwrap().to_vec(),
        caller.expires_at(),
    )
}

fn is_recalled(parts: &Parts, peer: &Peer) -> Option<bool> {
    recall(parts, peer).map(|recalled| recalled.is_same)
}

#[test]
fn a_connection_remembers_the_head_of_its_last_call_and_takes_no_other_for_it() {
    let (identity, memory) = (identity(settings()), Memory::new());
    let head = |auth: &str, id: &str, length: &str| {
        parts("POST", &[("authorization", auth.into()), ("x-request-id", id.into()), ("content-length", length.into())])
    };
    let here = peer("10.0.0.7", "a.test", &memory);
    let first = head(&token("{\"sub\":\"ada\"}"), "1", "20");
    assert_eq!(is_recalled(&first, &here), None);
    drop(ask(&identity, &first, &here));
    assert_eq!(is_recalled(&first, &here), Some(true));
    assert_eq!(is_recalled(&head(&token("{\"sub\":\"ada\"}"), "1", "7"), &here), Some(true), "another body");
    assert_eq!(is_recalled(&head(&token("{\"sub\":\"ada\"}"), "2", "20"), &here), Some(false), "another id");
    assert_eq!(is_recalled(&head(&token("{\"sub\":\"eve\"}"), "1", "20"), &here), None);
    assert_eq!(is_recalled(&first, &peer("10.0.0.8", "a.test", &memory)), None, "another client");
    assert_eq!(is_recalled(&first, &peer("10.0.0.7", "b.test", &memory)), None, "another host");
    assert_eq!(is_recalled(&first, &peer("10.0.0.7", "a.test", &Memory::new())), None, "another connection");
    let read = parts("GET", &[("accept", "*/*".into())]);
    drop(ask(&identity, &read, &here));
    assert_eq!((is_recalled(&read, &here), is_recalled(&first, &here)), (Some(true), Some(true)), "one of each");
    let large = parts("POST", &[("x-large", "x".repeat(MAX_REMEMBERED + 1))]);
    drop(ask(&identity, &large, &here));
    assert_eq!((is_recalled(&large, &here), is_recalled(&first, &here)), (None, Some(true)));
}

#[test]
fn a_header_that_the_configuration_looks_at_is_not_free() {
    let required = vec![vec![Need::Part(Part::parse("header:x-request-id").unwrap())]];
    let (identity, memory) = (identity(IdentitySettings { require: required, ..settings() }), Memory::new());
    let here = peer("10.0.0.7", "a.test", &memory);
    let head = |id: &str| parts("POST", &[("x-request-id", id.into())]);
    drop(ask(&identity, &head("1"), &here));
    assert_eq!((is_recalled(&head("1"), &here), is_recalled(&head(""), &here)), (Some(true), None));
}

#[test]
fn what_was_learned_of_a_bearer_since_counts_for_a_head_that_is_remembered() {
    let mut selection = Selection::built_in();
    selection.set(&Part::parse("cookie:sid").unwrap(), Kind::Rolling);
    let (identity, memory) = (identity(IdentitySettings { selection, ..settings() }), Memory::new());
    let (here, other) = (peer("10.0.0.7", "a.test", &memory), peer("10.0.0.7", "a.test", &Memory::new()));
    let head = |sid: &str| parts("GET", &[("cookie", format!("sid={sid}"))]);
    let (before, next) = (ask(&identity, &head("1"), &other).0, ask(&identity, &head("2"), &here).0);
    assert_ne!(before.principal, next.principal);
    let set = HeaderValue::from_static("sid=2; Path=/");
    let first = head("1");
    identity.renew(&identity.caller(&first, &other, now()), [&set].into_iter(), true);
    assert_eq!(is_recalled(&head("2"), &here), Some(true));
    assert_eq!(ask(&identity, &head("2"), &here).0.principal, before.principal);
}

/// Headers of which some count, some are free, and some change what may be answered.
fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let one = prop_oneof![
        prop_oneof![Just("ada"), Just("eve")]
            .prop_map(|sub| ("authorization", token(&format!("{{\"sub\":\"{sub}\"}}")))),
        Just(("authorization", token("{\"sub\":\"ada\",\"role\":\"guest\",\"exp\":2000}"))),
        Just(("authorization", token("{\"sub\":\"ada\",\"exp\":900}"))),
        Just(("authorization", "Basic YTpi".to_owned())),
        "[ab]".prop_map(|value| ("x-csrf-token", value)),
        "(csrf=[ab]|sid=[12]|_ga=[12])(; (csrf=[ab]|sid=[12]|_ga=[12])){0,2}".prop_map(|line| ("cookie", line)),
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
        repeats in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let (identity, memory) = (identity(settings()), Memory::new());
        let mut last = None;
        for (call, repeat) in calls.into_iter().zip(repeats) {
            let (headers, is_unsafe, host) = match &last {
                Some(last) if repeat => Clone::clone(last),
                _ => call,
            };
            let head = parts(if is_unsafe { "POST" } else { "GET" }, &headers);
            let [remembering, forgetful] = [memory.clone(), Memory::default()].map(|one| peer("10.0.0.7", host, &one));
            let found = ask(&identity, &head, &remembering);
            prop_assert_eq!(&found, &ask(&identity, &head, &forgetful));
            prop_assert!(Carried::unpack(&found.3).is_some_and(|carried| carried.claimed && carried.legacy.is_some()));
            last = Some((headers, is_unsafe, host));
        }
    }
}
