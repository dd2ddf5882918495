//! What a session says of people, so that no proposal repeats it.

use super::exchange::{Content, Exchange};
use crate::migration::words::{is_personal, is_word, names_user, plain_name};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// How many values are remembered; beyond it no text of an answer is shown.
const MOST: usize = 500_000;
/// Names under which one value is sent.
const MOST_NAMES: usize = 64;

/// Values that were sent, with the members that held them.
#[derive(Debug, Default)]
pub(super) struct Private {
    sent: HashMap<String, HashSet<String>>,
    users: HashSet<String>,
    /// What answers gave under a person's or a secret's name.
    given: HashSet<String>,
}

impl Private {
    pub(super) fn gather(exchanges: &[Exchange]) -> Self {
        let mut private = Self::default();
        for exchange in exchanges {
            private.take_call(exchange);
            if let Some(answer) = exchange.answer.json() {
                private.take_answer("", &answer);
            }
        }
        private
    }

    fn take_call(&mut self, exchange: &Exchange) {
        for (name, value) in &exchange.headers {
            self.take(name, value);
        }
        for (name, value) in exchange.cookies() {
            self.take("cookie", value);
            if names_user(name) {
                self.users.insert(value.to_owned());
            }
        }
        for (name, value) in &exchange.query {
            self.take(name, value);
        }
        for (name, value) in &exchange.claims() {
            self.take_value(name, value);
        }
        match (exchange.body.json(), &exchange.body) {
            (Some(body), _) => self.take_value("", &body),
            (None, Content::Text(text)) => {
                for pair in text.split('&').take(64) {
                    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
                    self.take(name, value);
                }
            }
            (None, _) => {}
        }
    }

    fn take(&mut self, name: &str, value: &str) {
        if names_user(name) && value.len() >= 3 {
            self.users.insert(value.to_owned());
        }
        if self.sent.len() < MOST {
            let names = self.sent.entry(value.to_owned()).or_default();
            if names.len() < MOST_NAMES {
                names.insert(plain_name(name));
            }
        }
    }

    fn take_value(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.take(name, text),
            Value::Number(number) => self.take(name, &number.to_string()),
            Value::Array(all) => all.iter().for_each(|one| self.take_value(name, one)),
            Value::Object(members) => members
                .iter()
                .for_each(|(name, value)| self.take_value(name, value)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Of an answer only what its names call a person's.
    fn take_answer(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) if is_personal(name) => self.give(name, text),
            Value::Number(number) if is_personal(name) => self.give(name, &number.to_string()),
            Value::Array(all) => all.iter().for_each(|one| self.take_answer(name, one)),
            Value::Object(members) => members
                .iter()
                .for_each(|(name, value)| self.take_answer(name, value)),
            _ => {}
        }
    }

    fn give(&mut self, name: &str, value: &str) {
        if names_user(name) && value.len() >= 3 {
            self.users.insert(value.to_owned());
        }
        if self.given.len() < MOST {
            self.given.insert(value.to_owned());
        }
    }

    /// It is a user's name somewhere in the session, or was sent as a secret.
    pub(super) fn names_user(&self, text: &str) -> bool {
        self.users.contains(text)
            || self
                .sent
                .get(text)
                .is_some_and(|names| text.len() >= 8 && names.iter().any(|name| is_secret(name)))
    }

    /// It was sent by a client.
    pub(super) fn was_sent(&self, text: &str) -> bool {
        self.sent.contains_key(text)
    }

    /// Whether a constant of an answer may be shown: a flag, a word or a small number that no call
    /// sent under another name.
    pub(super) fn may_show(&self, name: &str, value: &Value) -> bool {
        let plain = plain_name(name);
        let harmless = |text: &str| {
            self.sent.len() < MOST
                && !is_personal(name)
                && !self.given.contains(text)
                && !self.names_user(text)
                && self
                    .sent
                    .get(text)
                    .is_none_or(|names| names.iter().all(|sent| *sent == plain))
        };
        match value {
            Value::Null | Value::Bool(_) => true,
            // One digit tells nothing of a person, whoever sent it.
            Value::Number(number) => match number.as_f64() {
                Some(0.0) => true,
                Some(found) if found.abs() < 10.0 => !is_personal(name),
                Some(found) => found.abs() < 100_000.0 && harmless(&number.to_string()),
                None => false,
            },
            Value::String(text) => text.is_empty() || (is_word(text) && harmless(text)),
            Value::Array(all) => all.is_empty(),
            Value::Object(members) => members.is_empty(),
        }
    }
}

fn is_secret(plain: &str) -> bool {
    [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "apikey",
    ]
    .iter()
    .any(|word| plain.ends_with(word))
}
