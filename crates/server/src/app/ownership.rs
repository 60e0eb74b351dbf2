//! Ownership by support ticket: two different operators give a role that members cannot move.

use serde::{Deserialize, Serialize};
use usher_domain::account::AccountState;
use usher_domain::caller::{Acting, Caller, Operator, Scope};
use usher_domain::id::{AccountId, TransferId, UserId};
use usher_domain::member::{HolderRule, Member};
use usher_domain::ownership::{OwnershipTransfer, TRANSFER_LIFETIME, TransferState};
use usher_domain::refusal::Refusal;
use usher_domain::time::Time;
use usher_policy::{Role, RoleIndex, RoleModel};
use usher_storage::{MailKind, MemberFilter, Tx};

use super::App;
use super::access::{Access, role, rules, stored_role};
use super::change::{Change, Changed, Happened, Scene, change, facts};
use super::members::Page;
use crate::error::{Error, Missing};
use crate::{guard, random};

#[derive(Debug, Serialize, Deserialize)]
pub struct TransferOutcome {
    pub transfer: OwnershipTransfer,
    pub as_of: Time,
}

/// The person of the help desk who stands behind a call.
///
/// # Errors
/// `OperatorUnproven` when nothing names them, or a request names them that may not.
fn operator(caller: &Caller, named: &str) -> Result<String, Error> {
    match (&caller.operator, named) {
        (Operator::Verified(subject), "") => Ok(subject.clone()),
        (Operator::Named, named) if !named.is_empty() => Ok(named.to_owned()),
        _ => Err(Error::OperatorUnproven),
    }
}

#[derive(Debug, Clone)]
pub struct OpenOwnershipTransfer {
    pub change: Change,
    pub new_owner_id: UserId,
    pub ticket_ref: String,
    /// Only from a caller that may name its operators.
    pub operator_id: String,
    /// Empty is the model's support-only role.
    pub role: String,
    pub requested_by: String,
}

/// # Errors
/// See the contract's `OpenOwnershipTransfer`.
pub async fn open_ownership_transfer(
    app: App,
    caller: Caller,
    command: OpenOwnershipTransfer,
) -> Result<Changed<TransferOutcome>, Error> {
    let operator = operator(&caller, &command.operator_id)?;
    change(&app, &caller, &guard::OPEN_OWNERSHIP_TRANSFER, &command.change, async |scene| {
        open(scene, &command, &operator).await
    })
    .await
}

async fn open(
    scene: &mut Scene<'_>,
    command: &OpenOwnershipTransfer,
    operator: &str,
) -> Result<TransferOutcome, Error> {
    let now = scene.access.now;
    require_not_suspended(scene)?;
    let model = scene.access.model()?;
    let (_, role) = ticket_role(model, &command.role)?;
    let id = &command.new_owner_id;
    let member = scene.tx.member_fetch(&scene.account().id, id).await?;
    let member = holder(role, id, Some(member.ok_or_else(|| Error::no_member(id))?))?;
    if member.role == role.id.as_ref() {
        return Err(Refusal::RoleAlreadyHeld { user_id: member.user_id, role: member.role }.into());
    }
    if let Some(mut former) = scene.tx.ownership_transfer_find_open(&scene.account().id).await? {
        if former.state(now) == TransferState::Open {
            return Err(Refusal::TransferOpen { id: former.id }.into());
        }
        former.stored_state = TransferState::Expired;
        former.end_time = Some(former.expire_time);
        scene.tx.ownership_transfer_update(&former).await?;
    }
    let present = present_owner(scene, role).await?;
    let successor = role.successor.filter(|_| present.is_some()).and_then(|index| model.role_at(index));
    let transfer = OwnershipTransfer {
        account_id: scene.account().id.clone(),
        id: TransferId::parse(&random::id("tkt")).map_err(|e| Error::Internal(e.to_string()))?,
        role: role.id.to_string(),
        stored_state: TransferState::Open,
        present_owner_id: present.as_ref().map(|member| member.user_id.clone()),
        successor_role: successor.map(|role| role.id.to_string()),
        new_owner_id: command.new_owner_id.clone(),
        ticket_ref: command.ticket_ref.clone(),
        requested_by: command.requested_by.clone(),
        note: command.change.note.clone(),
        opened_by: operator.to_owned(),
        open_time: now,
        expire_time: now + TRANSFER_LIFETIME,
        ended_by: None,
        end_time: None,
    };
    scene.tx.ownership_transfer_insert(&transfer).await?;
    for person in present.iter().chain([&member]).filter(|person| !person.email.is_empty()) {
        scene.mail(MailKind::OwnershipTransfer, transfer.id.as_str(), &person.email, "").await?;
    }
    happened(scene, "ownership_transfer.opened", &transfer, operator)?;
    Ok(TransferOutcome { transfer, as_of: now })
}

fn require_not_suspended(scene: &Scene<'_>) -> Result<(), Error> {
    match scene.account().state {
        AccountState::Active => Ok(()),
        _ => Err(Refusal::AccountSuspended.into()),
    }
}

/// The role that a ticket gives: the support-only one, or any that somebody must hold.
fn ticket_role<'m>(model: &'m RoleModel, named: &str) -> Result<(RoleIndex, &'m Role), Error> {
    if named.is_empty() {
        let index = model.support_only_role().ok_or(Error::ModelHasNoSupportRole)?;
        let role = model.role_at(index).ok_or(Error::ModelHasNoSupportRole)?;
        return Ok((index, role));
    }
    let (index, role) = role(model, named, "role")?;
    if rules(role).holders == HolderRule::Any {
        return Err(Error::RoleNotAssignable { role: role.id.to_string() });
    }
    Ok((index, role))
}

/// The member who is to get the role: active, with a seat if the role uses one.
fn holder(role: &Role, id: &UserId, member: Option<Member>) -> Result<Member, Refusal> {
    member
        .filter(|member| member.holds(rules(role)))
        .ok_or_else(|| Refusal::CannotHoldRole { user_id: id.clone() })
}

/// Who holds a role that exactly one member has.
async fn present_owner(scene: &Scene<'_>, role: &Role) -> Result<Option<Member>, Error> {
    if rules(role).holders != HolderRule::ExactlyOne {
        return Ok(None);
    }
    let filter = MemberFilter { roles: vec![role.id.to_string()], ..Default::default() };
    let (mut holders, _) = scene.tx.member_list(&scene.account().id, &filter, None, 1).await?;
    Ok(holders.pop())
}

fn happened(
    scene: &mut Scene<'_>,
    kind: &'static str,
    transfer: &OwnershipTransfer,
    operator: &str,
) -> Result<(), Error> {
    scene.happened(Happened {
        kind,
        subject_id: transfer.id.as_str(),
        after: facts([
            ("operator_id", operator.into()),
            ("role", transfer.role.clone().into()),
            ("new_owner_id", transfer.new_owner_id.as_str().into()),
            ("ticket_ref", transfer.ticket_ref.clone().into()),
        ]),
        ..Default::default()
    })
}

#[derive(Debug, Clone)]
pub struct EndOwnershipTransfer {
    pub change: Change,
    pub transfer_id: TransferId,
    pub operator_id: String,
}

/// # Errors
/// See the contract's `CancelOwnershipTransfer`.
pub async fn cancel_ownership_transfer(
    app: App,
    caller: Caller,
    command: EndOwnershipTransfer,
) -> Result<Changed<TransferOutcome>, Error> {
    let operator = operator(&caller, &command.operator_id)?;
    change(&app, &caller, &guard::CANCEL_OWNERSHIP_TRANSFER, &command.change, async |scene| {
        let mut transfer = fetch(scene.tx, &scene.account().id, &command.transfer_id).await?;
        let now = scene.access.now;
        if transfer.stored_state != TransferState::Cancelled {
            transfer.cancel(&operator, now)?;
            scene.tx.ownership_transfer_update(&transfer).await?;
            happened(scene, "ownership_transfer.cancelled", &transfer, &operator)?;
        }
        Ok(TransferOutcome { transfer, as_of: now })
    })
    .await
}

async fn fetch(tx: &Tx, account: &AccountId, id: &TransferId) -> Result<OwnershipTransfer, Error> {
    tx.ownership_transfer_fetch(account, id).await?.ok_or(Error::Missing(Missing::Transfer))
}

/// # Errors
/// See the contract's `ApproveOwnershipTransfer`.
pub async fn approve_ownership_transfer(
    app: App,
    caller: Caller,
    command: EndOwnershipTransfer,
) -> Result<Changed<TransferOutcome>, Error> {
    let operator = operator(&caller, &command.operator_id)?;
    change(&app, &caller, &guard::APPROVE_OWNERSHIP_TRANSFER, &command.change, async |scene| {
        let mut transfer = fetch(scene.tx, &scene.account().id, &command.transfer_id).await?;
        let now = scene.access.now;
        if transfer.stored_state == TransferState::Approved
            && transfer.ended_by.as_deref() == Some(operator.as_str())
        {
            return Ok(TransferOutcome { transfer, as_of: now });
        }
        transfer.approve(&operator, now)?;
        hand_over(scene, &transfer).await?;
        scene.tx.ownership_transfer_update(&transfer).await?;
        happened(scene, "ownership_transfer.approved", &transfer, &operator)?;
        Ok(TransferOutcome { transfer, as_of: now })
    })
    .await
}

/// The new owner gets the role, and who holds it now gets its successor: both or neither.
async fn hand_over(scene: &mut Scene<'_>, transfer: &OwnershipTransfer) -> Result<(), Error> {
    require_not_suspended(scene)?;
    let model = scene.access.model()?;
    let (_, role) = stored_role(model, &transfer.role)?;
    let id = &transfer.new_owner_id;
    let new_owner = holder(role, id, scene.tx.member_fetch(&scene.account().id, id).await?)?;
    let former = present_owner(scene, role).await?.filter(|former| former.user_id != new_owner.user_id);
    if let Some(former) = former {
        let successor = role.successor.and_then(|index| model.role_at(index));
        let successor =
            successor.ok_or_else(|| Error::Internal(format!("`{}` has no successor", role.id)))?;
        give(scene, former, successor).await?;
    }
    give(scene, new_owner, role).await
}

async fn give(scene: &mut Scene<'_>, mut member: Member, role: &Role) -> Result<(), Error> {
    if role.uses_seat && !member.seat {
        scene.seats().await?.require_spare()?;
    }
    let before = std::mem::replace(&mut member.role, role.id.to_string());
    let had_seat = std::mem::replace(&mut member.seat, role.uses_seat);
    scene.tx.member_update(&member, Some(scene.stamp("member.role_changed"))).await?;
    scene.happened(Happened {
        kind: "member.role_changed",
        subject_id: member.user_id.as_str(),
        before: facts([("role", before.into()), ("seat", had_seat.into())]),
        after: facts([("role", member.role.clone().into()), ("seat", member.seat.into())]),
        ..Default::default()
    })
}

/// Support reads tickets with no acting party; members with theirs, where the model lets them.
#[derive(Debug, Clone)]
pub struct ReadTransfers {
    pub account_id: AccountId,
    pub acting: Option<Acting>,
}

impl ReadTransfers {
    async fn open<'a>(
        &'a self,
        app: &'a App,
        caller: &Caller,
        tx: &Tx,
        now: Time,
    ) -> Result<Access<'a>, Error> {
        let (needed, acting) = match &self.acting {
            None => (Scope::Support, &Acting::Platform),
            Some(acting) => (Scope::Members, acting),
        };
        if !caller.scopes.contains(needed) {
            return Err(Error::ScopeMissing(needed));
        }
        let account = tx.account_fetch(&self.account_id).await?;
        let access = Access::open(app.roles, now, tx, account, acting).await?;
        access.require("ownership_transfer.view")?;
        Ok(access)
    }
}

#[derive(Debug, Clone)]
pub struct GetOwnershipTransfer {
    pub read: ReadTransfers,
    pub transfer_id: TransferId,
}

/// # Errors
/// See the contract's `GetOwnershipTransfer`.
pub async fn get_ownership_transfer(
    app: App,
    caller: Caller,
    command: GetOwnershipTransfer,
) -> Result<(TransferOutcome, i64), Error> {
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let access = command.read.open(&app, &caller, tx, now).await?;
            let transfer = fetch(tx, &access.account.id, &command.transfer_id).await?;
            Ok((TransferOutcome { transfer, as_of: now }, access.account.revision))
        })
        .await
}

#[derive(Debug, Clone)]
pub struct ListOwnershipTransfers {
    pub read: ReadTransfers,
    pub page: Page,
    pub states: Vec<TransferState>,
}

pub struct Transfers {
    pub transfers: Vec<OwnershipTransfer>,
    pub as_of: Time,
    pub next_page_token: String,
    pub revision: i64,
}

/// # Errors
/// See the contract's `ListOwnershipTransfers`.
pub async fn list_ownership_transfers(
    app: App,
    caller: Caller,
    command: ListOwnershipTransfers,
) -> Result<Transfers, Error> {
    let bound =
        format!("transfers {} {:?} {:?}", command.read.account_id, command.read.acting, command.states);
    let after = app.page_tokens.read::<2>(&bound, &command.page.token)?;
    let after = after.map(|[time, id]| time.parse().map(|time: i64| (time, id))).transpose();
    let after = after.map_err(|_| Error::PageTokenInvalid)?;
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let access = command.read.open(&app, &caller, tx, now).await?;
            let size = command.page.size;
            let place = after.as_ref().map(|(time, id)| (*time, id.as_str()));
            let mut found =
                tx.ownership_transfer_list(&access.account.id, &command.states, now, place, size + 1).await?;
            let more = found.len() > size as usize;
            found.truncate(size as usize);
            let next = found.last().filter(|_| more);
            let next = next.map(|last| [last.open_time.micros().to_string(), last.id.to_string()]);
            Ok(Transfers {
                transfers: found,
                as_of: now,
                next_page_token: next.map(|place| app.page_tokens.make(&bound, &place)).unwrap_or_default(),
                revision: access.account.revision,
            })
        })
        .await
}
