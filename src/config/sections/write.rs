//! `[[write]]`: forwarded calls that meet buffered events.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::{HEAD, parse_method, read_path};
use crate::config::section::Section;
use crate::route::WriteRoute;
use crate::template::{Source, Template};

keys! {
    "[[write]]";
    PATH = Key::without("path", Said("path"), "needed");
    METHOD = Key::without("method", Said("list of methods"), "`POST`, `PUT`, `PATCH`, `DELETE`");
    /// the user's events that touch these tags are sent first, and later ones wait behind it
    DRAINS = Key::with("drains", Said("list of templates with `{user}`"), "[]");
    /// tags that it makes old
    INVALIDATES = Key::with("invalidates", Said("list of templates over `user`, `path`, `body` and \
        the head"), "[]");
    /// whose call it is
    USER = Key::without("user", Said("template over `body`, `path` and the head"), "`identity.user`");
}

/// Without the groups whose events it meets.
pub(super) fn read(section: Section<'_>) -> Option<WriteRoute> {
    let path = read_path(&section, &PATH);
    let named = [HEAD.as_slice(), &[Source::Path, Source::Body]].concat();
    let allowed = [named.as_slice(), &[Source::User]].concat();
    let methods = section
        .compiled_list(&METHOD, method_of)
        .unwrap_or_default();
    let drains = section
        .compiled_list(&DRAINS, |text| drain_of(text, &allowed))
        .unwrap_or_default();
    let tag = |text: &str| Template::parse(text, &allowed);
    let invalidates = section.compiled_list(&INVALIDATES, tag).unwrap_or_default();
    let user = section.compiled(&USER, |text| Template::parse(text, &named));
    section.finish();
    Some(WriteRoute {
        methods,
        path: path?,
        drains,
        groups: Vec::new(),
        invalidates,
        user,
    })
}

fn method_of(text: &str) -> Result<http::Method, &'static str> {
    parse_method(text).ok_or("a method such as \"POST\" is allowed")
}

fn drain_of(text: &str, allowed: &[Source]) -> Result<Template, String> {
    match Template::parse(text, allowed) {
        Ok(template) if template.uses(Source::User) => Ok(template),
        Ok(_) => Err("a call waits for its own user's lanes only: {user} must be in it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
