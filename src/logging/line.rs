//! The lines of the access log, and how each is written.

use super::note::CallNote;
use super::settings::Format;
use crate::clock::iso;
use crate::event::EventId;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest method.
const LONGEST_METHOD: usize = 32;

/// A method as a line has it: a longer one is cut.
pub(crate) fn short_method(method: &http::Method) -> http::Method {
    let text = method.as_str().as_bytes();
    let cut = text.get(..LONGEST_METHOD).map(http::Method::from_bytes);
    cut.and_then(Result::ok).unwrap_or_else(|| method.clone())
}

/// One call.
pub(crate) struct CallLine {
    /// Wall clock, when it came.
    pub(crate) at: SystemTime,
    /// Method.
    pub(crate) method: http::Method,
    /// Path, without the query, shortened.
    pub(crate) path: Box<str>,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Of the request's body, bytes, if its head says how many.
    pub(crate) received: Option<u64>,
    /// Of the answer's body, bytes, without what a broken connection has not taken.
    pub(crate) sent: u64,
    /// From the request's head to the answer's head.
    pub(crate) took: Duration,
    /// What its stages said of it.
    pub(crate) note: CallNote,
}

/// One batch that was brought to the application, or not.
pub(crate) struct DeliveryLine {
    /// Wall clock, when it had ended.
    pub(crate) at: SystemTime,
    /// The group.
    pub(crate) group: Arc<str>,
    /// The batch's id.
    pub(crate) batch: String,
    /// How many calls it brings.
    pub(crate) calls: usize,
    /// How it ended.
    pub(crate) result: &'static str,
    /// From the request to the whole reply.
    pub(crate) took: Duration,
}

/// A line.
pub(super) enum Line {
    /// Of a call.
    Call(CallLine),
    /// Of a delivery.
    Delivery(DeliveryLine),
    /// So many lines found the queue full.
    Lost(u64),
}

impl Line {
    /// Appends the line, its end included.
    pub(super) fn write(&self, format: Format, out: &mut String) {
        let (at, kind, fields) = self.fields();
        match format {
            Format::Json => {
                _ = write!(out, "{{\"timestamp\":\"{}\",\"kind\":\"{kind}\"", iso(at));
                for (name, value) in &fields {
                    _ = write!(out, ",\"{name}\":{value}");
                }
                out.push('}');
            }
            Format::Text => {
                _ = write!(out, "{} {kind}", iso(at));
                for (name, value) in &fields {
                    _ = match bare(value) {
                        Some(text) => write!(out, " {name}={text}"),
                        None => write!(out, " {name}={value}"),
                    };
                }
            }
        }
        out.push('\n');
    }

    /// When it was, what it is of, and what it says, in the order in which that is written.
    fn fields(&self) -> (SystemTime, &'static str, Vec<(&'static str, Value)>) {
        let (at, kind, fields): (_, _, Vec<(_, Value)>) = match self {
            Self::Call(call) => (call.at, "call", call.fields()),
            Self::Delivery(delivery) => (
                delivery.at,
                "delivery",
                vec![
                    ("group", (*delivery.group).into()),
                    ("batch", delivery.batch.as_str().into()),
                    ("calls", delivery.calls.into()),
                    ("result", delivery.result.into()),
                    ("upstream_us", micros(delivery.took).into()),
                ],
            ),
            Self::Lost(lines) => (SystemTime::now(), "lost", vec![("lines", (*lines).into())]),
        };
        let told = fields.into_iter().filter(|(_, value)| !value.is_null());
        (at, kind, told.collect())
    }
}

impl CallLine {
    /// What isn't known is `null`.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let noted = self.note.noted();
        let own = self.took.saturating_sub(noted.upstream.unwrap_or_default());
        vec![
            ("method", self.method.as_str().into()),
            ("path", (*self.path).into()),
            ("route", noted.route.as_deref().into()),
            ("decision", noted.decision.into()),
            ("reason", noted.reason.as_deref().into()),
            ("status", self.status.into()),
            ("received", self.received.into()),
            ("sent", self.sent.into()),
            ("own_us", micros(own).into()),
            ("upstream_us", noted.upstream.map(micros).into()),
            ("request_id", self.note.request_id().into()),
            ("event", noted.event.as_ref().map(EventId::as_str).into()),
        ]
    }
}

/// A value that needs no quotes in a line of text. What may hold anything, as a path, is quoted
/// where it could look like another field.
fn bare(value: &Value) -> Option<&str> {
    let is_plain = |text: &&str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\'))
    };
    value.as_str().filter(is_plain)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::CallSpan;

    fn line(path: &str) -> Line {
        let note = CallNote::new("r-1", true, CallSpan::default());
        note.decide("forwarded", Some("query".into()));
        note.meet_route("/event");
        note.ask_upstream(Duration::from_micros(700));
        Line::Call(CallLine {
            at: SystemTime::UNIX_EPOCH,
            method: http::Method::POST,
            path: path.into(),
            status: 200,
            received: None,
            sent: 12,
            took: Duration::from_millis(1),
            note,
        })
    }

    fn written(line: &Line, format: Format) -> String {
        let mut out = String::new();
        line.write(format, &mut out);
        out
    }

    #[test]
    fn a_line_has_its_fields_in_order_and_numbers_are_numbers() {
        assert_eq!(
            written(&line("/event"), Format::Json),
            "{\"timestamp\":\"1970-01-01T00:00:00.000Z\",\"kind\":\"call\",\"method\":\"POST\",\
             \"path\":\"/event\",\"route\":\"/event\",\"decision\":\"forwarded\",\"reason\":\"query\",\
             \"status\":200,\"sent\":12,\"own_us\":300,\"upstream_us\":700,\"request_id\":\"r-1\"}\n"
        );
        assert_eq!(
            written(&line("/event"), Format::Text),
            "1970-01-01T00:00:00.000Z call method=POST path=/event route=/event decision=forwarded \
             reason=query status=200 sent=12 own_us=300 upstream_us=700 request_id=r-1\n"
        );
    }

    #[test]
    fn no_path_can_look_like_another_field() {
        let text = written(&line("/a\" status=999"), Format::Text);
        assert!(text.contains(r#"path="/a\" status=999""#), "{text}");
    }
}
