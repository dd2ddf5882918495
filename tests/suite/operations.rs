//! Operators' documents and deployment files say what the program does: each metric is in the
//! table, each alert has its runbook, and no dashboard asks for a metric that there isn't.

use crate::support::Sidecar;
use http::Method;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A metric's type and its labels, by name, as `docs/operations.md` has them.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = read("docs/operations.md");
    let table = page
        .lines()
        .skip_while(|line| *line != "## Metrics")
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let mut rows = BTreeMap::new();
    for line in table {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = cells.as_slice() else {
            continue;
        };
        let Some(name) = name
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'))
        else {
            continue;
        };
        let labels = labels
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        let row = ((*kind).to_owned(), labels);
        assert!(
            rows.insert(name.to_owned(), row).is_none(),
            "{name} stands in the table twice"
        );
    }
    rows
}

/// Names of metrics that a text holds; with `_bucket`, `_sum` and `_count` taken off.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let own = |word: &&str| {
        ["tidegate_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    let family = |word: &str| {
        let known = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| word.strip_suffix(end));
        known.unwrap_or(word).to_owned()
    };
    words.filter(own).map(family).collect()
}

/// Names that the program gives to metrics.
fn in_the_program() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut directories = vec![root().join("src/metrics"), root().join("src/admin/metrics")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            let literals = code.split('"').skip(1).step_by(2);
            let is_name = |text: &&str| {
                let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
                text.starts_with("tidegate_")
                    || text.starts_with("process_") && text.chars().all(is_plain)
            };
            names.extend(literals.filter(is_name).map(str::to_owned));
        }
    }
    names
}

#[test]
fn each_metric_of_the_program_is_in_the_table_and_no_other() {
    let (documented, program) = (documented(), in_the_program());
    let documented: BTreeSet<_> = documented.into_keys().collect();
    assert_eq!(
        program.difference(&documented).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "the table of docs/operations.md has no row for these"
    );
    assert_eq!(
        documented.difference(&program).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "docs/operations.md has rows of metrics that there aren't"
    );
}

#[tokio::test]
async fn what_is_scraped_has_the_types_and_labels_of_the_table() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.event("t", "ann", "a").await;
    sidecar.post("t", "ann", "b", "no JSON").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let scraped = sidecar.admin(Method::GET, "/metrics").await;
    let text = std::str::from_utf8(&scraped.body).unwrap();
    let documented = documented();
    let mut checked = 0;
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let (wanted, _) = documented
                .get(name)
                .unwrap_or_else(|| panic!("{name} is not in docs/operations.md"));
            assert_eq!(wanted, kind, "the type of {name}");
            kinds.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        let Some((name, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let family = if kinds.contains_key(name) {
            name.to_owned()
        } else {
            named(name).pop_first().unwrap()
        };
        let labels: BTreeSet<_> = labels
            .split("=\"")
            .filter_map(|piece| piece.rsplit([',', '{', '"']).next())
            .filter(|label| !label.is_empty() && !label.contains('}') && *label != "le")
            .map(str::to_owned)
            .collect();
        assert_eq!(documented[&family].1, labels, "the labels of {line}");
        checked += 1;
    }
    assert!(
        checked > 40,
        "only {checked} samples were looked at: {text}"
    );
}

#[tokio::test]
async fn a_scrape_tells_of_event_calls_windows_connections_and_the_application() {
    let sidecar = Sidecar::start(&[]).await;
    for _ in 0..2 {
        sidecar.event("t", "ann", "a").await;
    }
    let headers = [("authorization", "t"), ("content-type", "application/json")];
    let unread = sidecar
        .call(Method::POST, "/event", &headers, "no JSON")
        .await;
    assert!(unread.header("tidegate-event").is_empty(), "{unread:?}");
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let calls = |decision: &str| {
        format!("tidegate_event_calls_total{{path=\"POST /event\",decision=\"{decision}\"}}")
    };
    for (name, wanted) in [
        (calls("acknowledged"), 1),
        (calls("duplicate"), 1),
        (calls("forwarded"), 1),
        (calls("refused"), 0),
        // The forwarded call waits for what is before it.
        ("tidegate_windows_sealed_total{cause=\"asked\"}".into(), 1),
        (
            "tidegate_windows_sealed_total{cause=\"deadline\"}".into(),
            0,
        ),
        ("tidegate_batch_events_sum{group=\"progress\"}".into(), 1),
        ("tidegate_retries_total{group=\"progress\"}".into(), 0),
        ("tidegate_group_pending{group=\"progress\"}".into(), 0),
        ("tidegate_upstream_up".into(), 1),
        ("tidegate_upstream_seconds_count".into(), 2),
        ("tidegate_connections".into(), 1),
    ] {
        assert_eq!(sidecar.counter(&name).await, wanted, "{name}");
    }
}

/// An alert's name and its runbook's anchor.
fn alerts() -> Vec<(String, String)> {
    let rules = read("deploy/prometheus/alerts.yml");
    let of = |rule: &str, key: &str| {
        let line = rule
            .lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .unwrap_or_else(|| panic!("{rule}: no {key}"));
        line.trim().trim_matches('"').to_owned()
    };
    rules
        .split("- alert:")
        .skip(1)
        .map(|rule| {
            let name = rule.lines().next().unwrap().trim().to_owned();
            (name, of(rule, "runbook_url:"))
        })
        .collect()
}

#[test]
fn each_alert_has_its_runbook_and_each_runbook_its_alert() {
    let page = read("docs/operations.md");
    let paragraphs: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### Tidegate"))
        .map(|rest| format!("Tidegate{rest}"))
        .collect();
    let alerts = alerts();
    for (name, anchor) in &alerts {
        let wanted = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(*anchor, wanted, "the runbook of {name}");
        let text = page
            .split(&format!("\n### {name}\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("docs/operations.md has no paragraph ### {name}"));
        let text = text.split("\n#").next().unwrap();
        assert!(text.trim().len() > 80, "the runbook of {name} says nothing");
    }
    let names: BTreeSet<_> = alerts.into_iter().map(|(name, _)| name).collect();
    assert_eq!(paragraphs, names, "paragraphs and alerts");
    let tests = read("tests/deploy/alerts_test.yml");
    for name in &names {
        let played = tests.matches(&format!("alertname: {name}\n")).count();
        assert_eq!(
            played, 2,
            "{name} fires once and is silent once in its test"
        );
    }
}

#[test]
fn alerts_and_the_dashboard_name_metrics_that_there_are() {
    let documented: BTreeSet<_> = documented().into_keys().collect();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/tidegate.json")).unwrap();
    let rules = read("deploy/prometheus/alerts.yml");
    for (file, text) in [
        ("the dashboard", dashboard["panels"].to_string()),
        ("alerts.yml", rules),
        ("alerts_test.yml", read("tests/deploy/alerts_test.yml")),
    ] {
        let named = named(&text);
        assert!(named.len() > 15, "{file} names {named:?} only");
        assert_eq!(
            named.difference(&documented).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "{file} names metrics that there aren't"
        );
    }
}

#[test]
fn links_of_the_operators_pages_lead_somewhere() {
    let anchor = |title: &str| {
        let plain = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let text: String = title.to_lowercase().chars().filter(plain).collect();
        text.trim().replace(' ', "-")
    };
    let mut checked = 0;
    for page in ["docs/operations.md", "CONTRIBUTING.md"] {
        let directory = root().join(page).parent().unwrap().to_owned();
        for link in read(page).split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() {
                root().join(page)
            } else {
                directory.join(file)
            };
            assert!(file.exists(), "{page}: {link} leads nowhere");
            if !wanted.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let titles = text.lines().filter(|line| line.starts_with('#'));
                let found = titles
                    .map(|line| anchor(line.trim_start_matches('#')))
                    .any(|one| one == wanted);
                assert!(found, "{page}: {link} has no such title");
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} links were found");
}
