//! `[store]`: how much the cache holds.

use crate::cache::settings::CacheSettings;
use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;

keys! {
    "[store]";
    /// stored answers; 1 MiB at least
    MAX_BYTES = Key::text("max_bytes", Size, "64MiB");
    /// one stored answer
    MAX_OBJECT = Key::text("max_object", Size, "1MiB");
}

pub(super) fn read(section: Section<'_>) -> CacheSettings {
    let max_bytes = section.size(&MAX_BYTES).max(1 << 20);
    let settings = CacheSettings {
        max_bytes,
        max_object: section.memory_size(&MAX_OBJECT),
    };
    section.finish();
    settings
}
