//! The log: numbered, checksummed [`frame`]s in segments, appended by one [`writer`] and read by
//! one pass of [`replay`].

pub mod files;
pub mod frame;
pub mod live;
pub mod pieces;
pub mod replay;
mod segment;
#[cfg(test)]
pub mod simulated_disk;
mod spares;
pub mod writer;
