//! Which Tidegate this is.

/// The version, as the package has it.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built of, or why that isn't known (`build.rs`).
pub const COMMIT: &str = env!("TIDEGATE_COMMIT");
/// Both, as a person reads them.
pub const SHOWN: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("TIDEGATE_COMMIT"),
    ")"
);
