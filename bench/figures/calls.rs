//! Whose calls a connection sends, one after the other, and what they say.

use super::reference::{Head, append_body, write_body, write_head};

/// Appends a connection's next call.
pub type WriteCall = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// Connections of a load; each has one call in flight.
pub const CONNECTIONS: usize = 64;
/// Users of each connection.
const USERS: usize = 16;
/// Events of a user that make a batch (`flush_at` of the reference configuration).
const BATCH: usize = 10;
/// Calls after which each user of [`write_events`] has sent whole batches.
pub const EVENTS_CYCLE: u64 = (USERS * BATCH) as u64;
/// Likewise of [`write_bursts`].
pub const BURSTS_CYCLE: u64 = BATCH as u64;
/// Users whose answers are stored, over all connections.
const READERS: usize = 16;
const CSRF: &str = "csrf-0123456789abcdef";

/// Events of sixteen users in turn.
pub fn write_events(head: Head, connection: usize) -> WriteCall {
    let name = |one| format!("user-{}", connection * USERS + one);
    let prepare = |user: String| (write_head(head, &user, CSRF), user);
    let users: Vec<_> = (0..USERS).map(name).map(prepare).collect();
    let mut number = 0;
    Box::new(move |out| {
        let (head, user) = &users[number % USERS];
        out.extend_from_slice(head.as_bytes());
        append_body(
            out,
            &write_body(user, &format!("{user}:lesson-7:{number}"), "lesson-7"),
        );
        number += 1;
    })
}

/// A batch's events of one user after the other, each drawn from so many.
pub fn write_bursts(users: u64, connection: usize) -> WriteCall {
    let mut random = fastrand::Rng::with_seed(connection as u64);
    let (mut number, mut user, mut head) = (0, String::new(), String::new());
    Box::new(move |out| {
        if number % BATCH == 0 {
            user = format!("user-{}", random.u64(..users));
            head = write_head(Head::Small, &user, CSRF);
        }
        out.extend_from_slice(head.as_bytes());
        let id = format!("{user}:lesson-7:{connection}:{number}");
        append_body(out, &write_body(&user, &id, "lesson-7"));
        number += 1;
    })
}

/// One event of each user, of whom every connection has a part; bodies of `bytes` bytes, or more if
/// that is too short.
pub fn write_first_events(bytes: usize, connection: usize) -> WriteCall {
    let mut number = connection;
    Box::new(move |out| {
        let user = format!("user-{number}");
        let id = format!("{user}:first");
        let short = write_body(&user, &id, "").len();
        let lesson = format!("{:0>1$}", "lesson-7", bytes.saturating_sub(short));
        out.extend_from_slice(write_head(Head::Small, &user, CSRF).as_bytes());
        append_body(out, &write_body(&user, &id, &lesson));
        number += CONNECTIONS;
    })
}

/// The same read again and again, of one of sixteen users.
pub fn write_reads(connection: usize) -> WriteCall {
    let read = read_of(connection % READERS);
    Box::new(move |out| out.extend_from_slice(read.as_bytes()))
}

/// A write of 250 bytes and a read in turn, on routes that nothing is configured for.
pub fn write_relayed(connection: usize) -> WriteCall {
    let user = connection % READERS;
    let mut post = format!(
        "POST /notes?userId=user-{user} HTTP/1.1\r\nhost: app.test\r\nauthorization: Bearer \
                 token-{user}\r\n"
    )
    .into_bytes();
    append_body(&mut post, &format!("{{\"note\":\"{:x<239}\"}}", ""));
    let calls = [post, read_of(user).into_bytes()];
    let mut number = 0;
    Box::new(move |out| {
        out.extend_from_slice(&calls[number % 2]);
        number += 1;
    })
}

fn read_of(user: usize) -> String {
    format!(
        "GET /progress?userId=user-{user} HTTP/1.1\r\nhost: app.test\r\nauthorization: Bearer \
         token-{user}\r\n\r\n"
    )
}
