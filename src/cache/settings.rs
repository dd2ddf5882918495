//! What the cache can be told.

/// Bounds of the response store.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    /// All stored responses together, and as much again of those that are just being stored, bytes.
    pub max_bytes: u64,
    /// One stored body, bytes; larger ones pass through unstored.
    pub max_object: usize,
}
