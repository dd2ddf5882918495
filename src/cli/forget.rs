//! `tidegate forget`: erases what a running sidecar keeps of one user.

use super::admin_client::{AdminAddress, ask, ask_for_long};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// What no count can say.
const BESIDE: &str = "\
Not counted: ids that were acknowledged are remembered as keyed hashes until max_age of their
group. On disk the bytes of what is erased stay until their segment of the journal is deleted or
written anew (tidegate journal stats).";

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct ForgetOptions {
    /// The user, as identity.user names it; of all hosts.
    #[arg(long)]
    user: String,
    /// Erase it. Without this it is only told what would be.
    #[arg(long)]
    yes: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Asks; what to print.
///
/// # Errors
/// Nobody answers, or with an error.
pub(super) async fn forget_user(
    admin: &AdminAddress,
    options: &ForgetOptions,
) -> anyhow::Result<String> {
    let user = utf8_percent_encode(&options.user, NON_ALPHANUMERIC);
    let path = format!("/users/{user}");
    let found = if options.yes {
        ask_for_long(admin, Method::DELETE, &path, String::new()).await?
    } else {
        ask(admin, Method::GET, &path, None).await?
    };
    if options.json {
        return Ok(format!("{found}\n"));
    }
    Ok(describe(&found, options.yes))
}

fn describe(found: &Value, is_erased: bool) -> String {
    let key = if is_erased { "erased" } else { "kept" };
    let of_user = |name: &str| {
        found
            .pointer(&format!("/{key}/{name}"))
            .and_then(Value::as_u64)
    };
    let count = |name: &str| of_user(name).unwrap_or(0);
    let stored = found.get("stored_answers_of_all").and_then(Value::as_u64);
    let mut lines = vec![
        format!("{:>8}  pending events", count("pending")),
        format!("{:>8}  dead letters", count("dead_letters")),
        format!("{:>8}  lives of delivered events", count("lives")),
        format!(
            "{:>8}  stored answers (all: which are one user's can't be told)",
            stored.unwrap_or(0)
        ),
    ];
    let flying = count("in_flight");
    lines.insert(
        0,
        match (is_erased, flying) {
            (false, 0) => "would be erased:".to_owned(),
            (false, _) => format!("would be erased, when {flying} batches on their way are over:"),
            (true, _) => "erased:".to_owned(),
        },
    );
    if is_erased && flying > 0 {
        lines.push(format!(
            "{flying} batches are still on their way after 10 s: run it again when they are over"
        ));
    }
    if found.get("durable") == Some(&Value::Bool(false)) {
        lines.push(
            "The journal can't be written now: a restart brings back what was in it. Run it again \
             when /readyz says that it can."
                .to_owned(),
        );
    }
    lines.push(BESIDE.to_owned());
    if !is_erased {
        lines.push("Nothing was erased: --yes does it.".to_owned());
    }
    lines.join("\n") + "\n"
}
