//! What names and values look like: an id, a time, a user's name, a word that may be shown.

use serde_json::Value;

/// Members that name a user, the surest first, as [`plain_name`] writes them.
pub(super) const USER_NAMES: [&str; 21] = [
    "userid",
    "uid",
    "sub",
    "learnerid",
    "studentid",
    "memberid",
    "customerid",
    "accountid",
    "profileid",
    "personid",
    "distinctid",
    "username",
    "user",
    "login",
    "mbox",
    "email",
    "anonymousid",
    "visitorid",
    "clientid",
    "cid",
    "deviceid",
];

/// Members that name an event, the surest first.
pub(super) const ID_NAMES: [&str; 9] = [
    "clienteventid",
    "eventid",
    "eventuuid",
    "insertid",
    "messageid",
    "idempotencykey",
    "uuid",
    "id",
    "ref",
];

/// Members that tell a time, the surest first.
pub(super) const TIME_NAMES: [&str; 9] = [
    "timestamp",
    "occurredat",
    "eventtime",
    "clienttime",
    "time",
    "ts",
    "sentat",
    "createdat",
    "at",
];

/// What a member's name holds whose value is a person's or a secret.
const PERSONAL: [&str; 22] = [
    "user", "name", "mail", "phone", "login", "pass", "secret", "token", "key", "session",
    "address", "actor", "account", "customer", "member", "auth", "cookie", "sub", "org", "tenant",
    "ip", "note",
];

/// A name in lower case, letters and digits only, so that spellings can be compared.
pub(super) fn plain_name(name: &str) -> String {
    name.chars()
        .filter(|letter| letter.is_ascii_alphanumeric())
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// The value of such a member is never shown.
pub(super) fn is_personal(name: &str) -> bool {
    let plain = plain_name(name);
    names_id(name) || PERSONAL.iter().any(|word| plain.contains(word))
}

/// By its name it identifies something.
pub(super) fn names_id(name: &str) -> bool {
    let plain = plain_name(name);
    plain.ends_with("id") || plain.ends_with("uuid") || plain.ends_with("ref") || plain == "slug"
}

/// By its name it identifies a user.
pub(super) fn names_user(name: &str) -> bool {
    USER_NAMES.contains(&&*plain_name(name))
}

/// A name that a template can say, and that tells nothing of a person.
pub(super) fn is_field_name(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic() || matches!(letter, '_' | '$'));
    first
        && name.len() <= 48
        && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$' | '-'))
        && !looks_like_id(name)
}

/// A word that may be shown: letters, digits and a few signs, no space, no long number.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
        && !looks_like_id(text)
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Numbers, UUIDs, hashes, addresses, and whatever else is no plain word of an address.
pub(super) fn looks_like_id(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._~-$".contains(&byte));
    let hexadecimal = text.len() >= 8 && digits > 0 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let unbroken = text.split(['-', '_', '.']).any(|part| {
        part.len() >= 20 || (part.len() >= 12 && part.bytes().any(|b| b.is_ascii_digit()))
    });
    (digits > 0 && digits == text.len())
        || !plain
        || hexadecimal
        || digits >= 5
        || unbroken
        || text.len() > 48
}

/// An ISO 8601 time.
pub(super) fn is_iso_time(text: &str) -> bool {
    text.len() >= 19 && text.contains('T') && text.parse::<jiff::Timestamp>().is_ok()
}

/// As templates write it: UTC, with milliseconds.
pub(super) fn is_iso_as_written(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && is_iso_time(text)
}

/// Unix milliseconds of this century.
pub(super) fn is_milliseconds(value: &Value) -> bool {
    value
        .as_f64()
        .is_some_and(|number| (946_684_800_000.0..4_102_444_800_000.0).contains(&number))
}
