//! `[notify]`: a webhook for what an operator must not miss.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::check_name;
use crate::config::section::Section;
use crate::webhook::NotifySettings;
use http::Uri;

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
    let url = section.compiled(&URL, read_url);
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

/// # Errors
/// It is no URL of a web server. What was found isn't told: it may be a secret.
fn read_url(text: &str) -> Result<Uri, String> {
    let allowed = "allowed is \"http://HOST/PATH\" or \"https://HOST/PATH\"";
    let url: Uri = text
        .parse()
        .map_err(|error| format!("{error}; {allowed}"))?;
    let has_user = |url: &Uri| {
        url.authority()
            .is_some_and(|one| one.as_str().contains('@'))
    };
    match url.scheme_str() {
        Some("http" | "https")
            if url.host().is_some_and(|host| !host.is_empty()) && !has_user(&url) =>
        {
            check_name(url.host().unwrap_or_default(), &url)?;
            Ok(url)
        }
        Some(scheme) => Err(format!(
            "found the scheme {scheme}, or no plain host; {allowed}"
        )),
        None => Err(format!("found no scheme; {allowed}")),
    }
}
