//! What a run showed: while it goes on, and at its end, to people and to programs.

pub mod audit;
pub mod moment;
pub mod numbers;
mod page;
mod record;
pub mod run;
pub mod screen;
pub mod style;
pub mod verdict;

pub use record::{Figures, Prediction, Report};
