//! Which runs the benchmark `compare` makes, and its table.

#[path = "../../bench/compare/table.rs"]
mod table;

use std::time::Duration;
use table::{LEARNERS, Row, Wanted, clock, runs, table};
use tidegate::demo::{Arrangement, Figures, Rhythm, Run};

const ALL: Wanted = Wanted {
    learners: LEARNERS,
    duration: None,
    rhythm: None,
    arrangement: None,
};

fn rows() -> Vec<Row> {
    let figures = Figures {
        calls: 7_000,
        sent_on: 2_000,
        reduction: 3.5,
        write_reduction: 4.0,
        good: true,
        prediction: None,
        ..Figures::default()
    };
    runs(ALL)
        .into_iter()
        .map(|run| Row { run, figures })
        .collect()
}

#[test]
fn every_arrangement_is_measured_on_every_rhythm_that_it_plays_unless_one_is_named() {
    let asked = runs(ALL);
    let measured: Vec<_> = asked
        .iter()
        .map(|run| (run.rhythm, run.arrangement))
        .collect();
    let pings = [
        Arrangement::Shipped,
        Arrangement::Minute,
        Arrangement::Shared,
    ];
    let pings = pings.map(|arrangement| (Rhythm::Pings, Some(arrangement)));
    let player = Arrangement::ALL.map(|arrangement| (Rhythm::Player, Some(arrangement)));
    assert_eq!(measured, [pings.as_slice(), player.as_slice()].concat());
    assert!(
        asked
            .iter()
            .all(|run| run.learners == LEARNERS && (run.speed, run.duration) == clock(run.rhythm))
    );
    let theirs = asked.iter().map(|run| run.duration * run.speed);
    assert!(
        theirs.min() >= Some(Duration::from_secs(110)),
        "windows of a minute must matter"
    );
    let all: Duration = asked.iter().map(|run| run.duration).sum();
    assert!(all <= Duration::from_secs(430), "{all:?}");

    let duration = Duration::from_secs(9);
    let wanted = Wanted {
        learners: 7,
        duration: Some(duration),
        rhythm: Some(Rhythm::Player),
        arrangement: None,
    };
    let run = Run {
        learners: 7,
        rhythm: Rhythm::Player,
        speed: clock(Rhythm::Player).0,
        duration,
        arrangement: None,
        observed: false,
    };
    assert_eq!(
        runs(wanted),
        Arrangement::ALL.map(|arrangement| Run {
            arrangement: Some(arrangement),
            ..run
        })
    );
}

#[test]
fn the_table_has_a_row_for_each_arrangement_and_a_column_for_each_rhythm() {
    let table = table(&rows());
    for arrangement in Arrangement::ALL {
        let row = table
            .lines()
            .find(|line| line.trim_start().starts_with(arrangement.title()))
            .unwrap();
        let collapse = arrangement.as_str().starts_with("collapse");
        let cells = if collapse {
            ["-", "3.50×"]
        } else {
            ["3.50×", "3.50×"]
        };
        let found: Vec<_> = row
            .split_whitespace()
            .filter(|word| *word == "-" || *word == "3.50×")
            .collect();
        assert_eq!(found, cells, "{table}");
        let details = table
            .lines()
            .filter(|line| line.trim_start().starts_with(arrangement.title()));
        let played = if collapse { 1 } else { 2 };
        assert_eq!(
            details.filter(|line| line.contains("4.00×")).count(),
            played,
            "{table}"
        );
    }
}

#[test]
fn a_run_that_found_something_is_marked_in_the_table() {
    let mut rows = rows();
    assert_eq!(
        table(&rows)
            .lines()
            .filter(|line| line.ends_with(" !"))
            .count(),
        0
    );
    rows[1].figures = Figures {
        lost: 1,
        good: false,
        prediction: None,
        ..rows[1].figures
    };
    assert_eq!(
        table(&rows)
            .lines()
            .filter(|line| line.ends_with(" !"))
            .count(),
        1
    );
}

#[test]
fn the_table_is_no_wider_than_80_columns() {
    let mut rows = rows();
    let busy = Figures {
        calls: 999_999,
        sent_on: 999_999,
        reduction: 99.99,
        superseded: 999_999,
        ..rows[0].figures
    };
    rows.iter_mut().for_each(|row| {
        row.figures = Figures {
            p50: 999_999,
            p99: 99_999_999,
            good: false,
            prediction: None,
            ..busy
        }
    });
    for line in table(&rows).lines() {
        assert!(
            line.chars().count() <= 80,
            "{}: {line}",
            line.chars().count()
        );
    }
}
