use super::*;
use crate::json::Object;
use proptest::prelude::*;
use serde_json::Value;
use std::borrow::Cow;

const ALL: [Source; 5] = [
    Source::Body,
    Source::Query,
    Source::NowMs,
    Source::Uuid,
    Source::Jwt,
];

struct Fixed<'a>(Object<'a>);

impl Lookup for Fixed<'_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Body => self.0.at(path).map(Found::Json),
            Source::Query => (&*path[0] == "q").then_some(Found::Text(Cow::Borrowed("a\"b"))),
            Source::NowMs => Some(Found::Json("17")),
            _ => None,
        }
    }
}

fn fixed() -> Fixed<'static> {
    Fixed(Object::parse(r#"{"a":1.50,"n":null,"e":"","s":"x\"y","o":{"k":[true]}}"#).unwrap())
}

fn text(template: &str) -> Option<String> {
    Template::parse(template, &ALL).unwrap().render(&fixed())
}

fn document(value: Value) -> Option<String> {
    let mut out = String::new();
    let written = JsonTemplate::from_json(&value, &ALL)
        .unwrap()
        .write(&fixed(), &mut out);
    assert!(
        written || out.is_empty(),
        "what finds nothing writes nothing"
    );
    written.then_some(out)
}

#[test]
fn text_templates_take_the_first_alternative_that_finds_something() {
    let cases = [
        ("u:{body.a}", Some("u:1.50")),
        ("{body.x|body.n|body.s}", Some("x\"y")),
        ("{body.x|'none | of {it}'}", Some("none | of {it}")),
        ("{{{body.a}}}", Some("{1.50}")),
        ("{query.q}-{now.ms}", Some("a\"b-17")),
        ("{body.e}", Some("")),
        ("{body.n}", None),
        ("{body.o}", None),
        ("{body.o.k.0}", Some("true")),
        ("plain", Some("plain")),
    ];
    for (template, wanted) in cases {
        assert_eq!(text(template).as_deref(), wanted, "{template}");
    }
}

#[test]
fn a_whole_placeholder_keeps_its_json_type_and_is_left_out_without_a_match() {
    let template = serde_json::json!({ "a": "{body.a}", "gone": "{body.x}", "nil": "{body.x|null}", "t": "{query.q}",
        "o": "{body.o}", "list": ["{body.x}", "{body.a}", 3], "m": "v{body.a}", "mx": "v{body.x}", "zero": "{body.x|0}" });
    let wanted =
        r#"{"a":1.50,"nil":null,"t":"a\"b","o":{"k":[true]},"list":[1.50,3],"m":"v1.50","zero":0}"#;
    let sorted = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let found = document(template).unwrap();
    assert_eq!(sorted(&found), sorted(wanted));
    assert!(found.contains("1.50"), "numbers keep their digits: {found}");
}

#[test]
fn a_wrong_template_says_where_and_what_is_allowed() {
    let cases = [
        ("ab{body.a", "at character 3: a brace"),
        ("a}b", "at character 2: a brace"),
        ("{bodi.a}", "found \"bodi.a\"; allowed are body, query"),
        ("{header.x}", "found \"header.x\""),
        ("{query}", "found \"query\""),
        ("{body..a}", "found \"body..a\""),
        ("{}", "found \"\""),
        ("{uuid.x}", "found \"uuid.x\""),
    ];
    for (template, wanted) in cases {
        let error = Template::parse(template, &ALL).unwrap_err().to_string();
        assert!(error.contains(wanted), "{template}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in ".{0,60}") {
        if let Ok(template) = Template::parse(&text, &ALL) {
            drop(template.render(&fixed()));
            prop_assert_eq!(template.source(), text);
        }
    }

    #[test]
    fn text_without_braces_renders_as_itself(text in "[^{}]{0,60}") {
        prop_assert_eq!(Template::parse(&text, &ALL).unwrap().render(&fixed()), Some(text));
    }

    #[test]
    fn whatever_is_written_is_json(texts in proptest::collection::vec("(\\{body\\.[aneosx]\\}|[ -~&&[^{}]]|\\{query\\.q\\}){0,6}", 0..6)) {
        let value = Value::Array(texts.into_iter().map(Value::String).collect());
        if let Ok(template) = JsonTemplate::from_json(&value, &ALL) {
            let mut out = String::new();
            template.write(&fixed(), &mut out);
            prop_assert!(serde_json::from_str::<Value>(&out).is_ok());
        }
    }

    #[test]
    fn raw_json_passes_through_byte_for_byte(number in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
        let text = format!("{{\"v\":{number}}}");
        let lookup = Fixed(Object::parse(&text).unwrap());
        let mut out = String::new();
        JsonTemplate::from_json(&Value::String("{body.v}".into()), &ALL).unwrap().write(&lookup, &mut out);
        prop_assert_eq!(out, number);
    }
}
