//! A module imports only modules of a lower rank (the map in `src/lib.rs`).

use std::fs;
use std::path::{Path, PathBuf};

const RANKS: [&[&str]; 11] = [
    &["event", "body", "clock", "json", "keyed", "peer"],
    // What identity and routes are written in stands below them; so does what counts the memory of bodies.
    &["template", "memory"],
    &["identity", "route", "rollout", "metrics", "notices", "drain"],
    &["journal", "cache", "upstream", "server"],
    &["ingest"],
    &["read"],
    &["gateway", "admin"],
    &["config"],
    &["app"],
    &["demo"],
    &["cli", "main"],
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
    let first = file.strip_prefix(root()).unwrap().components().next().unwrap();
    let name = first.as_os_str().to_str().unwrap().trim_end_matches(".rs");
    name.trim_end_matches("_tests").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What a line imports or names of this crate.
fn imports(text: &str) -> Vec<String> {
    let flat = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let names = flat.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap().split(',').map(str::to_owned).collect::<Vec<_>>(),
        None => vec![rest.to_owned()],
    });
    let word = |name: String| name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
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
        let own = rank(&module).unwrap_or_else(|| panic!("{module} has no rank: add it to the map"));
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let other = rank(&import).unwrap_or_else(|| panic!("{}: {import} has no rank", file.display()));
            assert!(other < own || import == module, "{}: {module} may not import {import}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were found: the test no longer sees them");
}
