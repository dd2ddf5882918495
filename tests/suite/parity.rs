//! The parity report at its surfaces, and what docs/parity.md says of it.

use crate::crash::start_for_commands;
use crate::support::Sidecar;
use crate::support::process::run;
use crate::support::upstream::FakeUpstream;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate::migration::parity::{Kind, LEFT_OUT};

const DOCS: &str = include_str!("../../docs/parity.md");

/// Rows of the table under a heading of the docs, head row left out.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = DOCS.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let (_, table) = section.split_once("\n|---").unwrap();
    let lines = table.lines().skip(1);
    let lines = lines.take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    lines.map(cells).collect()
}

#[test]
fn the_docs_have_each_kind_of_disagreement_with_its_meaning() {
    let documented = rows("Kinds of disagreement");
    let named: Vec<_> = documented.iter().map(|row| (row[0], row[1])).collect();
    let kinds: Vec<_> = Kind::ALL
        .map(|kind| (format!("`{}`", kind.as_str()), kind.explanation()))
        .into();
    let kinds: Vec<_> = kinds.iter().map(|(name, text)| (&**name, *text)).collect();
    assert_eq!(named, kinds);
}

#[test]
fn the_docs_have_each_header_that_an_acknowledgement_may_lack() {
    let documented = rows("Headers that are left out");
    let listed: Vec<_> = documented
        .iter()
        .map(|row| {
            (
                row[0],
                row[1].split('`').skip(1).step_by(2).collect::<Vec<_>>(),
            )
        })
        .collect();
    let left_out: Vec<_> = LEFT_OUT.map(|(why, names)| (why, names.to_vec())).into();
    assert_eq!(listed, left_out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_tells_what_was_compared() {
    let sidecar = Sidecar::start(&[]).await;
    let report = sidecar.admin(Method::GET, "/parity").await.json();
    assert_eq!(
        (&report["schema"], &report["routes"]),
        (&json!(1), &json!([]))
    );
    let refused = sidecar.admin(Method::POST, "/parity").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_ends_with_1_unless_every_route_is_go_and_with_2_if_nobody_answers() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    let page = directory.path().join("report.html");
    let file = page.display().to_string();
    let commands = tokio::task::spawn_blocking(move || {
        let json = run(&["parity", "report", "--json"], &config, &[]);
        let table = run(&["parity", "report", "--html", &file], &config, &[]);
        process.kill();
        let gone = run(&["parity", "report"], &config, &[]);
        (json, table, gone)
    });
    let (json, table, gone) = commands.await.unwrap();
    assert_eq!(json.0, Some(1), "{}", json.1);
    let (document, why) = json.1.rsplit_once("}\n").unwrap();
    let document: Value = serde_json::from_str(&format!("{document}}}")).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(why, "not every route is go\n");
    assert_eq!(table.0, Some(1), "{}", table.1);
    assert!(table.1.contains("No call was compared"), "{}", table.1);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert_eq!(gone.0, Some(2), "{}", gone.1);
}
