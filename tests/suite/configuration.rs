//! `docs/configuration.md` says what the code does: every key and default, every entry of the built-in lists, every reason.

use std::collections::{BTreeMap, BTreeSet};
use tidegate::config::{Config, parse};
use tidegate::identity::{Kind, lists};
use tidegate::ingest::accept::refusal::REFUSABLE;

const DOCS: &str = include_str!("../../docs/configuration.md");
const LISTS: &str = include_str!("../../src/identity/lists.rs");
/// A key that no section has.
const UNKNOWN: &str = "zzzzzzzzzzzz";
/// Keys that are read only to say that they are void.
const VOID: [&str; 1] = ["forward_headers"];

/// The part of the page under a heading, up to the next heading.
fn under<'a>(heading: &str) -> &'a str {
    let (_, rest) = DOCS.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    rest.split("\n#").next().unwrap()
}

/// Rows of the tables there, head rows left out.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let line = line.replace("\\|", "\u{1}");
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('\u{1}', "|")).collect::<Vec<_>>()
    };
    let lines: Vec<_> = text.lines().collect();
    let is_row = |place: usize| lines[place].starts_with('|') && !lines[place].starts_with("|---");
    let is_head = |place: usize| lines.get(place + 1).is_some_and(|next| next.starts_with("|---"));
    (0..lines.len()).filter(|place| is_row(*place) && !is_head(*place)).map(|place| cells(lines[place])).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Sections as the page has them, each with what a file needs to have it.
const SECTIONS: [(&str, &str); 14] = [
    ("[server]", ""),
    ("[admin]", ""),
    ("[upstream]", ""),
    ("[[relay]]", ""),
    ("[identity]", ""),
    ("[cors]", ""),
    ("[journal]", ""),
    ("[delivery]", ""),
    ("[limits]", ""),
    ("[store]", ""),
    ("[batch.NAME]", "path = \"/b\"\n"),
    ("[[event]]", "path = \"/e\"\nbatch = \"NAME\"\n"),
    ("[[write]]", "path = \"/w\"\n"),
    ("[[cache]]", "path = \"/c\"\n"),
];

/// A file with one section more than it needs, and these lines in it.
fn file(section: &str, more: &str) -> String {
    let url = "url = \"http://127.0.0.1:1\"\n";
    let upstream = if section == "[upstream]" { String::new() } else { format!("[upstream]\n{url}") };
    let own = if section == "[upstream]" { url } else { "" };
    let group = if section == "[[event]]" { "[batch.NAME]\npath = \"/b\"\n" } else { "" };
    format!("{upstream}{group}{section}\n{own}{more}")
}

fn read(text: &str) -> Result<Config, String> {
    parse(text, "test", std::iter::empty()).map_err(|problems| problems.to_string())
}

#[test]
fn every_key_of_every_section_is_documented_and_no_other() {
    let mut checked = 0;
    for (section, _) in SECTIONS.into_iter().chain([("[preview]", "")]) {
        let found = read(&file(section, &format!("{UNKNOWN} = 1\n"))).unwrap_err();
        let allowed = found.lines().find_map(|line| line.split_once(&format!("{UNKNOWN}: unknown key; allowed are ")));
        let allowed = allowed.unwrap_or_else(|| panic!("{section}: {found}")).1;
        let known: BTreeSet<_> = allowed.split(", ").filter(|key| !VOID.contains(key)).collect();
        let rows = rows(under(&format!("## `{section}`")));
        let documented: BTreeSet<_> = rows.iter().map(|row| quoted(&row[0])[0]).collect();
        assert_eq!(documented, known, "{section}");
        checked += known.len();
    }
    assert!(checked > 100, "only {checked} keys were found: the test no longer sees them");
}

#[test]
fn every_documented_default_is_what_the_program_takes_without_the_key() {
    let mut checked = 0;
    for (section, needed) in SECTIONS.into_iter().filter(|(section, _)| !["[[relay]]", "[cors]"].contains(section)) {
        let plain = format!("{:?}", read(&file(section, needed)).unwrap());
        for row in rows(under(&format!("## `{section}`"))) {
            // A default in words is not looked at.
            let Some(default) = row[2].strip_prefix('`').and_then(|text| text.strip_suffix('`')) else { continue };
            let line = format!("{} = {default}\n", quoted(&row[0])[0]);
            if default.contains('`') || line.parse::<toml::Table>().is_err() {
                continue;
            }
            let with = read(&file(section, &format!("{needed}{line}")));
            assert_eq!(with.map(|config| format!("{config:?}")), Ok(plain.clone()), "{section} {line}");
            checked += 1;
        }
    }
    assert!(checked > 70, "only {checked} defaults were found: the test no longer sees them");
}

/// The one table of the built-in lists: what kind it gives each name or shape, by what it is of.
fn documented() -> BTreeMap<(&'static str, String), Kind> {
    let kind = |text: &str| match text {
        "principal" => Kind::Principal,
        "scope" => Kind::Scope,
        "condition" => Kind::Condition,
        "passing" => Kind::Passing,
        "per call" => Kind::PerCall,
        "proof" => Kind::Proof,
        "conditional" => Kind::Conditional,
        "framing" => Kind::Framing,
        other => panic!("{other:?} is no kind"),
    };
    let mut out = BTreeMap::new();
    for row in rows(under("### The built-in lists")).iter().filter(|row| row.len() == 3) {
        let of = if row[0].starts_with("cookie") {
            "cookie"
        } else if row[0].starts_with("scheme") {
            "scheme"
        } else {
            assert_eq!(row[0], "header");
            "header"
        };
        for name in quoted(&row[1]) {
            assert_eq!(out.insert((of, name.to_owned()), kind(&row[2])), None, "{name} stands twice");
        }
        if row[1] == "any other" {
            out.insert((of, row[1].clone()), kind(&row[2]));
        }
    }
    out
}

/// What the code says of a name, or of the names of a shape.
fn coded(of: &str, name: &str) -> Kind {
    let gaps = ["1", "A1", "a", "0123456789abcdef0123456789abcdef", "1_2", "1-2"];
    let names: Vec<String> = if name == "any other" {
        vec!["x-unheard-of".to_owned()]
    } else if of == "cookie" && name == "_hj…_…" {
        vec!["_hjSessionUser_123".to_owned()]
    } else if name.contains('…') {
        gaps.iter().map(|gap| name.replace('…', gap)).collect()
    } else {
        vec![name.to_owned()]
    };
    let kinds: Vec<_> = names
        .iter()
        .map(|name| match of {
            "cookie" => lists::cookie(name),
            "scheme" if lists::proves_one_call(&format!("{name} x")) => Kind::Proof,
            "scheme" => Kind::Scope,
            _ => lists::header(name),
        })
        .collect();
    let other = if of == "cookie" { Kind::Principal } else { Kind::Scope };
    kinds.iter().copied().find(|kind| *kind != other).unwrap_or(other)
}

#[test]
fn the_documented_lists_say_what_the_code_says() {
    let documented = documented();
    for ((of, name), kind) in &documented {
        assert_eq!(coded(of, name), *kind, "{of} {name}");
    }
    assert!(documented.len() > 130, "only {} names were found: the test no longer sees them", documented.len());
}

#[test]
fn every_name_of_the_built_in_lists_is_documented() {
    let documented = documented();
    let between = |from: &str, to: &str| LISTS.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let literals = |text: &'static str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(|line| line.split('"').skip(1).step_by(2)).collect::<Vec<_>>()
    };
    let exact = [
        ("header", between("pub fn header(", "/// Families of names")),
        ("scheme", between("const PROVING_SCHEMES", "/// Whether the Authorization")),
        ("cookie", between("pub fn cookie(", "/// Cookies of analytics services")),
    ];
    for (of, text) in exact {
        for name in literals(text) {
            assert!(documented.contains_key(&(of, name.to_owned())), "{of} {name} is not in the table");
        }
    }
    let shapes = [
        ("header", between("fn shaped(", "/// Words in the names")),
        ("cookie", between("fn is_shaped_cookie(", "#[cfg(test)]")),
    ];
    for (of, text) in shapes {
        for piece in literals(text) {
            let there = documented.keys().any(|(one, name)| *one == of && name.contains('…') && name.contains(piece));
            assert!(there, "no shape of a {of} in the table holds {piece:?}");
        }
    }
}

#[test]
fn the_words_that_tell_of_a_caller_are_documented() {
    let code = LISTS.split_once("const TELLING").unwrap().1.split_once(';').unwrap().1.split_once("];").unwrap().0;
    let coded: Vec<_> = code.split('"').skip(1).step_by(2).collect();
    let page = under("### The built-in lists");
    let said = page.split_once("one of these words:").unwrap().1.split_once(".\n").unwrap().0;
    assert_eq!(quoted(said), coded);
}

#[test]
fn every_reason_that_a_group_can_refuse_for_is_documented() {
    let rows = rows(under("## Forwarded, or refused"));
    let documented: BTreeSet<_> = rows.iter().map(|row| quoted(&row[0])[0]).collect();
    assert_eq!(documented, BTreeSet::from(REFUSABLE));
}

#[test]
fn the_readmes_configuration_is_short_and_loses_no_field() {
    let readme = include_str!("../../README.md");
    let text = readme.split_once("## In front of your own application").unwrap().1;
    let text = text.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let lines = text.lines().filter(|line| !line.is_empty());
    assert!(lines.clone().count() <= 12, "{} lines", lines.count());
    let said = tidegate::config::print::table(&read(text).unwrap());
    assert!(!said.contains("left out"), "{said}");
}
