//! `usher` with mistakes to choose from, for tests that show that they would see them; see `faults`.

use std::process::ExitCode;

fn main() -> ExitCode {
    usher_server::cli::run()
}
