//! What a call meets, and why it doesn't meet the other rules.

use super::pattern::Params;
use super::rules::{CacheRoute, EventRoute, PreviewRoute, WriteRoute};
use crate::event::GroupIndex;
use smallvec::SmallVec;

/// What a call meets.
#[derive(Debug)]
pub enum Found<'a> {
    /// Event rules of its path, in order; they differ in `match`.
    Event(SmallVec<[&'a EventRoute; 1]>, Params),
    /// A group's batch path.
    Batch(GroupIndex),
    /// A write rule.
    Write(&'a WriteRoute, Params),
    /// A cache rule.
    Cache(&'a CacheRoute, Params),
    /// The look at what is pending.
    Preview(&'a PreviewRoute),
    /// Nothing.
    Other,
}

/// A rule, and whether it is of a call by method and path.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// Its section: `event`, `batch`, `write`, `cache` or `preview`.
    pub section: &'static str,
    /// The path, as it was written.
    pub path: &'a str,
    /// The rule of an event.
    pub event: Option<&'a EventRoute>,
    /// The first of path and method that isn't the call's.
    pub miss: Option<Miss>,
}

/// Why a rule is not of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// Another path.
    Path,
    /// Another method.
    Method,
}
