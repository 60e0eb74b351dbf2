//! Who speaks to us, and in whose name.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::id::{AccountId, UserId};

/// What a calling service may ask for. Fixed in configuration; no role can grant one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    Check,
    Members,
    Licenses,
    Billing,
    Accounts,
    SignIn,
    Support,
    Audit,
    Platform,
}

impl Scope {
    pub const ALL: [Self; 9] = [
        Self::Check,
        Self::Members,
        Self::Licenses,
        Self::Billing,
        Self::Accounts,
        Self::SignIn,
        Self::Support,
        Self::Audit,
        Self::Platform,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Members => "members",
            Self::Licenses => "licenses",
            Self::Billing => "billing",
            Self::Accounts => "accounts",
            Self::SignIn => "sign-in",
            Self::Support => "support",
            Self::Audit => "audit",
            Self::Platform => "platform",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

impl Scopes {
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

/// How a caller says which person of the help desk stands behind an ownership ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// It cannot: it is no support caller, or nothing names a person.
    Unknown,
    /// The verified subject of the caller's own token.
    Verified(String),
    /// The caller is trusted to name its operators in the request.
    Named,
}

/// A calling service, proven by certificate or token.
#[derive(Debug, Clone)]
pub struct Caller {
    pub name: Arc<str>,
    pub scopes: Scopes,
    /// The accounts that the caller is limited to; `None` is all.
    pub accounts: Option<Arc<BTreeSet<AccountId>>>,
    pub operator: Operator,
}

impl Caller {
    /// The one caller of a server without caller authentication, which listens on loopback only.
    pub fn local() -> Self {
        Self { name: "local".into(), scopes: Scopes::all(), accounts: None, operator: Operator::Named }
    }

    pub fn may_reach(&self, account: &AccountId) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.contains(account))
    }
}

/// On whose behalf a caller reads or changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acting {
    Member(UserId),
    /// No member stands behind it; the caller needs the scope `platform`.
    Platform,
}

impl Acting {
    pub fn member(&self) -> Option<&UserId> {
        match self {
            Self::Member(id) => Some(id),
            Self::Platform => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_its_own_bit_and_name() {
        for scope in Scope::ALL {
            let only = Scopes::from_iter([scope]);
            assert_eq!(only.iter().collect::<Vec<_>>(), [scope]);
            assert_eq!(Scope::parse(scope.name()), Some(scope));
        }
        assert_eq!(Scope::parse("admin"), None);
    }
}
