//! What the sheet is shown of an event: what its single call was answered, what the acknowledgement
//! would have said, and what became of it in a batch.

use crate::template::Path;
use bytes::Bytes;
use http::HeaderMap;
use std::fmt;
use std::time::Duration;

/// What a caller was told, by the application or as Tidegate would have.
#[derive(Clone)]
pub struct Told {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, as it was sent.
    pub body: Bytes,
    /// `false`: the body was cut off where it was copied, and is not compared.
    pub is_whole: bool,
}

/// Without what was said: it may stand in a log.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("bytes", &self.body.len())
            .field("is_whole", &self.is_whole)
            .finish()
    }
}

/// What a batch said of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batched {
    /// Dry run: the batch was built and keeps the contract; no target was asked.
    Supposed,
    /// The target took it.
    Taken,
    /// The target has it already.
    Duplicate,
    /// A newer event made it needless.
    Superseded,
    /// It would be a dead letter; the reason's name.
    Refused(Box<str>),
    /// The target gave no answer, which says nothing of the event.
    Unanswered,
    /// The batch breaks the contract; what was wrong, in a sentence that holds no value of an event.
    Broken(Box<str>),
}

/// One event whose single call was answered, and what batches made of it.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The event's id, as logs have it. It is shown in examples.
    pub event: Box<str>,
    /// What the application answered.
    pub single: Told,
    /// How long that took.
    pub single_took: Duration,
    /// The acknowledgement.
    pub predicted: Told,
    /// Its id was known: no batch holds it again.
    pub is_repetition: bool,
    /// `None` for a repetition.
    pub batched: Option<Batched>,
    /// How long the exchange of its batch took.
    pub batch_took: Option<Duration>,
    /// From the call to its outcome.
    pub waited: Option<Duration>,
    /// Members of the body that no mapping names.
    pub missed: Vec<Box<str>>,
    /// It was offered after a later event of its lane.
    pub is_out_of_order: bool,
}

/// What is compared, and when a verdict is given.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Fewer compared events of a route give no `go`.
    pub min_events: u64,
    /// Part of the events that may disagree, 0 to 1.
    pub max_rate: f64,
    /// Places of bodies that are not compared, with all below them; an index stands for any. A
    /// single name that begins with `header:` is a header.
    pub ignore: Vec<Path>,
    /// The shadow target is the application that has the single calls already: that it calls an
    /// event a duplicate is no disagreement.
    pub target_holds_singles: bool,
}

impl Default for Rules {
    /// 1,000 events, 0.1 percent, nothing ignored, another application.
    fn default() -> Self {
        Self {
            min_events: 1_000,
            max_rate: 0.001,
            ignore: Vec::new(),
            target_holds_singles: false,
        }
    }
}

impl Rules {
    /// Whether this header is not compared.
    pub(super) fn ignores_header(&self, name: &str) -> bool {
        self.ignore.iter().any(|path| match &*path.0 {
            [only] => only
                .strip_prefix("header:")
                .is_some_and(|ignored| ignored.eq_ignore_ascii_case(name)),
            _ => false,
        })
    }
}

/// Where batches go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sends {
    /// Dry run.
    Nowhere,
    /// To this target, as it is shown.
    To(String),
}

impl fmt::Display for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("nowhere"),
            Self::To(target) => f.write_str(target),
        }
    }
}
