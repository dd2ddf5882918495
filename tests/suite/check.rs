//! `tidegate check`: what `run` would trip over, told before it does.

use crate::support::process::run;
use std::path::Path;
use std::process::Command;

const ROUTE: &str = "[batch.b]\npath = \"/b\"\n[[event]]\npath = \"/e\"\nbatch = \"b\"\nevent = { \
                     clientEventId = \"{body.id}\", userId = \"{body.user}\" }\n";

/// The exit code and the words of a check; lines are broken anywhere.
fn check(directory: &Path, journal: &str, more: &str) -> (Option<i32>, String) {
    let config = directory.join("config.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \
         \"http://127.0.0.1:1\"\n[journal]\n{journal}\n{more}{ROUTE}"
    );
    std::fs::write(&config, text).unwrap();
    let (code, said) = run(&["check"], &config, &[]);
    let words: Vec<_> = said.split_whitespace().collect();
    (code, words.join(" "))
}

#[test]
fn keys_and_a_directory_that_a_start_would_end_with_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("key"), "short").unwrap();
    std::fs::create_dir(at("other")).unwrap();
    std::fs::write(at("other").join("letter.txt"), "dear").unwrap();
    std::fs::write(at("file"), "").unwrap();
    let path = |name: &str| format!("path = {:?}", at(name));
    let key = |name: &str| format!("{}\nkey_file = {:?}", path("new"), at(name));
    for (journal, wanted) in [
        (
            key("key"),
            "found 5 bytes; allowed are 32 bytes, or 64 hexadecimal digits",
        ),
        (key("missing"), "journal.key_file"),
        (
            path("other"),
            "holds \"letter.txt\" and is no journal of tidegate",
        ),
        (path("file"), "file"),
    ] {
        let (code, said) = check(directory.path(), &journal, "");
        assert_eq!(code, Some(1), "{journal}: {said}");
        assert!(said.contains(wanted), "{wanted} is not in {said}");
        assert!(!said.contains("no problems"), "{said}");
    }
    let (code, said) = check(directory.path(), &path("new"), "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("no problems"), "{said}");
    assert!(!at("new").exists(), "a check makes nothing");
}

#[test]
fn an_address_that_is_taken_is_a_warning_since_the_sidecar_may_run() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = directory.path().join("config.toml");
    let text =
        format!("[admin]\nlisten = \"{address}\"\n[upstream]\nurl = \"http://127.0.0.1:1\"\n");
    std::fs::write(&config, text).unwrap();
    let listen = [("TIDEGATE__SERVER__LISTEN", "127.0.0.1:0")];
    let (code, said) = run(&["check"], &config, &listen);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("warning: admin.listen {address} is taken")),
        "{said}"
    );
    let nowhere = [("TIDEGATE__SERVER__LISTEN", "192.0.2.1:80")];
    let (code, said) = run(&["check"], &config, &nowhere);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("server.listen 192.0.2.1:80 can't be opened"),
        "{said}"
    );
}

#[test]
fn what_a_route_would_lose_is_a_warning_where_it_coalesces_and_a_note_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let journal = "durability = \"none\"";
    let needs_more = "[batch.c]\npath = \"/c\"\nrequire = [\"lesson\"]\n[[event]]\npath = \"/f\"\nbatch = \
                      \"c\"\nevent = { clientEventId = \"{body.id}\" }\nmode = \"MODE\"\n";
    let lost = "POST /f: every call is forwarded: batch c requires lesson";
    for (mode, grade, more) in [
        ("coalesce", "WARNING", ""),
        ("off", "note", " (once its mode is coalesce; it is off)"),
        (
            "observe",
            "note",
            " (once its mode is coalesce; it is observe)",
        ),
    ] {
        let (code, said) = check(directory.path(), journal, &needs_more.replace("MODE", mode));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("{grade}: {lost}")), "{mode}: {said}");
        assert!(said.contains(more), "{mode}: {said}");
    }
}

#[test]
fn the_table_of_the_reference_configuration_fits_80_columns() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data").display().to_string();
    let variables = [
        ("TIDEGATE__JOURNAL__PATH", &*path),
        ("TIDEGATE__SERVER__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
    ];
    let (code, said) = run(&["check"], &reference, &variables);
    assert_eq!(code, Some(0), "{said}");
    let path_line = "no problems";
    for line in said.lines().filter(|line| !line.ends_with(path_line)) {
        let is_one_word = line.split_whitespace().count() == 1;
        assert!(line.chars().count() <= 80 || is_one_word, "{line}");
    }
}

/// In files of two listeners and an application's URL.
#[test]
fn a_configuration_whose_calls_would_go_round_or_whose_listeners_are_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let said_of = |server: &str, admin: &str, upstream: &str, more: &str| {
        let text = format!(
            "[server]\nlisten = \"{server}\"\n[admin]\nlisten = \"{admin}\"\n[upstream]\nurl = \
             \"{upstream}\"\n{more}"
        );
        std::fs::write(&config, text).unwrap();
        let (code, said) = run(&["check"], &config, &[]);
        (code, said.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let [server, admin] = ["127.0.0.1:18971", "127.0.0.1:18972"];
    for (upstream, more, wanted) in [
        (
            "http://127.0.0.1:18971",
            "",
            ":6: upstream.url: found http://127.0.0.1:18971/, where Tidegate itself listens",
        ),
        (
            "http://localhost:18972",
            "",
            ":6: upstream.url: found http://localhost:18972/, where Tidegate itself listens",
        ),
        (
            "http://127.0.0.1:1",
            "[batch.b]\nurl = \"http://localhost:18971/b\"\n",
            "batch.b.url: found http://localhost:18971/b, where Tidegate itself listens",
        ),
    ] {
        let (code, said) = said_of(server, admin, upstream, more);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    for one in [server, "0.0.0.0:18972"] {
        let admin = if one == server { server } else { admin };
        let (code, said) = said_of(one, admin, "http://127.0.0.1:1", "");
        assert_eq!(code, Some(1), "{said}");
        let wanted = ":4: admin.listen: found 127.0.0.1:1897";
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    let (code, said) = said_of(server, admin, "http://127.0.0.1:1", "");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn names_of_segments_as_other_routers_write_them_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let journal = format!("path = {:?}", directory.path().join("new"));
    for (path, segment) in [
        ("/u/:id", "\":id\""),
        ("/static/*", "\"*\""),
        ("/a/**", "\"**\""),
        ("/u/<id>", "\"<id>\""),
    ] {
        let more = format!("[[cache]]\npath = \"{path}\"\nttl = \"1s\"\n");
        let (code, said) = check(directory.path(), &journal, &more);
        assert_eq!(code, Some(0), "{said}");
        let wanted = format!("note: {path} matches a path with {segment} in it only");
        assert!(said.contains(&wanted), "{wanted} is not in {said}");
    }
    let more = "[[cache]]\npath = \"/v1/{id}/x:batch\"\nttl = \"1s\"\n";
    let (_, said) = check(directory.path(), &journal, more);
    assert!(!said.contains("letter by letter"), "{said}");
}

/// As `| head` does it.
#[test]
fn whoever_reads_no_more_ends_no_command_with_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    std::fs::write(&config, "[upstream]\nurl = \"http://127.0.0.1:1\"\n").unwrap();
    let wrong = directory.path().join("wrong.toml");
    std::fs::write(&wrong, "[upstream]\nurl = 7\n").unwrap();
    for (file, code) in [(&config, 0), (&wrong, 1)] {
        let closed = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        };
        let ended = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "--config"])
            .arg(file)
            .stdout(closed())
            .stderr(closed())
            .status()
            .unwrap();
        assert_eq!(ended.code(), Some(code), "{}", file.display());
    }
}

#[test]
fn a_key_that_is_not_there_is_wrong_input_and_hides_no_other_finding() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let journal = directory.path().join("journal");
    let text = format!(
        "[upstream]\nurl = \"http://127.0.0.1:1\"\n[journal]\npath = {:?}\nkey_file = {:?}\n",
        journal.display().to_string(),
        directory.path().join("nowhere").display().to_string(),
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir(&journal).unwrap();
    std::fs::write(journal.join("FORMAT"), "0").unwrap();
    let (code, said) = run(&["check", "--journal"], &config, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("passes through") && said.contains("nowhere"),
        "{said}"
    );
}
