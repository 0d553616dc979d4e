//! Parses the command line and calls the app.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobgate::app::main()
}
