use super::*;
use crate::migration::learn::record::Unpacked;
use crate::peer::Connection;
use crate::recorder::Ending;
use http::{HeaderMap, StatusCode};

fn recordings() -> (Recordings, RecordingTask) {
    Recordings::new(|_, body| Unpacked::Plain(body.clone()))
}

fn record(recordings: &Recordings, method: &str, path: &str) -> Option<Recorded> {
    let connection = Connection {
        address: ([192, 0, 2, 1], 1).into(),
        secure: false,
    };
    let call = Request::builder().method(method).uri(path);
    let call = call.body(Body::empty()).unwrap();
    recordings.record_call(&call, &Peer::new(connection))
}

/// Tells a body and an answer; whether all of it was wanted.
fn tell(recorded: Recorded, body: &[u8], answer: &[u8]) -> bool {
    let Recorded {
        body: mut call,
        answer: copy,
    } = recorded;
    let call_wanted = call.push(body);
    call.end(Ending::Whole);
    let mut copy = copy.take_head(StatusCode::OK, &HeaderMap::new());
    let answer_wanted = copy.push(answer);
    copy.end(Ending::Whole);
    call_wanted && answer_wanted
}

#[tokio::test(start_paused = true)]
async fn a_recording_whose_asker_went_away_ends_and_drops_what_it_has() {
    let (recordings, task) = recordings();
    let drain = Drain::new();
    let running = tokio::spawn(task.run(drain.clone()));
    let begun = recordings.begin(LONGEST).unwrap();
    let recorded = record(&recordings, "POST", "/a").unwrap();
    assert!(recordings.is_on() && recordings.0.memory.usage().bytes > 0);
    for _ in 0..5 {
        tokio::time::sleep(PATIENCE / 2).await;
        assert!(recordings.progress(begun.recording).is_some());
    }
    tokio::time::sleep(PATIENCE + Duration::from_millis(1)).await;
    assert!(!recordings.is_on());
    assert_eq!(recordings.0.memory.usage().bytes, 0);
    assert!(recordings.progress(begun.recording).is_none());
    // Its call goes on, and nothing of it is wanted any more.
    assert!(!tell(recorded, b"{}", b"{}"));
    assert_eq!(recordings.0.memory.usage().bytes, 0);

    // A stop ends the last one, and none begins any more.
    recordings.begin(LONGEST).unwrap();
    record(&recordings, "POST", "/a").unwrap();
    drain.begin();
    running.await.unwrap();
    assert!(!recordings.is_on());
    assert_eq!(recordings.0.memory.usage().bytes, 0);
    let refused = recordings.begin(LONGEST).unwrap_err();
    assert_eq!(refused, BeginError::Stopping);
}

#[tokio::test(start_paused = true)]
async fn heads_that_no_event_call_has_are_not_recorded() {
    let (recordings, task) = recordings();
    let running = tokio::spawn(task.run(Drain::new()));
    let begun = recordings.begin(LONGEST).unwrap();
    for odd in [
        "/a".repeat(MOST_PARTS + 1),
        format!("/{}", "a".repeat(LONGEST_PART)),
        format!("/a?{}", "b&".repeat(MOST_PARTS + 1)),
        format!("/a?{}", "b".repeat(LONGEST_PART + 1)),
    ] {
        assert!(record(&recordings, "POST", &odd).is_none(), "{odd}");
    }
    assert!(record(&recordings, "POST", &"/a".repeat(MOST_PARTS)).is_some());
    assert_eq!(recordings.progress(begun.recording).unwrap().calls, 1);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_recording_whose_time_is_over_takes_no_call_and_waits_for_its_asker() {
    let (recordings, task) = recordings();
    let running = tokio::spawn(task.run(Drain::new()));
    let begun = recordings.begin(Duration::from_secs(3)).unwrap();
    let refused = recordings.begin(LONGEST).unwrap_err();
    assert_eq!(refused, BeginError::Busy(3));
    let recorded = record(&recordings, "POST", "/a?b=c%20d").unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!recordings.is_on());
    assert!(record(&recordings, "POST", "/a").is_none());
    // An answer that comes now belongs to it.
    assert!(tell(recorded, b"{\"a\":1}", b""));
    let progress = recordings.progress(begun.recording).unwrap();
    assert!(progress.over && progress.calls == 1 && progress.left_ms == 0);
    let taken = recordings.take(begun.recording).unwrap().into_exchanges();
    assert_eq!(taken.facts.seconds, 3);
    let exchange = &taken.exchanges[0];
    assert_eq!(exchange.query, [("b".to_owned(), "c d".to_owned())]);
    assert_eq!(
        exchange.body,
        super::super::Content::Text("{\"a\":1}".to_owned())
    );
    assert_eq!(exchange.answer, super::super::Content::Empty);
    drop(taken);
    assert_eq!(recordings.0.memory.usage().bytes, 0);
    assert!(recordings.take(begun.recording).is_none());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_memory_or_the_number_are_shed_and_counted() {
    let (recordings, _task) = recordings();
    let begun = recordings.begin(LONGEST).unwrap();
    let body = vec![b' '; crate::recorder::LARGEST_COPY];
    let mut whole = 0;
    for number in 0..MOST {
        let path = format!("/p{}", number % 9);
        let recorded = record(&recordings, "POST", &path);
        whole += recorded.map_or(0, |recorded| usize::from(tell(recorded, &body, &body)));
        assert!(recordings.0.memory.usage().bytes <= MOST_BYTES);
    }
    assert!((900..1_024).contains(&whole), "{whole}");
    let taken = recordings.take(begun.recording).unwrap().into_exchanges();
    assert_eq!(taken.exchanges.len(), whole);
    let facts = taken.facts;
    assert_eq!(
        facts.shed + facts.surplus,
        (MOST - whole) as u64,
        "{facts:?}"
    );
    drop(taken);

    let begun = recordings.begin(LONGEST).unwrap();
    for number in 0..MOST + 7 {
        let path = format!("/p{}", number % 900);
        let recorded = record(&recordings, "POST", &path);
        assert_eq!(recorded.is_some(), number < MOST);
    }
    let progress = recordings.progress(begun.recording).unwrap();
    assert_eq!(
        (progress.calls, progress.shed, progress.over),
        (MOST, 7, true)
    );
}

#[tokio::test(start_paused = true)]
async fn of_a_route_and_of_reads_no_more_is_recorded_than_is_looked_into() {
    let (recordings, _task) = recordings();
    let begun = recordings.begin(LONGEST).unwrap();
    for number in 0..MOST_OF_ROUTE + 3 {
        record(
            &recordings,
            "PUT",
            &format!("/lessons/{}/place", 1_000 + number),
        );
    }
    for number in 0..MOST {
        record(&recordings, "GET", &format!("/page-{}", number % 999));
    }
    let progress = recordings.progress(begun.recording).unwrap();
    assert_eq!(progress.calls, MOST_OF_ROUTE + MOST / 2);
    let taken = recordings.take(begun.recording).unwrap().into_exchanges();
    assert_eq!(taken.facts.surplus, 3 + (MOST / 2) as u64);
    assert_eq!(taken.facts.unfinished, (MOST_OF_ROUTE + MOST / 2) as u64);
}
