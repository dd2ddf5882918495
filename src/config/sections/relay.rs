//! `[[relay]]`: paths on which the application may take longer, or must be faster.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::read_path;
use crate::config::section::Section;
use crate::upstream::RelayRule;

keys! {
    "[[relay]]";
    PATH = Key::without("path", Said("path"), "needed");
    /// in place of `upstream.response_timeout`
    RESPONSE_TIMEOUT = Key::without("response_timeout", Duration, "needed");
}

pub(super) fn read(section: Section<'_>) -> Option<RelayRule> {
    let path = read_path(&section, &PATH);
    if !section.has(&RESPONSE_TIMEOUT) {
        section.wrong_key(
            &RESPONSE_TIMEOUT,
            "is missing; a duration such as \"10m\" is needed",
        );
    }
    let response_timeout = section.maybe_duration(&RESPONSE_TIMEOUT);
    section.finish();
    Some(RelayRule {
        path: path?,
        response_timeout: response_timeout?,
    })
}
