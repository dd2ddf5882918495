//! `/modes`: how the `[[event]]` routes stand, and changes of that; `/config/reload`.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use crate::migration::{Change, RouteMode, Wanted};
use crate::rollout::{Mode, Setting};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::time::Duration;

/// Most bytes of a change.
const MAX_BODY: usize = 64 << 10;
/// The disk is waited for so long.
const DISK: Duration = Duration::from_secs(5);
const ALLOWED: &str = "allowed: {\"route\": NAME or PATH, \"mode\": MODE, \"rollout\": 0 to 100}, or \
    a list of such; of mode and rollout one may be left out\n";

/// `GET /modes`.
pub(super) fn show_modes(setup: &Setup) -> Response<Body> {
    json(StatusCode::OK, &show_routes(setup))
}

/// How the routes stand.
pub(super) fn show_routes(setup: &Setup) -> Value {
    setup.modes.list().iter().map(show_route).collect()
}

fn show_setting(setting: Setting) -> Value {
    json!({ "mode": setting.mode.as_str(), "rollout": setting.rollout })
}

fn show_route(route: &RouteMode) -> Value {
    let (allow, deny) = route.exceptions;
    json!({
        "route": route.key, "name": route.name, "method": route.method, "path": route.path,
        "mode": route.now.mode.as_str(), "rollout": route.now.rollout,
        "configured": show_setting(route.configured),
        "set": route.set.as_ref().map(|(at, by)| json!({ "at": at, "by": by })),
        "allow": allow, "deny": deny,
    })
}

fn show_changes(changes: &[Change], failed: Option<&std::io::Error>) -> Value {
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            json!({
                "route": change.route, "was": show_setting(change.was), "now": show_setting(change.now),
            })
        })
        .collect();
    json!({
        "changed": changes, "kept": failed.is_none(), "why_not_kept": failed.map(ToString::to_string),
    })
}

/// `PUT /modes`.
pub(super) async fn change_modes(setup: &Setup, body: Incoming) -> Response<Body> {
    let wrong = |what: &str| text(StatusCode::BAD_REQUEST, &format!("{what}; {ALLOWED}"));
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return wrong("the body isn't whole, or over 64 KiB");
    };
    let wanted = match read_wanted(&body.to_bytes()) {
        Ok(wanted) => wanted,
        Err(what) => return wrong(&what),
    };
    let modes = setup.modes.clone();
    // It waits for the disk, when it holds already.
    let changed = tokio::task::spawn_blocking(move || modes.change(&wanted, "the admin listener"));
    match tokio::time::timeout(DISK, changed).await {
        Ok(Ok(Ok((changes, failed)))) => {
            json(StatusCode::OK, &show_changes(&changes, failed.as_ref()))
        }
        Ok(Ok(Err(error))) => wrong(&error.to_string()),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the change holds, and isn't kept for the next start yet: the disk doesn't answer\n",
        ),
    }
}

fn read_wanted(body: &[u8]) -> Result<Vec<Wanted>, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    let one = [value];
    let [value] = &one;
    let all = value.as_array().map_or(&one[..], Vec::as_slice);
    all.iter().map(read_one).collect()
}

fn read_one(value: &Value) -> Result<Wanted, String> {
    let found = |what: &Value| format!("found {what}");
    let members = value.as_object().ok_or_else(|| found(value))?;
    if let Some(unknown) = members
        .keys()
        .find(|name| !["route", "mode", "rollout"].contains(&name.as_str()))
    {
        return Err(format!("found the member {unknown:?}"));
    }
    let route = members.get("route").unwrap_or(&Value::Null);
    let route = route
        .as_str()
        .ok_or_else(|| format!("found the route {route}"))?;
    let mode = members.get("mode").map(|mode| {
        let known = mode.as_str().and_then(Mode::of);
        known.ok_or_else(|| {
            let allowed: Vec<_> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
            format!("found the mode {mode}; modes are {}", allowed.join(", "))
        })
    });
    let rollout = members.get("rollout").map(|rollout| {
        let share = rollout.as_u64().and_then(|share| u8::try_from(share).ok());
        share.ok_or_else(|| format!("found the rollout {rollout}"))
    });
    let (mode, rollout) = (mode.transpose()?, rollout.transpose()?);
    if mode.is_none() && rollout.is_none() {
        return Err(format!("nothing is wanted of {route:?}"));
    }
    Ok(Wanted {
        route: route.to_owned(),
        mode,
        rollout,
    })
}

/// `POST /config/reload`.
pub(super) async fn reload(setup: &Setup) -> Response<Body> {
    let Some(reload) = setup.reload.clone() else {
        return text(
            StatusCode::NOT_IMPLEMENTED,
            "this process was started without a file\n",
        );
    };
    match tokio::task::spawn_blocking(move || reload()).await {
        Ok(Ok(reloaded)) => {
            let mut shown = show_changes(&reloaded.changes, reloaded.failed.as_ref());
            if let Some(members) = shown.as_object_mut() {
                members.insert("waiting".to_owned(), json!(reloaded.waiting));
                members.insert("replaced".to_owned(), json!(reloaded.rules));
                members.insert("needs_restart".to_owned(), json!(reloaded.needs_restart));
            }
            json(StatusCode::OK, &shown)
        }
        Ok(Err(problems)) => text(StatusCode::UNPROCESSABLE_ENTITY, &format!("{problems}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_and_anything_else_is_an_error_that_shows_it() {
        let read = |text: &str| read_wanted(text.as_bytes());
        let wanted = |mode, rollout| Wanted {
            route: "/a".to_owned(),
            mode,
            rollout,
        };
        assert_eq!(
            read(r#"{"route":"/a","mode":"off"}"#),
            Ok(vec![wanted(Some(Mode::Off), None)])
        );
        assert_eq!(
            read(r#"[{"route":"/a","rollout":10},{"route":"/a","mode":"coalesce","rollout":100}]"#),
            Ok(vec![
                wanted(None, Some(10)),
                wanted(Some(Mode::Coalesce), Some(100))
            ])
        );
        for (text, shown) in [
            ("", "no JSON"),
            ("7", "found 7"),
            (r#"{"mode":"off"}"#, "found the route null"),
            (r#"{"route":"/a"}"#, "nothing is wanted of \"/a\""),
            (
                r#"{"route":"/a","mode":"on"}"#,
                "found the mode \"on\"; modes are off",
            ),
            (r#"{"route":"/a","rollout":256}"#, "found the rollout 256"),
            (
                r#"{"route":"/a","rollout":"10"}"#,
                "found the rollout \"10\"",
            ),
            (r#"{"route":"/a","mod":"off"}"#, "found the member \"mod\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(shown), "{error}");
        }
    }
}
