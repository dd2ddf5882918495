//! What the heads of a configuration's calls may have, and have for certain, before any call comes.

use super::settings::Config;
use crate::identity::Need;
use crate::template::Source;

/// Whether a part of the head may be there that a template of a route looks at.
pub(super) fn in_head(config: &Config, names: &[&str], source: Source, path: &[Box<str>]) -> bool {
    match source {
        Source::Jwt => !config.identity.token.is_empty(),
        Source::Path => path.first().is_some_and(|name| names.contains(&&**name)),
        Source::Header | Source::Cookie | Source::Query => true,
        _ => false,
    }
}

/// Calls without a token are forwarded.
pub(super) fn needs_token(config: &Config) -> bool {
    config
        .identity
        .require
        .iter()
        .any(|any| any.as_slice() == [Need::Jwt])
}
