//! Login and refresh.

use super::account::{Account, PASSWORD};
use super::call::Call;
use super::reply::{Reply, Stage};
use super::shared::Shared;
use super::tokens::Use;
use crate::clock::millis;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::SystemTime;

/// `POST /api/auth/login`: tokens in the body and as cookies.
#[must_use]
pub fn login(shared: &Shared, call: &Call, body: &Value) -> Reply {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let right = text("password") == Some(PASSWORD);
    let Some(account) = text("email").filter(|_| right).and_then(Account::by_email) else {
        let body = json!({"error": "invalid_credentials", "message": "The email or password you entered is incorrect."});
        return Reply::json(StatusCode::UNAUTHORIZED, body).at(Stage::Guard);
    };
    let pair = Pair::new(shared, &account);
    let now = millis(SystemTime::now());
    let ends = |purpose| now + u64::try_from(shared.tokens.life(purpose).as_millis()).unwrap_or(0);
    let body = json!({
        "user": account.json(), "memberships": [account.membership()], "organizationIds": [account.organization],
        "activeOrgId": account.organization, "accessToken": pair.access, "refreshToken": pair.refresh,
        "expiresAt": ends(Use::Access), "refreshExpiresAt": ends(Use::Refresh),
    });
    pair.answer(shared, call, body)
}

/// `POST /api/auth/refresh`: a new pair for a refresh token in the body or its cookie.
#[must_use]
pub fn refresh(shared: &Shared, call: &Call, body: &Value) -> Reply {
    let given = body
        .get("refreshToken")
        .and_then(Value::as_str)
        .or_else(|| call.cookie("refresh_token"));
    let Some(token) = given else {
        let body =
            json!({"error": "MISSING_REFRESH_TOKEN", "message": "Refresh token is required"});
        return Reply::json(StatusCode::BAD_REQUEST, body).at(Stage::Guard);
    };
    let Some(account) = shared.tokens.verify(token, Use::Refresh, SystemTime::now()) else {
        let body = json!({
            "error": "invalid_refresh_token", "code": "invalid_refresh_token",
            "message": "Refresh token is invalid or expired",
        });
        return Reply::json(StatusCode::UNAUTHORIZED, body).at(Stage::Guard);
    };
    let pair = Pair::new(shared, &account);
    let body = json!({
        "accessToken": pair.access, "refreshToken": pair.refresh, "expiresIn": null, "user": account.json(),
    });
    pair.answer(shared, call, body)
}

/// `POST /api/auth/logout`.
#[must_use]
pub fn logout(call: &Call) -> Reply {
    let mut reply =
        Reply::ok(json!({"success": true, "message": "Logged out successfully", "data": true}));
    reply.cookies = ["access_token", "refresh_token"]
        .map(|name| call.set_cookie(name, "", 0, true))
        .into();
    reply.at(Stage::Guard)
}

struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    fn new(shared: &Shared, account: &Account) -> Self {
        let issue = |purpose| shared.tokens.issue(account, purpose, SystemTime::now());
        Self {
            access: issue(Use::Access),
            refresh: issue(Use::Refresh),
        }
    }

    fn answer(&self, shared: &Shared, call: &Call, body: Value) -> Reply {
        let life = |purpose| shared.tokens.life(purpose).as_secs();
        let mut reply = Reply::ok(body).at(Stage::Guard);
        reply.cookies = vec![
            call.set_cookie("access_token", &self.access, life(Use::Access), true),
            call.set_cookie("refresh_token", &self.refresh, life(Use::Refresh), true),
        ];
        reply
    }
}
