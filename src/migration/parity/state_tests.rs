use super::{StateFinding, compare_states};
use crate::template::Path;
use serde_json::{Value, json};

const FIRST: &str = "0e5c5fbb-29b6-4f4c-9a5c-0d3a4a3c2f11";
const SECOND: &str = "7b1d5e0a-8f6d-4a52-93f1-58a7c0f9d222";

fn places(found: &StateFinding) -> Vec<&str> {
    found.differences.iter().map(|one| &*one.place).collect()
}

fn compare(control: &Value, candidate: &Value) -> StateFinding {
    compare_states([control, control], candidate, &[])
}

#[test]
fn noise_between_two_reads_of_the_control_is_left_out_and_a_real_difference_is_found() {
    let control = json!({ "load": 3, "lessons": [{ "lesson_id": "a", "percent": 40, "rank": 1 }] });
    let again = json!({ "load": 9, "lessons": [{ "lesson_id": "a", "percent": 40, "rank": 7 }] });
    let candidate =
        json!({ "load": 5, "lessons": [{ "lesson_id": "a", "percent": 30, "rank": 2 }] });
    let found = compare_states([&control, &again], &candidate, &[]);
    assert_eq!(places(&found), ["/lessons/*/percent"]);
    assert_eq!(
        found.left_out.iter().collect::<Vec<_>>(),
        ["/lessons/*/rank", "/load"]
    );
    let same = json!({ "load": 5, "lessons": [{ "lesson_id": "a", "percent": 40, "rank": 2 }] });
    assert!(places(&compare_states([&control, &again], &same, &[])).is_empty());
}

#[test]
fn what_lies_in_a_noisy_place_is_noise() {
    let control = json!({ "feed": { "items": [1] } });
    let again = json!({ "feed": "busy" });
    let candidate = json!({ "feed": { "items": [2] } });
    let found = compare_states([&control, &again], &candidate, &[]);
    assert!(places(&found).is_empty(), "{found:?}");
    // A name that only begins like it is another place.
    let (control, again) = (json!({ "a": 1, "ab": 1 }), json!({ "a": 2, "ab": 1 }));
    let candidate = json!({ "a": 3, "ab": 3 });
    assert_eq!(
        places(&compare_states([&control, &again], &candidate, &[])),
        ["/ab"]
    );
}

#[test]
fn arrays_in_another_order_are_equal_and_a_missing_element_is_not() {
    let control =
        json!({ "done": ["x", "y", "z"], "rows": [{ "id": 1, "n": 5 }, { "id": 2, "n": 6 }] });
    let turned =
        json!({ "done": ["z", "x", "y"], "rows": [{ "id": 2, "n": 6 }, { "id": 1, "n": 5 }] });
    assert!(places(&compare(&control, &turned)).is_empty());
    let lacking = json!({ "done": ["z", "x"], "rows": [{ "id": 2, "n": 6 }] });
    let found = compare(&control, &lacking);
    assert_eq!(places(&found), ["/done/*", "/rows/*"]);
    assert_eq!(found.differences[1].candidate, "nothing");
    let swapped =
        json!({ "done": ["x", "y", "z"], "rows": [{ "id": 2, "n": 5 }, { "id": 1, "n": 6 }] });
    assert_eq!(places(&compare(&control, &swapped)), ["/rows/*/n"]);
}

#[test]
fn elements_with_ids_of_their_own_are_paired_by_the_id_that_both_have() {
    let row = |id: &str, lesson: &str, percent: u32| json!({ "id": id, "lesson_id": lesson, "percent": percent });
    let control = json!([row(FIRST, "a", 10), row(SECOND, "b", 20)]);
    let candidate = json!([row("7777777a", "b", 20), row("8888888b", "a", 10)]);
    assert!(places(&compare(&control, &candidate)).is_empty());
}

#[test]
fn a_missing_member_and_another_type_are_differences_and_told_without_values() {
    let control = json!({ "percent": 40, "note": "secret words", "done": true });
    let candidate = json!({ "percent": "40", "done": false });
    let found = compare(&control, &candidate);
    assert_eq!(places(&found), ["/done", "/note", "/percent"]);
    let told: Vec<_> = found
        .differences
        .iter()
        .map(|one| (&*one.control, &*one.candidate))
        .collect();
    assert_eq!(
        told,
        [
            ("true", "false"),
            ("a string of 12", "nothing"),
            ("a number", "a string of 2")
        ]
    );
}

#[test]
fn what_each_application_makes_by_itself_is_left_out() {
    let control = json!({ "at": "2026-01-02T03:04:05.678Z", "row": FIRST, "version_id": 7, "ms": 1_767_322_800_123_u64 });
    let candidate = json!({ "at": "2026-01-02 03:04:09", "row": SECOND, "version_id": 9, "ms": 1_767_322_801_456_u64 });
    let found = compare(&control, &candidate);
    assert!(places(&found).is_empty(), "{found:?}");
    assert_eq!(found.left_out.len(), 4);
    let never = json!({ "at": null, "row": SECOND, "version_id": 9, "ms": 0 });
    assert_eq!(places(&compare(&control, &never)), ["/at", "/ms"]);
}

#[test]
fn ignored_places_are_not_compared_with_all_below_them() {
    let control = json!({ "a": { "b": 1 }, "rows": [{ "n": 1, "m": 1 }] });
    let candidate = json!({ "a": { "b": 2 }, "rows": [{ "n": 2, "m": 2 }] });
    let ignore = [Path::parse("a"), Path::parse("/rows/0/n")];
    let found = compare_states([&control, &control], &candidate, &ignore);
    assert_eq!(places(&found), ["/rows/*/m"]);
}
