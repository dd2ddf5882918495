//! The configuration: every problem at once, each with its line, what was found and what is
//! allowed.

use tidegate::config::{Config, parse, print};
use tidegate::journal::settings::Durability;
use tidegate::template::Path;

const PLAIN: &str = "[upstream]\nurl = \"http://127.0.0.1:1\"\n";

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(text, "config.toml", variables).map_err(|problems| problems.to_string())
}

#[test]
fn a_file_with_only_an_address_is_a_plain_relay() {
    let config = with(PLAIN, &[]).unwrap();
    assert!(config.events.is_empty() && config.caches.is_empty());
    assert!(print::table(&config).contains("passes through to http://127.0.0.1:1"));
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = r#"
[server]
listen = "nowhere"
max_connectons = 5
[admin]
listen = "0.0.0.0:9901"
[upstream]
url = "ftp://x"
[journal]
durability = "none"
[batch.progress]
path = "/batch"
window = "0s"
flush_at = 99
max_bytes = "64 parsecs"
[[event]]
path = "event"
batch = "progres"
event = { id = "{bodi.x}" }
[[cache]]
path = "/c"
force = true
public = true
"#;
    let found = with(text, &[]).unwrap_err();
    let wanted = [
        "config.toml:3: server.listen: found \"nowhere\"; allowed is an address",
        "config.toml:4: server.max_connectons: unknown key; did you mean \"max_connections\"?",
        "config.toml:6: admin.listen: found 0.0.0.0:9901; without admin.token_file, which names a file with a token, only loopback",
        "config.toml:8: upstream.url: found \"ftp://x\"; allowed is \"http://HOST:PORT\"",
        "config.toml:13: batch.progress.window: found \"0s\"; allowed is a duration above zero",
        "config.toml:14: batch.progress.flush_at: found 99; at most max_events = 25 is allowed",
        "config.toml:15: batch.progress.max_bytes: found \"64 parsecs\"; allowed is a size",
        "config.toml:17: event[0].path: found \"event\"; a path starts with \"/\"",
        "config.toml:18: event[0].batch: found \"progres\"; allowed are the groups progress",
        "config.toml:19: event[0].event: at character 1: found \"bodi.x\"; allowed are",
        "config.toml:22: cache[0].force: a forced entry is never public",
    ];
    for line in wanted {
        assert!(
            found.lines().any(|one| one.starts_with(line)),
            "{line}\nis not in\n{found}"
        );
    }
    let numbers: Vec<u32> = found
        .lines()
        .map(|line| line.split(':').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "in the order of the file: {numbers:?}");
}

#[test]
fn an_unreadable_file_names_its_line() {
    assert!(
        with("[upstream]\nurl = \n", &[])
            .unwrap_err()
            .starts_with("config.toml:2: ")
    );
    assert!(
        with("", &[])
            .unwrap_err()
            .contains("upstream.url: is missing")
    );
}

#[test]
fn what_an_acknowledgement_survives_is_disk_unless_said_otherwise() {
    let routes = "[batch.b]\npath = \"/b\"\n[[event]]\npath = \"/e\"\nbatch = \"b\"\n";
    let level = |journal: &str| with(&format!("{PLAIN}{journal}{routes}"), &[]).unwrap();
    assert_eq!(level("").journal.durability, Durability::Disk);
    let notes = [
        "pending events and their credentials lie open",
        "a power cut may lose",
        "a crash loses them",
    ];
    for (name, notes) in [
        ("disk", &notes[..1]),
        ("process", &notes[..2]),
        ("none", &notes[2..]),
    ] {
        let table = print::table(&level(&format!("[journal]\ndurability = \"{name}\"\n")));
        assert!(notes.iter().all(|note| table.contains(note)), "{table}");
    }
    let wrong = with(
        &format!("{PLAIN}[journal]\ndurability = \"fsync\"\n{routes}"),
        &[],
    )
    .unwrap_err();
    assert!(
        wrong.contains("found \"fsync\"; allowed is one of \"disk\", \"process\", \"none\""),
        "{wrong}"
    );
}

#[test]
fn variables_override_keys_of_the_file() {
    let text =
        format!("{PLAIN}[journal]\ndurability = \"none\"\n[batch.my-group]\npath = \"/b\"\n");
    let config = with(
        &text,
        &[
            ("TIDEGATE__UPSTREAM__URL", "http://127.0.0.1:2"),
            ("TIDEGATE__BATCH__MY_GROUP__WINDOW", "7s"),
            ("TIDEGATE__BATCH__MY_GROUP__FLUSH_AT", "3"),
            ("TIDEGATE__SERVER__MAX_CONNECTIONS", "77"),
            ("OTHER", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.upstream.url, "http://127.0.0.1:2");
    assert_eq!(
        (config.groups[0].window.as_secs(), config.groups[0].flush_at),
        (7, 3)
    );
    assert_eq!(config.server.max_connections, 77);
    let wrong = with(
        PLAIN,
        &[
            ("TIDEGATE__SERVER__DRAIN", "soon"),
            ("TIDEGATE__SERVER__DRAN", "1s"),
        ],
    )
    .unwrap_err();
    assert!(
        wrong.contains("TIDEGATE__SERVER__DRAIN: server.drain: found \"soon\""),
        "{wrong}"
    );
    assert!(
        wrong.contains("TIDEGATE__SERVER__DRAN: server.dran: unknown key; did you mean \"drain\"?"),
        "{wrong}"
    );
}

const EVENT: &str = "[batch.b]\npath = \"/b\"\n[[event]]\npath = \"/e\"\nbatch = \"b\"\n";

#[test]
fn what_frames_an_answer_or_a_batch_is_no_header_that_a_template_may_set() {
    let ack = |header: &str| {
        with(
            &format!("{PLAIN}{EVENT}ack = {{ headers = {{ {header} }} }}\n"),
            &[],
        )
    };
    assert!(ack("\"x-took\" = \"{now.ms}\", \"cache-control\" = \"private\"").is_ok());
    for name in [
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "trailer",
        "upgrade",
        "content-encoding",
        "date",
        "tidegate-event",
    ] {
        let wrong = ack(&format!("\"{name}\" = \"5\"")).unwrap_err();
        let said = format!("{name} is Tidegate's own in an acknowledgement");
        assert!(wrong.contains(&said), "{wrong}");
    }
    let wrong = ack("\"x-a\" = [\"1\", \"2\"]").unwrap_err();
    assert!(
        wrong.contains("\"x-a\": found a list; a header's name and a text"),
        "{wrong}"
    );
    for name in ["connection", "keep-alive", "content-length", "expect"] {
        let text = format!("{PLAIN}[batch.b]\npath = \"/b\"\nheaders = {{ \"{name}\" = \"5\" }}\n");
        assert!(with(&text, &[]).is_err(), "{name}");
    }
}

#[test]
fn what_a_rule_matches_is_a_member_or_a_pointer_and_has_values() {
    let rule = |found: &str| with(&format!("{PLAIN}{EVENT}match = {{ {found} }}\n"), &[]);
    let place = |found: &str| rule(found).unwrap().events[0].matches[0].0.clone();
    assert_eq!(place("kind = \"a\""), Path::of(&["kind"]));
    assert_eq!(
        place("\"/kind/name\" = [\"a\"]"),
        Path::of(&["kind", "name"])
    );
    assert_eq!(place("\"/a.b\" = [1]"), Path::of(&["a.b"]));
    let wrong = rule("\"kind.name\" = [\"a\"]").unwrap_err();
    assert!(
        wrong.contains("\"/kind/name\"") && wrong.contains("\"/kind.name\""),
        "{wrong}"
    );
    let wrong = rule("kind = []").unwrap_err();
    assert!(
        wrong.contains("kind: found an empty list; at least one value"),
        "{wrong}"
    );
}

#[test]
fn a_variable_that_is_no_text_is_a_problem_if_it_is_tidegates() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, PLAIN).unwrap();
    let check = |name: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let command = command.arg("check").arg("--config").arg(&file);
        command
            .env(name, OsStr::from_bytes(b"\xff"))
            .output()
            .unwrap()
    };
    assert_eq!(check("OTHER").status.code(), Some(0));
    let out = check("TIDEGATE__SERVER__LISTEN");
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("TIDEGATE__SERVER__LISTEN: found \"\\xFF\"; text in UTF-8 is allowed"),
        "{said}"
    );
}

#[test]
fn the_shipped_configuration_says_what_each_route_does() {
    let table = print::table(&with(include_str!("../../config.toml"), &[]).unwrap());
    let wanted = [
        "POST /api/client/progress/lesson acknowledged 200 into batch progress",
        "POST /api/analytics/events forwarded: mode is off (only bodies that match)",
        "POST /api/client/assignments/progress forwarded: mode is off",
        "POST /api/learner/progress acknowledged 202 into batch snapshot",
        "batch snapshot: after 5s each goes out as the single call that it is; of those of one \
         course_id|courseId only",
        "the older ones are superseded; in one order with progress",
        "sealed by priority events of progress, snapshot too",
        "GET /api/client/progress/summary cached per credential for 30s, whatever the response says",
        "any everything else passes through to http://127.0.0.1:8888",
    ];
    // Columns are as wide as their widest cell.
    let table = table.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    for line in wanted {
        assert!(table.contains(line), "{line}\nis not in\n{table}");
    }
    let write = with(
        &format!("{PLAIN}[[write]]\npath = \"/w\"\ndrains = [\"progress:{{user}}\"]\n"),
        &[],
    )
    .unwrap();
    // There is no group whose events it could meet.
    assert!(
        print::table(&write).contains("forwarded, and no group makes old what its drains names")
    );
}

#[test]
fn a_variable_for_a_route_that_is_not_there_is_a_problem() {
    let text = format!("{PLAIN}[[cache]]\npath = \"/c\"\nttl = \"1s\"\n");
    let found = with(
        &text,
        &[
            ("TIDEGATE__CACHE__0__TTL", "2s"),
            ("TIDEGATE__CACHE__7__TTL", "3s"),
        ],
    )
    .unwrap_err();
    assert!(
        found.contains("TIDEGATE__CACHE__7__TTL: cache[1]: "),
        "{found}"
    );
    assert!(!found.contains("CACHE__0"), "{found}");
}

#[test]
fn the_table_says_what_a_route_needs_and_that_it_has_no_tags() {
    let shipped = print::table(&with(include_str!("../../config.toml"), &[]).unwrap());
    assert!(
        shipped.contains("another type than application/json is forwarded"),
        "{shipped}"
    );
    assert!(
        shipped.contains("forwarded unless there is {body.course_id|body.courseId}"),
        "{shipped}"
    );
    let bare = with(
        &format!("{PLAIN}[[cache]]\npath = \"/c\"\nttl = \"1s\"\n"),
        &[],
    )
    .unwrap();
    assert!(print::table(&bare).contains("for 1s; no tags: no event makes it old"));
}

#[test]
fn a_cache_route_says_how_long_it_is_served_stale() {
    let route = "[[cache]]\npath = \"/{*rest}\"\nheuristic = true\nstale_while_revalidate = \
        \"5s\"\nstale_if_error = \"10m\"\n";
    let table = print::table(&with(&format!("{PLAIN}{route}"), &[]).unwrap());
    let wanted = "cached per credential for as long as the response says, or guessed from \
                  Last-Modified, then 5s while it is asked again, or 600s while asking fails; no \
                  tags: no event makes it old";
    assert!(table.contains(wanted), "{table}");
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_trace_section_is_an_error_where_the_program_cannot_record_spans() {
    let found = with(&format!("{PLAIN}[trace]\nsample = 0.5\n"), &[]).unwrap_err();
    let wanted = "config.toml:3: trace: found the section, and this program was built without the \
                  feature otlp";
    assert!(found.contains(wanted), "{found}");
}

#[test]
fn what_verifies_tokens_is_one_secret_or_one_address_and_no_error_shows_a_secret() {
    let line = |jwt: &str| format!("{PLAIN}[identity]\njwt = {jwt}\n");
    let secret = [("JWT_SECRET", "MARKER7741"), ("EMPTY", " \n")];
    for good in [
        "{ secret_env = \"JWT_SECRET\" }",
        "{ secret_env = \"JWT_SECRET\", secret_encoding = \"text\" }",
        "{ jwks_url = \"http://127.0.0.1:9/keys\" }",
    ] {
        let config = with(&line(good), &secret).unwrap_or_else(|error| panic!("{good}: {error}"));
        assert!(config.identity.jwt.is_some(), "{good}");
        assert!(!format!("{config:?}").contains("MARKER7741"), "{good}");
    }
    for (wrong, wanted) in [
        (
            "{}",
            "identity.jwt: exactly one of secret_env (a variable's name), secret_file (a path)",
        ),
        (
            "{ secret_env = \"JWT_SECRET\", jwks_url = \"https://x\" }",
            "identity.jwt: exactly one of secret_env",
        ),
        (
            "{ secret_env = \"NOWHERE\" }",
            "identity.jwt.secret_env: the environment has no variable NOWHERE",
        ),
        (
            "{ secret_env = \"EMPTY\" }",
            "identity.jwt.secret_env: its secret is empty",
        ),
        (
            "{ secret_env = \"JWT_SECRET\", secret_encoding = \"base64\" }",
            "identity.jwt.secret_env: its secret is no base64",
        ),
        (
            "{ secret_env = \"JWT_SECRET\", secret_encoding = \"hex\" }",
            "identity.jwt.secret_encoding: found \"hex\"; allowed",
        ),
        (
            "{ secret_file = \"/nowhere/secret\" }",
            "identity.jwt.secret_file: /nowhere/secret can't be read",
        ),
        (
            "{ jwks_url = \"ftp://x\" }",
            "identity.jwt.jwks_url: found the scheme ftp",
        ),
        (
            "{ jwks_url = \"http://x/keys\", secret_encoding = \"text\" }",
            "identity.jwt.secret_encoding: is of a secret",
        ),
        (
            "{ secret = \"MARKER7741\" }",
            "identity.jwt.secret: unknown key; allowed are jwks_url, secret_encoding",
        ),
        ("\"x\"", "identity.jwt: found "),
    ] {
        let found = with(&line(wrong), &secret).unwrap_err();
        assert!(found.contains(wanted), "{wrong}: {found}");
        assert!(!found.contains("MARKER7741"), "{found}");
    }
}
