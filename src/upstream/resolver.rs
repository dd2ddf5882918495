//! Look-ups of the application's name: one at a time for each name, whoever waits for it.
//!
//! The system's look-up blocks a thread, and where no name server answers it does so for many
//! seconds. A connection that is given up leaves its look-up behind; the next one waits for the same,
//! unless that is [`OLD`]: then it is asked anew, since a name server may be back that was gone.

use futures_util::future::{BoxFuture, FutureExt as _, Shared, TryFutureExt as _};
use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

/// A look-up that isn't over by then is left alone: the time after which a resolver asks a name
/// server again (resolv.conf(5)).
const OLD: Duration = Duration::from_secs(5);
/// Look-ups of one name at once, old ones among them.
const MOST: usize = 4;

/// What a look-up gave; all that wait for it share it.
type Found = Result<Vec<SocketAddr>, Arc<str>>;
type LookUp = Shared<BoxFuture<'static, Found>>;

/// Looks names up; clones share their look-ups.
#[derive(Clone)]
pub(super) struct OneLookUp {
    look_up: Arc<dyn Fn(Name) -> BoxFuture<'static, Found> + Send + Sync>,
    /// Those that aren't over. Locked for moments.
    running: Arc<Mutex<Table>>,
}

/// Look-ups that aren't over, by name, oldest first.
#[derive(Debug, Default)]
struct Table {
    running: HashMap<Name, Vec<Running>>,
    last: u64,
}

#[derive(Debug)]
struct Running {
    number: u64,
    began: Instant,
    look_up: LookUp,
}

impl OneLookUp {
    pub(super) fn by<R>(resolver: R) -> Self
    where
        R: Service<Name, Response: Iterator<Item = SocketAddr>, Error: fmt::Display, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let look_up = move |name| {
            let found = resolver.clone().call(name);
            found
                .map_ok(Iterator::collect)
                .map_err(|error| error.to_string().into())
                .boxed()
        };
        Self {
            look_up: Arc::new(look_up),
            running: Arc::default(),
        }
    }

    fn begin(&self, name: Name) -> LookUp {
        let mut table = self.running.lock();
        let Table { running, last } = &mut *table;
        let all = running.entry(name.clone()).or_default();
        if let Some(newest) = all.last()
            && (newest.began.elapsed() < OLD || all.len() >= MOST)
        {
            return newest.look_up.clone();
        }
        *last += 1;
        let (begin, table) = (Arc::clone(&self.look_up), Arc::clone(&self.running));
        let number = *last;
        // A task of its own: whoever waits for it may go.
        let task = tokio::spawn(async move {
            // ORDER: made here, so that a runtime that has ended, and drops the task at once, drops
            // none: the lock is held. For the same reason it ends when it is in the table.
            let ending = Ending {
                table,
                name,
                number,
            };
            begin(ending.name.clone()).await
        });
        let ended = |_| Err("its look-up ended early".into());
        let look_up = task.map(move |found| found.unwrap_or_else(ended)).boxed();
        let look_up = look_up.shared();
        all.push(Running {
            number: *last,
            began: Instant::now(),
            look_up: look_up.clone(),
        });
        look_up
    }
}

impl fmt::Debug for OneLookUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OneLookUp");
        shown
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// Takes a look-up out of the table when it is over, however it ends.
#[derive(Debug)]
struct Ending {
    table: Arc<Mutex<Table>>,
    name: Name,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let running = &mut self.table.lock().running;
        if let Some(all) = running.get_mut(&self.name) {
            all.retain(|one| one.number != self.number);
            if all.is_empty() {
                running.remove(&self.name);
            }
        }
    }
}

impl Service<Name> for OneLookUp {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let look_up = self.begin(name);
        let found = look_up.map(|found| match found {
            Ok(addresses) => Ok(addresses.into_iter()),
            Err(why) => Err(io::Error::other(&*why)),
        });
        found.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{Ready, ready};
    use hyper_util::client::legacy::connect::dns::GaiResolver;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::watch;
    use tower::service_fn;

    fn name() -> Name {
        "app.test".parse().unwrap()
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_whoever_waits_and_anew_when_that_is_over() {
        let (count, (answer, answered)) = (Arc::<AtomicUsize>::default(), watch::channel(false));
        let address: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let counted = Arc::clone(&count);
        let resolver = service_fn(move |_: Name| {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut answered = answered.clone();
            async move {
                drop(answered.wait_for(|over| *over).await);
                Ok::<_, io::Error>(std::iter::once(address))
            }
        });
        let mut resolver = OneLookUp::by(resolver);
        // Each connection that is given up drops its look-up.
        for _ in 0..1_000 {
            let mut look_up = resolver.call(name());
            assert!((&mut look_up).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        let waiting = resolver.call(name());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        answer.send(true).unwrap();
        assert_eq!(waiting.await.unwrap().collect::<Vec<_>>(), [address]);
        poll_fn(|cx| resolver.poll_ready(cx)).await.unwrap();
        resolver.call(name()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_error_reaches_all_that_wait_and_is_not_kept() {
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let resolver = service_fn(move |_: Name| -> Ready<io::Result<std::vec::IntoIter<_>>> {
            counted.fetch_add(1, Ordering::SeqCst);
            ready(Err(io::Error::other("no such host")))
        });
        let mut resolver = OneLookUp::by(resolver);
        let (first, second) = (resolver.call(name()), resolver.call(name()));
        for look_up in [first, second] {
            assert_eq!(look_up.await.unwrap_err().to_string(), "no such host");
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        resolver.call(name()).await.unwrap_err();
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_has_hung_is_left_alone_and_what_nobody_waited_for_is_not_kept() {
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let resolver = service_fn(move |_: Name| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                if number == 0 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, io::Error>(std::iter::once(SocketAddr::from(([192, 0, 2, 1], 0))))
            }
        });
        let mut resolver = OneLookUp::by(resolver);
        drop(resolver.call(name()));
        tokio::time::advance(OLD).await;
        // Each is over before the next one begins.
        for asked in 1..4 * MOST {
            let look_up = resolver.call(name());
            if asked % 2 == 0 {
                look_up.await.unwrap();
            } else {
                drop(look_up);
                tokio::task::yield_now().await;
            }
            assert_eq!(count.load(Ordering::SeqCst), asked + 1);
        }
        tokio::task::yield_now().await;
        assert_eq!(resolver.running.lock().running.len(), 1);
    }

    #[test]
    fn a_runtime_that_has_ended_hangs_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let (told, ended) = std::sync::mpsc::channel();
        let asking = std::thread::spawn(move || {
            let _entered = handle.enter();
            drop(OneLookUp::by(GaiResolver::new()).call(name()));
            told.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_mins(1)).unwrap();
        asking.join().unwrap();
    }
}
