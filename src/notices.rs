//! What was invalidated, for those who keep copies of their own (design §7): per caller a short
//! memory of messages, and whoever listens.
//!
//! A caller hears of what is its own view and of nothing else (ruling 11). Nothing is queued for a
//! listener: each reads the caller's memory from where it was, and is told to start over when it
//! has fallen behind it.

use crate::event::{Charge, View};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Messages remembered for each caller.
const MESSAGES: usize = 64;
/// And so much of them, bytes: who has not heard what doesn't fit hears that something was missed.
const MESSAGE_BYTES: usize = 64 << 10;
/// Callers remembered.
pub const CALLERS: usize = 10_000;
/// Listeners of one caller at once, e.g. tabs of a browser.
const LISTENERS: usize = 16;
/// How long a caller is remembered whom nobody listens for: time to come back under
/// `Last-Event-ID`.
const MEMORY: Duration = Duration::from_mins(5);
/// How often at most all callers are looked at to find those that may be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Tags of one moment.
type Message = (u64, Arc<[Box<str>]>);

#[derive(Debug)]
struct Line {
    messages: VecDeque<Message>,
    last: watch::Sender<u64>,
    listeners: usize,
    left: Instant,
    /// What it takes of a bound while it is remembered.
    #[expect(dead_code, reason = "held, never looked at")]
    charge: Charge,
}

impl Line {
    fn new(charge: Charge) -> Self {
        let (messages, last) = (VecDeque::new(), watch::Sender::new(0));
        Self {
            messages,
            last,
            listeners: 0,
            left: Instant::now(),
            charge,
        }
    }

    /// What its messages take, about.
    fn count_bytes(&self) -> usize {
        let tags = self.messages.iter().flat_map(|(_, tags)| tags.iter());
        tags.map(|tag| tag.len() + size_of::<Box<str>>()).sum()
    }

    fn is_needed(&self) -> bool {
        self.listeners > 0 || self.left.elapsed() < MEMORY
    }
}

/// Callers who are remembered.
#[derive(Debug, Default)]
struct Lines {
    by_caller: HashMap<View, Line>,
    swept: Option<Instant>,
}

impl Lines {
    /// The caller's line; one that isn't there takes a charge. Without room, or without a charge,
    /// those that need no memory any longer give theirs back first.
    fn find_or_make(
        &mut self,
        caller: View,
        charge: impl Fn() -> Option<Charge>,
    ) -> Result<&mut Line, Crowded> {
        if !self.by_caller.contains_key(&caller) {
            let charge = self.take_charge(&charge).or_else(|| {
                self.sweep();
                self.take_charge(&charge)
            });
            self.by_caller
                .insert(caller, Line::new(charge.ok_or(Crowded)?));
        }
        self.by_caller.get_mut(&caller).ok_or(Crowded)
    }

    fn take_charge(&self, charge: impl Fn() -> Option<Charge>) -> Option<Charge> {
        if self.by_caller.len() < CALLERS {
            charge()
        } else {
            None
        }
    }

    fn sweep(&mut self) {
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            self.by_caller.retain(|_, line| line.is_needed());
            self.swept = Some(Instant::now());
        }
    }
}

/// All callers' messages.
#[derive(Debug)]
pub struct Notices {
    /// When this process began, milliseconds: numbers of another one mean nothing.
    epoch: u64,
    // Held for a look-up and a push.
    lines: Mutex<Lines>,
    /// How many callers there are, so that nobody takes the lock while nobody listens.
    count: AtomicUsize,
}

/// Too many listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many listeners; at most {LISTENERS} for one caller, and {CALLERS} callers")]
pub struct Crowded;

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// These are old.
    Invalidated(Vec<Box<str>>),
    /// Messages were missed: everything may be old.
    Reset,
}

impl Notices {
    /// Nobody listens yet. `epoch`: when this process began, Unix milliseconds.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            lines: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// Somebody listens for this caller, or did a moment ago.
    #[must_use]
    pub fn is_heard(&self, caller: View) -> bool {
        self.count.load(Ordering::Relaxed) > 0
            && self
                .lines
                .lock()
                .by_caller
                .get(&caller)
                .is_some_and(Line::is_needed)
    }

    /// Tells a caller's listeners that these tags are old.
    pub fn publish(&self, caller: View, tags: Vec<String>) {
        if tags.is_empty() || self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut lines = self.lines.lock();
        let Some(line) = lines.by_caller.get_mut(&caller) else {
            return;
        };
        let number = *line.last.borrow() + 1;
        line.messages
            .push_back((number, tags.into_iter().map(Into::into).collect()));
        while line.messages.len() > MESSAGES || line.count_bytes() > MESSAGE_BYTES {
            line.messages.pop_front();
        }
        line.last.send_replace(number);
    }

    /// Listens for a caller, from `last` (a `Last-Event-ID`) on. `charge`: what a caller who isn't
    /// remembered yet takes of a bound; none: it may not. It is asked once more when callers were
    /// forgotten.
    ///
    /// # Errors
    /// Too many do.
    pub fn listen(
        self: &Arc<Self>,
        caller: View,
        last: Option<&str>,
        charge: impl Fn() -> Option<Charge>,
    ) -> Result<Listener, Crowded> {
        let mut lines = self.lines.lock();
        let line = lines.find_or_make(caller, charge)?;
        if line.listeners >= LISTENERS {
            return Err(Crowded);
        }
        line.listeners += 1;
        let changed = line.last.subscribe();
        let now = *changed.borrow();
        let seen = match last {
            // A number of another process, or none at all, says nothing of what was missed.
            Some(last) => self.number_of(last).filter(|number| *number <= now),
            None => Some(now),
        };
        self.count.store(lines.by_caller.len(), Ordering::Relaxed);
        Ok(Listener {
            notices: Arc::clone(self),
            caller,
            seen,
            changed,
        })
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        (epoch.parse() == Ok(self.epoch)).then(|| number.parse().ok())?
    }

    /// What came after `seen`, in one message, with its number.
    fn since(&self, caller: View, seen: Option<u64>) -> Option<(u64, Heard)> {
        let lines = self.lines.lock();
        let line = lines.by_caller.get(&caller)?;
        let last = *line.last.borrow();
        let Some(seen) = seen else {
            return Some((last, Heard::Reset));
        };
        if seen >= last {
            return None;
        }
        if line
            .messages
            .front()
            .is_none_or(|(first, _)| *first > seen + 1)
        {
            return Some((last, Heard::Reset));
        }
        let tags = line
            .messages
            .iter()
            .filter(|(number, _)| *number > seen)
            .flat_map(|(_, tags)| tags.iter().cloned());
        Some((
            last,
            Heard::Invalidated(tags.collect::<BTreeSet<_>>().into_iter().collect()),
        ))
    }
}

/// One who listens.
#[derive(Debug)]
pub struct Listener {
    notices: Arc<Notices>,
    caller: View,
    /// The number of the last message that was heard; none: nobody knows.
    seen: Option<u64>,
    changed: watch::Receiver<u64>,
}

impl Listener {
    /// The next message and its id; everything that came at once is one.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not returned is heard next time.
    pub async fn next(&mut self) -> (String, Heard) {
        loop {
            self.changed.mark_unchanged();
            if let Some((number, heard)) = self.notices.since(self.caller, self.seen) {
                self.seen = Some(number);
                return (format!("{}-{number}", self.notices.epoch), heard);
            }
            if self.changed.changed().await.is_err() {
                // The line is only taken away when nobody listens.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(line) = self.notices.lines.lock().by_caller.get_mut(&self.caller) {
            line.listeners = line.listeners.saturating_sub(1);
            line.left = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: View = View([1; 16]);
    const BOB: View = View([2; 16]);

    fn no_charge() -> Option<Charge> {
        Some(Charge::default())
    }

    fn tags(names: &[&str]) -> Heard {
        Heard::Invalidated(names.iter().map(|name| Box::from(*name)).collect())
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_in_bytes_and_what_does_not_fit_is_missed() {
        let notices = Arc::new(Notices::new(7));
        let mut ada = notices.listen(ADA, None, no_charge).unwrap();
        let long = |letter: &str| letter.repeat(MESSAGE_BYTES / 3);
        for letter in ["a", "b", "c"] {
            notices.publish(ADA, vec![long(letter)]);
        }
        assert_eq!(ada.next().await.1, Heard::Reset);
        notices.publish(ADA, vec![long("d")]);
        assert_eq!(ada.next().await.1, tags(&[&long("d")]));
        // No room would do for it.
        notices.publish(ADA, vec![long("e").repeat(4)]);
        assert_eq!(ada.next().await.1, Heard::Reset);
        notices.publish(ADA, vec!["f".into()]);
        assert_eq!(ada.next().await.1, tags(&["f"]));
        let kept = notices.lines.lock().by_caller[&ADA].count_bytes();
        assert!(kept <= MESSAGE_BYTES, "{kept}");
    }

    #[tokio::test]
    async fn a_caller_hears_of_its_own_tags_once_each_and_of_nobody_elses() {
        let notices = Arc::new(Notices::new(7));
        assert!(!notices.is_heard(ADA));
        notices.publish(ADA, vec!["before".into()]);
        let mut ada = notices.listen(ADA, None, no_charge).unwrap();
        assert!(notices.is_heard(ADA) && !notices.is_heard(BOB));
        notices.publish(BOB, vec!["progress:bob".into()]);
        notices.publish(ADA, vec!["progress:ada".into(), "b".into()]);
        notices.publish(ADA, vec!["progress:ada".into()]);
        assert_eq!(
            ada.next().await,
            ("7-2".into(), tags(&["b", "progress:ada"]))
        );
        let waiting = tokio::spawn(async move { ada.next().await });
        tokio::task::yield_now().await;
        notices.publish(ADA, vec!["c".into()]);
        assert_eq!(waiting.await.unwrap(), ("7-3".into(), tags(&["c"])));
    }

    #[tokio::test]
    async fn whoever_comes_back_hears_what_was_missed_or_that_it_was_too_much() {
        let notices = Arc::new(Notices::new(7));
        drop(notices.listen(ADA, None, no_charge).unwrap());
        notices.publish(ADA, vec!["a".into()]);
        notices.publish(ADA, vec!["b".into()]);
        let next = async |last: &str| {
            notices
                .listen(ADA, Some(last), no_charge)
                .unwrap()
                .next()
                .await
        };
        assert_eq!(next("7-1").await, ("7-2".into(), tags(&["b"])));
        assert_eq!(next("7-0").await, ("7-2".into(), tags(&["a", "b"])));
        for unknown in ["6-1", "7-9", "nonsense", ""] {
            assert_eq!(
                next(unknown).await,
                ("7-2".into(), Heard::Reset),
                "{unknown}"
            );
        }
        (0..MESSAGES).for_each(|_| notices.publish(ADA, vec!["more".into()]));
        assert_eq!(next("7-1").await.1, Heard::Reset);
        assert_eq!(next("7-2").await.1, tags(&["more"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_has_no_charge_left_takes_that_of_one_who_is_forgotten() {
        let notices = Arc::new(Notices::new(7));
        let bound = Arc::new(());
        let charge = || (Arc::strong_count(&bound) == 1).then(|| Charge::new(Arc::clone(&bound)));
        drop(notices.listen(ADA, None, charge).unwrap());
        assert_eq!(
            notices.listen(BOB, None, charge).unwrap_err(),
            Crowded,
            "the one who left may still come back"
        );
        tokio::time::advance(MEMORY).await;
        let bob = notices.listen(BOB, None, charge).unwrap();
        tokio::time::advance(MEMORY).await;
        assert_eq!(
            notices.listen(ADA, None, charge).unwrap_err(),
            Crowded,
            "one who listens is not forgotten"
        );
        drop(bob);
    }

    #[tokio::test]
    async fn listeners_and_callers_are_bounded_and_forgotten() {
        tokio::time::pause();
        let notices = Arc::new(Notices::new(7));
        let all: Vec<_> = (0..LISTENERS)
            .map(|_| notices.listen(ADA, None, no_charge).unwrap())
            .collect();
        assert_eq!(notices.listen(ADA, None, no_charge).unwrap_err(), Crowded);
        drop(all);
        let place = |number: usize| View((number as u128 + 1_000).to_le_bytes());
        let held: Vec<_> = (1..CALLERS)
            .map(|number| notices.listen(place(number), None, no_charge).unwrap())
            .collect();
        assert_eq!(
            notices.listen(BOB, None, no_charge).unwrap_err(),
            Crowded,
            "the one who left may still come back"
        );
        tokio::time::advance(MEMORY).await;
        assert!(
            notices.listen(BOB, None, no_charge).is_ok(),
            "and is forgotten in time"
        );
        drop(held);
    }
}
