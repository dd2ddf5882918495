//! Readers of values that several sections have: paths, methods, tables of lists, documents of
//! templates.

use super::key::Key;
use super::section::Section;
use super::tree::{Node, Spot};
use crate::route::{Pattern, PatternError};
use crate::template::{JsonTemplate, Source, TemplateError};
use crate::tls::KeyFiles;
use crate::upstream::name_of;
use http::{Method, StatusCode, Uri};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The address of an application, by `http` or `https`, without a path.
///
/// # Errors
/// It is something else, which the text says.
pub(super) fn application_url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("found {text:?}: {error}"))?;
    let plain = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if plain && !authority.as_str().contains('@') => {
            check_name(text, &uri)?;
            Ok(uri)
        }
        _ => Err(format!(
            "found {text:?}; allowed is \"http://HOST:PORT\" or \"https://HOST:PORT\", without a path"
        )),
    }
}

/// The URL of something on a web server, by `http` or `https`.
///
/// # Errors
/// It is no URL of a web server. What was found isn't told: it may be a secret.
pub(super) fn web_url(text: &str) -> Result<Uri, String> {
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

/// An address by `https` names a host that a certificate can be of.
///
/// # Errors
/// None can.
pub(super) fn check_name(text: &str, url: &Uri) -> Result<(), String> {
    if url.scheme_str() == Some("https") {
        name_of(url.host().unwrap_or_default()).map_err(|error| {
            format!("found {text:?}, whose host no certificate can have: {error}")
        })?;
    }
    Ok(())
}

/// What every template may look at: the head of a call.
pub(super) const HEAD: [Source; 4] = [Source::Header, Source::Cookie, Source::Query, Source::Jwt];
const NOW: [Source; 4] = [
    Source::NowMs,
    Source::NowIso,
    Source::Uuid,
    Source::RequestId,
];

/// The head of a call, what is drawn for it (time, chance), and these.
pub(super) fn sources(more: &[Source]) -> Vec<Source> {
    more.iter().chain(&HEAD).chain(&NOW).copied().collect()
}

/// A route's path, which is needed.
pub(super) fn read_path(section: &Section<'_>, key: &'static Key) -> Option<Pattern> {
    if !section.has(key) {
        section.wrong_key(key, "is missing");
    }
    section.compiled(key, |text| -> Result<Pattern, PatternError> {
        Pattern::parse(text)
    })
}

/// A method, if the text is one in capitals.
pub(super) fn parse_method(text: &str) -> Option<Method> {
    Method::from_bytes(text.as_bytes())
        .ok()
        .filter(|_| text == text.to_ascii_uppercase())
}

/// A table of lists of values; a single value counts as a list of one.
pub(super) fn read_lists(section: &Section<'_>, key: &'static Key) -> Vec<(String, Vec<Value>)> {
    let Some(spot) = section.get(key) else {
        return Vec::new();
    };
    let Node::Table(members) = &spot.node else {
        section.wrong_key(
            key,
            "a table of lists is allowed, such as { type = [\"a\", \"b\"] }",
        );
        return Vec::new();
    };
    let mut out = Vec::new();
    for (name, spot) in members {
        let values = values_of(spot);
        if values.is_empty() {
            section.wrong_key(
                key,
                format!("{name}: found an empty list; at least one value is allowed"),
            );
        }
        out.push((name.clone(), values));
    }
    out
}

/// A list's values, or the one that isn't in a list.
pub(super) fn values_of(spot: &Spot) -> Vec<Value> {
    match &spot.node {
        Node::List(all) => all.iter().map(|one| one.node.json()).collect(),
        other => vec![other.json()],
    }
}

/// A status within the key's limits, if given or by default.
pub(super) fn read_status(section: &Section<'_>, key: &'static Key) -> Option<StatusCode> {
    StatusCode::from_u16(u16::try_from(section.maybe_number(key)?).ok()?).ok()
}

/// A document of templates, if given. What is wrong with it is reported.
pub(super) fn read_document(
    section: &Section<'_>,
    key: &'static Key,
    allowed: &[Source],
) -> Option<Result<JsonTemplate, Reported>> {
    let spot = section.get(key)?;
    let report = |error: TemplateError| {
        section.wrong_key(key, error.to_string());
        Reported
    };
    Some(JsonTemplate::from_json(&spot.node.json(), allowed).map_err(report))
}

/// It is wrong, and was reported.
#[derive(Debug)]
pub(super) struct Reported;

/// A certificate's file and its key's; both are needed.
pub(super) fn read_key_files(
    section: &Section<'_>,
    (cert, key): (&'static Key, &'static Key),
) -> Option<KeyFiles> {
    let needed = |key: &'static Key| {
        if !section.has(key) {
            section.wrong_key(key, "is missing; a PEM file is needed");
        }
        section.text(key).map(PathBuf::from)
    };
    let (cert, key) = (needed(cert), needed(key));
    Some(KeyFiles {
        cert: cert?,
        key: key?,
    })
}

/// `listen`: an address and a port.
pub(super) fn read_address(section: &Section<'_>, key: &'static Key) -> SocketAddr {
    let address = section.parsed(key, "an address such as \"127.0.0.1:8080\"");
    address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}
