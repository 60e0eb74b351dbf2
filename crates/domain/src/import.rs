//! Moving in: what a file says of accounts and of the people in them, and the rules that it must keep
//! before anything of it is written.
//!
//! Deliberately absent: how a file is written down, and what the database holds already.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::account::AccountState;
use crate::email::EmailAddress;
use crate::id::{AccountId, UserId};
use crate::license::Subscription;
use crate::member::{HolderRule, MemberState, RoleRules};
use crate::text::username_key;
use crate::time::Time;

/// An account and its members, as a file or a database has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportAccount {
    /// Where the file says it, from 1; 0 for what comes from a database.
    pub line: u64,
    pub id: AccountId,
    pub name: String,
    pub model: String,
    pub state: AccountState,
    /// `None` is unlimited.
    pub purchased: Option<u32>,
    pub subscription: Subscription,
    /// Whether more seats may be held than are purchased.
    pub allow_over_limit: bool,
    pub over_limit_end_time: Option<Time>,
    /// `None` is the time of the import.
    pub create_time: Option<Time>,
    pub members: Vec<ImportMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportMember {
    pub line: u64,
    pub user_id: UserId,
    pub display_name: String,
    /// For contact; `None` is the verified one, if there is one.
    pub email: Option<EmailAddress>,
    /// The address that the person has proven, by which Usher knows them everywhere.
    pub verified_email: Option<EmailAddress>,
    pub role: String,
    pub state: MemberState,
    /// `None`: whoever is active and has a role that uses a seat holds one.
    pub seat: Option<bool>,
    pub identities: Vec<ImportIdentity>,
    /// `None` is the time of the import.
    pub join_time: Option<Time>,
}

/// A person's login at an OAuth provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportIdentity {
    pub issuer: String,
    pub username: String,
    /// The provider's own id of the person, if it is known already.
    pub subject: Option<String>,
    /// Whether this account gave the login; only then do its members see it.
    pub given: bool,
}

impl ImportMember {
    pub fn holds_seat(&self, rules: RoleRules) -> bool {
        self.seat.unwrap_or(rules.uses_seat && self.state == MemberState::Active)
    }

    fn holds_role(&self, rules: RoleRules) -> bool {
        self.state == MemberState::Active && (self.holds_seat(rules) || !rules.uses_seat)
    }

    pub fn contact(&self) -> &str {
        self.email.as_ref().or(self.verified_email.as_ref()).map_or("", EmailAddress::as_str)
    }
}

impl ImportAccount {
    /// The seats that the members hold; roles that are not known hold none.
    pub fn seats_held(&self, rules: impl Fn(&str) -> Option<RoleRules>) -> usize {
        self.members.iter().filter(|m| rules(&m.role).is_some_and(|rules| m.holds_seat(rules))).count()
    }
}

/// Something in a file that cannot be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub line: u64,
    /// Empty when it is about the whole line.
    pub field: &'static str,
    pub wrong: ImportError,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("{0}")]
    Malformed(String),
    #[error("the account `{account}` has line {first} already")]
    AccountTwice { account: AccountId, first: u64 },
    #[error("no line without a `user_id` says what the account `{0}` is")]
    AccountMissing(AccountId),
    #[error("`{user}` is a member of `{account}` already, by line {first}")]
    MemberTwice { user: UserId, account: AccountId, first: u64 },
    #[error("`{role}` is no role of the model `{model}`{}", hint(suggestion.as_deref()))]
    RoleUnknown { role: String, model: String, suggestion: Option<String> },
    #[error("`{model}` is no role model of this server{}", hint(suggestion.as_deref()))]
    ModelUnknown { model: String, suggestion: Option<String> },
    #[error("a suspended member holds no seat")]
    SeatOfSuspended,
    #[error("the role `{0}` uses no seat")]
    RoleUsesNoSeat(String),
    #[error(
        "exactly one active member with a seat must have the role `{role}`, and {members} have it, {holders} of them so"
    )]
    NotOneHolder { role: String, members: usize, holders: usize },
    #[error("at least one active member with a seat must have the role `{0}`")]
    NoHolder(String),
    #[error(
        "the members hold {held} seats, and {purchased} are purchased; `allow_over_limit` lets them keep these"
    )]
    TooFewSeats { held: usize, purchased: u32 },
    #[error("line {first} gives `{user}` another verified address; a person has one")]
    OtherEmail { user: UserId, first: u64 },
    #[error("the verified address is that of `{user}` already, by line {first}")]
    EmailTwice { user: UserId, first: u64 },
    #[error("the login is that of `{user}` already, by line {first}")]
    IdentityTwice { user: UserId, first: u64 },
    #[error("line {first} says another `subject` for the same login")]
    OtherSubject { first: u64 },
    #[error("{0}")]
    Conflict(String),
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportLine {
    /// Without members.
    Account(ImportAccount),
    Member(AccountId, ImportMember),
}

/// Puts the lines together, in whatever order they come: accounts by id, members as they come.
pub fn assemble(lines: Vec<ImportLine>) -> (Vec<ImportAccount>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut accounts: BTreeMap<AccountId, ImportAccount> = BTreeMap::new();
    let mut members = Vec::new();
    for line in lines {
        match line {
            ImportLine::Member(account, member) => members.push((account, member)),
            ImportLine::Account(account) => match accounts.entry(account.id.clone()) {
                Entry::Vacant(free) => drop(free.insert(account)),
                Entry::Occupied(first) => {
                    let wrong =
                        ImportError::AccountTwice { first: first.get().line, account: account.id.clone() };
                    faults.push(Fault { line: account.line, field: "account_id", wrong });
                }
            },
        }
    }
    let mut seen: HashMap<(AccountId, UserId), u64> = HashMap::with_capacity(members.len());
    for (id, member) in members {
        let Some(account) = accounts.get_mut(&id) else {
            let wrong = ImportError::AccountMissing(id);
            faults.push(Fault { line: member.line, field: "account_id", wrong });
            continue;
        };
        match seen.get(&(id.clone(), member.user_id.clone())) {
            Some(first) => {
                let wrong =
                    ImportError::MemberTwice { user: member.user_id.clone(), account: id, first: *first };
                faults.push(Fault { line: member.line, field: "user_id", wrong });
            }
            None => {
                seen.insert((id, member.user_id.clone()), member.line);
                account.members.push(member);
            }
        }
    }
    (accounts.into_values().collect(), faults)
}

/// What breaks the rules within one account. `roles` are those of its model.
pub fn check_account(
    account: &ImportAccount,
    roles: &[(&str, RoleRules)],
    nearest: impl Fn(&str) -> Option<String>,
) -> Vec<Fault> {
    let rules = |role: &str| roles.iter().find(|(id, _)| *id == role).map(|(_, rules)| *rules);
    let mut faults = Vec::new();
    for member in &account.members {
        let wrong = match rules(&member.role) {
            None => Some(("role", role_unknown(account, &member.role, nearest(&member.role)))),
            Some(of_role) => seat_wrong(member, of_role).map(|wrong| ("seat", wrong)),
        };
        faults.extend(wrong.map(|(field, wrong)| Fault { line: member.line, field, wrong }));
    }
    for (role, of_role) in roles {
        let wrong = holders_wrong(account, role, *of_role);
        faults.extend(wrong.map(|wrong| Fault { line: account.line, field: "", wrong }));
    }
    let held = account.seats_held(rules);
    if let Some(purchased) = account.purchased
        && usize::try_from(purchased).is_ok_and(|purchased| held > purchased)
        && !account.allow_over_limit
    {
        let wrong = ImportError::TooFewSeats { held, purchased };
        faults.push(Fault { line: account.line, field: "seats", wrong });
    }
    faults
}

fn role_unknown(account: &ImportAccount, role: &str, suggestion: Option<String>) -> ImportError {
    ImportError::RoleUnknown { role: role.to_owned(), model: account.model.clone(), suggestion }
}

fn seat_wrong(member: &ImportMember, rules: RoleRules) -> Option<ImportError> {
    match member.seat {
        Some(true) if !rules.uses_seat => Some(ImportError::RoleUsesNoSeat(member.role.clone())),
        Some(true) if member.state == MemberState::Suspended => Some(ImportError::SeatOfSuspended),
        _ => None,
    }
}

fn holders_wrong(account: &ImportAccount, role: &str, rules: RoleRules) -> Option<ImportError> {
    let with_role = || account.members.iter().filter(|member| member.role == role);
    let holders = with_role().filter(|member| member.holds_role(rules)).count();
    match rules.holders {
        HolderRule::ExactlyOne if (with_role().count(), holders) != (1, 1) => {
            let members = with_role().count();
            Some(ImportError::NotOneHolder { role: role.to_owned(), members, holders })
        }
        HolderRule::AtLeastOne if holders == 0 => Some(ImportError::NoHolder(role.to_owned())),
        HolderRule::ExactlyOne | HolderRule::AtLeastOne | HolderRule::Any => None,
    }
}

/// A person as all lines of a file together know them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportPerson {
    pub verified_email: Option<EmailAddress>,
    /// Each login once; `given` says nothing here.
    pub identities: Vec<ImportIdentity>,
}

pub type ImportPeople = BTreeMap<UserId, ImportPerson>;

/// What a file says of people, over all of its accounts: one verified address each, which is nobody
/// else's, and logins that are nobody else's.
pub fn gather_people(accounts: &[ImportAccount]) -> (ImportPeople, Vec<Fault>) {
    let mut gathering = Gathering::default();
    for member in accounts.iter().flat_map(|account| &account.members) {
        gathering.email(member);
        for identity in &member.identities {
            gathering.identity(member, identity);
        }
        gathering.people.entry(member.user_id.clone()).or_default();
    }
    (gathering.people, gathering.faults)
}

/// Whose something is, and by which line.
type Claims = HashMap<(String, String), (UserId, u64)>;

#[derive(Default)]
struct Gathering {
    people: ImportPeople,
    emails: HashMap<String, (UserId, u64)>,
    lines_of_emails: HashMap<UserId, u64>,
    usernames: Claims,
    subjects: Claims,
    faults: Vec<Fault>,
}

impl Gathering {
    fn email(&mut self, member: &ImportMember) {
        let Some(email) = &member.verified_email else { return };
        let (user, line) = (&member.user_id, member.line);
        let person = self.people.entry(user.clone()).or_default();
        match &person.verified_email {
            Some(known) if known.key() != email.key() => {
                let first = self.lines_of_emails.get(user).copied().unwrap_or_default();
                self.fault(line, "verified_email", ImportError::OtherEmail { user: user.clone(), first });
                return;
            }
            Some(_) => {}
            None => {
                person.verified_email = Some(email.clone());
                self.lines_of_emails.insert(user.clone(), line);
            }
        }
        let (owner, first) = self.emails.entry(email.key()).or_insert_with(|| (user.clone(), line)).clone();
        if owner != *user {
            self.fault(line, "verified_email", ImportError::EmailTwice { user: owner, first });
        }
    }

    fn identity(&mut self, member: &ImportMember, identity: &ImportIdentity) {
        let (user, line) = (&member.user_id, member.line);
        let key = |text: &str| (identity.issuer.clone(), text.to_owned());
        let name = key(&username_key(&identity.username));
        let (owner, first) = self.usernames.entry(name).or_insert_with(|| (user.clone(), line)).clone();
        if owner != *user {
            return self.fault(line, "username", ImportError::IdentityTwice { user: owner, first });
        }
        let same = |known: &ImportIdentity| {
            known.issuer == identity.issuer
                && username_key(&known.username) == username_key(&identity.username)
        };
        let person = self.people.entry(user.clone()).or_default();
        let other_subject = match person.identities.iter_mut().find(|known| same(known)) {
            None => {
                person.identities.push(identity.clone());
                false
            }
            Some(known) if known.subject.is_none() => {
                known.subject.clone_from(&identity.subject);
                false
            }
            Some(known) => identity.subject.is_some() && known.subject != identity.subject,
        };
        if other_subject {
            return self.fault(line, "subject", ImportError::OtherSubject { first });
        }
        let Some(subject) = &identity.subject else { return };
        let claim = (user.clone(), line);
        let (owner, first) = self.subjects.entry(key(subject)).or_insert(claim).clone();
        let named_otherwise = self.people.get(user).is_some_and(|person| {
            person.identities.iter().any(|known| {
                known.issuer == identity.issuer && known.subject == identity.subject && !same(known)
            })
        });
        if owner != *user || named_otherwise {
            self.fault(line, "subject", ImportError::IdentityTwice { user: owner, first });
        }
    }

    fn fault(&mut self, line: u64, field: &'static str, wrong: ImportError) {
        self.faults.push(Fault { line, field, wrong });
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
