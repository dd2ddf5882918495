//! A module imports only modules of a lower rank (the map in `src/lib.rs`).

use std::fs;
use std::path::{Path, PathBuf};

const RANKS: [&[&str]; 12] = [
    &[
        "event", "body", "clock", "coding", "json", "keyed", "peer", "tls", "version",
    ],
    // What identity and routes are written in stands below them; so does what counts the memory of
    // bodies.
    &["template", "memory", "rollout", "spans"],
    &[
        "identity", "route", "metrics", "notices", "drain", "recorder", "copies", "logging",
    ],
    &["journal", "cache", "upstream", "server"],
    &["ingest"],
    &["read", "token_keys", "webhook"],
    &["migration"],
    &["gateway", "admin"],
    &["config"],
    &["app"],
    &["demo"],
    &["cli", "main"],
];

/// The ranks within a room: its path in the crate, and its modules from the lowest on. Its `mod.rs`
/// stands above all of them, and none of them imports from it.
const INNER: &[(&str, &[&[&str]])] = &[
    (
        "event",
        &[
            &["ids", "raw", "subject", "token_life"],
            &["keys", "texts"],
            &["context", "tag"],
            &["carried"],
        ],
    ),
    (
        "template",
        &[
            &["path", "source"],
            &["placeholder"],
            &["text"],
            &["document"],
            &["mapping"],
        ],
    ),
    ("route", &[&["pattern"], &["rules"], &["found"], &["live"]]),
    (
        "journal",
        &[
            &["settings", "entry", "successors", "log"],
            &["record", "health", "tail"],
            &["vault", "refusals"],
            &["error", "commit"],
            &["directory", "fill", "syncs"],
            &["reclaim"],
            &["writer_thread"],
            &["recover"],
        ],
    ),
    (
        "journal::log",
        &[
            &["files", "frame", "live"],
            &["segment", "simulated_disk", "spares"],
            &["pieces", "writer"],
            &["replay"],
        ],
    ),
    (
        "journal::commit",
        &[
            &["index"],
            &["queue"],
            &["shared", "cut", "refusal", "rewrite"],
            &["leader"],
        ],
    ),
    (
        "journal::recover",
        &[
            &["findings", "reading", "stored"],
            &["opened"],
            &["examine", "start"],
            &["open"],
        ],
    ),
    // `recovery` brings back what a start finds, and the handles are for those outside: they know
    // all rooms.
    (
        "ingest",
        &[
            &["asker", "ring", "settings", "spread"],
            &["accept"],
            &["lanes"],
            &["delivery"],
            &["outcome"],
            &[
                "recovery",
                "acceptor",
                "caller_lanes",
                "caller_standing",
                "life",
                "operations",
                "stop",
                "tasks",
            ],
            &["assembly"],
        ],
    ),
    ("ingest::lanes", &[&["window"], &["shard"]]),
    (
        "ingest::accept",
        &[
            &["repetitions", "seen", "shares"],
            &["reputation"],
            &["contexts", "admit", "buckets", "changes"],
            &["refusal", "draft"],
            &["call"],
            &["mapping", "checks"],
            &["copied"],
            &["decode", "preview"],
            &["ack", "arrival", "look", "mirror", "watch"],
            &["show"],
            &["take"],
            &["client_batch"],
        ],
    ),
    (
        "ingest::accept::reputation",
        &[&["grounds", "refused", "renewals"]],
    ),
    (
        "ingest::delivery::gate",
        &[&["asking"], &["evidence", "limits"]],
    ),
    (
        "ingest::outcome::dead",
        &[&["letter"], &["pile", "selection"]],
    ),
    (
        "identity::keys",
        &[&["recognised", "stored"], &["reading"], &["hash"]],
    ),
    ("identity::verify", &[&["keyring", "provider"]]),
    ("spans", &[&["settings", "texts"], &["off", "otlp"]]),
    (
        "logging",
        &[&["note", "settings"], &["line"], &["queue"], &["access"]],
    ),
    (
        "read",
        &[
            &["answer", "forwarded_fields", "key", "scope"],
            &["ask"],
            &["known"],
            &["explain", "fetch_plan", "relay"],
            &["barrier", "complete"],
            &["store_answer"],
            &["fetch", "lookup", "write"],
        ],
    ),
    (
        "migration",
        &[
            &["copy_queue", "kept_modes", "mode_changes", "words"],
            &["learn", "modes"],
            &["observe", "parity"],
            &["shadow"],
        ],
    ),
    (
        "migration::shadow",
        &[
            &["settings", "stage"],
            &["mirror", "pairs"],
            &["states"],
            &["notes"],
            &["engine"],
        ],
    ),
    (
        "migration::observe",
        &[
            &["arrangement", "report", "sample", "tally", "trace"],
            &["advice", "paper"],
            &["sheet"],
            &["observer"],
        ],
    ),
    (
        "migration::parity",
        &[
            &["bounds", "compared", "header", "kind", "pairs", "shape"],
            &["learned", "report", "state"],
            &["answers", "tally", "verdict"],
            &["outcomes"],
            &["route_sheet"],
            &["sheet"],
        ],
    ),
    (
        "migration::learn",
        &[
            &["exchange", "leaves"],
            &["caller", "har", "private"],
            &["record", "routes"],
            &[
                "repeats", "batches", "history", "made", "reads", "slot", "taken",
            ],
            &["ack", "by_caller", "recording"],
            &["mapping"],
            &["credential", "draft", "verdict"],
            &["listing", "toml_text"],
            &["print"],
            &["survey"],
        ],
    ),
    ("migration::learn::mapping", &[&["search"], &["id", "user"]]),
    (
        "admin",
        &[
            &["access", "history", "reply"],
            &["dashboard"],
            &["token"],
            &["groups", "setup"],
            &["modes"],
            &[
                "config",
                "dead_letters",
                "events",
                "learn",
                "log_level",
                "metrics",
                "observe",
                "parity",
                "status",
                "users",
            ],
            &["summary"],
            &["live"],
        ],
    ),
    (
        "admin::metrics",
        &[&["event_path", "journal", "migration", "surroundings"]],
    ),
    (
        "metrics",
        &[
            &[
                "flights",
                "labels",
                "latencies",
                "ledger",
                "reached",
                "readings",
            ],
            &["of_group", "scrape"],
            &["process"],
        ],
    ),
    (
        "cli",
        &[
            &[
                "admin_client",
                "log",
                "manual",
                "page",
                "service_manager",
                "units",
            ],
            &["failure", "serve"],
            &[
                "explain",
                "forget",
                "inspect",
                "learn",
                "modes",
                "observe",
                "parity",
                "preflight",
            ],
            &["arguments"],
            &["commands"],
        ],
    ),
    (
        "cli::page",
        &[&["escape"], &["frame", "interval", "plot"], &["check"]],
    ),
    (
        "upstream",
        &[
            &[
                "head", "load", "loopback", "repeat", "reserve", "resolver", "tls", "wire",
            ],
            &["link"],
            &["forwarded", "error"],
            &["contact", "exchanges", "headers"],
            &["settings"],
            &["places"],
            &["upload"],
            &["answer_body", "connector", "tunnel"],
            &["ask", "http2"],
        ],
    ),
    (
        "server",
        &[
            &["descriptors", "newcomer", "shares", "turns", "unsent"],
            &["phase"],
            &["handed_out", "places", "stream"],
            &["answer", "http2", "listen", "tls"],
            &["client", "passed", "settings"],
        ],
    ),
    (
        "gateway",
        &[
            &["collect", "copied_body", "reply", "scope"],
            &["answers", "callers", "copied_answer", "unpack"],
            &["noted"],
            &["bodies", "recording", "touches"],
            &["decide", "forward", "own"],
            &["event", "pass_through", "rehearsal"],
            &["explain"],
        ],
    ),
    (
        "gateway::explain",
        &[
            &["reasons", "report", "secrets"],
            &["kept"],
            &["describe"],
            &["decision"],
        ],
    ),
    (
        "config",
        &[
            &["problem", "key", "differences"],
            &["tree"],
            &["section"],
            &["readers", "values"],
            &["sections"],
            &["settings", "credentials", "shown"],
            &["encryption", "own_addresses", "shadow_target"],
            &["heads", "links", "note"],
            &["cache_losses", "connections", "event_losses", "shadows"],
            &["losses"],
            &["print", "page"],
        ],
    ),
    // A section knows no other one.
    (
        "config::sections",
        &[&[
            "admin",
            "batch",
            "cache",
            "cors",
            "delivery",
            "event",
            "identity",
            "journal",
            "limits",
            "log",
            "migration",
            "notify",
            "preview",
            "relay",
            "server",
            "shadow",
            "store",
            "trace",
            "upstream",
            "write",
        ]],
    ),
    (
        "config::sections::batch",
        &[&["keys"], &["flush", "pack", "replies", "shape"]],
    ),
    (
        "app",
        &[
            &[
                "places",
                "rehearsal",
                "reload",
                "running",
                "shared",
                "takeover",
                "tasks",
            ],
            &["control", "explain", "keeping", "listeners", "staged"],
        ],
    ),
    (
        "demo",
        &[
            &["application"],
            &["learners"],
            &["arrangement"],
            &["report"],
            &["prediction"],
            &["stage"],
        ],
    ),
    (
        "demo::application",
        &[
            &["account", "body", "call", "catalogue", "census", "stamp"],
            &["reply", "session", "store", "tokens"],
            &["shared"],
            &["analytics", "auth", "progress", "reads"],
            &["routes"],
            &["upstream"],
        ],
    ),
    (
        "demo::learners",
        &[
            &["cache_status", "lesson", "rhythm", "tally"],
            &["session", "snapshot"],
            &["addresses", "setup"],
            &["caller"],
            &["learner"],
        ],
    ),
    (
        "demo::report",
        &[
            &["numbers", "run", "style", "audit"],
            &["moment", "verdict"],
            &["record", "screen"],
            &["page"],
        ],
    ),
];

/// The handles of the event path, and the rooms that have each. `app` puts them together.
const HANDLES: [(&str, &[&str]); 5] = [
    ("Acceptor", &["gateway"]),
    ("CallerLanes", &["gateway", "read"]),
    ("CallerStanding", &["gateway", "read"]),
    ("Operations", &["admin", "webhook"]),
    ("Stop", &[]),
];

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

/// The top-level module that a file belongs to.
fn module_of(file: &Path) -> String {
    let first = file
        .strip_prefix(root())
        .unwrap()
        .components()
        .next()
        .unwrap();
    let name = first.as_os_str().to_str().unwrap().trim_end_matches(".rs");
    name.trim_end_matches("_tests").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What a line imports or names of this crate.
fn imports(text: &str) -> Vec<String> {
    let flat = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let names = flat
        .split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group
                .split('}')
                .next()
                .unwrap()
                .split(',')
                .map(str::to_owned)
                .collect::<Vec<_>>(),
            None => vec![rest.to_owned()],
        });
    let word = |name: String| {
        name.trim()
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap()
            .to_owned()
    };
    names.map(word).filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_import_only_lower_ranks() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut checked = 0;
    for file in files {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let own =
            rank(&module).unwrap_or_else(|| panic!("{module} has no rank: add it to the map"));
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let other =
                rank(&import).unwrap_or_else(|| panic!("{}: {import} has no rank", file.display()));
            assert!(
                other < own || import == module,
                "{}: {module} may not import {import}",
                file.display()
            );
            checked += 1;
        }
    }
    assert!(
        checked > 50,
        "only {checked} imports were found: the test no longer sees them"
    );
}

/// A file's module path below the crate's root.
fn path_of(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(root()).unwrap().with_extension("");
    let mut path: Vec<_> = relative
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    path
}

/// What is named after a prefix such as `super::`, groups taken apart one level at a time.
fn named(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![
            rest.split([',', ';', '}', '(', ')', '<', '>', ' ', '\n'])
                .next()
                .unwrap()
                .to_owned(),
        ];
    };
    let (mut depth, mut items) = (0, vec![String::new()]);
    for letter in group.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                items.last_mut().unwrap().push(letter);
            }
        }
    }
    items
        .into_iter()
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

/// The module paths that a file names, from the crate's root; what only its tests name is left out.
fn paths_named(path: &[String], text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let flat = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for rest in flat.split("crate::").skip(1) {
        found.extend(named(rest));
    }
    let mut ups = 0;
    for piece in flat.split("super::").skip(1) {
        ups += 1;
        if piece.is_empty() {
            continue;
        }
        let above = path
            .get(..path.len().saturating_sub(ups))
            .unwrap_or_default()
            .join("::");
        found.extend(
            named(piece)
                .into_iter()
                .map(|name| format!("{above}::{name}")),
        );
        ups = 0;
    }
    found
}

#[test]
fn within_a_room_files_import_only_lower_ranks() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut checked = 0;
    for (room, ranks) in INNER {
        let place = |module: &str| ranks.iter().position(|modules| modules.contains(&module));
        let prefix = format!("{room}::");
        for file in &files {
            let path = path_of(file);
            let full = path.join("::");
            let Some(own) = full
                .strip_prefix(&prefix)
                .and_then(|rest| rest.split("::").next())
            else {
                continue;
            };
            if path.last().is_some_and(|file| file.ends_with("tests")) {
                continue;
            }
            let rank = place(own)
                .unwrap_or_else(|| panic!("{full}: {own} has no rank in {room}: add it to INNER"));
            for name in paths_named(&path, &fs::read_to_string(file).unwrap()) {
                let Some(other) = name
                    .strip_prefix(&prefix)
                    .and_then(|rest| rest.split("::").next())
                else {
                    continue;
                };
                // A type of the room itself: its handle, whose parts stand in the rooms.
                if other.starts_with(|c: char| c.is_uppercase()) {
                    continue;
                }
                let lower = place(other).is_some_and(|place| place < rank);
                assert!(lower || own == other, "{full} may not import {name}");
                checked += 1;
            }
        }
    }
    assert!(
        checked > 50,
        "only {checked} imports were found: the test no longer sees them"
    );
}

#[test]
fn each_room_has_the_handles_of_the_event_path_that_it_needs_and_no_other() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut seen = Vec::new();
    for file in files {
        let module = module_of(&file);
        if module == "ingest" || module == "app" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for statement in text
            .split("crate::ingest::")
            .skip(1)
            .filter_map(|rest| rest.split(';').next())
        {
            let words: Vec<_> = statement
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .collect();
            for (handle, rooms) in HANDLES.iter().filter(|(handle, _)| words.contains(handle)) {
                assert!(
                    rooms.contains(&&*module),
                    "{}: {module} may not have {handle}",
                    file.display()
                );
                seen.push((*handle, module.clone()));
            }
        }
    }
    for (handle, rooms) in HANDLES {
        for room in rooms {
            assert!(
                seen.contains(&(handle, (*room).to_owned())),
                "{room} has no {handle}: the list says more than is so"
            );
        }
    }
}
