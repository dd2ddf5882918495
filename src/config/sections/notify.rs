//! `[notify]`: a webhook for what an operator must not miss.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::web_url;
use crate::config::section::Section;
use crate::webhook::NotifySettings;

keys! {
    "[notify]";
    /// where messages are posted ([more](operations.md#messages)). One whose path is a secret belongs
    /// into `TIDEGATE__NOTIFY__URL`; no page and no line shows more than its host
    URL = Key::without("url", Said(r#"URL: `"https://HOST/PATH"`"#), "none: nothing is sent");
    /// at most one message in this time; `1s` at least
    MIN_INTERVAL = Key::text("min_interval", Duration, "1m");
}

const LEAST: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) fn read(section: Section<'_>) -> Option<NotifySettings> {
    let url = section.compiled(&URL, web_url);
    let min_interval = section.duration(&MIN_INTERVAL);
    if min_interval < LEAST {
        section.wrong_key(
            &MIN_INTERVAL,
            format!("found {min_interval:?}; allowed is 1s and more"),
        );
    }
    section.finish();
    Some(NotifySettings {
        url: url?,
        min_interval,
    })
}
