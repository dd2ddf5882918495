//! Why a call was not acknowledged. Every reason has one name: in log, metric, response and test.

use crate::coding::CodingError;
use crate::event::IdError;
use crate::identity::NotAnswerable;
use crate::ingest::accept::contexts::TooMuch;
use crate::ingest::accept::shares::NoShare;
use std::sync::Arc;
use std::time::Duration;

/// Not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decline {
    /// The caller is told what is wrong; nothing was kept.
    Refuse(Refusal),
    /// The application answers it itself.
    Forward(Forward),
}

/// What is wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400.
    #[error("the body is no JSON object: {0}")]
    NotJson(Box<str>),
    /// 400.
    #[error("the event lacks {0}")]
    MissingField(Box<str>),
    /// 400.
    #[error("the event has no {0}")]
    MissingId(Arc<str>),
    /// 400.
    #[error("{field} {error}")]
    BadId {
        /// The id's field.
        field: Arc<str>,
        /// What is wrong.
        error: IdError,
    },
    /// 400.
    #[error("{field} must be {allowed}")]
    WrongType {
        /// The field.
        field: Arc<str>,
        /// What it may be.
        allowed: &'static str,
    },
    /// 400.
    #[error("the batch has {found} events, {allowed} are allowed")]
    TooManyEvents {
        /// Found.
        found: usize,
        /// Allowed.
        allowed: usize,
    },
    /// 400.
    #[error("a batch is an object with \"events\" and nothing else; found {0:?} too")]
    UnknownWrapper(Box<str>),
    /// 413.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// 415.
    #[error("the content coding {0:?} is unknown; gzip, deflate, br and zstd are accepted")]
    UnknownCoding(Box<str>),
    /// 400.
    #[error("the body could not be decoded: {0}")]
    BadCoding(Box<str>),
    /// 400.
    #[error("the body ended early")]
    Incomplete,
    /// 408.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// 422.
    #[error("{field} is older than {limit:?}")]
    TooOld {
        /// The time's field.
        field: Arc<str>,
        /// The limit.
        limit: Duration,
    },
    /// 422.
    #[error("{field} is more than {limit:?} in the future")]
    InTheFuture {
        /// The time's field.
        field: Arc<str>,
        /// The limit.
        limit: Duration,
    },
    /// 429.
    #[error("too many events; try again in {0:?}")]
    Limited(Duration),
    /// 503.
    #[error("earlier events or calls of this caller could not go yet; try again in {0:?}")]
    Busy(Duration),
    /// 503.
    #[error("there is no room for more bodies; try again in {0:?}")]
    NoRoom(Duration),
}

impl From<CodingError> for Refusal {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::Unknown(coding) => Self::UnknownCoding(coding),
            CodingError::TooLarge(most) => Self::TooLarge(most),
            CodingError::Broken(why) => Self::BadCoding(why),
        }
    }
}

impl Refusal {
    /// The refusal's one name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not_json",
            Self::MissingField(_) => "missing_field",
            Self::MissingId(_) => "missing_id",
            Self::BadId { .. } => "bad_id",
            Self::WrongType { .. } => "wrong_type",
            Self::TooManyEvents { .. } => "too_many_events",
            Self::UnknownWrapper(_) => "unknown_wrapper",
            Self::TooLarge(_) => "too_large",
            Self::UnknownCoding(_) => "unknown_coding",
            Self::BadCoding(_) => "bad_coding",
            Self::Incomplete => "incomplete",
            Self::TooSlow => "too_slow",
            Self::TooOld { .. } => "too_old",
            Self::InTheFuture { .. } => "in_the_future",
            Self::Limited(_) => "rate_limited",
            Self::Busy(_) => "busy",
            Self::NoRoom(_) => NO_ROOM,
        }
    }
}

const NO_ROOM: &str = "no_room";

/// What a group's `refuse` may name: of these Tidegate tells the caller itself, instead of the
/// application.
pub const REFUSABLE: [&str; 12] = [
    "not_json",
    "missing_field",
    "missing_id",
    "bad_id",
    "wrong_type",
    "too_many_events",
    "too_large",
    "unknown_coding",
    "bad_coding",
    "too_old",
    "in_the_future",
    "unknown_wrapper",
];

/// Why the application answers a call on an event route itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// It isn't understood, and the group refuses none of this kind itself (P14).
    NotUnderstood(Refusal),
    /// It comes from a page of another site, as far as its type and its head tell.
    NotAskedFor,
    /// Its body ends with trailers.
    Trailers,
    /// There is no room for its body in memory (`limits.max_body_memory`).
    NoRoom,
    /// Its query has a parameter that no template of the route looks at.
    Query,
    /// Its id names an event that said something else (ruling 21).
    OtherContent,
    /// Its token ends before a first attempt could (ruling 23).
    TokenEnds,
    /// Its head has more beside what its calls share than an event may carry (ruling 25).
    LargeHead,
    /// The contexts of its principal take as much as one principal may have (ruling 25).
    ManyContexts,
    /// Its session is to be renewed by an answer of the application (ruling 24).
    Renewal,
    /// It lacks what the application checks first.
    NotAnswerable(NotAnswerable),
    /// No rule of the path matches its body.
    NoRule,
    /// Its media type is not among the route's.
    ContentType,
    /// A `forward_unless` template found nothing.
    Unless,
    /// The mode or the rollout says so.
    Mode,
    /// No user could be told.
    NoUser,
    /// It names another user than its token.
    OtherUser,
    /// A header, cookie or parameter that its event takes is there twice, or not read alike by all.
    AmbiguousHead,
    /// A header of its acknowledgement would hold what no header may.
    HeaderValue,
    /// A percent that is no number.
    NotANumber,
    /// Larger than a batch may be (ruling 6).
    TooLargeForBatch,
    /// The credential's last batch met 401 or 403 (§5).
    Rejected,
    /// `admit = "proven"`, and nothing of this credential has succeeded lately.
    Unproven,
    /// Nothing speaks for its principal, and those of whom that is so hold their share of a bound
    /// (ruling 25).
    TooManyStrangers,
    /// More users than `limits.max_users`.
    TooManyUsers,
    /// Twice `limits.max_lanes` are in use.
    TooManyLanes,
    /// Its user has `limits.max_lane_events` in its group.
    LaneFull,
    /// The journal can't keep it (P1).
    NotKept,
    /// A client's own batch of a group that says `client_batches = "forward"`.
    ClientBatch,
}

impl From<NoShare> for Forward {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Strangers => Self::TooManyStrangers,
            NoShare::User => Self::LaneFull,
        }
    }
}

impl From<TooMuch> for Forward {
    fn from(why: TooMuch) -> Self {
        match why {
            TooMuch::OfPrincipal(_) => Self::ManyContexts,
            TooMuch::NoShare(why) => why.into(),
        }
    }
}

impl Forward {
    /// Tidegate would have kept it, had there been room, or a journal that can be written.
    #[must_use]
    pub const fn is_for_want_of_room(&self) -> bool {
        matches!(
            self,
            Self::NoRoom
                | Self::ManyContexts
                | Self::TooManyStrangers
                | Self::TooManyUsers
                | Self::TooManyLanes
                | Self::LaneFull
                | Self::NotKept
        )
    }

    /// The reason's one name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotUnderstood(what) => what.as_str(),
            Self::NotAskedFor => "not_asked_for",
            Self::Trailers => "trailers",
            Self::NoRoom => NO_ROOM,
            Self::Query => "query",
            Self::OtherContent => "other_content",
            Self::TokenEnds => "token_ends",
            Self::LargeHead => "large_head",
            Self::ManyContexts => "many_contexts",
            Self::Renewal => "session_renewal",
            Self::NotAnswerable(why) => why.as_str(),
            Self::NoRule => "no_rule",
            Self::ContentType => "content_type",
            Self::Unless => "forward_unless",
            Self::Mode => "mode",
            Self::NoUser => "no_user",
            Self::OtherUser => "other_user",
            Self::AmbiguousHead => "ambiguous_head",
            Self::HeaderValue => "header_value",
            Self::NotANumber => "not_a_number",
            Self::TooLargeForBatch => "too_large_for_batch",
            Self::Rejected => "credential_rejected",
            Self::Unproven => "unproven",
            Self::TooManyStrangers => "too_many_strangers",
            Self::TooManyUsers => "too_many_users",
            Self::TooManyLanes => "too_many_lanes",
            Self::LaneFull => "lane_full",
            Self::NotKept => "not_kept",
            Self::ClientBatch => "client_batch",
        }
    }
}
