use super::super::targets::LISTS;
use super::*;
use crate::ingest::lanes::window::Form;
use crate::template::Path;
use proptest::prelude::*;
use std::collections::HashMap;

/// Members at the top by which a reply speaks of the whole batch.
const NAMES: [&str; 4] = ["ok", "success", "error", "errors"];

/// What the lists of one place say, by looking for each of them in the whole text.
fn gather<'a>(
    text: &'a str,
    places: &Places,
    reader: Reader<'_>,
    ids: &[&str],
) -> Option<HashMap<Cow<'a, str>, Fate>> {
    let list = |place: &Option<Path>| json::elements(json::at(text, &place.as_ref()?.0)?).ok();
    let lists = [
        list(&places.failed),
        list(&places.duplicates),
        list(&places.accepted),
    ];
    if lists.iter().all(Option::is_none) {
        return None;
    }
    let mut fates = HashMap::new();
    for (list, entries) in LISTS.into_iter().zip(lists) {
        for entry in entries.unwrap_or_default() {
            let fate = match list {
                List::Failed => fate_of(entry, reader),
                List::Duplicates => Fate::Done(Outcome::Duplicate),
                List::Accepted => Fate::Done(Outcome::Accepted),
            };
            let is_event = |id: &str| ids.contains(&id).then_some(());
            fates.extend(id_of(entry, reader.results, is_event).map(|(id, _)| (id, fate)));
        }
    }
    Some(fates)
}

type Said = (Option<(Vec<Fate>, usize)>, Vec<Option<String>>);

fn slowly(body: &str, ids: &[&str], reader: Reader<'_>) -> Result<Said, Unreadable> {
    let is_read = match body.as_bytes().first() {
        Some(b'{') => json::Object::parse(body).is_ok(),
        Some(b'[') => json::elements(body).is_ok(),
        _ => true,
    };
    if !is_read {
        return Err(Unreadable);
    }
    let lists = reader
        .results
        .places
        .iter()
        .find_map(|places| gather(body, places, reader, ids));
    let fates = lists.map(|lists| {
        let fates: Vec<_> = ids
            .iter()
            .map(|id| lists.get(*id).cloned().unwrap_or(Fate::Again))
            .collect();
        let known = ids.iter().filter(|id| lists.contains_key(**id)).count();
        (fates, lists.len() - known)
    });
    let object = json::Object::parse(body).unwrap_or_default();
    Ok((
        fates,
        NAMES
            .iter()
            .map(|name| object.get(name).map(str::to_owned))
            .collect(),
    ))
}

fn together(body: &str, ids: &[&str], reader: Reader<'_>) -> Result<Said, Unreadable> {
    let asked = Asked {
        ids: ids.to_vec(),
        form: Form::Batch,
    };
    let scan = Scan::of(body.as_bytes(), &asked, reader)?;
    let says = NAMES
        .iter()
        .map(|name| scan.said(name).map(str::to_owned))
        .collect();
    Ok((scan.fates(&Fate::Again), says))
}

/// Where lists may stand: as they do by default, at the top, in one another's place, and by numbers
/// of entries.
fn all_places() -> Vec<Vec<Places>> {
    let at = |text: &str| Some(Path::parse(text));
    let [none, all] = [
        Places::default(),
        Places {
            accepted: at(""),
            ..Places::default()
        },
    ];
    let odd = Places {
        accepted: at("/errors"),
        duplicates: at("/errors"),
        failed: at("/errors/0"),
    };
    let rows = Places {
        accepted: at("/accepted/1"),
        failed: at(""),
        duplicates: at("/data/failed/0/id"),
    };
    vec![
        Results::default().places,
        vec![all],
        vec![odd.clone()],
        vec![none, rows, odd],
    ]
}

#[track_caller]
fn agree(body: &str) {
    let ids = ["a", "b", "7", "c\"d"];
    let permanent = ["fatal".into()];
    for places in all_places() {
        let results = Results {
            places,
            ..Results::default()
        };
        let reader = Reader {
            results: &results,
            success: None,
            permanent: &permanent,
        };
        let body = body.trim_ascii();
        assert_eq!(
            together(body, &ids, reader),
            slowly(body, &ids, reader),
            "{body} {:?}",
            results.places
        );
    }
}

#[test]
fn lists_read_together_say_of_odd_replies_what_a_look_for_each_says() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for body in [
        r#"{"accepted":["b","a","7","c\"d"]}"#,
        r#"{"accepted":["\u0061", 7, {"id":"b"}, {"clientEventId":7}, {"id":null}, [], null, true, 7.0]}"#,
        r#"{"accepted":["a"],"accepted":["b"]}"#,
        r#"{"accepted":["a"],"accepted":3,"failed":["b"],"f\u0061iled":[{"id":"a","reason":"fatal"}]}"#,
        r#"{"data":{"accepted":["a"]},"data":{"failed":["x","x","y"]}}"#,
        r#"{"data":{"accepted":["a"]},"data":null}"#,
        r#"{"data":{"accepted":["a"],"\ud800":1}}"#,
        r#"{"accepted":["a"],"data":{"\ud800":1},"ok":false}"#,
        r#"{"accepted":["a"],"ok":false,"\ud800":1}"#,
        r#"{"accepted":1e999,"data":{"accepted":["a",1e999,-1e999]}}"#,
        r#"{"failed":[{"id":"a","reason":"fatal"},{"id":"a","reason":"busy"},{"id":"b","reason":"fatal"}]}"#,
        r#"{"errors":[["a",{"id":"b","reason":"fatal"}],"7"],"ok":1,"ok":false}"#,
        r#"{"accepted":["a",["b"]],"data":{"failed":[{"id":["a"]}]}}"#,
        r#"["a",{"id":"b"},7]"#,
        r#"[1e999,"a"]"#,
        r#"{"accepted":["a"]} x"#,
        r#"{"accepted":["a"],}"#,
        r#"{"accepted":["a" "b"]}"#,
        r#"{"accepted":["\x"]}"#,
        "{\"accepted\":[\"a\u{0}\"]}",
        "[",
        "{",
        "3",
        "",
        "nope",
        &deep(64),
        &deep(65),
        &format!(r#"{{"accepted":["a"],"error":{}}}"#, deep(63)),
        &format!(r#"{{"accepted":["a"],"error":{}}}"#, deep(64)),
        &format!(r#"{{"accepted":["a"],"error":{}}}"#, deep(200)),
        &format!(r#"{{"accepted":["a"],"error":"{}"}}"#, "[".repeat(200)),
    ] {
        agree(body);
    }
}

#[test]
fn ids_are_found_in_any_order_and_an_unknown_one_is_counted_once() {
    let ids: Vec<_> = (0..40).map(|number| format!("event-{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let (results, permanent) = (Results::default(), []);
    let reader = Reader {
        results: &results,
        success: None,
        permanent: &permanent,
    };
    let reversed: Vec<_> = ids.iter().rev().copied().chain(["x", "y", "x"]).collect();
    let body = serde_json::json!({ "accepted": reversed, "failed": ["x"] }).to_string();
    let (fates, unknown) = together(&body, &ids, reader).unwrap().0.unwrap();
    assert_eq!(
        (fates, unknown),
        (vec![Fate::Done(Outcome::Accepted); 40], 2)
    );
}

/// Pieces of replies, joined at random.
const PIECES: [&str; 26] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"accepted\"",
    "\"duplicates\"",
    "\"failed\"",
    "\"data\"",
    "\"id\"",
    "\"a\"",
    "\"b\"",
    "7",
    "\"reason\"",
    "\"fatal\"",
    "\"ok\"",
    "false",
    "\"errors\"",
    "\"\\ud800\"",
];

/// JSON with the names that replies have, some of them twice.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop_oneof![
            Just("\"a\""),
            Just("\"b\""),
            Just("\"zzz\""),
            Just("7"),
            Just("false"),
            Just("null"),
            Just("1e999")
        ]
        .prop_map(str::to_owned),
        Just("{\"id\":\"b\",\"reason\":\"fatal\"}".to_owned()),
        Just("{\"id\":\"c\\\"d\",\"id\":\"a\"}".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let name = prop_oneof![
            Just("accepted"),
            Just("duplicates"),
            Just("failed"),
            Just("data"),
            Just("ok"),
            Just("errors"),
            Just("id"),
            Just("f\\u0061iled"),
            Just("\\ud800"),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|all| format!("[{}]", all.join(", "))),
            proptest::collection::vec((name, inner), 0..6).prop_map(|all| {
                let members: Vec<_> = all
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\" : {value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn lists_read_together_say_what_a_look_for_each_says(
        body in document(),
        cut in proptest::option::weighted(0.2, (any::<proptest::sample::Index>(), "[\\]\\[{}\":, x]")),
    ) {
        let mut body = body;
        if let Some((place, byte)) = cut {
            let place = place.index(body.len());
            body.replace_range(place..=place, &byte);
        }
        agree(&body);
    }

    #[test]
    fn pieces_that_seldom_fit_are_read_as_a_look_for_each_list_reads_them(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..24),
    ) {
        agree(&pieces.into_iter().map(|piece| PIECES[piece]).collect::<String>());
    }
}
