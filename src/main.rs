//! Parses the command line and calls the app.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Serves librdkafka as well. A request takes large pieces and gives them back at once, for which the
/// system's allocator asks the kernel each time: a fifth of the CPU of a job (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    jobgate::app::main()
}
