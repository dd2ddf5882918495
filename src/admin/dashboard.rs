//! `/`: the dashboard, one page with its style and its script, which are part of the program. Files
//! beside this one hold them. The page asks this listener and nobody else.

use super::reply::typed;
use crate::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

/// What the page may do: load its own files, ask its own listener; no inline script or style, no
/// frame, no form, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, media type, content.
const FILES: [(&str, &str, &str); 11] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("dashboard/index.html"),
    ),
    (
        "/dashboard/style.css",
        "text/css; charset=utf-8",
        include_str!("dashboard/style.css"),
    ),
    (
        "/dashboard/icon.svg",
        "image/svg+xml",
        include_str!("dashboard/icon.svg"),
    ),
    (
        "/dashboard/controls.js",
        SCRIPT,
        include_str!("dashboard/controls.js"),
    ),
    (
        "/dashboard/dom.js",
        SCRIPT,
        include_str!("dashboard/dom.js"),
    ),
    (
        "/dashboard/figures.js",
        SCRIPT,
        include_str!("dashboard/figures.js"),
    ),
    (
        "/dashboard/format.js",
        SCRIPT,
        include_str!("dashboard/format.js"),
    ),
    (
        "/dashboard/main.js",
        SCRIPT,
        include_str!("dashboard/main.js"),
    ),
    (
        "/dashboard/plot.js",
        SCRIPT,
        include_str!("dashboard/plot.js"),
    ),
    (
        "/dashboard/reports.js",
        SCRIPT,
        include_str!("dashboard/reports.js"),
    ),
    (
        "/dashboard/server.js",
        SCRIPT,
        include_str!("dashboard/server.js"),
    ),
];

/// Whether the path names the page or one of its files.
pub(super) fn has_file(path: &str) -> bool {
    FILES.iter().any(|(name, ..)| *name == path)
}

/// The page, or one of its files; none: the path names none.
pub(super) fn show_file(path: &str) -> Option<Response<Body>> {
    let (_, kind, content) = FILES.iter().find(|(name, ..)| *name == path)?;
    let mut response = typed(StatusCode::OK, content.as_bytes().to_vec(), kind);
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_its_own_files_only_and_each_is_served() {
        let quoted = |text: &'static str| text.split(['"', '\'']).skip(1).step_by(2);
        for (name, _, content) in FILES {
            for target in quoted(content) {
                let path = match target.strip_prefix("./") {
                    Some(file) => format!("/dashboard/{file}"),
                    None => target.to_owned(),
                };
                if path.starts_with("/dashboard/") {
                    assert!(show_file(&path).is_some(), "{name}: {path}");
                }
                let is_outside =
                    target.contains("://") && !target.starts_with("http://www.w3.org/");
                assert!(!is_outside, "{name}: {target}");
            }
        }
    }

    #[test]
    fn no_file_writes_markup_or_holds_inline_script_or_style() {
        for (name, _, content) in FILES {
            for outlawed in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=\"",
                "<style",
                " onclick=\"",
                "javascript:",
            ] {
                assert!(!content.contains(outlawed), "{name}: {outlawed}");
            }
        }
    }
}
