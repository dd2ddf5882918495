//! The `tidegate` process; everything is in the library.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// The system's allocator takes a sixth of an event call's time (bench/README.md, *What limits a
/// call*).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
