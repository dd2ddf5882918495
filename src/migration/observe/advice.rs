//! Which arrangement is recommended: the shortest window that saves at least nine tenths of what
//! the longest one saves. Pure.

use super::arrangement::LONGEST;
use super::report::{Advice, Figures};
use std::time::Duration;

/// Part of the longest window's saved calls that is enough.
const ENOUGH: f64 = 0.9;
/// Fewer events say too little.
const LEAST_EVENTS: u64 = 1_000;
/// So many of the longest windows must have passed.
const LEAST_WINDOWS: u32 = 10;
/// A window is worth its wait if it saves this part of the calls.
const LEAST_SAVED: f64 = 0.1;
/// Another count is worth a change if it saves so many times as much.
const BETTER: f64 = 1.1;

/// What the recommendation goes by, beside the figures.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// The group.
    pub(super) group: &'a str,
    /// Its events.
    pub(super) events: u64,
    /// From the first to the last.
    pub(super) span: Duration,
    /// Its `pack`.
    pub(super) pack: &'a str,
    /// Its `keep`.
    pub(super) keep: &'a str,
}

/// What to configure, from figures of all arrangements of a group.
pub(super) fn advise(facts: &Facts<'_>, figures: &[Figures]) -> Advice {
    let least = LONGEST * LEAST_WINDOWS;
    if facts.events < LEAST_EVENTS || facts.span < least {
        return nothing(format!(
            "Too little was seen: {} events in {} s; a recommendation needs {LEAST_EVENTS} events \
             and {} s.",
            facts.events,
            facts.span.as_secs(),
            least.as_secs()
        ));
    }
    let of = |full: bool| {
        let mut ladder: Vec<_> = figures
            .iter()
            .filter(|one| one.pack == facts.pack && one.keep == facts.keep && one.full == full)
            .collect();
        ladder.sort_by_key(|one| one.window_ms);
        ladder
    };
    let Some(by_count) = shortest(&of(false)) else {
        return nothing("Nothing was delivered on paper yet.".to_owned());
    };
    let chosen = match shortest(&of(true)) {
        Some(full) if full.saving() >= BETTER * by_count.saving() => full,
        _ => by_count,
    };
    let mut why = Vec::new();
    let beside = |pack: &str, keep: &str| {
        figures.iter().find(|one| {
            (one.window_ms, one.full) == (chosen.window_ms, chosen.full)
                && (&*one.pack, &*one.keep) == (pack, keep)
        })
    };
    let shared = beside("shared", facts.keep).filter(|_| facts.pack != "shared");
    let newest = beside(facts.pack, "newest").filter(|_| facts.keep != "newest");
    let little = chosen.saved() < LEAST_SAVED;
    if little {
        why.push(format!(
            "Windows of one user save little here: {:.2} calls in for one out at {}.",
            chosen.saving(),
            window(chosen)
        ));
    } else {
        why.push(format!(
            "{} is the shortest window that saves at least nine tenths of the calls that {} saves: \
             {:.1} calls in for one out; half of the events wait {} ms, 95 % at most {} ms.",
            window(chosen),
            humantime::format_duration(LONGEST),
            chosen.saving(),
            chosen.wait_p50_ms,
            chosen.wait_p95_ms
        ));
    }
    if let Some(shared) = shared {
        why.push(format!(
            "pack = \"shared\" would save {:.1}; it needs a service_credential, and an application \
             that trusts the events' users.",
            shared.saving()
        ));
    }
    if let Some(newest) = newest {
        why.push(format!(
            "keep = \"newest\" would save {:.1}, since {} events would not be sent; only where an \
             older state of a key means nothing once there is a newer one.",
            newest.saving(),
            newest.superseded
        ));
    }
    if little {
        return Advice {
            arrangement: None,
            why,
            toml: None,
        };
    }
    Advice {
        toml: Some(write_toml(facts, chosen)),
        arrangement: Some(chosen.clone()),
        why,
    }
}

fn nothing(why: String) -> Advice {
    Advice {
        arrangement: None,
        why: vec![why],
        toml: None,
    }
}

/// The first of a ladder of windows that saves enough of what the last one saves.
fn shortest<'a>(ladder: &[&'a Figures]) -> Option<&'a Figures> {
    let longest = ladder
        .iter()
        .rfind(|one| u128::from(one.window_ms) <= LONGEST.as_millis())?;
    let enough = ENOUGH * longest.saved();
    let saves = |one: &&&Figures| one.batches > 0 && one.saved() >= enough;
    ladder.iter().find(saves).copied()
}

fn window(figures: &Figures) -> String {
    humantime::format_duration(Duration::from_millis(figures.window_ms)).to_string()
}

fn write_toml(facts: &Facts<'_>, chosen: &Figures) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let name = if facts.group.chars().all(is_bare) && !facts.group.is_empty() {
        facts.group.to_owned()
    } else {
        serde_json::Value::from(facts.group).to_string()
    };
    format!(
        "[batch.{name}]  # in place of these keys there\nwindow = \"{}\"\nflush_at = {}\n",
        window(chosen),
        chosen.flush_at
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'static> = Facts {
        group: "g",
        events: 10_000,
        span: Duration::from_hours(1),
        pack: "user",
        keep: "all",
    };

    /// Figures of windows in seconds, with calls in for one out, in thousandths.
    fn ladder(full: bool, pack: &str, savings: &[(u64, u64)]) -> Vec<Figures> {
        let one = |(seconds, thousandths): &(u64, u64)| Figures {
            window_ms: seconds * 1_000,
            flush_at: if full { 25 } else { 10 },
            full,
            pack: pack.to_owned(),
            keep: "all".to_owned(),
            configured: false,
            batches: 1_000,
            sent: *thousandths,
            superseded: 0,
            wait_p50_ms: 1,
            wait_p95_ms: 2,
            wait_longest_ms: 3,
        };
        savings.iter().map(one).collect()
    }

    fn chosen(figures: &[Figures]) -> (u64, usize) {
        let advice = advise(&FACTS, figures);
        let one = advice.arrangement.unwrap();
        (one.window_ms, one.flush_at)
    }

    #[test]
    fn a_player_that_calls_every_second_needs_no_long_window() {
        let own = [
            (1, 1_900),
            (3, 3_900),
            (5, 5_800),
            (10, 9_000),
            (30, 9_900),
            (60, 10_000),
        ];
        let full = [(5, 5_800), (10, 10_500), (30, 24_000), (60, 25_000)];
        let by_count = ladder(false, "user", &own);
        assert_eq!(
            chosen(&by_count),
            (5_000, 10),
            "82.8 % of calls saved, of 90 %"
        );
        let both = [by_count, ladder(true, "user", &full)].concat();
        let advice = advise(&FACTS, &both);
        assert_eq!(chosen(&both), (10_000, 25), "fuller batches save much more");
        assert_eq!(
            advice.toml.unwrap(),
            "[batch.g]  # in place of these keys there\nwindow = \"10s\"\nflush_at = 25\n"
        );
    }

    #[test]
    fn pings_every_quarter_of_a_minute_need_the_longest_window_and_hear_of_shared_packing() {
        let mut figures = ladder(
            false,
            "user",
            &[(5, 1_080), (15, 1_500), (30, 2_200), (60, 4_100)],
        );
        figures.extend(ladder(false, "shared", &[(5, 20_000), (60, 24_000)]));
        assert_eq!(chosen(&figures), (60_000, 10));
        let why = advise(&FACTS, &figures).why.join(" ");
        assert!(why.contains("pack = \"shared\" would save 24.0"), "{why}");
    }

    #[test]
    fn rare_calls_get_no_windows_recommended() {
        let figures = ladder(false, "user", &[(1, 1_000), (5, 1_010), (60, 1_050)]);
        let advice = advise(&FACTS, &figures);
        assert!(advice.arrangement.is_none() && advice.toml.is_none());
        assert!(
            advice.why.join(" ").contains("save little"),
            "{:?}",
            advice.why
        );
    }

    #[test]
    fn too_little_is_said_to_be_too_little() {
        let figures = ladder(false, "user", &[(5, 5_000), (60, 9_000)]);
        for facts in [
            Facts {
                events: 999,
                ..FACTS
            },
            Facts {
                span: Duration::from_secs(599),
                ..FACTS
            },
        ] {
            let advice = advise(&facts, &figures);
            assert!(advice.arrangement.is_none());
            assert!(
                advice.why[0].starts_with("Too little was seen"),
                "{:?}",
                advice.why
            );
        }
    }
}
