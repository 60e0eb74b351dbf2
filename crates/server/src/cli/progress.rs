//! How far a long command is: one line on the terminal, and nothing where there is none.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Progress {
    doing: &'static str,
    all: usize,
    done: AtomicUsize,
    is_shown: bool,
}

impl Progress {
    pub(super) fn start(doing: &'static str, all: usize) -> Self {
        Self { doing, all, done: AtomicUsize::new(0), is_shown: stderr().is_terminal() }
    }

    pub(super) fn add(&self, count: usize) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        if self.is_shown {
            let tenths = (done * 10).checked_div(self.all).unwrap_or(10).min(10);
            let bar = format!("{}{}", "#".repeat(tenths), ".".repeat(10 - tenths));
            // A terminal that is gone is no reason to stop.
            let _ = write!(stderr(), "\r{} [{bar}] {done} of {} members", self.doing, self.all);
        }
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
