//! `usher`: the server and its tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    usher_server::cli::run()
}
