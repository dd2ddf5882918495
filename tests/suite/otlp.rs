//! Spans over sockets, by the feature `otlp`: traces go on through Tidegate, a batch names the calls
//! that it brings, and a collector that is slow, down or not asked for changes nothing.

use crate::support::collector::{Collector, Span, attribute};
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, answer, hang_up};
use crate::support::{CONFIG, Http, Sidecar};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate::clock::Clock;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(trace: &str, sampled: bool) -> String {
    format!("00-{trace}-{CALLER}-0{}", u8::from(sampled))
}

/// A trace of its own for each number.
fn trace(number: usize) -> String {
    format!("{:032x}", number + 1)
}

/// [`CONFIG`] with a `[trace]` for this collector, and these lines in it.
fn with_trace(collector: &Collector, more: &str) -> String {
    let endpoint = collector.address();
    format!("{CONFIG}\n[trace]\nendpoint = \"http://{endpoint}\"\nprotocol = \"json\"\n{more}")
}

async fn start(collector: &Collector, more: &str) -> Sidecar {
    Sidecar::with(&with_trace(collector, more), Clock::default()).await
}

/// Posts an event of one user in this trace.
async fn post_in(sidecar: &Sidecar, id: &str, parent: &str) {
    let body = format!(r#"{{"id":"{id}","user":"u","lesson":"l","percent":5}}"#);
    let headers = [
        ("authorization", "Bearer t"),
        ("content-type", "application/json"),
        ("traceparent", parent),
        ("tracestate", "vendor=1"),
    ];
    let answer = sidecar.call(Method::POST, "/event", &headers, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().map(|line| line.to_str().unwrap());
    assert!(lines.next().is_none(), "{name} is there twice");
    line
}

#[tokio::test]
async fn a_calls_span_and_its_exchanges_continue_the_trace_and_the_application_is_told() {
    let collector = Collector::start().await;
    let sidecar = start(&collector, "").await;
    let parent = traceparent(TRACE, true);
    let headers = [("traceparent", &*parent), ("tracestate", "vendor=1")];
    sidecar.upstream.script([answer(404, json!({}))]);
    sidecar
        .call(Method::GET, "/elsewhere?key=1", &headers, "")
        .await;
    let exchange = collector.until_span(Span::is_client).await;
    let call = collector.until_span(Span::is_server).await;
    assert_eq!((call.trace(), call.parent()), (TRACE, CALLER));
    assert_eq!((exchange.trace(), exchange.parent()), (TRACE, call.id()));
    for (name, wanted) in [
        ("http.request.method", "GET"),
        ("url.path", "/elsewhere"),
        ("http.response.status_code", "404"),
        ("tidegate.decision", "forwarded"),
        ("tidegate.reason", "no_route"),
    ] {
        assert_eq!(call.attribute(name), wanted, "{name}");
    }
    assert_eq!(call.name(), "GET");
    assert_eq!(exchange.attribute("http.response.status_code"), "404");
    assert_eq!(exchange.attribute("error.type"), "404");
    assert_eq!(exchange.attribute("server.address"), "127.0.0.1");
    let seen = sidecar.upstream.seen().remove(0);
    let told = exchange.traceparent();
    assert_eq!(value(&seen.headers, "traceparent"), Some(&*told));
    assert_eq!(value(&seen.headers, "tracestate"), Some("vendor=1"));
}

#[tokio::test]
async fn a_call_without_a_trace_begins_one_and_a_route_names_its_span() {
    let collector = Collector::start().await;
    let sidecar = start(&collector, "service_name = \"gate\"\n").await;
    // What isn't of a trace that can be read isn't passed on as if it were of the new one.
    let headers = [("traceparent", "00-nothing"), ("tracestate", "vendor=1")];
    let path = "/progress?userId=u";
    sidecar.call(Method::GET, path, &headers, "").await;
    let call = collector.until_span(Span::is_server).await;
    assert_eq!((call.name(), call.parent()), ("GET /progress", ""));
    assert_eq!(call.attribute("http.route"), "/progress");
    assert_eq!(call.attribute("tidegate.decision"), "read");
    let exchange = collector.until_span(Span::is_client).await;
    assert_eq!(exchange.trace(), call.trace());
    let seen = sidecar.upstream.seen().remove(0);
    let told = exchange.traceparent();
    assert_eq!(value(&seen.headers, "traceparent"), Some(&*told));
    assert_eq!(value(&seen.headers, "tracestate"), None);
    let body: Value = serde_json::from_slice(&collector.requests()[0].body).unwrap();
    let resource = &body["resourceSpans"][0]["resource"]["attributes"];
    assert_eq!(attribute(resource, "service.name"), "gate");
}

#[tokio::test]
async fn a_call_that_is_not_sampled_passes_as_it_came_and_leaves_nothing() {
    let collector = Collector::start().await;
    let sidecar = start(&collector, "sample = 0\n").await;
    let parent = traceparent(&trace(1), false);
    let headers = [("traceparent", &*parent), ("tracestate", "vendor=1")];
    sidecar.call(Method::GET, "/first", &headers, "").await;
    sidecar.call(Method::GET, "/second", &[], "").await;
    post_in(&sidecar, "e1", &parent).await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    // The flag of its trace goes before the sample.
    let sampled = traceparent(&trace(2), true);
    let headers = [("traceparent", &*sampled)];
    sidecar.call(Method::GET, "/last", &headers, "").await;
    collector.until_span(Span::is_server).await;
    let traces: Vec<_> = collector.spans();
    assert!(
        traces.iter().all(|span| span.trace() == trace(2)),
        "{traces:?}"
    );
    let seen = sidecar.upstream.seen();
    let of = |path: &str| {
        let seen = seen.iter().find(|seen| seen.path == path).unwrap();
        ["traceparent", "tracestate"].map(|name| value(&seen.headers, name))
    };
    assert_eq!(of("/first"), [Some(&*parent), Some("vendor=1")]);
    assert_eq!(of("/second"), [None, None]);
    let [batch, _] = of("/batch");
    assert!(!batch.unwrap().contains(&trace(1)), "it begins its own");
}

#[tokio::test]
async fn a_batch_has_links_to_the_calls_of_its_events_and_its_request_names_it() {
    let collector = Collector::start().await;
    let sidecar = start(&collector, "").await;
    // The second one isn't sampled.
    for number in 0..4 {
        let parent = traceparent(&trace(number), number != 1);
        post_in(&sidecar, &format!("e{number}"), &parent).await;
    }
    let batch = collector.until_span(|span| span.name() == "batch progress");
    let batch = batch.await;
    let calls = [0, 2, 3].map(trace);
    for trace in &calls {
        collector.until_span(|span| span.trace() == trace).await;
    }
    let spans = collector.spans();
    let call_of = |trace: &String| {
        let call = spans.iter().find(|span| span.trace() == trace).unwrap();
        assert_eq!(call.name(), "POST /event");
        assert_eq!(call.attribute("tidegate.decision"), "acknowledged");
        (trace.clone(), call.id().to_owned())
    };
    assert_eq!(batch.links(), calls.each_ref().map(call_of));
    assert!(batch.is_client() && batch.parent().is_empty());
    for (name, wanted) in [
        ("tidegate.group", "progress"),
        ("tidegate.events", "4"),
        ("tidegate.attempt", "1"),
        ("tidegate.verdict", "answered"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(batch.attribute(name), wanted, "{name}");
    }
    let seen = sidecar.upstream.seen().remove(0);
    let told = batch.traceparent();
    assert_eq!(value(&seen.headers, "traceparent"), Some(&*told));
    assert_eq!(value(&seen.headers, "tracestate"), None);
}

#[tokio::test]
async fn a_batch_has_128_links_at_most() {
    let collector = Collector::start().await;
    let text = with_trace(&collector, "")
        .replace("flush_at = 4\n", "flush_at = 130\n")
        .replace("max_events = 4\n", "max_events = 130\n")
        .replace("1KiB", "64KiB");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    for number in 0..130 {
        let parent = traceparent(&trace(number), true);
        post_in(&sidecar, &format!("e{number}"), &parent).await;
    }
    let batch = collector.until_span(|span| span.name() == "batch progress");
    let batch = batch.await;
    assert_eq!(batch.attribute("tidegate.events"), "130");
    assert_eq!(batch.links().len(), 128);
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own() {
    let collector = Collector::start().await;
    let sidecar = start(&collector, "").await;
    sidecar.upstream.script([hang_up()]);
    post_in(&sidecar, "e1", &traceparent(TRACE, true)).await;
    sidecar.flush().await;
    let is_attempt = |span: &Span, number: &str| span.attribute("tidegate.attempt") == number;
    let first = collector.until_span(|span| is_attempt(span, "1")).await;
    let second = collector.until_span(|span| is_attempt(span, "2")).await;
    assert_eq!(first.attribute("http.response.status_code"), "");
    assert_ne!(first.attribute("error.type"), "");
    assert_eq!(second.attribute("http.response.status_code"), "200");
    assert_eq!(first.links(), second.links());
    assert_ne!(first.id(), second.id());
}

#[tokio::test]
async fn a_single_call_that_is_repeated_stays_in_its_trace() {
    let collector = Collector::start().await;
    let text = with_trace(&collector, "").replace("\"dead-letter\"", "\"single\"");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let no_batches = |seen: &crate::support::upstream::Seen| {
        (seen.path == "/batch").then(|| answer(404, json!({})))
    };
    sidecar.upstream.answer_with(no_batches);
    post_in(&sidecar, "e1", &traceparent(TRACE, true)).await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let is_single = |span: &Span| span.is_client() && span.trace() == TRACE;
    let single = collector.until_span(is_single).await;
    let call = collector.until_span(Span::is_server).await;
    assert_eq!(single.parent(), call.id());
    let seen = sidecar.upstream.seen();
    let seen = seen.iter().find(|seen| seen.path == "/event").unwrap();
    let told = single.traceparent();
    assert_eq!(value(&seen.headers, "traceparent"), Some(&*told));
    assert_eq!(value(&seen.headers, "tracestate"), Some("vendor=1"));
}

#[tokio::test]
async fn nothing_that_is_secret_is_in_a_span() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("headers");
    std::fs::write(&file, "# of the tests\n\nx-key: MARKER-KEY\n").unwrap();
    let more = format!("headers_file = {file:?}\n");
    let sidecar = start(&collector, &more).await;
    let turn = AtomicUsize::new(0);
    sidecar
        .upstream
        .answer_with(move |_| match turn.fetch_add(1, Ordering::SeqCst) % 5 {
            0 => Some(hang_up()),
            1 => Some(answer(500, json!({ "said": "MARKER-ANSWER" }))),
            2 => Some(answer(422, json!({ "error": "MARKER-ANSWER" }))),
            _ => None,
        });
    let headers = [
        ("authorization", "Bearer MARKER-TOKEN"),
        ("cookie", "session=MARKER-COOKIE"),
        ("x-secret", "MARKER-HEADER"),
        ("baggage", "user=MARKER-BAGGAGE"),
        ("content-type", "application/json"),
    ];
    let own_method = Method::from_bytes(b"MARKER-METHOD").unwrap();
    for round in 0..6 {
        let body = format!(r#"{{"id":"e{round}","user":"MARKER-USER","lesson":"MARKER-BODY"}}"#);
        for (method, path, body) in [
            (Method::POST, "/event", body.as_str()),
            (Method::POST, "/event?key=MARKER-QUERY", body.as_str()),
            (Method::POST, "/event", "MARKER-NO-JSON"),
            (Method::POST, "/snapshot?key=MARKER-QUERY", body.as_str()),
            (Method::GET, "/progress?userId=u&key=MARKER-QUERY", ""),
            (own_method.clone(), "/other?key=MARKER-QUERY", ""),
        ] {
            sidecar.call(method, path, &headers, body.to_owned()).await;
        }
    }
    sidecar.flush().await;
    collector
        .until_span(|span| span.name() == "batch progress")
        .await;
    sidecar.running.stop().await;
    let requests = collector.requests();
    assert!(collector.spans().len() > 36);
    for seen in &requests {
        assert_eq!(seen.header("x-key"), "MARKER-KEY");
        let text = String::from_utf8_lossy(&seen.body);
        let place = text.find("MARKER");
        assert_eq!(place.map(|place| &text[place - 200..]), None);
    }
}

#[tokio::test]
async fn a_stop_sends_the_last_spans() {
    let collector = Collector::start().await;
    let sidecar = start(&collector, "").await;
    sidecar.call(Method::GET, "/elsewhere", &[], "").await;
    sidecar.running.stop().await;
    assert!(collector.spans().iter().any(Span::is_server));
}

#[tokio::test]
async fn a_collector_that_is_down_is_one_line_of_the_log_and_no_calls_trouble() {
    let upstream = FakeUpstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let text = CONFIG.replace("UPSTREAM", &upstream.address.to_string());
    let config = directory.path().join("config.toml");
    let trace = format!("[trace]\nendpoint = \"http://{address}\"\n");
    std::fs::write(&config, format!("{text}\n{trace}")).unwrap();
    let process = Process::start_with_log(&config, None, &["--log", "json"]);
    let client = Http::default();
    let lost = async |wanted: u64| {
        let name = "tidegate_spans_lost_total ";
        let reached = async {
            loop {
                let admin = Http::default();
                let metrics = admin.try_call(process.admin, Method::GET, "/metrics", &[], "");
                let text = String::from_utf8(metrics.await.unwrap().body.to_vec()).unwrap();
                let value = text.lines().find_map(|line| line.strip_prefix(name));
                if value.is_some_and(|value| value.parse::<u64>().unwrap() >= wanted) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        crate::support::in_time("lost spans", reached).await;
    };
    for round in 1..=3 {
        let called = client.try_call(process.address, Method::GET, "/elsewhere", &[], "");
        assert_eq!(called.await.unwrap().status, StatusCode::OK);
        // The call's and its exchange's.
        lost(2 * round).await;
    }
    let said = process.said();
    let lines = said.lines().filter(|line| line.contains("takes no spans"));
    assert_eq!(lines.count(), 1, "{said}");
    let (code, _) = process.terminate();
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn spans_that_find_the_queue_full_are_lost_and_counted_and_no_call_waits() {
    let collector = Collector::start().await;
    collector.close_gate();
    let sidecar = start(&collector, "").await;
    // What waits, what is on its way, and more.
    for _ in 0..1_500 {
        let answer = sidecar.call(Method::GET, "/elsewhere", &[], "").await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert!(sidecar.counter("tidegate_spans_lost_total").await > 0);
    assert_eq!(sidecar.counter("tidegate_spans_sent_total").await, 0);
}

#[tokio::test]
async fn spans_are_written_as_protocol_buffers_unless_json_is_asked_for() {
    let collector = FakeUpstream::start().await;
    collector.answer_with(|_| Some(answer(200, json!({}))));
    let text = format!(
        "{CONFIG}\n[trace]\nendpoint = \"http://{}\"\n",
        collector.address
    );
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    sidecar.call(Method::GET, "/elsewhere", &[], "").await;
    collector.until(|seen| !seen.is_empty()).await;
    let seen = collector.seen().remove(0);
    assert_eq!((&seen.method, &*seen.path), (&Method::POST, "/v1/traces"));
    assert_eq!(seen.header("content-type"), "application/x-protobuf");
    assert!(String::from_utf8_lossy(&seen.body).contains("tidegate.decision"));
    sidecar.until_counter("tidegate_spans_sent_total", 2).await;
}

#[test]
fn the_version_says_that_the_program_can_record_spans() {
    let (code, said) = run(&["--version"], "config.toml".as_ref(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("with the feature otlp"), "{said}");
}

/// What the configuration makes of a `[trace]`.
fn read(trace: &str) -> Result<tidegate::config::Config, String> {
    let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n[trace]\n{trace}");
    let found = tidegate::config::parse(&text, "test", std::iter::empty());
    found.map_err(|problems| problems.to_string())
}

#[test]
fn the_configuration_says_what_is_wrong_with_a_trace_section() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("headers");
    std::fs::write(&file, "x-key: 1\nMARKER\n").unwrap();
    let headers = format!("headers_file = {file:?}");
    for (trace, wanted) in [
        (
            "sample = 1.5",
            "trace.sample: found 1.5; allowed is a number from 0 to 1",
        ),
        ("sample = -1", "trace.sample: found -1; allowed"),
        (
            "endpoint = \"grpc://h\"",
            "trace.endpoint: found \"grpc://h\"; allowed is",
        ),
        ("endpoint = \"http://u:p@h\"", "trace.endpoint: found"),
        ("protocol = \"grpc\"", "trace.protocol: found"),
        (
            "service_name = \"\"",
            "trace.service_name: found an empty text",
        ),
        (
            "headers_file = \"/none\"",
            "trace.headers_file: /none can't be read",
        ),
        (&*headers, "line 2 of"),
    ] {
        let found = read(trace).unwrap_err();
        assert!(found.contains(wanted), "{trace}: {found}");
        assert!(!found.contains("MARKER"), "{found}");
    }
}

#[test]
fn a_trace_section_has_the_defaults_that_its_table_says() {
    let defaults = "endpoint = \"http://127.0.0.1:4318\"\nprotocol = \"protobuf\"\nsample = 1.0\n\
                    service_name = \"tidegate\"\n";
    let (plain, with) = (read("").unwrap().trace, read(defaults).unwrap().trace);
    assert!(plain.is_some());
    assert_eq!(plain, with);
}
