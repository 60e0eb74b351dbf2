//! The derivation of an answer, as the wire says it.

use usher_contract::v1 as pb;
use usher_domain::license::Subscription;
use usher_domain::time::Time;
use usher_policy::{Ask, Part, PartKind, RoleModel, Standing};
use usher_storage::StandingFacts;

use super::convert::{
    account_state, decision_reason, member_state, seat_state, subscription_state, timestamp,
};
use crate::app::App;
use crate::app::check;

pub(super) fn explanation(app: &App, ask: &Ask<'_>, explained: check::Explained) -> pb::Explanation {
    let standing = explained.standing.filter(|_| explained.facts.is_some());
    let model = standing.as_ref().and_then(|standing| app.roles.model_of(standing));
    let role = model.zip(standing.and_then(|standing| standing.member().role()));
    let role = role.and_then(|(model, role)| model.role_at(role));
    let action = model.and_then(|model| model.action(ask.resource_type, ask.action).ok());
    let mut told = pb::Explanation {
        parts: explained.parts.iter().map(|part| explanation_part(part, &explained)).collect(),
        role_title: role.map(|role| role.title.to_string()).unwrap_or_default(),
        ..Default::default()
    };
    if let (Some(model), Some(action)) = (model, action) {
        told.roles_that_grant = model.roles_that_grant(action).map(|role| role.id.to_string()).collect();
        let permissions = model.permissions_that_grant(action);
        told.permissions_that_grant = permissions.map(|permission| permission.id.to_string()).collect();
    }
    if let Some(model) = model {
        model.id().clone_into(&mut told.model);
        model.digest().clone_into(&mut told.model_version);
    }
    if let (Some(standing), Some(facts)) = (standing, &explained.facts) {
        states(&mut told, model, &standing, facts, explained.as_of);
    }
    told
}

fn states(
    told: &mut pb::Explanation,
    model: Option<&RoleModel>,
    standing: &Standing,
    facts: &StandingFacts,
    now: Time,
) {
    let subscription = Subscription {
        plan: String::new(),
        expire_time: facts.record.expire_time,
        grace_end_time: facts.record.lapse_time,
    };
    told.account_state = account_state(facts.record.account_state).into();
    told.subscription_state = subscription_state(subscription.state(now)).into();
    if let Some(member) = &facts.record.member {
        let role = standing.member().role();
        let role = model.zip(role).and_then(|(model, role)| model.role_at(role));
        told.member_state = member_state(member.state).into();
        told.seat_state = seat_state(role.is_none_or(|role| role.uses_seat), member.seat).into();
    }
    told.expire_time = facts.record.expire_time.map(timestamp);
    told.grace_end_time = facts.record.lapse_time.map(timestamp);
    told.standing_changed_time = Some(timestamp(facts.changed_time));
    told.standing_changed_event.clone_from(&facts.changed_event);
    told.standing_changed_revision = facts.changed_revision;
}

fn explanation_part(part: &Part, of: &check::Explained) -> pb::ExplanationPart {
    let kind = match part.part {
        PartKind::Account => pb::DecisionPart::Account,
        PartKind::Member => pb::DecisionPart::Member,
        PartKind::Subscription => pb::DecisionPart::Subscription,
        PartKind::OverLimit => pb::DecisionPart::Limit,
        PartKind::Seat => pb::DecisionPart::Seat,
        PartKind::Role | PartKind::Automation => pb::DecisionPart::Grant,
        PartKind::Owner => pb::DecisionPart::Owner,
    };
    pb::ExplanationPart {
        part: kind.into(),
        holds: part.holds,
        detail: part.detail.clone(),
        reason: part.reason.map_or(pb::DecisionReason::Unspecified, decision_reason).into(),
        since_time: of.facts.as_ref().and_then(|facts| since(part, facts)).map(timestamp),
    }
}

/// Since when a part is as it is. A member's parts remember it; what the clock alone brings about
/// began at its time.
fn since(part: &Part, facts: &StandingFacts) -> Option<Time> {
    match part.part {
        PartKind::Account => facts.since.account,
        PartKind::Member => facts.since.member,
        PartKind::Subscription => facts.record.lapse_time.filter(|_| !part.holds),
        PartKind::OverLimit => facts.record.over_limit_end_time.filter(|_| !part.holds),
        PartKind::Seat => facts.since.seat,
        PartKind::Role => facts.since.role,
        PartKind::Owner | PartKind::Automation => None,
    }
}
