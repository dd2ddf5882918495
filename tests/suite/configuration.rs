//! `docs/configuration.md` says what the code does: every key and default, every entry of the
//! built-in lists, every reason.

use std::collections::{BTreeMap, BTreeSet};
use tidegate::config::{Config, page, parse};
use tidegate::identity::{Kind, lists};
use tidegate::ingest::accept::refusal::REFUSABLE;

const DOCS: &str = include_str!("../../docs/configuration.md");
const LISTS: &str = include_str!("../../src/identity/lists.rs");
/// A key that no section has.
const UNKNOWN: &str = "zzzzzzzzzzzz";
/// The part of the page under a heading, up to the next heading.
fn under<'a>(heading: &str) -> &'a str {
    let (_, rest) = DOCS
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    rest.split("\n#").next().unwrap()
}

/// Rows of the tables there, head rows left out.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let line = line.replace("\\|", "\u{1}");
        let cells = line.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().replace('\u{1}', "|"))
            .collect::<Vec<_>>()
    };
    let lines: Vec<_> = text.lines().collect();
    let is_row = |place: usize| lines[place].starts_with('|') && !lines[place].starts_with("|---");
    let is_head = |place: usize| {
        lines
            .get(place + 1)
            .is_some_and(|next| next.starts_with("|---"))
    };
    (0..lines.len())
        .filter(|place| is_row(*place) && !is_head(*place))
        .map(|place| cells(lines[place]))
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Sections as the page has them, each with what a file needs to have it.
const SECTIONS: [(&str, &str); 18] = [
    ("[server]", ""),
    ("[admin]", ""),
    ("[log]", ""),
    ("[notify]", ""),
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
    ("[migration]", ""),
    ("[shadow]", ""),
    ("[[write]]", "path = \"/w\"\n"),
    ("[[cache]]", "path = \"/c\"\n"),
];

/// A file with one section more than it needs, and these lines in it.
fn file(section: &str, more: &str) -> String {
    let url = "url = \"http://127.0.0.1:1\"\n";
    let upstream = if section == "[upstream]" {
        String::new()
    } else {
        format!("[upstream]\n{url}")
    };
    let own = if section == "[upstream]" { url } else { "" };
    let group = if section == "[[event]]" {
        "[batch.NAME]\npath = \"/b\"\n"
    } else {
        ""
    };
    format!("{upstream}{group}{section}\n{own}{more}")
}

fn read(text: &str) -> Result<Config, String> {
    parse(text, "test", std::iter::empty()).map_err(|problems| problems.to_string())
}

/// Variable that has the page's tables written anew.
const RENEW: &str = "TIDEGATE_RENEW_DOCS";

/// The page with the tables of the program in the place of its own.
fn renewed() -> String {
    let mut page = DOCS.to_owned();
    for (heading, table) in page::tables() {
        let (before, rest) = page
            .split_once(&format!("\n## `{heading}`\n"))
            .unwrap_or_else(|| panic!("no {heading}"));
        let (prose, old) = rest
            .split_once("| key |")
            .unwrap_or_else(|| panic!("{heading} has no table"));
        let after = old.split_once("\n\n").unwrap().1;
        assert!(!prose.contains("\n## "), "{heading} has no table");
        page = format!("{before}\n## `{heading}`\n{prose}{table}\n{after}");
    }
    page
}

#[test]
fn the_pages_tables_are_those_of_the_program() {
    let renewed = renewed();
    if std::env::var_os(RENEW).is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        std::fs::write(file, &renewed).unwrap();
        return;
    }
    let differing = renewed
        .lines()
        .zip(DOCS.lines())
        .find(|(new, old)| new != old);
    assert!(
        renewed == DOCS,
        "docs/configuration.md is old, first here: {differing:?}\nrenew it: {RENEW}=1 cargo test \
         --test suite configuration"
    );
}

#[test]
fn every_section_of_the_page_is_one_of_the_program() {
    let headings = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    let known: Vec<_> = page::tables()
        .into_iter()
        .map(|(heading, _)| heading)
        .collect();
    assert_eq!(headings.collect::<Vec<_>>(), known);
    let tested: Vec<_> = SECTIONS
        .iter()
        .map(|(heading, _)| *heading)
        .chain(["[preview]", "[trace]"])
        .collect();
    assert_eq!(tested, known);
}

/// A row's key and its cells.
fn keys_of(section: &str) -> Vec<(String, Vec<String>)> {
    let rows = rows(under(&format!("## `{section}`")));
    rows.into_iter()
        .map(|row| (quoted(&row[0])[0].to_owned(), row))
        .collect()
}

/// The keys that the program takes where it finds an unknown one; `before` is the path of the table
/// that it stands in.
fn accepted(section: &str, before: &str) -> BTreeSet<String> {
    let found = read(&file(section, &format!("{before}{UNKNOWN} = 1\n"))).unwrap_err();
    let allowed = found
        .lines()
        .find_map(|line| line.split_once(&format!("{UNKNOWN}: unknown key; allowed are ")));
    let allowed = allowed
        .unwrap_or_else(|| panic!("{section} {before}: {found}"))
        .1;
    allowed.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_of_every_section_is_documented_and_no_other() {
    let mut checked = 0;
    for (section, _) in SECTIONS
        .into_iter()
        .chain([("[preview]", ""), ("[trace]", "")])
    {
        let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (key, _) in keys_of(section) {
            let (before, name) = key
                .rsplit_once('.')
                .map_or(("", &*key), |(before, name)| (before, name));
            let before = if before.is_empty() {
                String::new()
            } else {
                format!("{before}.")
            };
            documented
                .entry(before)
                .or_default()
                .insert(name.to_owned());
        }
        for (before, names) in documented {
            assert_eq!(names, accepted(section, &before), "{section} {before}");
            checked += names.len();
        }
    }
    assert!(
        checked > 150,
        "only {checked} keys were found: the test no longer sees them"
    );
}

#[test]
fn every_key_with_keys_of_its_own_has_a_row_for_each() {
    let mut checked = 0;
    for (section, _) in SECTIONS
        .into_iter()
        .chain([("[preview]", ""), ("[trace]", "")])
    {
        let keys = keys_of(section);
        for (key, row) in keys.iter().filter(|(_, row)| row[1].starts_with("`{ ")) {
            let names: Vec<_> = row[1]
                .trim_matches(['`', '{', '}', ' '])
                .split(", ")
                .collect();
            let below = keys
                .iter()
                .filter_map(|(other, _)| other.strip_prefix(key)?.strip_prefix('.'));
            assert_eq!(below.collect::<Vec<_>>(), names, "{section} {key}");
            checked += 1;
        }
    }
    assert!(
        checked > 7,
        "only {checked} tables were found: the test no longer sees them"
    );
}

#[test]
fn the_words_of_a_choice_are_those_that_the_program_takes() {
    let mut checked = 0;
    for (section, _) in SECTIONS {
        let is_choice = |kind: &str| {
            kind.split(", ")
                .all(|word| word.starts_with("`\"") && word.ends_with("\"`"))
        };
        for (key, row) in keys_of(section)
            .iter()
            .filter(|(_, row)| row[1].contains(", ") && is_choice(&row[1]))
        {
            let found = read(&file(section, &format!("{key} = \"{UNKNOWN}\"\n"))).unwrap_err();
            let line = found
                .lines()
                .find(|line| line.contains(UNKNOWN))
                .unwrap_or_else(|| panic!("{key}: {found}"));
            let (_, allowed) = line
                .split_once("one of ")
                .unwrap_or_else(|| panic!("{key}: {line}"));
            let taken: BTreeSet<_> = allowed.split('"').skip(1).step_by(2).collect();
            let documented: BTreeSet<_> = quoted(&row[1])
                .into_iter()
                .map(|word| word.trim_matches('"'))
                .collect();
            assert_eq!(documented, taken, "{section} {key}");
            checked += 1;
        }
    }
    assert!(
        checked > 9,
        "only {checked} choices were found: the test no longer sees them"
    );
}

#[test]
fn the_limits_of_a_number_are_those_that_the_program_keeps() {
    let mut checked = 0;
    for (section, needed) in SECTIONS {
        for (key, row) in keys_of(section) {
            let Some((low, high)) = row[1].split_once(" to ") else {
                continue;
            };
            let limits = [low, high].map(|limit| limit.replace(',', "").parse::<u64>().unwrap());
            for (value, within) in [(limits[0], true), (limits[1], true), (limits[1] + 1, false)] {
                let found = read(&file(section, &format!("{needed}{key} = {value}\n")))
                    .err()
                    .unwrap_or_default();
                let refused = found.contains(&format!(
                    "allowed is a whole number from {} to {}",
                    limits[0], limits[1]
                ));
                assert_eq!(!refused, within, "{section} {key} = {value}: {found}");
            }
            checked += 1;
        }
    }
    assert!(
        checked > 16,
        "only {checked} numbers were found: the test no longer sees them"
    );
}

#[test]
fn every_documented_default_is_what_the_program_takes_without_the_key() {
    let mut checked = 0;
    for (section, needed) in SECTIONS
        .into_iter()
        .filter(|(section, _)| !["[[relay]]", "[cors]"].contains(section))
    {
        let plain = format!("{:?}", read(&file(section, needed)).unwrap());
        let keys = keys_of(section);
        for (key, row) in &keys {
            // A default in words is not looked at, nor one in a table that isn't there by default.
            let Some(default) = row[2]
                .strip_prefix('`')
                .and_then(|text| text.strip_suffix('`'))
            else {
                continue;
            };
            let is_table = |(outer, row): &&(String, Vec<String>)| {
                key.starts_with(&format!("{outer}.")) && !row[2].is_empty()
            };
            let line = format!("{key} = {default}\n");
            if keys.iter().any(|outer| is_table(&outer))
                || default.contains('`')
                || line.parse::<toml::Table>().is_err()
            {
                continue;
            }
            let with = read(&file(section, &format!("{needed}{line}")));
            assert_eq!(
                with.map(|config| format!("{config:?}")),
                Ok(plain.clone()),
                "{section} {line}"
            );
            checked += 1;
        }
    }
    assert!(
        checked > 75,
        "only {checked} defaults were found: the test no longer sees them"
    );
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
    for row in rows(under("### The built-in lists"))
        .iter()
        .filter(|row| row.len() == 3)
    {
        let of = if row[0].starts_with("cookie") {
            "cookie"
        } else if row[0].starts_with("scheme") {
            "scheme"
        } else {
            assert_eq!(row[0], "header");
            "header"
        };
        for name in quoted(&row[1]) {
            assert_eq!(
                out.insert((of, name.to_owned()), kind(&row[2])),
                None,
                "{name} stands twice"
            );
        }
        if row[1] == "any other" {
            out.insert((of, row[1].clone()), kind(&row[2]));
        }
    }
    out
}

/// What the code says of a name, or of the names of a shape.
fn coded(of: &str, name: &str) -> Kind {
    let gaps = [
        "1",
        "A1",
        "a",
        "0123456789abcdef0123456789abcdef",
        "1_2",
        "1-2",
        "0123456789",
        "1fff",
        "1.1fff",
    ];
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
    let other = if of == "cookie" {
        Kind::Principal
    } else {
        Kind::Scope
    };
    kinds
        .iter()
        .copied()
        .find(|kind| *kind != other)
        .unwrap_or(other)
}

#[test]
fn the_documented_lists_say_what_the_code_says() {
    let documented = documented();
    for ((of, name), kind) in &documented {
        assert_eq!(coded(of, name), *kind, "{of} {name}");
    }
    assert!(
        documented.len() > 130,
        "only {} names were found: the test no longer sees them",
        documented.len()
    );
}

#[test]
fn every_name_of_the_built_in_lists_is_documented() {
    let documented = documented();
    let between =
        |from: &str, to: &str| LISTS.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let literals = |text: &'static str| {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(|line| line.split('"').skip(1).step_by(2))
            .collect::<Vec<_>>()
    };
    let exact = [
        ("header", between("pub fn header(", "/// Families of names")),
        (
            "scheme",
            between("const PROVING_SCHEMES", "/// Whether the Authorization"),
        ),
        (
            "cookie",
            between("pub fn cookie(", "/// Cookies of analytics services"),
        ),
    ];
    for (of, text) in exact {
        for name in literals(text) {
            assert!(
                documented.contains_key(&(of, name.to_owned())),
                "{of} {name} is not in the table"
            );
        }
    }
    let shapes = [
        ("header", between("fn shaped(", "/// Words in the names")),
        ("cookie", between("fn is_shaped_cookie(", "#[cfg(test)]")),
    ];
    for (of, text) in shapes {
        for piece in literals(text) {
            let there = documented
                .keys()
                .any(|(one, name)| *one == of && name.contains('…') && name.contains(piece));
            assert!(there, "no shape of a {of} in the table holds {piece:?}");
        }
    }
}

#[test]
fn every_reason_for_which_a_call_is_forwarded_is_documented() {
    const CALLS: &str = include_str!("../../src/ingest/accept/refusal.rs");
    const CALLERS: &str = include_str!("../../src/identity/answerable.rs");
    let named = |text: &'static str| {
        let names = text.rsplit_once("fn as_str").unwrap().1;
        let names = names.split_once("\n    }\n").unwrap().0;
        names.split('"').skip(1).step_by(2).collect::<Vec<_>>()
    };
    let headings = ["## Forwarded, or refused", "### Always forwarded"];
    let rows: Vec<_> = headings
        .into_iter()
        .flat_map(|one| rows(under(one)))
        .collect();
    let documented: Vec<&str> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    let reasons: Vec<&str> = [CALLS, CALLERS].into_iter().flat_map(named).collect();
    assert!(
        reasons.len() > 35,
        "the test no longer sees them: {reasons:?}"
    );
    for reason in reasons {
        assert!(documented.contains(&reason), "{reason} is in no table");
    }
}

#[test]
fn the_words_that_tell_of_a_caller_are_documented() {
    let code = LISTS
        .split_once("const TELLING")
        .unwrap()
        .1
        .split_once(';')
        .unwrap()
        .1
        .split_once("];")
        .unwrap()
        .0;
    let coded: Vec<_> = code.split('"').skip(1).step_by(2).collect();
    let page = under("### The built-in lists");
    let said = page
        .split_once("one of these words:")
        .unwrap()
        .1
        .split_once(".\n")
        .unwrap()
        .0;
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
    let text = readme
        .split_once("## In front of your own application")
        .unwrap()
        .1;
    let text = text
        .split_once("```toml\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let lines = text.lines().filter(|line| !line.is_empty());
    assert!(lines.clone().count() <= 12, "{} lines", lines.count());
    let said = tidegate::config::print::table(&read(text).unwrap());
    assert!(!said.contains("left out"), "{said}");
}
