//! Mistakes that can be chosen at run time in the binary `usher-faulty`, so that tests can show that they
//! would see them. Without the feature `faults`, as shipped, [`is`] is `false` when the program is
//! compiled and nothing of it is left.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Memory is used however long no poll succeeded.
    NoLease,
    /// Floors are not looked at.
    NoFloor,
    /// The floor is read before the lease.
    FloorFirst,
    /// What a load read is answered and kept without a second look.
    FillUnchecked,
    /// A poll renews the lease before it raises the floors.
    LeaseFirst,
    /// Seats are counted before the account is locked.
    SeatsUnlocked,
}

/// Whether this mistake is to be made.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn is(_fault: Fault) -> bool {
    false
}

/// Whether this mistake is to be made: `USHER_FAULT` names it as the enum does.
#[cfg(feature = "faults")]
pub fn is(fault: Fault) -> bool {
    static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("USHER_FAULT").unwrap_or_default());
    *chosen == format!("{fault:?}")
}
