use super::*;
use crate::peer::Connection;
use http::HeaderValue;

const fn coalesce(rollout: u8) -> Setting {
    Setting {
        mode: Mode::Coalesce,
        rollout,
    }
}

fn user(name: &str) -> UserId {
    UserId::try_new(name).unwrap()
}

fn switch(setting: Setting, allow: &[&str], deny: &[&str]) -> Switch {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let exceptions = Exceptions {
        allow: names(allow),
        deny: names(deny),
    };
    Switch::new(
        setting,
        exceptions,
        Sampling {
            draw: Draw::new(""),
            tester: Some(HeaderName::from_static("x-tester")),
        },
    )
}

#[test]
fn a_switch_knows_whether_it_was_ever_on_and_whether_it_is_for_all() {
    let off = Setting {
        mode: Mode::Off,
        rollout: 100,
    };
    let route = switch(off, &[], &[]);
    assert!(route.was_never_on() && !route.is_on_for_all());
    route.set(coalesce(100));
    assert!(!route.was_never_on());
    // Its sampling lets testers out.
    assert!(!route.is_on_for_all());
    route.set(off);
    assert!(!route.was_never_on());
    for mode in Mode::ALL {
        assert_eq!(Mode::of(mode.as_str()), Some(mode));
    }
}

#[test]
fn lists_and_testers_win_over_the_draw_and_deny_over_all() {
    let none = switch(coalesce(0), &["in", "both"], &["out", "both"]);
    assert_eq!(none.mode_for(&user("in"), None), Mode::Coalesce);
    assert_eq!(none.mode_for(&user("both"), None), Mode::Off);
    assert_eq!(none.mode_for(&user("other"), None), Mode::Off);
    assert_eq!(none.mode_for(&user("other"), Some(true)), Mode::Coalesce);
    assert_eq!(none.mode_for(&user("out"), Some(true)), Mode::Off);
    let all = switch(coalesce(100), &["in"], &["out"]);
    assert_eq!(all.mode_for(&user("other"), None), Mode::Coalesce);
    assert_eq!(all.mode_for(&user("in"), Some(false)), Mode::Off);
    assert_eq!(all.mode_for(&user("out"), None), Mode::Off);
    all.set_with(coalesce(100), Exceptions::default());
    assert_eq!(all.mode_for(&user("out"), None), Mode::Coalesce);
}

#[test]
fn the_word_of_a_tester_counts_from_a_trusted_proxy_alone() {
    let switch = switch(coalesce(0), &[], &[]);
    let mut peer = Peer::new(Connection {
        address: ([127, 0, 0, 1], 1).into(),
        secure: false,
    });
    let mut headers = HeaderMap::new();
    assert_eq!(switch.tester(&headers, &peer), None);
    headers.insert("x-tester", HeaderValue::from_static("coalesce"));
    assert_eq!(switch.tester(&headers, &peer), None);
    peer.by_proxy = true;
    assert_eq!(switch.tester(&headers, &peer), Some(true));
    headers.insert("x-tester", HeaderValue::from_static("off"));
    assert_eq!(switch.tester(&headers, &peer), Some(false));
    headers.append("x-tester", HeaderValue::from_static("coalesce"));
    assert_eq!(switch.tester(&headers, &peer), None, "two lines");
    headers.insert("x-tester", HeaderValue::from_static("yes"));
    assert_eq!(switch.tester(&headers, &peer), None);
}

#[test]
fn a_rehearsal_is_on_while_its_original_is_in_shadow_for_the_same_users() {
    let shadow = |rollout| Setting {
        mode: Mode::Shadow,
        rollout,
    };
    let original = switch(shadow(100), &["in"], &["out"]);
    let copy = original.rehearsal();
    assert_eq!(original.mode_for(&user("other"), Some(true)), Mode::Shadow);
    assert_eq!(copy.mode_for(&user("other"), None), Mode::Coalesce);
    assert_eq!(copy.mode_for(&user("out"), None), Mode::Off);
    original.set(shadow(0));
    assert_eq!(copy.mode_for(&user("in"), None), Mode::Coalesce);
    assert_eq!(copy.mode_for(&user("other"), None), Mode::Off);
    for mode in [Mode::Off, Mode::Observe, Mode::Coalesce] {
        original.set(Setting { mode, rollout: 100 });
        assert_eq!(copy.mode_for(&user("in"), None), Mode::Off, "{mode:?}");
    }
}

#[test]
fn no_list_and_no_tester_turns_on_a_route_that_is_off() {
    let off = Setting {
        mode: Mode::Off,
        rollout: 100,
    };
    let off = switch(off, &["in"], &[]);
    assert_eq!(off.mode_for(&user("in"), Some(true)), Mode::Off);
}
