//! A panic ends one call. Its text may hold anything, so only its place is ever written down.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught: where it happened, as `file:line`.
#[derive(Debug)]
pub(super) struct Caught {
    pub(super) place: String,
}

/// Replaces the hook that prints the panic's text to stderr by one that keeps the place: for
/// [`catch`], which logs it with the request id, or for the log if no call is running here.
/// To be called once, first thing in `main`.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        if IN_CALL.get() {
            PLACE.set(Some(place));
        } else {
            let thread = std::thread::current();
            tracing::error!(place, thread = thread.name().unwrap_or_default(), "a task panicked");
        }
    }));
}

/// Runs `work` and turns its panic into a value. Whoever panicked is dropped and never polled again.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Caught> {
    let outer = IN_CALL.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IN_CALL.set(outer);
    result.map_err(|payload| {
        // A payload whose own drop panics would otherwise take the connection with it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        Caught { place: PLACE.take().unwrap_or_else(|| "unknown".to_owned()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_leaves_its_place_and_not_its_text() {
        let before = std::panic::take_hook();
        install_panic_hook();
        let caught = catch(|| -> () { panic!("hunter2") }).unwrap_err();
        let again = catch(|| std::panic::resume_unwind(Box::new("hunter2")));
        std::panic::set_hook(before);
        assert!(caught.place.starts_with("crates/server/src/transport/panics.rs:"), "{}", caught.place);
        let again: Result<(), Caught> = again;
        assert_eq!(again.unwrap_err().place, "unknown", "an older place is not taken for a newer one");
        assert!(!format!("{caught:?}").contains("hunter2"));
        assert!(catch(|| 1).is_ok() && !IN_CALL.get());
    }
}
