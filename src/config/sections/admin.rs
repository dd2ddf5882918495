//! `[admin]`: the operators' listener.

use crate::admin::AdminSettings;
use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::problem::Position;
use crate::config::readers::read_address;
use crate::config::section::Section;

keys! {
    "[admin]";
    /// beyond loopback only with `token_file`
    LISTEN = Key::text("listen", Said("address"), "127.0.0.1:9901");
    /// holds a token, one line of at least 16 characters. Each request but those for `/healthz`,
    /// `/readyz` and the dashboard's own files must have it (`Authorization: Bearer`), on loopback
    /// too. Read again at SIGHUP and `POST /config/reload`
    TOKEN_FILE = Key::without("token_file", Said("file"), "none");
    /// `/metrics` needs no token
    OPEN_METRICS = Key::with("open_metrics", Flag, "false");
}

/// With where `listen` stands.
pub(super) fn read(section: Section<'_>) -> (AdminSettings, Position) {
    let listen = read_address(&section, &LISTEN);
    let token_file = section.text(&TOKEN_FILE).map(Into::into);
    if !listen.ip().is_loopback() && !section.has(&TOKEN_FILE) {
        let text = format!(
            "found {listen}; without admin.token_file, which names a file with a token, only \
             loopback addresses are allowed"
        );
        section.wrong_key(&LISTEN, text);
    }
    let open_metrics = section.flag(&OPEN_METRICS);
    let position = section.position(&LISTEN);
    section.finish();
    let settings = AdminSettings {
        listen,
        token_file,
        open_metrics,
    };
    (settings, position)
}
