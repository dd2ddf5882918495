//! `form`, `path` and `url`: whether a group's events go out as batches, and where to.

use super::keys::{FORM, PATH, URL};
use crate::config::readers::check_name;
use crate::config::section::Section;
use crate::ingest::settings::{Shape, Target};
use crate::route::Pattern;
use http::Uri;

pub(super) fn read_shape(section: &Section<'_>) -> Option<Shape> {
    let single = section.compiled(&FORM, is_single).unwrap_or(false);
    let target = read_target(section);
    let there = [&PATH, &URL]
        .into_iter()
        .filter(|key| section.has(key))
        .count();
    match (single, there) {
        (true, 0) => return Some(Shape::Single),
        (true, _) => section.wrong(
            "form = \"single\" sends single calls on their own routes; path and url \
                don't belong here",
        ),
        (false, 1) => {}
        (false, _) => section.wrong("exactly one of path and url is needed"),
    }
    target.map(Shape::Batch)
}

fn is_single(form: &str) -> Result<bool, String> {
    match form {
        "batch" => Ok(false),
        "single" => Ok(true),
        "latest" => Err("\"latest\" is form = \"single\" with keep = \"newest\" now".to_owned()),
        other => Err(format!(
            "found {other:?}; one of \"batch\", \"single\" is allowed"
        )),
    }
}

fn read_target(section: &Section<'_>) -> Option<Target> {
    let (path, url) = (
        section.compiled(&PATH, path_of),
        section.compiled(&URL, url_of),
    );
    path.or(url)
}

fn url_of(text: &str) -> Result<Target, String> {
    match text.parse::<Uri>() {
        Ok(uri)
            if matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() =>
        {
            check_name(text, &uri)?;
            Ok(Target::Url(uri))
        }
        _ => Err(format!(
            "found {text:?}; allowed is an absolute \"http://…\" or \"https://…\" address"
        )),
    }
}

fn path_of(text: &str) -> Result<Target, String> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    Pattern::parse(path).map_err(|error| error.to_string())?;
    if path.contains('{') {
        return Err("a batch path has no named segments".to_owned());
    }
    if text.parse::<Uri>().is_err() {
        return Err(format!(
            "found the query {query:?}, which no address can have"
        ));
    }
    Ok(Target::Path(text.into()))
}
