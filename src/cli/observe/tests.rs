use super::*;
use crate::cli::page::check::assert_stands_alone;
use crate::migration::observe::{Advice, Minute, RouteReport, Split};

fn figures(window_ms: u64, pack: &str, full: bool, keep: &str, saving: u64) -> Figures {
    Figures {
        window_ms,
        flush_at: 10,
        full,
        pack: pack.to_owned(),
        keep: keep.to_owned(),
        configured: false,
        batches: 1_000,
        sent: saving * 10,
        superseded: 0,
        wait_p50_ms: window_ms / 2,
        wait_p95_ms: window_ms - window_ms / 20,
        wait_longest_ms: window_ms,
    }
}

/// A report with names that would be tags.
pub(super) fn report() -> Report {
    let mut arrangements = Vec::new();
    for (window, saving) in [
        (1_000, 190),
        (3_000, 390),
        (5_000, 580),
        (10_000, 900),
        (15_000, 1_400),
        (30_000, 1_950),
        (60_000, 2_400),
    ] {
        for (pack, times) in [("user", 1), ("shared", 3)] {
            for full in [false, true] {
                let saving = saving * times / if full { 1 } else { 2 };
                arrangements.push(figures(window, pack, full, "all", saving.max(100)));
            }
        }
        arrangements.push(figures(window, "user", false, "newest", saving * 2));
    }
    let advised = arrangements[1].clone();
    Report {
        schema: 1,
        since: "2026-01-02T03:04:05Z".to_owned(),
        seconds: 7_200,
        shed: 12,
        one_in: 4,
        users: 1_900,
        error_percent: 4.6,
        splits: vec![Split {
            part: "cookie:<script>alert('x')</script>&\"".to_owned(),
            calls: 321,
        }],
        groups: vec![GroupReport {
            group: "pro<gress".to_owned(),
            seconds: 7_100,
            calls: 123_456,
            events: 120_000,
            duplicates: 456,
            declined: 3_000,
            routes: vec![RouteReport {
                route: "POST /api/<b>{lesson}</b>".to_owned(),
                calls: 123_456,
                declined: [("not_json".to_owned(), 2_000), ("no_user".to_owned(), 1_000)].into(),
            }],
            advice: Advice {
                arrangement: Some(advised),
                why: vec!["A sentence that says why, with <tags> & \"quotes\", and that goes on for longer than a terminal is wide.".to_owned()],
                toml: Some("[batch.\"pro<gress\"]\nwindow = \"1s\"\n".to_owned()),
            },
            minutes: (0..60)
                .rev()
                .map(|ago| Minute {
                    ago,
                    calls: 1_000 + ago * 7 % 300,
                    after_configured: 300 + ago * 5 % 90,
                    after_advised: Some(120 + ago * 3 % 40),
                })
                .collect(),
            arrangements,
        }],
    }
}

#[test]
fn the_table_fits_80_columns_and_says_all_that_matters() {
    let text = write_table(&report());
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for said in [
        "one user in 4",
        "12 calls came while the observer was busy",
        "forwarded, not_json: 2000",
        "A sentence that says why",
        "    window = \"1s\"",
        "30 s",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere_and_every_tag_is_closed() {
    assert_stands_alone(&page::write_page(&report()));
}

#[test]
fn what_comes_from_traffic_is_escaped() {
    let page = page::write_page(&report());
    assert!(page.contains("cookie:&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
    assert!(page.contains("POST /api/&lt;b&gt;{lesson}&lt;/b&gt;"));
    assert!(page.contains("batch.pro&lt;gress"));
}

#[test]
fn a_report_without_calls_is_a_page_and_a_table_too() {
    let empty = Report {
        groups: Vec::new(),
        ..report()
    };
    assert!(write_table(&empty).contains("No call was observed"));
    assert!(page::write_page(&empty).contains("No call was observed yet."));
}

#[test]
fn an_arrangement_of_which_no_window_is_over_says_no_saving_and_no_wait() {
    let mut report = report();
    for one in &mut report.groups[0].arrangements {
        if one.window_ms == 60_000 {
            one.batches = 0;
        }
    }
    let rows = rows(&report.groups[0]);
    let last = rows.last().unwrap();
    assert_eq!(last.window_ms, 60_000);
    assert_eq!(last.savings, [None; 5]);
    assert_eq!((last.wait_p50_ms, last.wait_p95_ms), (None, None));
    assert!(rows[0].savings.iter().all(Option::is_some));
    let page = page::write_page(&report);
    assert!(page.contains("<td>60 s</td><td>-</td>"), "{page}");
}
