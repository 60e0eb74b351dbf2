//! Changing what an account bought and who holds a seat: several changes, all or none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use usher_domain::caller::{Acting, Caller, Scope};
use usher_domain::id::UserId;
use usher_domain::license::{ChangeOutcome, Seats, SetPurchasedSeats, Subscription};
use usher_domain::member::{Member, MemberState, may_lose_role};
use usher_domain::refusal::Refusal;
use usher_domain::time::Time;

use super::App;
use super::access::{rules, stored_role};
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::view::{LicensesView, SubscriptionView, licenses_view};
use crate::error::{Error, Missing};
use crate::guard::{self, Guard, license_change};

#[derive(Debug, Clone)]
pub struct ManageLicenses {
    pub change: Change,
    pub changes: Vec<LicenseChange>,
    pub validate_only: bool,
    pub expected_revision: Option<i64>,
}

#[derive(Debug, Clone)]
pub enum LicenseChange {
    SetPurchasedSeats(SetPurchasedSeats),
    UpdateSubscription { subscription: Subscription, as_of_time: Option<Time> },
    AssignSeat(UserId),
    ReleaseSeat(UserId),
}

impl LicenseChange {
    fn guard(&self) -> &'static Guard {
        match self {
            Self::SetPurchasedSeats(_) => &license_change::SET_PURCHASED_SEATS,
            Self::UpdateSubscription { .. } => &license_change::UPDATE_SUBSCRIPTION,
            Self::AssignSeat(_) => &license_change::ASSIGN_SEAT,
            Self::ReleaseSeat(_) => &license_change::RELEASE_SEAT,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ManageLicensesOutcome {
    pub licenses: LicensesView,
    /// Left out when the actor may not see it.
    pub subscription: Option<SubscriptionView>,
    pub results: Vec<ChangeOutcome>,
    /// With `validate_only`, how many events there would be; nothing was written.
    pub events: u32,
}

/// # Errors
/// See the contract's `ManageLicenses`; each names its `changes[i]`.
pub async fn manage_licenses(
    app: App,
    caller: Caller,
    command: ManageLicenses,
) -> Result<Changed<ManageLicensesOutcome>, Error> {
    require_scopes(&caller, &command.changes)?;
    if command.validate_only {
        return validate(&app, &caller, &command).await;
    }
    change(&app, &caller, &guard::MANAGE_LICENSES, &command.change, async |scene| {
        let mut plan = Plan::of(scene, &command).await?;
        plan.decide(scene, &command).await?;
        plan.write(scene).await?;
        plan.outcome(scene)
    })
    .await
}

fn part(index: usize) -> String {
    format!("changes[{index}]")
}

fn require_scopes(caller: &Caller, changes: &[LicenseChange]) -> Result<(), Error> {
    for change in changes {
        let needed: &[Scope] = change.guard().scopes;
        if let Some(missing) = needed.iter().find(|scope| !caller.scopes.contains(**scope)) {
            return Err(Error::ScopeMissing(*missing));
        }
    }
    Ok(())
}

/// The same decision with the same locks, and a transaction that writes nothing.
async fn validate(
    app: &App,
    caller: &Caller,
    command: &ManageLicenses,
) -> Result<Changed<ManageLicensesOutcome>, Error> {
    // A preview is no success to be remembered: its request id must stay free for the purchase.
    let preview = Change { request_id: String::new(), ..command.change.clone() };
    change(app, caller, &guard::MANAGE_LICENSES, &preview, async |scene| {
        let mut plan = Plan::of(scene, command).await?;
        plan.decide(scene, command).await?;
        plan.outcome(scene)
    })
    .await
}

/// What the changes come to, before anything is written.
struct Plan {
    seats: Seats,
    /// Members that changes name, with their seats as they would be.
    members: BTreeMap<UserId, Member>,
    results: Vec<ChangeOutcome>,
    happened: Vec<Happened<'static>>,
    /// The user whom each event is about, beside `happened`.
    subjects: Vec<Option<UserId>>,
    license: usher_domain::license::License,
}

impl Plan {
    async fn of(scene: &Scene<'_>, command: &ManageLicenses) -> Result<Self, Error> {
        for (index, change) in command.changes.iter().enumerate() {
            if let Some(action) = change.guard().action {
                scene.access.require(action).map_err(|e| e.at(&part(index)))?;
            }
        }
        let account = scene.account();
        if command.expected_revision.is_some_and(|expected| expected != account.revision) {
            return Err(Error::RevisionChanged { revision: account.revision });
        }
        Ok(Self {
            seats: scene.seats().await?,
            members: BTreeMap::new(),
            results: Vec::new(),
            happened: Vec::new(),
            subjects: Vec::new(),
            license: account.license.clone(),
        })
    }

    async fn decide(&mut self, scene: &Scene<'_>, command: &ManageLicenses) -> Result<(), Error> {
        for (index, change) in command.changes.iter().enumerate() {
            let outcome = match change {
                LicenseChange::SetPurchasedSeats(set) => {
                    self.set_purchased(set, &part(index), scene.access.now)
                }
                LicenseChange::UpdateSubscription { subscription, as_of_time } => {
                    Ok(self.update_subscription(subscription, *as_of_time))
                }
                LicenseChange::AssignSeat(user) => self.assign(scene, user).await,
                LicenseChange::ReleaseSeat(user) => self.release(scene, user).await,
            };
            self.results.push(outcome.map_err(|e| e.at(&part(index)))?);
        }
        // Freed seats may have ended the over-limit state.
        if self.seats.over_limit_by() == 0 {
            self.license.over_limit = false;
            self.license.over_limit_end_time = None;
        }
        Ok(())
    }

    fn set_purchased(
        &mut self,
        change: &SetPurchasedSeats,
        at: &str,
        now: Time,
    ) -> Result<ChangeOutcome, Error> {
        let before = self.license.clone();
        let outcome = self.license.set_purchased(change, self.seats)?;
        // What a late message says of an end is dropped, as long as it does not leave the account over its limit.
        let sets_end = change.over_limit_end_time.is_some() && outcome == ChangeOutcome::Applied;
        if sets_end && self.license.over_limit_end_time.is_some_and(|end| end <= now) {
            let field = format!("{at}.set_purchased_seats.over_limit_end_time");
            return Err(Error::invalid(field, "is not in the future: it would deny everything at once"));
        }
        self.seats.purchased = self.license.purchased;
        if outcome == ChangeOutcome::Applied {
            let told = |license: &usher_domain::license::License| {
                facts([
                    ("purchased", license.purchased.map_or("unlimited".into(), Into::into)),
                    ("over_limit_end_time", license.over_limit_end_time.map(Time::micros).into()),
                    ("as_of_time", license.seats_as_of.map(Time::micros).into()),
                ])
            };
            self.tell("license.purchased_changed", None, (told(&before), told(&self.license)));
        }
        Ok(outcome)
    }

    fn update_subscription(
        &mut self,
        subscription: &Subscription,
        as_of_time: Option<Time>,
    ) -> ChangeOutcome {
        let before = self.license.clone();
        let outcome = self.license.update_subscription(subscription, as_of_time);
        if outcome == ChangeOutcome::Applied {
            let told = |license: &usher_domain::license::License| {
                let subscription = &license.subscription;
                facts([
                    ("plan", subscription.plan.clone().into()),
                    ("expire_time", subscription.expire_time.map(Time::micros).into()),
                    ("grace_end_time", subscription.grace_end_time.map(Time::micros).into()),
                    ("as_of_time", license.subscription_as_of.map(Time::micros).into()),
                ])
            };
            self.tell("subscription.updated", None, (told(&before), told(&self.license)));
        }
        outcome
    }

    async fn assign(&mut self, scene: &Scene<'_>, user: &UserId) -> Result<ChangeOutcome, Error> {
        let member = self.member(scene, user).await?;
        if member.seat {
            return Ok(ChangeOutcome::Unchanged);
        }
        let (_, role) = stored_role(scene.access.model()?, &member.role)?;
        if !role.uses_seat {
            let refusal = Refusal::RoleUsesNoSeat { role: role.id.to_string() };
            return Err(Error::from(refusal).with("user_id", user));
        }
        if member.state == MemberState::Suspended {
            return Err(Refusal::MemberSuspended { user_id: user.clone() }.into());
        }
        self.seats.require_spare()?;
        self.seats.active += 1;
        self.give_seat(user, true);
        Ok(ChangeOutcome::Applied)
    }

    async fn release(&mut self, scene: &Scene<'_>, user: &UserId) -> Result<ChangeOutcome, Error> {
        let member = self.member(scene, user).await?.clone();
        let (index, role) = stored_role(scene.access.model()?, &member.role)?;
        if role.changes_by_support_only {
            scene.access.require_reach(role, index)?;
        }
        if !member.seat {
            return Ok(ChangeOutcome::Unchanged);
        }
        let holders = self.holders(scene, &role.id, role.uses_seat).await?;
        may_lose_role(&role.id, rules(role), member.holds(rules(role)), holders)?;
        self.seats.active = self.seats.active.saturating_sub(1);
        self.give_seat(user, false);
        Ok(ChangeOutcome::Applied)
    }

    /// How many would hold the role after the changes so far.
    async fn holders(&self, scene: &Scene<'_>, role: &str, uses_seat: bool) -> Result<u32, Error> {
        let account = &scene.account().id;
        let mut holders = scene.tx.member_count_holders(account, role, uses_seat).await?;
        for planned in self.members.values().filter(|member| member.role == role) {
            let stored = scene.tx.member_fetch(account, &planned.user_id).await?;
            let counted =
                |member: &Member| member.state == MemberState::Active && (member.seat || !uses_seat);
            holders -= u32::from(stored.as_ref().is_some_and(counted));
            holders += u32::from(counted(planned));
        }
        Ok(holders)
    }

    async fn member(&mut self, scene: &Scene<'_>, user: &UserId) -> Result<&Member, Error> {
        if !self.members.contains_key(user) {
            let member = scene.tx.member_fetch(&scene.account().id, user).await?;
            self.members.insert(user.clone(), member.ok_or_else(|| Error::no_member(user))?);
        }
        self.members.get(user).ok_or(Error::Missing(Missing::Member))
    }

    fn give_seat(&mut self, user: &UserId, seat: bool) {
        if let Some(member) = self.members.get_mut(user) {
            member.seat = seat;
        }
        let kind = if seat { "seat.assigned" } else { "seat.released" };
        let told = |seat: bool| facts([("seat", seat.into())]);
        self.tell(kind, Some(user.clone()), (told(!seat), told(seat)));
    }

    fn tell(
        &mut self,
        kind: &'static str,
        subject: Option<UserId>,
        (before, after): (usher_domain::event::Facts, usher_domain::event::Facts),
    ) {
        self.happened.push(Happened { kind, before, after, ..Default::default() });
        self.subjects.push(subject);
    }

    async fn write(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        if self.happened.is_empty() {
            // No change, but later messages are older or newer than these.
            let (before, after) = (&scene.account().license, &self.license);
            if (before.seats_as_of, before.subscription_as_of)
                != (after.seats_as_of, after.subscription_as_of)
            {
                scene.tx.account_note_as_of(&scene.account().id, after).await?;
            }
        }
        scene.access.account.license = self.license.clone();
        for (user, member) in &self.members {
            let touched = self.subjects.iter().zip(&self.happened).rev();
            let last = touched.into_iter().find(|(subject, _)| subject.as_ref() == Some(user));
            if let Some((_, happened)) = last {
                scene.tx.member_update(member, Some(scene.stamp(happened.kind))).await?;
            }
        }
        for (what, subject) in std::mem::take(&mut self.happened).into_iter().zip(&self.subjects) {
            let subject_id = subject.as_ref().map_or("", UserId::as_str);
            scene.happened(Happened { subject_id, ..what })?;
        }
        Ok(())
    }

    fn outcome(self, scene: &Scene<'_>) -> Result<ManageLicensesOutcome, Error> {
        let mut account = scene.account().clone();
        account.license = self.license;
        let shown = scene.access.acting == &Acting::Platform || scene.access.may(guard::SUBSCRIPTION_VIEW);
        let subscription = account.license.subscription.clone();
        Ok(ManageLicensesOutcome {
            licenses: licenses_view(&account, self.seats),
            subscription: shown.then_some(SubscriptionView { subscription, as_of: scene.access.now }),
            results: self.results,
            events: u32::try_from(self.subjects.len()).unwrap_or(u32::MAX),
        })
    }
}
