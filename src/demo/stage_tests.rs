use super::*;
use crate::demo::DemoOptions;
use crate::demo::application::census::Calls;
use crate::demo::arrangement::Arrangement;
use crate::demo::learners::rhythm::Rhythm;
use serde_json::Value;

struct Direct {
    upstream: Upstream,
    tally: Arc<Tally>,
}

/// Learners on a very fast clock that call the upstream itself, until `enough` says so.
async fn direct(token_life: Duration, renew: Duration, enough: impl Fn(&Tally) -> bool) -> Direct {
    let options = Options {
        speed: 100,
        token_life,
        origins: Vec::new(),
        latency: false,
        service_token: None,
    };
    let upstream = Upstream::start(options).await.unwrap();
    let tally = Arc::new(Tally::try_new().unwrap());
    let stop = CancellationToken::new();
    let pace = Pace {
        renew,
        ..Pace::new(Rhythm::Player, 100)
    };
    let (site, client) = (
        Arc::new(session::Site::new(upstream.address(), None)),
        session::client(),
    );
    let learner = |number| {
        let (site, client, tally, stop) = (
            Arc::clone(&site),
            client.clone(),
            Arc::clone(&tally),
            stop.clone(),
        );
        learners::run(Setup {
            number,
            of: 3,
            pace,
            site,
            client,
            tally,
            stop,
        })
    };
    let mut learners: JoinSet<()> = (0..3).map(learner).collect();
    let reached = async {
        while !enough(&tally) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached)
        .await
        .unwrap();
    stop.cancel();
    while learners.join_next().await.is_some() {}
    Direct { upstream, tally }
}

#[tokio::test]
async fn without_a_sidecar_every_call_is_a_call_of_the_upstream() {
    let Direct { upstream, tally } =
        direct(TOKEN_LIFE, Duration::ZERO, |tally| tally.calls() > 1_000).await;
    let calls = upstream.census().calls();
    assert_eq!(calls.work(), tally.calls());
    let (writes, reads) = (tally.writes.get(), tally.reads.get());
    let told = Calls {
        auth: 3,
        singles: writes - calls.snapshots,
        snapshots: calls.snapshots,
        reads,
        ..Calls::default()
    };
    assert_eq!(calls, told);
    assert!(calls.snapshots > 0, "learner 1 is on the course player");
    assert_eq!(
        (tally.forwarded.get(), tally.acknowledged_here.get()),
        (tally.writes.get(), 0)
    );
    assert_eq!(
        (
            tally.refused.get(),
            tally.failed_reads.get(),
            tally.stale.get()
        ),
        (0, 0, 0)
    );
    let audit = upstream
        .census()
        .look(|book| Audit::of(&tally.promised(), book, None));
    assert_eq!(
        audit,
        Audit {
            acknowledged: tally.writes.get(),
            ..Audit::default()
        }
    );
}

#[tokio::test]
async fn a_learner_whose_token_expires_gets_another_and_loses_no_call() {
    let enough = |tally: &Tally| tally.refreshes.get() > 3;
    let Direct { upstream, tally } = direct(Duration::from_secs(5), Duration::ZERO, enough).await;
    assert_eq!(
        (
            tally.refused.get(),
            tally.failed_reads.get(),
            tally.locked_out.get()
        ),
        (0, 0, 0)
    );
    let audit = upstream
        .census()
        .look(|book| Audit::of(&tally.promised(), book, None));
    assert_eq!((audit.lost, audit.foreign), (0, 0));
}

/// Plays longer and longer runs until the report counts some of everything in `seen`, since a
/// busy machine gets little done in a short one. Every run in which something was acknowledged
/// must be good, with 0 under each key of `clean`. The last one's report.
async fn play_until_seen(mut run: Run, clean: &[&str], seen: &[&str]) -> Value {
    loop {
        let report = Stage::set(run).await.unwrap().play().await;
        let json = report.json();
        let nothing = json["acknowledged"] == 0;
        assert!(report.is_good() || nothing, "{json}");
        for key in clean {
            assert_eq!(json[key], 0, "{key}: {json}");
        }
        let count = |key: &&str| json.pointer(key).and_then(Value::as_u64);
        if !nothing && seen.iter().all(|key| count(key) > Some(0)) {
            return json;
        }
        run.duration *= 2;
        assert!(run.duration < Duration::from_mins(1), "{seen:?}: {json}");
    }
}

#[tokio::test]
async fn the_demo_keeps_its_promises_and_sends_fewer_calls() {
    let options = DemoOptions {
        learners: Some(8),
        duration: Some(Duration::from_secs(2)),
        fast: true,
        ..DemoOptions::default()
    };
    let clean = [
        "lost",
        "foreign",
        "duplicated",
        "out_of_order",
        "refused",
        "locked_out",
    ];
    // Every second learner tells snapshots.
    let seen = [
        "/upstream/progress_batches",
        "/cache_answers",
        "/ledger/superseded",
    ];
    let json = play_until_seen(options.run(), &clean, &seen).await;
    assert!(
        json["upstream_calls"].as_u64() < json["calls"].as_u64(),
        "{json}"
    );
    for key in ["reduction", "ack_p50_us", "ack_p99_us", "cache_hit_ratio"] {
        assert!(json[key].is_number(), "{key}: {json}");
    }
}

#[tokio::test]
async fn shared_batches_go_under_the_service_credential_and_keep_the_promises() {
    let duration = Duration::from_secs(1);
    let arrangement = Some(Arrangement::CollapseShared);
    let run = Run {
        learners: 8,
        rhythm: Rhythm::Player,
        speed: 10,
        duration,
        arrangement,
        observed: false,
    };
    let clean = ["lost", "foreign", "duplicated", "out_of_order", "forwarded"];
    let json = play_until_seen(run, &clean, &["/upstream/progress_batches"]).await;
    assert_eq!(json["upstream"]["refusals"], 0, "{json}");
}
