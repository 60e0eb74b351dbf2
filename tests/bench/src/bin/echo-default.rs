//! A bare tonic server as tonic's own examples start one: tokio's default runtime, the system's
//! allocator. It answers every check with the same message, without a look at the question.

use std::error::Error;

#[path = "../echo.rs"]
mod echo;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    echo::run_multi_thread()
}
