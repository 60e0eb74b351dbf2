//! Why a rule of the domain says no. One enum, because the same refusal comes from several rules;
//! `usher-server` gives each its code and reason on the wire.

use crate::id::{InvitationId, TransferId, UserId};
use crate::license::Seats;
use crate::ownership::TransferState;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the account is suspended")]
    AccountSuspended,
    #[error("the account's subscription has lapsed")]
    SubscriptionLapsed,
    #[error("the account is over its limit, and the time allowed for that has ended")]
    OverLimitEnded,
    #[error("no seat is available: {} of {} are active and {} reserved", .0.active, .0.purchased.unwrap_or(u32::MAX), .0.reserved)]
    NoSeatAvailable(Seats),
    #[error("the account is over its limit by {}; nothing takes a seat until it is back under it", .0.over_limit_by())]
    OverLimit(Seats),
    #[error("{} seats are in use, so that is the lowest number possible without `allow_over_limit`", .0.in_use())]
    SeatsInUse(Seats),
    #[error("the account has {} purchased, not the number expected", purchased.map_or("unlimited seats".to_owned(), |n| format!("{n} seats")))]
    ExpectedSeatsDiffer { purchased: Option<u32> },
    #[error("the person is a member already, as `{user_id}`")]
    AlreadyMember { user_id: UserId },
    #[error("the username belongs to the member `{user_id}` of this account")]
    UsernameTakenInAccount { user_id: UserId },
    #[error("the person is a suspended member, `{user_id}`; reactivate them instead")]
    MemberSuspendedReactivate { user_id: UserId },
    #[error("the address has an open invitation `{id}` with the role `{role}`; update or revoke that one")]
    InvitationOpenWithOtherRole { id: InvitationId, role: String },
    #[error("the role `{role}` changes hands through a support ticket only")]
    RoleChangesBySupportOnly { role: String },
    #[error("the account must keep a member who holds the role `{role}`, and this is the last one")]
    LastHolder { role: String },
    #[error("members cannot do this to themselves")]
    Oneself,
    #[error("the member's role `{role}` uses no seat")]
    RoleUsesNoSeat { role: String },
    #[error("an account can have one open ownership ticket, and `{id}` is open")]
    TransferOpen { id: TransferId },
    #[error("the ownership ticket is {state:?}")]
    TransferEnded { state: TransferState },
    #[error("the operator who opened a ticket cannot approve it; another must")]
    SecondOperatorRequired,
    #[error("the member holds the role `{role}` already")]
    RoleAlreadyHeld { user_id: UserId, role: String },
    #[error("the member is suspended")]
    MemberSuspended { user_id: UserId },
    #[error(
        "`{user_id}` cannot hold the role now: no member any more, suspended, or without the seat that it needs"
    )]
    CannotHoldRole { user_id: UserId },
}
