//! `/users/USER`: what is kept of a user, and erasing it.

use super::reply::{json, refuse_method, text};
use super::setup::Setup;
use crate::body::Body;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;

/// What the path begins with.
pub(super) const PREFIX: &str = "/users/";

/// `GET`: what is kept. `DELETE`: erases it, and says what it was.
///
/// Stored answers, and heads that are remembered, can't be told by their user: all are erased.
pub(super) async fn answer_user(setup: &Setup, asked: &Method, path: &str) -> Response<Body> {
    let name = path.strip_prefix(PREFIX).unwrap_or_default();
    let Ok(name) = percent_decode_str(name).decode_utf8() else {
        return text(StatusCode::BAD_REQUEST, "the user is not UTF-8\n");
    };
    let user = match setup.operations.find_user_id(&name) {
        Ok(user) => user,
        Err(error) => return text(StatusCode::BAD_REQUEST, &format!("the user: {error}\n")),
    };
    let operations = setup.operations.clone();
    let stored = setup.store.count();
    match *asked {
        Method::GET | Method::HEAD => {
            let kept = operations.count_user(&user);
            json(
                StatusCode::OK,
                &json!({ "user": name, "kept": kept, "stored_answers_of_all": stored }),
            )
        }
        Method::DELETE => {
            // It goes on to its end, whoever waits for the answer.
            let forgetting = tokio::spawn(async move { operations.forget_user(&user).await });
            let Ok((erased, is_durable)) = forgetting.await else {
                return text(StatusCode::INTERNAL_SERVER_ERROR, "it ended early\n");
            };
            setup.read.forget();
            tracing::info!(
                pending = erased.pending,
                dead_letters = erased.dead_letters,
                in_flight = erased.in_flight,
                durable = is_durable,
                "what was kept of a user is erased"
            );
            json(
                StatusCode::OK,
                &json!({
                    "user": name, "erased": erased, "durable": is_durable,
                    "stored_answers_of_all": stored,
                }),
            )
        }
        _ => refuse_method("GET, DELETE"),
    }
}
