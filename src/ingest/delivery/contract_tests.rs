use super::*;
use crate::event::{Keys, Raw, Said};
use crate::identity::{Admit, IdentitySettings, Part, Selection};
use crate::template::JsonTemplate;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// As long as any batch's id.
const ID: &str = "0197a1d2-0000-7000-8000-000000000001";

fn identity() -> Identity {
    let settings = IdentitySettings {
        selection: Selection::listed(&[Part::parse("header:x-org").unwrap()]),
        claims: Vec::new(),
        refresh: None,
        user: crate::template::Template::default(),
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

#[test]
fn the_envelope_is_as_long_as_the_window_counts_it() {
    let events: [&[u8]; 3] = [b"{}", b"{\"a\":1}", b"{}"];
    let identity = identity();
    let said = Said {
        headers: vec![("x-org", Raw(b"acme \"1\""))],
        ..Said::default()
    };
    let context = Context::new(Keys::of(Fingerprint([1; 16])), &said);
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let sources = [
        Source::Events,
        Source::Header,
        Source::User,
        Source::NowIso,
        Source::NowMs,
        Source::Uuid,
        Source::Batch,
    ];
    let document =
        |value: Value| Envelope::Document(JsonTemplate::from_json(&value, &sources).unwrap());
    let cases = [
        (Envelope::Plain, "{\"events\":[{},{\"a\":1},{}]}"),
        (document(json!("{events}")), "[{},{\"a\":1},{}]"),
        (
            document(
                json!({ "org_id": "{header.x-org}", "none": "{header.x-none}", "source": "tidegate", "rows": "{events}" }),
            ),
            "{\"org_id\":\"acme \\\"1\\\"\",\"rows\":[{},{\"a\":1},{}],\"source\":\"tidegate\"}",
        ),
        (
            document(json!({ "u": "{user}", "at": "{now.iso}", "e": "{events}" })),
            "{\"at\":\"2023-11-14T22:13:20.000Z\",\"e\":[{},{\"a\":1},{}],\"u\":\"ada\"}",
        ),
        (
            document(
                json!({ "at": "{now.ms}", "e": "{events}", "id": "{batch.id}", "key": "{uuid}" }),
            ),
            "{\"at\":1700000000000,\"e\":[{},{\"a\":1},{}],\"id\":\"0197a1d2-0000-7000-8000-000000000001\",\"key\":\"0197a1d2-0000-7000-8000-000000000001\"}",
        ),
    ];
    for (envelope, wanted) in cases {
        let head = Head::of(&context);
        let scope = BatchScope::new(&identity, Some(&head), Some("ada"), ID, now);
        let body = envelope.wrap(events.into_iter(), scope);
        assert_eq!(String::from_utf8_lossy(&body), wanted);
        if let Envelope::Plain = envelope {
            assert!(
                body.capacity() <= body.len() + 1,
                "one piece of memory, of a size known before"
            );
        }
        let counted = envelope.overhead(&identity, &context, "ada", now);
        assert_eq!(
            body.len(),
            counted + events.iter().map(|event| event.len()).sum::<usize>() + 2
        );
    }
}

#[test]
fn a_batch_of_two_credentials_is_refused_by_the_assembler() {
    let context = |byte: u8, value: &'static str| {
        let said = Said {
            headers: vec![("authorization", Raw(value.as_bytes()))],
            ..Said::default()
        };
        Arc::new(Context::new(Keys::of(Fingerprint([byte; 16])), &said))
    };
    let (mine, same, other) = (context(1, "a"), context(1, "a"), context(2, "b"));
    let collided = context(1, "b");
    let lane = mine.keys.fingerprint;
    assert!(one_context(lane, [&mine, &same].into_iter()).is_ok());
    assert!(one_context(lane, [&mine, &other].into_iter()).is_err());
    assert!(one_context(lane, [&mine, &collided].into_iter()).is_err());
    assert!(one_context(lane, [&other].into_iter()).is_err());
    assert!(one_context(lane, std::iter::empty()).is_err());
}
