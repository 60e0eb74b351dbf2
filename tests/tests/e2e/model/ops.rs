//! Changes: drawn at random, and made over the wire.

use std::time::{Duration, Instant};

use tonic::Status;
use usher_tests::cast::joining;
use usher_tests::person::{PASSWORD, accepting, linking, new_password, signed_in, token_of};
use usher_tests::{Actor, By, Platform, Refused, Usher, acting, pb};

use super::state::{Fate, State, user_of};
use crate::changes::{assign, manage, release, set, update_subscription};
use crate::ownership_life::{approving, cancelling, opening};

pub(crate) const ACCOUNT: &str = "acme";

#[derive(Debug, Clone)]
pub(crate) enum What {
    Invite { email: String, role: String },
    Join { user: String, role: String },
    UpdateInvitation { id: String, role: String },
    Resend { id: String },
    Revoke { id: String },
    Accept { id: String, link: u32, token: String, new: bool, user: String },
    ChangeRole { user: String, role: String },
    Suspend { user: String },
    Reactivate { user: String },
    Remove { user: String },
    Rename { user: String },
    Seats { seats: u32, over: bool },
    Assign { user: String },
    Release { user: String },
    Plan { plan: String },
    RenameAccount { name: String },
    SuspendAccount,
    ReactivateAccount,
    OpenTicket { user: String },
    Approve { id: String, operator: &'static str },
    Cancel { id: String, operator: &'static str },
}

/// A change and on whose behalf; nobody is the platform, or support.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) actor: Option<String>,
    pub(crate) what: What,
}

/// What the product answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) refused: Option<String>,
    /// Of an invitation or a ticket.
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) revision: i64,
    pub(crate) took: Duration,
}

/// A call that gives way to another one waits for it at least this long.
const WAIT_MIN: Duration = Duration::from_millis(1500);

impl Told {
    /// Whether it waited in vain for the other, which a busy machine makes slow: nothing happened.
    pub(crate) fn gave_way(&self) -> bool {
        self.refused.as_deref() == Some("CONTENTION") && self.took >= WAIT_MIN
    }
}

/// Steele, Lea and Flood's splitmix64: one number is the whole state, so a seed is a run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_of<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.below(list.len())].clone()) }
    }
}

/// Links that were handed out: of which invitation, and which sending.
pub(crate) type Links = std::collections::BTreeMap<(String, u32), String>;

/// People who come by mail, and people who come by username.
const BY_MAIL: usize = 5;
const BY_NAME: usize = 3;

pub(crate) fn draw(random: &mut Random, state: &State, links: &Links, roles: &[&str], step: usize) -> Op {
    loop {
        let what = draw_what(random, state, links, roles, step);
        let Some(what) = what else { continue };
        let may_act = matches!(
            what,
            What::Invite { .. } | What::ChangeRole { .. } | What::Suspend { .. } | What::Remove { .. }
        );
        let people: Vec<String> = state.people.keys().cloned().collect();
        let actor = if may_act && random.below(3) == 0 { random.one_of(&people) } else { None };
        return Op { actor, what };
    }
}

fn draw_what(random: &mut Random, state: &State, links: &Links, roles: &[&str], step: usize) -> Option<What> {
    let role = random.one_of(roles)?.to_owned();
    let people: Vec<String> = state.people.keys().cloned().collect();
    let user = if random.below(20) == 0 { "p-0".to_owned() } else { random.one_of(&people)? };
    let ids: Vec<String> = state.invited.keys().cloned().collect();
    // Mostly those that something can still become of.
    let open: Vec<String> = state
        .invited
        .iter()
        .filter(|(_, invited)| matches!(invited.state, Fate::Pending | Fate::Replaced))
        .map(|(id, _)| id.clone())
        .collect();
    let id = if random.below(4) == 0 { random.one_of(&ids) } else { random.one_of(&open) };
    let operator = random.one_of(&["sam", "pat", "kim"])?;
    Some(match random.below(34) {
        0..5 => What::Invite { email: format!("p-{}@people.example", random.below(BY_MAIL)), role },
        5..7 => What::Join { user: format!("n-{}", random.below(BY_NAME)), role },
        7 => What::UpdateInvitation { id: id?, role },
        8 => What::Resend { id: id? },
        9 => What::Revoke { id: id? },
        10..14 => {
            let id = id?;
            let invited = &state.invited[&id];
            let sending = if random.below(6) == 0 { 0 } else { invited.link };
            let token = links.get(&(id.clone(), sending))?.clone();
            let user = user_of(&invited.email);
            let new = !state.users.contains(&user);
            What::Accept { id, link: sending, token, new, user }
        }
        14..17 => What::ChangeRole { user, role },
        17..19 => What::Suspend { user },
        19..21 => What::Reactivate { user },
        21..23 => What::Remove { user },
        23 => What::Rename { user },
        24..26 => What::Seats { seats: u32::try_from(random.below(9) + 1).ok()?, over: random.below(3) == 0 },
        26..28 => What::Assign { user },
        28 => What::Release { user },
        29 => What::Plan { plan: ["team", "more"][random.below(2)].to_owned() },
        30 => match random.below(4) {
            0 => What::SuspendAccount,
            1 => What::RenameAccount { name: format!("name {step}") },
            _ => What::ReactivateAccount,
        },
        31 => What::OpenTicket { user },
        32 => What::Approve { id: random.one_of(&state.ticket_ids())?, operator },
        _ => What::Cancel { id: random.one_of(&state.ticket_ids())?, operator },
    })
}

fn told<T>(answer: Result<tonic::Response<T>, Status>, read: impl FnOnce(T) -> Told) -> Told {
    match answer {
        Ok(answer) => read(answer.into_inner()),
        Err(status) => Told { refused: Some(Refused::of(&status).reason), ..Told::default() },
    }
}

fn at(revision: i64) -> Told {
    Told { revision, ..Told::default() }
}

impl Op {
    pub(crate) async fn make(&self, usher: &Usher, step: usize, ticket_role: &str) -> Told {
        let began = Instant::now();
        let told = self.call(usher, step, ticket_role).await;
        Told { took: began.elapsed(), ..told }
    }

    async fn call(&self, usher: &Usher, step: usize, ticket_role: &str) -> Told {
        let by = self.actor.as_deref().map_or(Platform, Actor);
        match &self.what {
            What::Invite { .. }
            | What::Join { .. }
            | What::UpdateInvitation { .. }
            | What::Resend { .. }
            | What::Revoke { .. }
            | What::Accept { .. } => self.make_invitation(usher, by).await,
            What::OpenTicket { .. } | What::Approve { .. } | What::Cancel { .. } => {
                self.make_ticket(usher, ticket_role).await
            }
            What::SuspendAccount | What::ReactivateAccount | What::RenameAccount { .. } => {
                self.make_account(usher).await
            }
            What::Seats { .. } | What::Assign { .. } | What::Release { .. } | What::Plan { .. } => {
                self.make_license(usher).await
            }
            _ => self.make_member(usher, by, step).await,
        }
    }

    async fn make_invitation(&self, usher: &Usher, by: By<'_>) -> Told {
        let mut members = usher.members();
        let account_id = ACCOUNT.to_owned();
        match &self.what {
            What::Invite { email, role } => {
                let new_user_id = user_of(email);
                let request = pb::InviteUserRequest { new_user_id, ..linking(ACCOUNT, by, email, role) };
                told(members.invite_user(request).await, invited)
            }
            What::Join { user, role } => {
                told(members.invite_user(joining(ACCOUNT, by, user, role)).await, |a| at(a.revision))
            }
            What::UpdateInvitation { id, role } => {
                let request = pb::UpdateInvitationRequest {
                    account_id,
                    acting: acting(by),
                    invitation_id: id.clone(),
                    role: Some(role.clone()),
                    ..Default::default()
                };
                told(members.update_invitation(request).await, |a| at(a.revision))
            }
            What::Resend { id } => {
                let request = pb::ResendInvitationRequest {
                    account_id,
                    acting: acting(by),
                    invitation_id: id.clone(),
                    delivery: Some(pb::Delivery::ReturnLink.into()),
                    ..Default::default()
                };
                told(members.resend_invitation(request).await, |a| Told {
                    id: id.clone(),
                    token: token_of(&a.accept_link),
                    ..at(a.revision)
                })
            }
            What::Revoke { id } => told(usher.revoke(ACCOUNT, id).await, |a| at(a.revision)),
            What::Accept { token, new, user, .. } => {
                let proof = if *new { new_password(PASSWORD) } else { signed_in(user) };
                told(members.accept_invitation(accepting(token, proof)).await, |a| at(a.revision))
            }
            _ => unreachable!("not about an invitation"),
        }
    }

    async fn make_member(&self, usher: &Usher, by: By<'_>, step: usize) -> Told {
        let mut members = usher.members();
        let account_id = ACCOUNT.to_owned();
        match &self.what {
            What::ChangeRole { user, role } => {
                told(usher.change_role(ACCOUNT, by, user, role).await, |a| at(a.revision))
            }
            What::Suspend { user } => {
                let user_id = user.clone();
                let request = pb::SuspendMemberRequest {
                    account_id,
                    acting: acting(by),
                    user_id,
                    ..Default::default()
                };
                told(members.suspend_member(request).await, |a| at(a.revision))
            }
            What::Reactivate { user } => {
                let request = pb::ReactivateMemberRequest {
                    account_id,
                    acting: acting(by),
                    user_id: user.clone(),
                    ..Default::default()
                };
                told(members.reactivate_member(request).await, |a| at(a.revision))
            }
            What::Remove { user } => told(usher.remove(ACCOUNT, by, user).await, |a| at(a.revision)),
            What::Rename { user } => {
                let request = pb::UpdateMemberRequest {
                    account_id,
                    acting: acting(by),
                    user_id: user.clone(),
                    // Another each time, also when both clients rename the same member.
                    display_name: Some(format!("name {step} {:p}", &raw const *self)),
                    ..Default::default()
                };
                told(members.update_member(request).await, |a| at(a.revision))
            }
            _ => unreachable!("not about a member"),
        }
    }

    async fn make_license(&self, usher: &Usher) -> Told {
        let change = match &self.what {
            What::Seats { seats, over } => {
                pb::license_change::Change::SetPurchasedSeats(pb::SetPurchasedSeats {
                    allow_over_limit: *over,
                    ..set(*seats)
                })
            }
            What::Assign { user } => assign(user),
            What::Release { user } => release(user),
            What::Plan { plan } => update_subscription(plan),
            _ => unreachable!("not about licences"),
        };
        told(usher.licenses().manage_licenses(manage(ACCOUNT, Platform, [change])).await, |a| at(a.revision))
    }

    async fn make_account(&self, usher: &Usher) -> Told {
        let mut accounts = usher.accounts();
        let account_id = ACCOUNT.to_owned();
        match &self.what {
            What::SuspendAccount => {
                let request = pb::SuspendAccountRequest { account_id, ..Default::default() };
                told(accounts.suspend_account(request).await, |a| at(a.revision))
            }
            What::ReactivateAccount => {
                let request = pb::ReactivateAccountRequest { account_id, ..Default::default() };
                told(accounts.reactivate_account(request).await, |a| at(a.revision))
            }
            What::RenameAccount { name } => {
                let request = pb::UpdateAccountRequest {
                    account_id,
                    acting: acting(Platform),
                    name: Some(name.clone()),
                    ..Default::default()
                };
                told(accounts.update_account(request).await, |a| at(a.revision))
            }
            _ => unreachable!("not about the account"),
        }
    }

    async fn make_ticket(&self, usher: &Usher, role: &str) -> Told {
        let mut accounts = usher.accounts();
        match &self.what {
            What::OpenTicket { user } => {
                let request = pb::OpenOwnershipTransferRequest {
                    role: role.to_owned(),
                    ..opening(ACCOUNT, user, "sam")
                };
                told(accounts.open_ownership_transfer(request).await, |a| Told {
                    id: a.transfer.unwrap().id,
                    ..at(a.revision)
                })
            }
            What::Approve { id, operator } => {
                let request = approving(ACCOUNT, id, operator);
                told(accounts.approve_ownership_transfer(request).await, |a| at(a.revision))
            }
            What::Cancel { id, operator } => {
                let request = cancelling(ACCOUNT, id, operator);
                told(accounts.cancel_ownership_transfer(request).await, |a| at(a.revision))
            }
            _ => unreachable!("not about a ticket"),
        }
    }
}

fn invited(answer: pb::InviteUserResponse) -> Told {
    let Some(pb::invite_user_response::Outcome::Invitation(open)) = answer.outcome else {
        panic!("no invitation")
    };
    Told { id: open.id, token: token_of(&answer.accept_link), ..at(answer.revision) }
}
