//! Who may do what through Usher's own calls: every guard, for every role of both products, and the
//! ceiling on whom a member may invite.

use tonic::{Code, Status};
use usher_server::guard;
use usher_tests::cast::{self, MODELS, inviting, joining};
use usher_tests::pb;
use usher_tests::{
    Actor, Cast, DATAIMPORTER, Engine, INTEGRATE_IO, Nobody, Platform, Refused, Usher, acting, both_engines,
    refused,
};

use crate::calls::{CALLS, TICKETS, call};
use crate::changes::{assign, manage, release};
use crate::golden::{Golden, Mark};

both_engines!(
    every_guard_answers_every_role_as_the_matrix_says,
    who_is_no_active_member_with_a_seat_may_nothing,
    acting_must_be_set,
    an_account_that_may_not_be_used_refuses_with_its_reason,
    after_a_lapse_only_what_pays_or_frees_is_left,
    invitations_have_the_actors_ceiling,
    a_role_above_the_actors_cannot_be_given,
    the_platform_has_no_ceiling_but_support_only_roles,
    subscription_details_are_for_those_who_may_see_them,
);

/// A call that the guard let through: it succeeded, or there was nothing of that name.
#[track_caller]
fn let_through(outcome: &Result<(), Status>, what: &str) {
    if let Err(status) = outcome {
        assert_eq!(status.code(), Code::NotFound, "{what}: {status:?}");
    }
}

/// A call that the guard stopped, and why.
#[track_caller]
fn stopped(outcome: Result<(), Status>, action: &str, because: &str, what: &str) {
    let status = outcome.expect_err(what);
    let refused = Refused::of(&status);
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (Code::PermissionDenied, "ACTOR_LACKS_PERMISSION"),
        "{what}"
    );
    assert_eq!((refused.meta("action"), refused.meta("decision_reason")), (action, because), "{what}");
    // A change in a list is named, because each has a guard of its own.
    assert_eq!(
        refused.meta("field") == "changes[0]",
        what.contains(" seat") || what.contains(" subscription")
    );
}

#[test]
fn every_guard_has_a_call_here() {
    let mut guarded: Vec<(&str, &str)> =
        guard::ALL.iter().filter_map(|guard| Some((guard.rpc, guard.action?))).collect();
    let mut called: Vec<(&str, &str)> = CALLS.iter().copied().filter(|(rpc, _)| rpc.contains('/')).collect();
    guarded.sort_unstable();
    called.sort_unstable();
    assert_eq!(called, guarded);
}

async fn every_guard_answers_every_role_as_the_matrix_says(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let golden = Golden::of(model);
        let cast = usher.cast(model.id, model).await;
        for role in model.roles {
            let member = cast.member(role);
            for (rpc, action) in CALLS {
                let outcome = call(&usher, &cast, rpc, Actor(&member)).await;
                let what = format!("{} {role} {rpc}", model.id);
                match golden.mark(role, action) {
                    Mark::Always => let_through(&outcome, &what),
                    Mark::Never => stopped(outcome, action, "ROLE_LACKS_PERMISSION", &what),
                    Mark::Own => panic!("{action} is a guard and cannot depend on an owner"),
                }
            }
        }
        // The platform has no use for tickets: support reads them without an actor.
        for (rpc, _) in CALLS.iter().filter(|(_, action)| *action != TICKETS) {
            let_through(&call(&usher, &cast, rpc, Platform).await, rpc);
        }
    }
    usher.stop().await;
}

async fn who_is_no_active_member_with_a_seat_may_nothing(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let other = usher.cast("globex", DATAIMPORTER).await;
    for (user, role) in [("second-admin", "admin"), ("third-admin", "admin")] {
        usher.members().invite_user(joining("acme", Platform, user, role)).await.unwrap();
    }
    usher.suspend_member("acme", "second-admin").await;
    let freed = manage("acme", Platform, [release("third-admin")]);
    usher.licenses().manage_licenses(freed).await.unwrap();
    let nobodies = [
        ("a-stranger", "NOT_A_MEMBER"),
        // The founder of another account is a stranger here.
        (&other.founder(), "NOT_A_MEMBER"),
        ("second-admin", "MEMBER_SUSPENDED"),
        ("third-admin", "NO_SEAT"),
    ];
    for (user, because) in nobodies {
        for (rpc, action) in CALLS {
            let outcome = call(&usher, &cast, rpc, Actor(user)).await;
            stopped(outcome, action, because, &format!("{user} {rpc}"));
        }
    }
    usher.stop().await;
}

async fn acting_must_be_set(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    // Support leaves it unset to read tickets.
    for (rpc, _) in CALLS.iter().filter(|(_, action)| *action != TICKETS) {
        let status = call(&usher, &cast, rpc, Nobody).await.unwrap_err();
        let refused = Refused::of(&status);
        let told = (refused.code, refused.reason.as_str(), refused.paths());
        assert_eq!(told, (Code::InvalidArgument, "ACTING_MISSING", vec!["acting"]), "{rpc}");
    }
    usher.stop().await;
}

async fn an_account_that_may_not_be_used_refuses_with_its_reason(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let nowhere = Cast { account: "nowhere".to_owned(), model: INTEGRATE_IO };
    for (rpc, _) in CALLS {
        for by in [Actor(&cast.founder()), Platform] {
            let told = Refused::of(&call(&usher, &nowhere, rpc, by).await.unwrap_err());
            assert_eq!((told.code, told.reason.as_str()), (Code::NotFound, "ACCOUNT_UNKNOWN"), "{rpc}");
        }
    }
    usher.suspend_account("acme").await;
    for (rpc, _) in CALLS {
        let told = Refused::of(&call(&usher, &cast, rpc, Actor(&cast.founder())).await.unwrap_err());
        let expected = (Code::FailedPrecondition, "ACCOUNT_SUSPENDED");
        assert_eq!((told.code, told.reason.as_str()), expected, "{rpc}");
        assert_eq!(told.preconditions.len(), 1, "{rpc}: {told:?}");
    }
    usher.close_account("acme").await;
    for (rpc, _) in CALLS {
        let told = Refused::of(&call(&usher, &cast, rpc, Actor(&cast.founder())).await.unwrap_err());
        assert_eq!((told.code, told.reason.as_str()), (Code::NotFound, "ACCOUNT_UNKNOWN"), "{rpc}");
    }
    usher.stop().await;
}

async fn after_a_lapse_only_what_pays_or_frees_is_left(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    for model in MODELS {
        let golden = Golden::of(model);
        let cast = usher.cast(model.id, model).await;
        crate::changes::lapse_at(&usher, &cast, 100, 200).await;
        usher.set_seconds(200);
        for (rpc, action) in CALLS {
            let outcome = call(&usher, &cast, rpc, Actor(&cast.founder())).await;
            let what = format!("{} {rpc}", model.id);
            if golden.stays(action) {
                let_through(&outcome, &what);
            } else {
                let told = Refused::of(&outcome.unwrap_err());
                let expected = (Code::FailedPrecondition, "SUBSCRIPTION_LAPSED");
                assert_eq!((told.code, told.reason.as_str()), expected, "{what}");
            }
        }
        usher.set_seconds(0);
    }
    usher.stop().await;
}

/// The roles that each role may give, in the model's order.
pub(crate) fn may_grant(model: &str, actor: &str) -> Vec<&'static str> {
    match (model, actor) {
        ("integrate-io", "owner" | "admin") => vec!["admin", "operator", "editor", "reader"],
        ("dataimporter", "admin") => vec!["user", "admin"],
        _ => Vec::new(),
    }
}

async fn invitations_have_the_actors_ceiling(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        let cast = usher.cast(model.id, model).await;
        for actor in model.roles {
            for role in model.roles {
                let by = cast.member(actor);
                let email = format!("{actor}-{role}@new.example");
                let outcome =
                    usher.members().invite_user(inviting(&cast.account, Actor(&by), &email, role)).await;
                let grants = may_grant(model.id, actor);
                if grants.contains(role) {
                    outcome.unwrap();
                } else if grants.is_empty() {
                    refused(outcome, Code::PermissionDenied, "ACTOR_LACKS_PERMISSION");
                } else {
                    let told = refused(outcome, Code::FailedPrecondition, "ROLE_CHANGES_BY_SUPPORT_ONLY");
                    assert_eq!(told.meta("role"), *role);
                }
            }
        }
    }
    usher.stop().await;
}

async fn a_role_above_the_actors_cannot_be_given(engine: Engine) {
    let usher = crate::workshop(engine).await;
    usher.accounts().create_account(cast::founding("shop", crate::WORKSHOP, 9)).await.unwrap();
    usher.members().invite_user(joining("shop", Platform, "fred", "foreman")).await.unwrap();
    let invite = async |role: &str| {
        usher
            .members()
            .invite_user(inviting("shop", Actor("fred"), &format!("{role}@new.example"), role))
            .await
    };
    for role in ["maker", "chief"] {
        let told = refused(invite(role).await, Code::PermissionDenied, "ROLE_ABOVE_ACTOR");
        assert_eq!(told.meta("role"), role);
    }
    // A guest may do nothing that a foreman may not, but the model leaves guests to the chief.
    let told = refused(invite("guest").await, Code::PermissionDenied, "ROLE_NOT_ASSIGNABLE");
    assert_eq!(told.meta("role"), "guest");
    usher.stop().await;
}

async fn the_platform_has_no_ceiling_but_support_only_roles(engine: Engine) {
    let usher = Usher::start(engine).await;
    for model in MODELS {
        usher.found(model.id, model, 20).await;
        for role in model.roles {
            let email = format!("{role}@new.example");
            let outcome = usher.members().invite_user(inviting(model.id, Platform, &email, role)).await;
            if *role == "owner" {
                refused(outcome, Code::FailedPrecondition, "ROLE_CHANGES_BY_SUPPORT_ONLY");
            } else {
                outcome.unwrap();
            }
        }
    }
    usher.stop().await;
}

/// The number of seats is for whoever invites; money and dates are for those who pay.
async fn subscription_details_are_for_those_who_may_see_them(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    for (by, sees) in [(cast.member("owner"), true), (cast.member("admin"), false)] {
        let request = pb::GetLicensesRequest {
            account_id: "acme".to_owned(),
            acting: acting(Actor(&by)),
            consistency: None,
        };
        let answer = usher.licenses().get_licenses(request).await.unwrap().into_inner();
        assert_eq!(answer.subscription.is_some(), sees, "{by}");
        assert_eq!(answer.licenses.unwrap().purchased, Some(20));
        let change = manage("acme", Actor(&by), [assign(&cast.member("editor"))]);
        let answer = usher.licenses().manage_licenses(change).await.unwrap().into_inner();
        assert_eq!(answer.subscription.is_some(), sees, "{by}");
    }
    usher.stop().await;
}
