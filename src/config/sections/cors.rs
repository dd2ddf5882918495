//! `[cors]`: whose pages may call from another origin.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;
use crate::identity::Cors;
use http::Uri;

keys! {
    "[cors]";
    /// calls from these are answered too
    ORIGINS = Key::without("origins", Said("list of origins"), "needed with the others");
    /// `Access-Control-Allow-Credentials`
    CREDENTIALS = Key::with("credentials", Flag, "false");
    /// `Access-Control-Expose-Headers`
    EXPOSE = Key::with("expose", Said("list of names"), "[]");
}

pub(super) fn read(section: Section<'_>) -> Option<Cors> {
    let origins = section.compiled_list(&ORIGINS, parse_origin);
    let cors = Cors {
        origins: origins.clone().unwrap_or_default(),
        credentials: section.flag(&CREDENTIALS),
        expose: section.names(&EXPOSE),
    };
    if origins.is_none() && (cors.credentials || !cors.expose.is_empty()) {
        section.wrong_key(
            &ORIGINS,
            "is missing; without it no origin is checked and no CORS header is set",
        );
    }
    section.finish();
    origins.map(|_| cors)
}

fn parse_origin(text: &str) -> Result<Box<str>, &'static str> {
    let allowed = "an origin such as \"https://app.example\" is allowed, without a path; without \
        [cors] all are let through";
    let parts = text.parse::<Uri>().map_err(|_| allowed)?.into_parts();
    let plain = !text.ends_with('/') && parts.path_and_query.is_none_or(|path| path == "/");
    if parts.scheme.is_some() && plain {
        Ok(text.to_lowercase().into())
    } else {
        Err(allowed)
    }
}
