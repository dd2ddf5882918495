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

/// What is printed.
pub(super) struct Told {
    pub(super) text: String,
    /// What was asked for is done: nothing of the user is on its way, and what was erased stays so.
    pub(super) is_done: bool,
}

/// Asks, and says what became of it.
///
/// # Errors
/// Nobody answers, or with an error.
pub(super) async fn forget_user(
    admin: &AdminAddress,
    options: &ForgetOptions,
) -> anyhow::Result<Told> {
    let user = utf8_percent_encode(&options.user, NON_ALPHANUMERIC);
    let path = format!("/users/{user}");
    let found = if options.yes {
        ask_for_long(admin, Method::DELETE, &path, String::new()).await?
    } else {
        ask(admin, Method::GET, &path, None).await?
    };
    let text = if options.json {
        format!("{found}\n")
    } else {
        describe(&found, options.yes)
    };
    let is_done = !options.yes || is_whole(&found);
    Ok(Told { text, is_done })
}

/// Whether an answer says that all is erased, for good.
fn is_whole(found: &Value) -> bool {
    let in_flight = found.pointer("/erased/in_flight").and_then(Value::as_u64);
    in_flight == Some(0) && found.get("durable") != Some(&Value::Bool(false))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_is_erased_once_nothing_is_on_its_way_and_the_journal_holds_it() {
        let found = |in_flight: u64, durable: bool| {
            is_whole(&json!({ "erased": { "in_flight": in_flight }, "durable": durable }))
        };
        assert!(found(0, true));
        assert!(!found(1, true));
        assert!(!found(0, false));
        assert!(!is_whole(&json!({})), "an answer that says nothing");
    }
}
