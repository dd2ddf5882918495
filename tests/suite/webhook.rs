//! `[notify]`: an operator is told of what must not be missed, once in a while and without content.

use crate::support::upstream::{FakeUpstream, answer};
use crate::support::{Sidecar, in_time};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const MARK: &str = "MARKER7741";

async fn start(receiver: &FakeUpstream, min_interval: &str) -> Sidecar {
    let notify = format!(
        "[notify]\nurl = \"http://{}/hook?key=1\"\nmin_interval = \"{min_interval}\"\n[delivery]\n",
        receiver.address
    );
    let sidecar = Sidecar::start(&[("[delivery]\n", &notify)]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(422, json!({ "error": MARK }))));
    sidecar
}

async fn let_die(sidecar: &Sidecar, count: usize) {
    let dead = sidecar.running.ledger().dead;
    for number in 0..count {
        let id = format!("{MARK}-{dead}-{number}");
        let user = format!("{MARK}-{number}");
        sidecar.event(MARK, &user, &id).await;
    }
    sidecar.flush().await;
    let wanted = dead + count as u64;
    sidecar.until(|ledger| ledger.dead == wanted).await;
}

fn messages(receiver: &FakeUpstream) -> Vec<Value> {
    let seen = receiver.seen();
    let parse = |body: &[u8]| serde_json::from_slice(body).unwrap();
    seen.iter().map(|seen| parse(&seen.body)).collect()
}

fn count_new(messages: &[Value]) -> u64 {
    let new = messages.iter().map(|one| &one["dead_letters"]["new"]);
    new.map(|new| new.as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_told_in_one_message_in_its_time_and_the_rest_at_the_stop() {
    let receiver = FakeUpstream::start().await;
    let sidecar = start(&receiver, "1h").await;
    let_die(&sidecar, 1).await;
    receiver.until(|seen| !seen.is_empty()).await;
    let_die(&sidecar, 3).await;
    assert_eq!(messages(&receiver).len(), 1, "its time has not come");
    sidecar.running.stop().await;
    let told = messages(&receiver);
    assert_eq!(told.len(), 2);
    assert_eq!(
        (count_new(&told), &told[1]["dead_letters"]["kept"]),
        (4, &json!(4))
    );
    assert_eq!(told[0]["text"], "tidegate: 1 new dead letters, 1 in all");
    assert_eq!(
        told[1]["dead_letters"]["by_reason"],
        json!({ "refused": 4 })
    );
    assert_eq!(
        told[1]["dead_letters"]["by_group"],
        json!({ "progress": 4 })
    );
    for seen in receiver.seen() {
        assert_eq!(seen.path, "/hook?key=1");
        assert_eq!(seen.header("content-type"), "application/json");
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        assert!(!body.contains(MARK), "{body}");
        let headers = format!("{:?}", seen.headers);
        assert!(!headers.contains(MARK), "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_taken_is_sent_again_with_what_is_true_then() {
    let receiver = FakeUpstream::start().await;
    receiver.answer_with(|_| Some(answer(503, json!({}))));
    let sidecar = start(&receiver, "1s").await;
    let_die(&sidecar, 1).await;
    receiver.until(|seen| seen.len() >= 2).await;
    let_die(&sidecar, 2).await;
    receiver.answer_with(|_| None);
    let name = "tidegate_notifications_total{result=\"sent\"}";
    let taken = async {
        while sidecar.counter(name).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("a message that is taken", taken).await;
    let last = messages(&receiver).pop().unwrap();
    assert_eq!(last["dead_letters"]["new"], 3, "{last}");
    let failed = "tidegate_notifications_total{result=\"failed\"}";
    assert!(sidecar.counter(failed).await >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_nothing_to_tell_nothing_is_sent() {
    let receiver = FakeUpstream::start().await;
    let sidecar = start(&receiver, "1s").await;
    sidecar.upstream.answer_with(|_| None);
    sidecar.event("t", "u", "a").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    sidecar.running.stop().await;
    assert!(receiver.seen().is_empty(), "{:?}", receiver.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_was_replayed_and_dies_again_is_told_again() {
    let receiver = FakeUpstream::start().await;
    let sidecar = start(&receiver, "1h").await;
    let_die(&sidecar, 1).await;
    receiver.until(|seen| !seen.is_empty()).await;
    let replayed = sidecar
        .admin(Method::POST, "/dead-letters/replay?reason=refused")
        .await;
    assert_eq!(replayed.status, StatusCode::OK, "{replayed:?}");
    sidecar.flush().await;
    sidecar
        .until_counter("tidegate_dead_letters_total{reason=\"refused\"}", 2)
        .await;
    sidecar.running.stop().await;
    let told = messages(&receiver);
    assert_eq!((told.len(), count_new(&told)), (2, 2), "{told:?}");
}
