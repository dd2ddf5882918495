//! `[journal]`: where acknowledged events are kept, and what they survive.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;
use crate::journal::settings::{Durability, JournalSettings};

keys! {
    "[journal]";
    /// one process at a time
    PATH = Key::text("path", Said("directory"), "data");
    /// what an acknowledged event survives: a power cut, a kill, nothing. With `"none"` a directory
    /// that still holds events or letters of an earlier start is opened and emptied first, at
    /// `"process"`
    DURABILITY = Key::text("durability", OneOf(&["disk", "process", "none"]), "disk");
    /// pending events and the heads that their calls share; at the cap calls are forwarded. Dead
    /// letters may take a quarter as much in memory
    MAX_BYTES = Key::text("max_bytes", Size, "1GiB");
    /// calls are forwarded while the disk has less
    MIN_FREE = Key::text("min_free", Size, "128MiB");
    /// seals stored records: 32 bytes, or 64 hexadecimal digits
    KEY_FILE = Key::without("key_file", Said("file"), "none");
    /// open what older keys have sealed; it is sealed anew at the start
    OLD_KEY_FILES = Key::with("old_key_files", Said("list of files"), "[]");
}

const LEVELS: [(&str, Durability); 3] = [
    ("disk", Durability::Disk),
    ("process", Durability::Process),
    ("none", Durability::None),
];

pub(super) fn read(section: Section<'_>) -> JournalSettings {
    let settings = JournalSettings {
        path: section.text(&PATH).unwrap_or_default().into(),
        durability: section.choice(&DURABILITY, &LEVELS, Durability::Disk),
        max_bytes: section.size(&MAX_BYTES),
        min_free: section.size(&MIN_FREE),
        key_file: section.text(&KEY_FILE).map(Into::into),
        old_key_files: section.names(&OLD_KEY_FILES),
    };
    section.finish();
    settings
}
