//! Dead letters as an operator meets them: what the application answered, which are meant, and a
//! replay with a new credential.

use crate::crash::start_for_commands;
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Http, in_time};
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const HOST: (&str, &str) = ("host", "app.test");

async fn post(process: &Process, (token, user, id): (&str, &str, &str)) {
    let body = format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5}}");
    let head = [("authorization", token), HOST];
    let sent = Http::default();
    let answer = sent.try_call(process.address, Method::POST, "/event", &head, body);
    assert_eq!(answer.await.unwrap().status, 202);
}

async fn letters(process: &Process, query: &str) -> Vec<Value> {
    let path = format!("/dead-letters{query}");
    let asked = Http::default();
    let answer = asked.try_call(process.admin, Method::GET, &path, &[], "");
    answer.await.unwrap().json().as_array().unwrap().clone()
}

async fn until_dead(process: &Process, count: usize) {
    let flushed = Http::default();
    let flush = flushed.try_call(process.admin, Method::POST, "/flush", &[], "");
    assert!(flush.await.unwrap().status.is_success());
    let dead = async {
        while letters(process, "").await.len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("dead letters", dead).await;
}

fn ids(letters: &[Value]) -> Vec<&str> {
    letters
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_has_what_the_application_answered_and_keeps_it_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(422, json!({ "error": "no such\nlesson" }))));
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    post(&process, ("t", "u", "a")).await;
    until_dead(&process, 1).await;
    let before = letters(&process, "").await;
    assert_eq!(before[0]["answer"], "{\"error\":\"no such\\nlesson\"}");
    let (code, shown) = run(&["dead-letters", "show", "a"], &config, &[]);
    assert!(code == Some(0) && shown.contains("no such"), "{shown}");
    process.kill();
    let (process, _) = start_for_commands(directory.path(), upstream.address);
    assert_eq!(letters(&process, "").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_replayed_and_dropped_by_reason_and_group() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|seen| {
        let failed = seen.ids();
        Some(match failed[0].as_str() {
            "gone" => answer(422, json!({})),
            id => {
                let failed = json!([{ "id": id, "reason": "validation_error" }]);
                answer(
                    200,
                    json!({ "accepted": [], "duplicates": [], "failed": failed }),
                )
            }
        })
    });
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    for (user, id) in [("u", "gone"), ("v", "bad"), ("w", "worse")] {
        post(&process, (user, user, id)).await;
    }
    until_dead(&process, 3).await;
    let of_reason = letters(&process, "?reason=failed_permanently&group=progress").await;
    assert_eq!(of_reason.len(), 2, "{of_reason:?}");
    assert!(letters(&process, "?group=other").await.is_empty());
    let command = |arguments: &[&str]| run(&[&["dead-letters"], arguments].concat(), &config, &[]);
    let (code, said) = command(&["list", "--reason", "refused"]);
    assert!(
        code == Some(0) && said.contains("gone") && said.contains("1 dead letters"),
        "{said}"
    );
    // Nothing named is an error, and not everything.
    let (code, said) = command(&["drop"]);
    assert!(code == Some(1) && said.contains("--reason"), "{said}");
    let (code, said) = command(&["drop", "--reason", "refused", "--group", "progress"]);
    assert!(code == Some(0) && said.contains("gone"), "{said}");
    upstream.answer_with(|_| None);
    let (code, said) = command(&["replay", "--reason", "failed_permanently"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(letters(&process, "").await.is_empty());
    let asked = Http::default();
    let wrong = asked.try_call(
        process.admin,
        Method::DELETE,
        "/dead-letters?user=u",
        &[],
        "",
    );
    let wrong = wrong.await.unwrap();
    assert_eq!(wrong.status, 400);
    let said = String::from_utf8(wrong.body.to_vec()).unwrap();
    assert!(said.contains("found user=u; allowed: "), "{said}");
}

/// A token that says whose it is; nothing here looks at its signature.
fn token_of(user: &str, number: u32) -> String {
    token_with(&format!("{{\"sub\":\"{user}\",\"number\":{number}}}"))
}

fn token_with(claims: &str) -> String {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!(
        "Bearer {}.{}.c2ln",
        part("{\"alg\":\"HS256\"}"),
        part(claims)
    )
}

fn write_credential(directory: &Path, lines: &str) -> String {
    let file = directory.join("credential.txt");
    std::fs::write(&file, lines).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_goes_with_a_new_credential_of_the_same_user_and_of_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(422, json!({}))));
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    let [old, new] = [1, 2].map(|number| token_of("u", number));
    post(&process, (&old, "u", "a")).await;
    post(&process, (&token_of("v", 1), "v", "b")).await;
    until_dead(&process, 2).await;
    let replay = |which: &[&str], lines: &str| {
        let file = write_credential(directory.path(), lines);
        let arguments = [
            &["dead-letters", "replay", "--credential-file", &file],
            which,
        ]
        .concat();
        run(&arguments, &config, &[])
    };
    let line = format!("Authorization: {new}\n");
    let expired = token_with("{\"sub\":\"u\",\"exp\":1000}");
    for (which, lines, wanted) in [
        (&["--all"][..], &*line, "the letters are of 2 users"),
        (&["b"], &line, "the new credential is not one of the user v"),
        (
            &["a"],
            "Cookie: session=1",
            "it came without a cookie session",
        ),
        (
            &["a"],
            &format!("Authorization: {expired}"),
            "the new credential has expired",
        ),
        (
            &["a"],
            "X-Api-Key: 1",
            "it came without the header x-api-key",
        ),
        (&["a"], "Bearer s3cret", "line 1 is no header"),
        (&["a"], "", "no line; wanted are header lines"),
    ] {
        let (code, said) = replay(which, lines);
        assert!(code == Some(1) && said.contains(wanted), "{lines}: {said}");
        assert!(!said.contains("s3cret") && !said.contains(&new), "{said}");
    }
    assert_eq!(
        ids(&letters(&process, "").await),
        ["a", "b"],
        "all are there"
    );
    let before = upstream.seen().len();
    upstream.answer_with(|_| None);
    let (code, said) = replay(&["a"], &line);
    assert_eq!(code, Some(0), "{said}");
    process.deliver_pending().await;
    let seen = upstream.seen().split_off(before);
    let with_new = |seen: &Seen| seen.header("authorization") == new && seen.ids() == ["a"];
    assert!(seen.len() == 1 && with_new(&seen[0]), "{seen:?}");
    assert_eq!(ids(&letters(&process, "").await), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_credential_is_kept_over_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(422, json!({}))));
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    let [old, new] = [1, 2].map(|number| token_of("u", number));
    post(&process, (&old, "u", "a")).await;
    until_dead(&process, 1).await;
    upstream.close_gate();
    let file = write_credential(directory.path(), &format!("authorization: {new}"));
    let arguments = ["dead-letters", "replay", "a", "--credential-file", &file];
    let (code, said) = run(&arguments, &config, &[]);
    assert_eq!(code, Some(0), "{said}");
    process.kill();
    upstream.answer_with(|_| None);
    upstream.open_gate();
    let (process, _) = start_for_commands(directory.path(), upstream.address);
    process.deliver_pending().await;
    let seen = upstream.seen().split_off(1);
    let with_new = |seen: &Seen| seen.header("authorization") == new && seen.ids() == ["a"];
    assert!(!seen.is_empty() && seen.iter().all(with_new), "{seen:?}");
}
