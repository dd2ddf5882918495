//! Who may log in: any `learner-<number>@example.test`, and one account of the recorded exchanges.

use serde_json::{Value, json};

/// The one password.
pub const PASSWORD: &str = "demo-pass-1";
/// The one organisation.
pub const ORGANIZATION: &str = "11111111-1111-4111-8111-111111111111";

/// Somebody with a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub user: Box<str>,
    /// Address.
    pub email: Box<str>,
    /// Organisation.
    pub organization: &'static str,
}

impl Account {
    /// The account with this id and address; ids are plain words.
    #[must_use]
    pub fn try_new(user: &str, email: &str) -> Option<Self> {
        (!user.is_empty()).then(|| Self {
            user: user.into(),
            email: email.into(),
            organization: ORGANIZATION,
        })
    }

    /// The account of this address.
    #[must_use]
    pub fn by_email(email: &str) -> Option<Self> {
        let name = email.strip_suffix("@example.test")?;
        if name == "learner" {
            return Self::try_new("00000000-0000-0000-0000-000000000002", email);
        }
        let number: u32 = name.strip_prefix("learner-")?.parse().ok()?;
        Self::try_new(&format!("00000000-0000-4000-8000-{number:012}"), email)
    }

    /// The `user` object of login and refresh.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.user, "userId": self.user, "email": self.email, "role": "user", "platformRole": null,
            "isPlatformAdmin": false, "organizationId": self.organization, "organizationIds": [self.organization],
            "memberships": [self.membership()], "firstName": "Demo", "lastName": "User", "appMetadata": {}, "userMetadata": {},
        })
    }

    /// Its one membership.
    #[must_use]
    pub fn membership(&self) -> Value {
        json!({
            "orgId": self.organization, "organizationId": self.organization, "role": "user", "status": "active",
            "organizationName": null, "organizationStatus": "active", "subscription": null, "features": null,
            "acceptedAt": null, "lastSeenAt": null,
        })
    }
}
