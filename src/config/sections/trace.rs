//! `[trace]`: spans of calls and batches, for a collector of OpenTelemetry.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::application_url;
use crate::config::section::Section;
use crate::spans::{self, Encoding, TraceSettings};
use http::{HeaderName, HeaderValue, Uri};

keys! {
    "[trace]";
    /// the collector's, without a path: spans are sent to its `/v1/traces`, by OTLP over HTTP. By
    /// `https` its certificate must be signed by one of the system's root certificates
    ENDPOINT = Key::text("endpoint", Said("address"), "http://127.0.0.1:4318");
    /// how spans are written
    PROTOCOL = Key::text("protocol", OneOf(&["protobuf", "json"]), "protobuf");
    /// the share of calls that are recorded where their head names no trace; where it does
    /// (`traceparent`), the trace's own flag decides
    SAMPLE = Key::with("sample", Said("number from 0 to 1"), "1.0");
    /// `service.name` of the spans
    SERVICE_NAME = Key::text("service_name", Said("text"), "tidegate");
    /// for the collector's key: each line is a header of the requests to it, `NAME: VALUE`; blank
    /// lines and those that begin with `#` say nothing. Read at the start
    HEADERS_FILE = Key::without("headers_file", Said("file"), "none");
}

const ENCODINGS: [(&str, Encoding); 2] =
    [("protobuf", Encoding::Protobuf), ("json", Encoding::Json)];

/// `None`: what is wrong was reported.
pub(super) fn read(section: Section<'_>) -> Option<TraceSettings> {
    if !spans::IS_BUILT_IN {
        section.wrong(
            "found the section, and this program was built without the feature otlp, which records \
             spans: build it with `cargo build --release --features otlp`, or leave the section out",
        );
    }
    let endpoint: Option<Uri> = section.compiled(&ENDPOINT, application_url);
    let headers = read_headers(&section);
    let settings = TraceSettings {
        endpoint: endpoint.unwrap_or_default(),
        encoding: section.choice(&PROTOCOL, &ENCODINGS, Encoding::Protobuf),
        sample: read_sample(&section),
        service_name: read_service_name(&section),
        headers: headers.unwrap_or_default(),
    };
    section.finish();
    Some(settings)
}

fn read_sample(section: &Section<'_>) -> f64 {
    let sample = section.float(&SAMPLE).unwrap_or(1.0);
    if !(0.0..=1.0).contains(&sample) {
        let text = format!("found {sample}; allowed is a number from 0 to 1");
        section.wrong_key(&SAMPLE, text);
    }
    sample
}

fn read_service_name(section: &Section<'_>) -> String {
    let name = section.text(&SERVICE_NAME).unwrap_or_default();
    if name.is_empty() {
        section.wrong_key(&SERVICE_NAME, "found an empty text; allowed is a name");
    }
    name
}

/// The headers of the file that the section names. No error tells what stands in it.
fn read_headers(section: &Section<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let path = section.text(&HEADERS_FILE)?;
    let report = |text| section.wrong_key(&HEADERS_FILE, text);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| report(format!("{path} can't be read: {error}")))
        .ok()?;
    let mut headers = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_header(line) {
            Some(header) => headers.push(header),
            None => report(format!(
                "line {} of {path} is no header; allowed are lines `NAME: VALUE`",
                place + 1
            )),
        }
    }
    Some(headers)
}

fn parse_header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}
