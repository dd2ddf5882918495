//! `[admin]`: the operators' listener.

use crate::admin::AdminSettings;
use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::read_address;
use crate::config::section::Section;

keys! {
    "[admin]";
    /// other addresses are refused in this version
    LISTEN = Key::text("listen", Said("loopback address"), "127.0.0.1:9901");
}

pub(super) fn read(section: Section<'_>) -> AdminSettings {
    let listen = read_address(&section, &LISTEN);
    if !listen.ip().is_loopback() {
        let text = format!("found {listen}; only loopback addresses are allowed in this version");
        section.wrong_key(&LISTEN, text);
    }
    section.finish();
    AdminSettings { listen }
}
