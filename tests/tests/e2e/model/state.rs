//! An account as a few maps, and what a change does to it. Written from the rules, not from the product: a
//! refusal is the set of all reasons that hold, because which of them is told first is tested elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::ops::{Told, What};

pub(crate) const DAY: i64 = 24 * 3600;
const WEEK: i64 = 7 * DAY;
const FORTNIGHT: i64 = 14 * DAY;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) role: String,
    pub(crate) active: bool,
    pub(crate) seat: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invited {
    pub(crate) email: String,
    pub(crate) role: String,
    pub(crate) state: Fate,
    pub(crate) expires: i64,
    pub(crate) sponsor: Option<String>,
    /// Which link is alive.
    pub(crate) link: u32,
}

/// As stored: a pending one may be past its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Accepted(String),
    Revoked,
    Replaced,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ticket {
    new_owner: String,
    opened_by: &'static str,
    ended_by: Option<&'static str>,
    state: TicketState,
    expires: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TicketState {
    Open,
    Approved,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The role of which there is exactly one, moved by tickets alone.
    pub(crate) single: Option<&'static str>,
    /// The role that at least one must hold.
    pub(crate) needed: Option<&'static str>,
    /// What a ticket gives, and what the former holder gets.
    pub(crate) ticket_role: &'static str,
    /// Roles that may manage members.
    pub(crate) managers: &'static [&'static str],
    pub(crate) name: String,
    pub(crate) plan: String,
    pub(crate) suspended: bool,
    pub(crate) purchased: u32,
    pub(crate) people: BTreeMap<String, Person>,
    pub(crate) invited: BTreeMap<String, Invited>,
    tickets: BTreeMap<String, Ticket>,
    /// Users who exist, by address.
    pub(crate) users: BTreeSet<String>,
    pub(crate) revision: i64,
    pub(crate) now: i64,
}

/// Whether it changed anything, or every reason why not.
pub(crate) type Verdict = Result<bool, BTreeSet<&'static str>>;

impl State {
    pub(crate) fn new(
        founder: &str,
        role: &'static str,
        (single, needed): (Option<&'static str>, Option<&'static str>),
        managers: &'static [&'static str],
        purchased: u32,
    ) -> Self {
        let first = Person { role: role.to_owned(), active: true, seat: true };
        Self {
            single,
            needed,
            ticket_role: role,
            managers,
            name: String::new(),
            plan: "team".to_owned(),
            suspended: false,
            purchased,
            people: BTreeMap::from([(founder.to_owned(), first)]),
            invited: BTreeMap::new(),
            tickets: BTreeMap::new(),
            users: BTreeSet::new(),
            revision: 1,
            now: 0,
        }
    }

    pub(crate) fn is_open(&self, invited: &Invited) -> bool {
        invited.state == Fate::Pending && self.now < invited.expires
    }

    /// Seats held and reserved.
    pub(crate) fn seats(&self) -> (u32, u32) {
        let held = self.people.values().filter(|person| person.seat).count();
        let reserved = self.invited.values().filter(|invited| self.is_open(invited)).count();
        (u32::try_from(held).unwrap(), u32::try_from(reserved).unwrap())
    }

    fn spare(&self) -> Result<(), &'static str> {
        let (held, reserved) = self.seats();
        match (held + reserved).cmp(&self.purchased) {
            std::cmp::Ordering::Less => Ok(()),
            std::cmp::Ordering::Equal => Err("NO_SEAT_AVAILABLE"),
            std::cmp::Ordering::Greater => Err("OVER_LIMIT"),
        }
    }

    fn holders(&self, role: &str) -> usize {
        self.people.values().filter(|person| person.role == role && person.active && person.seat).count()
    }

    fn is_single(&self, role: &str) -> bool {
        self.single == Some(role)
    }

    /// What speaks against this person losing their role.
    fn loss(&self, person: &Person, reasons: &mut BTreeSet<&'static str>) {
        if self.is_single(&person.role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        if self.needed == Some(&person.role)
            && person.active
            && person.seat
            && self.holders(&person.role) == 1
        {
            reasons.insert("LAST_HOLDER");
        }
    }

    /// What speaks against this actor managing members.
    fn actor(&self, actor: Option<&String>, reasons: &mut BTreeSet<&'static str>) {
        let Some(actor) = actor else { return };
        if self.suspended {
            reasons.insert("ACCOUNT_SUSPENDED");
        }
        let may =
            |person: &Person| person.active && person.seat && self.managers.contains(&person.role.as_str());
        if !self.people.get(actor).is_some_and(may) {
            reasons.insert("ACTOR_LACKS_PERMISSION");
        }
    }

    /// Does it. `told` is what the product said, for the ids that it made up.
    pub(crate) fn apply(&mut self, actor: Option<&String>, what: &What, told: &Told) -> Verdict {
        let mut reasons = BTreeSet::new();
        self.actor(actor, &mut reasons);
        let before = self.clone();
        let changed = match what {
            What::Invite { email, role } => self.invite(actor, email, role, told, &mut reasons),
            What::Join { user, role } => self.join(user, role, &mut reasons),
            What::UpdateInvitation { id, role } => self.update_invitation(id, role, &mut reasons),
            What::Resend { id } => self.resend(actor, id, &mut reasons),
            What::Revoke { id } => self.revoke(id, &mut reasons),
            What::Accept { id, link, new, .. } => self.accept(id, *link, *new, &mut reasons),
            What::ChangeRole { user, role } => self.change_role(actor, user, role, &mut reasons),
            What::Suspend { user } => self.suspend(actor, user, &mut reasons),
            What::Reactivate { user } => self.reactivate(user, &mut reasons),
            What::Remove { user } => self.remove(actor, user, &mut reasons),
            What::Rename { user } => self.known(user, &mut reasons).is_some(),
            What::Seats { seats, over } => self.set_seats(*seats, *over, &mut reasons),
            What::Assign { user } => self.assign(user, &mut reasons),
            What::Release { user } => self.release(user, &mut reasons),
            What::Plan { plan } => std::mem::replace(&mut self.plan, plan.clone()) != *plan,
            What::RenameAccount { name } => std::mem::replace(&mut self.name, name.clone()) != *name,
            What::SuspendAccount => !std::mem::replace(&mut self.suspended, true),
            What::ReactivateAccount => std::mem::replace(&mut self.suspended, false),
            What::OpenTicket { user } => self.open_ticket(user, told, &mut reasons),
            What::Approve { id, operator } => self.approve(id, operator, &mut reasons),
            What::Cancel { id, operator } => self.cancel(id, operator, &mut reasons),
        };
        if !reasons.is_empty() {
            *self = before;
            return Err(reasons);
        }
        self.revision += i64::from(changed);
        Ok(changed)
    }

    fn known(&self, user: &str, reasons: &mut BTreeSet<&'static str>) -> Option<Person> {
        let person = self.people.get(user).cloned();
        if person.is_none() {
            reasons.insert("MEMBER_UNKNOWN");
        }
        person
    }

    fn usable(&self, reasons: &mut BTreeSet<&'static str>) {
        if self.suspended {
            reasons.insert("ACCOUNT_SUSPENDED");
        }
    }

    fn invite(
        &mut self,
        actor: Option<&String>,
        email: &str,
        role: &str,
        told: &Told,
        reasons: &mut BTreeSet<&'static str>,
    ) -> bool {
        self.usable(reasons);
        if self.is_single(role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        match self.people.get(&user_of(email)) {
            Some(person) if person.active => drop(reasons.insert("ALREADY_MEMBER")),
            Some(_) => drop(reasons.insert("MEMBER_SUSPENDED_REACTIVATE")),
            None => {}
        }
        let pending = self.invited.iter().find(|(_, i)| i.email == email && i.state == Fate::Pending);
        let pending = pending.map(|(id, invited)| (id.clone(), self.is_open(invited), invited.role.clone()));
        match pending {
            Some((_, true, open)) if open == role => return false,
            Some((_, true, _)) => drop(reasons.insert("INVITATION_OPEN_WITH_OTHER_ROLE")),
            other => {
                reasons.extend(self.spare().err());
                let replaced = other.and_then(|(id, _, _)| self.invited.get_mut(&id));
                replaced.into_iter().for_each(|invited| invited.state = Fate::Replaced);
            }
        }
        let new = Invited {
            email: email.to_owned(),
            role: role.to_owned(),
            state: Fate::Pending,
            expires: self.now + WEEK,
            sponsor: actor.cloned(),
            link: 0,
        };
        self.invited.insert(told.id.clone(), new);
        true
    }

    fn join(&mut self, user: &str, role: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        self.usable(reasons);
        if self.is_single(role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        match self.people.get(user) {
            Some(person) if person.active => drop(reasons.insert("USERNAME_TAKEN_IN_ACCOUNT")),
            Some(_) => drop(reasons.insert("MEMBER_SUSPENDED_REACTIVATE")),
            None => {}
        }
        reasons.extend(self.spare().err());
        self.people.insert(user.to_owned(), Person { role: role.to_owned(), active: true, seat: true });
        true
    }

    fn update_invitation(&mut self, id: &str, role: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(invited) = self.invited.get(id).cloned() else {
            return !reasons.insert("INVITATION_UNKNOWN");
        };
        if self.is_single(role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        reasons.extend(self.over(&invited));
        self.invited.get_mut(id).unwrap().role = role.to_owned();
        invited.role != role
    }

    /// Why it is not open.
    fn over(&self, invited: &Invited) -> Option<&'static str> {
        match &invited.state {
            Fate::Pending if self.is_open(invited) => None,
            Fate::Pending | Fate::Replaced => Some("INVITATION_EXPIRED"),
            Fate::Accepted(_) => Some("INVITATION_ACCEPTED"),
            Fate::Revoked => Some("INVITATION_REVOKED"),
        }
    }

    fn resend(&mut self, actor: Option<&String>, id: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(invited) = self.invited.get(id).cloned() else {
            return !reasons.insert("INVITATION_UNKNOWN");
        };
        self.usable(reasons);
        match self.over(&invited) {
            None => {}
            Some("INVITATION_EXPIRED") => {
                let another = |(other, i): (&String, &Invited)| {
                    other != id && i.email == invited.email && i.state == Fate::Pending
                };
                if self.invited.iter().any(another) {
                    reasons.insert("INVITATION_OPEN_WITH_OTHER_ROLE");
                }
                match self.people.get(&user_of(&invited.email)) {
                    Some(person) if person.active => drop(reasons.insert("ALREADY_MEMBER")),
                    Some(_) => drop(reasons.insert("MEMBER_SUSPENDED_REACTIVATE")),
                    None => {}
                }
                reasons.extend(self.spare().err());
            }
            Some(over) => drop(reasons.insert(over)),
        }
        let expires = self.now + WEEK;
        let invited = self.invited.get_mut(id).unwrap();
        (invited.state, invited.expires, invited.sponsor) = (Fate::Pending, expires, actor.cloned());
        invited.link += 1;
        true
    }

    fn revoke(&mut self, id: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(invited) = self.invited.get_mut(id) else {
            return !reasons.insert("INVITATION_UNKNOWN");
        };
        match std::mem::replace(&mut invited.state, Fate::Revoked) {
            Fate::Accepted(_) => !reasons.insert("INVITATION_ACCEPTED"),
            before => before != Fate::Revoked,
        }
    }

    fn accept(&mut self, id: &str, link: u32, new: bool, reasons: &mut BTreeSet<&'static str>) -> bool {
        let invited = self.invited[id].clone();
        let user = user_of(&invited.email);
        if invited.link != link {
            reasons.insert("INVITATION_UNKNOWN");
            return false;
        }
        let exists = self.users.contains(&user);
        if let Fate::Accepted(by) = &invited.state
            && !new
            && *by == user
            && self.people.contains_key(&user)
        {
            return false;
        }
        reasons.extend(self.over(&invited));
        self.usable(reasons);
        if new && exists {
            reasons.insert("EXISTING_LOGIN_REQUIRED");
        }
        if !new && !exists {
            reasons.insert("USER_UNKNOWN");
        }
        if self.is_single(&invited.role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        let mut of_sponsor = BTreeSet::new();
        self.actor(invited.sponsor.as_ref(), &mut of_sponsor);
        if of_sponsor.contains("ACTOR_LACKS_PERMISSION") {
            reasons.insert("INVITATION_SPONSOR_LACKS_RIGHT");
        }
        match self.people.get(&user) {
            Some(person) if person.active => drop(reasons.insert("ALREADY_MEMBER")),
            Some(_) => drop(reasons.insert("MEMBER_SUSPENDED_REACTIVATE")),
            None => {}
        }
        self.users.insert(user.clone());
        self.people.insert(user.clone(), Person { role: invited.role, active: true, seat: true });
        self.invited.get_mut(id).unwrap().state = Fate::Accepted(user);
        true
    }

    fn oneself(&self, actor: Option<&String>, user: &str, reasons: &mut BTreeSet<&'static str>) {
        if actor.is_some_and(|actor| actor == user) {
            reasons.insert("OWN_MEMBERSHIP");
        }
    }

    fn change_role(
        &mut self,
        actor: Option<&String>,
        user: &str,
        role: &str,
        reasons: &mut BTreeSet<&'static str>,
    ) -> bool {
        let Some(person) = self.known(user, reasons) else { return false };
        self.oneself(actor, user, reasons);
        if self.is_single(role) || self.is_single(&person.role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        if person.role == role {
            return false;
        }
        if !person.active {
            reasons.insert("MEMBER_NOT_ACTIVE");
        }
        self.loss(&person, reasons);
        self.people.get_mut(user).unwrap().role = role.to_owned();
        true
    }

    fn suspend(&mut self, actor: Option<&String>, user: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(person) = self.known(user, reasons) else { return false };
        self.oneself(actor, user, reasons);
        if !person.active {
            return false;
        }
        self.loss(&person, reasons);
        let person = self.people.get_mut(user).unwrap();
        (person.active, person.seat) = (false, false);
        self.end_sponsorship(user);
        true
    }

    fn end_sponsorship(&mut self, user: &str) {
        for invited in self.invited.values_mut() {
            // One that has expired may still be sent again, by somebody else.
            let is_open = invited.state == Fate::Pending && self.now < invited.expires;
            if is_open && invited.sponsor.as_deref() == Some(user) {
                invited.state = Fate::Revoked;
            }
        }
    }

    fn reactivate(&mut self, user: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(person) = self.known(user, reasons) else { return false };
        if self.is_single(&person.role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        if person.active {
            return false;
        }
        self.usable(reasons);
        reasons.extend(self.spare().err());
        let person = self.people.get_mut(user).unwrap();
        (person.active, person.seat) = (true, true);
        true
    }

    fn remove(&mut self, actor: Option<&String>, user: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(person) = self.known(user, reasons) else { return false };
        if actor.is_some_and(|actor| actor == user) {
            // Who leaves needs no right; a suspended account is no reason to stay either.
            reasons.clear();
        }
        self.loss(&person, reasons);
        self.people.remove(user);
        self.end_sponsorship(user);
        true
    }

    fn set_seats(&mut self, seats: u32, over: bool, reasons: &mut BTreeSet<&'static str>) -> bool {
        let (held, reserved) = self.seats();
        if held + reserved > seats && seats < self.purchased && !over {
            reasons.insert("SEATS_IN_USE");
        }
        std::mem::replace(&mut self.purchased, seats) != seats
    }

    fn assign(&mut self, user: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(person) = self.known(user, reasons) else { return false };
        if person.seat {
            return false;
        }
        if !person.active {
            reasons.insert("MEMBER_NOT_ACTIVE");
        }
        reasons.extend(self.spare().err());
        self.people.get_mut(user).unwrap().seat = true;
        true
    }

    fn release(&mut self, user: &str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let Some(person) = self.known(user, reasons) else { return false };
        if self.is_single(&person.role) {
            reasons.insert("ROLE_CHANGES_BY_SUPPORT_ONLY");
        }
        if !person.seat {
            return false;
        }
        self.loss(&person, reasons);
        self.people.get_mut(user).unwrap().seat = false;
        true
    }

    fn open_ticket(&mut self, user: &str, told: &Told, reasons: &mut BTreeSet<&'static str>) -> bool {
        let now = self.now;
        self.usable(reasons);
        self.may_hold(user, reasons);
        if self.people.get(user).is_some_and(|person| person.role == self.ticket_role) {
            reasons.insert("ROLE_ALREADY_HELD");
        }
        if self.tickets.values().any(|ticket| ticket.state == TicketState::Open && now < ticket.expires) {
            reasons.insert("OWNERSHIP_TRANSFER_OPEN");
        }
        let (new_owner, expires) = (user.to_owned(), now + FORTNIGHT);
        let ticket =
            Ticket { new_owner, opened_by: "sam", ended_by: None, state: TicketState::Open, expires };
        self.tickets.insert(told.id.clone(), ticket);
        true
    }

    fn may_hold(&self, user: &str, reasons: &mut BTreeSet<&'static str>) {
        if let Some(person) = self.known(user, reasons)
            && !(person.active && person.seat)
        {
            reasons.insert("MEMBER_NOT_ACTIVE");
        }
    }

    fn approve(&mut self, id: &str, operator: &'static str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let ticket = self.tickets[id].clone();
        if ticket.state == TicketState::Approved && ticket.ended_by == Some(operator) {
            return false;
        }
        if ticket.state != TicketState::Open || self.now >= ticket.expires {
            reasons.insert("OWNERSHIP_TRANSFER_ENDED");
        }
        if ticket.opened_by == operator {
            reasons.insert("SECOND_OPERATOR_REQUIRED");
        }
        self.usable(reasons);
        match self.people.contains_key(&ticket.new_owner) {
            true => self.may_hold(&ticket.new_owner, reasons),
            // They were a member when it was opened.
            false => drop(reasons.insert("MEMBER_NOT_ACTIVE")),
        }
        if let Some(single) = self.single {
            let former = self.people.iter_mut().find(|(_, person)| person.role == single).unwrap();
            former.1.role = "admin".to_owned();
        }
        if let Some(owner) = self.people.get_mut(&ticket.new_owner) {
            owner.role = self.ticket_role.to_owned();
        }
        let ticket = self.tickets.get_mut(id).unwrap();
        (ticket.state, ticket.ended_by) = (TicketState::Approved, Some(operator));
        true
    }

    fn cancel(&mut self, id: &str, operator: &'static str, reasons: &mut BTreeSet<&'static str>) -> bool {
        let now = self.now;
        let ticket = self.tickets.get_mut(id).unwrap();
        if ticket.state == TicketState::Cancelled {
            return false;
        }
        if ticket.state != TicketState::Open || now >= ticket.expires {
            reasons.insert("OWNERSHIP_TRANSFER_ENDED");
        }
        (ticket.state, ticket.ended_by) = (TicketState::Cancelled, Some(operator));
        true
    }

    pub(crate) fn ticket_ids(&self) -> Vec<String> {
        self.tickets.keys().cloned().collect()
    }
}

/// Who has an address: the platform's own id for them is in it.
pub(crate) fn user_of(email: &str) -> String {
    email.split('@').next().unwrap_or_default().to_owned()
}
