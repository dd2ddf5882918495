//! What a start finds: a new directory, a clean one, one whose process was killed, a damaged one,
//! or one that was never a journal's.
//!
//! | found | done |
//! |---|---|
//! | a lock held by another process | refused |
//! | another format | refused |
//! | a torn end | passed over: no caller was told that it was kept |
//! | bytes that are no frame, numbers that are missing | told; the file is kept in `quarantine/`; what is whole comes back |
//! | a frame whose body is none | told, and counted |
//! | a credential that is missing | its events become dead letters |
//!
//! Nothing is written before the journal takes events, and no room is needed: a start on a full
//! disk reads what is there.

mod examine;
mod findings;
mod open;
mod opened;
mod reading;
mod start;
mod stored;

pub use findings::Finding;
pub use open::{inspect, look_ahead, open};
pub use opened::Opened;
pub use start::Placement;
pub use stored::{Stored, StoredLetter};

#[cfg(test)]
mod tests;
