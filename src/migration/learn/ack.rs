//! The acknowledgement that a route's answers show: what of them repeats the call, is the same in
//! all, or is a time or an id; and what can't be known.

use super::exchange::Content;
use super::leaves::Steps;
use super::made;
use super::private::Private;
use super::repeats::{Place, places_of};
use super::routes::Call;
use crate::migration::words::{is_field_name, is_iso_time, is_word, plain_name};
use serde_json::{Map, Value, json};

/// How deep is looked.
const DEEPEST: usize = 6;

/// A line of the acknowledgement's body.
#[derive(Debug)]
pub(super) struct Line {
    /// Empty: the whole body.
    pub(super) steps: Steps,
    pub(super) value: Value,
    /// Answers that it is true of.
    pub(super) holds: usize,
    /// Why it can't be known; then `value` only has the right type.
    pub(super) doubt: Option<&'static str>,
}

/// What the answers of a route have in common.
#[derive(Debug, Default)]
pub(super) struct Ack {
    pub(super) status: u16,
    /// Answers that it rests on.
    pub(super) answers: usize,
    /// Answers of another success than `status`.
    pub(super) others: usize,
    /// Without one there is no body, or none that can be said.
    pub(super) body: Vec<Line>,
    pub(super) headers: Vec<(String, String)>,
    /// What the answers to repetitions have besides.
    pub(super) duplicate: Map<String, Value>,
    /// Calls that repeat an earlier one's id.
    pub(super) repetitions: usize,
    /// What is to be said of the body as a whole.
    pub(super) doubt: Option<&'static str>,
}

/// `repeats`: which calls have an id that an earlier call had.
pub(super) fn propose_ack(calls: &[Call<'_>], repeats: &[bool], private: &Private) -> Ack {
    let good: Vec<_> = calls
        .iter()
        .zip(repeats)
        .filter(|(call, _)| call.exchange.succeeded())
        .collect();
    let Some(status) = most_common(good.iter().map(|(call, _)| call.exchange.status)) else {
        return Ack::default();
    };
    let of = |repeated: bool| -> Vec<&Call<'_>> {
        good.iter()
            .filter(|(call, repeat)| call.exchange.status == status && **repeat == repeated)
            .map(|(call, _)| *call)
            .collect()
    };
    let (first, again) = (of(false), of(true));
    let mut ack = Ack {
        status,
        answers: first.len(),
        others: good.len() - first.len() - again.len(),
        headers: common_headers(&first, private),
        repetitions: again.len(),
        ..Ack::default()
    };
    if first
        .iter()
        .all(|call| call.exchange.answer == Content::Empty)
    {
        ack.doubt = (status != 204 && status != 205)
            .then_some("the answers have no body, and Tidegate's have one");
        return ack;
    }
    if first.iter().any(|call| call.answer.is_none()) {
        let missing = |call: &&Call<'_>| matches!(call.exchange.answer, Content::Missing);
        let large = |call: &&Call<'_>| matches!(call.exchange.answer, Content::Large);
        ack.doubt = Some(if first.iter().any(missing) {
            "bodies of answers are missing"
        } else if first.iter().any(large) {
            "answers are too large to be looked into"
        } else {
            "not all answers are JSON, and Tidegate's are"
        });
        return ack;
    }
    let places = places_of(calls, private);
    let answers = first.iter().map(|call| call.answer.as_ref()).collect();
    let search = Search {
        calls: first,
        places,
        private,
    };
    search.walk(&mut Vec::new(), answers, &mut ack.body);
    ack.duplicate = search.additions(&again);
    ack
}

fn most_common(all: impl Iterator<Item = u16> + Clone) -> Option<u16> {
    let count = |wanted: u16| all.clone().filter(|status| *status == wanted).count();
    all.clone()
        .max_by_key(|status| (count(*status), u16::MAX - status))
}

struct Search<'a, 'e> {
    calls: Vec<&'a Call<'e>>,
    places: Vec<Place>,
    private: &'a Private,
}

impl Search<'_, '_> {
    /// What stands under `steps` in each answer, as lines.
    fn walk(&self, steps: &mut Steps, values: Vec<Option<&Value>>, out: &mut Vec<Line>) {
        let objects: Vec<_> = values
            .iter()
            .flatten()
            .map(|value| value.as_object().filter(|members| !members.is_empty()))
            .collect();
        let name = steps.last().cloned().unwrap_or_default();
        let inner = steps.len() < DEEPEST
            && objects.iter().all(Option::is_some)
            && self.repeated(&name, &values).is_none();
        if !inner {
            let line = self.line(&name, &values);
            out.push(Line {
                steps: steps.clone(),
                ..line
            });
            return;
        }
        let mut names: Vec<&String> = Vec::new();
        for key in objects.iter().flatten().flat_map(|members| members.keys()) {
            if !names.contains(&key) && names.len() < 100 {
                names.push(key);
            }
        }
        let is_said = |name: &&String| is_field_name(name) && !self.private.names_user(name);
        if !names.iter().all(is_said) {
            out.push(Line {
                steps: steps.clone(),
                value: json!({}),
                holds: 0,
                doubt: Some("names of its members look like ids or are users'"),
            });
            return;
        }
        for name in names {
            let members = values
                .iter()
                .map(|value| value.and_then(|it| it.get(name)))
                .collect();
            steps.push(name.clone());
            self.walk(steps, members, out);
            steps.pop();
        }
    }

    /// One line for what stands in one place of all answers.
    fn line(&self, name: &str, values: &[Option<&Value>]) -> Line {
        if let Some(inner) = one_element(values) {
            let line = self.line(name, &inner);
            return Line {
                value: Value::Array(vec![line.value]),
                ..line
            };
        }
        let found = |value: Value| Line {
            steps: Vec::new(),
            value,
            holds: values.len(),
            doubt: None,
        };
        if let Some(value) = self.exact(name, values) {
            return found(value);
        }
        let first = values
            .iter()
            .flatten()
            .next()
            .copied()
            .unwrap_or(&Value::Null);
        if let Some((template, holds)) = self.most_often(name, values) {
            let doubt = Some("it isn't so in every answer");
            return Line {
                steps: Vec::new(),
                value: template.into(),
                holds,
                doubt,
            };
        }
        let holds = values
            .iter()
            .flatten()
            .filter(|value| **value == first)
            .count();
        let doubt = if holds < values.len() && values.iter().any(Option::is_none) {
            "not every answer has it"
        } else if values.len() == 1 {
            "it was seen once"
        } else if holds == values.len() {
            "it is the same in all answers, but may be private"
        } else {
            made::doubt_of(values).unwrap_or("the application makes it")
        };
        Line {
            steps: Vec::new(),
            value: of_the_type(first),
            holds,
            doubt: Some(doubt),
        }
    }

    /// What is true of every answer.
    fn exact(&self, name: &str, values: &[Option<&Value>]) -> Option<Value> {
        let all: Option<Vec<&Value>> = values.iter().copied().collect();
        let every = |test: &dyn Fn(&Value) -> bool| {
            all.as_ref()
                .is_some_and(|all| all.iter().all(|value| test(value)))
        };
        if every(&Value::is_null) {
            return Some("{null}".into());
        }
        if let Some(template) = self.repeated(name, values) {
            return Some(template.into());
        }
        if let Some(template) = made::template_of(&self.calls, name, values) {
            return Some(template.into());
        }
        let first = all.as_ref().and_then(|all| all.first().copied())?;
        if every(&|value| value == first) {
            let shown = first.is_boolean() || values.len() > 1;
            if shown && self.private.may_show(name, first) {
                return Some(first.clone());
            }
        }
        None
    }

    /// A template that says what the calls say in every answer.
    fn repeated(&self, name: &str, values: &[Option<&Value>]) -> Option<String> {
        let mut exact: Vec<_> = self
            .candidates(name, values)
            .filter_map(|place| Some((self.template(name, place, values)?, place)))
            .collect();
        exact.sort_by_key(|(template, place)| {
            let same = plain_name(place.name()) == plain_name(name);
            (!same, template.contains('|'))
        });
        exact.into_iter().next().map(|(template, _)| template)
    }

    /// Places that agree with an answer, and not by chance.
    fn candidates<'s>(
        &'s self,
        name: &'s str,
        values: &'s [Option<&Value>],
    ) -> impl Iterator<Item = &'s Place> {
        let first = values.iter().flatten().next().copied();
        let varies = values.iter().flatten().any(|value| Some(*value) != first);
        let telling = varies
            || first.is_some_and(|value| match value {
                Value::String(text) => {
                    text.len() >= 4 && !(is_word(text) && self.private.may_show(name, value))
                }
                Value::Number(_) => value.as_f64().is_some_and(|number| number.abs() >= 100.0),
                Value::Null | Value::Bool(_) => false,
                Value::Array(_) | Value::Object(_) => true,
            });
        self.places
            .iter()
            .filter(move |place| telling || plain_name(place.name()) == plain_name(name))
    }

    /// `{place}`, with what answers say where the call says nothing; `None` where an answer says
    /// something else.
    fn template(&self, name: &str, place: &Place, values: &[Option<&Value>]) -> Option<String> {
        let (mut agreed, mut otherwise) = (false, None);
        for (call, value) in self.calls.iter().zip(values) {
            match (place.find(call), *value) {
                (Some(said), Some(value)) if said == *value => agreed = true,
                (Some(_), _) => return None,
                (None, value) if *otherwise.get_or_insert(value) != value => return None,
                (None, _) => {}
            }
        }
        let place = place.template();
        let template = match otherwise.flatten() {
            None => format!("{{{place}}}"),
            Some(Value::String(text)) if is_word(text) && self.may_default(name, text) => {
                format!("{{{place}|'{text}'}}")
            }
            Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_)))
                if self.private.may_show(name, value) =>
            {
                format!("{{{place}|{value}}}")
            }
            Some(_) => return None,
        };
        agreed.then_some(template)
    }

    fn may_default(&self, name: &str, text: &str) -> bool {
        self.private.may_show(name, &text.into())
    }

    /// What the calls say in three of four answers.
    fn most_often(&self, name: &str, values: &[Option<&Value>]) -> Option<(String, usize)> {
        let holds = |place: &Place| {
            let pairs = self.calls.iter().zip(values);
            pairs
                .filter(|(call, value)| value.is_some() && place.find(call).as_ref() == **value)
                .count()
        };
        let counted = self.candidates(name, values).map(|place| {
            let same = plain_name(place.name()) == plain_name(name);
            (holds(place), same, place)
        });
        let (holds, _, place) = counted.max_by_key(|(holds, same, _)| (*holds, *same))?;
        (holds > 1 && holds * 4 >= values.len() * 3)
            .then(|| (format!("{{{}}}", place.template()), holds))
    }

    /// Members that the answers to repetitions have and no other answer has.
    fn additions(&self, again: &[&Call<'_>]) -> Map<String, Value> {
        let has = |call: &Call<'_>, name: &str| {
            call.answer
                .as_ref()
                .is_some_and(|it| it.get(name).is_some())
        };
        let members = again
            .first()
            .and_then(|call| call.answer.as_ref()?.as_object());
        members
            .into_iter()
            .flatten()
            .filter(|(name, value)| {
                is_field_name(name)
                    && !self.private.names_user(name)
                    && !value.is_null()
                    && self.private.may_show(name, value)
                    && !self.calls.iter().any(|call| has(call, name))
                    && again.iter().all(|call| {
                        call.answer.as_ref().and_then(|it| it.get(name.as_str())) == Some(value)
                    })
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// The elements of lists that have one each, if all are such lists.
fn one_element<'v>(values: &[Option<&'v Value>]) -> Option<Vec<Option<&'v Value>>> {
    let inner = |value: &Option<&'v Value>| match (*value)?.as_array()?.as_slice() {
        [one] if !one.is_array() && !one.is_object() => Some(Some(one)),
        _ => None,
    };
    values.iter().map(inner).collect()
}

/// Something of the same type, which says nothing.
fn of_the_type(value: &Value) -> Value {
    match value {
        Value::Null => "{null}".into(),
        Value::Bool(_) => false.into(),
        Value::Number(_) => 0.into(),
        Value::String(text) if is_iso_time(text) => "{now.iso}".into(),
        Value::String(_) => "unknown".into(),
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
    }
}

/// Headers that every answer has with the same value, and that a client could look at.
fn common_headers(calls: &[&Call<'_>], private: &Private) -> Vec<(String, String)> {
    const SHOWN: [&str; 8] = [
        "cache-control",
        "pragma",
        "referrer-policy",
        "x-content-type-options",
        "x-frame-options",
        "x-powered-by",
        "x-dns-prefetch-control",
        "x-api-version",
    ];
    let Some(first) = calls.first() else {
        return Vec::new();
    };
    let harmless = |value: &str| {
        value.len() <= 64
            && !private.was_sent(value)
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b" -_,;=./".contains(&b))
    };
    let mut found: Vec<_> = first
        .exchange
        .answer_headers
        .iter()
        .filter(|(name, value)| {
            SHOWN.contains(&&**name)
                && harmless(value)
                && calls.len() > 1
                && calls
                    .iter()
                    .all(|call| call.exchange.answer_header(name) == Some(value))
        })
        .cloned()
        .collect();
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}
