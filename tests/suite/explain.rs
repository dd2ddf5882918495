//! `tidegate explain`: what it says of a call is what the sidecar then does, and it repeats no value
//! of a header or a cookie.

use crate::support::{CONFIG, Sidecar, process};
use http::{Method, StatusCode};
use serde_json::Value;
use std::path::PathBuf;
use tidegate::clock::Clock;

/// A configuration in a file, and calls to be explained.
struct ConfigFile {
    directory: tempfile::TempDir,
    config: PathBuf,
}

struct Call<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

const POST: Call<'static> = Call {
    method: "POST",
    path: "/event",
    headers: &[
        ("authorization", "Bearer a"),
        ("content-type", "application/json"),
    ],
    body: r#"{"id":"e1","user":"u","lesson":"l","percent":41.6}"#,
};

impl ConfigFile {
    fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        let text = text.replace("UPSTREAM", "127.0.0.1:9");
        std::fs::write(&config, text).unwrap();
        Self { directory, config }
    }

    fn print(&self, call: &Call<'_>, more: &[&str]) -> (Option<i32>, String) {
        let body = self.directory.path().join("body");
        std::fs::write(&body, call.body).unwrap();
        let headers: Vec<_> = call
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let mut arguments = vec!["explain", "--method", call.method, "--path", call.path];
        for header in &headers {
            arguments.extend(["--header", header.as_str()]);
        }
        if !call.body.is_empty() {
            arguments.extend(["--body", body.to_str().unwrap()]);
        }
        arguments.extend(more);
        process::run(&arguments, &self.config, &[])
    }

    fn explain(&self, call: &Call<'_>) -> Value {
        let (code, said) = self.print(call, &["--json"]);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

#[tokio::test]
async fn what_is_explained_of_a_call_is_what_the_sidecar_does_with_it() {
    let text = CONFIG.replace("[admin]", "explain = true\n[admin]");
    let file = ConfigFile::with(&text);
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let calls = [
        POST,
        Call {
            path: "/event?a=1",
            ..POST
        },
        Call {
            body: "no json",
            ..POST
        },
        Call {
            body: r#"{"id":"e2","user":"u"}"#,
            ..POST
        },
        Call {
            body: r#"{"id":"e3","user":"u","lesson":"l","percent":"x"}"#,
            ..POST
        },
        Call {
            body: r#"{"id":3,"user":"u","lesson":"l"}"#,
            ..POST
        },
        Call {
            headers: &[("authorization", "Bearer a"), ("if-match", "\"1\"")],
            ..POST
        },
        Call {
            headers: &[("origin", "http://other"), ("content-type", "text/plain")],
            ..POST
        },
        Call {
            headers: &[
                ("content-encoding", "odd"),
                ("content-type", "application/json"),
            ],
            ..POST
        },
    ];
    let mut decisions = Vec::new();
    for call in &calls {
        let explained = file.explain(call);
        let decision = &explained["decision"];
        let method: Method = call.method.parse().unwrap();
        let answer = sidecar
            .call(method, call.path, call.headers, call.body.to_owned())
            .await;
        if answer.status == StatusCode::ACCEPTED {
            assert_eq!(decision["decision"], "acknowledged", "{explained}");
            let told = decision["answer"]["body"].as_str().unwrap();
            assert_eq!(serde_json::from_str::<Value>(told).unwrap(), answer.json());
        } else {
            assert_eq!(decision["decision"], "forwarded", "{explained}");
            assert_eq!(
                decision["reason"],
                answer.header("tidegate-forwarded"),
                "{explained}"
            );
        }
        decisions.push(decision["reason"].as_str().unwrap_or("-").to_owned());
    }
    let wanted = [
        "-",
        "query",
        "not_json",
        "missing_field",
        "not_a_number",
        "wrong_type",
        "proof",
        "origin",
        "unknown_coding",
    ];
    // What each of the cases is there for.
    assert_eq!(decisions.len(), wanted.len());
    for (found, wanted) in decisions.iter().zip(wanted) {
        assert_eq!(found, wanted, "{decisions:?}");
    }
}

#[test]
fn the_event_the_group_and_the_answer_are_explained_as_they_would_be() {
    let explained = ConfigFile::with(CONFIG).explain(&POST);
    let event = &explained["events"][0];
    assert_eq!(event["id"], "e1");
    assert_eq!(event["id_from"], "call");
    assert_eq!(event["user"], "u");
    assert_eq!(event["event"]["percent"], 42);
    assert_eq!(event["seals_at_once"], false);
    assert_eq!(explained["group"]["name"], "progress");
    assert_eq!(explained["touches"]["makes_old"][0], "progress:u");
    assert_eq!(explained["decision"]["answer"]["status"], 202);
    let completed = Call {
        body: r#"{"user":"u","lesson":"l","status":"completed","more":1}"#,
        ..POST
    };
    let explained = ConfigFile::with(CONFIG).explain(&completed);
    assert_eq!(explained["events"][0]["seals_at_once"], true);
    assert_eq!(explained["events"][0]["id_from"], "generated");
    assert_eq!(explained["body"]["unmapped"][0], "more");
}

#[test]
fn no_explanation_repeats_what_a_header_or_a_cookie_holds() {
    let text = CONFIG
        .replace(
            r#"pad = "{body.pad}""#,
            r#"pad = "{header.authorization}", session = "x {cookie.session}", key = "{header.x-api-key}""#,
        )
        .replace(
            "[[write]]",
            "ack = { headers = { x-echo = \"{cookie.session}\" }, body = { said = \"{header.x-api-key}\" } }\n[[write]]",
        )
        .replace(
            r#"credentials = ["header:authorization"]"#,
            r#"credentials = ["header:authorization", "body:secret", "query:key"]"#,
        );
    let file = ConfigFile::with(&text);
    let secret = Call {
        path: "/event?key=MARKER-QUERY",
        headers: &[
            ("authorization", "Bearer MARKER-TOKEN"),
            ("cookie", "session=MARKER-SESSION; MARKER-NAMELESS"),
            ("x-api-key", "MARKER-KEY"),
            ("x-unknown", "MARKER-UNKNOWN"),
            ("content-type", "application/json"),
        ],
        body: r#"{"id":"e1","user":"u","lesson":"l","secret":"MARKER-BODY"}"#,
        ..POST
    };
    let plain = Call {
        path: "/event",
        ..secret
    };
    for call in [&secret, &plain] {
        for more in [&["--json"][..], &[]] {
            let (code, said) = file.print(call, more);
            assert_eq!(code, Some(0), "{said}");
            assert!(!said.contains("MARKER"), "{said}");
        }
    }
    let explained = file.explain(&plain);
    let event = &explained["events"][0]["event"];
    assert_eq!(event["pad"], "<header:authorization>", "{explained}");
    assert_eq!(event["session"], "x <cookie:session>");
    let principal = explained["caller"]["principal"].to_string();
    assert!(principal.contains("header:authorization"), "{principal}");
    let (code, said) = file.print(
        &Call {
            headers: &[("MARKER-TOKEN\u{1}", "MARKER-TOKEN")],
            ..POST
        },
        &[],
    );
    assert_eq!(code, Some(1));
    assert!(!said.contains("MARKER"), "{said}");
}

#[test]
fn rules_of_the_path_say_why_they_are_not_the_calls() {
    let second = r#"
[[event]]
path = "/event"
name = "other"
batch = "progress"
match = { kind = ["b"] }
[[event]]
path = "/event"
method = "PUT"
batch = "progress"
"#;
    let first = CONFIG.replacen("[[event]]", &format!("{second}[[event]]"), 1);
    let explained = ConfigFile::with(&first).explain(&POST);
    let why: Vec<_> = explained["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["why_not"].as_str().unwrap_or("applies"))
        .collect();
    assert_eq!(why, ["match: kind differs", "it is for PUT", "applies"]);
    assert!(explained["rules_of_other_paths"].as_u64().unwrap() > 0);
}

#[test]
fn an_unseen_caller_has_a_line_of_its_own() {
    let text = CONFIG.replace("[journal]", "admit = \"proven\"\n[journal]");
    let file = ConfigFile::with(&text);
    let explained = file.explain(&POST);
    assert_eq!(explained["decision"]["decision"], "acknowledged");
    assert_eq!(explained["unseen"]["reason"], "unproven");
    let (_, said) = file.print(&POST, &[]);
    assert!(
        said.contains("of an unseen one: forwarded: unproven"),
        "{said}"
    );
}

#[test]
fn a_rule_that_is_off_is_explained_as_it_stands_and_as_it_would_in_coalesce() {
    let text = CONFIG.replacen(
        "batch = \"progress\"",
        "batch = \"progress\"\nmode = \"off\"",
        1,
    );
    let explained = ConfigFile::with(&text).explain(&POST);
    assert_eq!(explained["decision"]["reason"], "mode");
    assert_eq!(explained["events"].as_array(), None);
    let other = &explained["in_coalesce"];
    assert_eq!(other["decision"]["decision"], "acknowledged");
    assert_eq!(other["events"][0]["id"], "e1");
    assert!(explained["mode"]["bucket"].as_u64().unwrap() < 100);
}

#[test]
fn reads_and_writes_say_what_they_wait_for_and_what_they_touch() {
    let file = ConfigFile::with(CONFIG);
    let read = Call {
        method: "GET",
        path: "/progress?userId=u",
        headers: &[("authorization", "Bearer a")],
        body: "",
    };
    let explained = file.explain(&read);
    assert_eq!(explained["read"]["tags"][0], "progress:u");
    assert_eq!(explained["read"]["waits_for"][0], "progress");
    let untold = file.explain(&Call {
        path: "/progress",
        ..read
    });
    assert_eq!(untold["read"]["bypass"], "no-tag");
    assert_eq!(untold["read"]["untold"][0], "progress:{user}");
    let write = file.explain(&Call {
        path: "/snapshot?userId=u",
        ..POST
    });
    assert_eq!(write["decision"]["decision"], "write");
    assert_eq!(write["touches"]["waits_for"][0], "progress");
    assert_eq!(write["touches"]["makes_old"][0], "progress:u");
}

#[test]
fn an_explanation_fits_a_terminal_and_wrong_input_ends_with_1() {
    let file = ConfigFile::with(CONFIG);
    let long = format!(r#"{{"id":"e1","user":"u","lesson":"{}"}}"#, "x".repeat(300));
    let (code, said) = file.print(
        &Call {
            body: &long,
            ..POST
        },
        &[],
    );
    assert_eq!(code, Some(0));
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for wrong in [
        Call {
            method: "P ST",
            ..POST
        },
        Call {
            path: "not a path",
            ..POST
        },
        Call {
            headers: &[("host", "a b")],
            ..POST
        },
    ] {
        let (code, said) = file.print(&wrong, &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("allowed"), "{said}");
    }
    let (code, _) = file.print(&POST, &["--body", "/nowhere/body"]);
    assert_eq!(code, Some(1));
}
