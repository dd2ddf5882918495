//! Reports as one page each: no script, nothing from elsewhere, light and dark.

mod escape;
mod frame;
mod interval;
mod plot;

pub(super) use escape::escape;
pub(super) use frame::{write_bars, write_frame, write_paragraph};
pub(super) use interval::{Interval, write_intervals};
pub(super) use plot::{Series, write_plot};

#[cfg(test)]
pub(super) mod check;
