//! `tidegate modes`: how routes stand, and changes of that, at the admin address.

use super::admin_client::{AdminAddress, ask};
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A table of all routes.
///
/// # Errors
/// Nobody answers, or with an error.
pub(super) async fn list(admin: &AdminAddress, as_json: bool) -> anyhow::Result<String> {
    let routes = ask(admin, Method::GET, "/modes", None).await?;
    if as_json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&routes)?));
    }
    Ok(table(
        routes.as_array().map(Vec::as_slice).unwrap_or_default(),
    ))
}

/// Changes a route, or all routes of a path.
///
/// # Errors
/// Nobody answers, or the change isn't allowed.
pub(super) async fn set(
    admin: &AdminAddress,
    (route, mode, rollout): (&str, &str, Option<u8>),
    as_json: bool,
) -> anyhow::Result<String> {
    let mut wanted = json!({ "route": route, "mode": mode });
    if let (Some(rollout), Some(members)) = (rollout, wanted.as_object_mut()) {
        members.insert("rollout".to_owned(), rollout.into());
    }
    let changed = ask(admin, Method::PUT, "/modes", Some(&wanted)).await?;
    if as_json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&changed)?));
    }
    let mut out = String::new();
    for change in changed
        .get("changed")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        writeln!(
            out,
            "{}: was {}, is {}",
            text(change, "/route"),
            setting(change, "/was"),
            setting(change, "/now"),
        )?;
    }
    if let Some(why) = changed.get("why_not_kept").and_then(Value::as_str) {
        writeln!(out, "it holds until the process ends: {why}")?;
    }
    Ok(out)
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or("?")
}

/// The mode at this place, and for how many.
fn setting(value: &Value, at: &str) -> String {
    let mode = text(value, &format!("{at}/mode"));
    let rollout = value.pointer(&format!("{at}/rollout"));
    match rollout.and_then(Value::as_u64) {
        Some(rollout) if mode == "coalesce" => format!("{mode} at {rollout} %"),
        _ => mode.to_owned(),
    }
}

fn table(routes: &[Value]) -> String {
    let rows: Vec<[String; 4]> = routes
        .iter()
        .map(|route| {
            let path = format!("{} {}", text(route, "/method"), text(route, "/path"));
            let configured = setting(route, "/configured");
            let since = match route.pointer("/set/at").and_then(Value::as_str) {
                Some(at) => format!("since {at}; the file says {configured}"),
                None => "as the file says".to_owned(),
            };
            [
                route
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or("-")
                    .to_owned(),
                path,
                setting(route, ""),
                since,
            ]
        })
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut out = String::new();
    for [name, path, now, since] in &rows {
        let [first, second, third] = widths;
        out.push_str(&format!(
            "{name:first$}  {path:second$}  {now:third$}  {since}\n"
        ));
    }
    if rows.is_empty() {
        out.push_str("the configuration has no [[event]] route\n");
    }
    out
}
