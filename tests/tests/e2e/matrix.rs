//! Every role, every action, and the fact `own` in its three forms, over the wire, for both products.

use tonic::transport::Channel;
use usher_tests::cast::MODELS;
use usher_tests::pb::{self, check_result, subject};
use usher_tests::{Cast, Engine, Usher, both_engines};

use crate::golden::{Cell, Golden, Mark};

both_engines!(
    every_cell_is_answered_as_the_golden_files_say,
    automation_does_what_its_model_lists,
    list_permissions_agrees_with_the_matrix,
    list_roles_describes_the_matrix,
    list_roles_says_whom_an_actor_may_grant,
);

/// Whom a resource belongs to, as a request says it.
const OWNERS: [Owner; 3] = [Owner::Subject, Owner::Another, Owner::NotNamed];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Subject,
    Another,
    NotNamed,
}

impl Owner {
    fn id(self, subject: &str) -> Option<String> {
        match self {
            Self::Subject => Some(subject.to_owned()),
            Self::Another => Some("somebody-else".to_owned()),
            Self::NotNamed => None,
        }
    }
}

pub(crate) fn user(id: &str) -> Option<pb::Subject> {
    Some(pb::Subject { kind: Some(subject::Kind::UserId(id.to_owned())) })
}

pub(crate) fn automation() -> Option<pb::Subject> {
    let automation = pb::Automation { id: "nightly".to_owned() };
    Some(pb::Subject { kind: Some(subject::Kind::Automation(automation)) })
}

fn resource(cell: &Cell, owner_id: Option<String>) -> Option<pb::Resource> {
    Some(pb::Resource { r#type: cell.resource_type.clone(), id: "r1".to_owned(), owner_id })
}

/// What the golden file makes of a cell.
fn expected(cell: &Cell, owner: Owner) -> pb::CheckOutcome {
    use pb::{Decision, DecisionReason as R};
    let (decision, reason) = match (cell.mark, owner) {
        (Mark::Always, _) => (Decision::Allow, R::RoleGrants),
        (Mark::Own, Owner::Subject) => (Decision::Allow, R::RoleGrantsOwn),
        (Mark::Own, Owner::Another) => (Decision::Deny, R::NotOwner),
        (Mark::Own, Owner::NotNamed) => (Decision::Deny, R::OwnerRequired),
        (Mark::Never, _) => (Decision::Deny, R::RoleLacksPermission),
    };
    pb::CheckOutcome {
        decision: decision.into(),
        reason: reason.into(),
        role: cell.role.clone(),
        permission: if decision == Decision::Allow { cell.permission.clone() } else { String::new() },
        depends_on_owner: cell.mark == Mark::Own,
        valid_until_time: None,
    }
}

async fn every_cell_is_answered_as_the_golden_files_say(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let golden = Golden::of(model);
        let cast = usher.cast(model.id, model).await;
        for role in model.roles {
            let cells = golden.of_role(role);
            let questions: Vec<(&Cell, Owner)> =
                cells.iter().flat_map(|cell| OWNERS.map(|owner| (*cell, owner))).collect();
            let member = cast.member(role);
            ask_batch(&usher, &cast, &member, &questions).await;
            // The single check takes another path through the server; a sample shows that they agree.
            for (cell, owner) in questions.iter().step_by(7) {
                ask_one(&usher, &cast, &member, cell, *owner).await;
            }
        }
    }
    usher.stop().await;
}

async fn ask_batch(usher: &Usher, cast: &Cast, member: &str, questions: &[(&Cell, Owner)]) {
    let checks = questions.iter().map(|(cell, owner)| pb::Check {
        subject: None,
        action: cell.verb.clone(),
        resource: resource(cell, owner.id(member)),
    });
    let request = pb::CheckPermissionsRequest {
        account_id: cast.account.clone(),
        subject: user(member),
        checks: checks.collect(),
        consistency: None,
    };
    let answer = usher.authorization().check_permissions(request).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), questions.len());
    for ((cell, owner), result) in questions.iter().zip(answer.results) {
        let Some(check_result::Result::Outcome(outcome)) = result.result else { panic!("{result:?}") };
        assert_eq!(outcome, expected(cell, *owner), "{} {member} {} {owner:?}", cast.account, cell.action());
    }
}

async fn ask_one(usher: &Usher, cast: &Cast, member: &str, cell: &Cell, owner: Owner) {
    let request = pb::CheckPermissionRequest {
        account_id: cast.account.clone(),
        subject: user(member),
        action: cell.verb.clone(),
        resource: resource(cell, owner.id(member)),
        ..Default::default()
    };
    let answer = usher.authorization().check_permission(request).await.unwrap().into_inner();
    let outcome = pb::CheckOutcome {
        decision: answer.decision,
        reason: answer.reason,
        role: answer.role,
        permission: answer.permission,
        depends_on_owner: answer.depends_on_owner,
        valid_until_time: answer.valid_until_time,
    };
    assert_eq!(outcome, expected(cell, owner), "{} {member} {} {owner:?}", cast.account, cell.action());
    assert!(answer.revision > 0 && !answer.consistency_token.is_empty());
    assert!(!answer.stale && answer.explanation.is_none());
}

async fn automation_does_what_its_model_lists(engine: Engine) {
    use pb::DecisionReason as R;
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let golden = Golden::of(model);
        let cast = usher.found(model.id, model, 1).await;
        let cells = golden.of_role(model.founder);
        let checks = cells.iter().map(|cell| pb::Check {
            subject: automation(),
            action: cell.verb.clone(),
            resource: resource(cell, None),
        });
        let request = pb::CheckPermissionsRequest {
            account_id: cast.account,
            checks: checks.collect(),
            ..Default::default()
        };
        let answer = usher.authorization().check_permissions(request).await.unwrap().into_inner();
        for (cell, result) in cells.iter().zip(answer.results) {
            let Some(check_result::Result::Outcome(outcome)) = result.result else { panic!("{result:?}") };
            let listed = golden.automation.contains(&cell.action());
            let (decision, reason) = match listed {
                true => (pb::Decision::Allow, R::Automation),
                false => (pb::Decision::Deny, R::AutomationLacksPermission),
            };
            assert_eq!((outcome.decision(), outcome.reason()), (decision, reason), "{}", cell.action());
            assert!(outcome.role.is_empty() && outcome.permission.is_empty() && !outcome.depends_on_owner);
        }
    }
    usher.stop().await;
}

fn grant(mark: Mark) -> pb::Grant {
    match mark {
        Mark::Always => pb::Grant::Always,
        Mark::Own => pb::Grant::WhenOwn,
        Mark::Never => pb::Grant::Never,
    }
}

async fn list_permissions_agrees_with_the_matrix(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let golden = Golden::of(model);
        let cast = usher.cast(model.id, model).await;
        for role in model.roles {
            let request = pb::ListPermissionsRequest {
                account_id: cast.account.clone(),
                subject: user(&cast.member(role)),
                ..Default::default()
            };
            let answer = usher.authorization().list_permissions(request).await.unwrap().into_inner();
            let cells = golden.of_role(role);
            assert_eq!(answer.permissions.len(), cells.len());
            for (entry, cell) in answer.permissions.iter().zip(cells) {
                let expected = pb::PermissionEntry {
                    resource_type: cell.resource_type.clone(),
                    action: cell.verb.clone(),
                    grant: grant(cell.mark).into(),
                    permission: cell.permission.clone(),
                    available_after_lapse: golden.stays(&cell.action()),
                };
                assert_eq!(*entry, expected);
            }
            assert_eq!(
                (answer.role.as_str(), answer.blocked_reason()),
                (*role, pb::DecisionReason::Unspecified)
            );
            assert!(!answer.role_title.is_empty() && answer.notices.is_empty());
        }
        only_the_asked_types(&usher, &cast).await;
    }
    usher.stop().await;
}

async fn only_the_asked_types(usher: &Usher, cast: &Cast) {
    let request = pb::ListPermissionsRequest {
        account_id: cast.account.clone(),
        subject: user(&cast.founder()),
        resource_types: vec!["license".to_owned(), "job".to_owned()],
        ..Default::default()
    };
    let answer = usher.authorization().list_permissions(request).await.unwrap().into_inner();
    let mut types: Vec<&str> = answer.permissions.iter().map(|entry| entry.resource_type.as_str()).collect();
    types.dedup();
    // In the model's order, not the request's.
    assert_eq!(types, ["job", "license"]);
}

async fn roles_of(channel: &Channel, account: &str, actor: Option<&str>) -> pb::ListRolesResponse {
    let request = pb::ListRolesRequest {
        account_id: account.to_owned(),
        actor_id: actor.unwrap_or_default().to_owned(),
    };
    let mut client = pb::authorization_service_client::AuthorizationServiceClient::new(channel.clone());
    client.list_roles(request).await.unwrap().into_inner()
}

async fn list_roles_describes_the_matrix(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let golden = Golden::of(model);
        usher.found(model.id, model, 1).await;
        let answer = roles_of(&usher.channel, model.id, None).await;
        assert_eq!((answer.model.as_str(), answer.version.len()), (model.id, 64));
        for (role, (id, about)) in answer.roles.iter().zip(&golden.roles) {
            let says = |word: &str| about.split(' ').any(|said| said == word);
            let holders = match role.holders() {
                pb::HolderRule::Any => "holders=any",
                pb::HolderRule::AtLeastOne => "holders=at_least_one",
                pb::HolderRule::ExactlyOne => "holders=exactly_one",
                pb::HolderRule::Unspecified => panic!("no holder rule"),
            };
            assert_eq!(role.id, *id);
            assert!(says(holders), "{id}: {about}");
            assert_eq!(role.uses_seat, says("seat"), "{id}");
            assert_eq!(role.founder, says("founder"), "{id}");
            assert_eq!(role.changes_by_support_only, says("support_only"), "{id}");
            assert_eq!(role.assignable, !says("support_only"), "{id}");
            assert_eq!(role.assignable_by_actor, None, "nobody was named");
        }
        assert_eq!(answer.roles.len(), golden.roles.len());
        describes_every_cell(&answer, &golden);
    }
    usher.stop().await;
}

fn describes_every_cell(answer: &pb::ListRolesResponse, golden: &Golden) {
    for action in &answer.actions {
        let name = format!("{}.{}", action.resource_type, action.action);
        assert_eq!(action.available_to_automation, golden.automation.contains(&name), "{name}");
        assert_eq!(action.available_after_lapse, golden.stays(&name), "{name}");
        for (cell, role) in action.grants.iter().zip(&answer.roles) {
            let expected = golden.cell(&role.id, &name);
            let told = (cell.role.as_str(), cell.grant(), cell.permission.as_str());
            assert_eq!(
                told,
                (role.id.as_str(), grant(expected.mark), expected.permission.as_str()),
                "{name}"
            );
            if let Some(permission) = answer.permissions.iter().find(|known| known.id == cell.permission) {
                assert!(permission.actions.contains(&name), "{} has {name}", permission.id);
                assert!(role.permissions.contains(&permission.id), "{} has {}", role.id, permission.id);
            }
        }
        assert_eq!(action.grants.len(), answer.roles.len());
    }
    assert_eq!(answer.actions.len() * answer.roles.len(), golden.cells.len());
}

/// The table of the members page's dropdown.
async fn list_roles_says_whom_an_actor_may_grant(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let cast = usher.cast(model.id, model).await;
        for actor in model.roles {
            let answer = roles_of(&usher.channel, model.id, Some(&cast.member(actor))).await;
            let granted = answer.roles.iter().filter(|role| role.assignable_by_actor == Some(true));
            let granted: Vec<&str> = granted.map(|role| role.id.as_str()).collect();
            assert_eq!(granted, crate::guards::may_grant(model.id, actor), "{} {actor}", model.id);
        }
        let answer = roles_of(&usher.channel, model.id, Some("a-stranger")).await;
        assert!(answer.roles.iter().all(|role| role.assignable_by_actor == Some(false)));
    }
    usher.stop().await;
}
