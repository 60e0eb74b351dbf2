//! From outcomes to messages.

use usher_contract::v1 as pb;
use usher_domain::account::{AccountState, AccountView};
use usher_domain::invitation::{Delivery, DeliveryState, DeliveryStatus, InvitationState};
use usher_domain::license::SubscriptionState;
use usher_domain::member::{MemberIdentity, MemberState};
use usher_domain::time::Time;
use usher_policy::Reason;

use super::status::reason;
use crate::app::view::{
    Affordance, InvitationAffordances, InvitationView, LicensesView, MemberAffordances, MemberView,
    SubscriptionView,
};

pub(crate) fn timestamp(time: Time) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.micros().rem_euclid(1_000_000) * 1000).unwrap_or(0);
    prost_types::Timestamp { seconds: time.micros().div_euclid(1_000_000), nanos }
}

pub(crate) fn decision_reason(reason: Reason) -> pb::DecisionReason {
    use pb::DecisionReason as R;
    match reason {
        Reason::RoleGrants => R::RoleGrants,
        Reason::RoleGrantsOwn => R::RoleGrantsOwn,
        Reason::AvailableAfterLapse => R::AvailableAfterLapse,
        Reason::Automation => R::Automation,
        Reason::AccountUnknown => R::AccountUnknown,
        Reason::AccountSuspended => R::AccountSuspended,
        Reason::NotAMember => R::NotAMember,
        Reason::MemberSuspended => R::MemberSuspended,
        Reason::SubscriptionLapsed => R::SubscriptionLapsed,
        Reason::OverLimitEnded => R::OverLimitEnded,
        Reason::NoSeat => R::NoSeat,
        Reason::RoleLacksPermission => R::RoleLacksPermission,
        Reason::OwnerRequired => R::OwnerRequired,
        Reason::NotOwner => R::NotOwner,
        Reason::AutomationLacksPermission => R::AutomationLacksPermission,
    }
}

pub(crate) fn account_state(state: AccountState) -> pb::AccountState {
    match state {
        AccountState::Active => pb::AccountState::Active,
        AccountState::Suspended => pb::AccountState::Suspended,
        AccountState::Closed => pb::AccountState::Closed,
    }
}

pub(crate) fn member_state(state: MemberState) -> pb::MemberState {
    match state {
        MemberState::Active => pb::MemberState::Active,
        MemberState::Suspended => pb::MemberState::Suspended,
    }
}

pub(crate) fn seat_state(uses_seat: bool, seat: bool) -> pb::SeatState {
    match (uses_seat, seat) {
        (false, _) => pb::SeatState::NotNeeded,
        (true, true) => pb::SeatState::Held,
        (true, false) => pb::SeatState::None,
    }
}

pub(crate) fn subscription_state(state: SubscriptionState) -> pb::SubscriptionState {
    match state {
        SubscriptionState::Active => pb::SubscriptionState::Active,
        SubscriptionState::InGrace => pb::SubscriptionState::InGrace,
        SubscriptionState::Lapsed => pb::SubscriptionState::Lapsed,
    }
}

pub(crate) fn invitation_state(state: InvitationState) -> pb::InvitationState {
    match state {
        InvitationState::Pending => pb::InvitationState::Pending,
        InvitationState::Accepted => pb::InvitationState::Accepted,
        InvitationState::Revoked => pb::InvitationState::Revoked,
        InvitationState::Expired => pb::InvitationState::Expired,
    }
}

pub(crate) fn from_invitation_state(state: pb::InvitationState) -> Option<InvitationState> {
    match state {
        pb::InvitationState::Unspecified => None,
        pb::InvitationState::Pending => Some(InvitationState::Pending),
        pb::InvitationState::Accepted => Some(InvitationState::Accepted),
        pb::InvitationState::Revoked => Some(InvitationState::Revoked),
        pb::InvitationState::Expired => Some(InvitationState::Expired),
    }
}

pub(crate) fn from_delivery(delivery: pb::Delivery) -> Option<Delivery> {
    match delivery {
        pb::Delivery::Unspecified => None,
        pb::Delivery::Email => Some(Delivery::Email),
        pb::Delivery::ReturnLink => Some(Delivery::ReturnLink),
        pb::Delivery::None => Some(Delivery::None),
    }
}

pub(crate) fn account(view: AccountView) -> pb::Account {
    pb::Account {
        account_id: view.id.into(),
        name: view.name,
        state: account_state(view.state).into(),
        model: view.model,
        create_time: Some(timestamp(view.create_time)),
        suspend_time: view.suspend_time.map(timestamp),
        close_time: view.close_time.map(timestamp),
    }
}

pub(crate) fn licenses(view: LicensesView) -> pb::Licenses {
    pb::Licenses {
        purchased: view.seats.purchased,
        active: view.seats.active,
        reserved: view.seats.reserved,
        available: view.seats.available(),
        over_limit_by: view.seats.over_limit_by(),
        over_limit_end_time: view.over_limit_end_time.map(timestamp),
    }
}

pub(crate) fn subscription(view: SubscriptionView) -> pb::Subscription {
    pb::Subscription {
        state: subscription_state(view.state()).into(),
        plan: view.subscription.plan,
        expire_time: view.subscription.expire_time.map(timestamp),
        grace_end_time: view.subscription.grace_end_time.map(timestamp),
    }
}

fn affordance(affordance: &Affordance) -> Option<pb::Affordance> {
    Some(match affordance {
        Ok(changes) => pb::Affordance { allowed: *changes, reason: 0 },
        Err(error) => pb::Affordance { allowed: false, reason: reason(error).into() },
    })
}

fn member_affordances(may: MemberAffordances) -> pb::MemberAffordances {
    pb::MemberAffordances {
        change_role: affordance(&may.change_role),
        assignable_roles: may.assignable_roles,
        suspend: affordance(&may.suspend),
        reactivate: affordance(&may.reactivate),
        remove: affordance(&may.remove),
        assign_seat: affordance(&may.assign_seat),
        release_seat: affordance(&may.release_seat),
        update: affordance(&may.update),
    }
}

fn member_identity(identity: MemberIdentity) -> pb::MemberIdentity {
    pb::MemberIdentity { issuer: identity.issuer, username: identity.username, bound: identity.bound }
}

pub(crate) fn member(view: MemberView) -> pb::Member {
    let MemberView { member, role_title, uses_seat, actor_may } = view;
    pb::Member {
        account_id: member.account_id.into(),
        user_id: member.user_id.into(),
        email: member.email,
        email_verified: member.email_verified,
        display_name: member.display_name,
        role: member.role,
        role_title,
        state: member_state(member.state).into(),
        seat: seat_state(uses_seat, member.seat).into(),
        identities: member.identities.into_iter().map(member_identity).collect(),
        first_sign_in_time: member.first_sign_in_time.map(timestamp),
        last_sign_in_time: member.last_sign_in_time.map(timestamp),
        join_time: Some(timestamp(member.join_time)),
        suspend_time: member.suspend_time.map(timestamp),
        invited_by: member.invited_by.map(Into::into).unwrap_or_default(),
        actor_may: actor_may.map(member_affordances),
    }
}

fn delivery_status(status: DeliveryStatus) -> pb::DeliveryStatus {
    let state = match status.state {
        DeliveryState::NotNeeded => pb::DeliveryState::NotNeeded,
        DeliveryState::Queued => pb::DeliveryState::Queued,
        DeliveryState::Sent => pb::DeliveryState::Sent,
        DeliveryState::Failed => pb::DeliveryState::Failed,
    };
    pb::DeliveryStatus {
        state: state.into(),
        sends: status.sends,
        last_send_time: status.last_send_time.map(timestamp),
        next_attempt_time: status.next_attempt_time.map(timestamp),
        failure: status.failure,
    }
}

fn invitation_affordances(may: &InvitationAffordances) -> pb::InvitationAffordances {
    pb::InvitationAffordances {
        resend: affordance(&may.resend),
        revoke: affordance(&may.revoke),
        update: affordance(&may.update),
    }
}

pub(crate) fn invitation(view: InvitationView) -> pb::Invitation {
    let InvitationView { invitation, role_title, invited_by_name, as_of, actor_may } = view;
    let state = invitation_state(invitation.state(as_of)).into();
    let reserves_seat = invitation.reserves_seat(as_of);
    let sponsor: String = invitation.invited_by.map(Into::into).unwrap_or_default();
    pb::Invitation {
        account_id: invitation.account_id.into(),
        id: invitation.id.into(),
        email: invitation.email,
        display_name: invitation.display_name,
        role: invitation.role,
        role_title,
        state,
        reserves_seat,
        invited_by: sponsor.clone(),
        invited_by_name,
        create_time: Some(timestamp(invitation.create_time)),
        expire_time: Some(timestamp(invitation.expire_time)),
        accept_time: invitation.accept_time.map(timestamp),
        revoke_time: invitation.revoke_time.map(timestamp),
        accepted_user_id: invitation.accepted_user_id.map(Into::into).unwrap_or_default(),
        delivery: Some(delivery_status(invitation.delivery_status)),
        actor_may: actor_may.as_ref().map(invitation_affordances),
        identity: invitation
            .identity
            .map(|identity| pb::ExternalUsername { username: identity.username, issuer: identity.issuer }),
        sponsor_id: sponsor,
    }
}
