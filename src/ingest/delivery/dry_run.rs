//! A dry run: a load's request is made and looked at, and nobody is asked. What stands here holds by
//! construction; it is looked at again on what would be sent, since a rehearsal is there to find out.

use super::load::{self, Ready};
use super::request::Outgoing;
use crate::ingest::lanes::window::Form;
use crate::ingest::settings::Group;
use crate::json::Object;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::collections::HashSet;

/// Whether a request keeps the contract of its group.
///
/// # Errors
/// What is wrong with it, without anything of what it holds.
pub(super) async fn check(group: &Group, load: &[Ready], request: Outgoing) -> Result<(), String> {
    let body = request.request.into_body().collect().await;
    let body = body.map_err(|_| "its body can't be read".to_owned())?;
    check_body(group, load, &body.to_bytes())
}

fn check_body(group: &Group, load: &[Ready], body: &Bytes) -> Result<(), String> {
    if group.is_single() || load.iter().any(|ready| ready.batch.form == Form::Single) {
        return Ok(());
    }
    let events = load::count_events(load);
    if events > group.max_events {
        return Err(format!(
            "it has {events} events, and max_events is {}",
            group.max_events
        ));
    }
    if body.len() > group.max_bytes {
        return Err(format!(
            "it has {} bytes, and max_bytes is {}",
            body.len(),
            group.max_bytes
        ));
    }
    let text = std::str::from_utf8(body).map_err(|_| "it isn't UTF-8".to_owned())?;
    Object::parse(text).map_err(|_| "it isn't a JSON object".to_owned())?;
    let mut ids = HashSet::new();
    let queued = load.iter().flat_map(|ready| ready.batch.events.iter());
    for event in queued.map(|queued| queued.entry.event()) {
        if !ids.insert((event.owner().principal, event.id())) {
            return Err("it has an id twice".to_owned());
        }
    }
    Ok(())
}
