//! Copies of calls that wait for the observer: bounded, and decided as if their calls came then.

use super::live_tests::identity;
use super::observer::{Observer, ObserverTask, Setup};
use super::tests::{HOUR, delivery, event, group, route};
use crate::clock::Clock;
use crate::event::Event;
use crate::identity::Identity;
use crate::ingest::accept::call::Call;
use crate::ingest::accept::draft::View;
use crate::ingest::accept::seen::SeenKey;
use crate::ingest::accept::watch::{Decide, Observed, Undecoded, UndecodedCopy, Watch as _};
use crate::ingest::lanes::window::ENVELOPE_BYTES;
use crate::metrics::Metrics;
use crate::peer::{Connection, Peer};
use crate::route::{EventRoute, Params};
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

struct Scene {
    metrics: Arc<Metrics>,
    identity: Arc<Identity>,
    route: EventRoute,
    observer: Observer,
}

impl Scene {
    fn new() -> (Self, ObserverTask) {
        let metrics = Arc::new(Metrics::try_new().unwrap());
        let (events, identity) = ([route()], identity());
        let (observer, task) = Observer::new(Setup {
            events: &events,
            groups: &[group()],
            delivery: &delivery(),
            identity: &identity,
            metrics: Arc::clone(&metrics),
            clock: Clock::default(),
        });
        let [route] = events;
        let scene = Self {
            metrics,
            identity,
            route,
            observer,
        };
        (scene, task)
    }

    /// A call with a body of so many bytes.
    fn call(&self, bytes: usize) {
        let (parts, ()) = http::Request::post("/event").body(()).unwrap().into_parts();
        let peer = Peer::new(Connection {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            secure: false,
        });
        let caller = self.identity.caller(&parts, &peer, SystemTime::now());
        let params = Params::default();
        let undecoded = Undecoded {
            call: &Call::new(&caller, &params, "request"),
            body: &Bytes::from(vec![b' '; bytes]),
            standing: Ok(()),
        };
        self.observer.see_undecoded(&self.route, &undecoded);
    }

    fn shed(&self) -> u64 {
        self.metrics.observe_shed.get()
    }
}

/// Finds the same event in every copy, each time under an id of its own.
struct Finds(Event, AtomicU64);

impl Decide for Finds {
    fn decide_copy<R>(
        &self,
        _: &EventRoute,
        _: &UndecodedCopy,
        tell: impl FnOnce(Result<Observed<'_>, &'static str>) -> R,
    ) -> R {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        tell(Ok(Observed {
            event: &self.0,
            view: View::default(),
            key: SeenKey((u128::from(number) << 64).to_be_bytes()),
            envelope: ENVELOPE_BYTES,
        }))
    }
}

fn finds() -> Finds {
    Finds(event(1, 1, 1, false), AtomicU64::new(0))
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_or_the_memory_of_copies_has_no_room_for_is_shed_and_no_call_waits() {
    // Nothing runs the task, and no call awaits anything.
    let (scene, task) = Scene::new();
    (0..5_000).for_each(|_| scene.call(100));
    assert_eq!(scene.shed(), 5_000 - 4_096);
    drop(task);
    scene.call(100);
    assert_eq!(scene.shed(), 5_001 - 4_096, "nobody works on it any more");

    // An eighth of 16 MiB is kept back.
    let (scene, task) = Scene::new();
    (0..20).for_each(|_| scene.call(1_000_000));
    assert_eq!(scene.shed(), 20 - 14);
    let working = tokio::spawn(task.run(finds()));
    tokio::time::sleep(HOUR).await;
    (0..14).for_each(|_| scene.call(1_000_000));
    assert_eq!(
        scene.shed(),
        20 - 14,
        "what is decided has given its room back"
    );
    tokio::time::sleep(HOUR).await;
    assert_eq!(scene.observer.report().groups[0].events, 28);
    working.abort();
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_decided_late_counts_when_its_call_came() {
    let (scene, task) = Scene::new();
    scene.call(100);
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.call(100);
    tokio::time::sleep(Duration::from_secs(120)).await;
    scene.call(100);
    // The observer falls behind by an hour.
    tokio::time::sleep(HOUR).await;
    let working = tokio::spawn(task.run(finds()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = scene.observer.report();
    assert_eq!(report.seconds, 3_600 + 124 + 1);
    let group = &report.groups[0];
    assert_eq!((group.events, group.seconds), (3, 124));
    // The first two share a window of 5 s.
    let own = group.arrangements.iter().find(|one| one.configured);
    let own = own.unwrap();
    assert_eq!((own.batches, own.sent), (2, 3));
    assert!(own.wait_longest_ms < 6_000, "{own:?}");
    working.abort();
}
